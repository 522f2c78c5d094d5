// SPDX-License-Identifier: MIT
#include <cria/sampling/mirostat.hpp>

#include <tests/sampling/reference.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

using namespace cria_test;
using cria::candidate;
using cria::mirostat_v1;
using cria::mirostat_v2;
using cria::token_id;

namespace {

/// Returns n logits of p(rank) ~ rank^-s.
std::vector<candidate> zipf(std::size_t n, double s) {
  std::vector<float> logits;
  for (std::size_t i = 0; i < n; ++i) logits.push_back(static_cast<float>(-s * std::log(static_cast<double>(i + 1))));
  return candidates_of(logits);
}

double surprise(const std::vector<candidate>& c, token_id token) {
  const auto p = softmax(c);
  for (std::size_t i = 0; i < c.size(); ++i) {
    if (c[i].id == token) return static_cast<double>(-std::log2(p[i]));
  }
  return std::numeric_limits<double>::infinity();
}

/// Picks n tokens from `c` and returns their mean surprise over the second half.
template <class Picker>
double mean_surprise(Picker picker, const std::vector<candidate>& c, int n) {
  double sum = 0.0;
  for (int i = 0; i < n; ++i) {
    auto copy = c;
    const token_id token = picker(std::span<candidate>(copy));
    if (i >= n / 2) sum += surprise(c, token);
  }
  return sum / (n - n / 2);
}

}  // namespace

TEST_CASE("mirostat: version 2 cuts by surprise and learns from the pick") {
  // By hand: surprises 1, 2, 3, 3 bits; mu starts at 2 x 1.25 = 2.5, so tokens 0 and 1 are left.
  const auto c = with_probabilities({0.5, 0.25, 0.125, 0.125});
  std::set<token_id> seen;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    mirostat_v2 picker({.tau = 1.25f, .eta = 0.1f, .seed = seed});
    CHECK(picker.mu() == 2.5);
    auto copy = c;
    const token_id token = picker(copy);
    seen.insert(token);
    const double expected = 2.5 - 0.1 * ((token == 0 ? 1.0 : 2.0) - 1.25);
    CHECK(picker.mu() == doctest::Approx(expected).epsilon(1e-6));  // of eta and the logits as floats
  }
  CHECK(seen == std::set<token_id>{0, 1});
}

TEST_CASE("mirostat: version 2 equals the definition step by step") {
  mirostat_v2 picker({.tau = 3.0f, .eta = 0.2f, .seed = 5});
  cria::random_generator same(5);
  double mu = 6.0;
  for (int step = 0; step < 300; ++step) {
    const auto c = candidates_of(random_logits(200, static_cast<std::uint64_t>(step), 2.5));
    const auto p = softmax(c);
    std::vector<candidate> left;
    for (std::size_t i = 0; i < c.size(); ++i) {
      if (-std::log2(static_cast<double>(p[i])) <= mu) left.push_back(c[i]);
    }
    if (left.empty()) left.push_back(ranked(c)[0]);
    const auto q = softmax(left);
    const long double u = same.uniform();
    long double sum = 0.0L;
    std::size_t chosen = 0;
    while (chosen + 1 < left.size() && (sum += q[chosen]) <= u) ++chosen;
    auto copy = c;
    const token_id token = picker(copy);
    REQUIRE(token == left[chosen].id);
    mu -= 0.2f * (surprise(c, token) - 3.0);
    REQUIRE(picker.mu() == doctest::Approx(mu).epsilon(1e-9));
  }
}

TEST_CASE("mirostat: version 1 measures a Zipf distribution's exponent") {
  for (const double s : {0.3, 1.0, 1.7, 4.0}) {
    const auto c = zipf(101, s);
    CHECK(mirostat_v1::zipf_exponent(c) == doctest::Approx(s).epsilon(1e-5));  // logits are floats
  }
  CHECK(mirostat_v1::zipf_exponent(candidates_of(std::vector<float>{1.0f})) == std::numeric_limits<double>::infinity());
  CHECK(mirostat_v1::zipf_exponent(candidates_of(std::vector<float>{1.0f, minus_infinity})) == std::numeric_limits<double>::infinity());
}

TEST_CASE("mirostat: version 1 cuts at the authors' k") {
  for (const double s : {0.2, 0.7, 1.0001, 1.3, 2.0, 8.0}) {
    for (const double mu : {-3.0, 0.0, 1.0, 4.0, 9.0}) {
      for (const std::size_t n : {2u, 50u, 32000u}) {
        const double e = s - 1.0;
        const double k = std::pow(e * std::pow(2.0, mu) / (1.0 - std::pow(static_cast<double>(n), -e)), 1.0 / s);
        const auto expected = static_cast<std::size_t>(std::min(static_cast<double>(n), std::round(k) + 1.0));
        CAPTURE(s);
        CAPTURE(mu);
        CAPTURE(n);
        CHECK(mirostat_v1::cut(s, mu, n) == expected);
      }
    }
  }
  // The limit at s = 1 is (2^mu / ln n).
  CHECK(mirostat_v1::cut(1.0, 6.0, 1000) == static_cast<std::size_t>(std::round(64.0 / std::log(1000.0))) + 1);
}

