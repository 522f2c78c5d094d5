// SPDX-License-Identifier: MIT
// kernels/int8_dot.avx_vnni.hpp - the dot step on avx_vnni: one VEX vpdpbusd.
#pragma once

#include <cria/kernels/int8_dot.hpp>

#if CRIA_HAS_AVX_VNNI
#include <immintrin.h>

namespace cria::inline v0_1_0::kernels {

template <>
struct int8_dot<isa::avx_vnni> {
  using op = isa::vec<isa::avx_vnni>;
  static constexpr bool signed_weights = false;
  static constexpr bool is_direct = true;
  static constexpr int max_weight = 255;
  static constexpr int max_steps(int) noexcept { return 8; }

  static CRIA_ALWAYS_INLINE op::i step(op::i sum, op::i w, op::i x) noexcept {
    return _mm256_dpbusd_avx_epi32(sum, w, x);
  }
  static CRIA_ALWAYS_INLINE op::i widen(op::i, op::i narrow) noexcept { return narrow; }
};

}  // namespace cria::inline v0_1_0::kernels
#endif
