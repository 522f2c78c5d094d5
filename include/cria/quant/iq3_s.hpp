// SPDX-License-Identifier: MIT
// quant/iq3_s.hpp - 256 values in 3.4375 bits each: fours from a grid of 512 points, a 4-bit scale for 32 values, eight signs an octet.
//
//   byte  0      2             66           74               106
//         | d    | qs[0..63]   | qh[0..7]   | signs[0..31]   | scales[0..3] |        110 bytes
//           f16
//   Octet o = 4 g + l: qs[2 o] and, as its ninth bit, bit 2 l of qh[g] are the index of its first four values; qs[2 o + 1] and bit 2 l + 1 that of the others
//   Bit j of signs[o] is the sign of value j;  scale of group g: low nibble of scales[g / 2] for even g, high nibble for odd g
//   value = d (2 scale + 1) * (point, with signs)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq3_s (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq3_s {
  f16 d;                    ///< scale of the scales
  std::uint8_t qs[64];      ///< low eight bits of the indices
  std::uint8_t qh[8];       ///< their ninth bits
  std::uint8_t signs[32];   ///< a bit for each value
  std::uint8_t scales[4];   ///< two scales a byte

  static constexpr tensor_type type = tensor_type::iq3_s;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq3_s";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept { return d; }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t g, std::size_t) const noexcept {
    return 16 * (scales[g / 2] >> 4 * (g % 2) & 15U) + 8;
  }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    const unsigned high = qh[g];
    const std::uint64_t points =
        detail::join(grids::iq3_s[qs[8 * g + 2 * l] | (high << (8 - 2 * l) & 256)], grids::iq3_s[qs[8 * g + 2 * l + 1] | (high << (7 - 2 * l) & 256)]);
    return grids::with_signs<8>(points, signs[4 * g + l]);
  }

  static void dequantize(const iq3_s& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq3_s> && octet_block<iq3_s> && sizeof(iq3_s) == 110 && alignof(iq3_s) == 2 && offsetof(iq3_s, qs) == 2 &&
              offsetof(iq3_s, qh) == 66 && offsetof(iq3_s, signs) == 74 && offsetof(iq3_s, scales) == 106);

}  // namespace cria::inline v0_1_0
