// SPDX-License-Identifier: MIT
// quant/iq3_xxs.hpp - 256 values in 3.0625 bits each: fours from a grid of 256 points, a 4-bit scale for 32 values, seven signs an octet.
//
//   byte  0      2             66
//         | d    | qs[0..63]   | signs of the 8 groups, 32 bits each, little-endian |        98 bytes
//           f16
//   Octet o: qs[2 o] is the index of its first four values, qs[2 o + 1] that of the others
//   Signs of a group: seven of octet l from bit 7 l on, the scale from bit 28 on; the eighth sign makes the number of negative values even
//   value = d (scale + 1/2) / 2 * (point, with signs)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq3_xxs (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq3_xxs {
  f16 d;                    ///< scale of the scales
  std::uint8_t qs[64];      ///< indices
  std::uint8_t signs[32];   ///< signs and scales

  static constexpr tensor_type type = tensor_type::iq3_xxs;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq3_xxs";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept { return d; }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t g, std::size_t) const noexcept { return 4 * (signs_of(g) >> 28) + 2; }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    const std::uint32_t seven = signs_of(g) >> 7 * l & 127;
    return grids::with_signs<7>(detail::join(grids::iq3_xxs[qs[8 * g + 2 * l]], grids::iq3_xxs[qs[8 * g + 2 * l + 1]]), seven);
  }
  /// Returns the 32 bits with the signs and the scale of a group.
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint32_t signs_of(std::size_t g) const noexcept {
    std::uint32_t bits;
    std::memcpy(&bits, signs + 4 * g, sizeof bits);
    return bits;
  }

  static void dequantize(const iq3_xxs& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq3_xxs> && octet_block<iq3_xxs> && sizeof(iq3_xxs) == 98 && alignof(iq3_xxs) == 2 && offsetof(iq3_xxs, qs) == 2 &&
              offsetof(iq3_xxs, signs) == 66);

}  // namespace cria::inline v0_1_0
