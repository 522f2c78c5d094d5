// SPDX-License-Identifier: MIT
// quant/iq1_m.hpp - 256 values in 1.75 bits each: octets of -1, 0 and 1 from a grid of 2048 points, a 3-bit scale for 16 values, a shift for each octet.
//
//   byte  0             32            48
//         | qs[0..31]   | qh[0..15]   | scales[0..3], 16 bits, little-endian |        56 bytes
//   Octet o: nibble o of qh (the low one first) has the high three bits of the index beside qs[o], and in bit 3 the sign of the shift
//   Scale of half h of group g: bits 6 (g % 2) + 3 h to + 2 of scales[g / 2]; bits 12 to 15 of scales[n] are bits 4 n to 4 n + 3 of d, a half
//   value = d (2 scale + 1) (point +- 1/8)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq1_m (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq1_m {
  std::uint8_t qs[32];       ///< low eight bits of the indices
  std::uint8_t qh[16];       ///< high three bits of two indices, and signs of their shifts
  std::uint16_t scales[4];   ///< four scales, and a quarter of their scale

  static constexpr tensor_type type = tensor_type::iq1_m;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq1_m";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept {
    return {static_cast<std::uint16_t>(scales[0] >> 12 | (scales[1] >> 12 << 4) | (scales[2] >> 12 << 8) | (scales[3] >> 12 << 12))};
  }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t g, std::size_t half) const noexcept {
    return 2 * (scales[g / 2] >> (6 * (g % 2) + 3 * half) & 7U) + 1;
  }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    const unsigned high = qh[2 * g + l / 2];
    const unsigned bits = high << 8 >> 4 * (l % 2);
    return grids::shifted(grids::iq1[qs[4 * g + l] | (bits & 0x700)], bits >> 11 & 1);
  }

  static void dequantize(const iq1_m& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq1_m> && octet_block<iq1_m> && sizeof(iq1_m) == 56 && alignof(iq1_m) == 2 && offsetof(iq1_m, qh) == 32 &&
              offsetof(iq1_m, scales) == 48);

}  // namespace cria::inline v0_1_0
