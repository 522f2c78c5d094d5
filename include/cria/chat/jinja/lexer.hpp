// SPDX-License-Identifier: MIT
// chat/jinja/lexer.hpp - a template's text to tokens: data, tags, names, literals, operators; white-space control.
//
//   trim_blocks      one newline behind %} and #} is dropped             -%} and {%- drop all white space on their side
//   lstrip_blocks    blanks between a line's beginning and {% or {# are  +%} and {%+ keep what the two would drop
//
// Units    bytes of the source, in which \r\n and \r became \n and one newline at the end was dropped
// Ensures  tokens end with `end`; brackets inside tags are balanced
// Errors   syntax, limit_exceeded (source or number too large); `where` is line and column
// Source   Jinja 3.1 template designer documentation, "Whitespace Control", "Escaping"; behaviour compared with jinja2 3.1.6
#pragma once

#include <cria/chat/json.hpp>
#include <cria/chat/jinja/text.hpp>
#include <cria/core/result.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

enum class token_kind : std::uint8_t { data, print_begin, print_end, tag_begin, tag_end, name, string, integer, real, op, end };

/// A token: its kind, where it is, and what it says.
struct token {
  token_kind type = token_kind::end;
  std::uint32_t at = 0;        ///< byte of the source
  std::string_view spelling;   ///< data, name, op; a string's value
  std::int64_t integer = 0;
  double real = 0;
};

/// Returns the source as Jinja sees it.
[[nodiscard]] inline std::string normalised_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    out += source[i] == '\r' ? '\n' : source[i];
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

/// Cuts a source into tokens; used once.
class lexer {
 public:
  static constexpr std::size_t max_source = std::size_t{256} << 10;   // some fifteen times the longest that is known

  /// `source` is normalised and outlives the tokens, as `memory` does.
  lexer(std::string_view source, arena& memory) : source_(source), memory_(memory) {}

  [[nodiscard]] result<std::vector<token>> run() {
    if (source_.size() > max_source) return error{errc::limit_exceeded, "template", std::to_string(source_.size()) + " bytes"};
    while (!failure_ && at_ < source_.size()) lex_data();
    if (failure_) return std::move(*failure_);
    push(token_kind::end, source_.size(), {});
    return std::move(tokens_);
  }

 private:
  enum class tag { none, print, statement, comment, raw };

  void fail(std::size_t at, std::string_view message, errc code = errc::syntax) {
    if (!failure_) failure_ = error{code, cria::detail::line_and_column(source_, at), message};
    at_ = source_.size();
  }
  void push(token_kind type, std::size_t at, std::string_view spelling) { tokens_.push_back({type, static_cast<std::uint32_t>(at), spelling, 0, 0}); }
  [[nodiscard]] bool sees(std::string_view s) const noexcept { return source_.substr(at_).starts_with(s); }
  void skip_space() noexcept { at_ += leading_space(source_.substr(at_)); }

  /// Moves past `{% raw %}` if it stands at at_.
  [[nodiscard]] bool take_raw_begin() noexcept {
    const std::size_t start = at_;
    at_ += 2;
    if (sees("-") || sees("+")) ++at_;
    skip_space();
    if (sees("raw")) {
      at_ += 3;
      skip_space();
      if (sees("-%}")) return at_ += 3, skip_space(), true;
      if (sees("%}")) return at_ += 2, true;
    }
    at_ = start;
    return false;
  }

  /// Pushes source_[start, end) as data, without what white-space control takes off its end.
  void push_data(std::size_t start, std::size_t end, char sign, bool may_strip_line) {
    std::string_view data = source_.substr(start, end - start);
    if (sign == '-') {
      data.remove_suffix(trailing_space(data));
    } else if (sign != '+' && may_strip_line) {
      const std::size_t line = data.rfind('\n') + 1;   // 0 where there is none
      if ((line > 0 || is_line_start_) && leading_space(data.substr(line)) == data.size() - line) data = data.substr(0, line);
    }
    if (!data.empty()) push(token_kind::data, start, data);
  }

