// SPDX-License-Identifier: MIT
// quant/q4_k.hpp - 256 values as 4-bit codes, 8 sub-blocks of 32 with 6-bit scales and minima:
//                  value j = d scale[j / 32] q - dmin min[j / 32].
//
//   byte  0      2      4               16                144
//         | d    | dmin | scales[0..11] | qs[0..127]      |        144 bytes, 4.5 bits a value
//           f16    f16    k_scales.hpp
//   Value 64 h + 32 k + l (h < 4, k < 2, l < 32): qs[32 h + l], low nibble for k = 0, high nibble for k = 1
//
// Ensures   quantize minimises the squared error (affine_search.hpp); smaller than that of ggml's quantiser on the average.
// Source    ggml's block_q4_K (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/affine_search.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/k_scales.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q4_k {
  f16 d;                     ///< scale of the scales
  f16 dmin;                  ///< scale of the minima
  std::uint8_t scales[12];   ///< scales and minima, see k_scales.hpp
  std::uint8_t qs[128];      ///< codes, two a byte

  static constexpr tensor_type type = tensor_type::q4_k;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "q4_k";

  static void dequantize(const q4_k& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d), dmin = to_float(block.dmin);
    for (std::size_t b = 0; b < 8; ++b) {
      const k_scale codes = unpack_k_scale(block.scales, b);
      const float scale = d * static_cast<float>(codes.scale), min = dmin * static_cast<float>(codes.min);
      const std::uint8_t* qs = block.qs + 32 * (b / 2);
      for (std::size_t l = 0; l < 32; ++l) out[32 * b + l] = scale * static_cast<float>(qs[l] >> 4 * (b % 2) & 15) - min;
    }
  }

  [[nodiscard]] static q4_k quantize(std::span<const float, block_size> values) noexcept {
    const auto fit = detail::fit_nested_affine<15, 63, 8, 32>(values);
    q4_k block{fit.d, fit.dmin, {}, {}};
    pack_k_scales(fit.scale, fit.min, block.scales);
    for (std::size_t h = 0; h < 4; ++h) {
      for (std::size_t l = 0; l < 32; ++l) {
        block.qs[32 * h + l] = static_cast<std::uint8_t>(fit.q[64 * h + l] | fit.q[64 * h + 32 + l] << 4);
      }
    }
    return block;
  }
};

static_assert(quant_block<q4_k> && sizeof(q4_k) == 144 && alignof(q4_k) == 2 && offsetof(q4_k, scales) == 4 && offsetof(q4_k, qs) == 16);

}  // namespace cria::inline v0_1_0
