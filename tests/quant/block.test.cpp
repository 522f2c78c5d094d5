// SPDX-License-Identifier: MIT
#include <cria/quant/block.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace detail = cria::detail;

namespace {
constexpr float infinity = std::numeric_limits<float>::infinity();
}

TEST_CASE("block: round_to_int8 is the C library's round, kept within 127") {
  std::mt19937 random(8);
  const auto check = [](float v) {
    const float expected = std::fmin(std::fmax(std::round(v), -127.0f), 127.0f);
    return static_cast<float>(detail::round_to_int8(v)) == expected;
  };
  int failures = 0;
  for (int i = 0; i < 300000; ++i) {
    const float v = (static_cast<float>(random()) * 0x1p-31f - 1) * 130;
    failures += check(v) ? 0 : 1;
  }
  for (int k = -260; k <= 260; ++k) {   // halves and their neighbours: 0.49999997 + 0.5 is 1 in float
    const float half = static_cast<float>(k) / 2;
    for (const float v : {half, std::nextafter(half, infinity), std::nextafter(half, -infinity)}) failures += check(v) ? 0 : 1;
  }
  for (const float v : {infinity, -infinity, 1e30f, -1e30f, 0x1p-149f}) failures += check(v) ? 0 : 1;
  CHECK(failures == 0);
  CHECK(detail::round_to_int8(std::nanf("")) == -127);
}

TEST_CASE("block: codes are cut to their range, NaN to the lowest") {
  CHECK(detail::nearest_code(-0.51f, -8, 7) == 7);
  CHECK(detail::nearest_code(-0.49f, -8, 7) == 8);
  CHECK(detail::nearest_code(7.9f, -8, 7) == 15);
  CHECK(detail::nearest_code(infinity, 0, 31) == 31);
  for (const float v : {-0.1f, -infinity, std::nanf(""), 0.49f}) CHECK(detail::nearest_code(v, 0, 15) == 0);
  CHECK(detail::keep_within(std::nanf(""), -2.0f, 3.0f) == -2.0f);
}

TEST_CASE("block: the extremes of a block pass over NaN, and the first of equal magnitudes counts") {
  const float values[] = {std::nanf(""), 0.5f, -3.0f, 3.0f, std::nanf(""), 1.0f};
  CHECK(detail::largest_by_magnitude(values) == -3.0f);
  CHECK(detail::range_of(values).min == -3.0f);
  CHECK(detail::range_of(values).max == 3.0f);
  CHECK(std::bit_cast<std::uint32_t>(detail::largest_by_magnitude(std::span<const float>{})) == 0);
}

TEST_CASE("block: sum_of adds every term once") {
  float terms[32];
  for (int i = 0; i < 32; ++i) terms[i] = std::ldexp(1.0f, i % 20);
  CHECK(detail::sum_of(terms) == 2 * (0x1p12f - 1) + 0x1p20f - 0x1p12f);
}
