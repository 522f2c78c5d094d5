// SPDX-License-Identifier: MIT
// sampling/grammar/gbnf_parser.hpp - reads the GBNF notation.
//
//   name ::= alternatives           rules; letters, digits, - and _ make a name; the rule `root` is the start
//   a b | c                         sequences and alternatives; a rule goes on behind | and, on the next line, before |
//   "text"  [a-z_]  [^x]  .         literals, classes, any character; escapes \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH (code points)
//   (a b)  a*  a+  a?  a{2} a{2,} a{2,5}   # comment
// Ensures   every rule that is used is defined, once; recursion is bounded by max_nesting
// Errors    syntax (`where` is line and column), limit_exceeded
// Source    the grammars that llama.cpp's documentation describes (grammars/README.md, 2026); its token references <...> are refused
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/utf8.hpp>
#include <cria/sampling/grammar/limits.hpp>
#include <cria/sampling/grammar/rules.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

class gbnf_parser {
 public:
  gbnf_parser(std::string_view text, const grammar_limits& limits) : text_(text), limits_(limits) {}

  [[nodiscard]] result<grammar_rules> parse() {
    if (text_.size() > limits_.max_bytes) return fail(errc::limit_exceeded, at_, std::to_string(text_.size()) + " bytes");
    skip_space(true);
    while (at_ < text_.size()) CRIA_CHECK(parse_rule());
    for (const grammar_rule& rule : out_.rules) {
      if (!rule.is_defined) return fail(errc::syntax, rule.offset, "rule \"" + printable(rule.name) + "\" is not defined");
    }
    const auto root = by_name_.find("root");
    if (root == by_name_.end()) return fail(errc::syntax, 0, "there is no rule \"root\"");
    out_.root = root->second;
    return std::move(out_);
  }

 private:
  using sequence = std::vector<grammar_item>;

