// SPDX-License-Identifier: MIT
// quant/q2_k.hpp - 256 values as 2-bit codes, 16 sub-blocks of 16 with 4-bit scales and minima:
//                  value j = d scale[j / 16] q - dmin min[j / 16].
//
//   byte  0               16          80     82     84
//         | scales[0..15] | qs[0..63] | d    | dmin |        84 bytes, 2.625 bits a value
//                                       f16    f16
//   scales[b]   low nibble: scale of sub-block b    high nibble: its minimum
//   Value 128 h + 32 k + l (h < 2, k < 4, l < 32): qs[32 h + l], bits 2 k and 2 k + 1
//
// Ensures   quantize minimises the squared error (affine_search.hpp); smaller than that of ggml's quantiser on the average.
// Source    ggml's block_q2_K (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/affine_search.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q2_k {
  std::uint8_t scales[16];   ///< scale and minimum of each 16 values, a nibble each
  std::uint8_t qs[64];       ///< codes, four a byte
  f16 d;                     ///< scale of the scales
  f16 dmin;                  ///< scale of the minima

  static constexpr tensor_type type = tensor_type::q2_k;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "q2_k";

  static void dequantize(const q2_k& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d), dmin = to_float(block.dmin);
    for (std::size_t b = 0; b < 16; ++b) {
      const float scale = d * static_cast<float>(block.scales[b] & 15), min = dmin * static_cast<float>(block.scales[b] >> 4);
      const std::uint8_t* qs = block.qs + 32 * (b / 8) + 16 * (b % 2);
      for (std::size_t l = 0; l < 16; ++l) out[16 * b + l] = scale * static_cast<float>(qs[l] >> 2 * (b / 2 % 4) & 3) - min;
    }
  }

  [[nodiscard]] static q2_k quantize(std::span<const float, block_size> values) noexcept {
    const auto fit = detail::fit_nested_affine<3, 15, 16, 16>(values);
    q2_k block{{}, {}, fit.d, fit.dmin};
    for (std::size_t b = 0; b < 16; ++b) block.scales[b] = static_cast<std::uint8_t>(fit.scale[b] | fit.min[b] << 4);
    for (std::size_t half = 0; half < 2; ++half) {
      for (std::size_t l = 0; l < 32; ++l) {
        const std::uint8_t* q = fit.q + 128 * half + l;
        block.qs[32 * half + l] = static_cast<std::uint8_t>(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
      }
    }
    return block;
  }
};

static_assert(quant_block<q2_k> && sizeof(q2_k) == 84 && alignof(q2_k) == 2 && offsetof(q2_k, qs) == 16 && offsetof(q2_k, d) == 80);

}  // namespace cria::inline v0_1_0
