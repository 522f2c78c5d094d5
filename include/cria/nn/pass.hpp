// SPDX-License-Identifier: MIT
// nn/pass.hpp - one forward pass as the equations of an architecture see it: the phases of nn/layer.hpp over all its rows.
//
// Shapes    as nn/activations.hpp; the pass has n_tokens rows of one or more sequences
// Ensures   what nn/layer.hpp ensures; only `attend` knows the type of the caches, so that equations are compiled once for all of them
// Errors    none: checked before the pass begins
// Threads   used by the thread that runs the pass; phases run on its executor
// Lifetime  refers to its arguments: lives on the stack of model::forward
#pragma once

#include <cria/core/function_ref.hpp>
#include <cria/nn/experts.hpp>
#include <cria/nn/layer.hpp>

#include <cstddef>
#include <span>

namespace cria::inline v0::nn {

/// How one layer attends.
struct attention_phase {
  std::size_t layer;
  rotation turn;
  attention_parameters seen = {};
};

class pass {
 public:
  /// Appends the layer's keys and values to the caches and mixes the values.
  using attend_ref = function_ref<void(const attention_phase&)>;

  pass(const nn::compute& c, nn::activations& a, std::size_t n_tokens, attend_ref attend) noexcept : c_(c), a_(a), n_tokens_(n_tokens), attend_(attend) {}

  [[nodiscard]] const nn::compute& compute() const noexcept { return c_; }
  [[nodiscard]] nn::activations& activations() const noexcept { return a_; }
  [[nodiscard]] std::size_t n_tokens() const noexcept { return n_tokens_; }

  /// q, k, v = W norm(h).
  void queries_keys_values(const norm& n, const weight& q, const weight& k, const weight& v) const {
    const product products[] = {{&q, a_.q.memory.data(), a_.q.stride()}, {&k, a_.k.memory.data(), a_.k.stride()}, {&v, a_.v.memory.data(), a_.v.stride()}};
    normed_products(c_, a_, n_tokens_, n, products);
  }
  /// mixed = softmax(q K^T) V.
  void attend(const attention_phase& phase) const { attend_(phase); }
  /// h += W mixed.
  void add_mixed(const weight& w) const { add_product(c_, a_, a_.mixed_input(n_tokens_), w); }
  /// h += norm(W mixed).
  void add_mixed(const weight& w, const norm& after) const { add_normed_product(c_, a_, a_.mixed_input(n_tokens_), w, after); }
  /// h += W_down (act(W_gate norm(h)) * W_up norm(h)).
  void gated_feed_forward(const norm& n, const weight& gate, const weight& up, const weight& down, gate_function act) const {
    gated(c_, a_, n_tokens_, n, gate, up, act);
    add_product(c_, a_, a_.gate_input(n_tokens_), down);
  }
  /// h += norm(W_down (act(W_gate norm(h)) * W_up norm(h))).
  void gated_feed_forward(const norm& n, const weight& gate, const weight& up, const weight& down, gate_function act, const norm& after) const {
    gated(c_, a_, n_tokens_, n, gate, up, act);
    add_normed_product(c_, a_, a_.gate_input(n_tokens_), down, after);
  }
  /// h += W_down gelu(W_up norm(h)).
  void plain_feed_forward(const norm& n, const weight& up, const weight& down) const {
    plain(c_, a_, n_tokens_, n, up);
    add_product(c_, a_, a_.gate_input(n_tokens_), down);
  }
  /// h += the chosen experts' outputs by their shares.
  void expert_feed_forward(const norm& n, const expert_weights& w, gate_function act) const { experts(c_, a_, n_tokens_, n, w, act); }
  /// logits = W norm(h), capped where cap > 0.
  void head(const norm& n, const weight& w, rows_view logits, float cap = 0) const {
    const std::size_t n_rows = nn::head(c_, a_, n_tokens_, n, w, logits);
    if (cap == 0) return;
    for_each_token(c_, n_rows, [&](std::size_t t) { c_.kernels.soft_cap(logits.row(t), cap, logits.k, logits.row(t)); });
  }

 private:
  const nn::compute& c_;
  nn::activations& a_;
  std::size_t n_tokens_;
  attend_ref attend_;
};

}  // namespace cria::inline v0::nn
