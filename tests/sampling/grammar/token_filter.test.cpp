// SPDX-License-Identifier: MIT
// Which tokens may follow: against trying every token on a matcher of its own, with random logits, and what it costs, counted.
#include <cria/core/random.hpp>
#include <cria/sampling/grammar/token_filter.hpp>
#include <cria/sampling/runtime_sampler.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace cria;

namespace {

using vocabulary = std::shared_ptr<const token_trie>;

vocabulary make_vocabulary(const std::vector<std::string>& texts, const std::vector<token_id>& ends) {
  const std::vector<std::string_view> pieces(texts.begin(), texts.end());
  auto made = token_trie::create(pieces, ends);
  REQUIRE(made);
  return *made;
}

/// Token 0 is the end; then "", all 256 bytes, and random words of JSON's characters, halves of characters among them.
std::vector<std::string> random_texts(std::size_t n, std::uint64_t seed) {
  random_generator random(seed);
  std::vector<std::string> texts{"</s>", ""};
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  const std::string_view parts[] = {"{", "}",  "[",  "]",    "\"",   ":",  ",",     " ",        "\n",   "a",    "b",        "cd",
                                    "1", "23", ".5", "true", "null", "\\", "\\u00", "\xc3\xa4", "\xc3", "\xa4", "\xf0\x9f", "\x99\x82"};
  while (texts.size() < n) {
    std::string text;
    for (std::size_t k = 1 + random.next() % 4; k > 0; --k) text += parts[random.next() % std::size(parts)];
    texts.push_back(std::move(text));
  }
  return texts;
}

token_filter make_filter(std::string_view gbnf, const vocabulary& v, const grammar_matcher_limits& limits = {}) {
  auto g = grammar::parse(gbnf);
  REQUIRE(g);
  auto made = token_filter::create(*g, v, limits);
  REQUIRE(made);
  return *std::move(made);
}

const char* const json_grammar = R"(
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}"
array  ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})?
ws     ::= " "? | "\n" " "{0,8})";

std::vector<float> random_logits(std::size_t n, random_generator& random) {
  std::vector<float> logits(n);
  for (float& x : logits) x = static_cast<float>(random.uniform() * 8.0);
  return logits;
}

}  // namespace

TEST_CASE("token_filter: what one filter of a grammar found out the next ones know, and the masks are the same") {
  const auto texts = random_texts(600, 3);
  const vocabulary v = make_vocabulary(texts, {0}), same = make_vocabulary(texts, {0});
  auto others = random_texts(600, 4);
  const vocabulary other = make_vocabulary(others, {0}), other_end = make_vocabulary(texts, {0, 5});
  const grammar g = grammar::parse(json_grammar).value();
  /// Follows the text that these random numbers choose; returns its tokens and all masks on the way.
  const auto follow = [](token_filter filter, std::size_t& n_built) {
    random_generator random(7);
    std::vector<std::uint64_t> seen;
    for (int step = 0; step < 30; ++step) {
      REQUIRE(filter.prepare());
      seen.insert(seen.end(), filter.mask().begin(), filter.mask().end());
      std::vector<token_id> allowed;
      for (std::size_t i = 0; i < filter.vocabulary().vocab_size(); ++i) {
        if (filter.allows(static_cast<token_id>(i))) allowed.push_back(static_cast<token_id>(i));
      }
      REQUIRE_FALSE(allowed.empty());
      const token_id next = allowed[random.next() % allowed.size()];
      if (filter.vocabulary().is_end(next)) break;
      REQUIRE(filter.accept(next));
    }
    n_built = filter.statistics().n_masks_built;
    return seen;
  };
  const auto fresh = [&](const vocabulary& of, std::size_t& n_built) { return follow(make_filter(json_grammar, of), n_built); };   // with a store of its own
  std::size_t n_first = 0, n_again = 0, n_same = 0, n_other = 0, n_end = 0, ignored = 0;
  const auto first = follow(token_filter::create(g, v).value(), n_first);
  CHECK(n_first > 5);
  CHECK(first == fresh(v, ignored));
  CHECK(follow(token_filter::create(g, v).value(), n_again) == first);
  CHECK(n_again == 0);
  CHECK(follow(token_filter::create(cria::grammar(g), same).value(), n_same) == first);   // another tree of the same texts
  CHECK(n_same == 0);
  CHECK(follow(token_filter::create(g, other).value(), n_other) == fresh(other, ignored));
  CHECK(n_other > 5);
  CHECK(follow(token_filter::create(g, other_end).value(), n_end) == fresh(other_end, ignored));
  CHECK(n_end > 5);
  // What was seen before, in whatever order, does not change what a place is called.
  token_filter wandered = token_filter::create(g, v).value();
  for (const std::string_view text : {"{\"a\":[1,{\"b\":tr", "[", "{\"x"}) {
    REQUIRE(wandered.reset());
    for (const char c : text) {
      if (!wandered.accept(static_cast<token_id>(2 + static_cast<unsigned char>(c)))) break;
    }
  }
  REQUIRE(wandered.reset());
  token_filter straight = token_filter::create(g, v).value();
  for (const char c : std::string_view("{\"a\":[1,{\"b\":[[2")) {
    const auto token = static_cast<token_id>(2 + static_cast<unsigned char>(c));
    REQUIRE(wandered.accept(token));
    REQUIRE(straight.accept(token));
    CHECK(wandered.save() == straight.save());
  }
}

