// SPDX-License-Identifier: MIT
// nn/layer.hpp - the fused phases that decoder layers are made of; each is one or two parallel regions.
//
//   normed_products   q, k, v = W norm(h)                          rotate_and_append   rope(norm(q)), rope(norm(k)), cache <- k, v
//   attend            mixed = softmax(q K^T) V                     add_product         h += W x            add_normed_product   h += norm(W x)
//   gated             gate = act(W_gate norm(h)) * W_up norm(h)    plain               gate = gelu(W_up norm(h))
//
// Shapes    as nn/activations.hpp; T tokens of one or more sequences side by side
// Ensures   each output element is computed by one thread in a fixed order: the same bits for any executor and any T
// Errors    none: checked before the pass begins
// Threads   run on the executor of `compute`
#pragma once

#include <cria/core/scalar_math.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/nn/activations.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/rope.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>

namespace cria::inline v0::nn {

/// One sequence's part of a pass: its next tokens, how many of the last of them want logits, and (set by begin_pass) which rows of the
/// activations and which positions they are.
template <kv_cache Cache>
struct sequence_slice {
  Cache* cache;
  std::span<const token_id> tokens;
  std::size_t n_logits = 1;
  std::size_t first_row = 0;
  std::size_t start_pos = 0;
  std::span<const low_rank_use> adapters = {};   ///< of the model that runs; the same for all positions of a cache
};

/// What a norm multiplies by, and what it adds: RMSNorm without a bias, LayerNorm with one.
struct norm {
  const array_buffer<float>& weight;
  float eps;
  const array_buffer<float>* bias = nullptr;

  void operator()(const compute& c, const float* x, std::size_t n, float* out) const noexcept {
    if (bias == nullptr) return c.kernels.rms_norm(x, weight.data(), eps, n, out);
    c.kernels.layer_norm(x, weight.data(), bias->data(), eps, n, out);
  }
};

/// What becomes of the gate of a feed-forward layer before it multiplies.
enum class gate_function : std::uint8_t { silu, gelu };

/// What attention needs to know beside the shapes.
struct attention_parameters {
  float soft_cap = 0;      ///< scores become cap tanh(score / cap); 0: none
  std::size_t window = 0;  ///< positions that a query sees, itself included; 0: all
};

/// Queries that grow with their position: by 1 + rate ln(1 + floor(position / span)).
struct query_growth {
  double rate = 0;   ///< 0: they do not
  double span = 1;   ///< positions

  [[nodiscard]] float at(std::size_t pos) const noexcept {
    return rate == 0 ? 1.0f : static_cast<float>(math::fused(rate, math::log(1 + std::floor(static_cast<double>(pos) / span)), 1.0));
  }
};

/// What happens to queries and keys before they meet.
struct rotation {
  const rope* angles = nullptr;                  ///< none: positions are not turned
  float_rows* table = nullptr;                   ///< of rope_tables with these angles
  float q_scale = 1;
  const array_buffer<float>* q_norm = nullptr;   ///< [d] RMSNorm of each head of q and of k; both or none
  const array_buffer<float>* k_norm = nullptr;
  float norm_eps = 0;
  query_growth growth = {};

