// SPDX-License-Identifier: MIT
// isa/vec.avx512bw.hpp - vec<avx512bw>, also used by avx512_vnni: what xsimd lacks on 512-bit registers. Included by isa/vec.hpp.
#pragma once

#include <cria/isa/vec.hpp>

#if CRIA_HAS_AVX512BW
#include <immintrin.h>

namespace cria::inline v0_1_0::isa {

template <>
struct vec<avx512bw> : batch_vec<avx512bw::arch> {
  static CRIA_ALWAYS_INLINE f fma(f a, f b, f c) noexcept { return _mm512_fmadd_ps(a, b, c); }
  /// max(a, b) and min(a, b) give b where one is NaN; what xsimd's give changed between its versions.
  static CRIA_ALWAYS_INLINE f max(f a, f b) noexcept { return _mm512_max_ps(a, b); }
  static CRIA_ALWAYS_INLINE f min(f a, f b) noexcept { return _mm512_min_ps(a, b); }
  static CRIA_ALWAYS_INLINE f swap_pairs(f a) noexcept { return _mm512_permute_ps(a, 0xb1); }
  static CRIA_ALWAYS_INLINE float hmax(f a) noexcept { return _mm512_reduce_max_ps(a); }
  static CRIA_ALWAYS_INLINE std::int32_t hsum_i(i a) noexcept { return _mm512_reduce_add_epi32(a); }
  static CRIA_ALWAYS_INLINE std::int32_t hmax_i(i a) noexcept {
    return _mm512_reduce_max_epi32(a);
  }
  static CRIA_ALWAYS_INLINE i as_int(f a) noexcept { return _mm512_castps_si512(a); }
  static CRIA_ALWAYS_INLINE f as_float(i a) noexcept { return _mm512_castsi512_ps(a); }
  static CRIA_ALWAYS_INLINE f load_f16(const void* p) noexcept { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static CRIA_ALWAYS_INLINE f set_f16(const void* p) noexcept {
    std::int16_t h;
    std::memcpy(&h, p, sizeof h);
    return _mm512_cvtph_ps(_mm256_set1_epi16(h));
  }
  static CRIA_ALWAYS_INLINE void store_f16(void* p, f x) noexcept {
    // All lanes by a mask: without optimisation, GCC 12 makes _mm512_cvtps_ph a macro that has -1 for it, of which -Wsign-conversion warns in the host.
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(0xffff, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static CRIA_ALWAYS_INLINE f load_bf16(const void* p) noexcept {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
  }
  static CRIA_ALWAYS_INLINE i load_u8(const void* p) noexcept { return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static CRIA_ALWAYS_INLINE i load_s8(const void* p) noexcept { return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static CRIA_ALWAYS_INLINE void store_s8(void* p, i a) noexcept { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a)); }
  static CRIA_ALWAYS_INLINE i even_lanes(i a, i b) noexcept {
    return _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0x88));
  }
  static CRIA_ALWAYS_INLINE i odd_lanes(i a, i b) noexcept {
    return _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0xdd));
  }
  static CRIA_ALWAYS_INLINE i lookup(const std::uint8_t (&table)[16], i a) noexcept {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), a);
  }
};

#if CRIA_HAS_AVX512_VNNI
template <>
struct vec<avx512_vnni> : vec<avx512bw> {};
#endif

}  // namespace cria::inline v0_1_0::isa
#endif
