// SPDX-License-Identifier: MIT
#include <cria/quant/mxfp4.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

namespace {
std::array<bit_field, 1> code_of(std::size_t i) { return {{{1 + i % 16, i / 16 * 4, 4}}}; }

// E2M1 by its fields: bias 1, exponent 0 is subnormal.
double e2m1(unsigned q) {
  const unsigned exponent = q >> 1 & 3, fraction = q & 1;
  const double magnitude = exponent == 0 ? 0.5 * fraction : std::ldexp(1 + 0.5 * fraction, static_cast<int>(exponent) - 1);
  return q >= 8 ? -magnitude : magnitude;
}
}  // namespace

TEST_CASE("mxfp4: every code under every exponent has the value that the MX specification gives it") {
  for (unsigned e = 0; e < 255; ++e) {
    cria::mxfp4 block{static_cast<std::uint8_t>(e), {}};
    for (std::size_t i = 0; i < 32; ++i) cria_test::put_bits(block, code_of(i), static_cast<unsigned>(i % 16));
    const auto values = cria_test::values_of(block);
    for (std::size_t i = 0; i < 32; ++i) {
      // Beyond float's range for the four largest codes of e = 254.
      const double exact = std::ldexp(e2m1(static_cast<unsigned>(i % 16)), static_cast<int>(e) - 127);
      CHECK(values[i] == static_cast<float>(exact));
    }
  }
}

TEST_CASE("mxfp4: each of the 16 codes of each value is read from its nibble alone") {
  cria_test::check_codes(cria::mxfp4{124, {}}, 16, code_of, [](std::size_t, unsigned q) { return e2m1(q) / 8; });
}

TEST_CASE("mxfp4: quantising finds the best of all exponents and codes") {
  for (const auto& x : cria_test::blocks_to_try(32)) {
    double best = 1e300, ours = 0;
    for (int e = 90; e < 140; ++e) {
      double error = 0;
      for (const float v : x) {
        double nearest = 1e300;
        for (unsigned q = 0; q < 16; ++q) nearest = std::fmin(nearest, std::fabs(std::ldexp(e2m1(q), e - 127) - v));
        error += nearest * nearest;
      }
      best = std::fmin(best, error);
    }
    const auto back = cria_test::values_of(cria_test::block_of<cria::mxfp4>(x));
    for (std::size_t i = 0; i < 32; ++i) ours += (static_cast<double>(back[i]) - x[i]) * (static_cast<double>(back[i]) - x[i]);
    CHECK(ours <= best * (1 + 1e-5));   // sums of floats decide between exponents
  }
}
