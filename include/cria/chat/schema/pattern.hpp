// SPDX-License-Identifier: MIT
// chat/schema/pattern.hpp - a regular expression of a JSON schema as a grammar of what stands between the quotes of a JSON string.
//
//   characters  .  [a-z] [^x]  \d \w \s \D \W \S  \n \r \t \f \v \xHH \uHHHH, \ before punctuation     (a|b)  (?:a)     * + ? {m} {m,} {m,n}
//   ^ and $ at the ends of the alternatives; without them the text goes on there, as patterns of schemas are searched for
// Ensures   what the grammar makes matches the pattern; of . and negated classes it makes no control characters, of \d \w \s and their opposites ASCII only
// Errors    syntax: what is not in the list above, with its byte offset; limit_exceeded: groups in groups. Lazy operators match the same texts.
// Source    JSON Schema 2020-12, core 6.4: the subset of ECMA-262 that it recommends
#pragma once

#include <cria/chat/schema/gbnf_text.hpp>
#include <cria/core/result.hpp>
#include <cria/core/utf8.hpp>
#include <cria/sampling/grammar/char_set.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Turns one regular expression into a piece of a grammar; used once.
class pattern_compiler {
 public:
  /// any_char: the rule of any character of a JSON string. `where` is for errors.
  pattern_compiler(std::string_view pattern, std::string_view any_char, std::string_view where) : text_(pattern), any_char_(any_char), where_(where) {}

  [[nodiscard]] result<std::string> compile() {
    std::vector<std::string> alternatives;
    do {
      const bool is_begun = take('^');
      CRIA_TRY(std::string one, parse_sequence(0));
      const bool is_ended = take('$');
      if (at_ < text_.size() && text_[at_] != '|') return fail(errc::syntax, text_[at_] == ')' ? "a ) without its (" : "an anchor that is not at an end");
      const std::string rest = " " + std::string(any_char_) + "* ";
      alternatives.push_back((is_begun ? "" : rest) + one + (is_ended ? "" : rest));
    } while (take('|'));
    return "(" + gbnf_any_of(alternatives) + ")";
  }

 private:
  static constexpr std::size_t most_nesting = 50;

