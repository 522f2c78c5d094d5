// SPDX-License-Identifier: MIT
// tokenizer/unicode.hpp - character classes, and the byte alphabet of byte-level BPE.
//
// Units    bytes
// Errors   none (noexcept)
// Source   GPT-2's byte alphabet: the bytes 21..7E, A1..AC and AE..FF stand for themselves, the other 68 in ascending order for U+0100..0143
#pragma once

#include <cria/core/config.hpp>
#include <cria/core/utf8.hpp>
#include <cria/tokenizer/unicode_table.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::detail {

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

}  // namespace cria::inline v0_1_0::detail