  [[nodiscard]] error fail(errc code, std::size_t at, const std::string& message) const {
    return {code, line_and_column(text_, at), "grammar: " + message, at};
  }
  [[nodiscard]] char peek(std::size_t ahead = 0) const noexcept { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  [[nodiscard]] bool take(std::string_view word) noexcept {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  [[nodiscard]] static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
  [[nodiscard]] static bool is_name(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '-' || c == '_';
  }

  void skip_space(bool with_lines) noexcept {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      } else if (c == ' ' || c == '\t' || (with_lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  [[nodiscard]] std::string_view take_name() noexcept {
    const std::size_t start = at_;
    while (is_name(peek())) ++at_;
    return text_.substr(start, at_ - start);
  }

  [[nodiscard]] result<std::uint32_t> add_rule(std::string name, std::size_t at) {
    if (out_.rules.size() == limits_.max_rules) return fail(errc::limit_exceeded, at, "more than " + std::to_string(limits_.max_rules) + " rules and groups");
    out_.rules.push_back({.name = std::move(name), .offset = at});
    return static_cast<std::uint32_t>(out_.rules.size() - 1);
  }

  [[nodiscard]] result<std::uint32_t> rule_called(std::string_view name, std::size_t at) {
    const auto found = by_name_.find(name);
    if (found != by_name_.end()) return found->second;
    CRIA_TRY(const std::uint32_t made, add_rule(std::string(name), at));
    by_name_.emplace(std::string(name), made);
    return made;
  }

  [[nodiscard]] result<void> parse_rule() {
    const std::size_t start = at_;
    const std::string_view name = take_name();
    if (name.empty()) return fail(errc::syntax, at_, "the name of a rule is expected");
    skip_space(false);
    if (!take("::=")) return fail(errc::syntax, at_, "::= is expected");
    CRIA_TRY(const std::uint32_t index, rule_called(name, start));
    if (out_.rules[index].is_defined) return fail(errc::syntax, start, "rule \"" + printable(name) + "\" is defined twice");
    out_.rules[index].is_defined = true;
    out_.rules[index].offset = start;
    skip_space(true);
    CRIA_TRY(out_.rules[index].alternatives, parse_alternatives(0));
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r') {
      return fail(errc::syntax, at_, peek() == ')' ? "a ) without its (" : "a symbol, | or the end of the line is expected");
    }
    skip_space(true);
    return {};
  }

  [[nodiscard]] result<std::vector<sequence>> parse_alternatives(std::size_t depth) {
    std::vector<sequence> alternatives;
    while (true) {
      CRIA_TRY(sequence one, parse_sequence(depth));
      alternatives.push_back(std::move(one));
      const std::size_t end = at_;
      skip_space(true);   // a line that begins with | goes on with the rule
      if (!take("|")) {
        at_ = end;
        return alternatives;
      }
      skip_space(true);
    }
  }

  [[nodiscard]] result<sequence> parse_sequence(std::size_t depth) {
    sequence items;
    std::size_t last = 0;   // where the items begin that an operator would repeat
    bool has_last = false;
    while (at_ < text_.size()) {
      const char c = peek();
      const std::size_t start = at_;
      if (c == '*' || c == '+' || c == '?' || c == '{') {
        if (!has_last) return fail(errc::syntax, at_, "there is nothing to repeat");
        CRIA_CHECK(parse_repetition(items, last));
      } else if (c == '"' || c == '[' || c == '.' || c == '(' || is_name(c)) {
        last = items.size();
        has_last = true;
        CRIA_CHECK(parse_symbol(items, depth));
      } else if (c == '<' || c == '!') {
        return fail(errc::syntax, start, "references to tokens are not supported: write what the token stands for");
      } else {
        break;
      }
      skip_space(depth > 0);
    }
    return items;
  }

  [[nodiscard]] result<void> parse_symbol(sequence& items, std::size_t depth) {
    const std::size_t start = at_;
    const char c = peek();
    if (c == '"') return parse_literal(items);
    if (c == '(') return parse_group(items, depth);
    if (c == '[') {
      CRIA_TRY(char_set set, parse_class());
      items.push_back({false, set_index(std::move(set))});
    } else if (take(".")) {
      items.push_back({false, set_index(char_set::any())});
    } else {
      CRIA_TRY(const std::uint32_t rule, rule_called(take_name(), start));
      items.push_back({true, rule});
    }
    return {};
  }

  [[nodiscard]] result<void> parse_group(sequence& items, std::size_t depth) {
    const std::size_t start = at_++;
    if (depth == limits_.max_nesting) return fail(errc::limit_exceeded, start, "more than " + std::to_string(depth) + " groups inside each other");
    skip_space(true);
    CRIA_TRY(auto alternatives, parse_alternatives(depth + 1));
    if (!take(")")) return fail(errc::syntax, at_ < text_.size() ? at_ : start, at_ < text_.size() ? "a symbol, | or ) is expected" : "a ( without its )");
    CRIA_TRY(const grammar_item group, group_of(std::move(alternatives), start));
    items.push_back(group);
    return {};
  }

  /// Returns what stands for a group: its only symbol, or a rule without a name.
  [[nodiscard]] result<grammar_item> group_of(std::vector<sequence> alternatives, std::size_t at) {
    if (alternatives.size() == 1 && alternatives[0].size() == 1 && alternatives[0][0].min == 1 && alternatives[0][0].max == 1) return alternatives[0][0];
    CRIA_TRY(const std::uint32_t rule, add_rule({}, at));
    out_.rules[rule].is_defined = true;
    out_.rules[rule].alternatives = std::move(alternatives);
    return grammar_item{true, rule};
  }

  [[nodiscard]] result<std::uint32_t> parse_count() {
    const std::size_t start = at_;
    if (!is_digit(peek())) return fail(errc::syntax, at_, "a number is expected");
    std::size_t n = 0;
    while (is_digit(peek())) {
      n = std::min<std::size_t>(n * 10 + static_cast<std::size_t>(text_[at_++] - '0'), grammar_item::no_end);
    }
    if (n > limits_.max_repeat || n == grammar_item::no_end) {
      return fail(errc::limit_exceeded, start, "more than " + std::to_string(limits_.max_repeat) + " repetitions");
    }
    return static_cast<std::uint32_t>(n);
  }

  /// Reads * + ? or {m,n} and lets it repeat the items from `first` on.
  [[nodiscard]] result<void> parse_repetition(sequence& items, std::size_t first) {
    const std::size_t start = at_;
    const char c = text_[at_++];
    std::uint32_t min = c == '+' ? 1 : 0, max = c == '?' ? 1 : grammar_item::no_end;
    if (c == '{') {
      skip_space(false);
      CRIA_TRY(min, parse_count());
      max = min;
      skip_space(false);
      if (take(",")) {
        skip_space(false);
        max = grammar_item::no_end;
        if (peek() != '}') {
          CRIA_TRY(max, parse_count());
        }
        skip_space(false);
      }
      if (!take("}")) return fail(errc::syntax, at_, "} is expected");
      if (max < min) return fail(errc::syntax, start, "{m,n} with n less than m");
    }
    sequence repeated(items.begin() + static_cast<std::ptrdiff_t>(first), items.end());
    items.resize(first);
    if (repeated.empty()) return {};   // "" however often
    CRIA_TRY(grammar_item item, group_of({std::move(repeated)}, start));
    item.min = min, item.max = max;
    items.push_back(item);
    return {};
  }

  [[nodiscard]] result<void> parse_literal(sequence& items) {
    const std::size_t start = at_++;
    while (true) {
      if (at_ == text_.size()) return fail(errc::syntax, start, "a literal without its closing \"");
      if (take("\"")) return {};
      CRIA_TRY(const char32_t code, parse_char());
      items.push_back({false, set_index(char_set({{code, code}}))});
    }
  }

  [[nodiscard]] result<char_set> parse_class() {
    const std::size_t start = at_++;
    const bool is_negated = take("^");
    std::vector<char_range> ranges;
    while (!take("]")) {
      if (at_ == text_.size()) return fail(errc::syntax, start, "a class without its closing ]");
      const std::size_t at = at_;
      CRIA_TRY(const char32_t first, parse_char());
      char32_t last = first;
      if (peek() == '-' && peek(1) != ']' && at_ + 1 < text_.size()) {
        ++at_;
        CRIA_TRY(last, parse_char());
      }
      if (last < first) return fail(errc::syntax, at, "a range that runs backwards");
      ranges.push_back({first, last});
    }
    char_set set(std::move(ranges));
    if (is_negated) set = set.complement();
    if (set.empty()) return fail(errc::syntax, start, "a class that no character is in");
    return set;
  }

  /// Reads a character or an escape. Requires at_ < text_.size().
  [[nodiscard]] result<char32_t> parse_char() {
    const std::size_t start = at_;
    if (peek() != '\\') {
      const utf8_char c = decode_utf8(text_, at_);
      if (c.code == invalid_char) return fail(errc::syntax, start, "text that is not UTF-8");
      at_ += c.length;
      return c.code;
    }
    constexpr std::string_view names = "nrt\\\"[]-^", values = "\n\r\t\\\"[]-^";
    const char name = peek(1);
    at_ += std::min<std::size_t>(2, text_.size() - at_);
    if (const std::size_t i = names.find(name); i != names.npos && name != '\0') return static_cast<char32_t>(values[i]);
    const std::size_t n_digits = name == 'x' ? 2 : name == 'u' ? 4 : name == 'U' ? 8 : 0;
    if (n_digits == 0) return fail(errc::syntax, start, "an unknown escape");
    char32_t code = 0;
    for (std::size_t i = 0; i < n_digits; ++i, ++at_) {
      const auto digit = hex_digit(peek());
      if (!digit) return fail(errc::syntax, start, "an escape without its " + std::to_string(n_digits) + " hexadecimal digits");
      code = code << 4 | *digit;
    }
    if (code > last_char || (code >= 0xd800 && code < 0xe000)) return fail(errc::syntax, start, "an escape that is no character");
    return code;
  }

  [[nodiscard]] static std::optional<char32_t> hex_digit(char c) noexcept {
    if (is_digit(c)) return static_cast<char32_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<char32_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<char32_t>(c - 'A' + 10);
    return std::nullopt;
  }

  [[nodiscard]] std::uint32_t set_index(char_set set) {
    const auto [at, is_new] = set_index_.emplace(std::move(set), static_cast<std::uint32_t>(out_.sets.size()));
    if (is_new) out_.sets.push_back(at->first);
    return at->second;
  }

  std::string_view text_;
  grammar_limits limits_;
  std::size_t at_ = 0;
  grammar_rules out_;
  std::map<std::string, std::uint32_t, std::less<>> by_name_;
  std::map<char_set, std::uint32_t> set_index_;
};

}  // namespace cria::inline v0_1_0::detail
