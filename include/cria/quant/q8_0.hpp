// SPDX-License-Identifier: MIT
// quant/q8_0.hpp - 32 values as signed bytes with one scale: value = d q.
//
//   byte  0      2                                    34
//         | d    | qs[0] | qs[1] | ...       | qs[31] |        34 bytes, 8.5 bits a value
//           f16    int8
//   qs[j]   value j
//
// Ensures   quantize gives ggml's reference bytes: d = largest magnitude / 127, codes rounded half away
//           from zero; error at most d / 2 plus the rounding of d to a half.
// Source    ggml's block_q8_0 (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct q8_0 {
  f16 d;                ///< scale
  std::int8_t qs[32];   ///< codes

  static constexpr tensor_type type = tensor_type::q8_0;
  static constexpr std::size_t block_size = 32;
  static constexpr std::string_view name = "q8_0";

  static void dequantize(const q8_0& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t j = 0; j < block_size; ++j) out[j] = static_cast<float>(block.qs[j]) * d;
  }

  [[nodiscard]] static q8_0 quantize(std::span<const float, block_size> values) noexcept {
    const float d = std::fabs(detail::largest_by_magnitude(values)) / 127.0f;
    const float inverse = detail::reciprocal_or_zero(d);
    q8_0 block{to_f16(d), {}};
    for (std::size_t j = 0; j < block_size; ++j) block.qs[j] = detail::round_to_int8(values[j] * inverse);
    return block;
  }
};

static_assert(quant_block<q8_0> && sizeof(q8_0) == 34 && alignof(q8_0) == 2 && offsetof(q8_0, qs) == 2);

}  // namespace cria::inline v0_1_0
