// SPDX-License-Identifier: MIT
// kernels/int8_dot.neon_dotprod.hpp - the dot step on neon_dotprod: one sdot.
#pragma once

#include <cria/kernels/int8_dot.hpp>

#if CRIA_HAS_NEON_DOTPROD
#include <arm_neon.h>

namespace cria::inline v0_1_0::kernels {

template <>
struct int8_dot<isa::neon_dotprod> {
  using op = isa::vec<isa::neon_dotprod>;
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
