// SPDX-License-Identifier: MIT
// Beam search against all continuations of a small model, and against the definition of its header written a second time, with sessions.
#include <cria/generate/beam_search.hpp>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/adapter_parts.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <regex>
#include <stop_token>
#include <string>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

struct scored {
  std::vector<token_id> tokens;
  double log_probability = 0;
  double score = 0;
  bool operator<(const scored& other) const { return score != other.score ? score > other.score : tokens < other.tokens; }
};

std::vector<double> log_softmax(std::span<const float> logits) {
  double highest = -1e300, total = 0;
  for (const float x : logits) highest = std::max(highest, static_cast<double>(x));
  for (const float x : logits) total += std::exp(static_cast<double>(x) - highest);
  std::vector<double> out;
  for (const float x : logits) out.push_back(static_cast<double>(x) - highest - std::log(total));
  return out;
}

double penalty(std::size_t n, double alpha) { return std::pow((5 + static_cast<double>(n)) / 6, alpha); }

/// Every continuation of up to max_tokens tokens, the best first; `ends` end one.
void enumerate(session& s, std::vector<token_id>& tokens, double log_probability, std::size_t max_tokens, double alpha, std::vector<scored>& out) {
  const bool ends = !tokens.empty() && s.model().tokenizer().is_end_of_generation(tokens.back());
  if (ends || tokens.size() == max_tokens) {
    out.push_back({tokens, log_probability, log_probability / penalty(tokens.size(), alpha)});
    return;
  }
  const auto p = log_softmax(s.logits());
  const std::size_t length = s.length();
  for (std::size_t t = 0; t < p.size(); ++t) {
    tokens.push_back(static_cast<token_id>(t));
    REQUIRE(s.truncate(length));
    if (!s.model().tokenizer().is_end_of_generation(tokens.back()) && tokens.size() < max_tokens) REQUIRE(s.evaluate(std::span(tokens).last(1)));
    enumerate(s, tokens, log_probability + p[t], max_tokens, alpha, out);
    tokens.pop_back();
  }
}

/// Whether a token may follow, by a matcher that is given the whole text anew.
bool fits(const grammar& g, const model& m, const std::vector<token_id>& tokens, token_id next) {
  auto matcher = grammar_matcher::create(g).value();
  for (const token_id t : tokens) REQUIRE(matcher.advance(m.tokenizer().piece(t)).value());
  if (m.tokenizer().is_end_of_generation(next)) return matcher.accepts();
  return !m.tokenizer().piece(next).empty() && matcher.advance(m.tokenizer().piece(next)).value();
}

/// The definition, with every beam computed from the beginning.
std::vector<scored> by_definition(const model& m, const std::vector<token_id>& prompt, const beam_options& o) {
  session s = make_session(m, {.context_size = 128});
  std::vector<scored> live(1), finished;
  const auto worst_kept = [&] { return finished.size() < o.n_best ? -1e300 : finished[o.n_best - 1].score; };
  for (std::size_t step = 0; step < o.max_tokens && !live.empty(); ++step) {
    std::vector<std::pair<scored, std::size_t>> all;
    for (std::size_t i = 0; i < live.size(); ++i) {
      std::vector<token_id> whole = prompt;
      whole.insert(whole.end(), live[i].tokens.begin(), live[i].tokens.end());
      s.reset();
      REQUIRE(s.evaluate(whole));
      const auto p = log_softmax(s.logits());
      for (std::size_t t = 0; t < p.size(); ++t) {
        if (o.grammar && !fits(*o.grammar, m, live[i].tokens, static_cast<token_id>(t))) continue;
        scored next = live[i];
        next.tokens.push_back(static_cast<token_id>(t));
        next.log_probability += p[t];
        next.score = next.log_probability / penalty(next.tokens.size(), o.length_penalty);
        all.push_back({next, i});
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first.log_probability > b.first.log_probability; });
    live.clear();
    for (const auto& [next, parent] : all) {
      if (live.size() == o.width) break;
      const bool ends = m.tokenizer().is_end_of_generation(next.tokens.back()) ||
                        std::find(o.stop_tokens.begin(), o.stop_tokens.end(), next.tokens.back()) != o.stop_tokens.end();
      (ends ? finished : live).push_back(next);
    }
    std::stable_sort(finished.begin(), finished.end(), [](const scored& a, const scored& b) { return a.score > b.score; });
    if (finished.size() < o.n_best || live.empty()) continue;
    if (o.stopping == beam_stopping::when_enough) {
      live.clear();
    } else {
      // Certain: even the best live one, divided by the largest penalty it can get, is no better.
      double best = -1e300;
      for (std::size_t n = step + 2; n <= o.max_tokens; ++n) best = std::max(best, live.front().log_probability / penalty(n, o.length_penalty));
      if (step + 1 < o.max_tokens && best <= worst_kept()) live.clear();
    }
  }
  if (o.grammar ? finished.empty() : finished.size() < o.n_best || o.stopping == beam_stopping::when_certain) {
    finished.insert(finished.end(), live.begin(), live.end());
  }
  std::stable_sort(finished.begin(), finished.end(), [](const scored& a, const scored& b) { return a.score > b.score; });
  if (finished.size() > o.n_best) finished.resize(o.n_best);
  return finished;
}

}  // namespace

