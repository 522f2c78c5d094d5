// SPDX-License-Identifier: MIT
// nn/pass.hpp - one forward pass as the equations of an architecture see it: the operations of nn/ over all its rows.
//
// Shapes    as nn/activations.hpp; the pass has n_tokens rows of one or more sequences
// Ensures   the same bits for any executor and any other sequences in the pass, whether or not those have adapters (nn/low_rank.hpp). Only `attend` depends on
//           the type of the caches, so that the equations are compiled once for all types.
// Errors    none: checked before the pass begins
// Threads   used by the thread that runs the pass; the operations run on its executor
// Lifetime  refers to its arguments; lives on the stack of model::forward
#pragma once

#include <cria/core/function_ref.hpp>
#include <cria/nn/activations.hpp>
#include <cria/nn/attention.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/experts.hpp>
#include <cria/nn/feed_forward.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/low_rank.hpp>
#include <cria/nn/residual_stream.hpp>

#include <cstddef>
#include <span>

namespace cria::inline v0_1_0::nn {

/// The attention of one layer.
struct attention_phase {
  std::size_t layer;
  rotation turn;
  attention_parameters seen = {};
};

/// What becomes of logits, in this order.
struct logit_finish {
  float scale = 1;
  float cap = 0;   ///< x becomes cap tanh(x / cap); 0: none
};

class pass {
 public:
  /// Appends the layer's keys and values to the caches and mixes the values.
  using attend_ref = function_ref<void(const attention_phase&)>;

  pass(const nn::compute& c, nn::activations& a, std::size_t n_tokens, attend_ref attend) noexcept
      : c_(c), a_(a), n_tokens_(n_tokens), attend_(attend) {}

  [[nodiscard]] const nn::compute& compute() const noexcept { return c_; }
  [[nodiscard]] nn::activations& activations() const noexcept { return a_; }
  [[nodiscard]] std::size_t n_tokens() const noexcept { return n_tokens_; }

  /// q, k, v = W norm(h).
  void queries_keys_values(const norm& n, const weight& q, const weight& k, const weight& v) const {
    const product products[] = {
        {&q, a_.q.memory.data(), a_.q.stride()}, {&k, a_.k.memory.data(), a_.k.stride()}, {&v, a_.v.memory.data(), a_.v.stride()}};
    normed_products(c_, a_, n_tokens_, n, products);
    adapt(a_.normed.view(n_tokens_), products);
  }
  /// mixed = softmax(q K^T) V.
  void attend(const attention_phase& phase) const { attend_(phase); }
  /// h += W mixed.
  void add_mixed(const weight& w) const { add(a_.mixed_input(n_tokens_), w); }
  /// h += norm(W mixed).
  void add_mixed(const weight& w, const norm& after) const { add_normed(a_.mixed_input(n_tokens_), w, after); }
  /// h += W_down (act(W_gate norm(h)) * W_up norm(h)).
  void gated_feed_forward(const norm& n, const weight& gate, const weight& up, const weight& down, gate_function act) const {
    join_gate(n, gate, up, act);
    add(inner_input(), down);
  }
  /// h += norm(W_down (act(W_gate norm(h)) * W_up norm(h))).
  void gated_feed_forward(const norm& n, const weight& gate, const weight& up, const weight& down, gate_function act, const norm& after) const {
    join_gate(n, gate, up, act);
    add_normed(inner_input(), down, after);
  }
  /// h += W_down gelu(W_up norm(h)).
  void plain_feed_forward(const norm& n, const weight& up, const weight& down) const {
    if (a_.adapted.empty()) {
      gelu_inner(c_, a_, n_tokens_, n, up);
    } else {
      const product inner{&up, a_.gate.memory.data(), a_.gate.stride()};
      normed_products(c_, a_, n_tokens_, n, {&inner, 1});
      adapt(a_.normed.view(n_tokens_), {&inner, 1});
      for_each_token(c_, n_tokens_, [&](std::size_t t) { c_.kernels.gelu(a_.gate.row(t), a_.gate.width, a_.gate.row(t)); });
    }
    add(inner_input(), down);
  }
  /// h += the chosen experts' outputs by their shares.
  void expert_feed_forward(const norm& n, const expert_weights& w, gate_function act) const { add_experts(c_, a_, n_tokens_, n, w, act); }
  /// logits = W norm(h), scaled and capped.
  void head(const norm& n, const weight& w, rows_view logits, const logit_finish& finish = {}) const {
    const std::size_t n_rows = output_head(c_, a_, n_tokens_, n, w, logits);
    if (logits.data == nullptr) return;
    if (!a_.adapted.empty()) adapt_head(w, logits);
    if (finish.scale == 1 && finish.cap == 0) return;
    for_each_token(c_, n_rows, [&](std::size_t t) {
      float* const row = logits.row(t);
      for (std::size_t i = 0; i < logits.k; ++i) row[i] *= finish.scale;
      if (finish.cap != 0) c_.kernels.soft_cap(row, finish.cap, logits.k, row);
    });
  }

