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

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

  static constexpr const auto& grid = grids::iq3_xxs;
  static constexpr octet_traits octets{.index_bits = 8, .signs = octet_signs::seven, .scales = 1, .scale_shift = 1};
  [[nodiscard]] octet_fields fields() const noexcept {
    octet_fields f{};
    f.d = d;
    std::copy_n(qs, 64, f.index);
    for (std::size_t g = 0; g < 8; ++g) f.set_seven_signs(g, detail::little_endian(signs + 4 * g));
    return f;
  }
  [[nodiscard]] static iq3_xxs of(const octet_fields& f) noexcept {
    iq3_xxs b{};
    b.d = f.d;
    for (std::size_t n = 0; n < 64; ++n) b.qs[n] = static_cast<std::uint8_t>(f.index[n]);
    for (std::size_t g = 0; g < 8; ++g) detail::put_little_endian(b.signs + 4 * g, f.seven_signs(g));
    return b;
  }

  static void dequantize(const iq3_xxs& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq3_xxs> && octet_block<iq3_xxs> && sizeof(iq3_xxs) == 98 && alignof(iq3_xxs) == 2 && offsetof(iq3_xxs, qs) == 2 &&
              offsetof(iq3_xxs, signs) == 66);

}  // namespace cria::inline v0_1_0
