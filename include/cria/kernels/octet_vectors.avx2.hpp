// SPDX-License-Identifier: MIT
// kernels/octet_vectors.avx2.hpp - vectors of 32 codes of a row and their products on AVX2 and the sets that contain it. Included by octet_rows.hpp.
#pragma once

#include <cria/kernels/octet_rows.hpp>

#if CRIA_HAS_AVX2 || CRIA_HAS_AVX512BW
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace cria::inline v0_1_0::kernels {

template <class Isa>
struct octet_vectors_avx2 {
  using op = isa::vec<Isa>;
  using bytes = __m256i;
  static constexpr bool exist = true;

  static CRIA_PART bytes join(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
    return _mm256_set_epi64x(static_cast<long long>(d), static_cast<long long>(c), static_cast<long long>(b), static_cast<long long>(a));
  }
  static CRIA_PART bytes join(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d, std::uint32_t e, std::uint32_t f, std::uint32_t g,
                              std::uint32_t h) noexcept {
    const auto as_int = [](std::uint32_t x) CRIA_PART_LAMBDA { return static_cast<int>(x); };
    return _mm256_setr_epi32(as_int(a), as_int(b), as_int(c), as_int(d), as_int(e), as_int(f), as_int(g), as_int(h));
  }

  static CRIA_PART bytes shifted(bytes codes, unsigned shifts) noexcept {
    return _mm256_add_epi8(codes, _mm256_load_si256(reinterpret_cast<const __m256i*>(octet_shifts.bytes[shifts])));
  }
  /// Returns 64 plus the values, or 64 minus a value where bit g of its sign byte is set.
  static CRIA_PART bytes with_signs(bytes values, const std::byte* signs, std::size_t g) noexcept {
    const __m256i highest = _mm256_sll_epi16(load(signs), _mm_cvtsi64_si128(static_cast<long long>(7 - g)));
    const __m256i sign = _mm256_or_si256(highest, _mm256_set1_epi8(1));
    return _mm256_add_epi8(_mm256_sign_epi8(values, sign), _mm256_set1_epi8(64));
  }
  /// Writes 32 sign bytes, given those of seven values of each octet: the number of signs is even. May read two bytes beyond them.
  static CRIA_PART void put_eighth_signs(const std::byte* seven, std::byte* eight) noexcept {
    const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(seven)), second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(seven + 14));
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
    const __m256i x = _mm256_shuffle_epi8(both, _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, -1, 7, 8, 9, 10, 11, 12, 13, -1,  //
                                                                 0, 1, 2, 3, 4, 5, 6, -1, 7, 8, 9, 10, 11, 12, 13, -1));
    __m256i odd = _mm256_xor_si256(x, _mm256_srli_epi64(x, 32));
    odd = _mm256_xor_si256(odd, _mm256_srli_epi64(odd, 16));
    odd = _mm256_xor_si256(odd, _mm256_srli_epi64(odd, 8));
    _mm256_store_si256(reinterpret_cast<__m256i*>(eight), _mm256_or_si256(x, _mm256_slli_epi64(odd, 56)));
  }

  /// A group of a token. dot() gives eight numbers: the sums of the first four, and of the others, are those over the halves of the group.
  template <std::size_t Planes>
  struct activations {
    __m256i h, l;

    explicit CRIA_PART activations(const std::int32_t* x) noexcept : h(load(x)), l(load(x + (Planes - 1) * group_steps)) {}

    CRIA_PART __m256i dot(bytes codes) const noexcept {
      const __m256i of_l = products<1>(codes, l);
      if constexpr (Planes == 1) return of_l;
      return _mm256_add_epi32(products<128>(codes, h), of_l);
    }
  };

  /// Sums what dot(n) gives for each of op::lanes rows.
  template <class Dot>
  static CRIA_PART void sums(Dot dot, typename op::i& first, typename op::i& second) noexcept {
    __m256i low[2], high[2];
    eight_sums([&](std::size_t n) CRIA_PART_LAMBDA { return dot(n); }, low[0], high[0]);
    if constexpr (op::lanes == 16) {
      eight_sums([&](std::size_t n) CRIA_PART_LAMBDA { return dot(8 + n); }, low[1], high[1]);
    }
    first = joined(low), second = joined(high);
  }

 private:
  /// Returns Factor times the sums of each four products. Codes are below 127, so pairs of products fit 16 bits.
  template <int Factor>
  static CRIA_PART __m256i products(__m256i codes, __m256i x) noexcept {
#if CRIA_HAS_AVX_VNNI
    if constexpr (std::is_same_v<Isa, isa::avx_vnni>) return scaled<Factor>(_mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), codes, x));
#endif
#if CRIA_HAS_AVX512_VNNI
    if constexpr (std::is_same_v<Isa, isa::avx512_vnni>) return scaled<Factor>(_mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, x));
#endif
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(Factor));
  }
  template <int Factor>
  static CRIA_PART __m256i scaled(__m256i sums) noexcept {
    return Factor == 1 ? sums : _mm256_slli_epi32(sums, 7);
  }
  static CRIA_PART __m256i load(const void* p) noexcept { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

  template <class Dot>
  static CRIA_PART void eight_sums(Dot dot, __m256i& first, __m256i& second) noexcept {
    const __m256i low = four_sums(dot, 0), high = four_sums(dot, 4);
    first = _mm256_permute2x128_si256(low, high, 0x20);
    second = _mm256_permute2x128_si256(low, high, 0x31);
  }
  template <class Dot>
  static CRIA_PART __m256i four_sums(Dot dot, std::size_t n) noexcept {
    const __m256i low = _mm256_hadd_epi32(dot(n), dot(n + 1));
    return _mm256_hadd_epi32(low, _mm256_hadd_epi32(dot(n + 2), dot(n + 3)));
  }
  static CRIA_PART typename op::i joined(const __m256i (&halves)[2]) noexcept {
#if CRIA_HAS_AVX512BW
    if constexpr (op::lanes == 16) return _mm512_inserti64x4(_mm512_castsi256_si512(halves[0]), halves[1], 1);
#endif
    if constexpr (op::lanes == 8) return halves[0];
  }
};

#if CRIA_HAS_AVX2
template <>
struct octet_vectors<isa::avx2> : octet_vectors_avx2<isa::avx2> {};
#endif
#if CRIA_HAS_AVX_VNNI
template <>
struct octet_vectors<isa::avx_vnni> : octet_vectors_avx2<isa::avx_vnni> {};
#endif
#if CRIA_HAS_AVX512BW
template <>
struct octet_vectors<isa::avx512bw> : octet_vectors_avx2<isa::avx512bw> {};
#endif
#if CRIA_HAS_AVX512_VNNI
template <>
struct octet_vectors<isa::avx512_vnni> : octet_vectors_avx2<isa::avx512_vnni> {};
#endif

}  // namespace cria::inline v0_1_0::kernels
#endif
