// SPDX-License-Identifier: MIT
// The reference logits are those of golden/stories260K (llama.cpp d32676d, float32 cache).
#include <cria/generate/scoring.hpp>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/family_models.hpp>
#include <tests/support/load_parts.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

using token_list = std::vector<token_id>;

std::vector<double> all_of(const std::vector<continuation_score>& scores) {
  std::vector<double> out;
  for (const continuation_score& s : scores) out.insert(out.end(), s.log_probabilities.begin(), s.log_probabilities.end());
  return out;
}

token_list joined(std::span<const token_id> a, std::span<const token_id> b) {
  token_list out(a.begin(), a.end());
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

}  // namespace

TEST_CASE("scoring: log probabilities are those of the reference's logits, wherever a text is cut into prompt and continuation") {
  if (!has_data(stories)) return;
  const golden reference = read_golden("stories260K");
  session s = make_session(load_stories(), {.context_size = 256});
  std::size_t n_scored = 0;
  for (const golden_case& c : reference.cases) {
    for (const std::size_t cut : {std::size_t{1}, c.tokens.size() / 2, c.tokens.size() - 1}) {
      if (cut == 0 || cut >= c.tokens.size()) continue;
      const auto all = std::span<const token_id>(c.tokens);
      const std::vector<token_list> continuations = {{all.begin() + static_cast<std::ptrdiff_t>(cut), all.end()}};
      const auto scores = score_continuations(s, all.first(cut), std::span<const token_list>(continuations));
      REQUIRE(scores);
      REQUIRE(scores->front().log_probabilities.size() == c.tokens.size() - cut);
      for (std::size_t i = cut; i < c.tokens.size(); ++i, ++n_scored) {
        const auto row = std::span<const float>(c.logits).subspan((i - 1) * reference.n_vocab, reference.n_vocab);
        const double expected = static_cast<double>(row[static_cast<std::size_t>(c.tokens[i])]) - log_sum_exp(row);
        // Both logits and their sum may be off by 0.01: greedy tokens agree wherever two logits are 0.02 apart (the reference's README).
        CHECK(std::abs(scores->front().log_probabilities[i - cut] - expected) < 0.02);
      }
    }
  }
  CHECK(n_scored > 50);
}

TEST_CASE("scoring: the probabilities of all tokens add up to one, and a total is the product along the chain") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const auto prompt = s.model().tokenizer().encode("Once upon a").value();
  std::vector<token_list> every;
  for (std::size_t i = 0; i < s.model().vocab_size(); ++i) every.push_back({static_cast<token_id>(i)});
  const auto ones = score_continuations(s, std::span<const token_id>(prompt), std::span<const token_list>(every));
  REQUIRE(ones);
  double sum = 0;
  for (const continuation_score& one : *ones) sum += std::exp(one.total());
  CHECK(sum == doctest::Approx(1).epsilon(1e-12));   // 512 roundings of 2^-53 and of exp and log, in double

  const token_list pair = {300, 301};
  const auto both = score_continuations(s, std::span<const token_id>(prompt), std::span<const token_list>(&pair, 1));
  const token_list second = {301}, longer = joined(prompt, std::array<token_id, 1>{300});
  const auto last = score_continuations(s, std::span<const token_id>(longer), std::span<const token_list>(&second, 1));
  REQUIRE(both);
  REQUIRE(last);
  CHECK(both->front().tokens == pair);
  CHECK(both->front().log_probabilities == std::vector<double>{(*ones)[300].total(), last->front().total()});
  CHECK(both->front().total() == (*ones)[300].total() + last->front().total());
  CHECK(both->front().mean() == both->front().total() / 2);
}

TEST_CASE("scoring: a text is scored in the tokens of prompt and continuation together, all from the same token on") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const tokenizer& t = s.model().tokenizer();
  const auto check = [&](const std::string& prompt, const std::vector<std::string_view>& continuations) {
    const auto scores = score_continuations(s, prompt, std::span<const std::string_view>(continuations));
    REQUIRE(scores);
    REQUIRE(scores->size() == continuations.size());
    const token_list alone = t.encode(prompt).value();
    std::size_t shared = alone.size();
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      const token_list whole = t.encode(prompt + std::string(continuations[i])).value();
      const std::size_t n = whole.size() - (*scores)[i].tokens.size();
      CHECK((*scores)[i].tokens == token_list(whole.begin() + static_cast<std::ptrdiff_t>(n), whole.end()));
      if (i == 0) shared = n;
      CHECK(n == shared);
      const std::vector<token_list> rest = {(*scores)[i].tokens};
      CHECK(score_continuations(s, std::span(whole).first(n), std::span<const token_list>(rest)).value().front().log_probabilities ==
            (*scores)[i].log_probabilities);
    }
    return alone.size() - shared;
  };
  CHECK(check("Once upon a time", {", there was a little girl", ", there was", " in"}) == 0);
  CHECK(check("Once upon a ", {"time", "girl", "12"}) > 0);   // the blank at the end becomes part of the word after it
  const auto story = score_continuations(s, "Once upon a", {" time", " little", " qx"});
  REQUIRE(story);
  CHECK((*story)[0].total() > (*story)[1].total());
  CHECK((*story)[1].total() > (*story)[2].total());
}

