// SPDX-License-Identifier: MIT
#include <cria/quant/q5_0.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 2> code_of(std::size_t i) { return {{{6 + i % 16, i / 16 * 4, 4}, {2 + i / 8, i % 8, 1}}}; }
}  // namespace

TEST_CASE("q5_0: each of the 32 codes of each value is read from its nibble and its fifth bit alone") {
  for (const float d : cria_test::scales_to_try) {
    cria::q5_0 block{};
    cria_test::put_half(block, 0, d);
    cria_test::check_codes(block, 32, code_of, [d](std::size_t, unsigned q) { return static_cast<double>(d) * (static_cast<int>(q) - 16); });
  }
}

TEST_CASE("q5_0: values come back within one step") {
  cria_test::check_round_trip<cria::q5_0>([](const auto& x) {
    const double d = cria_test::max_abs(x) / 16;
    return d + 16 * cria_test::half_rounding(d);
  });
}
