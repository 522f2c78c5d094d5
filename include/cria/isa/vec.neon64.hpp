// SPDX-License-Identifier: MIT
// isa/vec.neon64.hpp - vec<neon64>, also used by neon_dotprod and neon_i8mm. Included by isa/vec.hpp.
#pragma once

#include <cria/isa/vec.hpp>

#if CRIA_HAS_NEON64
#include <arm_neon.h>

namespace cria::inline v0_1_0::isa {

template <>
struct vec<neon64> : batch_vec<neon64::arch> {
  static CRIA_ALWAYS_INLINE f fma(f a, f b, f c) noexcept { return vfmaq_f32(c, a, b); }
  /// Old versions of xsimd divide by an approximate reciprocal here.
  static CRIA_ALWAYS_INLINE f div(f a, f b) noexcept { return vdivq_f32(a, b); }
  static CRIA_ALWAYS_INLINE f swap_pairs(f a) noexcept { return vrev64q_f32(a); }
  static CRIA_ALWAYS_INLINE float hmax(f a) noexcept { return vmaxvq_f32(a); }
  static CRIA_ALWAYS_INLINE std::int32_t hsum_i(i a) noexcept { return vaddvq_s32(a); }
  static CRIA_ALWAYS_INLINE f to_float(i a) noexcept { return vcvtq_f32_s32(a); }
  static CRIA_ALWAYS_INLINE i to_int(f a) noexcept { return vcvtnq_s32_f32(a); }
  static CRIA_ALWAYS_INLINE std::int32_t hmax_i(i a) noexcept {
    return vmaxvq_s32(a);
  }
  static CRIA_ALWAYS_INLINE i as_int(f a) noexcept { return vreinterpretq_s32_f32(a); }
  static CRIA_ALWAYS_INLINE f as_float(i a) noexcept { return vreinterpretq_f32_s32(a); }
  template <int N>
  static CRIA_ALWAYS_INLINE i shr(i a) noexcept {
    if constexpr (N == 0) {
      return a;
    } else {
      return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), N));
    }
  }
  static CRIA_ALWAYS_INLINE i shr_by(i a, int count) noexcept {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-count)));
  }
  static CRIA_ALWAYS_INLINE f load_f16(const void* p) noexcept {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const std::uint16_t*>(p))));
  }
  static CRIA_ALWAYS_INLINE f set_f16(const void* p) noexcept {
    std::uint16_t h;
    std::memcpy(&h, p, sizeof h);
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h)));
  }
  static CRIA_ALWAYS_INLINE void store_f16(void* p, f x) noexcept {
    vst1_u16(static_cast<std::uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(x)));
  }
  static CRIA_ALWAYS_INLINE f load_bf16(const void* p) noexcept {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(static_cast<const std::uint16_t*>(p)), 16));
  }
  static CRIA_ALWAYS_INLINE i load_u8(const void* p) noexcept {
    std::uint32_t word;
    std::memcpy(&word, p, 4);
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(word)))));
  }
  static CRIA_ALWAYS_INLINE i load_s8(const void* p) noexcept {
    std::uint32_t word;
    std::memcpy(&word, p, 4);
    return vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(word))));
  }
  static CRIA_ALWAYS_INLINE void store_s8(void* p, i a) noexcept {
    const int16x4_t half = vmovn_s32(a);
    const std::uint32_t word = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(half, half))), 0);
    std::memcpy(p, &word, 4);
  }
  static CRIA_ALWAYS_INLINE i even_lanes(i a, i b) noexcept { return vuzp1q_s32(a, b); }
  static CRIA_ALWAYS_INLINE i odd_lanes(i a, i b) noexcept { return vuzp2q_s32(a, b); }
  static CRIA_ALWAYS_INLINE i lookup(const std::uint8_t (&table)[16], i a) noexcept {
    return vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(table), vreinterpretq_u8_s32(a)));
  }
};

#if CRIA_HAS_NEON_DOTPROD
template <>
struct vec<neon_dotprod> : vec<neon64> {};
#endif
#if CRIA_HAS_NEON_I8MM
template <>
struct vec<neon_i8mm> : vec<neon64> {};
#endif

}  // namespace cria::inline v0_1_0::isa
#endif
