// SPDX-License-Identifier: MIT
// quant/q5_1.hpp - 32 values as 5-bit codes with a scale and a minimum: value = d q + m.
//
//   byte  0      2      4            8                                    24
//         | d    | m    | qh[0..3]   | qs[0] | qs[1] | ...       | qs[15] |        24 bytes, 6 bits a value
//           f16    f16
//   qs[j]   low nibble: low four bits of value j    high nibble: of value j + 16
//   qh      bit j % 8 of qh[j / 8]: the fifth bit of value j
//
// Ensures   quantize gives ggml's reference bytes: d = (max - min) / 31, m = min; error at most d / 2
//           plus the rounding of d and m to halves.
// Source    ggml's block_q5_1 (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q5_1 {
  f16 d;                 ///< scale
  f16 m;                 ///< minimum: the value of code 0
  std::uint8_t qh[4];    ///< fifth bits of the codes
  std::uint8_t qs[16];   ///< low four bits of the codes, two a byte

  static constexpr tensor_type type = tensor_type::q5_1;
  static constexpr std::size_t block_size = 32;
  static constexpr std::string_view name = "q5_1";

  static void dequantize(const q5_1& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d), m = to_float(block.m);
    for (std::size_t j = 0; j < 16; ++j) {
      const int low = (block.qs[j] & 15) | (block.qh[j / 8] >> j % 8 & 1) << 4;
      const int high = block.qs[j] >> 4 | (block.qh[2 + j / 8] >> j % 8 & 1) << 4;
      out[j] = static_cast<float>(low) * d + m;
      out[j + 16] = static_cast<float>(high) * d + m;
    }
  }

  [[nodiscard]] static q5_1 quantize(std::span<const float, block_size> values) noexcept {
    const auto [min, max] = detail::range_of(values);
    const float d = (max - min) / 31.0f;
    const float inverse = detail::reciprocal_or_zero(d);
    q5_1 block{to_f16(d), to_f16(min), {}, {}};
    for (std::size_t j = 0; j < 32; ++j) {
      const int q = detail::nearest_code((values[j] - min) * inverse, 0, 31);
      block.qs[j % 16] |= static_cast<std::uint8_t>((q & 15) << j / 16 * 4);
      block.qh[j / 8] |= static_cast<std::uint8_t>(q >> 4 << j % 8);
    }
    return block;
  }
};

static_assert(quant_block<q5_1> && sizeof(q5_1) == 24 && alignof(q5_1) == 2 && offsetof(q5_1, qh) == 4 && offsetof(q5_1, qs) == 8);

}  // namespace cria::inline v0_1_0
