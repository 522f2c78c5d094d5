// SPDX-License-Identifier: MIT
// cria cpu: what this processor has, what the program was compiled for, and what it will use.
#include "subcommand.hpp"

#include <cria/core/cpu_count.hpp>
#include <cria/isa/isa.hpp>
#include <cria/kernels/registry.hpp>

#include <fstream>

namespace cria_program {

namespace {

/// Returns whom Linux gives huge pages: "always", "madvise" (who asks for them, as cria does) or "never"; nothing where that is unknown.
std::string huge_pages() {
  std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");   // always [madvise] never
  std::string word;
  while (in >> word) {
    if (word.starts_with('[') && word.ends_with(']')) return word.substr(1, word.size() - 2);
  }
  return {};
}

}  // namespace

void add_cpu(CLI::App& app, action& chosen) {
  CLI::App& c = *app.add_subcommand("cpu", "Show the processor's features and the instruction sets compiled in");
  c.callback([&chosen] {
    chosen = []() -> result<void> {
      const cria::isa::cpu_features f = cria::isa::detect();
      const std::pair<std::string_view, bool> features[] = {
          {"sse4_2", f.sse4_2},         {"avx2", f.avx2},     {"fma", f.fma},         {"f16c", f.f16c},
          {"avx_vnni", f.avx_vnni},     {"avx512f", f.avx512f}, {"avx512bw", f.avx512bw}, {"avx512_vnni", f.avx512_vnni},
          {"avx512_bf16", f.avx512_bf16}, {"neon64", f.neon64}, {"dotprod", f.dotprod},   {"i8mm", f.i8mm},
          {"bf16", f.bf16}};
      std::string text = "cpu:        " + cria::isa::cpu_name() + "\nthreads:    " + std::to_string(cria::default_thread_count()) + "\nfeatures:  ";
      for (const auto& [feature, is_there] : features) {
        if (is_there) text.append(" ").append(feature);
      }
      text += "\ncompiled:  ";
      for (const auto* table : cria::kernels::compiled_tables()) text.append(" ").append(cria::isa::name(table->set));
      CRIA_TRY(const auto* table, cria::kernels::select());
      text.append("\nchosen:     ").append(cria::isa::name(table->set)).append("\n");
      if (const std::string given = huge_pages(); !given.empty()) {
        text.append("huge pages: ").append(given).append(given == "never" ? " (weights are read more slowly, those of small models by a sixth)\n" : "\n");
      }
      return print(text);
    };
  });
}

}  // namespace cria_program
