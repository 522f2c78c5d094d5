// SPDX-License-Identifier: MIT
// kernels/registry.hpp - which kernel tables this program has, and the best one for this processor.
//
// The unit that contains the definitions provides the tables: those of the instruction sets that CRIA_KERNEL_SETS names (each compiled in a unit of its own,
// kernels/instantiate.hpp), or else only that of the best set that the unit's own flags allow.
//
// Errors    unsupported_cpu when no table runs here, bad_argument for a set that is not compiled in
// Threads   pure functions on constants
#pragma once

#include <cria/core/result.hpp>
#include <cria/isa/isa.hpp>
#include <cria/kernels/kernel_table.hpp>

#include <optional>
#include <span>
#include <string>

namespace cria::inline v0_1_0::kernels {

/// Returns the tables that this program contains, worst first.
[[nodiscard]] std::span<const kernel_table* const> compiled_tables() noexcept;

/// Returns the table of `wanted`, or of the best compiled set that this processor runs.
[[nodiscard]] result<const kernel_table*> select(std::optional<isa::id> wanted = {});

/// Returns whether the table has kernels with bf16 dot products, and this processor runs them.
[[nodiscard]] inline bool has_bf16_dot(const kernel_table& table) noexcept { return table.attention_bf16_dot != nullptr && isa::detect().avx512_bf16; }

}  // namespace cria::inline v0_1_0::kernels

#if CRIA_HAS_DEFINITIONS

#if defined(CRIA_KERNEL_SETS)
extern "C" {
#define CRIA_DECLARE_TABLE(set) extern const cria::kernels::kernel_table CRIA_CONCAT(cria_v0_1_0_kernels_, set);
CRIA_KERNEL_SETS(CRIA_DECLARE_TABLE)
#undef CRIA_DECLARE_TABLE
}
#else
#include <cria/kernels/catalog.hpp>
#endif

namespace cria::inline v0_1_0::kernels {

CRIA_INLINE std::span<const kernel_table* const> compiled_tables() noexcept {
#if defined(CRIA_KERNEL_SETS)
#define CRIA_ADDRESS_OF_TABLE(set) &CRIA_CONCAT(cria_v0_1_0_kernels_, set),
  static constexpr const kernel_table* tables[] = {CRIA_KERNEL_SETS(CRIA_ADDRESS_OF_TABLE)};
#undef CRIA_ADDRESS_OF_TABLE
#else
  static constexpr const kernel_table* tables[] = {&table_of<isa::native>};
#endif
  return tables;
}

CRIA_INLINE result<const kernel_table*> select(std::optional<isa::id> wanted) {
  const isa::cpu_features cpu = isa::detect();
  const kernel_table* best = nullptr;
  std::string names;
  for (const kernel_table* table : compiled_tables()) {
    names += names.empty() ? "" : ", ";
    names += isa::name(table->set);
    if (wanted && table->set != *wanted) continue;
    if (cpu.runs(table->set)) best = table;
    if (wanted && best == nullptr) return error{errc::unsupported_cpu, isa::name(*wanted), "this processor does not run it"};
  }
  if (best != nullptr) return best;
  if (wanted) return error{errc::bad_argument, isa::name(*wanted), "not compiled in; there are: " + names};
  return error{errc::unsupported_cpu, "cpu", "the kernels were compiled for: " + names};
}

}  // namespace cria::inline v0_1_0::kernels

#endif  // CRIA_HAS_DEFINITIONS
