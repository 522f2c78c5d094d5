// SPDX-License-Identifier: MIT
// nn/attention.hpp - from queries, keys and values to their mix: rotation, the cache, and softmax(q K^T) V, split over threads.
//
//   rope_table          cos and sin for each row's position
//   rotate_and_append   q = q_scale rope(norm(q)); cache <- rope(norm(k)), v       or norm(rope(q)), norm(rope(k))
//   attend              mixed = softmax(q K^T) V
//
// Shapes    as nn/activations.hpp; T tokens of one or more sequences, one row each
// Ensures   each output element is computed by one thread in a fixed order: the same bits for any executor and any T
// Errors    none: checked before the pass begins (nn/sequence_slice.hpp)
// Threads   run on the executor of `compute`
#pragma once

#include <cria/core/scalar_math.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/nn/activations.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/rope.hpp>
#include <cria/nn/sequence_slice.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::inline v0_1_0::nn {

/// What attention depends on, besides the shapes.
struct attention_parameters {
  float soft_cap = 0;                  ///< scores become cap tanh(score / cap); 0: none
  std::size_t window = 0;              ///< positions that a query sees, itself included; 0: all
  std::span<const float> sinks = {};   ///< [H] a score of each head's own, without a value; empty: none
};

/// Makes queries grow with their position: by the factor 1 + rate ln(1 + floor(position / span)).
struct query_growth {
  double rate = 0;   ///< 0: they do not grow
  double span = 1;   ///< positions

  [[nodiscard]] float at(std::size_t pos) const noexcept {
    return rate == 0 ? 1.0f : static_cast<float>(math::fused(rate, math::log(1 + std::floor(static_cast<double>(pos) / span)), 1.0));
  }
};

/// What the RMSNorms of q and k are of.
enum class norm_place : std::uint8_t {
  heads,          ///< each head, before it turns; weights [d]
  rows,           ///< all heads together, before they turn; weights [H d] and [G d]
  turned_heads,   ///< each head, after it has turned; weights [d]
};

/// What happens to queries and keys before they are multiplied.
struct rotation {
  const rope* angles = nullptr;         ///< nullptr: no rotation
  float_rows* table = nullptr;          ///< rope_table of these angles
  float q_scale = 1;
  std::span<const float> q_norm = {};   ///< RMSNorms of q and of k; both or none
  std::span<const float> k_norm = {};
  float norm_eps = 0;
  query_growth growth = {};
  norm_place place = norm_place::heads;

  /// Returns the same with norms of q and k.
  [[nodiscard]] rotation with_norms(std::span<const float> q, std::span<const float> k, float eps, norm_place where = norm_place::heads) const noexcept {
    return {angles, table, q_scale, q, k, eps, growth, where};
  }
  /// Returns the same by other angles.
  [[nodiscard]] rotation by(const rope& other, float_rows& other_table) const noexcept {
    return {&other, &other_table, q_scale, q_norm, k_norm, norm_eps, growth, place};
  }
};

/// Fills a table with cos and sin for each row's position.
inline void rope_table(const compute& c, activations& a, std::size_t n_tokens, const rope& r, float_rows& table) {
  for_each_token(c, n_tokens, [&](std::size_t t) {
    c.kernels.rope_table({.pos = static_cast<std::uint32_t>(a.rows[t].pos),
                          .frequencies = r.is_long(a.rows[t].context) ? r.long_frequencies.data() : r.frequencies.data(),
                          .magnitude = r.magnitude,
                          .rope_dim = r.rope_dim,
                          .pairing = r.pairing,
                          .table = table.row(t)});
  });
}

/// Normalises one row's q and k.
inline void norm_row(const compute& c, activations& a, const rotation& r, std::size_t row) noexcept {
  const std::size_t d = a.shape.head_dim, n_q = a.shape.n_heads * d, n_k = a.shape.n_kv_heads * d;
  float *q = a.q.row(row), *k = a.k.row(row);
  if (r.place == norm_place::rows) {
    c.kernels.rms_norm(q, r.q_norm.data(), r.norm_eps, n_q, q);
    c.kernels.rms_norm(k, r.k_norm.data(), r.norm_eps, n_k, k);
  } else {
    for (std::size_t at = 0; at < n_q; at += d) c.kernels.rms_norm(q + at, r.q_norm.data(), r.norm_eps, d, q + at);
    for (std::size_t at = 0; at < n_k; at += d) c.kernels.rms_norm(k + at, r.k_norm.data(), r.norm_eps, d, k + at);
  }
}

/// Normalises and rotates the heads of one row's q and k, and scales q.
inline void rotate_row(const compute& c, activations& a, const rotation& r, std::size_t row) noexcept {
  const std::size_t d = a.shape.head_dim;
  float *q = a.q.row(row), *k = a.k.row(row);
  if (!r.q_norm.empty() && r.place != norm_place::turned_heads) norm_row(c, a, r, row);
  if (r.angles != nullptr) {
    c.kernels.rope({q, a.shape.n_heads, d, r.angles->rope_dim, r.table->row(row), r.angles->pairing});
    c.kernels.rope({k, a.shape.n_kv_heads, d, r.angles->rope_dim, r.table->row(row), r.angles->pairing});
  }
  if (!r.q_norm.empty() && r.place == norm_place::turned_heads) norm_row(c, a, r, row);
  const float scale = r.q_scale * r.growth.at(a.rows[row].pos);
  for (std::size_t n = 0; n < a.shape.n_heads * d; ++n) q[n] *= scale;
}

