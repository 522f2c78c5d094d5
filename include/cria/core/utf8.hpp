// SPDX-License-Identifier: MIT
// core/utf8.hpp - UTF-8 one character at a time; places in a text as people count them.
//
// Units    bytes
// Ensures  any byte string is a sequence of characters: a byte that begins no well-formed sequence is a character of its own
// Errors   none (noexcept), but for memory in append_utf8
// Source   RFC 3629 and Unicode table 3-7 (no overlong forms, no surrogates, nothing above U+10FFFF)
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::detail {

inline constexpr char32_t invalid_char = 0xffffffff;

/// One character: its code point, or invalid_char for a byte that is not UTF-8, and its length (1 to 4).
struct utf8_char {
  char32_t code;
  std::uint8_t length;
};

/// The length that a lead byte announces and the range of the byte after it; length 0: no lead byte.
struct utf8_lead {
  std::uint8_t length, low, high;
};

[[nodiscard]] constexpr utf8_lead lead_of(unsigned char byte) noexcept {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xc2 || byte > 0xf4) return {0, 0, 0};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte < 0xf0) return {3, static_cast<std::uint8_t>(byte == 0xe0 ? 0xa0 : 0x80), static_cast<std::uint8_t>(byte == 0xed ? 0x9f : 0xbf)};
  return {4, static_cast<std::uint8_t>(byte == 0xf0 ? 0x90 : 0x80), static_cast<std::uint8_t>(byte == 0xf4 ? 0x8f : 0xbf)};
}

/// Returns the character at text[pos]. Requires pos < text.size().
[[nodiscard]] constexpr utf8_char decode_utf8(std::string_view text, std::size_t pos) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const utf8_lead lead = lead_of(first);
  if (lead.length == 0 || text.size() - pos < lead.length || byte(1) < lead.low || byte(1) > lead.high) return {invalid_char, 1};
  char32_t code = first & (0x7fu >> lead.length);
  for (std::size_t i = 1; i < lead.length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {invalid_char, 1};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  return {code, lead.length};
}

/// Returns how many bytes at the end of `text` begin a character that more bytes could complete: 0 to 3.
[[nodiscard]] constexpr std::size_t unfinished_utf8(std::string_view text) noexcept {
  for (std::size_t n = 1; n <= 3 && n <= text.size(); ++n) {
    const std::string_view tail = text.substr(text.size() - n);
    const auto first = static_cast<unsigned char>(tail[0]);
    if ((first & 0xc0) == 0x80) continue;  // a continuation byte: its lead is further left
    const utf8_lead lead = lead_of(first);
    if (lead.length <= n) return 0;
    const auto second = static_cast<unsigned char>(n > 1 ? tail[1] : static_cast<char>(lead.low));
    return second >= lead.low && second <= lead.high ? n : 0;
  }
  return 0;
}

/// Appends the code point as UTF-8. Requires a code point, not a surrogate.
inline void append_utf8(std::string& out, char32_t code) {
  const auto tail = [&](unsigned shift) { return static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += {static_cast<char>(0xc0 | code >> 6), tail(0)};
  } else if (code < 0x10000) {
    out += {static_cast<char>(0xe0 | code >> 12), tail(6), tail(0)};
  } else {
    out += {static_cast<char>(0xf0 | code >> 18), tail(12), tail(6), tail(0)};
  }
}

/// Returns "line L, column C" of a byte of a text, counted in characters from 1.
[[nodiscard]] inline std::string line_and_column(std::string_view text, std::size_t at) {
  std::size_t line = 1, column = 1;
  for (std::size_t i = 0; i < at && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

}  // namespace cria::inline v0_1_0::detail
