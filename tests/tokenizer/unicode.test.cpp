// SPDX-License-Identifier: MIT
#include <cria/tokenizer/unicode.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

using cria::char_class;
using cria::detail::append_utf8;
using cria::detail::class_of;
using cria::detail::decode_utf8;
using cria::detail::invalid_char;

namespace {

struct class_digest {
  char_class kind;
  std::size_t size;
  std::uint64_t digest;  // of the code points in ascending order
};

// Made by tests/tokenizer/make_splits.py with PyPI's regex 2026.5.9 (Unicode 17), October 2026; the table itself comes from unicodedata.
constexpr class_digest classes[] = {
    {char_class::upper, 1886, 0xbfcbe179f0dd8cd0},    {char_class::lower, 2283, 0x73610770cb1ad4bf},
    {char_class::title, 31, 0x87fd939e4214d25f},      {char_class::modifier, 410, 0xbc04393b0fbf5544},
    {char_class::letter, 141062, 0x048964beae172475}, {char_class::mark, 2543, 0x3ed4e44d24163f70},
    {char_class::number, 1924, 0xcefe8c12e06f18ec},   {char_class::punctuation, 856, 0xad5e9a1f35347c86},
    {char_class::symbol, 8617, 0xe6d5d67a2c15c1e5},   {char_class::space, 25, 0x231591ad12ffe059},
};

bool is_surrogate(char32_t code) { return code >= 0xd800 && code <= 0xdfff; }

}  // namespace

TEST_CASE("unicode: every class holds the code points that another implementation of Unicode puts there") {
  for (const class_digest& expected : classes) {
    std::size_t size = 0;
    std::uint64_t digest = 0xcbf29ce484222325u;
    for (char32_t code = 0; code < 0x110000; ++code) {
      if (class_of(code) != expected.kind) continue;
      ++size;
      digest = (digest ^ code) * 0x100000001b3u;
    }
    CAPTURE(static_cast<int>(expected.kind));
    CHECK(size == expected.size);
    CHECK(digest == expected.digest);
  }
}

TEST_CASE("unicode: the runs ascend and neighbours differ") {
  using cria::detail::unicode_runs;
  CHECK((unicode_runs[0] >> 4) == 0);
  for (std::size_t i = 1; i < std::size(unicode_runs); ++i) {
    if (unicode_runs[i] >> 4 <= unicode_runs[i - 1] >> 4 || (unicode_runs[i] & 15) == (unicode_runs[i - 1] & 15)) FAIL_CHECK("run " << i);
  }
}

TEST_CASE("unicode: every code point survives encoding and decoding, alone and before another byte") {
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (is_surrogate(code)) continue;
    std::string text;
    append_utf8(text, code);
    const auto alone = decode_utf8(text, 0);
    text += '\xbf';
    const auto followed = decode_utf8(text, 0);
    if (alone.code != code || alone.length + 1u != text.size() || followed.code != code || followed.length != alone.length)
      FAIL_CHECK("U+" << std::hex << +code);
  }
}

TEST_CASE("unicode: what is not well-formed is one byte at a time") {
  // Unicode 17, table 3-7: overlong forms, surrogates, beyond U+10FFFF, lone continuation bytes, cut sequences
  for (const std::string_view text :
       {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\x80", "\xbf", "\xc2", "\xe2\x96", "\xf0\x9f\x99", "\xe2\x28\xa1", "\xf0\x9f\x28\x82"}) {
    CAPTURE(text);
    CHECK(decode_utf8(text, 0).code == invalid_char);
    CHECK(decode_utf8(text, 0).length == 1);
  }
  CHECK(class_of(invalid_char) == char_class::symbol);
}

TEST_CASE("unicode: the number of well-formed sequences of one to three bytes is that of the code points they can hold") {
  std::size_t found[4] = {};
  for (std::uint32_t bytes = 0; bytes < 1u << 24; ++bytes) {
    const char text[] = {static_cast<char>(bytes >> 16), static_cast<char>(bytes >> 8), static_cast<char>(bytes)};
    const auto c = decode_utf8({text, 3}, 0);
    if (c.code != invalid_char) ++found[c.length];
  }
  CHECK(found[1] == std::size_t{0x80} << 16);
  CHECK(found[2] == std::size_t{0x780} << 8);
  CHECK(found[3] == 0xf800 - 0x800);  // without the surrogates
}

TEST_CASE("unicode: the byte alphabet gives every byte its own printable letter and back") {
  std::set<char32_t> letters(cria::detail::byte_alphabet.begin(), cria::detail::byte_alphabet.end());
  CHECK(letters.size() == 256);
  CHECK(cria::detail::byte_alphabet[' '] == 0x120);  // GPT-2's familiar letters for space and line feed
  CHECK(cria::detail::byte_alphabet['\n'] == 0x10a);
  CHECK(cria::detail::byte_alphabet['A'] == 'A');
  CHECK(cria::detail::byte_alphabet[0xad] == 0x143);
  std::string written, bytes, back;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t letter = cria::detail::byte_alphabet[byte];
    CHECK(class_of(letter) != char_class::space);
    CHECK(class_of(letter) != char_class::other);
    append_utf8(written, letter);
    bytes += static_cast<char>(byte);
  }
  cria::detail::append_from_byte_alphabet(back, written);
  CHECK(back == bytes);
  back.clear();
  cria::detail::append_from_byte_alphabet(back, "\u4e2d a\xff\u0144");  // not of the alphabet: kept
  CHECK(back == "\u4e2d a\xff\u0144");
}
