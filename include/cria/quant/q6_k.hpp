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

namespace cria::inline v0 {

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

  [[nodiscard]] static q6_k quantize(std::span<const float, block_size> values) noexcept;
};

static_assert(quant_block<q6_k> && sizeof(q6_k) == 210 && alignof(q6_k) == 2 && offsetof(q6_k, scales) == 192 && offsetof(q6_k, d) == 208);

inline q6_k q6_k::quantize(std::span<const float, block_size> values) noexcept {
  using codes = detail::integer_codes<-32, 31>;
  static constexpr detail::search_grid grid[] = {{-33.0f, 0.25f, 9}};
  const detail::nested_scales<16> scales = detail::fit_nested_scales<codes, detail::integer_codes<-128, 127>, 16, 16>(values, grid);
  q6_k block{};
  block.d = scales.d;
  for (std::size_t i = 0; i < block_size; ++i) {
    const std::size_t half = i / 128, quarter = i / 32 % 4, l = i % 32;
    const float inverse = detail::reciprocal_or_zero(to_float(scales.d) * static_cast<float>(scales.code[i / 16]));
    const auto q = static_cast<unsigned>(static_cast<int>(codes::nearest(values[i] * inverse)) + 32);
    block.scales[i / 16] = static_cast<std::int8_t>(scales.code[i / 16]);
    block.ql[64 * half + 32 * (quarter % 2) + l] |= static_cast<std::uint8_t>((q & 15) << 4 * (quarter / 2));
    block.qh[32 * half + l] |= static_cast<std::uint8_t>(q >> 4 << 2 * quarter);
  }
  return block;
}

}  // namespace cria::inline v0
