// SPDX-License-Identifier: MIT
#include <cria/sampling/dry.hpp>

#include <tests/sampling/reference.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <map>

using namespace cria_test;
using cria::candidate;
using cria::dry;
using cria::token_id;

namespace {

using sequence = std::vector<token_id>;

/// Returns the longest run that each token would continue, by comparing every pair of places.
std::map<token_id, std::size_t> expected_runs(const sequence& tokens, const dry::options& o) {
  const std::size_t n = tokens.size();
  std::size_t limit = n;
  for (const auto& breaker : o.breakers) {
    for (std::size_t start = 0; start + breaker.size() <= n; ++start) {
      if (std::equal(breaker.begin(), breaker.end(), tokens.begin() + static_cast<std::ptrdiff_t>(start))) {
        limit = std::min(limit, n - start - breaker.size());
      }
    }
  }
  std::map<token_id, std::size_t> runs;
  for (std::size_t next = 1; next < n; ++next) {
    std::size_t length = 0;
    while (length < limit && length < next && tokens[next - 1 - length] == tokens[n - 1 - length]) ++length;
    bool is_breaker = false;
    for (const auto& breaker : o.breakers) is_breaker |= breaker == sequence{tokens[next]};
    if (length < o.allowed_length || is_breaker) continue;
    const auto found = runs.find(tokens[next]);
    if (found == runs.end() || found->second < length) runs[tokens[next]] = length;
  }
  return runs;
}

void check_against_definition(const sequence& all, const dry::options& o, std::size_t vocab) {
  dry filter(o, vocab);
  for (const token_id t : all) filter.accept(t);
  const sequence last(all.end() - static_cast<std::ptrdiff_t>(std::min(all.size(), o.last_n)), all.end());
  const auto runs = expected_runs(last, o);
  const auto plain = candidates_of(random_logits(vocab, all.size()));
  auto in_place = plain;
  auto reordered = ranked(plain);
  filter(in_place);
  filter(reordered);
  for (std::size_t i = 0; i < vocab; ++i) {
    const auto run = runs.find(static_cast<token_id>(i));
    double expected = static_cast<double>(plain[i].logit);
    if (run != runs.end()) {
      expected -= static_cast<double>(o.multiplier) * std::pow(static_cast<double>(o.base), static_cast<double>(run->second - o.allowed_length));
    }
    // One rounding to float, and 1e-13 of the power.
    REQUIRE(std::abs(static_cast<double>(in_place[i].logit) - expected) <= std::abs(expected) * 6.1e-8);
  }
  for (const candidate& one : reordered) REQUIRE(one.logit == in_place[static_cast<std::size_t>(one.id)].logit);
}

}  // namespace

TEST_CASE("dry: equals its definition on random sequences with many repetitions, with and without breakers") {
  cria::random_generator random(12);
  for (const std::size_t vocab : {2u, 3u, 5u, 40u}) {
    for (int round = 0; round < 60; ++round) {
      sequence tokens;
      const std::size_t n = random.next() % 60;
      while (tokens.size() < n) tokens.push_back(static_cast<token_id>(random.next() % vocab));
      dry::options o{.multiplier = 0.8f, .base = 1.3f, .allowed_length = random.next() % 4, .last_n = 1 + random.next() % 70, .breakers = {}};
      check_against_definition(tokens, o, vocab);
      o.breakers = {{static_cast<token_id>(random.next() % vocab)}, {0, 1}, {1, 1, 0}, {}};
      std::erase_if(o.breakers, [](const sequence& b) { return b.empty(); });
      check_against_definition(tokens, o, vocab);
    }
  }
}

