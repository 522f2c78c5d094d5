// SPDX-License-Identifier: MIT
// kernels/registry.hpp - which kernel tables this program has, and the best one for this processor.
//
// With CRIA_DISPATCH (CMake target cria::dispatch) one compiled unit per instruction set provides a table each; without, this header brings
// the kernels of the best set that the including unit's flags allow.
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

#if !defined(CRIA_DISPATCH)
#include <cria/kernels/catalog.hpp>
#else
extern "C" {
#if defined(CRIA_DISPATCH_SCALAR)
extern const cria::kernels::kernel_table cria_v0_kernels_scalar;
#endif
#if defined(CRIA_DISPATCH_SSE4_2)
extern const cria::kernels::kernel_table cria_v0_kernels_sse4_2;
#endif
#if defined(CRIA_DISPATCH_AVX2)
extern const cria::kernels::kernel_table cria_v0_kernels_avx2;
#endif
#if defined(CRIA_DISPATCH_AVX_VNNI)
extern const cria::kernels::kernel_table cria_v0_kernels_avx_vnni;
#endif
#if defined(CRIA_DISPATCH_AVX512BW)
extern const cria::kernels::kernel_table cria_v0_kernels_avx512bw;
#endif
#if defined(CRIA_DISPATCH_AVX512_VNNI)
extern const cria::kernels::kernel_table cria_v0_kernels_avx512_vnni;
#endif
#if defined(CRIA_DISPATCH_NEON64)
extern const cria::kernels::kernel_table cria_v0_kernels_neon64;
#endif
#if defined(CRIA_DISPATCH_NEON_DOTPROD)
extern const cria::kernels::kernel_table cria_v0_kernels_neon_dotprod;
#endif
#if defined(CRIA_DISPATCH_NEON_I8MM)
extern const cria::kernels::kernel_table cria_v0_kernels_neon_i8mm;
#endif
}
#endif

namespace cria::inline v0::kernels {

/// Returns the tables that this program holds, worst first.
[[nodiscard]] inline std::span<const kernel_table* const> compiled_tables() noexcept {
#if !defined(CRIA_DISPATCH)
  static constexpr const kernel_table* tables[] = {&table_of<isa::native>};
#else
  static constexpr const kernel_table* tables[] = {
#if defined(CRIA_DISPATCH_SCALAR)
      &cria_v0_kernels_scalar,
#endif
#if defined(CRIA_DISPATCH_SSE4_2)
      &cria_v0_kernels_sse4_2,
#endif
#if defined(CRIA_DISPATCH_AVX2)
      &cria_v0_kernels_avx2,
#endif
#if defined(CRIA_DISPATCH_AVX_VNNI)
      &cria_v0_kernels_avx_vnni,
#endif
#if defined(CRIA_DISPATCH_AVX512BW)
      &cria_v0_kernels_avx512bw,
#endif
#if defined(CRIA_DISPATCH_AVX512_VNNI)
      &cria_v0_kernels_avx512_vnni,
#endif
#if defined(CRIA_DISPATCH_NEON64)
      &cria_v0_kernels_neon64,
#endif
#if defined(CRIA_DISPATCH_NEON_DOTPROD)
      &cria_v0_kernels_neon_dotprod,
#endif
#if defined(CRIA_DISPATCH_NEON_I8MM)
      &cria_v0_kernels_neon_i8mm,
#endif
  };
#endif
  return tables;
}

/// Returns the table of `wanted`, or of the best compiled set that this processor runs.
[[nodiscard]] inline result<const kernel_table*> select(std::optional<isa::id> wanted = {}) {
  const isa::cpu_features cpu = isa::detect();
  const kernel_table* best = nullptr;
  std::string names;
  for (const kernel_table* table : compiled_tables()) {
    names += names.empty() ? "" : ", ";
    names += isa::name(table->set);
    if (wanted && table->set != *wanted) continue;
    if (cpu.runs(table->set)) best = table;
    if (wanted && best == nullptr) return error{errc::unsupported_cpu, std::string(isa::name(*wanted)), "this processor does not run it", error::no_offset};
  }
  if (best != nullptr) return best;
  if (wanted) return error{errc::bad_argument, std::string(isa::name(*wanted)), "not compiled in; there are: " + names, error::no_offset};
  return error{errc::unsupported_cpu, "cpu", "the kernels were compiled for: " + names, error::no_offset};
}

/// Returns whether the table has dot products of bf16 that this processor runs.
[[nodiscard]] inline bool has_bf16_dot(const kernel_table& table) noexcept { return table.attention_bf16_dot != nullptr && isa::detect().avx512_bf16; }

}  // namespace cria::inline v0::kernels
