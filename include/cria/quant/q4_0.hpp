// SPDX-License-Identifier: MIT
// quant/q4_0.hpp - 32 values as 4-bit codes with one scale: value = d (q - 8).
//
//   byte  0      2                                    18
//         | d    | qs[0] | qs[1] | ...       | qs[15] |        18 bytes, 4.5 bits a value
//           f16
//   qs[j]   low nibble: value j    high nibble: value j + 16
//
// Ensures   quantize gives ggml's reference bytes. The value of largest magnitude gets code 0, so
//           d = -largest / 8; a value on the other side beyond 7.5 |d| is cut to code 15: error at most |d| there, |d| / 2 elsewhere,
//           plus the rounding of d to a half.
// Source    ggml's block_q4_0 (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q4_0 {
  f16 d;                 ///< scale
  std::uint8_t qs[16];   ///< codes, two a byte

  static constexpr tensor_type type = tensor_type::q4_0;
  static constexpr std::size_t block_size = 32;
  static constexpr std::string_view name = "q4_0";

  static void dequantize(const q4_0& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = static_cast<float>((block.qs[j] & 15) - 8) * d;
      out[j + 16] = static_cast<float>((block.qs[j] >> 4) - 8) * d;
    }
  }

  [[nodiscard]] static q4_0 quantize(std::span<const float, block_size> values) noexcept {
    const float d = detail::largest_by_magnitude(values) / -8.0f;
    const float inverse = detail::reciprocal_or_zero(d);
    q4_0 block{to_f16(d), {}};
    for (std::size_t j = 0; j < 16; ++j) {
      const int low = detail::nearest_code(values[j] * inverse, -8, 7);
      const int high = detail::nearest_code(values[j + 16] * inverse, -8, 7);
      block.qs[j] = static_cast<std::uint8_t>(low | high << 4);
    }
    return block;
  }
};

static_assert(quant_block<q4_0> && sizeof(q4_0) == 18 && alignof(q4_0) == 2 && offsetof(q4_0, qs) == 2);

}  // namespace cria::inline v0_1_0