  void lex_data() {
    const std::size_t start = at_;
    std::size_t open = start;
    tag kind = tag::none;
    for (; kind == tag::none && (open = source_.find('{', open)) != source_.npos; ++open) {
      const char next = open + 1 < source_.size() ? source_[open + 1] : '\0';
      kind = next == '%' ? tag::statement : next == '{' ? tag::print : next == '#' ? tag::comment : tag::none;
      if (kind != tag::none) break;
    }
    if (kind == tag::none) {
      push(token_kind::data, start, source_.substr(start));
      at_ = source_.size();
      return;
    }
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    push_data(start, open, sign, kind != tag::print);
    at_ = open;
    if (kind == tag::statement && take_raw_begin()) kind = tag::raw;
    if (kind == tag::raw) {
      is_line_start_ = source_[at_ - 1] == '\n';
      return lex_raw(open);
    }
    at_ += sign == '-' || sign == '+' ? 3 : 2;
    if (kind == tag::comment) return lex_comment(open);
    is_line_start_ = false;
    push(kind == tag::print ? token_kind::print_begin : token_kind::tag_begin, open, source_.substr(open, 2));
    lex_tag(kind == tag::print, open);
  }

  /// Moves past the end of a tag, whose closing bracket stands behind at_, and past what it drops.
  void end_tag(char sign, std::size_t bracket) {
    at_ = bracket + 2;
    if (sign == '-') skip_space();
    else if (sign != '+' && sees("\n")) ++at_;
    is_line_start_ = source_[at_ - 1] == '\n';
  }

  void lex_comment(std::size_t open) {
    if (at_ == source_.size()) return;   // as with raw: nothing was begun
    const std::size_t end = source_.find("#}", at_);
    if (end == source_.npos) return fail(open, "a comment without an end");
    end_tag(end > at_ ? source_[end - 1] : '\0', end);
  }

  void lex_raw(std::size_t open) {
    const std::size_t start = at_;
    if (start == source_.size()) return;   // nothing follows, which jinja2 lets pass
    for (std::size_t end = start; (end = source_.find("{%", end)) != source_.npos; ++end) {
      at_ = end + 2;
      const char sign = sees("-") || sees("+") ? source_[at_++] : '\0';
      skip_space();
      if (!sees("endraw")) continue;
      at_ += 6;
      skip_space();
      const char end_sign = sees("-%}") || sees("+%}") ? source_[at_++] : '\0';
      if (!sees("%}")) continue;
      push_data(start, end, sign, true);
      return end_tag(end_sign, at_);
    }
    fail(open, "a raw block without an end");
  }

  void lex_tag(bool is_print, std::size_t open) {
    std::string brackets;
    while (at_ < source_.size()) {
      const std::string_view close = is_print ? "}}" : "%}";
      if (brackets.empty()) {
        const bool has_sign = (sees("-") || (!is_print && sees("+"))) && source_.substr(at_ + 1).starts_with(close);
        if (has_sign || sees(close)) {
          push(is_print ? token_kind::print_end : token_kind::tag_end, at_, close);
          const char sign = has_sign ? source_[at_] : '\0';
          // behind }} nothing is dropped unless it is -}}
          return end_tag(is_print && sign == '\0' ? '+' : sign, at_ + has_sign);
        }
      }
      const std::size_t blanks = leading_space(source_.substr(at_));
      at_ += blanks;
      if (blanks == 0) lex_token(brackets);
    }
    fail(open, is_print ? "a {{ without }}" : "a {% without %}");
  }

  [[nodiscard]] static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

