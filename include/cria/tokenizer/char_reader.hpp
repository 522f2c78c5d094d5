// SPDX-License-Identifier: MIT
// tokenizer/char_reader.hpp - what stands at a position of a text, and the ends of the runs that the pre-tokenizers' regular expressions share.
//
// Units     positions in bytes
// Ensures   any bytes are a text: one that is not UTF-8 is a symbol
// Errors    none (noexcept if what is passed to it is)
#pragma once

#include <cria/core/utf8.hpp>
#include <cria/tokenizer/unicode.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cria::inline v0_1_0::detail {

inline constexpr std::size_t no_run_limit = ~std::size_t{0};

/// A text with questions about the character at a position; past the end there is a character of no kind.
class char_reader {
 public:
  explicit constexpr char_reader(std::string_view text) noexcept : text_(text) {}

  struct character {
    char32_t code = 0;
    char_class kind = char_class::other;
    std::uint8_t length = 0;  ///< 0 past the end

    [[nodiscard]] constexpr bool exists() const noexcept { return length != 0; }
    [[nodiscard]] constexpr bool letter() const noexcept { return is_letter(kind); }
    [[nodiscard]] constexpr bool number() const noexcept { return kind == char_class::number; }
    [[nodiscard]] constexpr bool space() const noexcept { return kind == char_class::space; }
    [[nodiscard]] constexpr bool newline() const noexcept { return code == '\n' || code == '\r'; }
    /// [^\s\p{L}\p{N}]
    [[nodiscard]] constexpr bool symbol() const noexcept { return exists() && !space() && !letter() && !number(); }
    /// [\p{Lm}\p{Lo}\p{M}], which can be in both halves of a word
    [[nodiscard]] constexpr bool caseless() const noexcept {
      return kind == char_class::modifier || kind == char_class::letter || kind == char_class::mark;
    }
    [[nodiscard]] constexpr bool upper_half() const noexcept { return caseless() || kind == char_class::upper || kind == char_class::title; }
    [[nodiscard]] constexpr bool lower_half() const noexcept { return caseless() || kind == char_class::lower; }
    /// [^\r\n\p{L}\p{N}], which may begin a word
    [[nodiscard]] constexpr bool word_prefix() const noexcept { return exists() && !newline() && !letter() && !number(); }
  };

  [[nodiscard]] constexpr character at(std::size_t pos) const noexcept {
    if (pos >= text_.size()) return {};
    const utf8_char c = decode_utf8(text_, pos);
    return {c.code, class_of(c.code), c.length};
  }
  [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

  /// Returns where the run of characters that satisfy `accept`, at most `limit` of them, ends.
  template <class Accept>
  [[nodiscard]] constexpr std::size_t skip(std::size_t pos, Accept accept, std::size_t limit = no_run_limit) const noexcept {
    for (character c = at(pos); limit != 0 && c.exists() && accept(c); c = at(pos), --limit) pos += c.length;
    return pos;
  }

 private:
  std::string_view text_;
};

using text_char = char_reader::character;

/// Returns the end of 's, 't, 're, 've, 'm, 'll or 'd at `pos`, or `pos`. Without case the long s, U+017F, is an s, as in Unicode's case folding.
[[nodiscard]] constexpr std::size_t skip_contraction(const char_reader& in, std::size_t pos, bool any_case) noexcept {
  if (in.at(pos).code != '\'') return pos;
  const auto lower = [&](std::size_t at) -> char32_t {
    const char32_t code = in.at(at).code;
    if (!any_case) return code;
    return code == 0x17f ? U's' : code >= 'A' && code <= 'Z' ? code + 32 : code;
  };
  const char32_t first = lower(pos + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return pos + 1 + in.at(pos + 1).length;
  const char32_t second = lower(pos + 2);
  const bool pair = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return pair ? pos + 3 : pos;
}

/// Returns the end of \s+(?!\S)|\s+ at `pos`: white space leaves its last character to what follows.
[[nodiscard]] constexpr std::size_t skip_spaces(const char_reader& in, std::size_t pos) noexcept {
  std::size_t last = pos, end = pos;
  for (text_char c = in.at(pos); c.space(); c = in.at(end)) {
    last = end;
    end += c.length;
  }
  return end == in.text().size() || last == pos ? end : last;
}

/// Returns the end of \s*[\r\n]+ at `pos`, or `pos`: white space up to its last line break.
[[nodiscard]] constexpr std::size_t skip_lines(const char_reader& in, std::size_t pos) noexcept {
  std::size_t lines = pos;
  for (text_char c = in.at(pos); c.space(); c = in.at(pos)) {
    pos += c.length;
    if (c.newline()) lines = pos;
  }
  return lines;
}

}  // namespace cria::inline v0_1_0::detail