 private:
  /// Adds to products of x what the rows' adapters add.
  void adapt(rows_view x, std::span<const product> products) const {
    for (const product& p : products) add_low_rank(c_, x, p, a_.adapted, a_.low_rank.span());
  }
  /// The same for logits. The rows of normed and of logits are those that want logits, one after another.
  void adapt_head(const weight& w, rows_view logits) const {
    std::size_t done = 0, n_rows = 0;
    for (const adapted_rows& rows : a_.adapted) {
      const auto count = [&](std::size_t end) {
        std::size_t n = 0;
        for (; done < end; ++done) n += a_.rows[done].has_logits;
        return n;
      };
      n_rows += count(rows.first);
      const adapted_rows asked{n_rows, count(rows.first + rows.n), rows.uses};
      n_rows += asked.n;
      if (asked.n != 0) add_low_rank(c_, a_.normed.view(n_tokens_), {&w, logits.data, logits.stride}, {&asked, 1}, a_.low_rank.span());
    }
  }
  /// Returns the inner activations, with their integers if the operation that made them has made those, too.
  [[nodiscard]] prepared_input inner_input() const noexcept {
    return a_.adapted.empty() ? a_.gate_input(n_tokens_) : prepared_input(a_.gate.view(n_tokens_));
  }
  void add(const prepared_input& x, const weight& w) const {
    add_product(c_, a_, x, w);
    const product p{&w, a_.h.memory.data(), a_.h.stride()};
    adapt(x.x, {&p, 1});
  }
  void add_normed(const prepared_input& x, const weight& w, const norm& after) const {
    if (a_.adapted.empty()) return add_normed_product(c_, a_, x, w, after);
    const product p{&w, a_.normed.memory.data(), a_.normed.stride()};
    multiply(c_, prepare(c_, x, w.is_quantised(), a_.quantised.span()), {&p, 1});
    adapt(x.x, {&p, 1});
    add_norm(c_, a_, a_.normed.view(n_tokens_), after);
  }
  /// gate = act(W_gate norm(h)) * W_up norm(h). Adapters add to both products before they are joined, which gated_inner cannot do.
  void join_gate(const norm& n, const weight& gate, const weight& up, gate_function act) const {
    if (a_.adapted.empty()) return gated_inner(c_, a_, n_tokens_, n, gate, up, act);
    const product products[] = {{&gate, a_.gate.memory.data(), a_.gate.stride()}, {&up, a_.up.memory.data(), a_.up.stride()}};
    normed_products(c_, a_, n_tokens_, n, products);
    adapt(a_.normed.view(n_tokens_), products);
    for_each_token(c_, n_tokens_, [&](std::size_t t) { detail::join_gate(c_, act, a_.gate.row(t), a_.up.row(t), a_.gate.width); });
  }

  const nn::compute& c_;
  nn::activations& a_;
  std::size_t n_tokens_;
  attend_ref attend_;
};

}  // namespace cria::inline v0_1_0::nn
