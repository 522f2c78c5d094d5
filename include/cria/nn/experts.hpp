// SPDX-License-Identifier: MIT
// nn/experts.hpp - a feed-forward layer of experts, of which each token uses a few.
//
//   p    = softmax over the used experts of router b         b = norm(h); used: those with the largest router b, the first among equals.
//                                                            Or over all experts: then the shares of those that are used add up to less than 1
//   h   += scale sum p_e down_e (act(gate_e b) * up_e b)      in the order of p; products with their biases, if they have any
//
// Shapes    router [E,D]; gate_e, up_e [F,D]; down_e [D,F]; U experts for each token. Slots: the T U pairs of token and expert, sorted by expert
// Ensures   Only the weights of chosen experts are read, each once in a pass. A token's bits do not depend on which other tokens use its experts.
//           The softmax over all experts, divided by the sum of the chosen ones, is the softmax over the chosen ones (expert_shares::of_chosen).
// Errors    none: checked before the pass begins
// Threads   six parallel regions on the executor of `compute`, whatever the number of experts
// Source    Mixtral arXiv 2401.04088 (section 2.1), Qwen3 2505.09388; routing after Shazeer et al. 1701.06538; gpt-oss 2508.10925; OLMoE 2409.02060
#pragma once

#include <cria/core/scalar_math.hpp>
#include <cria/nn/activations.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/feed_forward.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/residual_stream.hpp>

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::inline v0_1_0::nn {

/// Which experts' shares add up to 1.
enum class expert_shares : std::uint8_t { of_chosen, of_all };

/// The weights of one layer's experts.
struct expert_weights {
  const weight& router;
  std::span<const weight> gate, up, down;
  std::size_t n_used;     ///< U
  float scale = 1;
  expert_shares shares = expert_shares::of_chosen;
};

namespace detail {

/// Chooses the experts of one token from its row of the router and gives each its share.
inline void choose_experts(const float* scores, std::size_t n_experts, float scale, expert_shares shares, std::span<expert_choice> choices) noexcept {
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
  for (std::size_t e = 0; e < n_experts && shares == expert_shares::of_all; ++e) {
    if (!taken[e]) sum += math::exp(static_cast<double>(scores[e]) - static_cast<double>(scores[choices[0].expert]));
  }
  for (expert_choice& c : choices) {
    const double share = math::exp(static_cast<double>(scores[c.expert]) - static_cast<double>(scores[choices[0].expert])) / sum;
    c.share = static_cast<float>(share) * scale;
  }
}

/// Sorts the choices by expert: gives each choice a slot, and each slot its choice and group. Returns the groups.
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

/// An input whose rows are sorted by group. Each group has integers of its own, as the input of a product of its own.
class grouped_input {
 public:
  grouped_input(const compute& c, activations& a, float_rows& x, std::span<const expert_group> groups) noexcept : c_(c), a_(a), x_(x), groups_(groups) {}

  [[nodiscard]] prepared_input of(std::size_t group) const noexcept { return {rows_of(group), words_of(group)}; }

  /// Quantises all rows, if a weight that reads them is quantised.
  void prepare(std::size_t n_slots, bool is_quantised) const {
    if (!is_quantised) return;
    for_each_token(c_, n_slots, [&](std::size_t slot) {
      const std::size_t group = a_.slots[slot].group, t = slot - groups_[group].first;
      quantize_row(c_, rows_of(group), t, words_of(group));
    });
  }

 private:
  [[nodiscard]] rows_view rows_of(std::size_t group) const noexcept {
    const expert_group& g = groups_[group];
    return {x_.row(g.first), x_.stride(), g.n, x_.width};
  }
  /// The groups before this one have `first` tokens, and each of them may have a tile's padding (activation_capacity).
  [[nodiscard]] std::int32_t* words_of(std::size_t group) const noexcept {
    const std::size_t n_before = groups_[group].first + kernels::most_padding * group;
    return a_.quantised.data() + n_before * (x_.width / kernels::group_size) * kernels::activation_words(c_.precision);
  }

  const compute& c_;
  activations& a_;
  float_rows& x_;
  std::span<const expert_group> groups_;
};

/// Chooses the experts of each token by router norm(h), sorts the choices into groups by expert, and copies norm(h) to the rows of the choices' slots.
inline std::span<const expert_group> route(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const expert_weights& w) {
  norm_rows(c, a.h.view(n_tokens), n, a.normed.view(n_tokens));
  const product router{&w.router, a.router.memory.data(), a.router.stride()};
  multiply(c, prepare(c, a.normed.view(n_tokens), w.router.is_quantised(), a.quantised.span()), {&router, 1});
  for_each_token(c, n_tokens, [&](std::size_t t) {
    choose_experts(a.router.row(t), w.gate.size(), w.scale, w.shares, std::span(a.choices).subspan(t * w.n_used, w.n_used));
  });
  const std::size_t n_slots = n_tokens * w.n_used;
  const std::span<const expert_group> groups = group_choices(a, n_slots, w.gate.size());
  for_each_token(c, n_slots, [&](std::size_t slot) {
    std::copy_n(a.normed.row(a.slots[slot].choice / w.n_used), a.normed.width, a.expert_rows.row(slot));
  });
  return groups;
}

/// gate = act(gate_e x) * (up_e x) for the rows x of each group.
inline void gated_experts(const compute& c, activations& a, std::size_t n_slots, std::span<const expert_group> groups, const expert_weights& w,
                          gate_function act) {
  const grouped_input in(c, a, a.expert_rows, groups);
  in.prepare(n_slots, w.gate.front().is_quantised() || w.up.front().is_quantised());
  const std::size_t n_panels = w.gate.front().n_panels();
  parallel_for(c.executor, groups.size() * n_panels, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end;) {
      const expert_group& g = groups[i / n_panels];
      const std::size_t first = i % n_panels, last = std::min({n_panels, first + end - i, first + 2});
      const prepared_input x = in.of(i / n_panels);
      multiply_panels(c, x, {&w.gate[g.expert], a.gate.row(g.first), a.gate.stride()}, first, last);
      multiply_panels(c, x, {&w.up[g.expert], a.up.row(g.first), a.up.stride()}, first, last);
      const std::size_t part = kernels::panel_rows * first, size = kernels::panel_rows * (last - first);
      for (std::size_t t = 0; t < g.n; ++t) join_gate(c, act, a.gate.row(g.first + t) + part, a.up.row(g.first + t) + part, size);
      i += last - first;
    }
  });
}

