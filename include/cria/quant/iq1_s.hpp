// SPDX-License-Identifier: MIT
// quant/iq1_s.hpp - 256 values in 1.5625 bits each: octets of -1, 0 and 1 from a grid of 2048 points, a 3-bit scale and a common shift for 32 values.
//
//   byte  0      2             34
//         | d    | qs[0..31]   | qh[0..7], 16 bits, little-endian |        50 bytes
//           f16
//   Octet o = 4 g + l: qs[o] and, as its high three bits, bits 3 l to 3 l + 2 of qh[g] are the index
//   Bits 12 to 14 of qh[g] are the scale, bit 15 is the sign of the shift;  value = d (2 scale + 1) (point +- 1/8)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq1_s (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq1_s {
  f16 d;                  ///< scale of the scales
  std::uint8_t qs[32];    ///< low eight bits of the indices
  std::uint16_t qh[8];    ///< high three bits of four indices, scale, and sign of the shift

  static constexpr tensor_type type = tensor_type::iq1_s;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq1_s";

  static constexpr const auto& grid = grids::iq1;
  static constexpr octet_traits octets{.index_bits = 11, .signs = octet_signs::group_shift, .scales = 1, .scale_shift = 0};
  [[nodiscard]] octet_fields fields() const noexcept {
    octet_fields f{};
    f.d = d;
    for (std::size_t o = 0; o < 32; ++o) {
      f.index[o] = static_cast<std::uint16_t>(qs[o] | (qh[o / 4] >> 3 * (o % 4) & 7) << 8);
      f.signs[o] = static_cast<std::uint8_t>(qh[o / 4] >> 15);
    }
    for (std::size_t g = 0; g < 8; ++g) f.scales[g] = qh[g] >> 12 & 7;
    return f;
  }
  [[nodiscard]] static iq1_s of(const octet_fields& f) noexcept {
    iq1_s b{};
    b.d = f.d;
    for (std::size_t o = 0; o < 32; ++o) {
      b.qs[o] = static_cast<std::uint8_t>(f.index[o]);
      b.qh[o / 4] = static_cast<std::uint16_t>(b.qh[o / 4] | f.index[o] >> 8 << 3 * (o % 4));
    }
    for (std::size_t g = 0; g < 8; ++g) b.qh[g] = static_cast<std::uint16_t>(b.qh[g] | f.scales[g] << 12 | f.signs[4 * g] << 15);
    return b;
  }

  static void dequantize(const iq1_s& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq1_s> && octet_block<iq1_s> && sizeof(iq1_s) == 50 && alignof(iq1_s) == 2 && offsetof(iq1_s, qs) == 2 && offsetof(iq1_s, qh) == 34);

}  // namespace cria::inline v0_1_0
