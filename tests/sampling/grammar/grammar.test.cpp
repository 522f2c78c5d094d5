// SPDX-License-Identifier: MIT
// The notation and the matching. Checked against std::regex, against a table of all spans (context-free grammars) and against every code point.
#include <cria/core/random.hpp>
#include <cria/sampling/grammar/grammar.hpp>
#include <cria/sampling/grammar/matcher.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

using namespace cria;

namespace {

grammar parse(const std::string& text, const grammar_limits& limits = {}) {
  auto g = grammar::parse(text, limits);
  CAPTURE(text);
  if (!g) FAIL(g.error().to_string());
  return *std::move(g);
}

grammar_matcher matcher_of(const grammar& g, const grammar_matcher_limits& limits = {}) {
  auto m = grammar_matcher::create(g, limits);
  REQUIRE(m);
  return *std::move(m);
}

enum class fit { no, begins, whole };

/// How a text fits: from the empty text, in one piece.
fit fit_of(grammar_matcher& m, std::string_view text) {
  REQUIRE(m.reset());
  const auto fits = m.advance(text);
  REQUIRE(fits);
  return !*fits ? fit::no : m.accepts() ? fit::whole : fit::begins;
}

bool matches(const std::string& gbnf, std::string_view text) {
  grammar_matcher m = matcher_of(parse(gbnf));
  return fit_of(m, text) == fit::whole;
}

struct refusal {
  errc code;
  std::string where, message;
};

refusal refusal_of(const std::string& text, const grammar_limits& limits = {}) {
  const auto g = grammar::parse(text, limits);
  CAPTURE(text.substr(0, 80));
  REQUIRE_FALSE(g);
  return {g.error().code, g.error().where, g.error().message};
}

/// All texts of up to `longest` letters of an alphabet, the empty one first.
std::vector<std::string> all_texts(std::string_view alphabet, std::size_t longest) {
  std::vector<std::string> texts{""};
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].size() == longest) break;
    for (const char c : alphabet) texts.push_back(texts[i] + c);
  }
  return texts;
}

