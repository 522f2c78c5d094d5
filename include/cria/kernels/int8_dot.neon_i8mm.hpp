// SPDX-License-Identifier: MIT
// kernels/int8_dot.neon_i8mm.hpp - the dot step on neon_i8mm: one sdot, as on neon_dotprod.
//
// smmla, two rows by two tokens by eight k, does twice the work but does not fit a step whose lanes are rows and whose activations are one token's:
// panels interleave rows by 4 k and activations tokens by 4 k, so that each operand would need a zip, and each group an unzip of the 2 x 2 sums
// before the scales, about as many instructions as the smmlas save in a tile of 4 tokens. It wants panels and activations interleaved by 8.
#pragma once

#include <cria/kernels/int8_dot.hpp>

#if CRIA_HAS_NEON_I8MM
#include <arm_neon.h>

namespace cria::inline v0_1_0::kernels {

template <>
struct int8_dot<isa::neon_i8mm> {
  using op = isa::vec<isa::neon_i8mm>;
  static constexpr bool signed_weights = true;
  static constexpr bool is_direct = true;
  static constexpr int max_weight = 127;
  static constexpr int max_steps(int) noexcept { return 8; }

  static CRIA_ALWAYS_INLINE op::i step(op::i sum, op::i w, op::i x) noexcept {
    return vdotq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x));
  }
  static CRIA_ALWAYS_INLINE op::i widen(op::i, op::i narrow) noexcept { return narrow; }
};

}  // namespace cria::inline v0_1_0::kernels
#endif
