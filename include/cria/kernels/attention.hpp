// SPDX-License-Identifier: MIT
// kernels/attention.hpp - softmax(q K^T) V for query rows that share a kv head; with sinks, a score of each row's own is in the softmax and has no value.
//
// Shapes    K in panels of 16 positions [panel][head_dim][16] (position = lane), V rows [position][v_stride] (channel = lane)
// Requires  every visible position of a row is in a run; q is scaled already; each row sees at least one position
// Ensures   Positions are processed in chunks of 256, counted from position 0: scores, maximum, exponentials, sum and weighted values of a chunk, which
//           then joins the rows' running results. The bits of a row do not depend on other rows, on threads, or on what is at positions that it does not
//           see, inf and NaN included. Chunks that no row sees are not read.
// Errors    none (noexcept)
// Threads   re-entrant; writes out and scratch
// Source    online softmax arXiv 1805.02867, by chunks as FlashAttention 2205.14135; GQA 2305.13245; sinks as in 2309.17453 (section 3.3), learned
//
// A key or value is loaded and converted once for `rows_at_once` query rows, which are the heads of a group, or tokens of a prompt. On AVX-512 that takes 8
// accumulators, 1 key and 1 broadcast; on AVX2 and NEON, 4 rows of two or four registers.
// With a single token, keys and values come from memory, and the processor's own prefetching does not keep up. So while a panel of keys is multiplied, the
// values of its positions and the keys two panels ahead are prefetched. One Zen 4 core, 8 rows, 1,536 positions of 64 channels: 48 us without prefetching,
// 34 us with it, 33 us if everything is in the cache. The product with a single token only loses by it (gemm.hpp).
#pragma once

#include <cria/core/types.hpp>
#include <cria/isa/f32x16.hpp>
#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/online_softmax.hpp>

#include <cstddef>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

/// How keys and values of one element type are read:
///   query   returns q in the form that dot takes: itself, or written to `room`, which holds round_up(head_dim, 16) floats
///   dot     adds q_r . k to acc[r] for a panel of 16 positions, and prefetches as many bytes at `soon` as the panel has
///   value   returns 16 channels of a position
template <kv_type Type, class Isa>
struct kv_element;

template <class Isa, std::size_t Bytes>
struct plain_kv_element {
  using v = isa::f32x16<Isa>;
  using op = isa::vec<Isa>;

  static CRIA_ALWAYS_INLINE v load(const std::byte* p) noexcept {
    return v::make([=](std::size_t n) CRIA_LAMBDA_INLINE {
      if constexpr (Bytes == 2) {
        return op::load_f16(p + 2 * n * op::lanes);
      } else {
        return op::as_float(op::load_i(p + 4 * n * op::lanes));
      }
    });
  }
  static CRIA_ALWAYS_INLINE std::size_t k_bytes(std::size_t positions, std::size_t head_dim) noexcept { return positions * head_dim * Bytes; }
  static CRIA_ALWAYS_INLINE std::size_t v_bytes(std::size_t positions, std::size_t v_stride) noexcept { return positions * v_stride * Bytes; }

  static CRIA_ALWAYS_INLINE const float* query(const float* q, std::size_t, float*) noexcept { return q; }
  template <std::size_t R, class Query>
  static CRIA_ALWAYS_INLINE void dot(const std::byte* k, const std::byte* soon, std::size_t head_dim, Query query, v (&acc)[R]) noexcept {
    const std::size_t next = 2 * k_bytes(16, head_dim);
    for (std::size_t c = 0; c < head_dim; ++c, k += 16 * Bytes) {
      CRIA_PREFETCH(k + next);
      CRIA_PREFETCH(soon + c * 16 * Bytes);
      const v key = load(k);
      CRIA_UNROLL
      for (std::size_t r = 0; r < R; ++r) acc[r] = v::fma(key, v::set(query(r)[c]), acc[r]);
    }
  }
  static CRIA_ALWAYS_INLINE v value(const std::byte* row, std::size_t c) noexcept { return load(row + c * Bytes); }
};

template <class Isa>
struct kv_element<kv_type::f16, Isa> : plain_kv_element<Isa, 2> {};
template <class Isa>
struct kv_element<kv_type::f32, Isa> : plain_kv_element<Isa, 4> {};