TEST_CASE("scoring: the same bits for any threads, batch, order and past; a prompt is processed once") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const token_list prompt = m.tokenizer().encode("One day a little girl named").value();
  const std::vector<token_list> continuations = {{300, 301, 302, 303, 304, 305, 306}, {310}, {320, 321}};
  const auto run = [&](session& s, const std::vector<token_list>& c) {
    return score_continuations(s, std::span<const token_id>(prompt), std::span<const token_list>(c));
  };
  session first = make_session(m);
  const auto expected = run(first, continuations);
  REQUIRE(expected);
  CHECK(first.statistics().n_evaluated == prompt.size() + 6 + 0 + 1);

  CHECK(all_of(run(first, continuations).value()) == all_of(*expected));   // of the prompt only the last token, whose logits are needed
  CHECK(first.statistics().n_evaluated == prompt.size() + 7 + 1 + 7);
  for (const session_options& options : {session_options{.n_threads = 2}, session_options{.max_batch = 2}, session_options{.context_size = 40}}) {
    session s = make_session(m, options);
    REQUIRE(s.evaluate(joined(prompt, std::array<token_id, 3>{300, 9, 9})));
    CHECK(all_of(run(s, continuations).value()) == all_of(*expected));
  }
  const std::vector<token_list> backwards(continuations.rbegin(), continuations.rend());
  auto turned = run(first, backwards).value();
  std::reverse(turned.begin(), turned.end());
  CHECK(all_of(turned) == all_of(*expected));
}

TEST_CASE("scoring: a window that no longer holds the prompt's positions is computed again") {
  const model_parts parts = [] {
    model_parts p = model_named("llama");
    p.set("llama.attention.sliding_window", std::uint32_t{8});
    return p;
  }();
  const model m = model_of(parts);
  session s = make_session(m, {.context_size = 2048});
  const token_list prompt = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  token_list lengthy(1200);
  for (std::size_t i = 0; i < lengthy.size(); ++i) lengthy[i] = static_cast<token_id>(3 + i * 7 % 16);
  const std::vector<token_list> continuations = {lengthy, {5, 6}};
  const auto scores = score_continuations(s, std::span<const token_id>(prompt), std::span<const token_list>(continuations));
  REQUIRE(scores);
  CHECK(s.statistics().n_evaluated > prompt.size() + 1199 + 1);   // the prompt twice: otherwise this tests nothing
  session fresh = make_session(m, {.context_size = 2048});
  CHECK(score_continuations(fresh, std::span<const token_id>(prompt), std::span<const token_list>(continuations).last(1)).value().front().log_probabilities ==
        (*scores)[1].log_probabilities);
}

TEST_CASE("scoring: what cannot be scored is an error, and the session goes on") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories(), {.context_size = 32});
  const token_list prompt = {1, 300, 301};
  const auto code_of = [&](std::span<const token_id> p, const std::vector<token_list>& c, const stop_token& stop = {}) {
    const auto scores = score_continuations(s, p, std::span<const token_list>(c), stop);
    return scores ? errc{} : scores.error().code;
  };
  const auto expected = score_continuations(s, "Once", {" upon"}).value();
  CHECK(code_of({}, {{300}}) == errc::bad_argument);
  CHECK(code_of(prompt, {{300}, {}}) == errc::bad_argument);
  for (const token_id outside : {token_id{-1}, token_id{512}}) {
    CHECK(code_of(std::array{outside}, {{300}}) == errc::bad_argument);
    CHECK(code_of(prompt, {{outside}}) == errc::bad_argument);
    CHECK(code_of(prompt, {{300, outside}}) == errc::bad_argument);
    CHECK(code_of(prompt, {{300, outside, 301}}) == errc::bad_argument);
  }
  CHECK(code_of(prompt, {token_list(31, 300)}) == errc::context_full);   // 3 + 30 positions
  CHECK(code_of(prompt, {token_list(30, 300)}) == errc{});               // the last token needs none
  CHECK(code_of(token_list(33, 300), {{300}}) == errc::context_full);
  stop_source stop;
  stop.request_stop();
  CHECK(code_of(prompt, {{300}}, stop.get_token()) == errc::cancelled);

  const auto text_error = score_continuations(s, "Once", {" upon", ""});
  REQUIRE_FALSE(text_error);
  CHECK(text_error.error().code == errc::bad_argument);
  CHECK(text_error.error().to_string().find("number 2") != std::string::npos);
  CHECK(score_continuations(s, "", {"Once"}, {.encode = {.add_bos = false}}).error().code == errc::bad_argument);
  CHECK(score_continuations(s, "", {"Once"}).has_value());   // after BOS
  CHECK(score_continuations(s, std::string(100'000, 'a'), {"b"}).error().code == errc::context_full);
  CHECK(score_continuations(s, "Once", std::span<const std::string_view>{}).value().empty());
  CHECK(score_continuations(s, "Once", {" upon"}).value().front().log_probabilities == expected.front().log_probabilities);

  const auto hook = std::make_shared<hooked_cache::hook_state>();
  const model m = s.model();
  auto broken = hooked_session::create(m, hooked_cache(m.cache_shape(), 32, hook), {.n_threads = 1}).value();
  hook->on_write = [](kv_slot) { return true; };
  CHECK(score_continuations(broken, "Once", {" upon"}).error().code == errc::non_finite);
  hook->on_write = nullptr;
  broken.reset();
  CHECK(score_continuations(broken, "Once", {" upon"}).has_value());
}
