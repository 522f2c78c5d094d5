// SPDX-License-Identifier: MIT
// kernels/octet_vectors.neon64.hpp - vectors of 32 codes of a row, as two of 16, and their products on NEON. Included by octet_rows.hpp.
//
// Not measured: the tests run it under emulation.
#pragma once

#include <cria/kernels/octet_rows.hpp>

#if CRIA_HAS_NEON64
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0::kernels {

template <class Isa>
struct octet_vectors_neon {
  using op = isa::vec<Isa>;
  using i = typename op::i;
  static constexpr bool exist = true;

  struct bytes {
    int8x16_t first, second;
  };

  static CRIA_PART bytes join(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
    return {vcombine_s8(vcreate_s8(a), vcreate_s8(b)), vcombine_s8(vcreate_s8(c), vcreate_s8(d))};
  }
  static CRIA_PART bytes join(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d, std::uint32_t e, std::uint32_t f, std::uint32_t g,
                              std::uint32_t h) noexcept {
    return join(a | std::uint64_t{b} << 32, c | std::uint64_t{d} << 32, e | std::uint64_t{f} << 32, g | std::uint64_t{h} << 32);
  }

  static CRIA_PART bytes shifted(bytes codes, unsigned shifts) noexcept {
    const std::int8_t* by = octet_shifts.bytes[shifts];
    return {vaddq_s8(codes.first, vld1q_s8(by)), vaddq_s8(codes.second, vld1q_s8(by + 16))};
  }
  /// Returns 64 plus the values, or 64 minus a value where bit g of its sign byte is set.
  static CRIA_PART bytes with_signs(bytes values, const std::byte* signs, std::size_t g) noexcept {
    const int8x16_t to_highest = vdupq_n_s8(static_cast<std::int8_t>(7 - g));
    return {with_signs(values.first, load(signs), to_highest), with_signs(values.second, load(signs + 16), to_highest)};
  }
  /// Writes 32 sign bytes, given those of seven values of each octet: the number of signs is even. May read two bytes beyond them.
  static CRIA_PART void put_eighth_signs(const std::byte* seven, std::byte* eight) noexcept {
    put_two(seven, eight);
    put_two(seven + 14, eight + 16);
  }

  /// A group of a token. dot() gives four numbers for each half of the group; their sums are those over the halves.
  template <std::size_t Planes>
  struct activations {
    const std::byte* x;

    struct halves {
      i first, second;
    };

    explicit CRIA_PART activations(const std::int32_t* words) noexcept : x(reinterpret_cast<const std::byte*>(words)) {}

    CRIA_PART halves dot(bytes codes) const noexcept { return {half(codes.first, x), half(codes.second, x + 16)}; }

   private:
    static CRIA_PART i half(int8x16_t codes, const std::byte* x) noexcept {
      const i w = vreinterpretq_s32_s8(codes);
      i sum = int8_dot<Isa>::step(op::set_i(0), w, op::load_i(x));
      if constexpr (Planes == 2) sum = int8_dot<Isa>::step(op::template shl<7>(sum), w, op::load_i(x + 4 * group_steps));
      return sum;
    }
  };

  /// Sums what dot(n) gives for each of four rows.
  template <class Dot>
  static CRIA_PART void sums(Dot dot, i& first, i& second) noexcept {
    const auto a = dot(0), b = dot(1), c = dot(2), d = dot(3);
    first = vpaddq_s32(vpaddq_s32(a.first, b.first), vpaddq_s32(c.first, d.first));
    second = vpaddq_s32(vpaddq_s32(a.second, b.second), vpaddq_s32(c.second, d.second));
  }

 private:
  static CRIA_PART int8x16_t load(const std::byte* p) noexcept { return vld1q_s8(reinterpret_cast<const std::int8_t*>(p)); }

  static CRIA_PART int8x16_t with_signs(int8x16_t values, int8x16_t signs, int8x16_t to_highest) noexcept {
    const int8x16_t mask = vshrq_n_s8(vshlq_s8(signs, to_highest), 7);
    return vaddq_s8(veorq_s8(values, mask), vsubq_s8(vdupq_n_s8(64), mask));
  }
  /// The same for two octets.
  static CRIA_PART void put_two(const std::byte* seven, std::byte* eight) noexcept {
    static constexpr std::uint8_t places[16] = {0, 1, 2, 3, 4, 5, 6, 255, 7, 8, 9, 10, 11, 12, 13, 255};
    const uint64x2_t x = vreinterpretq_u64_s8(vqtbl1q_s8(load(seven), vld1q_u8(places)));
    uint64x2_t odd = veorq_u64(x, vshrq_n_u64(x, 32));
    odd = veorq_u64(odd, vshrq_n_u64(odd, 16));
    odd = veorq_u64(odd, vshrq_n_u64(odd, 8));
    vst1q_s8(reinterpret_cast<std::int8_t*>(eight), vreinterpretq_s8_u64(vorrq_u64(x, vshlq_n_u64(odd, 56))));
  }
};

template <>
struct octet_vectors<isa::neon64> : octet_vectors_neon<isa::neon64> {};
#if CRIA_HAS_NEON_DOTPROD
template <>
struct octet_vectors<isa::neon_dotprod> : octet_vectors_neon<isa::neon_dotprod> {};
#endif
#if CRIA_HAS_NEON_I8MM
template <>
struct octet_vectors<isa::neon_i8mm> : octet_vectors_neon<isa::neon_i8mm> {};
#endif

}  // namespace cria::inline v0_1_0::kernels
#endif
