// SPDX-License-Identifier: MIT
// isa/vec.sse4_2.hpp - vec<sse4_2>: 128-bit x86 without fused multiply-add (its bits differ from the other sets'). Included by isa/vec.hpp.
#pragma once

#include <cria/isa/vec.hpp>

#if CRIA_HAS_SSE4_2
#include <immintrin.h>

namespace cria::inline v0_1_0::isa {

template <>
struct vec<sse4_2> : batch_vec<sse4_2::arch> {
  static CRIA_ALWAYS_INLINE f fma(f a, f b, f c) noexcept { return _mm_add_ps(_mm_mul_ps(a, b), c); }
  /// max(a, b) and min(a, b) give b where one is NaN; what xsimd's give changed between its versions.
  static CRIA_ALWAYS_INLINE f max(f a, f b) noexcept { return _mm_max_ps(a, b); }
  static CRIA_ALWAYS_INLINE f min(f a, f b) noexcept { return _mm_min_ps(a, b); }
  static CRIA_ALWAYS_INLINE f swap_pairs(f a) noexcept { return _mm_shuffle_ps(a, a, 0xb1); }
  static CRIA_ALWAYS_INLINE float hmax(f a) noexcept {
    const __m128 r = a;
    const __m128 m = _mm_max_ps(r, _mm_movehl_ps(r, r));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static CRIA_ALWAYS_INLINE std::int32_t hsum_i(i a) noexcept {
    const __m128i r = a;
    const __m128i s = _mm_add_epi32(r, _mm_unpackhi_epi64(r, r));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 1)));
  }
  static CRIA_ALWAYS_INLINE std::int32_t hmax_i(i a) noexcept {
    const __m128i r = a;
    const __m128i m = _mm_max_epi32(r, _mm_unpackhi_epi64(r, r));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 1)));
  }
  static CRIA_ALWAYS_INLINE i as_int(f a) noexcept { return _mm_castps_si128(a); }
  static CRIA_ALWAYS_INLINE f as_float(i a) noexcept { return _mm_castsi128_ps(a); }
  static CRIA_ALWAYS_INLINE f load_f16(const void* p) noexcept { return half_to_float(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
  static CRIA_ALWAYS_INLINE f set_f16(const void* p) noexcept {
    std::int16_t h;
    std::memcpy(&h, p, sizeof h);
    return half_to_float(_mm_set1_epi16(h));
  }
  static CRIA_ALWAYS_INLINE void store_f16(void* p, f x) noexcept {
    float v[4];
    f16 h[4];
    _mm_storeu_ps(v, x);
    for (std::size_t n = 0; n < 4; ++n) h[n] = to_f16(v[n]);
    std::memcpy(p, h, sizeof h);
  }
  static CRIA_ALWAYS_INLINE f load_bf16(const void* p) noexcept {
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))), 16));
  }
  static CRIA_ALWAYS_INLINE i load_u8(const void* p) noexcept {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(word));
  }
  static CRIA_ALWAYS_INLINE i load_s8(const void* p) noexcept {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    return _mm_cvtepi8_epi32(_mm_cvtsi32_si128(word));
  }
  static CRIA_ALWAYS_INLINE void store_s8(void* p, i a) noexcept {
    const __m128i low = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const std::int32_t word = _mm_cvtsi128_si32(_mm_shuffle_epi8(a, low));
    std::memcpy(p, &word, 4);
  }
  static CRIA_ALWAYS_INLINE i even_lanes(i a, i b) noexcept {
    return _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), 0x88));
  }
  static CRIA_ALWAYS_INLINE i odd_lanes(i a, i b) noexcept {
    return _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), 0xdd));
  }
  static CRIA_ALWAYS_INLINE i lookup(const std::uint8_t (&table)[16], i a) noexcept {
    return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)), a);
  }

 private:
  /// Exponent and mantissa are shifted into place and get the float's bias, which is right for normal halves x. With 1 more in the exponent and 2^-14 taken
  /// away it is right for subnormal ones, that is n 2^-24 = (1 + n 2^-10) 2^-14 - 2^-14; each is the smaller of the two where it is right (x <= 2x - 2^-14).
  /// No operand is subnormal: flush-to-zero and denormals-are-zero do not matter. Infinities and NaN get a full exponent.
  static CRIA_ALWAYS_INLINE __m128 half_to_float(__m128i halves) noexcept {
    const __m128i h = _mm_slli_epi32(_mm_cvtepi16_epi32(halves), 13), magnitude = _mm_and_si128(h, _mm_set1_epi32(0x0fffe000));
    const __m128i least = _mm_set1_epi32(0x38800000);   // 2^-14
    const __m128 normal = _mm_castsi128_ps(_mm_add_epi32(magnitude, _mm_set1_epi32(0x38000000)));
    const __m128 subnormal = _mm_sub_ps(_mm_castsi128_ps(_mm_add_epi32(magnitude, least)), _mm_castsi128_ps(least));
    const __m128i special = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x0f7fffff)), _mm_set1_epi32(0x7f800000));
    const __m128i sign = _mm_and_si128(h, _mm_set1_epi32(INT32_MIN));
    return _mm_or_ps(_mm_min_ps(normal, subnormal), _mm_castsi128_ps(_mm_or_si128(special, sign)));
  }
};

}  // namespace cria::inline v0_1_0::isa
#endif
