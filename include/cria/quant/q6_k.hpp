// SPDX-License-Identifier: MIT
// quant/q6_k.hpp - 256 values as 6-bit codes, 16 sub-blocks of 16 with 8-bit scales: value = d scales[j / 16] (q - 32).
//
//   byte  0               128            192                208   210
//         | ql[0..127]     | qh[0..63]    | scales[0..15]    | d   |        210 bytes, 6.5625 bits a value
//           low 4 bits       high 2 bits    int8               f16
//   Value 128 h + 32 k + l (h < 2, k < 4, l < 32):
//   low bits    ql[64 h + 32 (k % 2) + l], low nibble for k < 2, high nibble for k >= 2
//   high bits   qh[32 h + l], bits 2 k and 2 k + 1
//
// Ensures   quantize minimises the squared error (scale_search.hpp); smaller than that of ggml's quantiser on the average.
// Source    ggml's block_q6_K (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/scale_search.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q6_k {
  std::uint8_t ql[128];      ///< low four bits of the codes
  std::uint8_t qh[64];       ///< high two bits of the codes
  std::int8_t scales[16];    ///< scale of each 16 values, in units of d
  f16 d;                     ///< scale of the scales

  static constexpr tensor_type type = tensor_type::q6_k;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "q6_k";

  static void dequantize(const q6_k& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t i = 0; i < block_size; i += 16) {
      const std::size_t half = i / 128, quarter = i / 32 % 4, first = i % 32;
      const std::uint8_t* ql = block.ql + 64 * half + 32 * (quarter % 2) + first;
      const std::uint8_t* qh = block.qh + 32 * half + first;
      const float scale = d * static_cast<float>(block.scales[i / 16]);
      for (std::size_t j = 0; j < 16; ++j) {
        const int low = ql[j] >> 4 * (quarter / 2) & 15, high = qh[j] >> 2 * quarter & 3;
        out[i + j] = scale * static_cast<float>((low | high << 4) - 32);
      }
    }
  }

  [[nodiscard]] static q6_k quantize(std::span<const float, block_size> values) noexcept {
    static constexpr detail::search_grid grid[] = {{-33.0f, 0.5f, 5}};
    const auto fit = detail::fit_nested_scales<detail::integer_codes<-32, 31>, -128, 127, 4, 16, 16>(values, grid);
    q6_k block;
    block.d = fit.d;
    for (std::size_t b = 0; b < 16; ++b) block.scales[b] = static_cast<std::int8_t>(fit.scale[b]);
    for (std::size_t half = 0; half < 2; ++half) {
      for (std::size_t l = 0; l < 32; ++l) {
        const std::uint8_t* q = fit.q + 128 * half + l;
        block.ql[64 * half + l] = static_cast<std::uint8_t>((q[0] & 15) | q[64] << 4);
        block.ql[64 * half + 32 + l] = static_cast<std::uint8_t>((q[32] & 15) | q[96] << 4);
        block.qh[32 * half + l] = static_cast<std::uint8_t>(q[0] >> 4 | q[32] >> 4 << 2 | q[64] >> 4 << 4 | q[96] >> 4 << 6);
      }
    }
    return block;
  }
};

static_assert(quant_block<q6_k> && sizeof(q6_k) == 210 && alignof(q6_k) == 2 && offsetof(q6_k, qh) == 128 && offsetof(q6_k, scales) == 192 &&
              offsetof(q6_k, d) == 208);

}  // namespace cria::inline v0_1_0