/// bf16: q is rounded as well, and keys are read by pairs of channels. The second of a pair is multiplied and added first, then the first, each rounded once.
/// The dot products of AVX512_BF16 do the same, so that the bits are equal with and without them (except for sums below 2^-126, which those make zero).
template <class Isa>
struct kv_element<kv_type::bf16, Isa> {
  using v = isa::f32x16<Isa>;
  using op = isa::vec<Isa>;

  static CRIA_ALWAYS_INLINE std::size_t k_bytes(std::size_t positions, std::size_t head_dim) noexcept { return positions * round_up(head_dim, 2) * 2; }
  static CRIA_ALWAYS_INLINE std::size_t v_bytes(std::size_t positions, std::size_t v_stride) noexcept { return positions * v_stride * 2; }
  static CRIA_ALWAYS_INLINE const float* query(const float* q, std::size_t head_dim, float* room) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) room[c] = to_float(to_normal_bf16(q[c]));
    if (head_dim % 2 != 0) room[head_dim] = 0;
    return room;
  }
  template <std::size_t R, class Query>
  static CRIA_ALWAYS_INLINE void dot(const std::byte* k, const std::byte* soon, std::size_t head_dim, Query query, v (&acc)[R]) noexcept {
    const std::size_t next = 2 * k_bytes(16, head_dim);
    for (std::size_t c = 0; c < head_dim; c += 2, k += 64, soon += 64) {
      CRIA_PREFETCH(k + next);
      CRIA_PREFETCH(soon);
      const v second = v::make([=](std::size_t n) CRIA_LAMBDA_INLINE { return op::as_float(op::load_i(k + 4 * n * op::lanes) & op::set_i(-0x10000)); });
      CRIA_UNROLL
      for (std::size_t r = 0; r < R; ++r) acc[r] = v::fma(second, v::set(query(r)[c + 1]), acc[r]);
      const v first = v::make([=](std::size_t n) CRIA_LAMBDA_INLINE { return op::as_float(op::template shl<16>(op::load_i(k + 4 * n * op::lanes))); });
      CRIA_UNROLL
      for (std::size_t r = 0; r < R; ++r) acc[r] = v::fma(first, v::set(query(r)[c]), acc[r]);
    }
  }
  static CRIA_ALWAYS_INLINE v value(const std::byte* row, std::size_t c) noexcept {
    return v::make([=](std::size_t n) CRIA_LAMBDA_INLINE { return op::load_bf16(row + 2 * (c + n * op::lanes)); });
  }
};

/// The same with the processor's own instruction, for sets whose processors may have it.
template <class Isa>
struct bf16_dot_element {
  static constexpr bool exists = false;
};

/// q8_0: channels in groups of 32, with a half-precision scale for each position.
///   key panel   per group: [32 channels][16 positions] int8, 16 scales         value row   per group: 32 int8, 1 scale
template <class Isa>
struct kv_element<kv_type::q8_0, Isa> {
  using v = isa::f32x16<Isa>;
  using op = isa::vec<Isa>;

  static CRIA_ALWAYS_INLINE v load(const std::byte* p) noexcept {
    return v::make([=](std::size_t n) CRIA_LAMBDA_INLINE { return op::to_float(op::load_s8(p + n * op::lanes)); });
  }
  static CRIA_ALWAYS_INLINE std::size_t k_bytes(std::size_t positions, std::size_t head_dim) noexcept { return positions * (round_up(head_dim, 32) / 32 * 34); }
  static CRIA_ALWAYS_INLINE std::size_t v_bytes(std::size_t positions, std::size_t v_stride) noexcept { return positions * (v_stride / 32 * 34); }
  static CRIA_ALWAYS_INLINE const float* query(const float* q, std::size_t, float*) noexcept { return q; }