/// The rows of each group become down_e gate.
inline void expert_outputs(const compute& c, activations& a, std::size_t n_slots, std::span<const expert_group> groups, const expert_weights& w) {
  const grouped_input in(c, a, a.gate, groups);
  in.prepare(n_slots, w.down.front().is_quantised());
  const std::size_t n_panels = w.down.front().n_panels();
  parallel_for(c.executor, groups.size() * n_panels, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end;) {
      const expert_group& g = groups[i / n_panels];
      const std::size_t first = i % n_panels, last = std::min(n_panels, first + end - i);
      multiply_panels(c, in.of(i / n_panels), {&w.down[g.expert], a.expert_rows.row(g.first), a.expert_rows.stride()}, first, last);
      i += last - first;
    }
  });
}

}  // namespace detail

/// h += the outputs of the chosen experts, each times its share.
inline void add_experts(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const expert_weights& w, gate_function act) {
  const std::size_t n_slots = n_tokens * w.n_used;
  const std::span<const expert_group> groups = detail::route(c, a, n_tokens, n, w);
  detail::gated_experts(c, a, n_slots, groups, w, act);
  detail::expert_outputs(c, a, n_slots, groups, w);
  for_each_token(c, n_tokens, [&](std::size_t t) {
    for (const expert_choice& choice : std::span(a.choices).subspan(t * w.n_used, w.n_used)) {
      c.kernels.add_scaled(a.expert_rows.row(choice.slot), choice.share, a.h.width, a.h.row(t));
    }
  });
}

}  // namespace cria::inline v0_1_0::nn
