// SPDX-License-Identifier: MIT
#include <cria/sampling/penalties.hpp>
#include <cria/sampling/sampler.hpp>
#include <cria/sampling/temperature.hpp>
#include <cria/sampling/truncation.hpp>

#include <tests/sampling/allocation_counter.hpp>
#include <tests/sampling/reference.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

using namespace cria_test;
using cria::candidate;
using cria::multinomial;
using cria::token_id;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

struct bare_sampler {
  token_id sample(std::span<const float>) { return 3; }
  void accept(token_id) {}
};
struct no_accept {
  token_id sample(std::span<const float>) { return 3; }
};
struct no_sample {
  void accept(token_id) {}
};
struct may_throw {
  std::span<candidate> operator()(std::span<candidate> c) { return c; }
};
struct counts_for_nothing {
  std::span<candidate> operator()(std::span<candidate> c) noexcept { return c; }
};
struct returns_nothing {
  void operator()(std::span<candidate>) noexcept {}
};

static_assert(cria::sampler<bare_sampler>);
static_assert(!cria::sampler<no_accept>);
static_assert(!cria::sampler<no_sample>);
static_assert(cria::logit_filter<counts_for_nothing>);
static_assert(!cria::logit_filter<may_throw>);
static_assert(!cria::logit_filter<returns_nothing>);
static_assert(!cria::token_picker<counts_for_nothing>);
static_assert(!cria::logit_filter<cria::argmax>);

/// Counts what a chain tells its parts.
struct listener {
  std::vector<token_id>* heard;
  int* resets;
  std::span<candidate> operator()(std::span<candidate> c) noexcept { return c; }
  void accept(token_id t) noexcept { heard->push_back(t); }
  void reset() noexcept { ++*resets; }
};

/// Divides every logit by 10: a temperature that is visible.
struct flatten {
  std::span<candidate> operator()(std::span<candidate> c) noexcept {
    for (candidate& one : c) one.logit /= 10.0f;
    return c;
  }
};

}  // namespace

TEST_CASE("sampler: multinomial's frequencies are the probabilities") {
  for (const std::size_t n : {2u, 5u, 255u, 256u, 257u, 1000u}) {
    const auto c = candidates_of(random_logits(n, n, 1.5));
    const auto p = softmax(c);
    multinomial pick(n);
    std::vector<std::size_t> counts(n);
    for (int i = 0; i < 200000; ++i) ++counts[static_cast<std::size_t>(pick(c))];
    CAPTURE(n);
    CHECK(chi_square_score(counts, p) < 5.0);
    CHECK(chi_square_score(counts, p) > -5.0);  // suspiciously even would be wrong as well
  }
}

TEST_CASE("sampler: the chi-square check sees a distribution that is one percent off") {
  const auto c = with_probabilities({0.5, 0.3, 0.2});
  multinomial pick(1);
  std::vector<std::size_t> counts(3);
  for (int i = 0; i < 200000; ++i) ++counts[static_cast<std::size_t>(pick(c))];
  CHECK(chi_square_score(counts, {0.5L, 0.3L, 0.2L}) < 5.0);
  CHECK(chi_square_score(counts, {0.51L, 0.29L, 0.2L}) > 5.0);
}

TEST_CASE("sampler: draw inverts the cumulative distribution, for every number of candidates around the marks") {
  cria::random_generator random(2);
  for (const std::size_t n : {1u, 2u, 3u, 255u, 256u, 257u, 511u, 512u, 513u, 767u, 769u, 4000u}) {
    auto c = candidates_of(random_logits(n, n + 5, 3.0));
    if (n > 3) c[n / 2].logit = c[n - 1].logit = c[0].logit = minus_infinity;
    const auto p = softmax(c);
    for (int i = 0; i < 300; ++i) {
      const double u = i == 0 ? 0.0 : i == 1 ? 1.0 - 0x1p-53 : random.uniform();
      const std::size_t got = multinomial::draw(c, u);
      long double before = 0.0L;
      for (std::size_t j = 0; j < got; ++j) before += p[j];
      REQUIRE(p[got] > 0.0L);
      // n additions of rounding error 1.1e-16 each
      REQUIRE(static_cast<double>(before) <= u + 1e-12);
      REQUIRE(static_cast<double>(before + p[got]) >= u - 1e-12);
    }
  }
  CHECK(multinomial::draw(std::vector<candidate>{{1, minus_infinity}, {2, minus_infinity}}, 0.7) == 0);
}

