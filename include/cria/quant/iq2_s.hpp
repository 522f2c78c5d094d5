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

#include <algorithm>
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

  static constexpr const auto& grid = grids::iq2_s;
  static constexpr octet_traits octets{.index_bits = 10, .signs = octet_signs::eight, .scales = 2, .scale_shift = 0};
  [[nodiscard]] octet_fields fields() const noexcept {
    octet_fields f{};
    f.d = d;
    for (std::size_t o = 0; o < 32; ++o) f.index[o] = static_cast<std::uint16_t>(qs[o] | (qh[o / 4] >> 2 * (o % 4) & 3) << 8);
    std::copy_n(signs, 32, f.signs);
    f.set_nibbles_of_groups(scales);
    return f;
  }
  [[nodiscard]] static iq2_s of(const octet_fields& f) noexcept {
    iq2_s b{};
    b.d = f.d;
    for (std::size_t o = 0; o < 32; ++o) {
      b.qs[o] = static_cast<std::uint8_t>(f.index[o]);
      b.qh[o / 4] = static_cast<std::uint8_t>(b.qh[o / 4] | f.index[o] >> 8 << 2 * (o % 4));
    }
    std::copy_n(f.signs, 32, b.signs);
    f.nibbles_of_groups(b.scales);
    return b;
  }

  static void dequantize(const iq2_s& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq2_s> && octet_block<iq2_s> && sizeof(iq2_s) == 82 && alignof(iq2_s) == 2 && offsetof(iq2_s, qs) == 2 &&
              offsetof(iq2_s, signs) == 34 && offsetof(iq2_s, qh) == 66 && offsetof(iq2_s, scales) == 74);

}  // namespace cria::inline v0_1_0