  [[nodiscard]] error fail(errc code, const std::string& message) const {
    return {code, where_, "pattern \"" + printable(text_) + "\": " + message + ", at its byte " + std::to_string(at_)};
  }
  [[nodiscard]] char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
  [[nodiscard]] bool take(char c) noexcept {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  [[nodiscard]] result<std::string> parse_sequence(std::size_t depth) {
    std::string out;
    while (at_ < text_.size() && text_[at_] != '|' && text_[at_] != ')' && text_[at_] != '$') {
      CRIA_TRY(const std::string atom, parse_atom(depth));
      CRIA_TRY(const std::string repeated, parse_quantifier());
      out += (out.empty() ? "" : " ") + atom + repeated;
    }
    return out.empty() ? std::string("\"\"") : out;
  }

  [[nodiscard]] result<std::string> parse_atom(std::size_t depth) {
    const char c = peek();
    if (c == '(') return parse_group(depth);
    if (c == '[') return parse_class();
    if (take('.')) return content(char_set({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).complement(), true);
    if (c == '\\') {
      CRIA_TRY(const escape e, parse_escape(false));
      return content(e.set, e.is_negated);
    }
    if (c == '*' || c == '+' || c == '?' || c == '{') return fail(errc::syntax, "there is nothing to repeat");
    if (c == '^') return fail(errc::syntax, "an anchor that is not at an end");
    const utf8_char one = decode_utf8(text_, at_);
    at_ += one.length;
    return content(char_set({{one.code, one.code}}), false);
  }

  [[nodiscard]] result<std::string> parse_group(std::size_t depth) {
    if (depth == most_nesting) return fail(errc::limit_exceeded, "more than " + std::to_string(depth) + " groups inside each other");
    ++at_;
    if (take('?') && !take(':')) return fail(errc::syntax, "groups with ? other than (?: are not supported");
    std::vector<std::string> alternatives;
    do {
      CRIA_TRY(std::string one, parse_sequence(depth + 1));
      alternatives.push_back(std::move(one));
      if (peek() == '$') return fail(errc::syntax, "an anchor that is not at an end");
    } while (take('|'));
    if (!take(')')) return fail(errc::syntax, "a ( without its )");
    return alternatives.size() == 1 ? "(" + alternatives[0] + ")" : gbnf_any_of(alternatives);
  }

  [[nodiscard]] result<std::string> parse_quantifier() {
    std::string out;
    if (peek() == '*' || peek() == '+' || peek() == '?') {
      out = text_[at_++];
    } else if (peek() == '{') {
      const std::size_t end = text_.find('}', at_);
      const std::string_view inside = end == text_.npos ? std::string_view{} : text_.substr(at_ + 1, end - at_ - 1);
      const std::size_t comma = inside.find(',');
      const auto is_number = [](std::string_view s) { return !s.empty() && s.size() <= 6 && s.find_first_not_of("0123456789") == s.npos; };
      const bool is_valid = is_number(inside.substr(0, comma)) && (comma == inside.npos || comma + 1 == inside.size() || is_number(inside.substr(comma + 1)));
      if (!is_valid) return fail(errc::syntax, "{ that begins no repetition");
      at_ = end + 1;
      out = "{" + std::string(inside) + "}";
    }
    if (!out.empty()) static_cast<void>(take('?'));   // lazy: the same texts
    if (peek() == '*' || peek() == '+' || peek() == '?') return fail(errc::syntax, "an operator behind an operator");
    return out;
  }

  struct escape {
    char_set set;
    bool is_negated = false;
    bool is_kind = false;   // of characters: \d, \w, \s and their opposites
  };

  [[nodiscard]] result<escape> parse_escape(bool in_class) {
    ++at_;
    const char c = peek();
    if (at_ == text_.size()) return fail(errc::syntax, "\\ at the end");
    ++at_;
    // Validators differ on what beyond ASCII is a digit, a letter or a space, so only what all agree on is made.
    const char_set digits({{'0', '9'}}), word({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}), space({{'\t', '\r'}, {' ', ' '}});
    switch (c) {
      case 'd': return escape{digits, false, true};
      case 'w': return escape{word, false, true};
      case 's': return escape{space, false, true};
      case 'D': return escape{digits.complement().within(0, 0x7f), true, true};
      case 'W': return escape{word.complement().within(0, 0x7f), true, true};
      case 'S': return escape{space.complement().within(0, 0x7f), true, true};
      default: break;
    }
    constexpr std::string_view names = "nrtfv", values = "\n\r\t\f\v";
    if (const std::size_t i = names.find(c); i != names.npos) return single(static_cast<unsigned char>(values[i]));
    if (c == 'b' && in_class) return single('\b');
    if (c == 'x') return parse_hex(2);
    if (c == 'u') return parse_hex(4);
    if (static_cast<unsigned char>(c) >= 0x80 || is_ascii_word(static_cast<unsigned char>(c))) return fail(errc::syntax, "an escape that is not supported");
    return single(static_cast<unsigned char>(c));
  }

  [[nodiscard]] static escape single(char32_t c) { return escape{char_set({{c, c}}), false, false}; }

  [[nodiscard]] result<escape> parse_hex(std::size_t n_digits) {
    constexpr std::string_view digits = "0123456789abcdefABCDEF";
    char32_t code = 0;
    for (std::size_t i = 0; i < n_digits; ++i) {
      const std::size_t digit = at_ < text_.size() ? digits.find(text_[at_]) : digits.npos;
      if (digit == digits.npos) return fail(errc::syntax, "an escape without its hexadecimal digits");
      code = code << 4 | static_cast<char32_t>(digit < 16 ? digit : digit - 6);
      ++at_;
    }
    if (code >= 0xd800 && code < 0xe000) return fail(errc::syntax, "half a surrogate pair");
    return single(code);
  }

  [[nodiscard]] result<std::string> parse_class() {
    ++at_;
    const bool is_negated = take('^');
    std::vector<char_range> ranges;
    bool has_negated_part = false, has_kind = false;
    while (!take(']')) {
      if (at_ == text_.size()) return fail(errc::syntax, "a [ without its ]");
      CRIA_TRY(const escape first, parse_class_part());
      has_negated_part |= first.is_negated;
      has_kind |= first.is_kind;
      const bool is_range = peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
      if (!is_range) {
        ranges.insert(ranges.end(), first.set.ranges().begin(), first.set.ranges().end());
        continue;
      }
      ++at_;
      CRIA_TRY(const escape last, parse_class_part());
      const auto code_of = [](const escape& e) -> std::optional<char32_t> {
        const auto& all = e.set.ranges();
        return all.size() == 1 && all[0].first == all[0].last ? std::optional(all[0].first) : std::nullopt;
      };
      if (!code_of(first) || !code_of(last) || *code_of(last) < *code_of(first)) return fail(errc::syntax, "a range without two ascending ends");
      ranges.push_back({*code_of(first), *code_of(last)});
    }
    char_set set(std::move(ranges));
    if (is_negated) set = has_kind ? set.complement().within(0, 0x7f) : set.complement();
    return content(set, is_negated || has_negated_part);
  }

  [[nodiscard]] result<escape> parse_class_part() {
    if (peek() == '\\') return parse_escape(true);
    const utf8_char one = decode_utf8(text_, at_);
    at_ += one.length;
    return single(one.code);
  }

  /// Returns the characters as they stand between quotes.
  [[nodiscard]] result<std::string> content(const char_set& set, bool is_open) const {
    std::vector<std::string> ways;
    std::vector<char_range> plain;
    const char_set all_plain = json_plain_chars();
    for (const char_range& r : all_plain.ranges()) {
      const char_set part = set.within(r.first, r.last);
      plain.insert(plain.end(), part.ranges().begin(), part.ranges().end());
    }
    if (!plain.empty()) ways.push_back(gbnf_class(char_set(std::move(plain))));
    constexpr std::string_view escaped = "\"\\\n\r\t\b\f", names = "\"\\nrtbf";
    for (char32_t c = 0; c <= 0x7f; ++c) {
      const bool is_control = c < 0x20 || c == 0x7f;
      if (!set.contains(c) || (!is_control && c != '"' && c != '\\') || (is_control && is_open)) continue;
      const std::size_t i = escaped.find(static_cast<char>(c));
      constexpr char hex[] = "0123456789abcdef";
      ways.push_back(gbnf_literal(i != escaped.npos ? std::string("\\") + names[i] : std::string("\\u00") + hex[c >> 4] + hex[c & 15]));
    }
    if (ways.empty()) return fail(errc::syntax, "a class that no character is in");
    return gbnf_any_of(ways);
  }

  std::string_view text_, any_char_, where_;
  std::size_t at_ = 0;
};

}  // namespace cria::inline v0_1_0::detail
