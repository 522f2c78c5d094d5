// SPDX-License-Identifier: MIT
#include <cria/tokenizer/special_matcher.hpp>

#include <doctest/doctest.h>

#include <tests/tokenizer/timing.hpp>

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

constexpr auto all = [](token_kind kind) { return kind == token_kind::control; };

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
  const special_matcher matcher(v, all);
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
    if (matches(special_matcher(v, all), v, text) != matches_slowly(texts, text)) FAIL_CHECK("round " << round);
  }
}

TEST_CASE("special_matcher: only kinds that are asked for, and nothing longer than its limit") {
  vocabulary v = with({"aa", "bb", std::string(special_matcher::max_length, 'c'), std::string(special_matcher::max_length + 1, 'd')});
  v.kinds[1] = token_kind::user_defined;
  CHECK(matches(special_matcher(v, all), v, "aabb") == "0:0");
  CHECK(matches(special_matcher(v, [](token_kind k) { return k == token_kind::user_defined; }), v, "aabb") == "2:1");
  CHECK(matches(special_matcher(v, all), v, std::string(special_matcher::max_length, 'c')) == "0:2");
  CHECK(matches(special_matcher(v, all), v, std::string(special_matcher::max_length + 1, 'd')) == "");
  CHECK(matches(special_matcher(), v, "aabb") == "");
}

TEST_CASE("special_matcher: a megabyte of beginnings of tokens takes well below a second") {
  std::vector<std::string> texts;
  for (std::size_t n = 1; n < 200; ++n) texts.push_back(std::string(n, '<') + "|");  // each place begins all of them and ends none
  for (int n = 0; n < 300; ++n) texts.push_back("(|reserved_special_token_" + std::to_string(n) + "|>");
  const vocabulary v = with(texts);
  const special_matcher matcher(v, all);
  for (const std::string& unit : {std::string("<"), std::string("(|reserved_special_token_"), std::string("x")}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    std::optional<special_matcher::match> match;
    const double seconds = cria_test::seconds_of([&] { match = matcher.find(v, text, 0); });
    CHECK(!match);
    CHECK(seconds < 1 * cria_test::slowness);
  }
}
