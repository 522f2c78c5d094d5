// SPDX-License-Identifier: MIT
// The definition: plain C++. That every other set gives the same bits is tested in sets.test.py.
#include <cria/isa/f32x16.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using v = cria::isa::f32x16<cria::isa::scalar>;

namespace {

double ulp_at(double x) { return std::ldexp(1.0, std::ilogb(x) - 23); }

// Passes e^x of 16 arguments at a time to f(x, result).
template <class F>
void exps(const std::vector<float>& arguments, F&& f) {
  for (std::size_t n = 0; n < arguments.size(); n += 16) {
    float x[16] = {}, y[16];
    const std::size_t count = std::min<std::size_t>(16, arguments.size() - n);
    std::copy_n(arguments.begin() + static_cast<std::ptrdiff_t>(n), count, x);
    cria::isa::exp<cria::isa::scalar>(v::load(x)).store(y);
    for (std::size_t i = 0; i < count; ++i) f(x[i], y[i]);
  }
}

}  // namespace

TEST_CASE("f32x16: exp is within 1 ulp of e^x over its whole range") {
  // Every 61st float from 2^-40 to the ends, on either side, and the floats next to every half-way point of the reduction by ln 2.
  std::vector<float> arguments;
  for (const float end : {88.3f, -87.3f}) {
    const std::uint32_t sign = end < 0 ? 0x80000000u : 0u, last = std::bit_cast<std::uint32_t>(std::fabs(end));
    for (std::uint32_t bits = (127u - 40u) << 23; bits <= last; bits += 61) arguments.push_back(std::bit_cast<float>(sign | bits));
    arguments.push_back(end);
  }
  for (int k = -125; k <= 126; ++k) {
    float x = static_cast<float>((k + 0.5) * 0.69314718055994530942);
    for (int n = 0; n < 50; ++n) x = std::nextafter(x, -100.0f);
    for (int n = 0; n < 100; ++n) arguments.push_back(x = std::nextafter(x, 100.0f));
  }
  double worst = 0;
  float where = 0;
  exps(arguments, [&](float x, float y) {
    const double expected = std::exp(static_cast<double>(x));
    const double error = std::abs(static_cast<double>(y) - expected) / ulp_at(expected);
    if (!(error <= worst)) {
      worst = error;
      where = x;
    }
  });
  MESSAGE("exp: " << arguments.size() << " arguments, at most " << worst << " ulp off, at " << where);
  CHECK(worst < 1);
}

TEST_CASE("f32x16: exp of tiny arguments is 1, of arguments outside its range that of the range's end") {
  std::vector<float> tiny = {0.0f, -0.0f, 1e-45f, -1e-45f, 1e-38f, -1e-30f, 1e-9f, -1e-9f};
  exps(tiny, [](float, float y) { CHECK(y == 1.0f); });
  const float inf = std::numeric_limits<float>::infinity(), largest = std::numeric_limits<float>::max();
  float top = 0, bottom = 0;
  exps({88.3f}, [&](float, float y) { top = y; });
  exps({-87.3f}, [&](float, float y) { bottom = y; });
  CHECK(std::isfinite(top));
  CHECK(bottom > std::numeric_limits<float>::min());
  exps({88.4f, 100.0f, 1e10f, largest, inf}, [&](float, float y) { CHECK(y == top); });
  exps({-87.4f, -100.0f, -1e10f, -largest, -inf}, [&](float, float y) { CHECK(y == bottom); });
}

TEST_CASE("f32x16: exp of NaN is NaN") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  exps({nan, -nan}, [](float, float y) { CHECK(std::isnan(y)); });
}

TEST_CASE("f32x16: exp never falls where its argument rises by a 1000th") {
  float before = 0;
  std::vector<float> arguments;
  for (int n = -87300; n <= 88300; ++n) arguments.push_back(static_cast<float>(n) / 1000.0f);
  bool is_rising = true;
  exps(arguments, [&](float, float y) {
    is_rising = is_rising && y > before;
    before = y;
  });
  CHECK(is_rising);
}

