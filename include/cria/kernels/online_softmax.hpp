// SPDX-License-Identifier: MIT
// kernels/online_softmax.hpp - what attention does with the scores of one query row, for any element type of keys and values: a softmax by chunks of 256
// positions, counted from position 0.
//
// Shapes    scores: one float for each position of the chunk; part, total: [stride] floats, stride = head_dim rounded up to 16
// Requires  chunks in the order of positions; the row sees positions [begin, end)
// Ensures   a row's bits depend only on its scores and values; chunks outside [begin, end) change nothing
// Errors    none (noexcept)
// Threads   re-entrant; writes scores, total and the row's state
// Source    online softmax arXiv 1805.02867
//
// These functions are not inlined: they are called once for each row and chunk, and so a program contains them once for each instruction set instead of once
// for each element type as well.
#pragma once

#include <cria/core/types.hpp>
#include <cria/isa/f32x16.hpp>

#include <cstddef>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

template <class Isa>
struct online_softmax {
  using v = isa::f32x16<Isa>;
  static constexpr std::size_t chunk = 256;

  struct row_state {
    const float* q;
    std::size_t begin, end;   // visible positions
    float max, sum;
  };

  /// Turns the row's scores of the chunk, capped if soft_cap is not 0, into e^(score - maximum), with the maximum so far; positions that the row does not see
  /// become 0. Rescales the row's running sum and total to that maximum.
  static CRIA_NOINLINE void join_maximum(row_state& row, std::size_t base, std::size_t from, std::size_t to, float soft_cap, float* scores, float* total,
                                         std::size_t stride) noexcept {
    const std::size_t begin = row.begin > from ? row.begin : from, end = row.end < to ? row.end : to;
    if (begin >= end) {
      std::memset(scores, 0, chunk * sizeof(float));
      return;
    }
    const std::size_t low = (begin - base) / 16 * 16, high = round_up(end - base, 16);
    if (soft_cap > 0) {
      for (std::size_t n = low; n < high; n += 16) capped(v::load(scores + n), soft_cap).store(scores + n);
    }
    for (std::size_t n = low; n < begin - base; ++n) scores[n] = hidden;
    for (std::size_t n = end - base; n < high; ++n) scores[n] = hidden;
    v largest = v::load(scores + low);
    for (std::size_t n = low + 16; n < high; n += 16) largest = v::max(largest, v::load(scores + n));
    const float chunk_max = largest.hmax();
    const bool is_first = row.sum == 0;
    const float joint = is_first || chunk_max > row.max ? chunk_max : row.max;
    for (std::size_t n = low; n < high; n += 16) isa::exp<Isa>(v::load(scores + n) - v::set(joint)).store(scores + n);
    std::memset(scores, 0, (begin - base) * sizeof(float));
    std::memset(scores + (end - base), 0, (chunk - (end - base)) * sizeof(float));
    v sum = v::set(0);
    for (std::size_t n = low; n < high; n += 16) sum = sum + v::load(scores + n);
    if (is_first) {
      row.sum = sum.sum();
    } else {
      const v scale = isa::exp<Isa>(v::set(row.max) - v::set(joint));
      float old[16];
      scale.store(old);
      row.sum = row.sum * old[0];
      row.sum = row.sum + sum.sum();
      for (std::size_t c = 0; c < stride; c += 16) (v::load(total + c) * scale).store(total + c);
    }
    row.max = joint;
  }

  /// Adds a chunk's weighted values to the row's total.
  static CRIA_NOINLINE void join_values(const row_state& row, std::size_t base, const float* part, float* total, std::size_t stride) noexcept {
    if (row.end <= base || row.begin >= base + chunk) return;
    const bool is_first = row.begin / chunk == base / chunk;
    for (std::size_t c = 0; c < stride; c += 16) (is_first ? v::load(part + c) : v::load(total + c) + v::load(part + c)).store(total + c);
  }

  /// Adds a score without a value (an attention sink) to the sum. Requires that all chunks have joined.
  static CRIA_ALWAYS_INLINE void join_sink(row_state& row, float sink) noexcept {
    float share[16];
    isa::exp<Isa>(v::set(sink - row.max)).store(share);
    row.sum = row.sum + share[0];
  }

  /// Divides the total by the sum, and writes the result.
  static CRIA_NOINLINE void finish(const row_state& row, const float* total, std::size_t head_dim, float* out) noexcept {
    const v scale = v::set(1.0f / row.sum);
    for (std::size_t c = 0; c < head_dim; c += 16) {
      const v value = v::load(total + c) * scale;
      if (head_dim - c >= 16) {
        value.store(out + c);
      } else {
        float staged[16];
        value.store(staged);
        std::memcpy(out + c, staged, (head_dim - c) * sizeof(float));
      }
    }
  }

 private:
  static constexpr float hidden = -3.0e38f;  ///< below every score, but not so low that exp would make a NaN of it

  /// cap tanh(x / cap), tanh(y) = 1 - 2 / (e^2y + 1).
  static CRIA_ALWAYS_INLINE v capped(const v& x, float cap) noexcept {
    const v e = isa::exp<Isa>(x * v::set(2.0f / cap));
    return v::set(cap) * (v::set(1) - v::set(2) / (e + v::set(1)));
  }
};

}  // namespace cria::inline v0_1_0::kernels
