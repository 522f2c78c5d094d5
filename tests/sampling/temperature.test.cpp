// SPDX-License-Identifier: MIT
#include <cria/sampling/temperature.hpp>

#include <tests/sampling/reference.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace cria_test;
using cria::candidate;
using cria::dynamic_temperature;
using cria::temperature;

namespace {

/// Returns the entropy-driven temperature by its definition, in long double.
long double expected_temperature(const dynamic_temperature& d, std::span<const candidate> c) {
  long double entropy = 0.0L;
  for (const long double p : softmax(c)) {
    if (p > 0.0L) entropy -= p * std::log(p);
  }
  const long double spread = entropy / std::log(static_cast<long double>(c.size()));
  const long double low = std::max(0.0L, static_cast<long double>(d.base) - static_cast<long double>(d.range));
  const long double high = static_cast<long double>(d.base) + static_cast<long double>(d.range);
  return low + (high - low) * std::pow(spread, static_cast<long double>(d.exponent));
}

}  // namespace

TEST_CASE("temperature: probabilities become p^(1/t), renormalised") {
  for (const float t : {0.1f, 0.5f, 0.8f, 1.0f, 1.7f, 100.0f}) {
    auto c = candidates_of(random_logits(500, 1));
    auto expected = softmax(c);
    long double total = 0.0L;
    for (long double& p : expected) total += p = std::pow(p, 1.0L / static_cast<long double>(t));
    const auto left = temperature{t}(c);
    REQUIRE(left.size() == c.size());
    const auto got = softmax(left);
    // a scaled logit x has rounding error 2^-24 |x|, and |x| <= 20 / t here
    for (std::size_t i = 0; i < c.size(); ++i) {
      CHECK(static_cast<double>(got[i]) == doctest::Approx(static_cast<double>(expected[i] / total)).epsilon(2.4e-6 / static_cast<double>(t)));
    }
  }
}

TEST_CASE("temperature: 1 changes nothing") {
  const auto logits = random_logits(100, 2);
  auto c = candidates_of(logits);
  temperature{1.0f}(c);
  for (std::size_t i = 0; i < c.size(); ++i) CHECK(c[i].logit == logits[i]);
}

TEST_CASE("temperature: 0 keeps the first-ranked alone, the lowest id among equals") {
  auto c = candidates_of(std::vector<float>{1.0f, 7.0f, 3.0f, 7.0f});
  const auto left = temperature{0.0f}(c);
  REQUIRE(left.size() == 1);
  CHECK(left[0].id == 1);
}

TEST_CASE("temperature: quotients beyond float's range never become NaN or another ranking") {
  constexpr float largest = std::numeric_limits<float>::max();
  constexpr float smallest = std::numeric_limits<float>::denorm_min();
  for (const float t : {smallest, 1e-38f, 1e-30f, 1e30f, largest}) {
    for (const auto& logits : {std::vector<float>{1.0f, 2.0f, -3.0f}, {-5.0f, -4.0f, -9.0f}, {0.0f, 0.0f, -1.0f}, {largest, largest, 0.0f},
                               {-largest, minus_infinity, -largest}, {largest, -largest, minus_infinity}, {1e-45f, -1e-45f, 0.0f}}) {
      auto c = candidates_of(logits);
      const auto best = c[cria::argmax_index(c)].id;
      const auto left = temperature{t}(c);
      REQUIRE(!left.empty());
      for (const candidate& one : left) REQUIRE(one.logit < std::numeric_limits<float>::infinity());
      CHECK(left[cria::argmax_index(left)].id == best);
      CHECK(left[cria::argmax_index(left)].logit > minus_infinity);
    }
  }
}

TEST_CASE("temperature: banned tokens stay banned; all banned stays so") {
  auto c = candidates_of(std::vector<float>{0.0f, minus_infinity, 1.0f});
  temperature{0.7f}(c);
  CHECK(c[1].logit == minus_infinity);
  auto banned = candidates_of(std::vector<float>{minus_infinity, minus_infinity});
  const auto left = temperature{0.7f}(banned);
  REQUIRE(!left.empty());
  CHECK(left[0].logit == minus_infinity);
  CHECK(temperature{0.7f}({}).empty());
}

TEST_CASE("temperature: without end it makes all equal but what is banned, and dynamic ones end at float's largest") {
  constexpr float inf = std::numeric_limits<float>::infinity(), largest = std::numeric_limits<float>::max();
  std::vector<cria::candidate> c = {{0, 1.0f}, {1, -inf}, {2, -3.0f}};
  CHECK(cria::temperature{inf}(c).size() == 3);
  CHECK(c[0].logit == 0.0f);
  CHECK(c[1].logit == -inf);
  CHECK(c[2].logit == 0.0f);
  c = {{0, 1.0f}, {1, 1.0f}, {2, -inf}};
  const cria::dynamic_temperature widest{.base = largest, .range = largest, .exponent = 1.0f};
  CHECK(widest.chosen(c) == largest);
  CHECK(widest(c)[2].logit == -inf);
}

TEST_CASE("temperature: dynamic follows the entropy as defined") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto c = candidates_of(random_logits(10 + 200 * seed, seed, 0.2 * static_cast<double>(seed + 1)));
    for (const auto& d : {dynamic_temperature{1.0f, 0.5f, 1.0f}, {0.8f, 2.0f, 0.5f}, {2.0f, 1.0f, 3.0f}, {1.0f, 0.5f, 0.0f}}) {
      CHECK(d.chosen(c) == doctest::Approx(static_cast<double>(expected_temperature(d, c))).epsilon(1e-6));  // a float holds it to 6e-8
    }
  }
}

TEST_CASE("temperature: dynamic is lowest when the model is sure, highest when it is not, base for one candidate") {
  const dynamic_temperature d{1.0f, 0.4f, 1.0f};
  const std::vector<candidate> sure{{0, 100.0f}, {1, 0.0f}, {2, 0.0f}};
  const std::vector<candidate> even{{0, 2.0f}, {1, 2.0f}, {2, 2.0f}, {3, minus_infinity}};
  CHECK(d.chosen(sure) == doctest::Approx(0.6));
  CHECK(d.chosen(even) == doctest::Approx(1.4));
  CHECK(d.chosen(std::vector<candidate>{{5, 3.0f}, {6, minus_infinity}}) == 1.0f);
  auto c = even;
  dynamic_temperature{1.0f, 0.4f, 1.0f}(c);
  CHECK(c[0].logit == doctest::Approx(2.0 / 1.4));
  auto greedy = sure;
  CHECK(dynamic_temperature{0.2f, 0.5f, 1.0f}(greedy).size() >= 1);  // the lower end is 0, not negative
  CHECK(greedy[0].id == 0);
}