  template <std::size_t R, class Query>
  static CRIA_ALWAYS_INLINE void dot(const std::byte* k, const std::byte* soon, std::size_t head_dim, Query query, v (&acc)[R]) noexcept {
    const std::size_t next = 2 * k_bytes(16, head_dim);
    for (std::size_t first = 0; first < head_dim; first += 32, k += 544, soon += 544) {
      const std::size_t n_channels = head_dim - first < 32 ? head_dim - first : 32;
      v part[R];
      CRIA_UNROLL
      for (std::size_t r = 0; r < R; ++r) part[r] = v::set(0);
      for (std::size_t c = 0; c < n_channels; ++c) {
        CRIA_PREFETCH(k + next + 16 * c);
        CRIA_PREFETCH(soon + 16 * c);
        const v key = load(k + 16 * c);
        CRIA_UNROLL
        for (std::size_t r = 0; r < R; ++r) part[r] = v::fma(key, v::set(query(r)[first + c]), part[r]);
      }
      const v scale = plain_kv_element<Isa, 2>::load(k + 512);
      CRIA_UNROLL
      for (std::size_t r = 0; r < R; ++r) acc[r] = v::fma(part[r], scale, acc[r]);
    }
  }
  static CRIA_ALWAYS_INLINE v value(const std::byte* row, std::size_t c) noexcept {
    const std::byte* group = row + c / 32 * 34;
    return load(group + c % 32) * v::make([=](std::size_t) CRIA_LAMBDA_INLINE { return op::set_f16(group + 32); });
  }
};

template <kv_type Type, class Isa, class Element = kv_element<Type, Isa>>
struct attention {
  using v = isa::f32x16<Isa>;
  using element = Element;
  using softmax = online_softmax<Isa>;
  using row_state = typename softmax::row_state;
  static constexpr std::size_t chunk = softmax::chunk;
  static constexpr std::size_t rows_at_once = isa::vec<Isa>::lanes == 16 ? 8 : 4;

  static void run(const attention_args& a) noexcept {
    for (std::size_t first = 0; first < a.n_rows; first += rows_at_once) {
      const std::size_t count = a.n_rows - first < rows_at_once ? a.n_rows - first : rows_at_once;
      block(a, first, count);
    }
  }

 private:
  static CRIA_NOINLINE void block(const attention_args& a, std::size_t first, std::size_t count) noexcept {
    const std::size_t stride = round_up(a.head_dim, 16);
    float* scores = a.scratch;
    float* part = scores + rows_at_once * chunk;
    float* total = part + rows_at_once * stride;
    float* room = total + rows_at_once * stride;
    row_state rows[rows_at_once];
    std::size_t begin = ~std::size_t{0}, end = 0;
    for (std::size_t r = 0; r < rows_at_once; ++r) {
      const std::size_t n = first + (r < count ? r : 0);
      rows[r] = {element::query(a.q[n], a.head_dim, room + r * stride), a.visible_begin[n], r < count ? a.visible_end[n] : a.visible_begin[n], 0, 0};
      if (r < count) {
        begin = rows[r].begin < begin ? rows[r].begin : begin;
        end = rows[r].end > end ? rows[r].end : end;
      }
    }
    for (std::size_t base = begin / chunk * chunk; base < end; base += chunk) {
      const std::size_t from = begin > base ? begin : base, to = end < base + chunk ? end : base + chunk;
      scores_of(a, rows, base, from, to, scores);
      for (std::size_t r = 0; r < count; ++r) softmax::join_maximum(rows[r], base, from, to, a.soft_cap, scores + r * chunk, total + r * stride, stride);
      for (std::size_t r = count; r < rows_at_once; ++r) std::memset(scores + r * chunk, 0, chunk * sizeof(float));
      add_chunk(a, base, {from, to}, seen_by_all(rows, count, {from, to}), scores, part);
      for (std::size_t r = 0; r < count; ++r) softmax::join_values(rows[r], base, part + r * stride, total + r * stride, stride);
    }
    for (std::size_t r = 0; r < count && a.sinks != nullptr; ++r) softmax::join_sink(rows[r], a.sinks[(first + r) % a.n_sinks]);
    for (std::size_t r = 0; r < count; ++r) softmax::finish(rows[r], total + r * stride, a.head_dim, a.out[first + r]);
  }

  struct range {
    std::size_t begin, end;
  };

  /// Returns the positions of a chunk's part that are visible to all rows that see anything of it. Requires at least one such row.
  static CRIA_ALWAYS_INLINE range seen_by_all(const row_state (&rows)[rows_at_once], std::size_t count, range visible) noexcept {
    range common = visible;
    for (std::size_t r = 0; r < count; ++r) {
      if (rows[r].begin >= visible.end || rows[r].end <= visible.begin) continue;
      common.begin = rows[r].begin > common.begin ? rows[r].begin : common.begin;
      common.end = rows[r].end < common.end ? rows[r].end : common.end;
    }
    return {common.begin, common.end > common.begin ? common.end : common.begin};
  }

