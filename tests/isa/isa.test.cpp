// SPDX-License-Identifier: MIT
#include <cria/isa/isa.hpp>

#include <doctest/doctest.h>

#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>

namespace isa = cria::isa;

namespace {

// The flags of the first processor in /proc/cpuinfo: what the kernel says, found by other code than ours. Empty where there is none.
std::set<std::string> kernel_flags() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("flags", 0) == 0 || line.rfind("Features", 0) == 0) {
      std::istringstream words(line.substr(line.find(':') + 1));
      std::set<std::string> flags;
      for (std::string word; words >> word;) flags.insert(word);
      return flags;
    }
  }
  return {};
}

}  // namespace

TEST_CASE("isa: names are unique and find() reads them back") {
  std::set<std::string> names;
  for (const isa::id i : isa::all_ids) {
    names.insert(std::string(isa::name(i)));
    CHECK(isa::find(isa::name(i)) == i);
  }
  CHECK(names.size() == isa::all_ids.size());
  CHECK(!isa::find("").has_value());
  CHECK(!isa::find("AVX2").has_value());
  CHECK(!isa::find("avx2 ").has_value());
  CHECK(isa::find("avx512_vnni") == isa::id::avx512_vnni);
}

TEST_CASE("isa: plain C++ runs on every processor, nothing else on one without features") {
  const isa::cpu_features none;
  for (const isa::id i : isa::all_ids) CHECK(none.runs(i) == (i == isa::id::scalar));
}

TEST_CASE("isa: a set runs only when every flag of its unit is there") {
  const isa::cpu_features all{true, true, true, true, true, true, true, true, true, true, true, true, true};
  for (const isa::id i : isa::all_ids) CHECK(all.runs(i));
  bool isa::cpu_features::*const needed_by_vnni[] = {&isa::cpu_features::avx2,    &isa::cpu_features::fma,      &isa::cpu_features::f16c,
                                                     &isa::cpu_features::avx512f, &isa::cpu_features::avx512bw, &isa::cpu_features::avx512_vnni};
  for (const auto flag : needed_by_vnni) {
    isa::cpu_features without = all;
    without.*flag = false;
    CHECK(!without.runs(isa::id::avx512_vnni));
  }
  isa::cpu_features haswell;
  haswell.sse4_2 = haswell.avx2 = haswell.fma = haswell.f16c = true;
  CHECK(haswell.runs(isa::id::sse4_2));
  CHECK(haswell.runs(isa::id::avx2));
  CHECK(!haswell.runs(isa::id::avx_vnni));
  CHECK(!haswell.runs(isa::id::avx512bw));
  isa::cpu_features a76;
  a76.neon64 = a76.dotprod = true;
  CHECK(a76.runs(isa::id::neon_dotprod));
  CHECK(!a76.runs(isa::id::neon_i8mm));
}

TEST_CASE("isa: detect() agrees with the operating system's list of flags") {
  const std::set<std::string> flags = kernel_flags();
  if (flags.empty()) {
    std::cerr << "SKIPPED: no /proc/cpuinfo with flags\n";
    return;
  }
  const isa::cpu_features cpu = isa::detect();
  const auto has = [&](const char* flag) { return flags.count(flag) != 0; };
  if (flags.count("asimd") != 0) {
    CHECK(cpu.neon64);
    CHECK(cpu.dotprod == has("asimddp"));
    CHECK(cpu.i8mm == has("i8mm"));
    return;
  }
  CHECK(cpu.sse4_2 == (has("sse4_2") && has("ssse3")));
  CHECK(cpu.avx2 == has("avx2"));
  CHECK(cpu.fma == has("fma"));
  CHECK(cpu.f16c == has("f16c"));
  CHECK(cpu.avx512f == has("avx512f"));
  CHECK(cpu.avx512bw == (has("avx512bw") && has("avx512cd") && has("avx512dq") && has("avx512vl")));
  CHECK(cpu.avx512_vnni == has("avx512_vnni"));
  CHECK(cpu.avx_vnni == has("avx_vnni"));
}

TEST_CASE("isa: the processor's name has no padding") {
  const std::string name = isa::cpu_name();
  if (name.empty()) return;
  CHECK(name.front() != ' ');
  CHECK(name.back() != ' ');
  CHECK(name.find('\0') == std::string::npos);
}
