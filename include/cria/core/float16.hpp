// SPDX-License-Identifier: MIT
// core/float16.hpp - the two 16-bit float formats as storage, with exact scalar conversions.
//
//          bit 15   14 ..  10   9 ... 0                    bit 15   14 ..... 7   6 .. 0
//   f16   | sign | exponent+15 | fraction |        bf16   | sign | exponent+127 | fraction |
//
// Ensures   to_float is exact, subnormals included; to_f16 and to_bf16 round to nearest, ties to even, overflow to infinity;
//           a NaN stays a NaN with its sign and leading payload bits, made quiet (bf16 to float keeps every bit). Denormals need no
//           help of the floating-point environment: the results do not depend on flush-to-zero modes, only on round-to-nearest.
// Errors    none (noexcept)
// Source    IEEE 754-2019 binary16; bfloat16 is the upper half of binary32
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/config.hpp>

#include <cstdint>

namespace cria::inline v0_1_0 {

/// An IEEE binary16 number: its bits. Arithmetic happens in float.
struct f16 {
  std::uint16_t bits = 0;
  friend constexpr bool operator==(f16, f16) noexcept = default;  ///< same bits
};

/// A bfloat16 number: its bits. Arithmetic happens in float.
struct bf16 {
  std::uint16_t bits = 0;
  friend constexpr bool operator==(bf16, bf16) noexcept = default;  ///< same bits
};

static_assert(sizeof(f16) == 2 && sizeof(bf16) == 2);

namespace detail {
inline constexpr std::uint32_t float_infinity_bits = 0x7f800000;
inline constexpr std::uint32_t float_quiet_bit = 0x00400000;

/// Returns `condition ? a : b` by masks: a conditional expression becomes a branch around the float operation in GCC, and the loop scalar.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::uint32_t select(bool condition, std::uint32_t a, std::uint32_t b) noexcept {
  const std::uint32_t mask = 0u - static_cast<std::uint32_t>(condition);
  return (a & mask) | (b & ~mask);
}
}  // namespace detail

/// Returns the half's value.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr float to_float(f16 h) noexcept {
  constexpr std::uint32_t rebias = (127u - 15u) << 23;
  const std::uint32_t sign = (h.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = (h.bits & 0x7fffu) << 13;
  const float subnormal = static_cast<float>(static_cast<std::int32_t>(h.bits & 0x3ffu)) * 0x1p-24f;
  std::uint32_t bits = magnitude + rebias;
  bits += detail::select(magnitude >= 0x7c00u << 13, rebias, 0);   // exponent 31 is that of infinity and NaN
  bits |= detail::select(magnitude > 0x7c00u << 13, detail::float_quiet_bit, 0);
  bits = detail::select(magnitude < 0x0400u << 13, bit_cast<std::uint32_t>(subnormal), bits);
  return bit_cast<float>(bits | sign);
}

/// Returns the value, exactly.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr float to_float(bf16 b) noexcept {
  return bit_cast<float>(static_cast<std::uint32_t>(b.bits) << 16);
}

/// Returns the nearest half.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr f16 to_f16(float value) noexcept {
  constexpr std::uint32_t rebias = (127u - 15u) << 23;
  constexpr std::uint32_t too_large = (127u + 16u) << 23;   // 65536; from 65520 on the rounding itself carries into infinity
  constexpr std::uint32_t min_normal = (127u - 14u) << 23;
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Adding 0.5 rounds to multiples of 2^-24, the step of the half's subnormals, by the addition's own rounding.
  const std::uint32_t subnormal =
      bit_cast<std::uint32_t>(bit_cast<float>(detail::select(magnitude < min_normal, magnitude, 0)) + 0.5f) - 0x3f000000u;
  std::uint32_t half = (magnitude - rebias + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  half = detail::select(magnitude < min_normal, subnormal, half);
  half = detail::select(magnitude >= too_large, 0x7c00u, half);
  half = detail::select(magnitude > detail::float_infinity_bits, 0x7e00u | ((magnitude >> 13) & 0x3ffu), half);
  return {static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | half)};
}

/// Returns the nearest bfloat16.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr bf16 to_bf16(float value) noexcept {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool is_nan = (bits & 0x7fffffffu) > detail::float_infinity_bits;
  return {static_cast<std::uint16_t>((is_nan ? bits | detail::float_quiet_bit : rounded) >> 16)};
}

/// Returns the nearest bfloat16, or zero where that is subnormal: as the dot products of processors read it.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr bf16 to_normal_bf16(float value) noexcept {
  const bf16 nearest = to_bf16(value);
  return (nearest.bits & 0x7f80u) == 0 ? bf16{static_cast<std::uint16_t>(nearest.bits & 0x8000u)} : nearest;
}

}  // namespace cria::inline v0_1_0
