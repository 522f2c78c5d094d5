// SPDX-License-Identifier: MIT
// nn/linear.hpp - matrix products of a layer: prepare an input once, multiply it by the weights that share it.
//
//   Y = X W^T + b,  or  Y += X W^T + b
//
// Shapes    X[T,K]; W[N,K]; Y[T, ldy], ldy a multiple of panel_rows and >= N
// Ensures   the same bits for any number of threads: rows of W are split, K never
// Errors    none: shapes are established when the weights are loaded (asserted)
// Threads   runs on the executor of `compute`; one call at a time on the same buffers
#pragma once

#include <cria/kernels/activation_size.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/weight.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::inline v0_1_0::nn {

/// X[n_tokens, k] in float32, rows `stride` apart.
struct rows_view {
  float* data;
  std::size_t stride;
  std::size_t n_tokens;
  std::size_t k;

  [[nodiscard]] float* row(std::size_t t) const noexcept { return data + t * stride; }
};

/// The input of a product: the floats, and their integers if they have been made (else nullptr), which quantised weights need.
struct prepared_input {
  rows_view x;
  const std::int32_t* quantised;

  prepared_input(rows_view floats, const std::int32_t* integers = nullptr) noexcept : x(floats), quantised(integers) {}
};

/// One product of an input: y (+)= x w^T + bias.
struct product {
  const weight* w;
  float* y;
  std::size_t ldy;
  bool accumulate = false;
};

namespace detail {

/// Returns how many panels a thread takes at a time from the shared end of the range: about 128 KiB of weights.
inline std::size_t panel_grain(const weight& w) noexcept {
  const std::size_t panel_bytes = w.panels.size() / w.n_panels() + 1;
  return panel_bytes >= 128 * 1024 ? 1 : 128 * 1024 / panel_bytes;
}

/// The same if there are few panels: at most so many that each thread gets four pieces (two threads, 384 x 384 in Q8_0, 384 tokens: pieces of 20 and 4 panels
/// took 610 us), but at least so many that a piece is worth waking a thread for: 64 KiB of weights, counted for each token.
inline std::size_t panel_grain(const weight& w, std::size_t n_panels, std::size_t n_tokens, std::size_t n_threads) noexcept {
  const std::size_t even = n_panels / (4 * n_threads) + 1;
  const std::size_t worth_waking = panel_grain(w) / (2 * n_tokens) + 1;
  return std::min(panel_grain(w), std::max(even, worth_waking));
}

/// Returns tokens [begin, end) of an input; begin is a multiple of the widest tile.
inline prepared_input tokens_of(const compute& c, const prepared_input& in, std::size_t begin, std::size_t end) noexcept {
  const std::size_t words = in.x.k / kernels::group_size * kernels::activation_words(c.precision);
  return {{in.x.row(begin), in.x.stride, end - begin, in.x.k}, in.quantised == nullptr ? nullptr : in.quantised + begin * words};
}

/// Multiplies panels [begin, end) of one product.
inline void multiply_panels(const compute& c, const prepared_input& in, const product& p, std::size_t begin, std::size_t end) noexcept {
  c.kernels.gemm[p.w->format]({.weights = p.w->panels.data(),
                               .k = p.w->columns,
                               .n_groups = p.w->columns / kernels::group_size,
                               .panel_begin = begin,
                               .panel_end = end,
                               .activations = in.quantised,
                               .activations_precision = c.precision,
                               .x = in.x.data,
                               .ldx = in.x.stride,
                               .n_tokens = in.x.n_tokens,
                               .y = p.y,
                               .ldy = p.ldy,
                               .bias = p.w->bias.empty() ? nullptr : p.w->bias.data(),
                               .accumulate = p.accumulate});
}

}  // namespace detail

/// Calls fn(t) for every token: directly for a single one, on the executor for more.
template <class F>
void for_each_token(const compute& c, std::size_t n_tokens, F&& fn) {
  if (n_tokens == 1) {
    fn(std::size_t{0});
  } else {
    parallel_for(c.executor, n_tokens, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t t = begin; t < end; ++t) fn(t);
    });
  }
}

/// Quantises groups [begin, end) of row t. The operation that makes an input can quantise it piece by piece, while it is in the first-level
/// cache; when all groups of all rows have had their turn, in any order, `words` is what prepare() makes. Requires x.k % group_size == 0.
inline void quantize_groups(const compute& c, rows_view x, std::size_t t, std::size_t begin, std::size_t end, std::int32_t* words) noexcept {
  const std::size_t n_groups = x.k / kernels::group_size;
  c.kernels.quantize({.x = x.data, .ldx = x.stride, .n_tokens = x.n_tokens, .n_groups = n_groups, .activations_precision = c.precision, .out = words}, t,
                     begin, end);
}

/// Quantises row t.
inline void quantize_row(const compute& c, rows_view x, std::size_t t, std::int32_t* words) noexcept {
  quantize_groups(c, x, t, 0, x.k / kernels::group_size, words);
}

/// Returns the input with its integers, if one of the weights is quantised: those that its producer made, or new ones in `words`, which must hold
/// activation_capacity of X.
inline prepared_input prepare(const compute& c, const prepared_input& in, bool is_quantised, std::span<std::int32_t> words) {
  if (!is_quantised || in.quantised != nullptr) return in;
  const rows_view& x = in.x;
  CRIA_ASSERT(x.k % kernels::group_size == 0);
  for_each_token(c, x.n_tokens, [&](std::size_t t) { quantize_row(c, x, t, words.data()); });
  return {x, words.data()};
}

/// Computes the products. The panels of all their weights are split over the executor as one range.
inline void multiply(const compute& c, const prepared_input& in, std::span<const product> products) {
  std::size_t n_panels = 0;
  for (const product& p : products) {
    CRIA_ASSERT(p.w->columns == in.x.k && p.ldy >= kernels::panel_rows * p.w->n_panels());
    n_panels += p.w->n_panels();
  }
  const std::size_t grain = detail::panel_grain(*products.front().w, n_panels, in.x.n_tokens, c.executor.concurrency());
  parallel_for(c.executor, n_panels, grain, [&](std::size_t, std::size_t begin, std::size_t end) {
    std::size_t first = 0;
    for (const product& p : products) {
      const std::size_t last = first + p.w->n_panels();
      if (begin < last && end > first) detail::multiply_panels(c, in, p, (begin > first ? begin : first) - first, (end < last ? end : last) - first);
      first = last;
    }
  });
}

}  // namespace cria::inline v0_1_0::nn
