// SPDX-License-Identifier: MIT
// quant/iq2_xxs.hpp - 256 values in 2.0625 bits each: octets from a grid of 256 points, one 4-bit scale for 32 values, seven signs an octet.
//
//   byte  0      2
//         | d    | 8 groups of 8 bytes |        66 bytes
//           f16
//   Group: indices of its four octets, 8 bits each; then 32 bits, little-endian: seven signs of octet l from bit 7 l on, the scale from bit 28 on
//   value = d (scale + 1/2) / 4 * (point, with signs); the eighth sign makes the number of negative values even
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq2_xxs (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq2_xxs {
  f16 d;                 ///< scale of the scales
  std::uint8_t qs[64];   ///< indices, signs and scales

  static constexpr tensor_type type = tensor_type::iq2_xxs;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq2_xxs";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept { return d; }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t g, std::size_t) const noexcept { return 2 * (signs_of(g) >> 28) + 1; }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    const std::uint32_t signs = signs_of(g) >> 7 * l & 127;
    return grids::with_signs<7>(grids::iq2_xxs[qs[8 * g + l]], signs);
  }
  /// Returns the 32 bits with the signs and the scale of a group.
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint32_t signs_of(std::size_t g) const noexcept {
    std::uint32_t bits;
    std::memcpy(&bits, qs + 8 * g + 4, sizeof bits);
    return bits;
  }

  static void dequantize(const iq2_xxs& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq2_xxs> && octet_block<iq2_xxs> && sizeof(iq2_xxs) == 66 && alignof(iq2_xxs) == 2 && offsetof(iq2_xxs, qs) == 2);

}  // namespace cria::inline v0_1_0
