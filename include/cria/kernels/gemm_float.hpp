// SPDX-License-Identifier: MIT
// kernels/gemm_float.hpp - Y[M,N] (+)= X[M,K] W[N,K]^T (+ bias) for W in floats: products in float32.
//
// Shapes, Requires, Threads   as gemm.hpp, but X is float32 and K any number
// Ensures   lane r of panel p owns Y[., 16 p + r]: one fma per k in the order of k, the same bits for any tile, split and set with FMA
// Errors    none (noexcept)
#pragma once

#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/panel.float.hpp>

namespace cria::inline v0_1_0::kernels {

template <class Format, class Isa>
struct gemm_float {
  using op = isa::vec<Isa>;
  using f = typename op::f;

  static void run(const gemm_args& a) noexcept {
    for (std::size_t p = a.panel_begin; p < a.panel_end; ++p) {
      for (std::size_t t = 0; t < a.n_tokens;) {
        const std::size_t left = a.n_tokens - t;
        if (left >= Isa::tile_tokens) {
          t += tile<Isa::tile_tokens>(a, p, t);
        } else if (Isa::tile_tokens > 4 && left >= 4) {
          t += tile<4>(a, p, t);
        } else if (left >= 2) {
          t += tile<2>(a, p, t);
        } else {
          t += tile<1>(a, p, t);
        }
      }
    }
  }

 private:
  static constexpr std::size_t n_registers = op::lanes == panel_rows || CRIA_HAS_NEON64 ? 32 : 16;
  /// How many vectors of rows are computed side by side, so that their additions do not wait for each other: all of a panel, if the registers suffice.
  template <std::size_t W>
  static constexpr std::size_t row_vectors = panel_rows / op::lanes * (W + 1) < n_registers ? panel_rows / op::lanes : panel_rows / op::lanes / 2;

  template <std::size_t W>
  static std::size_t tile(const gemm_args& a, std::size_t p, std::size_t t) noexcept {
    for (std::size_t r = 0; r < panel_rows; r += row_vectors<W> * op::lanes) rows<W>(a, p, r, t);
    return W;
  }

  template <std::size_t W>
  static CRIA_NOINLINE void rows(const gemm_args& a, std::size_t p, std::size_t r, std::size_t t) noexcept {
    constexpr std::size_t V = row_vectors<W>;
    const std::byte* block = a.weights + p * a.k * panel_rows * sizeof(Format);
    const float* x = a.x + t * a.ldx;
    f acc[V * W];
    CRIA_UNROLL
    for (std::size_t n = 0; n < V * W; ++n) acc[n] = op::set(0);
    for (std::size_t k = 0; k < a.k; ++k, block += panel_rows * sizeof(Format)) {
      f w[V];
      CRIA_UNROLL
      for (std::size_t v = 0; v < V; ++v) w[v] = panel<Format>::template load<Isa>(block, r + v * op::lanes);
      CRIA_UNROLL
      for (std::size_t n = 0; n < V * W; ++n) acc[n] = op::fma(w[n % V], op::set(x[n / V * a.ldx + k]), acc[n]);
    }
    CRIA_UNROLL
    for (std::size_t n = 0; n < V * W; ++n) put_products<Isa>(a, t + n / V, p * panel_rows + r + n % V * op::lanes, acc[n]);
  }
};

}  // namespace cria::inline v0_1_0::kernels