TEST_CASE("sampler: the same seed gives the same stream, another seed another, reset the first again") {
  const auto c = candidates_of(random_logits(100, 1));
  const auto stream = [&c](multinomial& pick) {
    std::vector<token_id> tokens;
    for (int i = 0; i < 100; ++i) tokens.push_back(pick(c));
    return tokens;
  };
  multinomial a(7);
  multinomial b(7);
  multinomial other(8);
  const auto first = stream(a);
  CHECK(stream(b) == first);
  CHECK(stream(other) != first);
  CHECK(stream(a) != first);
  a.reset();
  CHECK(stream(a) == first);
}

TEST_CASE("sampler: a chain runs its filters left to right") {
  const std::vector<float> logits{static_cast<float>(std::log(0.5)), static_cast<float>(std::log(0.25)), static_cast<float>(std::log(0.125)),
                                  static_cast<float>(std::log(0.125))};
  // At a temperature of 10 the four have 0.29, 0.26, 0.23, 0.23: the first three are needed for 0.6. Without it, two.
  cria::sampler_chain hot_first(4, multinomial(1), flatten{}, cria::top_p{0.6f});
  cria::sampler_chain hot_last(4, multinomial(1), cria::top_p{0.6f}, flatten{});
  std::vector<std::size_t> first(4);
  std::vector<std::size_t> last(4);
  for (int i = 0; i < 3000; ++i) {
    ++first[static_cast<std::size_t>(*hot_first.sample(logits))];
    ++last[static_cast<std::size_t>(*hot_last.sample(logits))];
  }
  CHECK(first[2] > 0);
  CHECK(first[3] == 0);
  CHECK(last[1] > 0);
  CHECK(last[2] == 0);
}

TEST_CASE("sampler: a chain's frequencies are those of its filters worked out by hand") {
  const auto logits = random_logits(300, 9, 2.0);
  constexpr float t = 0.8f;
  cria::sampler_chain chain(300, multinomial(3), cria::top_k{40}, cria::top_p{0.9f}, cria::temperature{t});
  auto best = ranked(candidates_of(logits));
  best.resize(40);
  const auto p = softmax(best);
  long double sum = 0.0L;
  std::size_t kept = 0;
  while (sum < static_cast<long double>(0.9f)) sum += p[kept++];
  best.resize(kept);
  std::vector<long double> expected(300);
  long double total = 0.0L;
  for (std::size_t i = 0; i < kept; ++i) total += std::pow(p[i], 1.0L / static_cast<long double>(t));
  for (std::size_t i = 0; i < kept; ++i) {
    expected[static_cast<std::size_t>(best[i].id)] = std::pow(p[i], 1.0L / static_cast<long double>(t)) / total;
  }
  std::vector<std::size_t> counts(300);
  for (int i = 0; i < 100000; ++i) ++counts[static_cast<std::size_t>(*chain.sample(logits))];
  for (std::size_t i = 0; i < 300; ++i) {
    if (expected[i] == 0.0L) REQUIRE(counts[i] == 0);
  }
  CHECK(chi_square_score(counts, expected) < 5.0);
}

TEST_CASE("sampler: a chain tells the parts that listen, and resets them") {
  std::vector<token_id> heard;
  int resets = 0;
  cria::sampler_chain chain(4, multinomial(1), listener{&heard, &resets}, cria::top_k{2}, listener{&heard, &resets});
  chain.accept(3);
  chain.accept(1);
  CHECK(heard == std::vector<token_id>{3, 3, 1, 1});
  chain.reset();
  CHECK(resets == 2);
}

