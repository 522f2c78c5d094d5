// SPDX-License-Identifier: MIT
// quant/q4_1.hpp - 32 values as 4-bit codes with a scale and a minimum: value = d q + m.
//
//   byte  0      2      4                                    20
//         | d    | m    | qs[0] | qs[1] | ...       | qs[15] |        20 bytes, 5 bits a value
//           f16    f16
//   qs[j]   low nibble: value j    high nibble: value j + 16
//
// Ensures   quantize gives ggml's reference bytes: d = (max - min) / 15, m = min; error at most d / 2
//           plus the rounding of d and m to halves.
// Source    ggml's block_q4_1 (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q4_1 {
  f16 d;                 ///< scale
  f16 m;                 ///< minimum: the value of code 0
  std::uint8_t qs[16];   ///< codes, two a byte

  static constexpr tensor_type type = tensor_type::q4_1;
  static constexpr std::size_t block_size = 32;
  static constexpr std::string_view name = "q4_1";

  static void dequantize(const q4_1& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d), m = to_float(block.m);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = static_cast<float>(block.qs[j] & 15) * d + m;
      out[j + 16] = static_cast<float>(block.qs[j] >> 4) * d + m;
    }
  }

  [[nodiscard]] static q4_1 quantize(std::span<const float, block_size> values) noexcept {
    const auto [min, max] = detail::range_of(values);
    const float d = (max - min) / 15.0f;
    const float inverse = detail::reciprocal_or_zero(d);
    q4_1 block{to_f16(d), to_f16(min), {}};
    for (std::size_t j = 0; j < 16; ++j) {
      const int low = detail::nearest_code((values[j] - min) * inverse, 0, 15);
      const int high = detail::nearest_code((values[j + 16] - min) * inverse, 0, 15);
      block.qs[j] = static_cast<std::uint8_t>(low | high << 4);
    }
    return block;
  }
};

static_assert(quant_block<q4_1> && sizeof(q4_1) == 20 && alignof(q4_1) == 2 && offsetof(q4_1, m) == 2 && offsetof(q4_1, qs) == 4);

}  // namespace cria::inline v0_1_0
