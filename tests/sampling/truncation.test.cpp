// SPDX-License-Identifier: MIT
#include <cria/sampling/truncation.hpp>

#include <tests/sampling/reference.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

using namespace cria_test;
using cria::candidate;
using cria::token_id;

namespace {

using ids = std::vector<token_id>;
using reference = std::function<ids(std::span<const candidate>)>;

/// Returns the ids of the shortest prefix with this mass.
ids prefix_with_mass(std::span<const candidate> sorted, const std::vector<long double>& p, long double mass, std::size_t min_keep) {
  ids kept;
  long double sum = 0.0L;
  for (std::size_t i = 0; i < sorted.size() && (sum < mass || i < min_keep); ++i) {
    kept.push_back(sorted[i].id);
    sum += p[i];
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

ids expected_top_p(std::span<const candidate> c, float p, std::size_t min_keep = 1) {
  const auto sorted = ranked(c);
  return prefix_with_mass(sorted, softmax(sorted), static_cast<long double>(p), min_keep);
}

ids expected_min_p(std::span<const candidate> c, float min_p) {
  const auto p = softmax(c);
  const long double highest = *std::max_element(p.begin(), p.end());
  ids kept;
  for (std::size_t i = 0; i < c.size(); ++i) {
    if (p[i] >= static_cast<long double>(min_p) * highest) kept.push_back(c[i].id);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

ids expected_top_n_sigma(std::span<const candidate> c, float n) {
  long double mean = 0.0L;
  long double variance = 0.0L;
  long double highest = c[0].logit;
  for (const candidate& one : c) mean += one.logit;
  mean /= static_cast<long double>(c.size());
  for (const candidate& one : c) {
    variance += (one.logit - mean) * (one.logit - mean);
    highest = std::max(highest, static_cast<long double>(one.logit));
  }
  variance /= static_cast<long double>(c.size());
  ids kept;
  for (const candidate& one : c) {
    if (one.logit >= highest - static_cast<long double>(n) * std::sqrt(variance)) kept.push_back(one.id);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

ids expected_typical(std::span<const candidate> c, float mass, std::size_t min_keep = 1) {
  const auto p = softmax(c);
  long double entropy = 0.0L;
  for (const long double one : p) entropy -= one > 0.0L ? one * std::log(one) : 0.0L;
  std::vector<std::size_t> order(c.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto distance = [&](std::size_t i) { return std::fabs(-std::log(p[i]) - entropy); };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return distance(a) < distance(b); });
  std::vector<candidate> sorted;
  std::vector<long double> sorted_p;
  for (const std::size_t i : order) {
    sorted.push_back(c[i]);
    sorted_p.push_back(p[i]);
  }
  return prefix_with_mass(sorted, sorted_p, static_cast<long double>(mass), min_keep);
}

/// Every distribution that the filters are compared on: small, flat, peaked, large.
std::vector<std::vector<candidate>> distributions() {
  std::vector<std::vector<candidate>> all;
  std::uint64_t seed = 100;
  for (const std::size_t n : {2u, 3u, 17u, 300u, 5000u, 32000u}) {
    for (const double deviation : {0.05, 1.0, 3.0, 8.0}) all.push_back(candidates_of(random_logits(n, ++seed, deviation)));
  }
  return all;
}

template <class Filter>
ids kept_by(Filter filter, std::vector<candidate> c) {
  return sorted_ids_of(filter(std::span<candidate>(c)));
}

const std::vector<candidate> halves = with_probabilities({0.5, 0.25, 0.125, 0.125});

}  // namespace

TEST_CASE("truncation: top_k keeps the k best in rank order") {
  for (const auto& c : distributions()) {
    for (const std::size_t k : {1u, 2u, 40u, 1000u}) {
      auto copy = c;
      const auto left = cria::top_k{k}(copy);
      REQUIRE(left.size() == std::min<std::size_t>(k, c.size()));
      const auto sorted = ranked(c);
      if (k < c.size()) REQUIRE(ids_of(left) == ids_of(std::span(sorted).first(k)));
    }
  }
  CHECK(kept_by(cria::top_k{0}, halves) == ids{0, 1, 2, 3});
}

TEST_CASE("truncation: top_p keeps the smallest set of the best with that probability") {
  for (const auto& c : distributions()) {
    for (const float p : {0.0f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f}) {
      CAPTURE(c.size());
      CAPTURE(p);
      REQUIRE(kept_by(cria::top_p{p}, c) == expected_top_p(c, p));
      REQUIRE(kept_by(cria::top_p{p, 10}, c) == expected_top_p(c, p, 10));
    }
  }
  CHECK(kept_by(cria::top_p{0.4f}, halves) == ids{0});
  CHECK(kept_by(cria::top_p{0.6f}, halves) == ids{0, 1});
  CHECK(kept_by(cria::top_p{0.8f}, halves) == ids{0, 1, 2});  // of two equals the lower id
  CHECK(kept_by(cria::top_p{0.9f}, halves) == ids{0, 1, 2, 3});
  CHECK(kept_by(cria::top_p{1.0f}, halves) == ids{0, 1, 2, 3});
  // Exactly the mass is enough: quarters are exact.
  const auto quarters = candidates_of(std::vector<float>{0, 0, 0, 0});
  CHECK(kept_by(cria::top_p{0.25f}, quarters) == ids{0});
  CHECK(kept_by(cria::top_p{0.75f}, quarters) == ids{0, 1, 2});
  CHECK(kept_by(cria::typical{0.5f}, quarters) == ids{0, 1});
}

TEST_CASE("truncation: top_p, min_p, typical and top_n_sigma equal llama.cpp's published examples") {
  // llama.cpp d32676d, tests/test-sampling.cpp: what is left of probabilities 0.1 0.2 0.3 0.4 (or as given).
  const auto tenths = with_probabilities({0.1, 0.2, 0.3, 0.4});
  CHECK(kept_by(cria::top_k{3}, tenths) == ids{1, 2, 3});
  CHECK(kept_by(cria::top_p{0.0f}, tenths) == ids{3});
  CHECK(kept_by(cria::top_p{0.69f}, tenths) == ids{2, 3});
  CHECK(kept_by(cria::top_p{0.8f}, tenths) == ids{1, 2, 3});
  CHECK(kept_by(cria::min_p{0.24f}, tenths) == ids{0, 1, 2, 3});
  CHECK(kept_by(cria::min_p{0.26f}, tenths) == ids{1, 2, 3});
  CHECK(kept_by(cria::min_p{0.49f}, tenths) == ids{1, 2, 3});
  CHECK(kept_by(cria::min_p{0.51f}, tenths) == ids{2, 3});
  CHECK(kept_by(cria::min_p{0.74f}, tenths) == ids{2, 3});
  CHECK(kept_by(cria::min_p{0.76f}, tenths) == ids{3});
  CHECK(kept_by(cria::min_p{1.0f}, tenths) == ids{3});
  CHECK(kept_by(cria::top_n_sigma{1.0f}, tenths) == ids{2, 3});
  CHECK(kept_by(cria::top_n_sigma{0.0f}, tenths) == ids{0, 1, 2, 3});
  CHECK(kept_by(cria::top_n_sigma{3.0f}, tenths) == ids{0, 1, 2, 3});
  CHECK(kept_by(cria::typical{0.5f}, with_probabilities({0.97, 0.01, 0.01, 0.01})) == ids{0});
  CHECK(kept_by(cria::typical{0.5f}, with_probabilities({0.4, 0.2, 0.2, 0.2})) == ids{1, 2, 3});
}

TEST_CASE("truncation: min_p keeps those at least p times as likely as the likeliest") {
  for (const auto& c : distributions()) {
    for (const float p : {0.0f, 0.001f, 0.05f, 0.3f, 0.99f}) REQUIRE(kept_by(cria::min_p{p}, c) == expected_min_p(c, p));
  }
}

TEST_CASE("truncation: top_n_sigma keeps those within n standard deviations of the best") {
  for (const auto& c : distributions()) {
    for (const float n : {0.01f, 0.5f, 1.0f, 1.5f, 3.0f}) REQUIRE(kept_by(cria::top_n_sigma{n}, c) == expected_top_n_sigma(c, n));
  }
  // By hand: 10 0 0 0 0 has mean 2 and variance (64 + 4 x 4) / 5 = 16.
  CHECK(cria::top_n_sigma::deviation(candidates_of(std::vector<float>{10, 0, 0, 0, 0})) == 4.0);
  CHECK(kept_by(cria::top_n_sigma{2.4f}, candidates_of(std::vector<float>{10, 0, 0, 0, 0})) == ids{0});
  CHECK(kept_by(cria::top_n_sigma{2.6f}, candidates_of(std::vector<float>{10, 0, 0, 0, 0})) == ids{0, 1, 2, 3, 4});
  // A banned token does not count: with it the deviation would not be finite.
  CHECK(kept_by(cria::top_n_sigma{2.4f}, candidates_of(std::vector<float>{10, 0, 0, minus_infinity, 0, 0})) == ids{0});
}

TEST_CASE("truncation: typical keeps those nearest to the entropy") {
  for (const auto& c : distributions()) {
    for (const float p : {0.0f, 0.2f, 0.5f, 0.9f, 0.99f}) {
      CAPTURE(c.size());
      CAPTURE(p);
      REQUIRE(kept_by(cria::typical{p}, c) == expected_typical(c, p));
      REQUIRE(kept_by(cria::typical{p, 10}, c) == expected_typical(c, p, 10));
    }
  }
  // By hand: entropy 1.75 bits; surprises 1, 2, 3, 3; distances 0.75, 0.25, 1.25, 1.25.
  CHECK(kept_by(cria::typical{0.2f}, halves) == ids{1});
  CHECK(kept_by(cria::typical{0.7f}, halves) == ids{0, 1});
  CHECK(kept_by(cria::typical{0.8f}, halves) == ids{0, 1, 2});
  CHECK(kept_by(cria::typical{1.0f}, halves) == ids{0, 1, 2, 3});
}

TEST_CASE("truncation: xtc drops all likely candidates but the least likely of them") {
  // llama.cpp d32676d, tests/test-sampling.cpp, where the probability is 0.99.
  const auto c = with_probabilities({0.4, 0.3, 0.2, 0.1});
  const auto always = [&](float threshold, std::size_t min_keep = 1) {
    return kept_by(cria::xtc({.probability = 1.0f, .threshold = threshold, .min_keep = min_keep}), c);
  };
  CHECK(always(0.09f) == ids{3});
  CHECK(always(0.19f) == ids{2, 3});
  CHECK(always(0.29f) == ids{1, 2, 3});
  CHECK(always(0.39f) == ids{0, 1, 2, 3});
  CHECK(always(0.51f) == ids{0, 1, 2, 3});
  CHECK(always(0.0f) == ids{3});
  CHECK(always(0.19f, 2) == ids{2, 3});
  CHECK(always(0.19f, 3) == ids{0, 1, 2, 3});  // would leave too few: not at all
  CHECK(kept_by(cria::xtc({.probability = 1.0f, .threshold = 0.2f}), with_probabilities({0.3, 0.3, 0.4})) == ids{1});
  CHECK(kept_by(cria::xtc({.probability = 1.0f, .threshold = 0.0f}), candidates_of(std::vector<float>{1, minus_infinity, 0})) == ids{1, 2});
}

TEST_CASE("truncation: xtc acts as often as its probability says, and again after reset") {
  const auto c = with_probabilities({0.4, 0.3, 0.2, 0.1});
  cria::xtc filter({.probability = 0.3f, .threshold = 0.15f, .seed = 4});
  const auto run = [&] {
    std::vector<bool> acted;
    for (int i = 0; i < 20000; ++i) {
      auto copy = c;
      acted.push_back(filter(copy).size() < 4);
    }
    return acted;
  };
  const auto first = run();
  const auto times = static_cast<double>(std::count(first.begin(), first.end(), true));
  CHECK(std::abs(times - 6000) < 5 * std::sqrt(20000 * 0.3 * 0.7));
  CHECK(run() != first);
  filter.reset();
  CHECK(run() == first);
  cria::xtc never({.probability = 0.0f, .threshold = 0.15f});
  for (int i = 0; i < 100; ++i) CHECK(kept_by(never, c).size() == 4);
}

namespace {

/// Calls check(name, filter, keeps_best) for every truncating filter at mild and harsh settings.
template <class Check>
void for_each_filter(Check check) {
  for (const std::size_t k : {1u, 3u, 100u}) check("top_k", cria::top_k{k}, true);
  for (const float p : {0.0f, 1e-9f, 0.5f, 0.99999f}) {
    check("top_p", cria::top_p{p}, true);
    check("typical", cria::typical{p}, false);
    check("min_p", cria::min_p{p}, true);
    check("xtc", cria::xtc({.probability = 1.0f, .threshold = p}), false);
  }
  check("min_p", cria::min_p{1.0f}, true);
  for (const float n : {1e-9f, 1.0f, 1e9f}) check("top_n_sigma", cria::top_n_sigma{n}, true);
}

}  // namespace

TEST_CASE("truncation: no filter leaves nothing, adds a candidate, changes a logit, or (but typical and xtc) drops the best") {
  constexpr float largest = std::numeric_limits<float>::max();
  std::vector<std::vector<float>> inputs{{0.0f},
                                         {minus_infinity},
                                         {minus_infinity, minus_infinity, minus_infinity},
                                         {minus_infinity, -3.0f, minus_infinity},
                                         {largest, -largest, 0.0f},
                                         {largest, largest, largest, -largest},
                                         {-largest, -largest, minus_infinity},
                                         {1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f},
                                         {0.0f, -0.0f, 0.0f},
                                         {88.0f, -88.0f, 1000.0f, -1000.0f}};
  for (std::uint64_t seed = 0; seed < 12; ++seed) inputs.push_back(random_logits(3 + 97 * seed, seed, 4.0, seed % 2 == 0 ? 1.0 : 0.0));
  for (const auto& logits : inputs) {
    for_each_filter([&](const char* name, auto filter, bool keeps_best) {
      CAPTURE(name);
      CAPTURE(logits.size());
      auto c = candidates_of(logits);
      const token_id best = c[cria::argmax_index(c)].id;
      const auto left = filter(std::span<candidate>(c));
      REQUIRE(!left.empty());
      REQUIRE(left.data() == c.data());
      REQUIRE(left.size() <= logits.size());
      auto kept = sorted_ids_of(left);
      REQUIRE(std::adjacent_find(kept.begin(), kept.end()) == kept.end());
      for (const candidate& one : left) REQUIRE(one.logit == logits[static_cast<std::size_t>(one.id)]);
      if (keeps_best) REQUIRE(std::binary_search(kept.begin(), kept.end(), best));
    });
  }
}

TEST_CASE("truncation: the choice depends on differences of logits only, not on the order of the candidates") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    // Multiples of 1/64: adding 37 is exact.
    const auto c = candidates_of(random_logits(400, seed, 2.0, 1.0 / 64));
    auto shifted = c;
    for (candidate& one : shifted) one.logit += 37.0f;
    auto shuffled = c;
    cria::random_generator random(seed);
    for (std::size_t i = shuffled.size(); i > 1; --i) std::swap(shuffled[i - 1], shuffled[random.next() % i]);
    for_each_filter([&](const char* name, auto filter, bool) {
      CAPTURE(name);
      const auto kept = kept_by(filter, c);
      CHECK(kept_by(filter, shifted) == kept);
      CHECK(kept_by(filter, shuffled) == kept);
    });
  }
}

TEST_CASE("truncation: candidates that come ranked stay ranked") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto c = ranked(candidates_of(random_logits(400, seed, 2.0, 0.125)));
    for_each_filter([&](const char* name, auto filter, bool) {
      if (std::string(name) == "typical") return;  // nearest to the entropy first
      auto copy = c;
      const auto left = filter(std::span<candidate>(copy));
      CAPTURE(name);
      CHECK(ids_of(left) == ids_of(ranked(left)));
    });
  }
}

TEST_CASE("truncation: min_keep holds for each filter that has it, with the best by the filter's own order") {
  const auto c = candidates_of(random_logits(1000, 77, 6.0));
  const auto best = ranked(c);
  for (const std::size_t min_keep : {2u, 64u, 999u, 1000u, 5000u}) {
    const std::size_t n = std::min<std::size_t>(min_keep, 1000);
    ids expected = sorted_ids_of(std::span(best).first(n));
    CHECK(kept_by(cria::top_p{0.0f, min_keep}, c) == expected);
    CHECK(kept_by(cria::min_p{1.0f, min_keep}, c) == expected);
    CHECK(kept_by(cria::top_n_sigma{1e-9f, min_keep}, c) == expected);
    CHECK(kept_by(cria::typical{0.0f, min_keep}, c).size() == n);
  }
}

TEST_CASE("truncation: order is meaning: temperature before top_p keeps other tokens than after it") {
  auto hot_first = halves;
  for (candidate& one : hot_first) one.logit /= 10.0f;  // temperature 10
  CHECK(kept_by(cria::top_p{0.6f}, halves) == ids{0, 1});
  CHECK(kept_by(cria::top_p{0.6f}, hot_first) == ids{0, 1, 2});
}
