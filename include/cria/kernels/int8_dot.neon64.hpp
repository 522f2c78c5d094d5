// SPDX-License-Identifier: MIT
// kernels/int8_dot.neon64.hpp - the dot step on neon64: widening multiplies and pairwise adds.
#pragma once

#include <cria/kernels/int8_dot.hpp>

#if CRIA_HAS_NEON64
#include <arm_neon.h>

namespace cria::inline v0_1_0::kernels {

template <>
struct int8_dot<isa::neon64> {
  using op = isa::vec<isa::neon64>;
  static constexpr bool signed_weights = true;
  static constexpr bool is_direct = true;
  static constexpr int max_weight = 127;
  static constexpr int max_steps(int) noexcept { return 8; }

  static CRIA_ALWAYS_INLINE op::i step(op::i sum, op::i w, op::i x) noexcept {
    const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(x);
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(a, b));
    return vaddq_s32(sum, vpaddq_s32(low, high));
  }
  static CRIA_ALWAYS_INLINE op::i widen(op::i, op::i narrow) noexcept { return narrow; }
};

}  // namespace cria::inline v0_1_0::kernels
#endif