  [[nodiscard]] rotation with_norms(const array_buffer<float>& q, const array_buffer<float>& k, float eps) const noexcept { return {angles, table, q_scale, &q, &k, eps, growth}; }
  [[nodiscard]] rotation by(const rope& other, float_rows& other_table) const noexcept { return {&other, &other_table, q_scale, q_norm, k_norm, norm_eps, growth}; }
};

/// Gives up what a pass has written.
template <kv_cache Cache>
void roll_back(std::span<sequence_slice<Cache>> slices) noexcept {
  for (const sequence_slice<Cache>& s : slices) s.cache->truncate(s.start_pos);
}

/// Checks the slices, gives each its rows and positions, makes room in the caches; returns the number of tokens. On an error the caches are as before.
template <kv_cache Cache>
result<std::size_t> begin_pass(activations& a, std::size_t vocab_size, std::span<sequence_slice<Cache>> slices) {
  std::size_t n_tokens = 0;
  for (sequence_slice<Cache>& s : slices) {
    for (const token_id token : s.tokens) {
      if (token < 0 || static_cast<std::size_t>(token) >= vocab_size) {
        return error{errc::bad_argument, "token", std::to_string(token) + " is not in the vocabulary"};
      }
    }
    s.first_row = n_tokens;
    s.start_pos = s.cache->length();
    n_tokens += s.tokens.size();
    if constexpr (requires { s.cache->max_pass(); }) {
      if (s.tokens.size() > s.cache->max_pass()) {
        return error{errc::bad_argument, "tokens", "the windows of this cache take " + std::to_string(s.cache->max_pass()) + " tokens at once"};
      }
    }
    if (s.tokens.empty() || s.n_logits > s.tokens.size() || n_tokens > a.shape.max_tokens) {
      return error{errc::bad_argument, "tokens", "a pass takes 1 to " + std::to_string(a.shape.max_tokens) + " tokens"};
    }
  }
  if (slices.empty()) return error{errc::bad_argument, "tokens", "a pass takes at least one sequence"};
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (auto room = slices[i].cache->reserve(slices[i].tokens.size()); !room) {
      roll_back(slices.first(i + 1));
      return std::move(room).error();
    }
  }
  a.adapted.clear();
  for (const sequence_slice<Cache>& s : slices) {
    const std::size_t n = s.tokens.size();
    if (!s.adapters.empty()) a.adapted.push_back({s.first_row, n, s.adapters});   // room for max_tokens is reserved
    for (std::size_t t = 0; t < n; ++t) a.rows[s.first_row + t] = {s.tokens[t], s.start_pos + t, t + s.n_logits >= n, s.cache->capacity()};
  }
  return n_tokens;
}

/// Gives up what a pass has written because the host asked to stop.
template <kv_cache Cache>
error cancel_pass(std::span<sequence_slice<Cache>> slices) {
  roll_back(slices);
  return {errc::cancelled, "forward"};
}

/// h = the embedding of each token; embed_row(row, h) writes one.
template <class F>
void embed(const compute& c, activations& a, std::size_t n_tokens, F&& embed_row) {
  for_each_token(c, n_tokens, [&](std::size_t t) { embed_row(a.rows[t], std::span(a.h.row(t), a.h.width)); });
}

/// Keeps what a pass has written.
template <kv_cache Cache>
void commit(std::span<sequence_slice<Cache>> slices) noexcept {
  for (const sequence_slice<Cache>& s : slices) s.cache->commit(s.tokens.size());
}

/// out = norm(x) for every row.
inline void norm_rows(const compute& c, rows_view x, const norm& n, rows_view out) {
  for_each_token(c, x.n_tokens, [&](std::size_t t) { n(c, x.row(t), x.k, out.row(t)); });
}

/// normed = norm(h), quantised in the same breath if one of the weights that read it is.
inline prepared_input prepare_norm(const compute& c, activations& a, std::size_t n_tokens, const norm& n, bool is_quantised) {
  const rows_view h = a.h.view(n_tokens), normed = a.normed.view(n_tokens);
  for_each_token(c, n_tokens, [&](std::size_t t) {
    n(c, h.row(t), h.k, normed.row(t));
    if (is_quantised) c.kernels.quantize(normed.data, normed.stride, t, t + 1, n_tokens, normed.k / 32, c.precision, a.quantised.data());
  });
  return {normed, a.quantised.data()};
}

/// The products share the norm of h and its quantised form.
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

