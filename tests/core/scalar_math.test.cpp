// SPDX-License-Identifier: MIT
#include <cria/core/random.hpp>
#include <cria/core/scalar_math.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>

namespace math = cria::math;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Returns whether long double is wide enough to judge a double; says so where it is not.
bool has_wide_reference() {
  if (std::numeric_limits<long double>::digits >= 64) return true;
  std::cerr << "SKIPPED: long double is no wider than double here; accuracy is not measured\n";
  return false;
}

double relative_error(double got, long double expected) { return static_cast<double>(std::fabs((got - expected) / expected)); }

/// Mixes a number's bits into a hash.
void mix(std::uint64_t& hash, double x) {
  hash ^= std::bit_cast<std::uint64_t>(x);
  hash *= 0x100000001b3;
  hash ^= hash >> 29;
}

}  // namespace

TEST_CASE("scalar_math: exp is within 8e-16 of the true value over its whole range") {
  if (!has_wide_reference()) return;
  double worst = 0.0;
  double worst_at = 0.0;
  const auto check = [&](double x) {
    const double e = relative_error(math::exp(x), std::exp(static_cast<long double>(x)));
    if (e > worst) {
      worst = e;
      worst_at = x;
    }
  };
  for (int i = -7083900; i <= 7097827; ++i) check(i * 1e-4);
  for (int i = -400000; i <= 100000; ++i) check(i * 7.3e-5 + 1.1e-9);
  for (int i = 0; i < 1100; ++i) {
    check(std::ldexp(1.2345, -i));
    check(-std::ldexp(1.2345, -i));
  }
  CAPTURE(worst_at);
  CHECK(worst < 8e-16);
}

TEST_CASE("scalar_math: exp is 1 at 0, 0 or infinite where the result leaves the range of normal numbers, and NaN for NaN") {
  CHECK(math::exp(0.0) == 1.0);
  CHECK(math::exp(-0.0) == 1.0);
  CHECK(math::exp(infinity) == infinity);
  CHECK(math::exp(-infinity) == 0.0);
  CHECK(std::isnan(math::exp(std::numeric_limits<double>::quiet_NaN())));
  CHECK(math::exp(709.7828) == infinity);
  CHECK(std::isfinite(math::exp(709.782712893384)));
  CHECK(math::exp(1e308) == infinity);
  CHECK(math::exp(-1e308) == 0.0);
  CHECK(math::exp(-708.396) >= std::numeric_limits<double>::min());
  CHECK(math::exp(-708.397) == 0.0);
  CHECK(math::exp(std::numeric_limits<double>::denorm_min()) == 1.0);
}

TEST_CASE("scalar_math: log is within 5e-16 of the true value") {
  if (!has_wide_reference()) return;
  double worst = 0.0;
  double worst_at = 0.0;
  const auto check = [&](double x) {
    if (x == 1.0) return;
    const double e = relative_error(math::log(x), std::log(static_cast<long double>(x)));
    if (e > worst) {
      worst = e;
      worst_at = x;
    }
  };
  for (int i = 1; i <= 3000000; ++i) check(i * 1e-6);
  for (int i = -1073; i <= 1023; ++i) {
    for (const double m : {1.0, 1.1, 1.4142135623730951, 1.4142135623730949, 1.9999}) check(std::ldexp(m, i));
  }
  for (int i = 1; i < 53; ++i) {
    check(1.0 + std::ldexp(1.0, -i));
    check(1.0 - std::ldexp(1.0, -i));
  }
  CAPTURE(worst_at);
  CHECK(worst < 5e-16);
}

TEST_CASE("scalar_math: log is 0 at 1, -inf at 0, NaN for negative numbers, and defined for subnormal ones") {
  CHECK(math::log(1.0) == 0.0);
  CHECK(math::log(0.0) == -infinity);
  CHECK(math::log(-0.0) == -infinity);
  CHECK(std::isnan(math::log(-1.0)));
  CHECK(std::isnan(math::log(-infinity)));
  CHECK(std::isnan(math::log(std::numeric_limits<double>::quiet_NaN())));
  CHECK(math::log(infinity) == infinity);
  CHECK(math::log(std::numeric_limits<double>::denorm_min()) == doctest::Approx(-744.4400719213812).epsilon(1e-15));
}

