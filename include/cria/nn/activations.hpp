// SPDX-License-Identifier: MIT
// nn/activations.hpp - every buffer of a forward pass, allocated once: nothing is allocated per token.
//
// Shapes    at most T tokens in one pass; rows are row_stride() of their width apart
// Errors    create: out_of_memory
// Threads   belongs to one session; the operations of nn/ split it over their executor
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/kernels/activation_size.hpp>
#include <cria/kernels/layout.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/low_rank.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::nn {

/// What the buffers must hold.
struct activation_shape {
  std::size_t max_tokens;    ///< T
  std::size_t dim;           ///< D, residual stream
  std::size_t n_heads;       ///< H
  std::size_t n_kv_heads;    ///< G
  std::size_t head_dim;      ///< d
  std::size_t ffn_dim;       ///< F; with experts, that of one expert
  std::size_t rope_dim;
  std::size_t n_angles = 1;  ///< tables of rotations: 2 if windowed layers have angles of their own
  std::size_t n_experts = 0; ///< E
  std::size_t n_used = 1;    ///< U, experts that a token uses

  /// Returns how many rows feed-forward layers have at most.
  [[nodiscard]] constexpr std::size_t ffn_rows() const noexcept { return max_tokens * n_used; }
  /// Returns how many words the integers of one input take at most. Each expert has integers of its own, with the padding of a tile.
  [[nodiscard]] constexpr std::size_t quantised_words(precision p) const noexcept {
    const std::size_t dense = kernels::activation_capacity(max_tokens, std::max({dim, n_heads * head_dim, n_experts == 0 ? ffn_dim : 0}), p);
    const std::size_t n_groups = std::min(n_experts, ffn_rows());
    const std::size_t sparse = n_groups == 0 ? 0 : kernels::activation_capacity(ffn_rows() + kernels::most_padding * (n_groups - 1), std::max(dim, ffn_dim), p);
    return std::max(dense, sparse);
  }
  /// Return how many words the integers take that attention and the gate make of their output: 0 if the part that one item writes is not whole groups.
  [[nodiscard]] constexpr std::size_t mixed_words(precision p) const noexcept {
    return n_heads / n_kv_heads * head_dim % kernels::group_size == 0 ? kernels::activation_capacity(max_tokens, n_heads * head_dim, p) : 0;
  }
  [[nodiscard]] constexpr std::size_t gate_words(precision p) const noexcept {
    return ffn_dim % kernels::group_size == 0 ? kernels::activation_capacity(max_tokens, ffn_dim, p) : 0;
  }
};

/// One token of a pass.
struct pass_row {
  token_id token;
  std::size_t pos;
  bool has_logits;
  std::size_t context;   ///< how many positions its sequence may have
};

/// The most experts that a layer may have, and a token may use: far more than in published models.
inline constexpr std::size_t most_experts = 1024, most_experts_used = 64;

/// One of a token's experts, its share of the result, and the slot that computes it.
struct expert_choice {
  std::uint32_t expert;
  std::uint32_t slot;
  float share;
};

/// A row of the experts' buffers: the choice that it computes, and the group that it belongs to.
struct expert_slot {
  std::uint32_t choice;
  std::uint32_t group;
};

/// The adjacent slots of one expert.
struct expert_group {
  std::size_t expert;
  std::size_t first;
  std::size_t n;
};

/// Returns from one row of `width` floats to the next: whole panels, as products write them, but no multiple of 4 KB. A product reads the same column of up to
/// 12 rows, and at such a distance all of them would share the 8 places that a first-level cache has for them (f16 on one Zen 4 core with AVX-512, 2,048
/// columns, rows 8,192 and 8,256 bytes apart: 45 and 58 GMAC/s).
[[nodiscard]] constexpr std::size_t row_stride(std::size_t width) noexcept {
  const std::size_t whole = round_up(width, kernels::panel_rows);
  return whole + (whole != 0 && whole % 1024 == 0 ? kernels::panel_rows : 0);
}

/// A matrix of floats.
struct float_rows {
  array_buffer<float> memory;
  std::size_t width = 0;

  [[nodiscard]] std::size_t stride() const noexcept { return row_stride(width); }
  [[nodiscard]] float* row(std::size_t t) noexcept { return memory.data() + t * stride(); }
  /// Returns the first n_tokens rows.
  [[nodiscard]] rows_view view(std::size_t n_tokens) noexcept { return {memory.data(), stride(), n_tokens, width}; }
};

struct activations {
  activation_shape shape{};
  float_rows h;                          ///< [T,D] residual stream
  float_rows normed;                     ///< [T,D]
  float_rows q, mixed;                   ///< [T,H d] queries; the output of attention
  float_rows k, v;                       ///< [T,G d]
  float_rows gate, up;                   ///< [T U,F]; act(gate) * up is written to gate
  float_rows router;                     ///< [T,E] scores of experts
  float_rows expert_rows;                ///< [T U,D] inputs, then outputs of experts
  std::vector<expert_choice> choices;    ///< [T U] by token
  std::vector<expert_slot> slots;        ///< [T U] by expert
  std::vector<expert_group> groups;
  std::vector<std::uint32_t> expert_counts;   ///< [E]
  float_rows rope;                       ///< [T,2 rope_dim] cos, then sin
  float_rows rope_of_windows;            ///< the same for windowed layers, where n_angles is 2
  std::vector<pass_row> rows;            ///< [T] set by begin_pass
  std::vector<adapted_rows> adapted;     ///< set by begin_pass: the rows of sequences that have adapters
  array_buffer<float> low_rank;          ///< [T,max_rank]
  array_buffer<std::int32_t> quantised;  ///< the current input as integers
  array_buffer<std::int32_t> mixed_quantised;  ///< mixed as integers, made by attend(); empty if mixed_words() is 0
  array_buffer<std::int32_t> gate_quantised;   ///< gate as integers, made by gated_inner() and gelu_inner(); empty if gate_words() is 0

