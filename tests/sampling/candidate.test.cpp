// SPDX-License-Identifier: MIT
#include <cria/sampling/candidate.hpp>

#include <tests/sampling/reference.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace cria_test;
using cria::candidate;

TEST_CASE("candidate: select_best equals a full sort, ties by id, for every k") {
  struct arrangement {
    const char* what;
    double granularity;
    int direction;  // 0 as drawn, 1 ascending, -1 descending
  };
  for (const arrangement& a : {arrangement{"distinct", 0.0, 0}, {"many ties", 0.5, 0}, {"two values", 20.0, 0}, {"all equal", 1e9, 0},
                               {"ascending", 0.0, 1}, {"descending", 0.0, -1}, {"ascending ties", 0.5, 1}}) {
    for (const std::size_t n : {1u, 2u, 3u, 33u, 100u, 1000u, 5000u}) {
      auto logits = random_logits(n, 11 + n, 3.0, a.granularity);
      if (a.direction != 0) std::sort(logits.begin(), logits.end());
      if (a.direction < 0) std::reverse(logits.begin(), logits.end());
      const auto expected = ranked(candidates_of(logits));
      for (const std::size_t k : {0u, 1u, 2u, 5u, 40u, 241u, 242u, 243u, 999u, 5000u, 6000u}) {
        auto c = candidates_of(logits);
        cria::select_best(c, k);
        const std::size_t kept = std::min<std::size_t>(k, n);
        CAPTURE(a.what);
        CAPTURE(n);
        CAPTURE(k);
        REQUIRE(ids_of(std::span(c).first(kept)) == ids_of(std::span(expected).first(kept)));
        REQUIRE(sorted_ids_of(c) == sorted_ids_of(candidates_of(logits)));  // none lost, none twice
      }
    }
  }
}

TEST_CASE("candidate: select_best puts banned tokens last") {
  std::vector<float> logits(300, minus_infinity);
  logits[7] = -1e30f;
  logits[250] = std::numeric_limits<float>::lowest();
  auto c = candidates_of(logits);
  cria::select_best(c, 3);
  CHECK(c[0].id == 7);
  CHECK(c[1].id == 250);
  CHECK(c[2].id == 0);
}

TEST_CASE("candidate: the first-ranked is the highest logit, the lowest id among equals, whatever the order") {
  const std::vector<candidate> c{{3, 1.0f}, {9, 2.0f}, {4, 2.0f}, {1, -3.0f}, {8, 2.0f}};
  CHECK(cria::argmax_index(c) == 2);
  const std::vector<candidate> zeros{{2, -0.0f}, {1, 0.0f}};
  CHECK(cria::argmax_index(zeros) == 1);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto all = candidates_of(random_logits(500, seed, 3.0, 2.0));
    REQUIRE(all[cria::argmax_index(all)].id == ranked(all)[0].id);
  }
}

TEST_CASE("candidate: softmax_over is the softmax") {
  const auto c = candidates_of(random_logits(2000, 3));
  const auto expected = softmax(c);
  const cria::softmax_scale scale = cria::softmax_over(c);
  for (std::size_t i = 0; i < c.size(); ++i) {
    // exp within 8e-16, 2000 additions of positive terms within 2000 x 1.1e-16
    CHECK(cria::relative_weight(c[i].logit, scale.highest) / scale.total == doctest::Approx(static_cast<double>(expected[i])).epsilon(3e-13));
  }
  CHECK(cria::softmax_over(std::vector<candidate>{{0, minus_infinity}, {1, minus_infinity}}).total == 0.0);
}

TEST_CASE("candidate: to_logit stays finite") {
  CHECK(cria::to_logit(1e300) == std::numeric_limits<float>::max());
  CHECK(cria::to_logit(-1e300) == std::numeric_limits<float>::lowest());
  CHECK(cria::to_logit(-2.5) == -2.5f);
}

TEST_CASE("candidate: top_candidates are the best with their probabilities of the whole softmax") {
  const auto logits = random_logits(32000, 21, 2.0, 0.25);
  const auto all = ranked(candidates_of(logits));
  const auto expected = softmax(all);
  const auto best = cria::top_candidates(logits, 50);
  REQUIRE(best);
  REQUIRE(best->size() == 50);
  for (std::size_t i = 0; i < 50; ++i) {
    CHECK((*best)[i].id == all[i].id);
    CHECK((*best)[i].logit == all[i].logit);
    CHECK((*best)[i].probability == doctest::Approx(static_cast<double>(expected[i])).epsilon(1e-7));  // of a float: 2^-24
  }
}

TEST_CASE("candidate: top_candidates of fewer than k, of none, and of numbers that are none") {
  CHECK(cria::top_candidates(std::vector<float>{1.0f, 2.0f}, 9)->size() == 2);
  CHECK(cria::top_candidates(std::vector<float>{1.0f, 2.0f}, 0)->empty());
  const auto banned = cria::top_candidates(std::vector<float>{minus_infinity, 0.0f}, 2);
  REQUIRE(banned);
  CHECK((*banned)[0].probability == 1.0f);
  CHECK((*banned)[1].probability == 0.0f);
  const auto nan = cria::top_candidates(std::vector<float>{0.0f, std::numeric_limits<float>::quiet_NaN()}, 1);
  REQUIRE_FALSE(nan);
  CHECK(nan.error().code == cria::errc::non_finite);
  CHECK(nan.error().where == "token 1");
  CHECK(cria::top_candidates(std::vector<float>{-minus_infinity, 0.0f}, 1).error().message == "+inf");
  CHECK(cria::top_candidates(std::vector<float>{minus_infinity}, 1).error().message == "all -inf");
  CHECK_FALSE(cria::top_candidates({}, 1));
}
