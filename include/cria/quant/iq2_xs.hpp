// SPDX-License-Identifier: MIT
// quant/iq2_xs.hpp - 256 values in 2.3125 bits each: octets from a grid of 512 points, a 4-bit scale for 16 values, seven signs an octet.
//
//   byte  0      2               66
//         | d    | qs[0..31]     | scales[0..7] |        74 bytes
//           f16    16 bits, little-endian
//   Octet o: bits 0 to 8 of qs[o] are the index, bits 9 to 15 the first seven signs; the eighth makes the number of negative values even
//   Scale of the first half of group g: low nibble of scales[g], of the second: the high nibble;  value = d (scale + 1/2) / 4 * (point, with signs)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq2_xs (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq2_xs {
  f16 d;                    ///< scale of the scales
  std::uint16_t qs[32];     ///< indices and signs
  std::uint8_t scales[8];   ///< two scales a byte

  static constexpr tensor_type type = tensor_type::iq2_xs;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq2_xs";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept { return d; }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t g, std::size_t half) const noexcept { return 2 * (scales[g] >> 4 * half & 15U) + 1; }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    return grids::with_signs<7>(grids::iq2_xs[qs[4 * g + l] & 511], qs[4 * g + l] >> 9);
  }

  static void dequantize(const iq2_xs& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq2_xs> && octet_block<iq2_xs> && sizeof(iq2_xs) == 74 && alignof(iq2_xs) == 2 && offsetof(iq2_xs, qs) == 2 &&
              offsetof(iq2_xs, scales) == 66);

}  // namespace cria::inline v0_1_0
