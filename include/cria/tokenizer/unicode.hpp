// SPDX-License-Identifier: MIT
// tokenizer/unicode.hpp - UTF-8 one character at a time, character classes, and the byte alphabet of byte-level BPE.
//
// Units    bytes
// Ensures  any byte string is a sequence of characters: a byte that begins no well-formed sequence is a character of its own
// Errors   none (noexcept)
// Source   RFC 3629 and Unicode table 3-7 (no overlong forms, no surrogates, nothing above U+10FFFF); GPT-2's byte alphabet: the bytes
//          21..7E, A1..AC and AE..FF stand for themselves, the other 68 in ascending order for U+0100..0143
#pragma once

#include <cria/core/config.hpp>
#include <cria/tokenizer/unicode_table.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace cria::inline v0::detail {

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

[[nodiscard]] constexpr char_class search_class(char32_t code) noexcept {
  const auto* run = std::upper_bound(std::begin(unicode_runs), std::end(unicode_runs), code, [](char32_t c, std::uint32_t r) { return c < r >> 4; });
  return static_cast<char_class>(run[-1] & 15);
}

inline constexpr std::array<char_class, 128> ascii_classes = [] {
  std::array<char_class, 128> classes{};
  for (std::size_t code = 0; code < classes.size(); ++code) classes[code] = search_class(static_cast<char32_t>(code));
  return classes;
}();

/// Returns the class of a code point; a byte that is not UTF-8 counts as a symbol, as U+FFFD does.
[[nodiscard]] constexpr char_class class_of(char32_t code) noexcept {
  if (code < 128) return ascii_classes[code];
  return code == invalid_char ? char_class::symbol : search_class(code);
}

[[nodiscard]] constexpr bool is_letter(char_class c) noexcept { return c >= char_class::upper && c <= char_class::letter; }

/// The byte alphabet: the code point that stands for each byte.
inline constexpr std::array<char32_t, 256> byte_alphabet = [] {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet[byte] = itself ? byte : next++;
  }
  return alphabet;
}();

/// The byte that a letter of the alphabet stands for, -1 for a code point that is not of it.
inline constexpr std::array<std::int16_t, 0x144> alphabet_bytes = [] {
  std::array<std::int16_t, 0x144> bytes{};
  bytes.fill(-1);
  for (std::size_t byte = 0; byte < 256; ++byte) bytes[byte_alphabet[byte]] = static_cast<std::int16_t>(byte);
  return bytes;
}();

/// Appends the bytes that `text` in the byte alphabet stands for; what is not of the alphabet is appended as it is.
inline void append_from_byte_alphabet(std::string& out, std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    const utf8_char c = decode_utf8(text, pos);
    if (c.code < alphabet_bytes.size() && alphabet_bytes[c.code] >= 0) {
      out += static_cast<char>(alphabet_bytes[c.code]);
    } else {
      out += text.substr(pos, c.length);
    }
    pos += c.length;
  }
}

}  // namespace cria::inline v0::detail