TEST_CASE("sampler: numbers that are none are an error that names the token, and the chain stays usable") {
  cria::sampler_chain chain(4, multinomial(1), cria::top_k{2});
  const auto error_of = [&chain](std::vector<float> logits) {
    const auto picked = chain.sample(logits);
    REQUIRE_FALSE(picked);
    return picked.error().to_string();
  };
  CHECK(error_of({0, 1, not_a_number, 3}) == "non_finite: token 2: NaN");
  CHECK(error_of({not_a_number, not_a_number, not_a_number, not_a_number}) == "non_finite: token 0: NaN");
  CHECK(error_of({0, infinity, 2, 3}) == "non_finite: token 1: +inf");
  CHECK(error_of({-infinity, -infinity, -infinity, -infinity}) == "non_finite: logits: all -inf");
  CHECK(error_of({0, 1, 2}) == "mismatch: logits: count");
  CHECK(error_of({0, 1, 2, 3, 4}) == "mismatch: logits: count");
  CHECK(error_of({}) == "mismatch: logits: count");
  const auto picked = chain.sample(std::vector<float>{-infinity, 1, -infinity, -infinity});
  REQUIRE(picked);
  CHECK(*picked == 1);
}

TEST_CASE("sampler: a chain whose biases ban everything reports it") {
  const std::vector<std::pair<token_id, float>> all{{0, -infinity}, {1, -infinity}};
  cria::sampler_chain chain(2, multinomial(1), cria::logit_bias(all), cria::top_p{0.5f}, cria::min_p{0.5f}, cria::typical{0.5f},
                            cria::top_n_sigma{1.0f}, cria::dynamic_temperature{0.7f, 0.5f, 1.0f}, cria::temperature{0.5f});
  CHECK(chain.sample(std::vector<float>{1, 2}).error().to_string() == "non_finite: logits: all -inf");
}

TEST_CASE("sampler: a mask of the moment runs before the filters and sees the tokens in id order") {
  cria::sampler_chain chain(4, cria::argmax{}, cria::top_k{1});
  const std::vector<float> logits{5, 4, 3, 2};
  bool in_order = true;
  const auto picked = chain.sample(logits, [&in_order](std::span<candidate> c) noexcept {
    for (std::size_t i = 0; i < c.size(); ++i) in_order &= c[i].id == static_cast<token_id>(i);
    c[0].logit = c[1].logit = minus_infinity;
    return c;
  });
  CHECK(in_order);
  REQUIRE(picked);
  CHECK(*picked == 2);
  CHECK(chain.sample(logits, [](std::span<candidate> c) noexcept { return c.first(0); }).error().code == cria::errc::non_finite);
  CHECK(*chain.sample(logits) == 0);
}

TEST_CASE("sampler: greedy takes the lowest id among equals") {
  cria::sampler_chain chain(5, cria::argmax{});
  CHECK(*chain.sample(std::vector<float>{1, 3, 2, 3, 3}) == 1);
}

TEST_CASE("sampler: a chain allocates nothing per token, not even for errors") {
  constexpr std::size_t vocab = 3000;
  cria::sampler_chain chain(vocab, multinomial(1), cria::penalties({.repeat = 1.1f, .frequency = 0.1f, .last_n = 64}, vocab),
                            cria::no_repeat_ngram({.n = 3, .last_n = 100}, vocab), cria::top_p{0.999f}, cria::typical{0.9f}, cria::top_k{40},
                            cria::dynamic_temperature{1.0f, 0.5f, 1.0f});
  const auto good = random_logits(vocab, 4);
  auto bad = good;
  bad[2999] = not_a_number;
  token_id last = 0;
  std::size_t errors = 0;
  const std::size_t before = allocations;
  for (int i = 0; i < 500; ++i) {
    if (const auto token = chain.sample(good)) chain.accept(last = *token);
    if (!chain.sample(bad)) ++errors;
  }
  const std::size_t after = allocations;
  CHECK(after == before);
  CHECK(errors == 500);
  CHECK(last >= 0);
}