TEST_CASE("token_filter: filters of one grammar on several threads at once find what each finds alone") {
  const vocabulary v = make_vocabulary(random_texts(600, 5), {0});
  const auto follow = [&v](const grammar& g, std::uint64_t seed) {
    token_filter filter = token_filter::create(g, v).value();
    random_generator random(seed);
    std::vector<token_id> tokens;
    for (int step = 0; step < 60; ++step) {
      if (!filter.prepare()) return std::vector<token_id>{};
      std::vector<token_id> allowed;
      for (std::size_t i = 0; i < v->vocab_size(); ++i) {
        if (filter.allows(static_cast<token_id>(i))) allowed.push_back(static_cast<token_id>(i));
      }
      tokens.push_back(allowed[random.next() % allowed.size()]);
      if (v->is_end(tokens.back()) || !filter.accept(tokens.back())) break;
    }
    return tokens;
  };
  std::vector<std::vector<token_id>> alone(8), together(8);
  for (std::size_t i = 0; i < alone.size(); ++i) alone[i] = follow(grammar::parse(json_grammar).value(), i);
  const grammar shared = grammar::parse(json_grammar).value();
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < together.size(); ++i) threads.emplace_back([&, i] { together[i] = follow(shared, i); });
  for (std::thread& t : threads) t.join();
  CHECK(together == alone);
  CHECK(shared.masks().size() > 10);
}

TEST_CASE("mask_store: gives back what was kept, and stays within its bytes") {
  detail::mask_store store;
  std::vector<std::uint64_t> mask(2), large(16384);
  CHECK_FALSE(store.find(std::vector<std::uint64_t>{1, 2}, mask));
  store.keep(std::vector<std::uint64_t>{1, 2}, std::vector<std::uint64_t>{3, 4});
  CHECK(store.find(std::vector<std::uint64_t>{1, 2}, mask));
  CHECK(mask == std::vector<std::uint64_t>{3, 4});
  CHECK_FALSE(store.find(std::vector<std::uint64_t>{1, 3}, mask));
  CHECK_FALSE(store.find(std::vector<std::uint64_t>{1, 2, 3}, std::span(mask).first(1)));   // the same words, parted otherwise
  CHECK_FALSE(store.find(std::vector<std::uint64_t>{1, 2}, std::span(mask).first(1)));
  std::size_t most = 0;
  for (std::uint64_t i = 0; i < 600; ++i) {
    store.keep(std::vector<std::uint64_t>{i}, large);
    most = std::max(most, store.size());
    CHECK(store.find(std::vector<std::uint64_t>{i}, large));
  }
  CHECK(most <= detail::mask_store::max_bytes / (large.size() * 8));
  CHECK(most > 200);
}