TEST_CASE("mirostat: version 1's cut is within 1 and n for any numbers") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const double s : {0.0, -1.0, 1e-300, 1e-3, 1.0, 1e3, 1e300, infinity}) {
    for (const double mu : {-1e300, -1e3, 0.0, 1e3, 1e300}) {
      for (const std::size_t n : {1u, 2u, 100u, 128000u}) {
        const std::size_t k = mirostat_v1::cut(s, mu, n);
        REQUIRE(k >= 1);
        REQUIRE(k <= n);
      }
    }
  }
}

TEST_CASE("mirostat: both versions bring the mean surprise to tau") {
  // The published property. eta 0.05 and 4,000 picks: the mean of the second half is (mu_2000 - mu_4000) / (0.05 x 2,000) from tau, and mu
  // moves within a few bits. tau lies between the 2.6 bits of the likeliest token and the mean of the whole distribution.
  const auto c = zipf(2000, 1.1);
  for (const float tau : {3.0f, 4.0f, 5.0f}) {
    CHECK(mean_surprise(mirostat_v1({.tau = tau, .eta = 0.05f, .seed = 1}), c, 4000) == doctest::Approx(static_cast<double>(tau)).epsilon(0.05));
    CHECK(mean_surprise(mirostat_v2({.tau = tau, .eta = 0.05f, .seed = 1}), c, 4000) == doctest::Approx(static_cast<double>(tau)).epsilon(0.05));
  }
}

TEST_CASE("mirostat: with no surprise allowed both pick the first-ranked; banned tokens are never picked; nothing breaks mu") {
  const auto c = candidates_of(std::vector<float>{1.0f, minus_infinity, 3.0f, 2.9f, -1e38f});
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    mirostat_v1 one({.tau = 0.0f, .eta = 0.0f, .seed = seed});
    mirostat_v2 two({.tau = 0.0f, .eta = 0.0f, .seed = seed});
    auto copy = c;
    CHECK(two(copy) == 2);
    mirostat_v1 wide_one({.tau = 1e30f, .eta = 1.0f, .seed = seed});
    mirostat_v2 wide_two({.tau = 1e30f, .eta = 1.0f, .seed = seed});
    for (int i = 0; i < 20; ++i) {
      copy = c;
      CHECK(wide_one(copy) != 1);
      copy = c;
      CHECK(wide_two(copy) != 1);
      CHECK(std::isfinite(wide_one.mu()));
      CHECK(std::isfinite(wide_two.mu()));
    }
  }
  std::vector<candidate> banned{{4, minus_infinity}, {5, minus_infinity}};
  mirostat_v1 one;
  mirostat_v2 two;
  const token_id first = one(banned);
  const token_id second = two(banned);
  CHECK((first == 4 || first == 5));
  CHECK((second == 4 || second == 5));
  CHECK(std::isfinite(one.mu()));
  CHECK(std::isfinite(two.mu()));
}

TEST_CASE("mirostat: state goes on after restore, starts again after reset, and damaged words are refused") {
  const auto c = zipf(500, 1.0);
  const auto draw = [&c](auto& picker, int n) {
    std::vector<token_id> tokens;
    for (int i = 0; i < n; ++i) {
      auto copy = c;
      tokens.push_back(picker(std::span<candidate>(copy)));
    }
    return tokens;
  };
  mirostat_v2 a({.tau = 4.0f, .eta = 0.1f, .seed = 3});
  const auto first = draw(a, 30);
  cria::sampler_state words;
  a.save(words);
  mirostat_v2 b({.tau = 4.0f, .eta = 0.1f, .seed = 99});
  std::span<const std::uint64_t> in = words;
  REQUIRE(b.restore(in));
  CHECK(in.empty());
  CHECK(a.mu() == b.mu());
  CHECK(draw(a, 30) == draw(b, 30));
  a.reset();
  CHECK(draw(a, 30) == first);
  words[0] = std::bit_cast<std::uint64_t>(std::numeric_limits<double>::quiet_NaN());
  in = words;
  CHECK_FALSE(b.restore(in));
  in = std::span<const std::uint64_t>(words).first(3);
  CHECK_FALSE(b.restore(in));
}
