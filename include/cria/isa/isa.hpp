// SPDX-License-Identifier: MIT
// isa/isa.hpp - the instruction sets that cria has kernels for, and which of them this processor and system can run.
//
// Ensures   detect() asks the processor and, for wide registers, whether the operating system saves them (XCR0, HWCAP).
// Errors    none (noexcept)
// Threads   no state: ask as often as you like, keep the answer yourself
// Source    Intel SDM vol. 2 (CPUID leaves 1, 7 and 7.1; XGETBV); Linux arm64 elf_hwcaps
#pragma once

#include <cria/core/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(_M_X64)
#include <intrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace cria::inline v0_1_0::isa {

/// Instruction sets, worst first: a later one is preferred where it runs.
enum class id : std::uint8_t { scalar, sse4_2, avx2, avx_vnni, avx512bw, avx512_vnni, neon64, neon_dotprod, neon_i8mm };

inline constexpr std::array all_ids = {id::scalar,   id::sse4_2,      id::avx2,   id::avx_vnni,     id::avx512bw,
                                       id::avx512_vnni, id::neon64, id::neon_dotprod, id::neon_i8mm};

[[nodiscard]] constexpr std::string_view name(id i) noexcept {
  constexpr std::string_view names[] = {"scalar", "sse4_2", "avx2", "avx_vnni", "avx512bw", "avx512_vnni", "neon64", "neon_dotprod", "neon_i8mm"};
  return names[static_cast<std::size_t>(i)];
}

/// Returns the set of that name, or nothing.
[[nodiscard]] constexpr std::optional<id> find(std::string_view wanted) noexcept {
  for (const id i : all_ids) {
    if (name(i) == wanted) return i;
  }
  return std::nullopt;
}

/// What the processor has and the system lets programs use.
struct cpu_features {
  bool sse4_2 = false, avx2 = false, fma = false, f16c = false, avx_vnni = false;
  bool avx512f = false, avx512bw = false, avx512_vnni = false, avx512_bf16 = false;
  bool neon64 = false, dotprod = false, i8mm = false, bf16 = false;

  /// Returns whether kernels compiled for `i` run here: every flag of its unit is present.
  [[nodiscard]] constexpr bool runs(id i) const noexcept {
    switch (i) {
      case id::scalar: return true;
      case id::sse4_2: return sse4_2;
      case id::avx2: return avx2 && fma && f16c;
      case id::avx_vnni: return runs(id::avx2) && avx_vnni;
      case id::avx512bw: return runs(id::avx2) && avx512f && avx512bw;
      case id::avx512_vnni: return runs(id::avx512bw) && avx512_vnni;
      case id::neon64: return neon64;
      case id::neon_dotprod: return neon64 && dotprod;
      case id::neon_i8mm: return neon64 && dotprod && i8mm;
    }
    return false;
  }
};

namespace detail {
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
struct cpuid_registers {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

inline cpuid_registers cpuid(std::uint32_t leaf, std::uint32_t sub_leaf) noexcept {
  cpuid_registers r;
#if defined(_MSC_VER) && !defined(__clang__)   // mingw-w64 has _M_X64, too
  int v[4];
  __cpuidex(v, static_cast<int>(leaf), static_cast<int>(sub_leaf));
  r = {static_cast<std::uint32_t>(v[0]), static_cast<std::uint32_t>(v[1]), static_cast<std::uint32_t>(v[2]), static_cast<std::uint32_t>(v[3])};
#else
  __cpuid_count(leaf, sub_leaf, r.a, r.b, r.c, r.d);
#endif
  return r;
}

/// Returns XCR0, the register sets that the system saves; requires OSXSAVE.
inline std::uint64_t saved_registers() noexcept {
#if defined(_MSC_VER) && !defined(__clang__)   // mingw-w64 has _M_X64, too
  return _xgetbv(0);
#else
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
#endif
}

inline cpu_features detect_x86() noexcept {
  const auto bit = [](std::uint32_t r, int n) { return ((r >> n) & 1) != 0; };
  cpu_features f;
  const std::uint32_t leaves = cpuid(0, 0).a;
  const cpuid_registers one = cpuid(1, 0);
  f.sse4_2 = bit(one.c, 20) && bit(one.c, 19) && bit(one.c, 9);
  if (leaves < 7 || !bit(one.c, 27) || !bit(one.c, 28)) return f;
  const std::uint64_t saved = saved_registers();
  if ((saved & 0x6) != 0x6) return f;  // xmm, ymm
  const cpuid_registers seven = cpuid(7, 0);
  const cpuid_registers seven_1 = seven.a >= 1 ? cpuid(7, 1) : cpuid_registers{};
  f.fma = bit(one.c, 12);
  f.f16c = bit(one.c, 29);
  f.avx2 = bit(seven.b, 5);
  f.avx_vnni = bit(seven_1.a, 4);
  if ((saved & 0xe0) != 0xe0) return f;  // opmask, upper zmm, zmm16-31
  f.avx512f = bit(seven.b, 16);
  f.avx512bw = bit(seven.b, 30) && bit(seven.b, 28) && bit(seven.b, 17) && bit(seven.b, 31);  // bw, cd, dq, vl
  f.avx512_vnni = bit(seven.c, 11);
  f.avx512_bf16 = bit(seven_1.a, 5);
  return f;
}
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
inline cpu_features detect_arm() noexcept {
  cpu_features f;
  f.neon64 = true;
#if defined(__linux__)
  constexpr unsigned long asimddp = 1UL << 20, i8mm = 1UL << 13, bf16 = 1UL << 14;
  f.dotprod = (getauxval(AT_HWCAP) & asimddp) != 0;
  f.i8mm = (getauxval(AT_HWCAP2) & i8mm) != 0;
  f.bf16 = (getauxval(AT_HWCAP2) & bf16) != 0;
#elif defined(__APPLE__)
  const auto has = [](const char* key) {
    int value = 0;
    std::size_t size = sizeof value;
    return sysctlbyname(key, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  f.dotprod = has("hw.optional.arm.FEAT_DotProd");
  f.i8mm = has("hw.optional.arm.FEAT_I8MM");
  f.bf16 = has("hw.optional.arm.FEAT_BF16");
#endif
  return f;
}
#endif
}  // namespace detail

[[nodiscard]] inline cpu_features detect() noexcept {
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
  return detail::detect_x86();
#elif defined(__aarch64__) || defined(_M_ARM64)
  return detail::detect_arm();
#else
  return {};
#endif
}

/// Returns the processor's marketing name, empty where it cannot be asked.
[[nodiscard]] inline std::string cpu_name() {
  std::string text;
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
  if (detail::cpuid(0x80000000U, 0).a >= 0x80000004U) {
    for (std::uint32_t leaf = 0x80000002U; leaf <= 0x80000004U; ++leaf) {
      const detail::cpuid_registers r = detail::cpuid(leaf, 0);
      for (const std::uint32_t part : {r.a, r.b, r.c, r.d}) {
        for (int i = 0; i < 4; ++i) text += static_cast<char>((part >> (8 * i)) & 0xff);
      }
    }
    text.resize(text.find_first_of('\0') == std::string::npos ? text.size() : text.find_first_of('\0'));
    while (!text.empty() && text.back() == ' ') text.pop_back();
    text.erase(0, text.find_first_not_of(' ') == std::string::npos ? 0 : text.find_first_not_of(' '));
  }
#endif
  return text;
}

}  // namespace cria::inline v0_1_0::isa
