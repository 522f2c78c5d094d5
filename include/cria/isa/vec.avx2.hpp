// SPDX-License-Identifier: MIT
// isa/vec.avx2.hpp - vec<avx2>, also used by avx_vnni: what xsimd lacks on 256-bit registers. Included by isa/vec.hpp.
#pragma once

#include <cria/isa/vec.hpp>

#if CRIA_HAS_AVX2
#include <immintrin.h>

namespace cria::inline v0_1_0::isa {

template <>
struct vec<avx2> : batch_vec<avx2::arch> {
  static CRIA_ALWAYS_INLINE f fma(f a, f b, f c) noexcept { return _mm256_fmadd_ps(a, b, c); }
  /// max(a, b) and min(a, b) give b where one is NaN; what xsimd's give changed between its versions.
  static CRIA_ALWAYS_INLINE f max(f a, f b) noexcept { return _mm256_max_ps(a, b); }
  static CRIA_ALWAYS_INLINE f min(f a, f b) noexcept { return _mm256_min_ps(a, b); }
  static CRIA_ALWAYS_INLINE f swap_pairs(f a) noexcept { return _mm256_permute_ps(a, 0xb1); }
  static CRIA_ALWAYS_INLINE float hmax(f a) noexcept {
    const __m256 r = a;
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(r), _mm256_extractf128_ps(r, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static CRIA_ALWAYS_INLINE std::int32_t hsum_i(i a) noexcept {
    const __m256i r = a;
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 1)));
  }
  static CRIA_ALWAYS_INLINE std::int32_t hmax_i(i a) noexcept {
    const __m256i r = a;
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    m = _mm_max_epi32(m, _mm_unpackhi_epi64(m, m));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 1)));
  }
  static CRIA_ALWAYS_INLINE i as_int(f a) noexcept { return _mm256_castps_si256(a); }
  static CRIA_ALWAYS_INLINE f as_float(i a) noexcept { return _mm256_castsi256_ps(a); }
  static CRIA_ALWAYS_INLINE f load_f16(const void* p) noexcept { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static CRIA_ALWAYS_INLINE f set_f16(const void* p) noexcept {
    std::int16_t h;
    std::memcpy(&h, p, sizeof h);
    return _mm256_cvtph_ps(_mm_set1_epi16(h));
  }
  static CRIA_ALWAYS_INLINE void store_f16(void* p, f x) noexcept {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static CRIA_ALWAYS_INLINE f load_bf16(const void* p) noexcept {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))), 16));
  }
  static CRIA_ALWAYS_INLINE i load_u8(const void* p) noexcept { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
  static CRIA_ALWAYS_INLINE i load_s8(const void* p) noexcept { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
  static CRIA_ALWAYS_INLINE void store_s8(void* p, i a) noexcept {
    const __m256i low = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                         -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i b = _mm256_shuffle_epi8(a, low);
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm_or_si128(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
  }
  static CRIA_ALWAYS_INLINE i even_lanes(i a, i b) noexcept {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
  }
  static CRIA_ALWAYS_INLINE i odd_lanes(i a, i b) noexcept {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd));
  }
  static CRIA_ALWAYS_INLINE i lookup(const std::uint8_t (&table)[16], i a) noexcept {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), a);
  }
};

#if CRIA_HAS_AVX_VNNI
template <>
struct vec<avx_vnni> : vec<avx2> {};
#endif

}  // namespace cria::inline v0_1_0::isa
#endif