  /// Return n_tokens rows of mixed or gate as the input of the next product.
  [[nodiscard]] prepared_input mixed_input(std::size_t n_tokens) noexcept {
    return {mixed.view(n_tokens), mixed_quantised.size() == 0 ? nullptr : mixed_quantised.data()};
  }
  [[nodiscard]] prepared_input gate_input(std::size_t n_tokens) noexcept {
    return {gate.view(n_tokens), gate_quantised.size() == 0 ? nullptr : gate_quantised.data()};
  }

  /// The memory of one worker of attend().
  struct worker {
    array_buffer<float> scratch;
    std::vector<const float*> q_rows;
    std::vector<float*> out_rows;
    std::vector<std::size_t> visible_begin, visible_end;
    std::vector<kv_segment> segments;
  };
  std::vector<worker> workers;

  /// Returns how many query rows one item of attend() has at most.
  [[nodiscard]] static std::size_t item_rows(const activation_shape& s) noexcept { return std::max<std::size_t>(s.n_heads / s.n_kv_heads, 16); }

  static result<activations> create(const activation_shape& s, precision p, std::size_t n_workers, std::size_t max_segments);
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<activations> activations::create(const activation_shape& s, precision p, std::size_t n_workers, std::size_t max_segments) {
  // On 32-bit systems nothing below may wrap: no buffer has more elements than this.
  const std::uint64_t widest = row_stride(std::max({s.dim, s.n_heads * s.head_dim, s.ffn_dim, s.n_experts, 2 * s.rope_dim, low_rank_pair::max_rank}));
  const auto most = ((checked_u64(s.max_tokens) * s.n_used + checked_u64(kernels::most_padding) * (s.n_experts + 1)) * widest * sizeof(float)).get();
  if (!most || *most > std::numeric_limits<std::size_t>::max()) return error{errc::out_of_memory, "activations"};
  activations a;
  a.shape = s;
  const auto allocate = [](float_rows& r, std::size_t n_rows, std::size_t width) -> result<void> {
    r.width = width;
    CRIA_TRY(r.memory, array_buffer<float>::allocate(n_rows * r.stride()));
    return {};
  };
  const auto rows = [&](float_rows& r, std::size_t width) { return allocate(r, s.max_tokens, width); };
  CRIA_CHECK(rows(a.h, s.dim));
  CRIA_CHECK(rows(a.normed, s.dim));
  CRIA_CHECK(rows(a.q, s.n_heads * s.head_dim));
  CRIA_CHECK(rows(a.mixed, s.n_heads * s.head_dim));
  CRIA_CHECK(rows(a.k, s.n_kv_heads * s.head_dim));
  CRIA_CHECK(rows(a.v, s.n_kv_heads * s.head_dim));
  CRIA_CHECK(allocate(a.gate, s.ffn_rows(), s.ffn_dim));
  CRIA_CHECK(allocate(a.up, s.ffn_rows(), s.ffn_dim));
  if (s.n_experts != 0) {
    CRIA_CHECK(rows(a.router, s.n_experts));
    CRIA_CHECK(allocate(a.expert_rows, s.ffn_rows(), s.dim));
  }
  CRIA_CHECK(rows(a.rope, 2 * s.rope_dim));
  if (s.n_angles > 1) {
    CRIA_CHECK(rows(a.rope_of_windows, 2 * s.rope_dim));
  }
  CRIA_TRY(a.low_rank, array_buffer<float>::allocate(s.max_tokens * low_rank_pair::max_rank));
  CRIA_TRY(a.quantised, array_buffer<std::int32_t>::allocate(s.quantised_words(p)));
  if (s.mixed_words(p) != 0) {
    CRIA_TRY(a.mixed_quantised, array_buffer<std::int32_t>::allocate(s.mixed_words(p)));
  }
  if (s.gate_words(p) != 0) {
    CRIA_TRY(a.gate_quantised, array_buffer<std::int32_t>::allocate(s.gate_words(p)));
  }
  return catch_bad_alloc(
      [&]() -> result<activations> {
        a.rows.resize(s.max_tokens);
        a.adapted.reserve(s.max_tokens);
        if (s.n_experts != 0) {
          a.choices.resize(s.ffn_rows());
          a.slots.resize(s.ffn_rows());
          a.groups.resize(std::min(s.n_experts, s.ffn_rows()));
          a.expert_counts.resize(s.n_experts);
        }
        a.workers.resize(n_workers);
        for (worker& w : a.workers) {
          CRIA_TRY(w.scratch, array_buffer<float>::allocate(kernels::attention_scratch(s.head_dim)));
          w.q_rows.resize(item_rows(s));
          w.out_rows.resize(item_rows(s));
          w.visible_begin.resize(item_rows(s));
          w.visible_end.resize(item_rows(s));
          w.segments.resize(max_segments);
        }
        return std::move(a);
      },
      "activations");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::nn
