// SPDX-License-Identifier: MIT
#include <cria/quant/q4_0.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 1> code_of(std::size_t i) { return {{{2 + i % 16, i / 16 * 4, 4}}}; }
}  // namespace

TEST_CASE("q4_0: each of the 16 codes of each value is read from its nibble alone") {
  for (const float d : cria_test::scales_to_try) {
    cria::q4_0 block{};
    cria_test::put_half(block, 0, d);
    cria_test::check_codes(block, 16, code_of, [d](std::size_t, unsigned q) { return static_cast<double>(d) * (static_cast<int>(q) - 8); });
  }
}

TEST_CASE("q4_0: all 256 pairs of nibbles are the value j and the value j + 16, low nibble first") {
  cria::q4_0 block{};
  cria_test::put_half(block, 0, 0.5f);
  for (unsigned pair = 0; pair < 256; ++pair) {
    for (std::uint8_t& byte : block.qs) byte = static_cast<std::uint8_t>(pair);
    const auto values = cria_test::values_of(block);
    for (std::size_t j = 0; j < 16; ++j) {
      CHECK(values[j] == 0.5f * (static_cast<float>(pair % 16) - 8));
      CHECK(values[j + 16] == 0.5f * (static_cast<float>(pair / 16) - 8));
    }
  }
}

TEST_CASE("q4_0: values come back within one step, within half a step on the side of the largest") {
  // The largest magnitude is -8 d; the other side ends at 7 d, a value of up to 8 d there is one step off. d itself is a rounded half.
  cria_test::check_round_trip<cria::q4_0>([](const auto& x) {
    const double d = cria_test::max_abs(x) / 8;
    return d + 8 * cria_test::half_rounding(d);
  });
  for (auto x : cria_test::blocks_to_try(32)) {
    for (float& v : x) v = v > 0 ? -v : v;
    const double d = cria_test::max_abs(x) / 8;
    const auto back = cria_test::values_of(cria_test::block_of<cria::q4_0>(x));
    for (std::size_t i = 0; i < 32; ++i) CHECK(std::fabs(back[i] - x[i]) <= (d / 2 + 8 * cria_test::half_rounding(d)) * (1 + 0x1p-20));
  }
}