TEST_CASE("token_filter: the mask is what trying every token gives, at every step of random texts") {
  const auto texts = random_texts(600, 1);
  const vocabulary v = make_vocabulary(texts, {0});
  const char* const grammars[] = {json_grammar, "root ::= [^x]{1,7}", "root ::= (\"a\" | \"b\" root \"b\" | [\\u00e0-\\U0001ffff])*",
                                  "root ::= \"a\" root \"b\" | \"a\" root \"cd\" | \"\""};
  for (const char* gbnf : grammars) {
    CAPTURE(gbnf);
    token_filter filter = make_filter(gbnf, v);
    random_generator random(2);
    for (int step = 0; step < 40; ++step) {
      REQUIRE(filter.prepare());
      auto matcher = grammar_matcher::create(filter.grammar());
      REQUIRE(matcher);
      const sampler_state here = filter.save();
      std::vector<token_id> allowed;
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const auto id = static_cast<token_id>(i);
        bool fits = i == 0 && filter.accepts();
        if (i > 1) {
          REQUIRE(matcher->restore(std::span(here).subspan(2)));
          fits = *matcher->advance(texts[i]);
        }
        REQUIRE(filter.allows(id) == fits);
        if (fits) allowed.push_back(id);
      }
      REQUIRE_FALSE(allowed.empty());
      CHECK_FALSE(filter.allows(-1));
      CHECK_FALSE(filter.allows(static_cast<token_id>(texts.size())));
      const token_id token = allowed[random.next() % allowed.size()];
      REQUIRE(filter.accept(token));
      if (token == 0) break;
    }
  }
}

TEST_CASE("token_filter: whatever the logits, what is sampled is a text of the grammar, and ends where it is whole") {
  const auto texts = random_texts(2000, 3);
  const vocabulary v = make_vocabulary(texts, {0});
  token_filter filter = make_filter(json_grammar, v);
  auto sampler = runtime_sampler::create({.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .seed = 5}, texts.size());
  REQUIRE(sampler);
  random_generator random(7);
  std::size_t n_ended = 0;
  for (int round = 0; round < 60; ++round) {
    REQUIRE(filter.reset());
    auto check = grammar_matcher::create(filter.grammar());
    REQUIRE(check);
    for (int step = 0; step < 80; ++step) {
      auto logits = random_logits(texts.size(), random);
      logits[0] = 30.0f;   // the end is wanted always, and may not come before the text is whole
      const auto token = sampler->sample(logits, filter);
      REQUIRE(token);
      REQUIRE(filter.accept(*token));
      if (*token == 0) {
        CHECK(check->accepts());
        ++n_ended;
        break;
      }
      REQUIRE(*check->advance(texts[static_cast<std::size_t>(*token)]));
    }
  }
  CHECK(n_ended > 10);
}

TEST_CASE("token_filter: once the text is whole and cannot go on, only end tokens are left, however often") {
  const vocabulary v = make_vocabulary({"<s>", "a", "b", "ab", "<end>"}, {4, 0});
  token_filter filter = make_filter("root ::= \"ab\"", v);
  REQUIRE(filter.prepare());
  CHECK(filter.allows(1));
  CHECK(filter.allows(3));
  CHECK_FALSE(filter.allows(0));
  CHECK_FALSE(filter.allows(2));
  CHECK_FALSE(filter.allows(4));
  CHECK(filter.accept(4).error().code == errc::bad_argument);
  CHECK(filter.accept(2).error().code == errc::bad_argument);
  CHECK(filter.accept(5).error().code == errc::bad_argument);
  CHECK_FALSE(filter.is_complete());
  REQUIRE(filter.accept(3));
  CHECK(filter.is_complete());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(filter.prepare());
    for (token_id id = 0; id < 5; ++id) CHECK(filter.allows(id) == (id == 0 || id == 4));
    REQUIRE(filter.accept(4));
  }
  CHECK(filter.accept(1).error().code == errc::bad_argument);
  REQUIRE(filter.reset());
  REQUIRE(filter.prepare());
  CHECK(filter.allows(1));
  CHECK_FALSE(filter.allows(4));
}

