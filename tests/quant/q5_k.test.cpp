// SPDX-License-Identifier: MIT
#include <cria/quant/q5_k.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 2> code_of(std::size_t i) { return {{{48 + i / 64 * 32 + i % 32, i / 32 % 2 * 4, 4}, {16 + i % 32, i / 32, 1}}}; }
double value(float d, int scale, float dmin, int min, unsigned q) {
  return static_cast<float>(static_cast<double>(d) * scale * q - static_cast<double>(dmin) * min);
}
}  // namespace

TEST_CASE("q5_k: each code is read from its nibble and its fifth bit") {
  cria::q5_k block{};
  cria_test::put_half(block, 0, 0x1.23p-9f);
  cria_test::put_half(block, 2, 0x1.554p-3f);
  cria::pack_k_scales({1, 9, 17, 25, 33, 41, 49, 63}, {62, 50, 42, 34, 26, 18, 10, 2}, block.scales);
  constexpr std::array scale{1, 9, 17, 25, 33, 41, 49, 63}, min{62, 50, 42, 34, 26, 18, 10, 2};
  cria_test::check_codes(block, 32, code_of,
                         [&](std::size_t i, unsigned q) { return value(0x1.23p-9f, scale[i / 32], 0x1.554p-3f, min[i / 32], q); });
}

TEST_CASE("q5_k: all pairs of scale and minimum give the exact value, rounded once") {
  for (const float d : cria_test::scales_to_try) {
    for (const float dmin : {0.5f, -0x1.554p-3f, 0x1p-24f}) {
      cria::q5_k block{};
      cria_test::put_half(block, 0, d);
      cria_test::put_half(block, 2, dmin);
      for (std::size_t i = 0; i < 256; ++i) cria_test::put_bits(block, code_of(i), static_cast<unsigned>((i + i / 32) % 32));
      for (int scale = 0; scale < 64; ++scale) {
        for (int min = 0; min < 64; ++min) {
          int scales[8], mins[8];
          for (int b = 0; b < 8; ++b) scales[b] = (scale + 8 * b) % 64, mins[b] = (min + 24 * b) % 64;
          cria::pack_k_scales(scales, mins, block.scales);
          const auto values = cria_test::values_of(block);
          bool ok = true;
          for (std::size_t i = 0; i < 256; ++i) ok = ok && values[i] == value(d, scales[i / 32], dmin, mins[i / 32], (i + i / 32) % 32);
          REQUIRE(ok);
        }
      }
    }
  }
}
