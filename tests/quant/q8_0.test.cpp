// SPDX-License-Identifier: MIT
#include <cria/quant/q8_0.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

TEST_CASE("q8_0: all 256 bytes of each value are read as signed codes from that byte alone") {
  for (const float d : cria_test::scales_to_try) {
    cria::q8_0 block{};
    cria_test::put_half(block, 0, d);
    cria_test::check_codes(
        block, 256, [](std::size_t i) { return std::array{bit_field{2 + i, 0, 8}}; },
        [d](std::size_t, unsigned q) { return static_cast<double>(d) * (q < 128 ? static_cast<int>(q) : static_cast<int>(q) - 256); });
  }
}

TEST_CASE("q8_0: values come back within half a step and the rounding of d") {
  cria_test::check_round_trip<cria::q8_0>([](const auto& x) {
    const double d = cria_test::max_abs(x) / 127;
    return d / 2 + 127 * cria_test::half_rounding(d);
  });
}