TEST_CASE("scalar_math: pow is within its stated error, also as RoPE uses it") {
  if (!has_wide_reference()) return;
  double worst = 0.0;
  const auto check = [&](double x, double y) {
    const long double expected = std::pow(static_cast<long double>(x), static_cast<long double>(y));
    const double scale = 2.0 + std::fabs(y * std::log(x));
    worst = std::max(worst, relative_error(math::pow(x, y), expected) / scale);
  };
  cria::random_generator random(5);
  for (int i = 0; i < 300000; ++i) check(random.uniform() * 1e6 + 1e-9, (random.uniform() * 2 - 1) * 20);
  for (const double base : {10000.0, 500000.0, 1e6}) {
    for (int d = 2; d <= 256; d += 2) {
      for (int i = 0; i < d; i += 2) check(base, -static_cast<double>(i) / d);
    }
  }
  CHECK(worst < 4e-16);
  CHECK(math::pow(0.0, 0.0) == 1.0);
  CHECK(math::pow(0.0, 2.5) == 0.0);
  CHECK(math::pow(0.0, -1.0) == infinity);
  CHECK(math::pow(1.0, infinity) == 1.0);
  CHECK(math::pow(2.0, infinity) == infinity);
  CHECK(math::pow(0.5, infinity) == 0.0);
  CHECK(std::isnan(math::pow(-2.0, 2.0)));
}

TEST_CASE("scalar_math: sin and cos are within 3e-16 absolute for arguments up to 1e9") {
  if (!has_wide_reference()) return;
  double worst = 0.0;
  double worst_at = 0.0;
  const auto check = [&](double x) {
    const math::sine_cosine got = math::sin_cos(x);
    const auto wide = static_cast<long double>(x);
    const double e = static_cast<double>(std::max(std::fabs(got.sine - std::sin(wide)), std::fabs(got.cosine - std::cos(wide))));
    if (e > worst) {
      worst = e;
      worst_at = x;
    }
  };
  for (int i = -200000; i <= 200000; ++i) check(i * 1e-4);
  cria::random_generator random(6);
  for (const double range : {1e3, 1e5, 1e7, 1e9}) {
    for (int i = 0; i < 200000; ++i) check((random.uniform() * 2 - 1) * range);
  }
  for (int k = 1; k < 100000; k += 7) check(k * 1.5707963267948966);  // next to the zeros
  for (int position = 0; position < 131072; position += 3) check(static_cast<double>(position));
  check(1e9);
  check(-1e9);
  CAPTURE(worst_at);
  CHECK(worst < 3e-16);
}

TEST_CASE("scalar_math: sin and cos are exact at 0, and NaN beyond 1e9") {
  CHECK(math::sin(0.0) == 0.0);
  CHECK(math::cos(0.0) == 1.0);
  CHECK(math::sin(1e-300) == 1e-300);
  for (const double x : {1.0000001e9, -1.0000001e9, 1e300, infinity, -infinity, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK(std::isnan(math::sin(x)));
    CHECK(std::isnan(math::cos(x)));
  }
  for (int i = 0; i < 1000; ++i) {
    const double x = i * 0.37;
    CHECK(math::sin(-x) == -math::sin(x));
    CHECK(math::cos(-x) == math::cos(x));
  }
}

TEST_CASE("scalar_math: the bits are those of every other build") {
  // Own results, 2026: equal with g++ 12 and clang++ 14, -O0 to -O3, -march x86-64 to native, -ffp-contract=off and =fast.
  // The sums are there because a compiler that fuses a function's last product with the caller's addition changes them.
  std::uint64_t hash = 0xcbf29ce484222325;
  double sum = 0.0;
  for (int i = 0; i < 100000; ++i) {
    const double up = i;
    mix(hash, math::exp((up - 50000.0) * 0.0141371669));  // a product as argument
    mix(hash, math::log(up * 0.77));
    const math::sine_cosine both = math::sin_cos((up - 50000.0) * 141.3716699);
    mix(hash, both.sine);
    mix(hash, both.cosine);
    mix(hash, math::pow(up * 0.001, up * -0.0003));
    sum += math::exp(-up * 0.00025);  // a sum over results
    mix(hash, sum);
    mix(hash, 0.3 + math::exp(up * 0.0001));
    mix(hash, math::log(2.0 + up) - 0.7);
    mix(hash, math::sin(up * 0.01) + math::cos(up * 0.01));
  }
  CHECK(hash == 13935738258545978150u);
}
