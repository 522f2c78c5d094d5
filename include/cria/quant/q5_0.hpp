// SPDX-License-Identifier: MIT
// quant/q5_0.hpp - 32 values as 5-bit codes with one scale: value = d (q - 16).
//
//   byte  0      2            6                                    22
//         | d    | qh[0..3]   | qs[0] | qs[1] | ...       | qs[15] |        22 bytes, 5.5 bits a value
//           f16
//   qs[j]   low nibble: low four bits of value j    high nibble: of value j + 16
//   qh      bit j % 8 of qh[j / 8]: the fifth bit of value j
//
// Ensures   quantize gives ggml's reference bytes. The value of largest magnitude gets code 0, so
//           d = -largest / 16; a value on the other side beyond 15.5 |d| is cut to code 31: error at most |d| there, |d| / 2 elsewhere,
//           plus the rounding of d to a half.
// Source    ggml's block_q5_0 (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q5_0 {
  f16 d;                 ///< scale
  std::uint8_t qh[4];    ///< fifth bits of the codes
  std::uint8_t qs[16];   ///< low four bits of the codes, two a byte

  static constexpr tensor_type type = tensor_type::q5_0;
  static constexpr std::size_t block_size = 32;
  static constexpr std::string_view name = "q5_0";

  static void dequantize(const q5_0& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t j = 0; j < 16; ++j) {
      const int low = (block.qs[j] & 15) | (block.qh[j / 8] >> j % 8 & 1) << 4;
      const int high = block.qs[j] >> 4 | (block.qh[2 + j / 8] >> j % 8 & 1) << 4;
      out[j] = static_cast<float>(low - 16) * d;
      out[j + 16] = static_cast<float>(high - 16) * d;
    }
  }

  [[nodiscard]] static q5_0 quantize(std::span<const float, block_size> values) noexcept {
    const float d = detail::largest_by_magnitude(values) / -16.0f;
    const float inverse = detail::reciprocal_or_zero(d);
    q5_0 block{to_f16(d), {}, {}};
    for (std::size_t j = 0; j < 32; ++j) {
      const int q = detail::nearest_code(values[j] * inverse, -16, 15);
      block.qs[j % 16] |= static_cast<std::uint8_t>((q & 15) << j / 16 * 4);
      block.qh[j / 8] |= static_cast<std::uint8_t>(q >> 4 << j % 8);
    }
    return block;
  }
};

static_assert(quant_block<q5_0> && sizeof(q5_0) == 22 && alignof(q5_0) == 2 && offsetof(q5_0, qh) == 2 && offsetof(q5_0, qs) == 6);

}  // namespace cria::inline v0_1_0