std::string repeat(std::string_view text, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("grammar: each construct of the notation matches what it says and nothing else") {
  struct sample {
    std::string gbnf;
    std::vector<std::string> whole, others;
  };
  const sample samples[] = {
      {"root ::= \"ab\"", {"ab"}, {"", "a", "abc", "b"}},
      {"root ::= \"\"", {""}, {"a"}},
      {"root ::= ", {""}, {"a"}},
      {"root ::= | \"a\"", {"", "a"}, {"aa"}},
      {"root ::= \"a\" | \"b\" \"c\"", {"a", "bc"}, {"ac", "b", "c"}},
      {"root ::= \"a\" |\n  \"b\"", {"a", "b"}, {""}},
      {"root ::= \"a\"\n  | \"b\" # behind\n\n# between\n  | \"c\"\n", {"a", "b", "c"}, {""}},
      {"root ::= [a-c]", {"a", "b", "c"}, {"d", "-", "A"}},
      {"root ::= [^a-c]", {"d", "-", "\n", "\xc3\xa4", "\xf0\x9f\x99\x82"}, {"a", "c", "", "\xc3", "\x80"}},
      {"root ::= [a-]", {"a", "-"}, {"b"}},
      {"root ::= [-a]", {"a", "-"}, {"b"}},
      {"root ::= [+-]", {"+", "-"}, {","}},
      {"root ::= [\\]\\[\\\\\\-\\^]", {"]", "[", "\\", "-", "^"}, {"a"}},
      {"root ::= [^]", {"a", "\n"}, {""}},
      {"root ::= [a^]", {"a", "^"}, {"b"}},
      {"root ::= .", {"a", "\n", "\xc3\xa4"}, {"", "ab", "\xc3", "\xff"}},
      {"root ::= \"\\n\\r\\t\\\\\\\"\\x41\\u00e4\\U0001F642\"", {"\n\r\t\\\"A\xc3\xa4\xf0\x9f\x99\x82"}, {""}},
      {"root ::= \"\\x80\"", {"\xc2\x80"}, {"\x80"}},
      {"root ::= \"a\"*", {"", "a", "aaaa"}, {"b", "ab"}},
      {"root ::= \"a\"+", {"a", "aa"}, {"", "b"}},
      {"root ::= \"a\"?", {"", "a"}, {"aa"}},
      {"root ::= \"ab\"{2}", {"abab"}, {"ab", "ababab", "abb"}},
      {"root ::= \"a\"{0}", {""}, {"a"}},
      {"root ::= \"a\"{2,}", {"aa", "aaaaa"}, {"", "a"}},
      {"root ::= \"a\"{ 1 , 3 }", {"a", "aa", "aaa"}, {"", "aaaa"}},
      {"root ::= \"a\"{0,2} \"b\"", {"b", "ab", "aab"}, {"aaab", "a"}},
      {"root ::= [ab]{2,3}", {"ab", "bba"}, {"a", "abab"}},
      {"root ::= (\"a\" | \"b\")+ \"c\"", {"ac", "babc"}, {"c", "ab"}},
      {"root ::= ((((\"a\"))))", {"a"}, {""}},
      {"root ::= (\n \"a\" # one\n \"b\"\n)*", {"", "ab", "abab"}, {"a"}},
      {"root ::= (\"a\"*)*", {"", "a", "aaa"}, {"b"}},
      {"root ::= (\"a\"?)+ \"b\"", {"b", "aab"}, {"a"}},
      {"root ::= \"a\"+*", {"", "aa"}, {"b"}},
      {"root ::= \"a\"* \"b\"* \"a\"*", {"", "aabba", "ba"}, {"abab"}},
      {"root ::= \"a\"* \"b\" | \"c\"", {"b", "aab", "c"}, {"ac", "a"}},
      {"root ::= x y\nx ::= \"1\"\ny ::= x \"2\"", {"112"}, {"12"}},
      {"root::=a_b-C9\r\na_b-C9::=\"x\"\r\n", {"x"}, {""}},
      {"x ::= \"(\" x \")\" | \"\"\nroot ::= x", {"", "()", "(())"}, {"(", ")", "(()"}},
      {"root ::= \"a\"{3}{2}", {"aaaaaa"}, {"aaa", "aaaaa"}},
      {"root ::= e e \"a\" e\ne ::= \"\" | e2\ne2 ::= \"\"*", {"a"}, {"", "aa"}},
      {"root ::= [\xe3\x81\x81-\xe3\x82\x9f]+", {"\xe3\x81\x82\xe3\x81\x84"}, {"\xe3\x82\xa1", "a"}},
      {"root ::= \"\xc3\xa4\"?", {"", "\xc3\xa4"}, {"\xc3"}},
  };
  for (const sample& s : samples) {
    CAPTURE(s.gbnf);
    grammar_matcher m = matcher_of(parse(s.gbnf));
    for (const std::string& text : s.whole) {
      CAPTURE(text);
      CHECK(fit_of(m, text) == fit::whole);
    }
    for (const std::string& text : s.others) {
      CAPTURE(text);
      CHECK(fit_of(m, text) != fit::whole);
    }
  }
}

TEST_CASE("grammar: what does not parse is refused with its line and column") {
  struct sample {
    std::string gbnf, where, message;
    errc code = errc::syntax;
  };
  const sample samples[] = {
      {"", "line 1, column 1", "no rule \"root\""},
      {"x ::= \"a\"", "line 1, column 1", "no rule \"root\""},
      {"root ::= x", "line 1, column 10", "rule \"x\" is not defined"},
      {"root ::= \"a\"\nx ::= y", "line 2, column 7", "rule \"y\" is not defined"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1", "defined twice"},
      {"root = \"a\"", "line 1, column 6", "::= is expected"},
      {"::= \"a\"", "line 1, column 1", "name of a rule"},
      {"root ::= \"a", "line 1, column 10", "closing \""},
      {"root ::= [a", "line 1, column 10", "closing ]"},
      {"root ::= []", "line 1, column 10", "no character"},
      {"root ::= [z-a]", "line 1, column 11", "backwards"},
      {"root ::= [\\uD800]", "line 1, column 11", "no character"},
      {"root ::= \"\\U00110000\"", "line 1, column 11", "no character"},
      {"root ::= \"\\x4\"", "line 1, column 11", "2 hexadecimal digits"},
      {"root ::= \"\\q\"", "line 1, column 11", "unknown escape"},
      {"root ::= \"\\", "line 1, column 11", "unknown escape"},
      {"root ::= \"\xff\"", "line 1, column 11", "not UTF-8"},
      {"root ::= (\"a\"", "line 1, column 10", "without its )"},
      {"root ::= (\"a\" =", "line 1, column 15", "a symbol, | or )"},
      {"root ::= \"a\")", "line 1, column 13", "without its ("},
      {"root ::= *", "line 1, column 10", "nothing to repeat"},
      {"root ::= \"a\" | +", "line 1, column 16", "nothing to repeat"},
      {"root ::= \"a\"{", "line 1, column 14", "number"},
      {"root ::= \"a\"{,2}", "line 1, column 14", "number"},
      {"root ::= \"a\"{2", "line 1, column 15", "} is expected"},
      {"root ::= \"a\"{3,2}", "line 1, column 13", "n less than m"},
      {"root ::= \"a\" ; \"b\"", "line 1, column 14", "end of the line"},
      {"root ::= <think>", "line 1, column 10", "tokens are not supported"},
      {"root ::= !<[7]>", "line 1, column 10", "tokens are not supported"},
      {"\n\n root ::= \"\xc3\xa4\" ~", "line 3, column 15", "end of the line"},
      {"root ::= root \"a\" | \"b\"", "line 1, column 1", "\"root\" -> \"root\"", errc::bad_value},
      {"root ::= \"a\"\nx ::= y\ny ::= (\"\" | \"z\")? x", "line 2, column 1", "\"x\" -> \"y\" -> \"x\"", errc::bad_value},
      {"root ::= (root)* \"a\"", "line 1, column 1", "left recursion", errc::bad_value},
      {"root ::= \"a\" root", "line 1, column 1", "matches nothing", errc::bad_value},
      {"root ::= x x\nx ::= \"a\" y\ny ::= \"b\" x", "line 1, column 1", "matches nothing", errc::bad_value},
      {"root ::= \"a\"{10001}", "line 1, column 14", "more than 10000 repetitions", errc::limit_exceeded},
      {"root ::= \"a\"{99999999999999999999}", "line 1, column 14", "more than 10000 repetitions", errc::limit_exceeded},
      {"root ::= " + repeat("(", 201) + "\"a\"" + repeat(")", 201), "line 1, column 210", "200 groups", errc::limit_exceeded},
      {"root ::= " + repeat("(", 100000), "line 1, column 210", "200 groups", errc::limit_exceeded},
      {"root ::= " + repeat("\"ab\"? ", 20001), "line 1, column 120008", "20000 rules", errc::limit_exceeded},
      {"root ::= " + repeat("[a]? ", 3000), "line 1, column 1", "too many ways", errc::limit_exceeded},
      {"root ::= " + repeat("[a]{9999} ", 30), "rule root", "places", errc::limit_exceeded},
      {std::string((std::size_t{1} << 20) + 1, ' '), "line 1, column 1", "1048577 bytes", errc::limit_exceeded},
  };
  for (const sample& s : samples) {
    CAPTURE(s.message);
    const refusal r = refusal_of(s.gbnf);
    CHECK(r.code == s.code);
    CHECK(r.where == s.where);
    CAPTURE(r.message);
    CHECK(r.message.find(s.message) != std::string::npos);
  }
}

TEST_CASE("grammar: dead ends are no part of it: what begins can be completed") {
  // b never ends, so "x" leads nowhere and is not allowed.
  grammar_matcher m = matcher_of(parse("root ::= \"x\" b | \"y\" \"z\"\nb ::= \"q\" b"));
  CHECK(fit_of(m, "x") == fit::no);
  CHECK(fit_of(m, "y") == fit::begins);
  CHECK(fit_of(m, "yz") == fit::whole);
  CHECK_FALSE(m.goes_on());
}

TEST_CASE("grammar: repetitions of groups are not copied, so big counts stay small") {
  const grammar g = parse("root ::= (((\"ab\"){1000}){1000}){1000}");
  CHECK(g.n_positions() < 4000);
  grammar_matcher m = matcher_of(g);
  CHECK(fit_of(m, repeat("ab", 2500)) == fit::begins);
  CHECK(fit_of(m, repeat("ab", 2500) + "b") == fit::no);
}

TEST_CASE("grammar: a class is its code points, all 1,112,064 of them tried, and nothing that is not UTF-8") {
  const std::string classes[] = {".", "[^\"\\\\\\x00-\\x1f]", "[\\u0080-\\u0800\\uD7FF-\\uE001\\uFFFF-\\U00010000\\U0010FFFF]", "[\\u07f3-\\u0912]",
                                 "[\\U0000A123-\\U00054321]", "[^\\u0020-\\U000FFFFE]"};
  const std::vector<detail::char_range> ranges[] = {{{0, 0x10ffff}},
                                                    {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x10ffff}},
                                                    {{0x80, 0x800}, {0xd7ff, 0xe001}, {0xffff, 0x10000}, {0x10ffff, 0x10ffff}},
                                                    {{0x7f3, 0x912}},
                                                    {{0xa123, 0x54321}},
                                                    {{0, 0x1f}, {0xfffff, 0x10ffff}}};
  for (std::size_t i = 0; i < std::size(classes); ++i) {
    CAPTURE(classes[i]);
    grammar_matcher m = matcher_of(parse("root ::= " + classes[i]));
    auto& a = m.automaton();
    std::size_t n_wrong = 0;
    std::string text;
    for (char32_t c = 0; c <= 0x10ffff; ++c) {
      if (c >= 0xd800 && c < 0xe000) continue;
      text.clear();
      detail::append_utf8(text, c);
      std::uint32_t s = m.state();
      for (const char byte : text) s = a.step(s, static_cast<unsigned char>(byte));
      bool is_in = false;
      for (const auto& r : ranges[i]) is_in |= r.first <= c && c <= r.last;
      n_wrong += (s != 0 && a.accepts(s)) != is_in;
    }
    CHECK(n_wrong == 0);
  }
  // Every sequence of a lead and two more bytes: whole characters are those that the decoder takes for one.
  grammar_matcher m = matcher_of(parse("root ::= ."));
  auto& a = m.automaton();
  std::size_t n_wrong = 0;
  for (unsigned x = 0x80; x < 0x100; ++x) {
    for (unsigned y = 0; y < 0x100; ++y) {
      const std::uint32_t two = a.step(a.step(m.state(), static_cast<unsigned char>(x)), static_cast<unsigned char>(y));
      for (unsigned z = 0x70; z < 0xd0; ++z) {
        const std::string text{static_cast<char>(x), static_cast<char>(y), static_cast<char>(z)};
        const bool is_char = detail::decode_utf8(text, 0).length == 3;
        n_wrong += a.accepts(a.step(two, static_cast<unsigned char>(z))) != is_char;
      }
    }
  }
  CHECK(n_wrong == 0);
}

namespace {

/// One random expression in both notations, over the letters a, b, c.
struct expression {
  std::string gbnf, regex;
};

expression random_expression(random_generator& random, int depth) {
  const auto pick = [&](unsigned n) { return static_cast<unsigned>(random.next() % n); };
  switch (depth == 0 ? pick(3) : pick(7)) {
    case 0: return {"\"a\"", "a"};
    case 1: return {"[b-c]", "[b-c]"};
    case 2: return {"[^b]", "[^b]"};
    case 3: {
      const expression x = random_expression(random, depth - 1), y = random_expression(random, depth - 1);
      return {x.gbnf + " " + y.gbnf, x.regex + y.regex};
    }
    case 4: {
      const expression x = random_expression(random, depth - 1), y = random_expression(random, depth - 1);
      return {"(" + x.gbnf + " | " + y.gbnf + ")", "(?:" + x.regex + "|" + y.regex + ")"};
    }
    default: {
      constexpr const char* operators[] = {"*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}"};
      const expression x = random_expression(random, depth - 1);
      const std::string op = operators[pick(7)];
      return {"(" + x.gbnf + ")" + op, "(?:" + x.regex + ")" + op};
    }
  }
}

}  // namespace

TEST_CASE("grammar: 250 random regular expressions match the texts that std::regex matches, and live prefixes are those of matches") {
  random_generator random(11);
  const auto texts = all_texts("abc", 5);
  std::size_t n_matches = 0;
  for (int round = 0; round < 250; ++round) {
    const expression e = random_expression(random, 3);
    CAPTURE(e.gbnf);
    grammar_matcher m = matcher_of(parse("root ::= " + e.gbnf));
    const std::regex reference(e.regex);
    std::set<std::string> live;
    for (auto text = texts.rbegin(); text != texts.rend(); ++text) {
      const bool is_match = std::regex_match(*text, reference);
      const fit got = fit_of(m, *text);
      CAPTURE(*text);
      REQUIRE((got == fit::whole) == is_match);
      if (is_match) {
        ++n_matches;
        for (std::size_t n = 0; n <= text->size(); ++n) live.insert(text->substr(0, n));
      }
      if (live.count(*text) != 0) REQUIRE(got != fit::no);
    }
  }
  CHECK(n_matches > 4000);
}

namespace {

/// A random context-free grammar over a, b: alternatives of up to three symbols, where 'A' to 'D' are rules.
using small_grammar = std::array<std::vector<std::string>, 4>;

small_grammar random_grammar(random_generator& random) {
  small_grammar g;
  for (auto& rule : g) {
    rule.resize(1 + random.next() % 3);
    for (std::string& alternative : rule) {
      for (std::size_t n = random.next() % 4; n > 0; --n) alternative += "aabbABCD"[random.next() % 8];
    }
  }
  return g;
}

std::string gbnf_of(const small_grammar& g) {
  std::string out = "root ::= A\n";
  for (std::size_t r = 0; r < g.size(); ++r) {
    out += std::string(1, static_cast<char>('A' + r)) + " ::= ";
    for (std::size_t i = 0; i < g[r].size(); ++i) {
      if (i != 0) out += " | ";
      if (g[r][i].empty()) out += "\"\"";   // nothing, then the end of the line, would go on with the next line
      for (const char c : g[r][i]) out += c <= 'D' ? std::string(1, c) + " " : "\"" + std::string(1, c) + "\" ";
    }
    out += "\n";
  }
  return out;
}

/// The texts of up to `longest` letters that each rule makes, by making them from shorter ones until nothing is new.
std::array<std::set<std::string>, 4> language_of(const small_grammar& g, std::size_t longest) {
  std::array<std::set<std::string>, 4> made;
  for (bool is_new = true; is_new;) {
    is_new = false;
    for (std::size_t r = 0; r < g.size(); ++r) {
      for (const std::string& alternative : g[r]) {
        std::set<std::string> texts{""};
        for (const char c : alternative) {
          std::set<std::string> longer;
          for (const std::string& text : texts) {
            if (c >= 'a') {
              if (text.size() < longest) longer.insert(text + c);
              continue;
            }
            for (const std::string& part : made[static_cast<std::size_t>(c - 'A')]) {
              if (text.size() + part.size() <= longest) longer.insert(text + part);
            }
          }
          texts = std::move(longer);
        }
        for (const std::string& text : texts) is_new |= made[r].insert(text).second;
      }
    }
  }
  return made;
}

/// Whether some text of up to `longest` more letters completes what the matcher has seen.
bool can_complete(grammar_matcher& m, std::uint32_t from, std::size_t longest) {
  std::set<std::uint32_t> seen{from}, front{from};
  for (std::size_t n = 0; n <= longest && !front.empty(); ++n) {
    std::set<std::uint32_t> next;
    for (const std::uint32_t s : front) {
      if (m.automaton().accepts(s)) return true;
      for (const char letter : {'a', 'b'}) {
        const std::uint32_t to = m.automaton().step(s, static_cast<unsigned char>(letter));
        if (to != 0 && seen.insert(to).second) next.insert(to);
      }
    }
    front = std::move(next);
  }
  return false;
}

}  // namespace

TEST_CASE("grammar: 1,500 random context-free grammars match exactly the texts that can be derived; left recursion and empty languages are refused") {
  random_generator random(5);
  const auto texts = all_texts("ab", 6);
  std::size_t n_matched = 0, n_compared = 0, n_refused = 0;
  for (int round = 0; round < 1500; ++round) {
    const small_grammar g = random_grammar(random);
    const std::string gbnf = gbnf_of(g);
    CAPTURE(gbnf);
    const auto parsed = grammar::parse(gbnf);
    if (!parsed) {
      REQUIRE(parsed.error().code == errc::bad_value);
      ++n_refused;
      continue;
    }
    const auto language = language_of(g, 6)[0];
    grammar_matcher m = matcher_of(*parsed);
    for (const std::string& text : texts) {
      CAPTURE(text);
      const fit got = fit_of(m, text);
      REQUIRE((got == fit::whole) == (language.count(text) != 0));
      n_matched += got == fit::whole;
      if (got != fit::no && text.size() <= 2) REQUIRE(can_complete(m, m.state(), 30));
      ++n_compared;
    }
    for (const std::string& text : language) {
      for (std::size_t n = 0; n < text.size(); ++n) REQUIRE(fit_of(m, text.substr(0, n)) != fit::no);
    }
  }
  CHECK(n_matched > 2000);
  CHECK(n_compared > 30000);
  CHECK(n_refused > 300);
}

TEST_CASE("grammar: ambiguity costs no more than a polynomial") {
  // 2^300 ways to read each of these; the work is counted.
  const std::string grammars[] = {
      "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"",
      "root ::= (\"a\" | \"a\" | [a-b])*",
      "root ::= ((\"a\"*)* (\"a\"*)*)*",
      "root ::= x x x x x x x x\nx ::= \"a\" x | \"a\"",
      "root ::= \"a\" root e | \"a\" e root | \"\"\ne ::= \"\" | \"a\" e",
      "root ::= s\ns ::= \"a\" t t | \"\"\nt ::= s \"\" | u\nu ::= \"a\" | \"a\" s",
  };
  for (const std::string& gbnf : grammars) {
    CAPTURE(gbnf);
    grammar_matcher m = matcher_of(parse(gbnf));
    for (int i = 0; i < 300; ++i) {
      REQUIRE(m.advance("a"));
      CHECK(m.automaton().work() < 200'000);
    }
  }
}

TEST_CASE("grammar: deep recursion stops at max_depth and is not taken for a match; a long tail recursion is no depth at all") {
  grammar_matcher m = matcher_of(parse("root ::= \"(\" root \")\" | \"\""), {.max_depth = 50});
  REQUIRE(*m.advance(repeat("(", 50)));
  CHECK_FALSE(*m.advance("(("));
  CHECK(m.automaton().is_cut());
  CHECK(*m.advance(repeat(")", 50)));
  CHECK(m.accepts());
  CHECK_FALSE(m.goes_on());
  grammar_matcher tail = matcher_of(parse("root ::= \"a\" root | \"b\""), {.max_depth = 3});
  CHECK(*tail.advance(repeat("a", 5000) + "b"));
  CHECK(grammar_matcher::create(parse("root ::= \"a\""), {.max_depth = 0}).error().code == errc::bad_argument);
  CHECK(grammar_matcher::create(parse("root ::= \"a\""), {.max_depth = 100000}).error().code == errc::bad_argument);
}

TEST_CASE("grammar: what is allowed under a small max_depth can be completed under it, in 1,500 random context-free grammars") {
  random_generator random(17);
  const auto texts = all_texts("ab", 6);
  std::size_t n_cut = 0, n_live = 0, n_refused = 0;
  for (int round = 0; round < 1500; ++round) {
    const small_grammar g = random_grammar(random);
    const std::string gbnf = gbnf_of(g);
    CAPTURE(gbnf);
    const auto parsed = grammar::parse(gbnf);
    if (!parsed) continue;
    grammar_matcher unlimited = matcher_of(*parsed);
    for (std::size_t max_depth = 1; max_depth <= 4; ++max_depth) {
      CAPTURE(max_depth);
      auto made = grammar_matcher::create(*parsed, {.max_depth = max_depth});
      if (!made) {
        REQUIRE(made.error().code == errc::limit_exceeded);
        ++n_refused;
        continue;
      }
      for (const std::string& text : texts) {
        CAPTURE(text);
        const fit got = fit_of(*made, text), without = fit_of(unlimited, text);
        n_cut += got != without;
        if (got == fit::no) continue;
        REQUIRE((got == fit::whole ? without == fit::whole : without != fit::no));
        REQUIRE(can_complete(*made, made->state(), 200));
        const auto follows = [&](char letter) { return made->automaton().step(made->state(), static_cast<unsigned char>(letter)) != 0; };
        REQUIRE(made->goes_on() == (follows('a') || follows('b')));
        ++n_live;
      }
    }
  }
  CHECK(n_cut > 1000);
  CHECK(n_live > 10'000);
  CHECK(n_refused > 0);
}

TEST_CASE("grammar: what would not end within max_depth is not begun, and a grammar of which nothing does is refused at once") {
  struct sample {
    std::string gbnf, open;   // what is repeated while it fits
    std::string inner, close;   // what then completes the text: once, and for each time
    std::size_t least_depth;   // below, no text fits
  };
  const std::string small = "a ::= b \"?\"\nb ::= \"y\"";
  const sample samples[] = {
      {"root ::= \"(\" root \")\" | \"x\"", "(", "x", ")", 1},
      {"root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= num | \"(\" expr \")\"\nnum ::= [0-9]+", "(", "1", ")", 1},
      {"root ::= \"(\" root \")\" | \"x\" tail\ntail ::= a \"!\"\n" + small, "(", "xy?!", ")", 2},
      {"root ::= \"(\" root a \"!)\" | a \"!\"\n" + small, "(", "y?!", "y?!)", 2},   // what is behind the call needs more than the call
      {"root ::= \"(\" root \")\" | \"x\" a\n" + small, "(", "xy?", ")", 1},         // a call at the end takes no room
      {"root ::= \"(\" root e \")\" | e \"!\"\ne ::= \"\" | a \"!\"\n" + small, "(", "!", ")", 1},   // nor does a rule that may be empty
  };
  constexpr std::size_t depths[] = {1, 2, 3, 4, 5, 9, 50, 500, 1000};
  for (const sample& s : samples) {
    CAPTURE(s.gbnf);
    const grammar g = parse(s.gbnf);
    for (const std::size_t max_depth : depths) {
      CAPTURE(max_depth);
      auto made = grammar_matcher::create(g, {.max_depth = max_depth});
      REQUIRE(made.has_value() == (max_depth >= s.least_depth));
      if (!made) {
        CHECK(made.error().code == errc::limit_exceeded);
        CHECK(made.error().message.find("2 deep or more") != std::string::npos);
        continue;
      }
      std::size_t n = 0;
      while (*made->advance(s.open)) ++n;
      CHECK(made->automaton().is_cut());
      CHECK(n + 2 >= max_depth / 2);   // two frames for each where the rule has another inside
      CHECK(n <= max_depth + 1);
      CHECK(*made->advance(s.inner + repeat(s.close, n)));
      CHECK(made->accepts());
    }
  }
  // A part that never fits is no part of the texts that do: nothing may follow "a".
  grammar_matcher m = matcher_of(parse("root ::= \"a\" | \"a\" tail \"!\"\ntail ::= a \"!\"\n" + small), {.max_depth = 2});
  CHECK(fit_of(m, "a") == fit::whole);
  CHECK_FALSE(m.goes_on());
}

TEST_CASE("grammar: work and memory beyond the limits are errors that change nothing, and forgetting states changes no answer") {
  const grammar g = parse("root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"");
  grammar_matcher hurried = matcher_of(g, {.max_work = 60});
  const auto refused = hurried.advance(repeat("a", 100));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::limit_exceeded);
  CHECK(*hurried.advance("ab"));
  CHECK(hurried.accepts());

  grammar_matcher small = matcher_of(g, {.max_memory_bytes = 40'000}), large = matcher_of(g);
  for (int i = 0; i < 400; ++i) REQUIRE(*small.advance("a"));
  CHECK(small.automaton().generation() > 1);
  for (int i = 0; i < 400; ++i) REQUIRE(*small.advance(i % 3 == 0 ? "b" : "c"));
  CHECK(small.accepts());
  CHECK_FALSE(small.goes_on());
  CHECK_FALSE(*small.advance("b"));
  const auto too_large = matcher_of(g, {.max_memory_bytes = 2000}).advance(repeat("a", 300));
  REQUIRE_FALSE(too_large);
  CHECK(too_large.error().code == errc::limit_exceeded);
}

TEST_CASE("grammar: a matcher is restored from words, of its own grammar only; altered words are refused or harmless") {
  const grammar g = parse("root ::= \"[\" (item (\",\" item)*)? \"]\"\nitem ::= root | [\\u00e0-\\u00ff]+");
  grammar_matcher m = matcher_of(g), other = matcher_of(g);
  REQUIRE(*m.advance("[[\xc3\xa4,[\xc3"));
  const sampler_state words = m.save();
  REQUIRE(other.restore(words));
  REQUIRE(*other.advance("\xa4]]]"));
  CHECK(other.accepts());
  grammar_matcher copy = m;
  CHECK(*copy.advance("\xa4]"));
  CHECK_FALSE(copy.accepts());
  CHECK(*m.advance("\xa5]]]"));
  CHECK(m.accepts());

  grammar_matcher foreign = matcher_of(parse("root ::= \"[\" [a-z]* \"]\""));
  CHECK(foreign.restore(words).error().code == errc::mismatch);
  random_generator random(3);
  for (std::size_t i = 0; i < words.size(); ++i) {
    for (const std::uint64_t word : {std::uint64_t{0}, ~std::uint64_t{0}, words[i] + 1, words[i] - 1, words[i] ^ (random.next() & 0xffff), random.next()}) {
      sampler_state altered = words;
      altered[i] = word;
      if (other.restore(altered)) {
        for (const char* text : {"]", "\xa4", "[", ","}) CHECK(other.advance(text));
      }
    }
    CHECK_FALSE(other.restore(std::span(words).first(i)));
  }
}

TEST_CASE("grammar: grammars of common formats match what they should") {
  const std::string json = R"(
# RFC 8259
root   ::= ws value ws
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (member ("," ws member)*)? "}"
member ::= string ws ":" ws value ws
array  ::= "[" ws (value ws ("," ws value ws)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [+-]? [0-9]+)?
ws     ::= [ \t\n\r]*)";
  for (const char* text : {"{}", " [1, -2.5e+10, {\"a\": [true,null]}] ", "\"\\u00e4 \xc3\xa4\"", "0", "[[[[]]]]"}) CHECK(matches(json, text));
  for (const char* text : {"", "{", "[1,]", "{\"a\" 1}", "01", "\"\n\"", "tru", "{a:1}", "[1 2]"}) CHECK_FALSE(matches(json, text));

  const std::string list = "root ::= item+\nitem ::= \"- \" [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ \"\\n\"";
  CHECK(matches(list, "- one\n- two \xc3\xa4\n"));
  CHECK_FALSE(matches(list, "- one\xe2\x80\xa8\n"));
  CHECK_FALSE(matches(list, "- \n"));

  const std::string sums = "root ::= (sum \"=\" ws term \"\\n\")+\nsum ::= term ([-+*/] ws term)*\nterm ::= (name | number | \"(\" ws sum \")\") ws\n"
                           "name ::= [a-z] [a-z0-9_]*\nnumber ::= [0-9]+\nws ::= [ \\t]*";
  CHECK(matches(sums, "(a + 1)*b_2 = 7\nx=y\n"));
  CHECK_FALSE(matches(sums, "(a + 1 = 7\n"));

  const std::string moves = "root ::= (number \". \" move \" \" move \"\\n\")+\nnumber ::= [1-9] [0-9]?\n"
                            "move ::= ([NBRQK] [a-h]? [1-8]? \"x\"? [a-h] [1-8] | ([a-h] \"x\")? [a-h] [1-8] (\"=\" [NBRQ])? | \"O-O\" \"-O\"?) [+#]?";
  CHECK(matches(moves, "1. e4 e5\n2. Nf3 Nc6\n3. O-O-O exd8=Q#\n"));
  CHECK_FALSE(matches(moves, "1. e4\n"));
}
