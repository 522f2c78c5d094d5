// SPDX-License-Identifier: MIT
#include <cria/quant/float.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <cmath>

TEST_CASE("float: f32 blocks hold the number itself") {
  for (const float v : {0.0f, -1.5f, 0x1p-149f, 3.4e38f}) CHECK(cria_test::values_of(cria_test::block_of<cria::f32>({v}))[0] == v);
}

TEST_CASE("float: f16 and bf16 blocks round to the nearest number of their format") {
  double worst_f16 = 0, worst_bf16 = 0;
  for (int i = 1; i < 100000; ++i) {
    const float v = static_cast<float>(i) * 0.011f;
    worst_f16 = std::fmax(worst_f16, std::fabs(static_cast<double>(cria_test::values_of(cria_test::block_of<cria::f16>({v}))[0]) - v) / v);
    worst_bf16 = std::fmax(worst_bf16, std::fabs(static_cast<double>(cria_test::values_of(cria_test::block_of<cria::bf16>({v}))[0]) - v) / v);
  }
  CHECK(worst_f16 <= 0x1p-11);
  CHECK(worst_f16 > 0x1p-11 * 0.98);
  CHECK(worst_bf16 <= 0x1p-8);
  CHECK(worst_bf16 > 0x1p-8 * 0.98);
}
