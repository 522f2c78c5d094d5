// SPDX-License-Identifier: MIT
// quant/iq1_s.hpp - 256 values in 1.5625 bits each: octets of -1, 0 and 1 from a grid of 2048 points, a 3-bit scale and a common shift for 32 values.
//
//   byte  0      2             34
//         | d    | qs[0..31]   | qh[0..7], 16 bits, little-endian |        50 bytes
//           f16
//   Octet o = 4 g + l: qs[o] and, as its high three bits, bits 3 l to 3 l + 2 of qh[g] are the index
//   Bits 12 to 14 of qh[g] are the scale, bit 15 is the sign of the shift;  value = d (2 scale + 1) (point +- 1/8)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq1_s (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq1_s {
  f16 d;                  ///< scale of the scales
  std::uint8_t qs[32];    ///< low eight bits of the indices
  std::uint16_t qh[8];    ///< high three bits of four indices, scale, and sign of the shift

  static constexpr tensor_type type = tensor_type::iq1_s;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq1_s";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept { return d; }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t g, std::size_t) const noexcept { return 2 * (qh[g] >> 12 & 7U) + 1; }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    const unsigned bits = qh[g];
    return grids::shifted(grids::iq1[qs[4 * g + l] | (bits << 8 >> 3 * l & 0x700)], bits >> 15);
  }

  static void dequantize(const iq1_s& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq1_s> && octet_block<iq1_s> && sizeof(iq1_s) == 50 && alignof(iq1_s) == 2 && offsetof(iq1_s, qs) == 2 && offsetof(iq1_s, qh) == 34);

}  // namespace cria::inline v0_1_0
