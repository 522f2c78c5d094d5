// SPDX-License-Identifier: MIT
// quant/tq2_0.hpp - 256 values of -1, 0 and 1 in 2 bits each, with one scale: value = d (q - 1).
//
//   byte  0             64
//         | qs[0..63]   | d |        66 bytes, 2.0625 bits a value
//                         f16
//   Value 128 n + 32 l + m (l < 4, m < 32): bits 2 l and 2 l + 1 of qs[32 n + m]; 3, which no file should have, stands for 2
//
// For reading only: models are trained to have three values.
//
// Ensures   see block.hpp
// Source    ggml's block_tq2_0 (August 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct tq2_0 {
  std::uint8_t qs[64];   ///< four codes a byte
  f16 d;                 ///< scale

  static constexpr tensor_type type = tensor_type::tq2_0;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "tq2_0";

  static void dequantize(const tq2_0& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t i = 0; i < block_size; ++i) {
      const int q = block.qs[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3;
      out[i] = d * static_cast<float>(q - 1);
    }
  }
};

static_assert(quant_block<tq2_0> && sizeof(tq2_0) == 66 && alignof(tq2_0) == 2 && offsetof(tq2_0, d) == 64);

}  // namespace cria::inline v0_1_0
