// SPDX-License-Identifier: MIT
// Grammars among the options of a generation: in sessions, streams and batches, with the library's sampler and with hosts' own.
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/grammar_guard.hpp>
#include <cria/generate/speculative.hpp>

#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <regex>
#include <string>
#include <vector>

using namespace cria;
using cria::detail::grammar_guard;
using cria::detail::vocabulary_trees;
using namespace cria_test;

namespace {

/// Takes the likeliest token and knows nothing of grammars.
struct plain_sampler {
  token_id sample(std::span<const float> logits) {
    token_id best = 0;
    for (std::size_t i = 1; i < logits.size(); ++i) best = logits[i] > logits[static_cast<std::size_t>(best)] ? static_cast<token_id>(i) : best;
    return best;
  }
  void accept(token_id) {}
};

/// Guesses what it was given, right or wrong.
struct fixed_guesses {
  std::vector<token_id> text;
  std::size_t n_prompt;
  std::size_t max_guesses() const noexcept { return 4; }
  result<std::size_t> draft(std::span<const token_id> tokens, std::span<token_id> out) const {
    const std::size_t at = std::min(tokens.size() - n_prompt, text.size()), n = std::min(out.size(), text.size() - at);
    std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(at), n, out.begin());
    return n;
  }
};

/// Takes one token always, whatever the logits.
struct stubborn_sampler {
  token_id sample(std::span<const float>) { return 5; }
  void accept(token_id) {}
};

}  // namespace

TEST_CASE("grammar_guard: generations keep to their grammar, each from its beginning; without one nothing changes") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  const grammar sums = grammar::parse("root ::= [0-9]{1,3} (\" + \" [0-9]{1,3}){1,4} \" = \" [0-9]+ \".\"").value();
  const std::regex expected("[0-9]{1,3}( \\+ [0-9]{1,3}){1,4} = [0-9]+\\.");
  const std::string before = s.generate("Once upon a time", greedy(8)).value().text;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    generation_options options{.max_tokens = 120, .grammar = sums};
    options.sampling.temperature = 1.5f;
    options.sampling.seed = seed;
    const auto done = s.generate("Once upon a time", options).value();
    CAPTURE(done.text);
    if (done.reason == finish_reason::end_of_text) CHECK(std::regex_match(done.text, expected));
    CHECK((done.reason == finish_reason::end_of_text || done.reason == finish_reason::max_tokens));
    CHECK(done.grammar.n_tokens == done.tokens.size());
    CHECK(done.grammar.n_masks_built <= done.grammar.n_tokens);
  }
  CHECK(s.generate("Once upon a time", greedy(8)).value().text == before);
  CHECK(s.generate("Once upon a time", greedy(8)).value().grammar.n_tokens == 0);
}

TEST_CASE("grammar_guard: streams, batches and hosts' samplers give the same greedy text; a token that is not allowed is an error") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  generation_options options = greedy(60);
  options.grammar = grammar::parse("root ::= \"{\" [A-Z]{3,5} \": \" [a-z]+ \"}\"").value();
  const std::string text = s.generate("Lily", options).value().text;
  CHECK(std::regex_match(text, std::regex("\\{[A-Z]{3,5}: [a-z]+\\}?")));
  plain_sampler plain;
  CHECK(s.generate("Lily", options, plain).value().text == text);
  std::string streamed;
  auto stream = s.stream("Lily", options);
  for (std::string_view piece : stream) streamed += piece;
  CHECK_FALSE(stream.has_error());
  CHECK(streamed == text);
  stubborn_sampler stubborn;
  const auto refused = s.generate("Lily", options, stubborn);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::mismatch);

  // Guesses that are right, and, without the grammar, wrong ones.
  const std::vector<token_id> right = s.generate("Lily", options).value().tokens, wrong = s.generate("Lily", greedy(60)).value().tokens;
  for (const auto& guesses : {right, wrong}) {
    fixed_guesses drafter{guesses, m.tokenizer().encode("Lily").value().size()};
    const auto done = generate_speculatively(s, "Lily", options, drafter);
    REQUIRE(done);
    CHECK(done->text == text);
  }

  auto engine = batch_engine::create(m, {.max_sequences = 2, .context_size = 128, .n_threads = 1}).value();
  std::string batched;
  REQUIRE(engine.add("Lily", options, [&](std::string_view piece) { batched += piece; }));
  REQUIRE(engine.add("Tom", greedy(5)));
  REQUIRE(engine.run());
  CHECK(batched == text);
}

TEST_CASE("grammar_guard: stop tokens end the text only where it is whole; ignore_eos and a grammar contradict each other") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  generation_options options = greedy(30);
  options.grammar = grammar::parse("root ::= \"abc\"").value();
  options.stop_tokens = {m.tokenizer().find("a").value()};   // would have ended the text at its first letter
  const auto done = s.generate("Once", options).value();
  CHECK(done.text == "abc");
  CHECK(done.reason == finish_reason::end_of_text);
  options.ignore_eos = true;
  const auto refused = s.generate("Once", options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::bad_argument);
  CHECK(refused.error().where == "ignore_eos");
}

TEST_CASE("vocabulary_trees: one tree for each set of ends, in any order and however often each is named; the latest four are kept") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  vocabulary_trees trees;
  const auto of = [&](const std::vector<token_id>& ends) { return trees.of(m.tokenizer(), ends).value(); };
  const auto plain = of({});
  CHECK(plain->end_tokens().size() == m.tokenizer().end_of_generation().size());
  CHECK(of({}) == plain);
  CHECK(of({m.tokenizer().end_of_generation().front()}) == plain);
  const auto two = of({300, 301});
  CHECK(two != plain);
  CHECK((two->is_end(300) && two->is_end(301) && !plain->is_end(300)));
  CHECK(of({301, 300, 301}) == two);
  CHECK(of({300}) != two);
  CHECK(of({301}) != two);
  CHECK(of({}) == plain);
  CHECK(of({302})->is_end(302));   // a fifth: the one that was wanted longest ago goes
  CHECK(of({}) == plain);
  CHECK(of({300, 301}) != two);
  CHECK(trees.of(m.tokenizer(), std::vector<token_id>{512}).error().code == errc::bad_argument);
  CHECK(of({}) == plain);
}

TEST_CASE("grammar_guard: what no token can say ends with an error, and the session goes on") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  generation_options options = greedy(30);
  options.grammar = grammar::parse("root ::= \"a\" [\\u00ff] | \"b\"").value();
  options.sampling.logit_bias = {{m.tokenizer().find("b").value(), -std::numeric_limits<float>::infinity()}};
  static_cast<void>(s.generate("Once", options));   // the vocabulary may have bytes: then it ends well
  CHECK(s.generate("Once upon a time", greedy(4)));
  // Whole, and no end token in the tree: the end is the end.
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i < m.vocab_size(); ++i) pieces.push_back(m.tokenizer().piece(static_cast<token_id>(i)));
  auto guard = grammar_guard::create(m.tokenizer(), {.grammar = grammar::parse("root ::= \"a\"").value()}, token_trie::create(pieces, {}).value()).value();
  CHECK_FALSE(guard.is_over());
  REQUIRE(guard.accept(m.tokenizer().find("a").value()));
  CHECK(guard.is_over());
}
