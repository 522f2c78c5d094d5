// SPDX-License-Identifier: MIT
#include <cria/sampling/penalties.hpp>

#include <tests/sampling/reference.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <map>

using namespace cria_test;
using cria::candidate;
using cria::token_id;

namespace {

constexpr float largest = std::numeric_limits<float>::max();

/// Applies the definition of the penalties to a copy, in long double.
std::vector<float> expected_penalties(std::vector<candidate> c, const std::deque<token_id>& last, const cria::penalties::options& o) {
  std::map<token_id, int> counts;
  for (const token_id t : last) ++counts[t];
  std::vector<float> logits;
  for (const candidate& one : c) {
    long double x = one.logit;
    if (const int n = counts[one.id]; n > 0) {
      x = x > 0 ? x / static_cast<long double>(o.repeat) : x * static_cast<long double>(o.repeat);
      x -= static_cast<long double>(o.presence) + static_cast<long double>(o.frequency) * n;
    }
    logits.push_back(static_cast<float>(x));
  }
  return logits;
}

/// Returns the tokens that would repeat an n-gram of the last tokens, by looking at every place.
std::vector<token_id> expected_bans(const std::vector<token_id>& last, std::size_t n, std::size_t vocab_size) {
  std::vector<token_id> banned;
  for (token_id t = 0; t < static_cast<token_id>(vocab_size); ++t) {
    auto extended = last;
    extended.push_back(t);
    bool repeats = false;
    for (std::size_t start = 0; extended.size() >= n && start + n < extended.size(); ++start) {
      bool same = true;
      for (std::size_t i = 0; i < n; ++i) same &= extended[start + i] == extended[extended.size() - n + i];
      repeats |= same;
    }
    if (repeats) banned.push_back(t);
  }
  return banned;
}

std::vector<token_id> banned_in(std::span<const candidate> c) {
  std::vector<token_id> ids;
  for (const candidate& one : c) {
    if (one.logit == minus_infinity) ids.push_back(one.id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

TEST_CASE("penalties: equal their definition over a moving window, in place or not") {
  constexpr std::size_t vocab = 50;
  cria::random_generator random(3);
  for (const auto& o : {cria::penalties::options{1.3f, 0.0f, 0.0f, 8}, {1.0f, 0.7f, 0.0f, 8}, {1.0f, 0.0f, 0.4f, 20}, {0.8f, -0.5f, 0.25f, 1},
                        {1.1f, 0.5f, 0.25f, 200}, {1.5f, 1.0f, 1.0f, 0}}) {
    cria::penalties filter(o, vocab);
    std::deque<token_id> last;
    for (int step = 0; step < 300; ++step) {
      const auto token = static_cast<token_id>(random.next() % vocab);
      filter.accept(token);
      last.push_back(token);
      if (last.size() > o.last_n) last.pop_front();
      const auto plain = candidates_of(random_logits(vocab, static_cast<std::uint64_t>(step)));
      auto in_place = plain;
      auto selected = ranked(plain);  // other order, and fewer
      selected.resize(30);
      const auto expected = expected_penalties(plain, last, o);
      const auto expected_selected = expected_penalties(selected, last, o);
      REQUIRE(filter(in_place).size() == vocab);
      REQUIRE(filter(selected).size() == 30);
      // One rounding to float, half an ulp of the expected, plus what double loses.
      for (std::size_t i = 0; i < vocab; ++i) REQUIRE(std::abs(in_place[i].logit - expected[i]) <= std::abs(expected[i]) * 1.2e-7f);
      for (std::size_t i = 0; i < 30; ++i) REQUIRE(std::abs(selected[i].logit - expected_selected[i]) <= std::abs(expected_selected[i]) * 1.2e-7f);
    }
  }
}

TEST_CASE("penalties: equal llama.cpp's published examples") {
  // llama.cpp d32676d, tests/test-sampling.cpp: probabilities after the penalties, of five tokens of 0.2 each.
  struct example {
    std::vector<token_id> last;
    std::vector<double> expected;
    float repeat, frequency, presence;
  };
  for (const example& e : {example{{0}, {0, 0.25, 0.25, 0.25, 0.25}, 50.0f, 0.0f, 0.0f},
                           {{0, 1, 2}, {0, 0, 0, 0.5, 0.5}, 50.0f, 0.0f, 0.0f},
                           {{0, 1, 2, 0, 0}, {0, 0, 0, 0.5, 0.5}, 50.0f, 0.0f, 0.0f},
                           {{0}, {0.000011, 0.249997, 0.249997, 0.249997, 0.249997}, 1.0f, 5.0f, 5.0f},
                           {{0, 1, 2}, {0.000023, 0.000023, 0.000023, 0.499966, 0.499966}, 1.0f, 5.0f, 5.0f},
                           {{0, 1, 2, 0, 0}, {0.000000, 0.000023, 0.000023, 0.499977, 0.499977}, 1.0f, 5.0f, 5.0f}}) {
    cria::penalties filter({.repeat = e.repeat, .presence = e.presence, .frequency = e.frequency, .last_n = e.last.size()}, 5);
    for (const token_id t : e.last) filter.accept(t);
    auto c = with_probabilities({0.2, 0.2, 0.2, 0.2, 0.2});
    const auto p = softmax(filter(c));
    for (std::size_t i = 0; i < 5; ++i) CHECK(std::abs(static_cast<double>(p[i]) - e.expected[i]) < 1e-6);  // printed with six digits
  }
}

TEST_CASE("penalties: logits stay finite or banned at any size, and foreign tokens are ignored") {
  cria::penalties filter({.repeat = 1e30f, .presence = -largest, .frequency = largest, .last_n = 4}, 4);
  for (const token_id t : {0, 1, 2, -1, 4, 1000000, std::numeric_limits<token_id>::min()}) filter.accept(t);
  auto c = candidates_of(std::vector<float>{largest, -largest, minus_infinity, 5.0f});
  filter(c);
  CHECK(std::isfinite(c[0].logit));
  CHECK(std::isfinite(c[1].logit));
  CHECK(c[2].logit == minus_infinity);
  CHECK(c[3].logit == 5.0f);
  std::vector<candidate> foreign{{-5, 1.0f}, {77, 2.0f}};
  filter(foreign);
  CHECK(foreign[0].logit == 1.0f);
  CHECK(foreign[1].logit == 2.0f);
}

TEST_CASE("penalties: reset forgets, restore goes on, damaged words are refused") {
  const cria::penalties::options o{.repeat = 2.0f, .last_n = 3};
  cria::penalties a(o, 10);
  for (const token_id t : {1, 2, 2, 3}) a.accept(t);
  cria::sampler_state words;
  a.save(words);
  cria::penalties b(o, 10);
  b.accept(9);
  std::span<const std::uint64_t> in = words;
  REQUIRE(b.restore(in));
  CHECK(in.empty());
  a.accept(4);
  b.accept(4);
  const auto logits = std::vector<float>(10, 1.0f);
  auto by_a = candidates_of(logits);
  auto by_b = candidates_of(logits);
  a(by_a);
  b(by_b);
  for (std::size_t i = 0; i < 10; ++i) CHECK(by_a[i].logit == by_b[i].logit);
  CHECK(by_a[2].logit == 0.5f);
  CHECK(by_a[1].logit == 1.0f);
  a.reset();
  auto after = candidates_of(logits);
  a(after);
  for (const candidate& one : after) CHECK(one.logit == 1.0f);
  const std::vector<std::uint64_t> bad{1, 10};
  in = bad;
  CHECK_FALSE(b.restore(in));
}

TEST_CASE("penalties: logit_bias adds, adds up, bans, and finds tokens wherever they stand") {
  const std::vector<std::pair<token_id, float>> biases{{3, 1.5f}, {0, -2.0f}, {3, 0.25f}, {2, minus_infinity}, {2, 5.0f}};
  const cria::logit_bias filter(biases);
  auto c = candidates_of(std::vector<float>{1, 2, 3, 4, 5});
  const std::vector<float> expected{-1.0f, 2.0f, minus_infinity, 5.75f, 5.0f};
  REQUIRE(filter(c).size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(c[i].logit == expected[i]);
  std::vector<candidate> elsewhere{{4, 5.0f}, {3, 4.0f}, {2, 3.0f}};
  filter(elsewhere);
  CHECK(elsewhere[0].logit == 5.0f);
  CHECK(elsewhere[1].logit == 5.75f);
  CHECK(elsewhere[2].logit == minus_infinity);
  auto huge = candidates_of(std::vector<float>{-largest, 0, 0, largest});
  const std::vector<std::pair<token_id, float>> much{{0, -largest}, {3, largest}, {3, largest}};
  cria::logit_bias{much}(huge);
  CHECK(huge[0].logit == -largest);
  CHECK(huge[3].logit == largest);
  cria::logit_bias{{}}(huge);
}

TEST_CASE("penalties: no_repeat_ngram bans exactly what would repeat an n-gram") {
  constexpr std::size_t vocab = 6;
  cria::random_generator random(8);
  for (const std::size_t n : {1u, 2u, 3u, 4u}) {
    for (const std::size_t last_n : {1u, 5u, 40u}) {
      cria::no_repeat_ngram filter({.n = n, .last_n = last_n}, vocab);
      std::vector<token_id> last;
      for (int step = 0; step < 120; ++step) {
        const auto expected = expected_bans(last, n, vocab);
        auto c = candidates_of(random_logits(vocab, static_cast<std::uint64_t>(step)));
        auto reordered = ranked(c);
        filter(c);
        filter(reordered);
        if (expected.size() < vocab) {
          REQUIRE(banned_in(c) == expected);
          REQUIRE(banned_in(reordered) == expected);
        } else {
          REQUIRE(banned_in(c).empty());  // nothing would be left: nothing is banned
        }
        const auto token = static_cast<token_id>(random.next() % vocab);
        filter.accept(token);
        last.push_back(token);
        if (last.size() > last_n) last.erase(last.begin());
      }
    }
  }
}

TEST_CASE("penalties: no_repeat_ngram takes linear time, however long the n-grams") {
  constexpr std::size_t vocab = 6, window = std::size_t{1} << 17;
  cria::no_repeat_ngram filter({.n = window / 2, .last_n = window}, vocab);
  for (std::size_t i = 0; i < window; ++i) filter.accept(3);
  auto c = candidates_of(random_logits(vocab, 1));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) filter(c);
  CHECK(banned_in(c) == std::vector<token_id>{3});
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));   // 10 times 1 s where each place was compared anew
}

TEST_CASE("penalties: no_repeat_ngram counts tokens that are banned already when it looks for what would be left") {
  cria::no_repeat_ngram filter({.n = 1, .last_n = 8}, 3);
  filter.accept(0);
  filter.accept(1);
  auto c = candidates_of(std::vector<float>{1.0f, 2.0f, minus_infinity});
  filter(c);
  CHECK(banned_in(c) == std::vector<token_id>{2});
  filter.reset();
  filter.accept(0);
  filter(c);
  CHECK(banned_in(c) == std::vector<token_id>{0, 2});
  cria::no_repeat_ngram off({.n = 0}, 3);
  off.accept(1);
  auto untouched = candidates_of(std::vector<float>{1.0f, 2.0f, 3.0f});
  off(untouched);
  CHECK(banned_in(untouched).empty());
}
