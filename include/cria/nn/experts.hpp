// SPDX-License-Identifier: MIT
// nn/experts.hpp - a feed-forward layer of experts, of which each token uses a few.
//
//   p    = softmax over the used experts of router b         b = norm(h); used: the largest of router b, the first of equal ones
//   h   += scale sum p_e down_e (act(gate_e b) * up_e b)      in the order of p
//
// Shapes    router [E,D]; gate_e, up_e [F,D]; down_e [D,F]; U experts a token. Slots: the T U pairs of token and expert, sorted by expert
// Ensures   only the chosen experts' weights are touched, each once in a pass. A token's bits do not depend on who else uses its experts.
//           softmax over all experts, divided by the sum of the chosen, is the softmax over the chosen.
// Errors    none: checked before the pass begins
// Threads   six parallel regions on the executor of `compute`, whatever the number of experts
// Source    Mixtral arXiv 2401.04088 (section 2.1), Qwen3 2505.09388; routing after Shazeer et al. 1701.06538
#pragma once

#include <cria/core/scalar_math.hpp>
#include <cria/nn/layer.hpp>

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::inline v0::nn {

/// The weights of one layer's experts.
struct expert_weights {
  const weight& router;
  std::span<const weight> gate, up, down;
  std::size_t n_used;     ///< U
  float scale = 1;
};

namespace detail {

/// Chooses the experts of one token from its row of the router and gives each its share.
inline void choose_experts(const float* scores, std::size_t n_experts, float scale, std::span<expert_choice> choices) noexcept {
  std::bitset<most_experts> taken;
  double sum = 0;
  for (std::size_t r = 0; r < choices.size(); ++r) {
    std::size_t best = n_experts;
    for (std::size_t e = 0; e < n_experts; ++e) {
      if (!taken[e] && (best == n_experts || scores[e] > scores[best])) best = e;
    }
    taken[best] = true;
    choices[r].expert = static_cast<std::uint32_t>(best);
    sum += math::exp(static_cast<double>(scores[best]) - static_cast<double>(scores[choices[0].expert]));
  }
  for (expert_choice& c : choices) {
    const double share = math::exp(static_cast<double>(scores[c.expert]) - static_cast<double>(scores[choices[0].expert])) / sum;
    c.share = static_cast<float>(share) * scale;
  }
}

/// Sorts the choices by expert: gives each its slot, each slot its choice and group; returns the groups.
inline std::span<expert_group> group_choices(activations& a, std::size_t n_choices, std::size_t n_experts) noexcept {
  std::fill_n(a.expert_counts.begin(), n_experts, 0u);
  for (std::size_t i = 0; i < n_choices; ++i) ++a.expert_counts[a.choices[i].expert];
  std::size_t n_groups = 0, first = 0;
  for (std::size_t e = 0; e < n_experts; ++e) {
    const std::size_t n = a.expert_counts[e];
    if (n == 0) continue;
    a.groups[n_groups] = {e, first, 0};
    a.expert_counts[e] = static_cast<std::uint32_t>(n_groups++);
    first += n;
  }
  for (std::size_t i = 0; i < n_choices; ++i) {
    const std::uint32_t group = a.expert_counts[a.choices[i].expert];
    expert_group& g = a.groups[group];
    const std::size_t slot = g.first + g.n++;
    a.choices[i].slot = static_cast<std::uint32_t>(slot);
    a.slots[slot] = {static_cast<std::uint32_t>(i), group};
  }
  return std::span(a.groups).first(n_groups);
}

/// The groups' rows of an input; each group has integers of its own.
class grouped_input {
 public:
  grouped_input(const compute& c, activations& a, float_rows& x, std::span<const expert_group> groups) noexcept : c_(c), a_(a), x_(x), groups_(groups) {}

  [[nodiscard]] prepared_input of(std::size_t group) const noexcept {
    const expert_group& g = groups_[group];
    // Before it lie first + 11 `group` tokens' words at most (activation_capacity).
    return {{x_.row(g.first), x_.stride(), g.n, x_.width}, a_.quantised.data() + (g.first + 11 * group) * (x_.width / 32) * kernels::activation_words(c_.precision)};
  }

  /// Quantises all rows if they are wanted as integers.
  void prepare(std::size_t n_slots, bool is_quantised) const {
    if (!is_quantised) return;
    for_each_token(c_, n_slots, [&](std::size_t slot) {
      const std::size_t group = a_.slots[slot].group, t = slot - groups_[group].first;
      const prepared_input in = of(group);
      c_.kernels.quantize(in.x.data, in.x.stride, t, t + 1, in.x.n_tokens, in.x.k / 32, c_.precision, const_cast<std::int32_t*>(in.quantised));
    });
  }

 private:
  const compute& c_;
  activations& a_;
  float_rows& x_;
  std::span<const expert_group> groups_;
};

}  // namespace detail

/// h += the chosen experts' outputs by their shares.
inline void experts(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const expert_weights& w, gate_function act) {
  const std::size_t n_slots = n_tokens * w.n_used, n_experts = w.gate.size();
  norm_rows(c, a.h.view(n_tokens), n, a.normed.view(n_tokens));
  const product router{&w.router, a.router.memory.data(), a.router.stride()};
  multiply(c, prepare(c, a.normed.view(n_tokens), w.router.is_quantised(), a.quantised.span()), {&router, 1});
  for_each_token(c, n_tokens, [&](std::size_t t) { detail::choose_experts(a.router.row(t), n_experts, w.scale, std::span(a.choices).subspan(t * w.n_used, w.n_used)); });
  const std::span<const expert_group> groups = detail::group_choices(a, n_slots, n_experts);

  for_each_token(c, n_slots, [&](std::size_t slot) { std::copy_n(a.normed.row(a.slots[slot].choice / w.n_used), a.normed.width, a.expert_rows.row(slot)); });
  const detail::grouped_input in(c, a, a.expert_rows, groups);
  in.prepare(n_slots, w.gate.front().is_quantised() || w.up.front().is_quantised());
  const auto join = act == gate_function::silu ? c.kernels.silu_mul : c.kernels.gelu_mul;
  const std::size_t n_inner = w.gate.front().n_panels();
  parallel_for(c.executor, groups.size() * n_inner, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end;) {
      const expert_group& g = groups[i / n_inner];
      const std::size_t first = i % n_inner, last = std::min({n_inner, first + end - i, first + 2});
      const prepared_input x = in.of(i / n_inner);
      detail::multiply_panels(c, x, {&w.gate[g.expert], a.gate.row(g.first), a.gate.stride()}, first, last);
      detail::multiply_panels(c, x, {&w.up[g.expert], a.up.row(g.first), a.up.stride()}, first, last);
      for (std::size_t t = 0; t < g.n; ++t) {
        float* gate = a.gate.row(g.first + t) + 16 * first;
        join(gate, a.up.row(g.first + t) + 16 * first, 16 * (last - first), gate);
      }
      i += last - first;
    }
  });

  const detail::grouped_input inner(c, a, a.gate, groups);
  inner.prepare(n_slots, w.down.front().is_quantised());
  const std::size_t n_outer = w.down.front().n_panels();
  parallel_for(c.executor, groups.size() * n_outer, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end;) {
      const expert_group& g = groups[i / n_outer];
      const std::size_t first = i % n_outer, last = std::min(n_outer, first + end - i);
      detail::multiply_panels(c, inner.of(i / n_outer), {&w.down[g.expert], a.expert_rows.row(g.first), a.expert_rows.stride()}, first, last);
      i += last - first;
    }
  });
  for_each_token(c, n_tokens, [&](std::size_t t) {
    for (const expert_choice& choice : std::span(a.choices).subspan(t * w.n_used, w.n_used)) {
      c.kernels.add_scaled(a.expert_rows.row(choice.slot), choice.share, a.h.width, a.h.row(t));
    }
  });
}

}  // namespace cria::inline v0::nn
