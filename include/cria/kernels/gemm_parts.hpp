// SPDX-License-Identifier: MIT
// kernels/gemm_parts.hpp - what the matrix products of gemm.hpp, gemm_unpacked.hpp and gemm_float.hpp have in common.
#pragma once

#include <cria/isa/vec.hpp>
#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/panel.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace cria::inline v0_1_0::kernels {

/// Calls fn<0>(), fn<1>(), ..., fn<N - 1>().
template <std::size_t N, class F>
CRIA_PART void each(F fn) noexcept {
  [&]<std::size_t... Index>(std::index_sequence<Index...>) CRIA_PART_LAMBDA { (fn.template operator()<Index>(), ...); }(std::make_index_sequence<N>{});
}

/// Returns -Zero * sum(q), at which an integer sum starts, computed from the stored bias, which is -8 * sum(q).
template <class Isa, int Zero>
CRIA_PART typename isa::vec<Isa>::i sum_start(std::int32_t bias) noexcept {
  using op = isa::vec<Isa>;
  static_assert(Zero == 0 || Zero == 1 || Zero == 4 || Zero == 8 || Zero == 16 || Zero == 32 || Zero == 64 || Zero == 128);
  if constexpr (Zero == 0) {
    return op::set_i(0);
  } else if constexpr (Zero < 8) {
    return op::template sra<3 - std::countr_zero(static_cast<unsigned>(Zero))>(op::set_i(bias));
  } else {
    return op::template shl<std::countr_zero(static_cast<unsigned>(Zero)) - 3>(op::set_i(bias));
  }
}

/// Adds Count dot steps, from the First one on, to the sums by way of narrow accumulators, which hold NarrowSteps of them. steps<First, Count>(narrow) adds
/// some to the accumulators.
template <class Dot, std::size_t NarrowSteps, std::size_t First, std::size_t Count, std::size_t N, class Int, class Steps>
CRIA_PART void add_widened(Int (&sum)[N], Steps steps) noexcept {
  constexpr std::size_t now = Count < NarrowSteps ? Count : NarrowSteps;
  Int narrow[N];
  CRIA_UNROLL
  for (std::size_t n = 0; n < N; ++n) narrow[n] = Dot::op::set_i(0);
  steps.template operator()<First, now>(narrow);
  CRIA_UNROLL
  for (std::size_t n = 0; n < N; ++n) sum[n] = Dot::widen(sum[n], narrow[n]);
  if constexpr (now < Count) add_widened<Dot, NarrowSteps, First + now, Count - now>(sum, steps);
}

/// How a product walks over the blocks of a panel of Format, whose columns it reads at the address that decode() returns.
template <class Format, class Isa>
struct panel_blocks {
  using unpack = typename panel<Format>::template unpack<Isa>;

  static CRIA_PART std::size_t bytes(const gemm_args&) noexcept { return panel_rows * sizeof(Format); }
  static CRIA_PART const std::byte* decode(const gemm_args&, const std::byte* block, std::byte* sc) noexcept {
    unpack::decode(block, sc);
    return block;
  }
};

/// Writes the products of token t and vec<Isa>::lanes rows from `row` on.
template <class Isa>
CRIA_PART void put_products(const gemm_args& a, std::size_t t, std::size_t row, typename isa::vec<Isa>::f value) noexcept {
  using op = isa::vec<Isa>;
  float* y = a.y + t * a.ldy + row;
  if (a.bias != nullptr) value = value + op::load(a.bias + row);
  if (a.accumulate) value = op::load(y) + value;
  op::store(y, value);
}

}  // namespace cria::inline v0_1_0::kernels
