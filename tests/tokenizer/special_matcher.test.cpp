// SPDX-License-Identifier: MIT
#include <cria/tokenizer/special_matcher.hpp>

#include <doctest/doctest.h>

#include <tests/support/timing.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using cria::token_id;
using cria::token_kind;
using cria::detail::special_matcher;
using cria::detail::vocabulary;

namespace {

vocabulary with(const std::vector<std::string>& texts) {
  vocabulary v;
  for (const std::string& text : texts) {
    v.texts.push(text);
    v.kinds.push_back(token_kind::control);
  }
  return v;
}

auto controls_of(const vocabulary& v) {
  return [&v](cria::token_id id) { return v.kind(id) == token_kind::control; };
}

/// Returns the matches as "start:id start:id".
std::string matches(const special_matcher& matcher, const vocabulary& v, std::string_view text) {
  std::string found;
  std::size_t pos = 0;
  while (const auto match = matcher.find(v, text, pos)) {
    found += (found.empty() ? "" : " ") + std::to_string(match->start) + ":" + std::to_string(match->token);
    pos = match->start + match->length;
  }
  return found;
}

/// The definition: at each place the longest token that stands there, the first of equal ones.
std::string matches_slowly(const std::vector<std::string>& texts, std::string_view text) {
  std::string found;
  for (std::size_t pos = 0; pos < text.size();) {
    std::size_t best = texts.size();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (!texts[i].empty() && text.substr(pos).starts_with(texts[i]) && (best == texts.size() || texts[i].size() > texts[best].size())) best = i;
    }
    if (best == texts.size()) {
      ++pos;
      continue;
    }
    found += (found.empty() ? "" : " ") + std::to_string(pos) + ":" + std::to_string(best);
    pos += texts[best].size();
  }
  return found;
}

}  // namespace

TEST_CASE("special_matcher: the leftmost match wins, of those the longest, of equal texts the first id") {
  const std::vector<std::string> texts = {"<s>", "<|im_end|>", "<|im", "<", "<s>", "<|im_start|>", "im_", ""};
  const vocabulary v = with(texts);
  const special_matcher matcher(v, controls_of(v));
  CHECK(matches(matcher, v, "<s>a<|im_end|>") == "0:0 4:1");
  CHECK(matches(matcher, v, "<|im_st<|im_start|>") == "0:2 7:5");
  CHECK(matches(matcher, v, "<<s><") == "0:3 1:0 4:3");
  CHECK(matches(matcher, v, "xim_") == "1:6");
  CHECK(matches(matcher, v, "no tokens") == "");
  CHECK(matches(matcher, v, "") == "");
}

TEST_CASE("special_matcher: finds what a search by the definition finds") {
  std::mt19937 random(2);
  const auto word = [&](std::size_t most, unsigned letters) {
    std::string s;
    for (std::size_t n = random() % (most + 1); n > 0; --n)
      s += static_cast<char>(random() % 5 == 0 ? 0x80 + random() % 2 : 'a' + random() % letters);
    return s;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> texts(1 + random() % 12);
    for (std::string& t : texts) t = word(6, 2);
    const std::string text = word(40, 2 + static_cast<unsigned>(random() % 2));
    const vocabulary v = with(texts);
    if (matches(special_matcher(v, controls_of(v)), v, text) != matches_slowly(texts, text)) FAIL_CHECK("round " << round);
  }
}

TEST_CASE("special_matcher: only kinds that are asked for, and nothing longer than its limit") {
  vocabulary v = with({"aa", "bb", std::string(special_matcher::max_length, 'c'), std::string(special_matcher::max_length + 1, 'd')});
  v.kinds[1] = token_kind::user_defined;
  CHECK(matches(special_matcher(v, controls_of(v)), v, "aabb") == "0:0");
  CHECK(matches(special_matcher(v, [&](cria::token_id id) { return v.kind(id) == token_kind::user_defined; }), v, "aabb") == "2:1");
  CHECK(matches(special_matcher(v, controls_of(v)), v, std::string(special_matcher::max_length, 'c')) == "0:2");
  CHECK(matches(special_matcher(v, controls_of(v)), v, std::string(special_matcher::max_length + 1, 'd')) == "");
  CHECK(matches(special_matcher(), v, "aabb") == "");
}

