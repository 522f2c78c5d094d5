// SPDX-License-Identifier: MIT
#include <cria/quant/q3_k.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 2> code_of(std::size_t i) {
  return {{{32 + i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2}, {i % 32, i / 32, 1}}};
}
std::array<bit_field, 2> scale_of(std::size_t b) { return {{{96 + b % 8, b / 8 * 4, 4}, {104 + b % 4, b / 4 * 2, 2}}}; }
}  // namespace

TEST_CASE("q3_k: each code is read from its two bits and its third") {
  cria::q3_k block{};
  cria_test::put_half(block, 108, 0x1.23p-9f);
  for (std::size_t b = 0; b < 16; ++b) cria_test::put_bits(block, scale_of(b), static_cast<unsigned>(3 * b + 5));
  cria_test::check_codes(block, 8, code_of, [](std::size_t i, unsigned q) {
    return static_cast<double>(0x1.23p-9f) * (3 * static_cast<int>(i / 16) + 5 - 32) * (static_cast<int>(q) - 4);
  });
}

TEST_CASE("q3_k: all 64 scales in each sub-block give the exact value") {
  for (const float d : cria_test::scales_to_try) {
    cria::q3_k block{};
    cria_test::put_half(block, 108, d);
    for (std::size_t i = 0; i < 256; ++i) cria_test::put_bits(block, code_of(i), static_cast<unsigned>(i % 8));
    for (unsigned first = 0; first < 64; ++first) {
      for (std::size_t b = 0; b < 16; ++b) cria_test::put_bits(block, scale_of(b), (first + 4 * static_cast<unsigned>(b)) % 64);
      const auto values = cria_test::values_of(block);
      for (std::size_t i = 0; i < 256; ++i) {
        const int scale = (static_cast<int>(first) + 4 * static_cast<int>(i / 16)) % 64 - 32;
        REQUIRE(block.scale(i / 16) == scale);
        REQUIRE(static_cast<double>(values[i]) == static_cast<double>(d) * scale * (static_cast<int>(i % 8) - 4));
      }
    }
  }
}
