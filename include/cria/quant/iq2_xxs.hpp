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

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq2_xxs {
  f16 d;                 ///< scale of the scales
  std::uint8_t qs[64];   ///< indices, signs and scales

  static constexpr tensor_type type = tensor_type::iq2_xxs;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq2_xxs";

  static constexpr const auto& grid = grids::iq2_xxs;
  static constexpr octet_traits octets{.index_bits = 8, .signs = octet_signs::seven, .scales = 1, .scale_shift = 0};
  [[nodiscard]] octet_fields fields() const noexcept {
    octet_fields f{};
    f.d = d;
    for (std::size_t g = 0; g < 8; ++g) {
      std::copy_n(qs + 8 * g, 4, f.index + 4 * g);
      f.set_seven_signs(g, detail::little_endian(qs + 8 * g + 4));
    }
    return f;
  }
  [[nodiscard]] static iq2_xxs of(const octet_fields& f) noexcept {
    iq2_xxs b{};
    b.d = f.d;
    for (std::size_t g = 0; g < 8; ++g) {
      for (std::size_t l = 0; l < 4; ++l) b.qs[8 * g + l] = static_cast<std::uint8_t>(f.index[4 * g + l]);
      detail::put_little_endian(b.qs + 8 * g + 4, f.seven_signs(g));
    }
    return b;
  }

  static void dequantize(const iq2_xxs& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq2_xxs> && octet_block<iq2_xxs> && sizeof(iq2_xxs) == 66 && alignof(iq2_xxs) == 2 && offsetof(iq2_xxs, qs) == 2);

}  // namespace cria::inline v0_1_0