  void lex_token(std::string& brackets) {
    const char c = source_[at_];
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    if (const std::size_t n = name_length(source_.substr(at_)); n != 0) {
      push(token_kind::name, at_, source_.substr(at_, n));
      at_ += n;
      return;
    }
    constexpr std::string_view operators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]",
                                              "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";"};
    for (const std::string_view op : operators) {
      if (!sees(op)) continue;
      if (c == '(' || c == '[' || c == '{') brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
      if (c == ')' || c == ']' || c == '}') {
        if (brackets.empty() || brackets.back() != c) return fail(at_, std::string("unexpected ") + c);
        brackets.pop_back();
      }
      push(token_kind::op, at_, source_.substr(at_, op.size()));
      at_ += op.size();
      return;
    }
    fail(at_, "unexpected character " + printable(source_.substr(at_, decode_utf8(source_, at_).length)));
  }

  [[nodiscard]] static std::size_t name_length(std::string_view s) noexcept {
    std::size_t n = 0;
    while (n < s.size()) {
      const utf8_char c = decode_utf8(s, n);
      const char_class kind = cria::detail::class_of(c.code);
      const bool continues = n > 0 && (kind == char_class::number || kind == char_class::mark);
      if (!(cria::detail::is_letter(kind) || c.code == '_' || continues)) break;
      n += c.length;
    }
    return n;
  }

  /// Appends digits, between which single underscores may stand, and returns whether there was one.
  bool take_digits(std::string& digits, std::string_view allowed) {
    const std::size_t n = digits.size();
    while (at_ < source_.size()) {
      const bool skips = source_[at_] == '_' && digits.size() != n;
      const std::size_t digit = at_ + skips;
      if (digit >= source_.size() || allowed.find(source_[digit]) == allowed.npos) break;
      digits += source_[digit];
      at_ = digit + 1;
    }
    return digits.size() != n;
  }

  void lex_number() {
    constexpr std::string_view decimal = "0123456789";
    const std::size_t start = at_;
    std::string digits;
    take_digits(digits, decimal);
    bool is_real = false;
    const bool is_index = start > 0 && source_[start - 1] == '.';   // x.0.1 are two indices, not a fraction
    if (!is_index && sees(".") && at_ + 1 < source_.size() && is_digit(source_[at_ + 1])) {
      ++at_;
      digits += '.';
      is_real = take_digits(digits, decimal);
    }
    if (!is_index && (sees("e") || sees("E"))) {
      const std::size_t before = at_++;
      std::string exponent = "e";
      if (sees("+") || sees("-")) exponent += source_[at_++];
      const bool has_exponent = take_digits(exponent, decimal);
      if (has_exponent) digits += exponent;
      else at_ = before;
      is_real |= has_exponent;
    }
    push(is_real ? token_kind::real : token_kind::integer, start, {});
    if (is_real) {
      tokens_.back().real = cria::detail::parse_decimal(digits).value_or(0);
      return;
    }
    int base = 10;
    if (digits == "0" && at_ < source_.size()) base = base_of(source_[at_]);
    if (base != 10) {
      ++at_;
      digits.clear();
      if (sees("_")) ++at_;
      if (!take_digits(digits, std::string_view("0123456789abcdefABCDEF").substr(0, base == 16 ? 22 : static_cast<std::size_t>(base)))) {
        return fail(start, "a number without digits");
      }
    } else if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != digits.npos) {
      return fail(start, "a number that begins with 0");
    }
    if (std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().integer, base).ec != std::errc{}) {
      fail(start, "an integer beyond 64 bits", errc::limit_exceeded);
    }
  }

  [[nodiscard]] static int base_of(char c) noexcept {
    return c == 'x' || c == 'X' ? 16 : c == 'o' || c == 'O' ? 8 : c == 'b' || c == 'B' ? 2 : 10;
  }

  void lex_string() {
    const std::size_t start = at_;
    const char quote = source_[at_++];
    std::size_t end = at_;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? std::size_t{2} : std::size_t{1};
    if (end >= source_.size()) return fail(start, "a string without an end");
    std::string value;
    while (at_ < end && !failure_) {
      if (source_[at_] == '\\') lex_escape(value);
      else value += source_[at_++];
    }
    if (failure_) return;
    at_ = end + 1;
    push(token_kind::string, start, memory_.copy(std::string_view(value)));
  }

  void lex_escape(std::string& value) {
    const std::size_t start = at_++;
    const char c = source_[at_++];
    constexpr std::string_view names = "\\'\"abfnrtv", values = "\\'\"\a\b\f\n\r\t\v";
    if (c == '\n') return;
    if (const std::size_t i = names.find(c); i != names.npos) {
      value += values[i];
    } else if (c >= '0' && c <= '7') {
      char32_t code = static_cast<char32_t>(c - '0');
      for (int n = 1; n < 3 && source_[at_] >= '0' && source_[at_] <= '7'; ++n) code = code * 8 + static_cast<char32_t>(source_[at_++] - '0');
      cria::detail::append_utf8(value, code);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      std::uint32_t code = 0;
      const char* first = source_.data() + at_;
      const char* last = first + std::min(n, source_.size() - at_);
      const auto [stop, failure] = std::from_chars(first, last, code, 16);
      if (failure != std::errc{} || stop != first + n) return fail(start, std::string("an escape \\") + c + " without its digits");
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return fail(start, "an escape that is no character");
      at_ += n;
      cria::detail::append_utf8(value, code);
    } else if (c == 'N') {
      fail(start, "characters by name are not supported");
    } else {
      value += '\\';
      value += c;
    }
  }

  std::string_view source_;
  arena& memory_;
  std::vector<token> tokens_;
  std::optional<error> failure_;
  std::size_t at_ = 0;
  bool is_line_start_ = true;
};

}  // namespace cria::inline v0_1_0::jinja