TEST_CASE("token_filter: where no token can go on, there is an error and nothing is sampled") {
  // After "a" the grammar wants "z", which no token has.
  const vocabulary v = make_vocabulary({"</s>", "a", "b"}, {0});
  token_filter filter = make_filter("root ::= \"a\" (\"z\" | \"y\")", v);
  auto sampler = runtime_sampler::create(sampler_config::greedy(), 3);
  REQUIRE(sampler);
  const std::vector<float> logits{9.0f, 1.0f, 8.0f};
  CHECK(*sampler->sample(logits, filter) == 1);
  REQUIRE(filter.accept(1));
  const auto stuck = filter.prepare();
  REQUIRE_FALSE(stuck);
  CHECK(stuck.error().code == errc::mismatch);
  CHECK_FALSE(sampler->sample(logits, filter));
  // No end token at all: whole texts cannot be ended.
  token_filter endless = make_filter("root ::= \"a\"", make_vocabulary({"a"}, {}));
  REQUIRE(endless.prepare());
  REQUIRE(endless.accept(0));
  CHECK(endless.is_complete());
  CHECK(endless.prepare().error().code == errc::mismatch);
  // Deeper than allowed, and nothing else possible.
  token_filter deep = make_filter("root ::= \"a\" root \"b\" | \"c\"", make_vocabulary({"</s>", "a"}, {0}), {.max_depth = 3});
  cria::result<void> prepared;
  for (int i = 0; i < 10 && (prepared = deep.prepare()); ++i) REQUIRE(deep.accept(1));
  REQUIRE_FALSE(prepared);
  CHECK(prepared.error().code == errc::limit_exceeded);
  // A wrong number of candidates.
  std::vector<candidate> two(2);
  token_filter other = make_filter("root ::= \"a\"", v);
  CHECK(other(two).empty());
}

TEST_CASE("token_filter: a model that prefers to open is led to close before max_depth, and its text is whole") {
  const std::vector<std::string> texts{"</s>", "(", ")", "1", "+", "((", "1)"};
  const std::vector<float> logits{7.0f, 9.0f, 8.0f, 6.0f, 1.0f, 10.0f, 5.0f};
  const char* const arithmetic = "root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= num | \"(\" expr \")\"\nnum ::= [0-9]+";
  constexpr std::size_t depths[] = {1, 2, 3, 10, 11, 500};
  for (const std::size_t max_depth : depths) {
    CAPTURE(max_depth);
    token_filter filter = make_filter(arithmetic, make_vocabulary(texts, {0}), {.max_depth = max_depth});
    auto sampler = runtime_sampler::create(sampler_config::greedy(), texts.size());
    std::string text;
    for (std::size_t i = 0; i < 2000 && !filter.is_complete(); ++i) {
      const auto token = sampler->sample(logits, filter);
      REQUIRE(token);
      REQUIRE(filter.accept(*token));
      if (*token != 0) text += texts[static_cast<std::size_t>(*token)];
    }
    const auto n = static_cast<std::size_t>(std::count(text.begin(), text.end(), '('));
    CHECK(text == std::string(n, '(') + "1" + std::string(n, ')'));
    CHECK(n + 1 >= max_depth / 2);
    grammar_matcher whole = *grammar_matcher::create(filter.grammar(), {.max_depth = 1000});
    CHECK(*whole.advance(text));
    CHECK(whole.accepts());
  }
}

TEST_CASE("token_filter: vocabularies and limits that make no sense are refused") {
  const std::vector<std::string_view> none;
  const std::vector<token_id> no_ends, outside{3}, negative{-1};
  CHECK(token_trie::create(none, no_ends).error().code == errc::bad_argument);
  const std::vector<std::string_view> one{"a"};
  CHECK(token_trie::create(one, outside).error().code == errc::bad_argument);
  CHECK(token_trie::create(one, negative).error().code == errc::bad_argument);
  CHECK(token_filter::create(*grammar::parse("root ::= \"a\""), nullptr).error().code == errc::bad_argument);
  token_filter hurried = make_filter(json_grammar, make_vocabulary(random_texts(500, 9), {0}), {.max_work = 5});
  CHECK(hurried.prepare().error().code == errc::limit_exceeded);
}