TEST_CASE("f32x16: sum adds lanes 8, 4, 2 and 1 apart, in this order") {
  float x[16];
  for (std::size_t n = 0; n < 16; ++n) x[n] = 1.0f / static_cast<float>(3 * n + 1) * (n % 3 == 0 ? -1e4f : 1.0f);
  float tree[16];
  std::copy_n(x, 16, tree);
  for (std::size_t half = 8; half > 0; half /= 2) {
    for (std::size_t n = 0; n < half; ++n) tree[n] = tree[n] + tree[n + half];
  }
  CHECK(v::load(x).sum() == tree[0]);
  float in_order = 0;
  for (const float value : x) in_order += value;
  CHECK(in_order != tree[0]);  // the numbers tell orders apart
}

TEST_CASE("f32x16: hmax finds the largest lane in any place, hmax_abs_bits the largest magnitude and NaN above all") {
  for (std::size_t n = 0; n < 16; ++n) {
    float x[16];
    for (std::size_t i = 0; i < 16; ++i) x[i] = -5.0f - static_cast<float>(i);
    x[n] = -1.5f;
    CHECK(v::load(x).hmax() == -1.5f);
    x[n] = 40.0f;
    CHECK(v::load(x).hmax() == 40.0f);
    x[n] = -40.0f;
    const float nothing[16] = {};
    CHECK(std::bit_cast<float>(v::hmax_abs_bits(v::load(x), v::load(nothing))) == 40.0f);
    CHECK(std::bit_cast<float>(v::hmax_abs_bits(v::load(nothing), v::load(x))) == 40.0f);
    x[n] = -std::numeric_limits<float>::quiet_NaN();
    x[(n + 3) % 16] = std::numeric_limits<float>::infinity();
    CHECK(std::isnan(std::bit_cast<float>(v::hmax_abs_bits(v::load(x), v::load(nothing)))));
    CHECK(std::isnan(std::bit_cast<float>(v::hmax_abs_bits(v::load(nothing), v::load(x)))));
  }
}

TEST_CASE("f32x16: lane by lane operations are those of floats, fma with one rounding") {
  float a[16], b[16], c[16], y[16];
  for (std::size_t n = 0; n < 16; ++n) {
    a[n] = 1.0f + static_cast<float>(n) * 0x1p-23f;
    b[n] = 1.0f - static_cast<float>(n) * 0x1p-22f;
    c[n] = -1.0f;
  }
  v::fma(v::load(a), v::load(b), v::load(c)).store(y);
  bool has_one_rounding = true, differs = false;
  for (std::size_t n = 0; n < 16; ++n) {
    const auto exact = static_cast<float>(static_cast<double>(a[n]) * static_cast<double>(b[n]) + static_cast<double>(c[n]));
    has_one_rounding = has_one_rounding && y[n] == exact;
    const float product = a[n] * b[n];
    differs = differs || y[n] != product + c[n];
  }
  CHECK(has_one_rounding);
  CHECK(differs);
  (v::load(a) / v::load(b) - v::load(c) * v::set(3)).store(y);
  bool is_right = true;
  for (std::size_t n = 0; n < 16; ++n) is_right = is_right && y[n] == a[n] / b[n] - c[n] * 3.0f;
  CHECK(is_right);
}

TEST_CASE("f32x16: integers wrap, without undefined behaviour") {
  using op = cria::isa::vec<cria::isa::scalar>;
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max(), least = std::numeric_limits<std::int32_t>::min();
  CHECK((op::set_i(most) + op::set_i(1)).v[15] == least);
  CHECK((op::set_i(least) - op::set_i(1)).v[0] == most);
  CHECK((op::set_i(0x10001) * op::set_i(0x10001)).v[7] == 0x20001);
}
