// SPDX-License-Identifier: MIT
// quant/q3_k.hpp - 256 values as 3-bit codes, 16 sub-blocks of 16 with 6-bit scales: value j = d (scale[j / 16] - 32) (q - 4).
//
//   byte  0              32          96              108   110
//         | hmask[0..31] | qs[0..63] | scales[0..11] | d   |        110 bytes, 3.4375 bits a value
//                                                      f16
//   Value 128 h + 32 k + l (h < 2, k < 4, l < 32):
//   low two bits   qs[32 h + l], bits 2 k and 2 k + 1
//   third bit      hmask[l], bit 4 h + k
//   Scale of sub-block b:
//   low four bits  scales[b % 8], low nibble for b < 8, high nibble for b >= 8
//   high two bits  scales[8 + b % 4], bits 2 (b / 4) and 2 (b / 4) + 1
//
// Ensures   quantize minimises the squared error (scale_search.hpp); smaller than that of ggml's quantiser on the average.
// Source    ggml's block_q3_K (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/scale_search.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q3_k {
  std::uint8_t hmask[32];    ///< third bits of the codes
  std::uint8_t qs[64];       ///< low two bits of the codes, four a byte
  std::uint8_t scales[12];   ///< scale + 32 of each 16 values, six bits each
  f16 d;                     ///< scale of the scales

  static constexpr tensor_type type = tensor_type::q3_k;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "q3_k";

  /// Returns the scale of sub-block `b` < 16 in units of d, -32 to 31.
  [[nodiscard]] CRIA_ALWAYS_INLINE int scale(std::size_t b) const noexcept {
    return ((scales[b % 8] >> 4 * (b / 8) & 15) | (scales[8 + b % 4] >> 2 * (b / 4) & 3) << 4) - 32;
  }

  static void dequantize(const q3_k& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t b = 0; b < 16; ++b) {
      const float scale = d * static_cast<float>(block.scale(b));
      const std::size_t first = 16 * (b % 2);
      for (std::size_t l = 0; l < 16; ++l) {
        const int low = block.qs[32 * (b / 8) + first + l] >> 2 * (b / 2 % 4) & 3, high = block.hmask[first + l] >> b / 2 & 1;
        out[16 * b + l] = scale * static_cast<float>((low | high << 2) - 4);
      }
    }
  }

  [[nodiscard]] static q3_k quantize(std::span<const float, block_size> values) noexcept {
    static constexpr detail::search_grid grid[] = {{-4.5f, 0.3f, 6}, {2.6f, 0.3f, 4}};
    const auto fit = detail::fit_nested_scales<detail::integer_codes<-4, 3>, -32, 31, 1, 16, 16>(values, grid);
    q3_k block{};
    block.d = fit.d;
    for (std::size_t b = 0; b < 16; ++b) {
      const int code = fit.scale[b] + 32;
      block.scales[b % 8] |= static_cast<std::uint8_t>((code & 15) << 4 * (b / 8));
      block.scales[8 + b % 4] |= static_cast<std::uint8_t>(code >> 4 << 2 * (b / 4));
    }
    for (std::size_t l = 0; l < 32; ++l) {
      for (std::size_t half = 0; half < 2; ++half) {
        const std::uint8_t* q = fit.q + 128 * half + l;
        block.qs[32 * half + l] = static_cast<std::uint8_t>((q[0] & 3) | (q[32] & 3) << 2 | (q[64] & 3) << 4 | (q[96] & 3) << 6);
        block.hmask[l] |= static_cast<std::uint8_t>((q[0] >> 2 | q[32] >> 2 << 1 | q[64] >> 2 << 2 | q[96] >> 2 << 3) << 4 * half);
      }
    }
    return block;
  }
};

static_assert(quant_block<q3_k> && sizeof(q3_k) == 110 && alignof(q3_k) == 2 && offsetof(q3_k, qs) == 32 && offsetof(q3_k, scales) == 96 &&
              offsetof(q3_k, d) == 108);

}  // namespace cria::inline v0_1_0
