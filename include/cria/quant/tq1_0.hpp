// SPDX-License-Identifier: MIT
// quant/tq1_0.hpp - 256 values of -1, 0 and 1, five in a byte, with one scale: value = d (q - 1).
//
//   byte  0             48           52
//         | qs[0..47]   | qh[0..3]   | d |        54 bytes, 1.6875 bits a value
//                                      f16
//   Values 0 to 159:    32 n + m is digit n < 5 of qs[m], m < 32
//   Values 160 to 239:  160 + 16 n + m is digit n < 5 of qs[32 + m], m < 16
//   Values 240 to 255:  240 + 4 n + m is digit n < 4 of qh[m]
//   A byte b is a fraction: b / 256 = 0.q0 q1 q2 q3 q4 to the base 3, rounded up. So digit n is the integral part of 3 f, where f is the fractional part of
//   3^n b / 256.
//
// For reading only: models are trained with three values.
//
// Ensures   as block.hpp
// Source    ggml's block_tq1_0 (August 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct tq1_0 {
  std::uint8_t qs[48];   ///< five digits a byte
  std::uint8_t qh[4];    ///< four digits a byte
  f16 d;                 ///< scale

  static constexpr tensor_type type = tensor_type::tq1_0;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "tq1_0";

  static void dequantize(const tq1_0& block, std::span<float, block_size> out) noexcept {
    constexpr unsigned powers[] = {1, 3, 9, 27, 81};
    const float d = to_float(block.d);
    const auto value = [&](std::uint8_t byte, std::size_t digit) {
      const unsigned fraction = byte * powers[digit] & 255;
      return d * static_cast<float>(static_cast<int>(3 * fraction >> 8) - 1);
    };
    for (std::size_t i = 0; i < 160; ++i) out[i] = value(block.qs[i % 32], i / 32);
    for (std::size_t i = 0; i < 80; ++i) out[160 + i] = value(block.qs[32 + i % 16], i / 16);
    for (std::size_t i = 0; i < 16; ++i) out[240 + i] = value(block.qh[i % 4], i / 4);
  }
};

static_assert(quant_block<tq1_0> && sizeof(tq1_0) == 54 && alignof(tq1_0) == 2 && offsetof(tq1_0, qh) == 48 && offsetof(tq1_0, d) == 52);

}  // namespace cria::inline v0_1_0
