// SPDX-License-Identifier: MIT
#include <cria/quant/iq4_xs.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 1> code_of(std::size_t i) { return {{{8 + i / 32 * 16 + i % 16, i / 16 % 2 * 4, 4}}}; }
std::array<bit_field, 2> scale_of(std::size_t b) { return {{{4 + b / 2, b % 2 * 4, 4}, {2 + b / 4, b % 4 * 2, 2}}}; }
}  // namespace

TEST_CASE("iq4_xs: each of the 16 indices of each value is read from its nibble alone") {
  cria::iq4_xs block{};
  cria_test::put_half(block, 0, 0x1.23p-9f);
  for (std::size_t b = 0; b < 8; ++b) cria_test::put_bits(block, scale_of(b), static_cast<unsigned>(9 * b));
  cria_test::check_codes(block, 16, code_of, [](std::size_t i, unsigned q) {
    return static_cast<double>(0x1.23p-9f) * (9 * static_cast<int>(i / 32) - 32) * cria::iq4_codebook[q];
  });
}

TEST_CASE("iq4_xs: all 64 scales in each sub-block give the exact value") {
  for (const float d : cria_test::scales_to_try) {
    cria::iq4_xs block{};
    cria_test::put_half(block, 0, d);
    for (std::size_t i = 0; i < 256; ++i) cria_test::put_bits(block, code_of(i), static_cast<unsigned>((i + i / 32) % 16));
    for (unsigned first = 0; first < 64; ++first) {
      for (std::size_t b = 0; b < 8; ++b) cria_test::put_bits(block, scale_of(b), (first + 8 * static_cast<unsigned>(b)) % 64);
      const auto values = cria_test::values_of(block);
      for (std::size_t i = 0; i < 256; ++i) {
        const int scale = (static_cast<int>(first) + 8 * static_cast<int>(i / 32)) % 64 - 32;
        REQUIRE(block.scale(i / 32) == scale);
        REQUIRE(static_cast<double>(values[i]) == static_cast<double>(d) * scale * cria::iq4_codebook[(i + i / 32) % 16]);
      }
    }
  }
}