  /// part[r] = the sum of the weighted values of a chunk's visible positions. Only those before and after `common` may be hidden from some rows.
  static CRIA_ALWAYS_INLINE void add_chunk(const attention_args& a, std::size_t base, range visible, range common, const float* scores, float* part) noexcept {
    const bool has_part = visible.begin < common.begin;
    if (has_part) {
      std::memset(part, 0, rows_at_once * round_up(a.head_dim, 16) * sizeof(float));
      add_seen_values(a, base, visible.begin, common.begin, scores, part);
    }
    add_values<true>(a, base, common.begin, common.end, scores, part, has_part);
    if (common.end < visible.end) add_seen_values(a, base, common.end, visible.end, scores, part);
  }

  /// scores[r][pos - base] = q_r . k_pos for the panels of positions [from, to).
  static CRIA_ALWAYS_INLINE void scores_of(const attention_args& a, const row_state (&rows)[rows_at_once], std::size_t base, std::size_t from,
                                           std::size_t to, float* scores) noexcept {
    for (std::size_t run = 0; run < a.n_runs; ++run) {
      const kv_segment& in = a.runs[run];
      const std::size_t first = in.first_pos > from / 16 * 16 ? in.first_pos : from / 16 * 16;
      const std::size_t last = in.first_pos + in.length < to ? in.first_pos + in.length : to;
      for (std::size_t pos = first; pos < last; pos += 16) {
        v acc[rows_at_once];
        CRIA_UNROLL
        for (std::size_t r = 0; r < rows_at_once; ++r) acc[r] = v::set(0);
        element::dot(in.k + element::k_bytes(pos - in.first_pos, a.head_dim), in.v + element::v_bytes(pos - in.first_pos, a.v_stride), a.head_dim,
                     [&](std::size_t r) CRIA_LAMBDA_INLINE { return rows[r].q; }, acc);
        CRIA_UNROLL
        for (std::size_t r = 0; r < rows_at_once; ++r) acc[r].store(scores + r * chunk + (pos - base));
      }
    }
  }

  /// Adds scores[r][pos - base] v_pos to part[r] (to 0 if !has_part) for positions [from, to), in their order. A weight is 0 only where its row does not see
  /// the position, since exp never returns less than a positive minimum. Such values are skipped, because 0 times inf would be NaN. With AllSeen nothing is
  /// skipped: then only rows that see nothing of the chunk have weights of 0, and their part is not used.
  template <bool AllSeen>
  static CRIA_ALWAYS_INLINE void add_values(const attention_args& a, std::size_t base, std::size_t from, std::size_t to, const float* scores,
                                            float* part, bool has_part = true) noexcept {
    const std::size_t stride = round_up(a.head_dim, 16);
    for (std::size_t c = 0; c < stride; c += 16) {
      v acc[rows_at_once];
      CRIA_UNROLL
      for (std::size_t r = 0; r < rows_at_once; ++r) acc[r] = has_part ? v::load(part + r * stride + c) : v::set(0);
      for (std::size_t run = 0; run < a.n_runs; ++run) {
        const kv_segment& in = a.runs[run];
        const std::size_t first = in.first_pos > from ? in.first_pos : from;
        const std::size_t last = in.first_pos + in.length < to ? in.first_pos + in.length : to;
        for (std::size_t pos = first; pos < last; ++pos) {
          const v value = element::value(in.v + element::v_bytes(pos - in.first_pos, a.v_stride), c);
          CRIA_UNROLL
          for (std::size_t r = 0; r < rows_at_once; ++r) {
            const float weight = scores[r * chunk + (pos - base)];
            if (AllSeen || weight != 0) acc[r] = v::fma(value, v::set(weight), acc[r]);
          }
        }
      }
      CRIA_UNROLL
      for (std::size_t r = 0; r < rows_at_once; ++r) acc[r].store(part + r * stride + c);
    }
  }

  /// A call: the few positions at the ends that some rows see.
  static CRIA_NOINLINE void add_seen_values(const attention_args& a, std::size_t base, std::size_t from, std::size_t to, const float* scores,
                                            float* part) noexcept {
    add_values<false>(a, base, from, to, scores, part);
  }
};

}  // namespace cria::inline v0_1_0::kernels

#include <cria/kernels/attention.avx512_vnni.hpp>
