// SPDX-License-Identifier: MIT
// kernels/gemm_float.hpp - Y[M,N] (+)= X[M,K] W[N,K]^T (+ bias) for W in floats: products in float32.
//
// Shapes, Requires, Threads   as gemm.hpp, but X is float32 and K any number
// Ensures   lane r of panel p owns Y[., 16 p + r]: one fma per k in the order of k, the same bits for any tile, split and set with FMA
// Errors    none (noexcept)
#pragma once

#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/panel.float.hpp>

namespace cria::inline v0::kernels {

template <class Format, class Isa>
struct gemm_float {
  using op = isa::vec<Isa>;
  using f = typename op::f;
  static constexpr std::size_t widest = Isa::tile_tokens;

  static void run(const gemm_args& a) noexcept {
    for (std::size_t p = a.panel_begin; p < a.panel_end; ++p) {
      for (std::size_t r = 0; r < panel_rows; r += op::lanes) {
        for (std::size_t t = 0; t < a.n_tokens;) {
          if (a.n_tokens - t >= widest) {
            tile<widest>(a, p, r, t);
            t += widest;
          } else {
            tile<1>(a, p, r, t);
            t += 1;
          }
        }
      }
    }
  }

 private:
  template <std::size_t W>
  static CRIA_NOINLINE void tile(const gemm_args& a, std::size_t p, std::size_t r, std::size_t t) noexcept {
    const std::byte* block = a.weights + p * a.k * panel_rows * sizeof(Format);
    const float* x = a.x + t * a.ldx;
    f acc[W];
    CRIA_UNROLL
    for (std::size_t n = 0; n < W; ++n) acc[n] = op::set(0);
    for (std::size_t k = 0; k < a.k; ++k, block += panel_rows * sizeof(Format)) {
      const f w = panel<Format>::template load<Isa>(block, r);
      CRIA_UNROLL
      for (std::size_t n = 0; n < W; ++n) acc[n] = op::fma(w, op::set(x[n * a.ldx + k]), acc[n]);
    }
    const std::size_t row = p * panel_rows + r;
    CRIA_UNROLL
    for (std::size_t n = 0; n < W; ++n) {
      float* y = a.y + (t + n) * a.ldy + row;
      f value = acc[n];
      if (a.bias != nullptr) value = value + op::load(a.bias + row);
      if (a.accumulate) value = op::load(y) + value;
      op::store(y, value);
    }
  }
};

}  // namespace cria::inline v0::kernels