/// Normalises and rotates q and k, scales q, and writes k and v to the caches.
template <kv_cache Cache>
void rotate_and_append(const compute& c, activations& a, const rotation& r, std::size_t layer, std::span<sequence_slice<Cache>> sequences) {
  const std::size_t d = a.shape.head_dim;
  for (const sequence_slice<Cache>& s : sequences) {
    for_each_token(c, s.tokens.size(), [&](std::size_t t) {
      const std::size_t row = s.first_row + t;
      rotate_row(c, a, r, row);
      for (std::size_t head = 0; head < a.shape.n_kv_heads; ++head) {
        s.cache->write({{layer, head}, s.start_pos + t}, {a.k.row(row) + head * d, a.v.row(row) + head * d});
      }
    });
  }
}

namespace detail {

/// The work of one call of the kernel: the query rows of tokens [begin, end) of a sequence for one kv head, in a pass of n_tokens.
struct attention_item {
  kv_head head;
  std::size_t begin, end;
  std::size_t n_tokens;
};

template <kv_cache Cache>
void attend_item(const compute& c, activations& a, const attention_parameters& p, const sequence_slice<Cache>& s, const attention_item& item,
                 activations::worker& w) noexcept {
  const auto [head, begin, end, n_tokens] = item;
  const std::size_t d = a.shape.head_dim, group = a.shape.n_heads / a.shape.n_kv_heads;
  std::size_t n = 0;
  for (std::size_t t = begin; t < end; ++t) {
    const std::size_t pos = s.start_pos + t, seen = p.window != 0 && pos + 1 > p.window ? pos + 1 - p.window : 0;
    for (std::size_t g = 0; g < group; ++g, ++n) {
      const std::size_t column = (head.head * group + g) * d;
      w.q_rows[n] = a.q.row(s.first_row + t) + column;
      w.out_rows[n] = a.mixed.row(s.first_row + t) + column;
      w.visible_begin[n] = seen;
      w.visible_end[n] = pos + 1;
    }
  }
  const std::size_t n_segments = s.cache->segments(head, w.segments);
  const bool is_dot = Cache::type == kv_type::bf16 && c.has_bf16_dot;
  const auto mix = is_dot ? c.kernels.attention_bf16_dot : c.kernels.attention[static_cast<std::size_t>(Cache::type)];
  mix({.runs = w.segments.data(),
       .n_runs = n_segments,
       .head_dim = d,
       .v_stride = s.cache->v_stride(),
       .q = w.q_rows.data(),
       .visible_begin = w.visible_begin.data(),
       .visible_end = w.visible_end.data(),
       .out = w.out_rows.data(),
       .n_rows = n,
       .scratch = w.scratch.data(),
       .soft_cap = p.soft_cap,
       .sinks = p.sinks.empty() ? nullptr : p.sinks.data() + head.head * group,
       .n_sinks = group});
  if (a.mixed_quantised.size() == 0) return;
  const std::size_t first = head.head * group * d / kernels::group_size, last = (head.head + 1) * group * d / kernels::group_size;
  for (std::size_t t = begin; t < end; ++t) quantize_groups(c, a.mixed.view(n_tokens), s.first_row + t, first, last, a.mixed_quantised.data());
}

}  // namespace detail

/// mixed = softmax(q K^T) V for every row, and its integers. The work is split into items of a kv head and a few tokens.
template <kv_cache Cache>
void attend(const compute& c, activations& a, const attention_parameters& p, std::size_t layer, std::span<sequence_slice<Cache>> sequences) {
  const std::size_t n_kv = a.shape.n_kv_heads, tokens = activations::item_rows(a.shape) / (a.shape.n_heads / n_kv);
  const std::size_t n_tokens = sequences.back().first_row + sequences.back().tokens.size();
  for (const sequence_slice<Cache>& s : sequences) {
    const std::size_t n_tiles = (s.tokens.size() + tokens - 1) / tokens;
    parallel_for(c.executor, n_tiles * n_kv, 1, [&](std::size_t worker, std::size_t first, std::size_t last) {
      for (std::size_t item = first; item < last; ++item) {
        // Later tokens see more positions. This order alternates early and late tiles, so that equal ranges of items are about equal work.
        const std::size_t rank = item / n_kv, tile = rank % 2 == 0 ? rank / 2 : n_tiles - 1 - rank / 2;
        const std::size_t begin = tile * tokens;
        const detail::attention_item work{{layer, item % n_kv}, begin, std::min(s.tokens.size(), begin + tokens), n_tokens};
        detail::attend_item(c, a, p, s, work, a.workers[worker]);
      }
    });
  }
}

}  // namespace cria::inline v0_1_0::nn