TEST_CASE("dry: equals llama.cpp's published examples") {
  // llama.cpp d32676d, tests/test-sampling.cpp: probabilities after the penalty of equally likely tokens.
  struct example {
    sequence last;
    std::vector<double> expected;
    float multiplier;
    std::size_t allowed_length;
    std::vector<sequence> breakers;
  };
  for (const example& e : {example{{0, 1}, {0.25, 0.25, 0.25, 0.25}, 1.0f, 2, {}},
                           {{0, 1, 2, 0, 1}, {0.296923, 0.296923, 0.109232, 0.296923}, 1.0f, 2, {}},
                           {{0, 1, 3, 4, 0, 1}, {0.2, 0.2, 0.2, 0.2, 0.2}, 1.0f, 2, {{3}}},
                           {{0, 1, 2, 0, 1}, {0.241818, 0.241818, 0.032727, 0.241818, 0.241818}, 2.0f, 2, {}},
                           {{0, 1, 2, 3, 4, 0, 1}, {0.2, 0.2, 0.2, 0.2, 0.2}, 1.0f, 4, {}}}) {
    dry filter({.multiplier = e.multiplier, .base = 1.1f, .allowed_length = e.allowed_length, .last_n = e.last.size(), .breakers = e.breakers},
               e.expected.size());
    for (const token_id t : e.last) filter.accept(t);
    auto c = with_probabilities(std::vector<double>(e.expected.size(), 1.0));
    const auto p = softmax(filter(c));
    for (std::size_t i = 0; i < p.size(); ++i) CHECK(std::abs(static_cast<double>(p[i]) - e.expected[i]) < 1e-6);  // printed with six digits
  }
}

TEST_CASE("dry: the penalty grows by the base per token of the run") {
  // a b c d, then a b c: "d" would make it four; worked by hand: 0.5 * 2^(3 - 2)
  dry filter({.multiplier = 0.5f, .base = 2.0f, .allowed_length = 2, .last_n = 100, .breakers = {}}, 10);
  for (const token_id t : {1, 2, 3, 4, 9, 1, 2, 3}) filter.accept(t);
  auto c = candidates_of(std::vector<float>(10, 0.0f));
  filter(c);
  for (const candidate& one : c) CHECK(one.logit == (one.id == 4 ? -1.0f : 0.0f));
}

TEST_CASE("dry: a run does not reach over a breaker of one or several tokens") {
  const auto penalty = [](std::vector<sequence> breakers) {
    dry filter({.multiplier = 1.0f, .base = 2.0f, .allowed_length = 1, .last_n = 100, .breakers = std::move(breakers)}, 10);
    for (const token_id t : {1, 2, 3, 4, 5, 8, 1, 2, 3, 4}) filter.accept(t);
    auto c = candidates_of(std::vector<float>(10, 0.0f));
    return -filter(c)[5].logit;
  };
  CHECK(penalty({}) == 8.0f);             // 1 2 3 4
  CHECK(penalty({{2}}) == 2.0f);          // 3 4
  CHECK(penalty({{1, 2}}) == 2.0f);
  CHECK(penalty({{2, 3}, {1}}) == 1.0f);  // 4
  CHECK(penalty({{4}}) == 0.0f);
  CHECK(penalty({{5}}) == 0.0f);          // the next token is one
  CHECK(penalty({{5, 8}}) == 8.0f);       // only in the earlier place
}

TEST_CASE("dry: a very long run gives a large finite penalty in linear time; foreign tokens are ignored") {
  constexpr std::size_t n = 1 << 17;
  dry filter({.multiplier = 0.8f, .base = 1.75f, .allowed_length = 2, .last_n = n, .breakers = {{7}}}, 8);
  for (std::size_t i = 0; i < n; ++i) filter.accept(3);
  filter.accept(-1);
  filter.accept(8);
  auto c = candidates_of(std::vector<float>{0, 1, 2, 3, 4, 5, 6, minus_infinity});
  const auto start = std::chrono::steady_clock::now();
  filter(c);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));  // quadratic would be 10^10 steps
  CHECK(c[3].logit == std::numeric_limits<float>::lowest());
  CHECK(c[2].logit == 2.0f);
  CHECK(c[7].logit == minus_infinity);
}

TEST_CASE("dry: off, reset and restore") {
  dry off({.multiplier = 0.0f, .breakers = {}}, 4);
  const dry::options o{.multiplier = 1.0f, .base = 2.0f, .allowed_length = 1, .last_n = 10, .breakers = {}};
  dry a(o, 4);
  for (const token_id t : {0, 1, 2, 0, 1}) {
    off.accept(t);
    a.accept(t);
  }
  auto c = candidates_of(std::vector<float>(4, 0.0f));
  off(c);
  CHECK(c[2].logit == 0.0f);
  cria::sampler_state words;
  a.save(words);
  dry b(o, 4);
  std::span<const std::uint64_t> in = words;
  REQUIRE(b.restore(in));
  b(c);
  CHECK(c[2].logit == -2.0f);
  a.reset();
  auto again = candidates_of(std::vector<float>(4, 0.0f));
  a(again);
  CHECK(again[2].logit == 0.0f);
}
