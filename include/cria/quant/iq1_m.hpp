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

  static constexpr const auto& grid = grids::iq1;
  static constexpr octet_traits octets{.index_bits = 11, .signs = octet_signs::octet_shift, .scales = 2, .scale_shift = 0};
  [[nodiscard]] octet_fields fields() const noexcept {
    octet_fields f{};
    for (std::size_t o = 0; o < 32; ++o) {
      const unsigned high = qh[o / 2] >> 4 * (o % 2) & 15U;
      f.index[o] = static_cast<std::uint16_t>(qs[o] | (high & 7) << 8);
      f.signs[o] = static_cast<std::uint8_t>(high >> 3);
    }
    for (std::size_t h = 0; h < 2; ++h) {
      for (std::size_t g = 0; g < 8; ++g) f.scales[8 * h + g] = scales[g / 2] >> (6 * (g % 2) + 3 * h) & 7;
    }
    for (std::size_t n = 0; n < 4; ++n) f.d.bits = static_cast<std::uint16_t>(f.d.bits | scales[n] >> 12 << 4 * n);
    return f;
  }
  [[nodiscard]] static iq1_m of(const octet_fields& f) noexcept {
    iq1_m b{};
    for (std::size_t o = 0; o < 32; ++o) {
      b.qs[o] = static_cast<std::uint8_t>(f.index[o]);
      b.qh[o / 2] = static_cast<std::uint8_t>(b.qh[o / 2] | (f.index[o] >> 8 | f.signs[o] << 3) << 4 * (o % 2));
    }
    for (std::size_t n = 0; n < 4; ++n) {
      unsigned word = unsigned{f.d.bits} >> 4 * n << 12;
      for (std::size_t s = 0; s < 4; ++s) word |= unsigned{f.scales[8 * (s % 2) + 2 * n + s / 2]} << 3 * s;
      b.scales[n] = static_cast<std::uint16_t>(word);
    }
    return b;
  }

  static void dequantize(const iq1_m& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }
};

static_assert(quant_block<iq1_m> && octet_block<iq1_m> && sizeof(iq1_m) == 56 && alignof(iq1_m) == 2 && offsetof(iq1_m, qh) == 32 &&
              offsetof(iq1_m, scales) == 48);

}  // namespace cria::inline v0_1_0