TEST_CASE("beam_search: with room for all continuations it finds the best ones that there are") {
  const std::string bytes = tiny_model({.vocab_size = 7, .seed = 4}).build();
  const model m = load_bytes(bytes).value();
  const std::vector<token_id> prompt{1, 4, 5};
  auto search = beam_search::create(m, {.max_width = 343, .context_size = 32, .n_threads = 1}).value();
  session s = make_session(m, {.context_size = 32});
  for (const double alpha : {0.0, 0.6, 2.0, -1.0}) {
    CAPTURE(alpha);
    std::vector<scored> all;
    std::vector<token_id> none;
    s.reset();
    REQUIRE(s.evaluate(prompt));
    enumerate(s, none, 0, 4, alpha, all);
    CHECK(all.size() == 1 + 6 + 36 + 216 * 7);
    std::sort(all.begin(), all.end());
    const auto found = search.search(prompt, {.width = 343, .n_best = 20, .max_tokens = 4, .length_penalty = alpha}).value();
    REQUIRE(found.size() == 20);
    for (std::size_t i = 0; i < 20; ++i) {
      CHECK(found[i].tokens == all[i].tokens);
      // Sums of four logarithms of up to 10, each within a few units of the last place.
      CHECK(std::abs(found[i].log_probability - all[i].log_probability) < 1e-13 * 100);
      CHECK(std::abs(found[i].score - all[i].score) < 1e-13 * 100);
    }
    CHECK(search.pages().n_used == 0);
  }
}

TEST_CASE("beam_search: any width, penalty and stopping rule gives what the definition gives") {
  const std::string bytes = tiny_model({.vocab_size = 23, .seed = 9}).build();
  std::vector<std::pair<model, std::vector<token_id>>> cases{{load_bytes(bytes).value(), {1, 7}}};
  if (has_data(stories)) {
    const model m = load_stories();
    cases.push_back({m, m.tokenizer().encode("Once upon a time").value()});
  }
  for (const auto& [m, prompt] : cases) {
    auto search = beam_search::create(m, {.max_width = 6, .context_size = 128, .n_threads = 2}).value();
    for (const std::size_t width : {1u, 2u, 5u}) {
      for (const double alpha : {0.0, 0.6, 1.5, -0.5}) {
        for (const auto stopping : {beam_stopping::when_certain, beam_stopping::when_enough}) {
          beam_options o{.width = width, .n_best = 1 + width / 2, .max_tokens = 9, .length_penalty = alpha, .stopping = stopping};
          o.stop_tokens = {5};
          if (m.vocab_size() > 420) o.stop_tokens = {5, 301, 420};
          CAPTURE(width);
          CAPTURE(alpha);
          const auto wanted = by_definition(m, prompt, o);
          const auto found = search.search(prompt, o).value();
          REQUIRE(found.size() == wanted.size());
          for (std::size_t i = 0; i < found.size(); ++i) {
            CHECK(found[i].tokens == wanted[i].tokens);
            CHECK(std::abs(found[i].score - wanted[i].score) < 1e-11);
          }
        }
      }
    }
  }
}

TEST_CASE("beam_search: a width of one is greedy decoding; a wider one is likelier, and shares pages") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto search = beam_search::create(m, {.max_width = 8, .context_size = 128, .n_threads = 1}).value();
  session s = make_session(m, {.context_size = 128});
  const auto wanted = s.generate("Once upon a time", greedy(40)).value();
  const auto one = search.search("Once upon a time", {.width = 1, .max_tokens = 40}).value();
  REQUIRE(one.size() == 1);
  CHECK(one.front().tokens == wanted.tokens);
  CHECK(one.front().text == wanted.text);
  const auto wide = search.search("Once upon a time", {.width = 8, .n_best = 8, .max_tokens = 40}).value();
  REQUIRE(wide.size() == 8);
  CHECK(wide.front().log_probability > one.front().log_probability);
  for (std::size_t i = 1; i < wide.size(); ++i) {
    CHECK(wide[i - 1].score >= wide[i].score);
    CHECK(wide[i - 1].tokens != wide[i].tokens);
  }
  CHECK(search.pages().most_used < 8 * 3);   // eight beams of up to 45 positions are 24 pages of 16
  CHECK(search.pages().n_used == 0);
}

