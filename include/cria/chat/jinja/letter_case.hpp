// SPDX-License-Identifier: MIT
// chat/jinja/letter_case.hpp - texts in upper, lower, title case, and questions about characters, as Python's str answers them.
//
// Ensures   each character of the result belongs to whom the character that it was made from did
// Source    Python 3 library reference, "String Methods"; final sigma: Unicode, SpecialCasing.txt; letters with case: Unicode, DerivedCoreProperties.txt
#pragma once

#include <cria/chat/jinja/case_table.hpp>
#include <cria/chat/jinja/text.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0::jinja {

enum class letter_case : std::uint8_t { upper, lower, title };

[[nodiscard]] inline const case_special* find_special(std::span<const case_special> table, char32_t code) noexcept {
  const auto at = std::lower_bound(table.begin(), table.end(), code, [](const case_special& s, char32_t c) { return s.code < c; });
  return at != table.end() && at->code == code ? &*at : nullptr;
}
[[nodiscard]] inline char32_t shifted(std::span<const case_run> table, char32_t code) noexcept {
  const auto behind = std::upper_bound(table.begin(), table.end(), code, [](char32_t c, const case_run& r) { return c < r.first; });
  if (behind == table.begin()) return code;
  const case_run& run = behind[-1];
  if (code > run.last || (code - run.first) % run.step != 0) return code;
  return static_cast<char32_t>(static_cast<std::int64_t>(code) + run.difference);
}

/// Appends one character in another case; `bytes` are its own.
inline void append_in_case(std::string& out, char32_t code, std::string_view bytes, letter_case to) {
  if (code < 0x80) {
    const char c = bytes[0];
    const bool changes = to == letter_case::lower ? c >= 'A' && c <= 'Z' : c >= 'a' && c <= 'z';
    out += changes ? static_cast<char>(c ^ 0x20) : c;
    return;
  }
  if (code == cria::detail::invalid_char) return void(out += bytes);
  const case_special* special = to == letter_case::title ? find_special(title_specials, code) : nullptr;
  if (special == nullptr) special = to == letter_case::lower ? find_special(lower_specials, code) : find_special(upper_specials, code);
  if (special == nullptr) return cria::detail::append_utf8(out, to == letter_case::lower ? shifted(lower_runs, code) : shifted(upper_runs, code));
  for (const char32_t c : special->image) {
    if (c != 0) cria::detail::append_utf8(out, c);
  }
}

[[nodiscard]] inline bool is_one_of(std::span<const case_range> table, char32_t code) noexcept {
  const auto behind = std::upper_bound(table.begin(), table.end(), code, [](char32_t c, const case_range& r) { return c < r.first; });
  return behind != table.begin() && code <= behind[-1].last;
}
[[nodiscard]] inline bool is_upper(char32_t code) noexcept { return cria::detail::class_of(code) == char_class::upper || is_one_of(other_upper, code); }
[[nodiscard]] inline bool is_lower(char32_t code) noexcept { return cria::detail::class_of(code) == char_class::lower || is_one_of(other_lower, code); }
[[nodiscard]] inline bool is_cased(char32_t code) noexcept { return is_upper(code) || is_lower(code) || cria::detail::class_of(code) == char_class::title; }

/// Characters that the question whether a sigma ends a word passes over.
[[nodiscard]] inline bool is_case_ignored(char32_t c) noexcept {
  const char_class kind = cria::detail::class_of(c);
  return kind == char_class::mark || kind == char_class::modifier || c == '\'' || c == '.' || c == ':' || c == 0x2019 || c == 0xad;
}
/// Returns whether a letter with case comes next, behind a few ignored characters.
[[nodiscard]] inline bool is_letter_next(std::string_view rest) noexcept {
  constexpr int most_ignored = 16;
  std::size_t at = 0;
  for (int i = 0; i < most_ignored && at < rest.size(); ++i) {
    const utf8_char c = decode_utf8(rest, at);
    if (!is_case_ignored(c.code)) return is_cased(c.code);
    at += c.length;
  }
  return false;
}

/// Appends `t` with each character in the case that choose(code, is_first) names.
template <class Choose>
void append_in_cases(text_builder& out, const text& t, Choose&& choose) {
  constexpr char32_t capital_sigma = 0x3a3;
  std::string piece;
  std::size_t at = 0;
  bool follows_letter = false;
  for_each_char(t, [&](char32_t code, std::string_view bytes, bool is_content) {
    piece.clear();
    const letter_case to = choose(code, at == 0);
    const bool ends_word = code == capital_sigma && to == letter_case::lower && follows_letter && !is_letter_next(t.bytes.substr(at + bytes.size()));
    if (ends_word) cria::detail::append_utf8(piece, 0x3c2);
    else append_in_case(piece, code, bytes, to);
    out.add(piece, is_content);
    at += bytes.size();
    if (!is_case_ignored(code)) follows_letter = is_cased(code);
  });
}

inline void append_in_case(text_builder& out, const text& t, letter_case to) {
  append_in_cases(out, t, [to](char32_t, bool) { return to; });
}
inline void append_capitalised(text_builder& out, const text& t) {
  append_in_cases(out, t, [](char32_t, bool is_first) { return is_first ? letter_case::title : letter_case::lower; });
}
/// As str.title(): a word is a run of letters that have case.
inline void append_titled(text_builder& out, const text& t) {
  append_in_cases(out, t, [inside = false](char32_t code, bool) mutable {
    const bool was_inside = std::exchange(inside, is_cased(code));
    return was_inside ? letter_case::lower : letter_case::title;
  });
}

/// As str.casefold(): the lower case of the upper case, but for the dotless i, the capital sharp s, and Cherokee, which folds to its capital letters.
inline void append_folded(text_builder& out, const text& t) {
  constexpr char32_t dotless_i = 0x131, capital_sharp_s = 0x1e9e;
  std::string upper, piece;
  for_each_char(t, [&](char32_t code, std::string_view bytes, bool is_content) {
    const bool is_cherokee = (code >= 0x13a0 && code <= 0x13ff) || (code >= 0xab70 && code <= 0xabbf);
    upper.clear();
    piece.clear();
    if (code == dotless_i) piece = bytes;
    else if (code == capital_sharp_s) piece = "ss";
    else append_in_case(is_cherokee ? piece : upper, code, bytes, letter_case::upper);
    for (std::size_t i = 0; i < upper.size();) {
      const utf8_char c = decode_utf8(upper, i);
      append_in_case(piece, c.code, std::string_view(upper).substr(i, c.length), letter_case::lower);
      i += c.length;
    }
    out.add(piece, is_content);
  });
}

/// Returns whether there is a cased character and all of them are upper, or lower.
[[nodiscard]] inline bool is_all(std::string_view bytes, letter_case wanted) noexcept {
  bool has_cased = false;
  for (std::size_t i = 0; i < bytes.size();) {
    const utf8_char c = decode_utf8(bytes, i);
    if (is_cased(c.code)) {
      if (!(wanted == letter_case::upper ? is_upper(c.code) : is_lower(c.code))) return false;
      has_cased = true;
    }
    i += c.length;
  }
  return has_cased;
}

/// Returns whether the text is not empty and fn holds for each character.
template <class F>
[[nodiscard]] bool all_chars(std::string_view bytes, F&& fn) {
  for (std::size_t i = 0; i < bytes.size();) {
    const utf8_char c = decode_utf8(bytes, i);
    if (!fn(c.code)) return false;
    i += c.length;
  }
  return !bytes.empty();
}

}  // namespace cria::inline v0_1_0::jinja
