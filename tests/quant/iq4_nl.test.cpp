// SPDX-License-Identifier: MIT
#include <cria/quant/iq4_nl.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 1> code_of(std::size_t i) { return {{{2 + i % 16, i / 16 * 4, 4}}}; }
}  // namespace

TEST_CASE("iq4_nl: each of the 16 indices of each value is read from its nibble alone") {
  for (const float d : cria_test::scales_to_try) {
    cria::iq4_nl block{};
    cria_test::put_half(block, 0, d);
    cria_test::check_codes(block, 16, code_of, [d](std::size_t, unsigned q) { return static_cast<double>(d) * cria::iq4_codebook[q]; });
  }
}

TEST_CASE("iq4_nl: the index and the level of any number are those of the nearest level") {
  for (int i = -1400; i <= 1400; ++i) {
    const float v = static_cast<float>(i) * 0.1f + 0.013f;   // never half-way between two levels
    int nearest = 0;
    for (int q = 1; q < 16; ++q) {
      if (std::fabs(v - static_cast<float>(cria::iq4_codebook[q])) < std::fabs(v - static_cast<float>(cria::iq4_codebook[nearest]))) nearest = q;
    }
    CHECK(cria::detail::iq4_codes::index(v) == nearest);
    CHECK(cria::detail::iq4_codes::nearest(v) == static_cast<float>(cria::iq4_codebook[nearest]));
  }
  CHECK(cria::detail::iq4_codes::index(std::nanf("")) == 0);
  CHECK(cria::detail::iq4_codes::nearest(std::nanf("")) == -127.0f);
}
