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

  static constexpr const auto& grid = grids::iq2_xs;
  static constexpr octet_traits octets{.index_bits = 9, .signs = octet_signs::seven, .scales = 2, .scale_shift = 0};
  [[nodiscard]] octet_fields fields() const noexcept {
    octet_fields f{};
    f.d = d;
    for (std::size_t o = 0; o < 32; ++o) {
      f.index[o] = qs[o] & 511;
      f.signs[o] = detail::even_signs(qs[o] >> 9U);
    }
    f.set_nibbles_of_groups(scales);
    return f;
  }
  [[nodiscard]] static iq2_xs of(const octet_fields& f) noexcept {
    iq2_xs b{};
    b.d = f.d;
    for (std::size_t o = 0; o < 32; ++o) b.qs[o] = static_cast<std::uint16_t>(f.index[o] | (f.signs[o] & 127) << 9);
    f.nibbles_of_groups(b.scales);
    return b;
  }

  static void dequantize(const iq2_xs& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq2_xs> && octet_block<iq2_xs> && sizeof(iq2_xs) == 74 && alignof(iq2_xs) == 2 && offsetof(iq2_xs, qs) == 2 &&
              offsetof(iq2_xs, scales) == 66);

}  // namespace cria::inline v0_1_0