TEST_CASE("beam_search: beams of an adapted model are those of the adapted session, and the next search has none") {
  model_parts base = tiny_model({.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96});
  const model m = load_bytes(base.build()).value();
  const adapter_parts parts(base, {"blk.0.attn_k.weight", "blk.1.ffn_up.weight", "output.weight"}, 4, 16, 3);
  const adapter_choice choice{adapter_of(parts.file, m), 0.5f};
  auto search = beam_search::create(m, {.max_width = 4, .context_size = 64, .n_threads = 1}).value();
  session s = make_session(m, {.context_size = 64});
  const std::vector<token_id> prompt = {3, 1, 4, 1, 5};
  beam_options o{.width = 1, .max_tokens = 12, .ignore_eos = true};
  generation_options one = greedy(12);
  one.ignore_eos = true;
  const auto plain = s.generate(prompt, one).value().tokens;
  one.adapters = {choice};
  const auto adapted = s.generate(prompt, one).value().tokens;
  CHECK(adapted != plain);
  o.adapters = {choice};
  CHECK(search.search(prompt, o).value().front().tokens == adapted);
  o.adapters.clear();
  CHECK(search.search(prompt, o).value().front().tokens == plain);
  o.adapters = {{adapter_of(parts.file, load_bytes(base.build()).value()), 1}};
  const auto foreign = search.search(prompt, o);
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().where == "adapters");
}

TEST_CASE("beam_search: stop strings end a beam and are cut off its text") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto search = beam_search::create(m, {.max_width = 4, .context_size = 128, .n_threads = 1}).value();
  const auto free = search.search("Once upon a time", {.width = 4, .max_tokens = 20}).value();
  const std::string stop = free.front().text.substr(10, 5);
  const auto found = search.search("Once upon a time", {.width = 4, .n_best = 4, .max_tokens = 20, .stop_strings = {stop, "never written"}}).value();
  std::size_t n_stopped = 0;
  for (const beam& b : found) {
    CHECK(b.text.find(stop) == std::string::npos);
    n_stopped += b.reason == finish_reason::stop_string;
  }
  CHECK(n_stopped > 0);
}

TEST_CASE("beam_search: of stop strings that a token brings together it is the one at which a session stops") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto search = beam_search::create(m, {.max_width = 1, .context_size = 128, .n_threads = 1}).value();
  session s = make_session(m, {.context_size = 128});
  const std::string prompt = "Once upon a time,";
  generation_options o = greedy(12);
  o.ignore_eos = true;
  const std::vector<std::vector<std::string>> cases{{" was", "a"}, {"irl", "i"}, {" the", "h"}, {" the", "h", "th"}, {"there", "her"}, {"tle", "t", "le"}};
  for (const auto& stops : cases) {
    o.stop_strings = stops;
    const auto wanted = s.generate(prompt, o).value();
    const auto found = search.search(prompt, {.width = 1, .max_tokens = 12, .stop_strings = stops, .ignore_eos = true}).value();
    CAPTURE(stops.front());
    CHECK(wanted.reason == finish_reason::stop_string);
    CHECK(found.front().reason == wanted.reason);
    CHECK(found.front().text == wanted.text);
    CHECK(found.front().tokens == wanted.tokens);
  }
}

TEST_CASE("beam_search: where shorter ones are favoured, no beam ranks by what it was when the search was over") {
  const auto check = [](const model& m, const std::vector<token_id>& prompt, beam_options o) {
    auto search = beam_search::create(m, {.max_width = 4, .context_size = 128, .n_threads = 1}).value();
    for (const std::size_t width : {1u, 2u, 4u}) {
      for (const double alpha : {-0.5, -2.0, -6.0}) {
        for (const std::size_t n_best : {1u, 2u}) {
          CAPTURE(width);
          CAPTURE(alpha);
          CAPTURE(n_best);
          o.width = width;
          o.n_best = n_best;
          o.length_penalty = alpha;
          const auto found = search.search(prompt, o).value();
          const auto wanted = by_definition(m, prompt, o);
          REQUIRE(found.size() == wanted.size());
          for (std::size_t i = 0; i < found.size(); ++i) {
            CHECK(found[i].tokens == wanted[i].tokens);
            CHECK((found[i].reason == finish_reason::end_of_text || found[i].tokens.size() == o.max_tokens));
          }
        }
      }
    }
  };
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    check(load_bytes(tiny_model({.vocab_size = 23, .seed = seed}).build()).value(), {1, 7}, {.max_tokens = 12, .stop_tokens = {5, 9, 14}});
  }
  if (!has_data(stories)) return;
  const model m = load_stories();
  beam_options o{.max_tokens = 12};
  for (std::size_t t = 0; t < m.vocab_size(); ++t) {
    if (m.tokenizer().piece(static_cast<token_id>(t)).find('e') != std::string_view::npos) o.stop_tokens.push_back(static_cast<token_id>(t));
  }
  check(m, m.tokenizer().encode("Once upon a time").value(), o);
}

