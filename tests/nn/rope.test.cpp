// SPDX-License-Identifier: MIT
// Angles against their formulas in long double, and against numbers of the papers' own kind worked out by hand.
#include <cria/nn/rope.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <vector>

namespace {

using namespace cria;
using nn::rope_parameters;
using nn::rope_scaling;

/// base^(-2i/d): what pair i turns per position.
long double plain(const rope_parameters& p, std::size_t i) {
  return std::pow(static_cast<long double>(p.base), -2.0L * static_cast<long double>(i) / static_cast<long double>(p.rope_dim));
}

/// Relative error; pow's own is a few 1e-16 times the exponent's size.
void check_near(double got, long double want, long double bar = 4e-15L) {
  CAPTURE(got);
  CHECK(std::fabs(static_cast<long double>(got) - want) <= bar * std::fabs(want));
}

const rope_parameters shapes[] = {{.rope_dim = 64, .base = 10000},  {.rope_dim = 128, .base = 500000}, {.rope_dim = 48, .base = 10000},
                                  {.rope_dim = 2, .base = 10000},   {.rope_dim = 6, .base = 1e6},      {.rope_dim = 256, .base = 1e7},
                                  {.rope_dim = 64, .base = 1.0001}, {.rope_dim = 64, .base = 0.5}};

}  // namespace

TEST_CASE("rope: plain angles are base^(-2i/d), the first pair turns one radian per position") {
  for (const rope_parameters& p : shapes) {
    const nn::rope r = nn::make_rope(p, {});
    CHECK(r.frequencies.size() == p.rope_dim / 2);
    CHECK(r.rope_dim == p.rope_dim);
    CHECK(r.frequencies[0] == 1);
    CHECK(r.magnitude == 1);
    for (std::size_t i = 0; i < r.frequencies.size(); ++i) check_near(r.frequencies[i], plain(p, i));
  }
  CHECK(nn::make_rope({.rope_dim = 4, .base = 10000}, {}).frequencies[1] == doctest::Approx(0.01).epsilon(1e-14));
  CHECK(nn::make_rope({.rope_dim = 0}, {}).frequencies.empty());
}

TEST_CASE("rope: linear scaling divides every angle") {
  for (rope_parameters p : shapes) {
    for (const double factor : {1.0, 2.0, 4.0, 8.0, 0.25, 3.7}) {
      p.scaling = rope_scaling::linear;
      p.factor = factor;
      const nn::rope r = nn::make_rope(p, {});
      for (std::size_t i = 0; i < r.frequencies.size(); ++i) check_near(r.frequencies[i], plain(p, i) / static_cast<long double>(factor));
      CHECK(r.magnitude == 1);
    }
  }
}

TEST_CASE("rope: a factor without a scaling is not applied") {
  rope_parameters p{.rope_dim = 64, .factor = 4};
  CHECK(nn::make_rope(p, {}).frequencies[0] == 1);
}

TEST_CASE("rope: yarn keeps the pairs that turn often, divides those that turn rarely, and blends between") {
  for (const double original : {2048.0, 4096.0, 32768.0}) {
    for (const double factor : {2.0, 8.0, 40.0}) {
      for (const double extrapolation : {1.0, 0.5}) {
        rope_parameters p{.rope_dim = 64, .base = 10000, .scaling = rope_scaling::yarn, .factor = factor, .original_context = original};
        p.extrapolation = extrapolation;
        const nn::rope r = nn::make_rope(p, {});
        // Pair i turns original theta_i / 2 pi times within the original context: 32 times and more is often, once and less rarely.
        const auto pair_of = [&](long double turns) {
          return 64 * std::log(static_cast<long double>(original) / (turns * 2 * std::numbers::pi_v<long double>)) / (2 * std::log(10000.0L));
        };
        const long double low = std::max(0.0L, std::floor(pair_of(32))), high = std::min(63.0L, std::ceil(pair_of(1)));
        std::size_t n_kept = 0, n_divided = 0;
        for (std::size_t i = 0; i < 32; ++i) {
          const long double keep = (1 - std::clamp((static_cast<long double>(i) - low) / (high - low), 0.0L, 1.0L)) * static_cast<long double>(extrapolation);
          const long double divided = plain(p, i) / static_cast<long double>(factor);
          check_near(r.frequencies[i], divided * (1 - keep) + plain(p, i) * keep, 1e-14L);
          n_kept += keep == 1;
          n_divided += keep == 0;
        }
        CHECK((extrapolation < 1 || n_kept > 0));
        CHECK((original > 20000 || n_divided > 0));
        check_near(r.magnitude, 1 + 0.1L * std::log(static_cast<long double>(factor)));
      }
    }
  }
}

TEST_CASE("rope: yarn's attention factor multiplies the magnitude, its betas move the border") {
  rope_parameters p{.rope_dim = 64, .scaling = rope_scaling::yarn, .factor = 4, .original_context = 4096};
  p.attention_factor = 0.5;
  check_near(nn::make_rope(p, {}).magnitude, 0.5L * (1 + 0.1L * std::log(4.0L)));
  p.beta_fast = 64;   // fewer pairs count as turning often
  const nn::rope narrow = nn::make_rope(p, {});
  p.beta_fast = 32;
  const nn::rope usual = nn::make_rope(p, {});
  CHECK(narrow.frequencies != usual.frequencies);
  for (std::size_t i = 0; i < 32; ++i) CHECK(narrow.frequencies[i] <= usual.frequencies[i]);
  p.factor = 1;   // nothing to scale
  p.attention_factor = 1;
  const nn::rope one = nn::make_rope(p, {});
  CHECK(one.magnitude == 1);
  p.factor = 0.5;   // nor to make up for
  CHECK(nn::make_rope(p, {}).magnitude == 1);
  p.factor = 1;
  for (std::size_t i = 0; i < 32; ++i) check_near(one.frequencies[i], plain(p, i));
}

TEST_CASE("rope: a border on one pair or outside the head does not divide by zero") {
  for (const double original : {1.0, 6.0, 1e-3, 1e12}) {
    const nn::rope r = nn::make_rope({.rope_dim = 64, .scaling = rope_scaling::yarn, .factor = 4, .original_context = original}, {});
    for (const double f : r.frequencies) CHECK((f > 0 && f <= 1));
  }
}

TEST_CASE("rope: llama 3's divisors apply to each pair, before any scaling") {
  std::vector<float> divisors(32);
  for (std::size_t i = 0; i < 32; ++i) divisors[i] = i < 10 ? 1.0f : i < 20 ? 1.0f + static_cast<float>(i - 9) * 0.7f : 8.0f;
  rope_parameters p{.rope_dim = 64, .base = 500000};
  const nn::rope r = nn::make_rope(p, divisors);
  for (std::size_t i = 0; i < 32; ++i) check_near(r.frequencies[i], plain(p, i) / static_cast<long double>(divisors[i]));
  p.scaling = rope_scaling::linear;
  p.factor = 2;
  const nn::rope half = nn::make_rope(p, divisors);
  for (std::size_t i = 0; i < 32; ++i) check_near(half.frequencies[i], plain(p, i) / static_cast<long double>(divisors[i]) / 2);
}

TEST_CASE("rope: pairing and sizes pass through") {
  rope_parameters p{.rope_dim = 8};
  CHECK(nn::make_rope(p, {}).pairing == kernels::rope_pairing::adjacent);
  p.pairing = kernels::rope_pairing::halves;
  CHECK(nn::make_rope(p, {}).pairing == kernels::rope_pairing::halves);
}
