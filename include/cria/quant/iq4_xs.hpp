// SPDX-License-Identifier: MIT
// quant/iq4_xs.hpp - 256 values as 4-bit indices into the codebook of iq4_nl, 8 sub-blocks of 32 with 6-bit scales:
//                    value j = d (scale[j / 32] - 32) iq4_codebook[q].
//
//   byte  0      2          4                8                 136
//         | d    | scales_h | scales_l[0..3] | qs[0..127]      |        136 bytes, 4.25 bits a value
//           f16    16 bits, little-endian
//   Value 32 b + 16 k + l (b < 8, k < 2, l < 16): qs[16 b + l], low nibble for k = 0, high nibble for k = 1
//   Scale of sub-block b: low four bits in scales_l[b / 2], low nibble for even b, high nibble for odd b;
//                         high two bits in scales_h, bits 2 b and 2 b + 1
//
// Ensures   quantize minimises the squared error (scale_search.hpp); smaller than that of ggml's quantiser on the average.
// Source    ggml's block_iq4_xs (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/iq4_nl.hpp>
#include <cria/quant/scale_search.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct iq4_xs {
  f16 d;                      ///< scale of the scales
  std::uint16_t scales_h;     ///< high two bits of the scales
  std::uint8_t scales_l[4];   ///< low four bits of the scales
  std::uint8_t qs[128];       ///< indices, two a byte

  static constexpr tensor_type type = tensor_type::iq4_xs;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "iq4_xs";

  /// Returns the scale of sub-block `b` < 8 in units of d, -32 to 31.
  [[nodiscard]] CRIA_ALWAYS_INLINE int scale(std::size_t b) const noexcept {
    return ((scales_l[b / 2] >> 4 * (b % 2) & 15) | (scales_h >> 2 * b & 3) << 4) - 32;
  }

  static void dequantize(const iq4_xs& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t b = 0; b < 8; ++b) {
      const float scale = d * static_cast<float>(block.scale(b));
      for (std::size_t l = 0; l < 16; ++l) {
        const std::uint8_t pair = block.qs[16 * b + l];
        out[32 * b + l] = scale * static_cast<float>(iq4_codebook[pair & 15]);
        out[32 * b + 16 + l] = scale * static_cast<float>(iq4_codebook[pair >> 4]);
      }
    }
  }

  [[nodiscard]] static iq4_xs quantize(std::span<const float, block_size> values) noexcept {
    const auto fit = detail::fit_nested_scales<detail::iq4_codes, -32, 31, 1, 8, 32>(values, detail::iq4_grid);
    iq4_xs block{fit.d, 0, {}, {}};
    for (std::size_t b = 0; b < 8; ++b) {
      const auto code = static_cast<unsigned>(fit.scale[b] + 32);
      block.scales_l[b / 2] |= static_cast<std::uint8_t>((code & 15) << 4 * (b % 2));
      block.scales_h |= static_cast<std::uint16_t>(code >> 4 << 2 * b);
      for (std::size_t l = 0; l < 16; ++l) block.qs[16 * b + l] = static_cast<std::uint8_t>(fit.q[32 * b + l] | fit.q[32 * b + 16 + l] << 4);
    }
    return block;
  }
};

static_assert(quant_block<iq4_xs> && sizeof(iq4_xs) == 136 && alignof(iq4_xs) == 2 && offsetof(iq4_xs, scales_h) == 2 &&
              offsetof(iq4_xs, scales_l) == 4 && offsetof(iq4_xs, qs) == 8);

}  // namespace cria::inline v0_1_0