TEST_CASE("special_matcher: a megabyte of beginnings of tokens takes well below a second") {
  std::vector<std::string> texts;
  for (std::size_t n = 1; n < 200; ++n) texts.push_back(std::string(n, '<') + "|");  // each place begins all of them and ends none
  for (int n = 0; n < 300; ++n) texts.push_back("(|reserved_special_token_" + std::to_string(n) + "|>");
  const vocabulary v = with(texts);
  const special_matcher matcher(v, controls_of(v));
  for (const std::string& unit : {std::string("<"), std::string("(|reserved_special_token_"), std::string("x")}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    std::optional<special_matcher::match> match;
    const double seconds = cria_test::seconds_of([&] { match = matcher.find(v, text, 0); });
    CHECK(!match);
    CHECK(seconds < 1 * cria_test::slowness);
  }
}

TEST_CASE("special_matcher: a way down a thousand tokens that begin with each other is short, and ends where it should") {
  std::vector<std::string> texts = {"a"};
  for (std::size_t n = 1; n < 1000; n += n % 7 == 0 ? 3 : 1) texts.push_back("a!" + std::string(n, '!'));
  const vocabulary v = with(texts);
  const special_matcher matcher(v, controls_of(v));
  for (std::size_t n = 0; n < 1010; ++n) {
    const std::string text = "a" + std::string(n, '!') + "?";
    std::string_view longest = "a";
    for (const std::string& t : texts) {
      if (text.starts_with(t) && t.size() > longest.size()) longest = t;
    }
    CHECK(matcher.find(v, text, 0)->length == longest.size());
  }
  const std::string text(1'000'000, 'a');   // each place stands behind all of them
  std::size_t n_found = 0;
  const double seconds = cria_test::seconds_of([&] {
    for (std::size_t pos = 0; const auto match = matcher.find(v, text, pos); ++n_found) pos = match->start + match->length;
  });
  CHECK(n_found == text.size());
  CHECK(seconds < 1 * cria_test::slowness);
}

TEST_CASE("special_walk: control tokens are found where they touch no foreign byte, user-defined ones anywhere, each place's longest") {
  std::mt19937 random(5);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
  std::size_t n_found = 0, n_hidden = 0;
  for (std::size_t round = 0; round < 2000; ++round) {
    std::vector<std::string> texts;
    vocabulary v;
    for (std::size_t i = 0; i < 6; ++i) {
      std::string text;
      for (std::size_t k = 1 + below(4); k > 0; --k) text += static_cast<char>('a' + below(2));
      if (std::find(texts.begin(), texts.end(), text) != texts.end()) continue;
      texts.push_back(text);
      v.texts.push(text);
      v.kinds.push_back(below(3) == 0 ? token_kind::user_defined : token_kind::control);
    }
    const special_matcher every(v, [](cria::token_id) { return true; }),
        user_defined(v, [&](cria::token_id id) { return v.kind(id) == token_kind::user_defined; });
    std::string text;
    for (std::size_t k = below(24); k > 0; --k) text += static_cast<char>('a' + below(3));
    std::vector<cria::text_range> foreign;
    std::vector<bool> is_foreign(text.size());
    for (std::size_t at = below(6); at < text.size();) {
      const std::size_t length = std::min(1 + below(5), text.size() - at);
      foreign.push_back({at, length});
      std::fill_n(is_foreign.begin() + static_cast<std::ptrdiff_t>(at), length, true);
      at += length + 1 + below(4);
    }
    cria::detail::special_walk walk(v, {every, user_defined}, text, foreign);
    for (std::size_t pos = 0; pos < text.size();) {
      std::size_t best = 0, id = 0;
      for (std::size_t i = 0; i < texts.size(); ++i) {
        if (!std::string_view(text).substr(pos).starts_with(texts[i]) || texts[i].size() <= best) continue;
        const auto first = is_foreign.begin() + static_cast<std::ptrdiff_t>(pos);
        const bool touches =
            std::find(first, first + static_cast<std::ptrdiff_t>(texts[i].size()), true) != first + static_cast<std::ptrdiff_t>(texts[i].size());
        n_hidden += touches && v.kinds[i] == token_kind::control;
        if (touches && v.kinds[i] == token_kind::control) continue;
        best = texts[i].size();
        id = i;
      }
      const auto match = walk.next(pos);
      if (best == 0) {
        CHECK((!match || match->start > pos));
        ++pos;
        continue;
      }
      REQUIRE(match);
      CHECK(match->start == pos);
      CHECK(match->length == best);
      CHECK(static_cast<std::size_t>(match->token) == id);
      pos += best;
      ++n_found;
    }
  }
  CHECK(n_found > 1000);
  CHECK(n_hidden > 1000);
}
