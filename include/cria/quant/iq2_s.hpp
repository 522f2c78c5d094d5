// SPDX-License-Identifier: MIT
// quant/iq2_s.hpp - 256 values in 2.5625 bits each: octets from a grid of 1024 points, a 4-bit scale for 16 values, eight signs an octet.
//
//   byte  0      2             34               66           74
//         | d    | qs[0..31]   | signs[0..31]   | qh[0..7]   | scales[0..7] |        82 bytes
//           f16
//   Octet o = 4 g + l: qs[o] and, as its high two bits, bits 2 l and 2 l + 1 of qh[g] are the index; bit j of signs[o] is the sign of value j
//   Scale of the first half of group g: low nibble of scales[g], of the second: the high nibble;  value = d (scale + 1/2) / 4 * (point, with signs)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq2_s (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq2_s {
  f16 d;                    ///< scale of the scales
  std::uint8_t qs[32];      ///< low eight bits of the indices
  std::uint8_t signs[32];   ///< a bit for each value
  std::uint8_t qh[8];       ///< high two bits of the indices
  std::uint8_t scales[8];   ///< two scales a byte

  static constexpr tensor_type type = tensor_type::iq2_s;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq2_s";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept { return d; }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t g, std::size_t half) const noexcept { return 2 * (scales[g] >> 4 * half & 15U) + 1; }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    const unsigned high = qh[g];
    return grids::with_signs<8>(grids::iq2_s[qs[4 * g + l] | (high << (8 - 2 * l) & 0x300)], signs[4 * g + l]);
  }

  static void dequantize(const iq2_s& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq2_s> && octet_block<iq2_s> && sizeof(iq2_s) == 82 && alignof(iq2_s) == 2 && offsetof(iq2_s, qs) == 2 &&
              offsetof(iq2_s, signs) == 34 && offsetof(iq2_s, qh) == 66 && offsetof(iq2_s, scales) == 74);

}  // namespace cria::inline v0_1_0