TEST_CASE("token_filter: a filter is copied and restored from words, and goes on alike") {
  const auto texts = random_texts(800, 11);
  const vocabulary v = make_vocabulary(texts, {0});
  token_filter a = make_filter(json_grammar, v);
  random_generator random(13);
  const auto any_allowed = [&](token_filter& f) {
    REQUIRE(f.prepare());
    auto i = static_cast<token_id>(random.next() % texts.size());
    while (!f.allows(i)) i = static_cast<token_id>((static_cast<std::size_t>(i) + 1) % texts.size());
    return i;
  };
  for (int i = 0; i < 12; ++i) REQUIRE(a.accept(any_allowed(a)));
  token_filter b = a, c = make_filter(json_grammar, v);
  REQUIRE(c.restore(a.save()));
  for (int i = 0; i < 30; ++i) {
    const token_id token = any_allowed(a);
    for (token_filter* f : {&b, &c}) {
      REQUIRE(f->prepare());
      REQUIRE(std::equal(a.mask().begin(), a.mask().end(), f->mask().begin(), f->mask().end()));
    }
    for (token_filter* f : {&a, &b, &c}) REQUIRE(f->accept(token));
    if (token == 0) break;
  }
  CHECK(a.save() == b.save());
  token_filter other = make_filter(json_grammar, make_vocabulary(random_texts(801, 11), {0}));
  CHECK(other.restore(a.save()).error().code == errc::mismatch);
  CHECK(c.restore({}).error().code == errc::mismatch);
}

TEST_CASE("token_filter: with 50,000 tokens a mask visits each node of the tree at most once, and most tokens need none") {
  const auto texts = random_texts(50'000, 17);
  const vocabulary v = make_vocabulary(texts, {0});
  token_filter filter = make_filter(json_grammar, v);
  auto sampler = runtime_sampler::create({.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .seed = 19}, texts.size());
  random_generator random(23);
  std::size_t n_tokens = 0;
  for (int round = 0; round < 20; ++round) {
    REQUIRE(filter.reset());
    for (int step = 0; step < 50; ++step, ++n_tokens) {
      const auto token = sampler->sample(random_logits(texts.size(), random), filter);
      REQUIRE(token);
      REQUIRE(filter.accept(*token));
      if (*token == 0) break;
    }
  }
  const grammar_statistics& s = filter.statistics();
  CHECK(s.n_tokens >= n_tokens);
  CHECK(s.most_nodes <= v->nodes().size());
  CHECK(v->nodes().size() < 130'000);
  CHECK(s.n_masks_built < n_tokens * 9 / 10);
  CHECK(s.n_nodes_visited / n_tokens < 25'000);   // trying 50,000 tokens would be 50,000 texts, some 250,000 bytes
  CHECK(s.n_steps / n_tokens < 2000);
  // The same place again: nothing is built.
  REQUIRE(filter.reset());
  REQUIRE(filter.prepare());
  const std::size_t n_built = filter.statistics().n_masks_built;
  REQUIRE(filter.reset());
  REQUIRE(filter.prepare());
  CHECK(filter.statistics().n_masks_built == n_built);
}

TEST_CASE("token_filter: with little memory it forgets and gives the same masks") {
  const auto texts = random_texts(3000, 29);
  const vocabulary v = make_vocabulary(texts, {0});
  token_filter large = make_filter(json_grammar, v), small = make_filter(json_grammar, v, {.max_memory_bytes = 60'000});
  random_generator random(31);
  for (int i = 0; i < 150; ++i) {
    small.grammar().masks().clear();   // or what it forgets is found there again
    REQUIRE(large.prepare());
    REQUIRE(small.prepare());
    REQUIRE(std::equal(large.mask().begin(), large.mask().end(), small.mask().begin(), small.mask().end()));
    auto token = static_cast<token_id>(random.next() % texts.size());
    while (!large.allows(token)) token = static_cast<token_id>((static_cast<std::size_t>(token) + 1) % texts.size());
    if (token == 0) {
      REQUIRE(large.reset());
      REQUIRE(small.reset());
      continue;
    }
    REQUIRE(large.accept(token));
    REQUIRE(small.accept(token));
  }
  CHECK(small.statistics().n_masks_built > large.statistics().n_masks_built);
}
