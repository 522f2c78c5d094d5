// SPDX-License-Identifier: MIT
#include <cria/quant/q2_k.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 1> code_of(std::size_t i) { return {{{16 + i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2}}}; }

double value(float d, int scale, float dmin, int min, unsigned q) {
  return static_cast<float>(static_cast<double>(d) * scale * q - static_cast<double>(dmin) * min);
}
}  // namespace

TEST_CASE("q2_k: each code is read from its two bits, scale and minimum from the nibbles of its sub-block's byte") {
  cria::q2_k block{};
  cria_test::put_half(block, 80, 0x1.23p-9f);
  cria_test::put_half(block, 82, 0x1.554p-3f);
  for (std::size_t b = 0; b < 16; ++b) block.scales[b] = static_cast<std::uint8_t>(b | (15 - b) << 4);
  cria_test::check_codes(block, 4, code_of, [](std::size_t i, unsigned q) {
    const int b = static_cast<int>(i / 16);
    return value(0x1.23p-9f, b, 0x1.554p-3f, 15 - b, q);
  });
}

TEST_CASE("q2_k: all pairs of scale and minimum give the exact value, rounded once") {
  for (const float d : cria_test::scales_to_try) {
    for (const float dmin : cria_test::scales_to_try) {
      cria::q2_k block{};
      cria_test::put_half(block, 80, d);
      cria_test::put_half(block, 82, dmin);
      for (std::size_t i = 0; i < 256; ++i) cria_test::put_bits(block, code_of(i), static_cast<unsigned>(i % 4));
      for (int first = 0; first < 256; first += 16) {
        for (int b = 0; b < 16; ++b) block.scales[b] = static_cast<std::uint8_t>(first + b);
        const auto values = cria_test::values_of(block);
        for (std::size_t i = 0; i < 256; ++i) {
          const int byte = first + static_cast<int>(i / 16);
          REQUIRE(values[i] == value(d, byte % 16, dmin, byte / 16, i % 4));
        }
      }
    }
  }
}