/// normed = norm(h) and logits = w normed for the rows that want them, one after another; returns how many. Requires logits.stride a multiple of 16.
/// With no place for logits, normed is all.
inline std::size_t head(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const weight& w, rows_view logits) {
  std::size_t n_rows = 0;
  for (std::size_t t = 0; t < n_tokens; ++t) {
    if (a.rows[t].has_logits) n(c, a.h.row(t), a.h.width, a.normed.row(n_rows++));
  }
  if (n_rows == 0 || logits.data == nullptr) return n_rows;
  const product p{&w, logits.data, logits.stride};
  multiply(c, prepare(c, a.normed.view(n_rows), w.is_quantised(), a.quantised.span()), {&p, 1});
  return n_rows;
}

namespace detail {

/// Pairs of panels of gate and of up that one thread multiplies before it joins them: as many as their outputs fit the first-level cache. Going from
/// the one weight to the other is a new stream for the memory, which takes half a microsecond to come up to speed on a Zen 4: with two panels of
/// each in turn, as suits many tokens, one thread decoded 35.3 tokens/s of TinyLlama q4_0 instead of 39.7.
inline std::size_t gated_units(std::size_t n_tokens) noexcept { return n_tokens < 64 ? 64 / n_tokens : 1; }

}  // namespace detail

/// gate = act(gate_w norm(h)) * (up_w norm(h)), and its integers: a thread has both for its rows.
inline void gated(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const weight& gate_w, const weight& up_w, gate_function act) {
  const prepared_input in = prepare_norm(c, a, n_tokens, n, gate_w.is_quantised() || up_w.is_quantised());
  const product gate{&gate_w, a.gate.memory.data(), a.gate.stride()}, up{&up_w, a.up.memory.data(), a.up.stride()};
  const auto join = act == gate_function::silu ? c.kernels.silu_mul : c.kernels.gelu_mul;
  const prepared_input out = a.gate_input(n_tokens);
  const std::size_t n_panels = gate_w.n_panels(), n_units = (n_panels + 1) / 2;   // of one group of the next product's input
  const std::size_t at_once = detail::gated_units(n_tokens);
  parallel_for(c.executor, n_units, 1 + detail::panel_grain(gate_w) / 4, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t unit = begin; unit < end; unit += at_once) {
      const std::size_t next = std::min(end, unit + at_once), first = 2 * unit, last = std::min(n_panels, 2 * next);
      detail::multiply_panels(c, in, gate, first, last);
      detail::multiply_panels(c, in, up, first, last);
      for (std::size_t t = 0; t < n_tokens; ++t) {
        float* g = a.gate.row(t) + 16 * first;
        join(g, a.up.row(t) + 16 * first, 16 * (last - first), g);
        if (out.quantised != nullptr) quantize_groups(c, out.x, t, unit, next, a.gate_quantised.span());
      }
    }
  });
}

/// gate = gelu(up_w norm(h)), and its integers.
inline void plain(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const weight& up_w) {
  const prepared_input in = prepare_norm(c, a, n_tokens, n, up_w.is_quantised());
  const product up{&up_w, a.gate.memory.data(), a.gate.stride()};
  const prepared_input out = a.gate_input(n_tokens);
  const std::size_t n_units = (up_w.n_panels() + 1) / 2;   // of one group
  parallel_for(c.executor, n_units, 1 + detail::panel_grain(up_w) / 2, [&](std::size_t, std::size_t begin, std::size_t end) {
    const std::size_t first = 2 * begin, last = std::min(up_w.n_panels(), 2 * end);
    detail::multiply_panels(c, in, up, first, last);
    for (std::size_t t = 0; t < n_tokens; ++t) {
      c.kernels.gelu(a.gate.row(t) + 16 * first, 16 * (last - first), a.gate.row(t) + 16 * first);
      if (out.quantised != nullptr) quantize_groups(c, out.x, t, begin, end, a.gate_quantised.span());
    }
  });
}