TEST_CASE("beam_search: with a grammar every text keeps to it, and the beams are those of the definition") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto search = beam_search::create(m, {.max_width = 5, .context_size = 128, .n_threads = 1}).value();
  const std::vector<token_id> prompt = m.tokenizer().encode("Once upon a time").value();
  const grammar g = grammar::parse("root ::= \" \"? [a-d] [a-z]{1,3} \",\" \" \"? [0-9] \".\"?").value();
  const std::regex expected(" ?[a-d][a-z]{1,3}, ?[0-9]\\.?");
  for (const std::size_t width : {1u, 3u, 5u}) {
    for (const auto stopping : {beam_stopping::when_certain, beam_stopping::when_enough}) {
      beam_options o{.width = width, .n_best = width, .max_tokens = 12, .stopping = stopping, .grammar = g};
      CAPTURE(width);
      const auto wanted = by_definition(m, prompt, o);
      const auto found = search.search(prompt, o).value();
      REQUIRE(found.size() == wanted.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CAPTURE(found[i].text);
        CHECK(found[i].tokens == wanted[i].tokens);
        CHECK(std::abs(found[i].score - wanted[i].score) < 1e-11);
        CHECK(found[i].reason == finish_reason::end_of_text);
        CHECK(std::regex_match(found[i].text, expected));
      }
    }
  }
  // Few continuations are found without looking through the whole vocabulary again and again, and all of them.
  const auto few = search.search(prompt, {.width = 5, .n_best = 5, .max_tokens = 12, .grammar = grammar::parse("root ::= \"ab\" | \"ac\"").value()}).value();
  REQUIRE(few.size() >= 2);
  CHECK((few[0].text == "ab" || few[0].text == "ac"));
  // Cut short: there is no whole text, and what there is says so.
  const auto cut = search.search(prompt, {.width = 2, .n_best = 2, .max_tokens = 2, .grammar = g}).value();
  REQUIRE_FALSE(cut.empty());
  CHECK(cut.front().reason == finish_reason::max_tokens);
  CHECK(search.search(prompt, {.ignore_eos = true}).has_value());
  beam_options both{.grammar = g, .ignore_eos = true};
  CHECK(search.search(prompt, both).error().where == "ignore_eos");
  CHECK(search.pages().n_used == 0);
}

TEST_CASE("beam_search: a full context ends the beams; cancelling and bad arguments are typed errors that leave it usable") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto search = beam_search::create(m, {.max_width = 4, .context_size = 16, .max_batch = 3, .n_threads = 1}).value();
  const auto full = search.search("Once upon a time", {.width = 3, .n_best = 3, .max_tokens = 100}).value();
  REQUIRE(full.size() == 3);
  CHECK(full.front().reason == finish_reason::context_full);
  session s = make_session(m, {.context_size = 16});
  CHECK(full.front().tokens.size() == s.generate("Once upon a time", greedy(100)).value().tokens.size());

  std::stop_source stop;
  stop.request_stop();
  beam_options o;
  o.stop = stop.get_token();
  CHECK(search.search("Once", o).error().code == errc::cancelled);
  CHECK(search.pages().n_used == 0);
  const auto where = [&](const std::vector<token_id>& prompt, const beam_options& options) { return search.search(prompt, options).error().where; };
  CHECK(where({}, {}) == "prompt");
  CHECK(where({512}, {}) == "prompt");
  CHECK(where(std::vector<token_id>(17, 1), {}) == "prompt");
  CHECK(where({1}, {.width = 0}) == "width");
  CHECK(where({1}, {.width = 5}) == "width");
  CHECK(where({1}, {.n_best = 0}) == "n_best");
  CHECK(where({1}, {.length_penalty = std::numeric_limits<double>::quiet_NaN()}) == "length_penalty");
  CHECK(where({1}, {.stop_strings = {""}}) == "stop_strings");
  CHECK(where({1}, {.stop_tokens = {-1}}) == "stop_tokens");
  CHECK(search.search("Once", {.width = 2, .max_tokens = 0}).value().front().tokens.empty());
  CHECK(search.search("Once", {.width = 4, .max_tokens = 5}).value().size() == 1);
  CHECK(beam_search::create(m, {.max_width = 0}).error().where == "max_width");
  CHECK(beam_search::create(m, {.max_width = 5000}).error().where == "max_width");
  CHECK(beam_search::create(m, {.max_batch = 0}).error().where == "max_batch");
  CHECK(beam_search::create(m, {.context_size = std::size_t{1} << 40}).error().where == "context_size");
}
