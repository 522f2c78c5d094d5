// SPDX-License-Identifier: MIT
// kernels/int8_dot.sse4_2.hpp - the dot step on sse4_2: maddubs in 16 bits over several steps, one madd by 1 to widen.
//
// Pairs of products stay below 2^15 for weights up to 63, and so do sums of max_steps(w_max) of them: nothing saturates. Larger weights, and activations
// of 15 bits, are multiplied as pairs of 16 bits: one madd and one add for two values a lane.
#pragma once

#include <cria/kernels/int8_dot.hpp>

#if CRIA_HAS_SSE4_2
#include <immintrin.h>

namespace cria::inline v0_1_0::kernels {

template <>
struct int8_dot<isa::sse4_2> {
  using op = isa::vec<isa::sse4_2>;
  static constexpr bool signed_weights = false;
  static constexpr bool is_direct = false;
  static constexpr int max_weight = 63;
  static constexpr int max_steps(int w_max) noexcept { return 32767 / (2 * 127 * w_max) < 8 ? 32767 / (2 * 127 * w_max) : 8; }

  static CRIA_ALWAYS_INLINE op::i step(op::i narrow, op::i w, op::i x) noexcept {
    __m128i sum = _mm_add_epi16(narrow, _mm_maddubs_epi16(w, x));
    CRIA_KEEP_ORDER(sum);
    return sum;
  }
  static CRIA_ALWAYS_INLINE op::i widen(op::i sum, op::i narrow) noexcept {
    return _mm_add_epi32(sum, _mm_madd_epi16(narrow, _mm_set1_epi16(1)));
  }
  static CRIA_ALWAYS_INLINE op::i even(op::i w) noexcept { return w & op::set_i(0x00ff00ff); }
  static CRIA_ALWAYS_INLINE op::i odd(op::i w) noexcept { return _mm_srli_epi16(w, 8); }
  static CRIA_ALWAYS_INLINE op::i minus(op::i a, op::i b) noexcept { return _mm_sub_epi16(a, b); }
  static CRIA_ALWAYS_INLINE op::i pairs(op::i sum, op::i w, op::i x) noexcept {
    __m128i out = _mm_add_epi32(sum, _mm_madd_epi16(w, x));
    CRIA_KEEP_ORDER(out);
    return out;
  }
};

}  // namespace cria::inline v0_1_0::kernels
#endif