/// Fills a table with cos and sin for each row's position.
inline void rope_tables(const compute& c, activations& a, std::size_t n_tokens, const rope& r, float_rows& table) {
  for_each_token(c, n_tokens, [&](std::size_t t) {
    c.kernels.rope_table({.pos = static_cast<std::uint32_t>(a.rows[t].pos),
                          .frequencies = r.is_long(a.rows[t].context) ? r.long_frequencies.data() : r.frequencies.data(),
                          .magnitude = r.magnitude,
                          .rope_dim = r.rope_dim,
                          .pairing = r.pairing,
                          .table = table.row(t)});
  });
}

/// Norms, turns and scales one row's heads.
inline void rotate_row(const compute& c, activations& a, const rotation& r, std::size_t row) noexcept {
  const std::size_t d = a.shape.head_dim;
  float *q = a.q.row(row), *k = a.k.row(row);
  if (r.q_norm != nullptr) {
    for (std::size_t head = 0; head < a.shape.n_heads; ++head) c.kernels.rms_norm(q + head * d, r.q_norm->data(), r.norm_eps, d, q + head * d);
    for (std::size_t head = 0; head < a.shape.n_kv_heads; ++head) c.kernels.rms_norm(k + head * d, r.k_norm->data(), r.norm_eps, d, k + head * d);
  }
  if (r.angles != nullptr) {
    c.kernels.rope({q, a.shape.n_heads, d, r.angles->rope_dim, r.table->row(row), r.angles->pairing});
    c.kernels.rope({k, a.shape.n_kv_heads, d, r.angles->rope_dim, r.table->row(row), r.angles->pairing});
  }
  const float scale = r.q_scale * r.growth.at(a.rows[row].pos);
  for (std::size_t n = 0; n < a.shape.n_heads * d; ++n) q[n] *= scale;
}

/// Norms and turns q and k, scales q, and writes k and v to the caches.
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

/// One attention item: the query rows of tokens [begin, end) of a sequence for one kv head, in a pass of n_tokens.
template <kv_cache Cache>
void attend_item(const compute& c, activations& a, const attention_parameters& p, const sequence_slice<Cache>& s, kv_head head, std::size_t begin, std::size_t end,
                 std::size_t n_tokens, activations::worker& w) noexcept {
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
       .soft_cap = p.soft_cap});
  if (a.mixed_quantised.size() == 0) return;
  const std::size_t first = head.head * group * d / 32, last = (head.head + 1) * group * d / 32;
  for (std::size_t t = begin; t < end; ++t) quantize_groups(c, a.mixed.view(n_tokens), s.first_row + t, first, last, a.mixed_quantised.span());
}

}  // namespace detail

/// mixed = softmax(q K^T) V for every row, and its integers; items are kv heads by a few tokens.
template <kv_cache Cache>
void attend(const compute& c, activations& a, const attention_parameters& p, std::size_t layer, std::span<sequence_slice<Cache>> sequences) {
  const std::size_t n_kv = a.shape.n_kv_heads, tokens = activations::item_rows(a.shape) / (a.shape.n_heads / n_kv);
  const std::size_t n_tokens = sequences.back().first_row + sequences.back().tokens.size();
  for (const sequence_slice<Cache>& s : sequences) {
    const std::size_t n_tiles = (s.tokens.size() + tokens - 1) / tokens;
    parallel_for(c.executor, n_tiles * n_kv, 1, [&](std::size_t worker, std::size_t first, std::size_t last) {
      for (std::size_t item = first; item < last; ++item) {
        // Tiles in an order that mixes short and long ones, so that a static split is fair.
        const std::size_t rank = item / n_kv, tile = rank % 2 == 0 ? rank / 2 : n_tiles - 1 - rank / 2;
        const std::size_t begin = tile * tokens;
        detail::attend_item(c, a, p, s, {layer, item % n_kv}, begin, std::min(s.tokens.size(), begin + tokens), n_tokens, a.workers[worker]);
      }
    });
  }
}

}  // namespace cria::inline v0::nn
