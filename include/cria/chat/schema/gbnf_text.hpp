// SPDX-License-Identifier: MIT
// chat/schema/gbnf_text.hpp - writes pieces of grammars in GBNF notation: literals, classes of characters, the integers of a range, all strings but some.
//
// Ensures   a piece can be put beside any other without changing what either matches: alternatives are in parentheses
// Errors    none, except for memory
#pragma once

#include <cria/core/utf8.hpp>
#include <cria/sampling/grammar/char_set.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Returns a character as an escape that means itself everywhere in the notation.
[[nodiscard]] inline std::string gbnf_escape(char32_t c) {
  constexpr char hex[] = "0123456789abcdef";
  std::string out = c < 0x80 ? "\\x" : "\\U";
  for (int shift = c < 0x80 ? 4 : 28; shift >= 0; shift -= 4) out += hex[c >> shift & 15];
  return out;
}

/// Returns whether a character is an ASCII letter or digit, which needs no escape in a class.
[[nodiscard]] constexpr bool is_ascii_word(char32_t c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// Returns the text between quotes. Requires UTF-8.
[[nodiscard]] inline std::string gbnf_literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += gbnf_escape(byte);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + '"';
}

/// Returns the set as a class in brackets.
[[nodiscard]] inline std::string gbnf_class(const char_set& set) {
  const auto one = [](char32_t c) { return is_ascii_word(c) ? std::string(1, static_cast<char>(c)) : gbnf_escape(c); };
  std::string out = "[";
  for (const char_range& r : set.ranges()) out += r.first == r.last ? one(r.first) : one(r.first) + "-" + one(r.last);
  return out + "]";
}

/// Returns alternatives as one piece. Requires at least one.
[[nodiscard]] inline std::string gbnf_any_of(const std::vector<std::string>& alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  std::string out = "(";
  for (std::size_t i = 0; i < alternatives.size(); ++i) out += (i == 0 ? "" : " | ") + alternatives[i];
  return out + ")";
}

/// Digits, by their place in numbers of one length.
class digit_ranges {
 public:
  /// Returns the numbers from `low` to `high`, without leading zeros. Requires low <= high < 10^19.
  [[nodiscard]] static std::string between(std::uint64_t low, std::uint64_t high) {
    std::vector<std::string> by_length;
    std::uint64_t first = 0, last = 9;
    for (std::size_t length = 1; length <= 19; ++length) {
      if (first <= high && last >= low) by_length.push_back(same_length(std::to_string(std::max(first, low)), std::to_string(std::min(last, high)), 0));
      first = last + 1;
      if (length < 19) last = last * 10 + 9;
    }
    return gbnf_any_of(by_length);
  }

 private:
  [[nodiscard]] static std::string digit(char first, char last) {
    return first == last ? std::string("\"") + first + "\"" : std::string("[") + first + "-" + last + "]";
  }
  [[nodiscard]] static std::string any(std::size_t n) { return n == 0 ? "" : n == 1 ? " [0-9]" : " [0-9]{" + std::to_string(n) + "}"; }

  /// Digits from place i on that make a number of at least (at most) `bound`.
  [[nodiscard]] static std::string bounded(const std::string& bound, std::size_t i, bool at_least) {
    if (i == bound.size()) return "";
    std::vector<std::string> ways;
    const char edge = at_least ? '9' : '0';
    ways.push_back(digit(bound[i], bound[i]) + bounded(bound, i + 1, at_least));
    if (bound[i] != edge) {
      const auto next = static_cast<char>(at_least ? bound[i] + 1 : bound[i] - 1);
      ways.push_back((at_least ? digit(next, '9') : digit('0', next)) + any(bound.size() - i - 1));
    }
    return " " + gbnf_any_of(ways);
  }

  [[nodiscard]] static std::string same_length(const std::string& low, const std::string& high, std::size_t i) {
    if (i == low.size()) return "";
    if (low[i] == high[i]) return digit(low[i], low[i]) + (i + 1 == low.size() ? "" : " ") + same_length(low, high, i + 1);
    std::vector<std::string> ways{digit(low[i], low[i]) + bounded(low, i + 1, true), digit(high[i], high[i]) + bounded(high, i + 1, false)};
    if (high[i] - low[i] > 1) ways.push_back(digit(static_cast<char>(low[i] + 1), static_cast<char>(high[i] - 1)) + any(low.size() - i - 1));
    return gbnf_any_of(ways);
  }
};

/// Characters that stand for themselves in a JSON string; control characters but for escapes are never written.
[[nodiscard]] inline char_set json_plain_chars() { return char_set({{'"', '"'}, {'\\', '\\'}, {0, 0x1f}, {0x7f, 0x7f}}).complement(); }

/// Returns the rules of a quoted key, written without escapes, that is none of the names; the first is called `name`.
[[nodiscard]] inline std::vector<std::pair<std::string, std::string>> keys_other_than(const std::vector<std::string>& names, const std::string& name) {
  struct node {
    std::map<char32_t, std::size_t> children;
    bool is_name = false;
  };
  const char_set plain = json_plain_chars();
  std::vector<node> tree(1);
  for (const std::string& n : names) {
    std::size_t at = 0;
    bool is_plain = true;
    for (std::size_t i = 0; i < n.size();) {
      const utf8_char c = decode_utf8(n, i);
      is_plain &= plain.contains(c.code);
      i += c.length;
      const auto [child, is_new] = tree[at].children.emplace(c.code, tree.size());
      at = child->second;
      if (is_new) tree.emplace_back();
    }
    tree[at].is_name |= is_plain;
  }
  std::vector<std::pair<std::string, std::string>> rules{{name, "\"\\\"\" " + name + "-0"}};
  for (std::size_t i = 0; i < tree.size(); ++i) {
    std::vector<std::string> ways;
    std::vector<char_range> others = plain.complement().ranges();
    if (!tree[i].is_name) ways.push_back("\"\\\"\"");
    for (const auto& [c, child] : tree[i].children) {
      others.push_back({c, c});
      if (plain.contains(c)) ways.push_back(gbnf_class(char_set({{c, c}})) + " " + name + "-" + std::to_string(child));
    }
    ways.push_back(gbnf_class(char_set(std::move(others)).complement()) + " " + gbnf_class(plain) + "* \"\\\"\"");
    rules.push_back({name + "-" + std::to_string(i), gbnf_any_of(ways)});
  }
  return rules;
}

}  // namespace cria::inline v0_1_0::detail
