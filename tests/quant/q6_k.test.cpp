// SPDX-License-Identifier: MIT
#include <cria/quant/q6_k.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 2> code_of(std::size_t i) {
  const std::size_t half = i / 128, quarter = i / 32 % 4, l = i % 32;
  return {{{64 * half + 32 * (quarter % 2) + l, quarter / 2 * 4, 4}, {128 + 32 * half + l, 2 * quarter, 2}}};
}
}  // namespace

TEST_CASE("q6_k: each of the 64 codes of each value is read from its nibble and its two high bits") {
  cria::q6_k block{};
  cria_test::put_half(block, 208, 0x1.23p-9f);
  for (std::size_t b = 0; b < 16; ++b) block.scales[b] = static_cast<std::int8_t>(17 * static_cast<int>(b) - 128);
  cria_test::check_codes(block, 64, code_of, [](std::size_t i, unsigned q) {
    return static_cast<double>(0x1.23p-9f) * (17 * static_cast<int>(i / 16) - 128) * (static_cast<int>(q) - 32);
  });
}

TEST_CASE("q6_k: all 256 scales in each sub-block give the exact value") {
  for (const float d : cria_test::scales_to_try) {
    cria::q6_k block{};
    cria_test::put_half(block, 208, d);
    for (std::size_t i = 0; i < 256; ++i) cria_test::put_bits(block, code_of(i), static_cast<unsigned>((i + i / 16) % 64));
    for (int first = 0; first < 256; ++first) {
      for (int b = 0; b < 16; ++b) block.scales[b] = static_cast<std::int8_t>((first + 16 * b) % 256 - 128);
      const auto values = cria_test::values_of(block);
      for (std::size_t i = 0; i < 256; ++i) {
        const double exact = static_cast<double>(d) * block.scales[i / 16] * (static_cast<int>((i + i / 16) % 64) - 32);
        REQUIRE(static_cast<double>(values[i]) == exact);
      }
    }
  }
}

TEST_CASE("q6_k: a block of large values dequantises to finite numbers as long as d is finite") {
  cria::q6_k block{};
  cria_test::put_half(block, 208, 65504.0f);
  for (auto& s : block.scales) s = -128;
  for (const float v : cria_test::values_of(block)) CHECK(v == 65504.0f * -128 * -32);
}
