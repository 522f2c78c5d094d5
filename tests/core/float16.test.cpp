// SPDX-License-Identifier: MIT
#include <cria/core/float16.hpp>

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

using cria::bf16;
using cria::f16;
using cria::to_bf16;
using cria::to_f16;
using cria::to_float;

namespace {

// The number of a binary format by the definition in IEEE 754, in double arithmetic (exact here); NaN and infinity excluded.
double value_of(std::uint32_t bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const std::uint32_t fraction = bits & ((1u << fraction_bits) - 1);
  const int exponent = static_cast<int>(bits >> fraction_bits & ((1u << exponent_bits) - 1));
  const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                                         : std::ldexp(fraction + std::ldexp(1.0, fraction_bits), exponent - bias - fraction_bits);
  return bits >> (exponent_bits + fraction_bits) != 0 ? -magnitude : magnitude;
}

// Nearest of all numbers of the format to `value`, ties to even bits, by bisection over the ordered positive numbers; the first
// number past the largest counts as 2^(largest exponent + 1) and stands for infinity.
std::uint16_t nearest_by_search(float value, int exponent_bits, int fraction_bits) {
  const double target = std::fabs(static_cast<double>(value));
  std::uint32_t low = 0, high = ((1u << exponent_bits) - 1) << fraction_bits;
  if (target >= value_of(high, exponent_bits, fraction_bits)) low = high;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    (value_of(middle, exponent_bits, fraction_bits) <= target ? low : high) = middle;
  }
  std::uint32_t best = low;
  if (high != low) {
    const double below = target - value_of(low, exponent_bits, fraction_bits), above = value_of(high, exponent_bits, fraction_bits) - target;
    if (above < below || (above == below && high % 2 == 0)) best = high;
  }
  return static_cast<std::uint16_t>(best | (std::signbit(value) ? 0x8000u : 0u));
}

}  // namespace

TEST_CASE("float16: every half has the value of its IEEE 754 fields and converts back to its own bits") {
  int failures = 0;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const f16 h{static_cast<std::uint16_t>(i)};
    const float value = to_float(h);
    const std::uint32_t exponent = i >> 10 & 31, fraction = i & 1023;
    bool ok = std::signbit(value) == (i >= 0x8000);
    if (exponent == 31) {
      ok = ok && (fraction == 0 ? std::isinf(value) : std::isnan(value));
      ok = ok && to_f16(value).bits == (fraction == 0 ? i : i | 0x200u);
    } else {
      ok = ok && static_cast<double>(value) == value_of(i, 5, 10) && to_f16(value) == h;
    }
    if (!ok && ++failures < 10) MESSAGE("half " << i << " gives " << value);
  }
  CHECK(failures == 0);
}

TEST_CASE("float16: every bfloat16 is the upper half of its float and converts back to its own bits") {
  int failures = 0;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const bf16 b{static_cast<std::uint16_t>(i)};
    const float value = to_float(b);
    const bool is_special = (i >> 7 & 255) == 255;
    bool ok = std::bit_cast<std::uint32_t>(value) == i << 16;
    if (!is_special) ok = ok && static_cast<double>(value) == value_of(i, 8, 7);
    ok = ok && to_bf16(value).bits == (is_special && (i & 127) != 0 ? i | 0x40u : i);
    if (!ok && ++failures < 10) MESSAGE("bfloat16 " << i << " gives " << value);
  }
  CHECK(failures == 0);
}

TEST_CASE("float16: every midpoint between neighbouring halves goes to the even one, one step aside to the nearer") {
  int failures = 0;
  for (std::uint32_t i = 0; i < 0x7c00; ++i) {
    const auto middle = static_cast<float>((value_of(i, 5, 10) + value_of(i + 1, 5, 10)) / 2);  // exact: 12 significant bits
    const std::uint32_t even = i % 2 == 0 ? i : i + 1;
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const auto convert = [sign](float v) { return to_f16(sign != 0 ? -v : v).bits - sign; };
      const bool ok = convert(middle) == even && convert(std::nextafter(middle, 0.0f)) == i &&
                      convert(std::nextafter(middle, std::numeric_limits<float>::infinity())) == i + 1;
      if (!ok && ++failures < 10) MESSAGE("around half " << i);
    }
  }
  CHECK(failures == 0);
}

TEST_CASE("float16: random and edge floats go to the nearest number of the format") {
  std::mt19937 random(20);
  int failures = 0;
  const auto check = [&failures](float value) {
    if (std::isnan(value)) {
      const bool ok = std::isnan(to_float(to_f16(value))) && std::isnan(to_float(to_bf16(value))) && (to_f16(value).bits & 0x200u) != 0 &&
                      (to_bf16(value).bits & 0x40u) != 0 && (to_f16(value).bits >> 15 != 0) == std::signbit(value) &&
                      (to_bf16(value).bits >> 15 != 0) == std::signbit(value);
      if (!ok) ++failures;
      return;
    }
    const bool ok = to_f16(value).bits == nearest_by_search(value, 5, 10) && to_bf16(value).bits == nearest_by_search(value, 8, 7);
    if (!ok && ++failures < 10) MESSAGE("float " << value << " bits " << std::bit_cast<std::uint32_t>(value));
  };
  for (int i = 0; i < 200000; ++i) check(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  for (int i = 0; i < 200000; ++i) {   // the exponents where halves are normal, subnormal or just out of range
    const auto exponent = static_cast<std::uint32_t>(100 + random() % 46);
    check(std::bit_cast<float>((static_cast<std::uint32_t>(random()) & 0x807fffffu) | exponent << 23));
  }
  const std::array edges{0.0f, 65504.0f, 65519.996f, 65520.0f, 65536.0f, 0x1p-24f, 0x1p-25f, 0x1.000002p-25f, 0x1p-26f, 0x1p-14f, 0x1.ffcp-15f,
                         0x1.ffdp-15f, 0x1.ffep-15f, std::numeric_limits<float>::max(), std::numeric_limits<float>::min(),
                         std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::infinity(),
                         std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::signaling_NaN(), 0x1.fffffep-127f};
  for (const float edge : edges) {
    check(edge);
    check(-edge);
  }
  CHECK(failures == 0);
}

TEST_CASE("float16: conversions work in constant expressions") {
  static_assert(to_float(f16{0x3c00}) == 1.0f && to_float(f16{0x0001}) == 0x1p-24f && to_float(bf16{0xc000}) == -2.0f);
  static_assert(to_f16(1.0f).bits == 0x3c00 && to_f16(-0.0f).bits == 0x8000 && to_bf16(1.0f).bits == 0x3f80);
  CHECK(to_float(f16{}) == 0.0f);
}

TEST_CASE("float16: to_normal_bf16 is to_bf16 but for subnormal results, which are zeros of their sign") {
  long failures = 0;
  for (std::uint32_t high = 0; high < 0x10000; ++high) {
    for (const std::uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float x = std::bit_cast<float>(high << 16 | low);
      const bf16 nearest = cria::to_bf16(x), got = cria::to_normal_bf16(x);
      const float kept = to_float(nearest);
      const bool is_subnormal = std::fabs(kept) < std::numeric_limits<float>::min();
      failures += got.bits != (is_subnormal ? (std::signbit(x) ? 0x8000 : 0) : nearest.bits);
    }
  }
  CHECK(failures == 0);
}
