// SPDX-License-Identifier: MIT
// quant/iq3_s.hpp - 256 values in 3.4375 bits each: fours from a grid of 512 points, a 4-bit scale for 32 values, eight signs an octet.
//
//   byte  0      2             66           74               106
//         | d    | qs[0..63]   | qh[0..7]   | signs[0..31]   | scales[0..3] |        110 bytes
//           f16
//   Octet o = 4 g + l: qs[2 o] and, as its ninth bit, bit 2 l of qh[g] are the index of its first four values; qs[2 o + 1] and bit 2 l + 1 that of the others
//   Bit j of signs[o] is the sign of value j;  scale of group g: low nibble of scales[g / 2] for even g, high nibble for odd g
//   value = d (2 scale + 1) * (point, with signs)
//
// Ensures   see octet_block.hpp
// Source    ggml's block_iq3_s (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq3_s {
  f16 d;                    ///< scale of the scales
  std::uint8_t qs[64];      ///< low eight bits of the indices
  std::uint8_t qh[8];       ///< their ninth bits
  std::uint8_t signs[32];   ///< a bit for each value
  std::uint8_t scales[4];   ///< two scales a byte

  static constexpr tensor_type type = tensor_type::iq3_s;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq3_s";

  static constexpr const auto& grid = grids::iq3_s;
  static constexpr octet_traits octets{.index_bits = 9, .signs = octet_signs::eight, .scales = 1, .scale_shift = 3};
  [[nodiscard]] octet_fields fields() const noexcept {
    octet_fields f{};
    f.d = d;
    for (std::size_t n = 0; n < 64; ++n) f.index[n] = static_cast<std::uint16_t>(qs[n] | (qh[n / 8] >> n % 8 & 1) << 8);
    std::copy_n(signs, 32, f.signs);
    for (std::size_t g = 0; g < 8; ++g) f.scales[g] = scales[g / 2] >> 4 * (g % 2) & 15;
    return f;
  }
  [[nodiscard]] static iq3_s of(const octet_fields& f) noexcept {
    iq3_s b{};
    b.d = f.d;
    for (std::size_t n = 0; n < 64; ++n) {
      b.qs[n] = static_cast<std::uint8_t>(f.index[n]);
      b.qh[n / 8] = static_cast<std::uint8_t>(b.qh[n / 8] | f.index[n] >> 8 << n % 8);
    }
    std::copy_n(f.signs, 32, b.signs);
    for (std::size_t g = 0; g < 8; g += 2) b.scales[g / 2] = static_cast<std::uint8_t>(f.scales[g] | f.scales[g + 1] << 4);
    return b;
  }

  static void dequantize(const iq3_s& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq3_s> && octet_block<iq3_s> && sizeof(iq3_s) == 110 && alignof(iq3_s) == 2 && offsetof(iq3_s, qs) == 2 &&
              offsetof(iq3_s, qh) == 66 && offsetof(iq3_s, signs) == 74 && offsetof(iq3_s, scales) == 106);

}  // namespace cria::inline v0_1_0
