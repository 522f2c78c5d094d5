// SPDX-License-Identifier: MIT
// nn/residual_stream.hpp - what reads and writes the residual stream h: embeddings, products of its norm, additions to it, and the output head.
//
//   embed             h = embedding of each token          add_product          h += W x
//   normed_products   y = W norm(h), for several W         add_normed_product   h += norm(W x)
//   output_head       logits = W norm(h), for the rows that want them
//
// Shapes    as nn/activations.hpp; T tokens of one or more sequences, one row each
// Ensures   each output element is computed by one thread in a fixed order: the same bits for any executor and any T
// Errors    none: checked before the pass begins (nn/sequence_slice.hpp)
// Threads   run on the executor of `compute`
#pragma once

#include <cria/nn/activations.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/linear.hpp>

#include <algorithm>
#include <cstddef>
#include <span>

namespace cria::inline v0_1_0::nn {

/// A norm with its weights: LayerNorm if there is a bias, else RMSNorm. Without weights it leaves its input as it is.
struct norm {
  std::span<const float> weight = {};
  float eps = 0;
  std::span<const float> bias = {};

  void operator()(const compute& c, const float* x, std::size_t n, float* out) const noexcept {
    if (weight.empty()) {
      std::copy_n(x, n, out);
    } else if (bias.empty()) {
      c.kernels.rms_norm(x, weight.data(), eps, n, out);
    } else {
      c.kernels.layer_norm(x, weight.data(), bias.data(), eps, n, out);
    }
  }
};

/// For what reads the residual stream itself.
inline constexpr norm no_norm{};

/// h = the embedding of each token; embed_row(row, h) writes that of one row.
template <class F>
void embed(const compute& c, activations& a, std::size_t n_tokens, F&& embed_row) {
  for_each_token(c, n_tokens, [&](std::size_t t) { embed_row(a.rows[t], std::span(a.h.row(t), a.h.width)); });
}

/// out = norm(x) for every row.
inline void norm_rows(const compute& c, rows_view x, const norm& n, rows_view out) {
  for_each_token(c, x.n_tokens, [&](std::size_t t) { n(c, x.row(t), x.k, out.row(t)); });
}

/// normed = norm(h). Each row is also quantised, while it is in the first-level cache, if one of the weights that read it is.
inline prepared_input prepare_norm(const compute& c, activations& a, std::size_t n_tokens, const norm& n, bool is_quantised) {
  const rows_view h = a.h.view(n_tokens), normed = a.normed.view(n_tokens);
  for_each_token(c, n_tokens, [&](std::size_t t) {
    n(c, h.row(t), h.k, normed.row(t));
    if (is_quantised) quantize_row(c, normed, t, a.quantised.data());
  });
  return {normed, a.quantised.data()};
}

/// Computes products of norm(h), which share it and its integers.
inline void normed_products(const compute& c, activations& a, std::size_t n_tokens, const norm& n, std::span<const product> products) {
  const bool is_quantised = std::any_of(products.begin(), products.end(), [](const product& p) { return p.w->is_quantised(); });
  multiply(c, prepare_norm(c, a, n_tokens, n, is_quantised), products);
}

/// h += w x.
inline void add_product(const compute& c, activations& a, const prepared_input& x, const weight& w) {
  const product p{&w, a.h.memory.data(), a.h.stride(), true};
  multiply(c, prepare(c, x, w.is_quantised(), a.quantised.span()), {&p, 1});
}

/// h += norm(y), where y is overwritten.
inline void add_norm(const compute& c, activations& a, rows_view y, const norm& n) {
  for_each_token(c, y.n_tokens, [&](std::size_t t) {
    n(c, y.row(t), y.k, y.row(t));
    float* h = a.h.row(t);
    for (std::size_t i = 0; i < y.k; ++i) h[i] += y.row(t)[i];
  });
}

/// h += norm(w x).
inline void add_normed_product(const compute& c, activations& a, const prepared_input& x, const weight& w, const norm& n) {
  const product p{&w, a.normed.memory.data(), a.normed.stride()};
  multiply(c, prepare(c, x, w.is_quantised(), a.quantised.span()), {&p, 1});
  add_norm(c, a, a.normed.view(x.x.n_tokens), n);
}

/// normed = norm(h) and logits = w normed, for the rows that want logits, one after another; returns how many. If logits.data is nullptr, only normed is
/// computed. Requires logits.stride a multiple of 16.
inline std::size_t output_head(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const weight& w, rows_view logits) {
  std::size_t n_rows = 0;
  for (std::size_t t = 0; t < n_tokens; ++t) {
    if (a.rows[t].has_logits) n(c, a.h.row(t), a.h.width, a.normed.row(n_rows++));
  }
  if (n_rows == 0 || logits.data == nullptr) return n_rows;
  const product p{&w, logits.data, logits.stride};
  multiply(c, prepare(c, a.normed.view(n_rows), w.is_quantised(), a.quantised.span()), {&p, 1});
  return n_rows;
}

}  // namespace cria::inline v0_1_0::nn
