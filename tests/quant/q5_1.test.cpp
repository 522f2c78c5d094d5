// SPDX-License-Identifier: MIT
#include <cria/quant/q5_1.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 2> code_of(std::size_t i) { return {{{8 + i % 16, i / 16 * 4, 4}, {4 + i / 8, i % 8, 1}}}; }
}  // namespace

TEST_CASE("q5_1: each of the 32 codes of each value is read from its nibble and its fifth bit alone") {
  for (const float d : cria_test::scales_to_try) {
    for (const float m : {0.0f, -0.75f, 0x1.23p-9f}) {
      cria::q5_1 block{};
      cria_test::put_half(block, 0, d);
      cria_test::put_half(block, 2, m);
      cria_test::check_codes(block, 32, code_of, [d, m](std::size_t, unsigned q) { return static_cast<float>(static_cast<double>(d) * q + m); });
    }
  }
}

TEST_CASE("q5_1: values come back within half a step and the rounding of d and m") {
  cria_test::check_round_trip<cria::q5_1>([](const auto& x) {
    const double d = cria_test::width_of(x) / 31;
    return d / 2 + 31 * cria_test::half_rounding(d) + cria_test::half_rounding(cria_test::max_abs(x));
  });
}
