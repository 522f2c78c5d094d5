// SPDX-License-Identifier: MIT
#include <cria/tokenizer/utf8_assembler.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using cria::utf8_assembler;

namespace {

/// Returns whether every character of `text` is well-formed UTF-8.
bool is_utf8(std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    const auto c = cria::detail::decode_utf8(text, pos);
    if (c.code == cria::detail::invalid_char) return false;
    pos += c.length;
  }
  return true;
}

constexpr std::string_view mixed = "aé中🙂\u0301z\u00a0😀";

}  // namespace

TEST_CASE("utf8_assembler: all ways to cut a text in two or three give whole characters and the same text") {
  for (std::size_t first = 0; first <= mixed.size(); ++first) {
    for (std::size_t second = first; second <= mixed.size(); ++second) {
      utf8_assembler assembler;
      std::string all;
      for (const std::string_view piece : {mixed.substr(0, first), mixed.substr(first, second - first), mixed.substr(second)}) {
        const std::string_view out = assembler.push(piece);
        if (!is_utf8(out)) FAIL_CHECK("cut at " << first << " and " << second);
        all += out;
      }
      CHECK(assembler.pending_bytes() == 0);
      CHECK(assembler.flush().empty());
      if (all != mixed) CHECK(all == mixed);
    }
  }
}

TEST_CASE("utf8_assembler: byte by byte a character comes out with its last byte, not earlier and not later") {
  utf8_assembler assembler;
  std::vector<std::string> out;
  for (const char c : std::string_view("é🙂x")) out.emplace_back(assembler.push({&c, 1}));
  CHECK(out == std::vector<std::string>{"", "é", "", "", "", "🙂", "x"});
}

TEST_CASE("utf8_assembler: bytes that can no longer become a character are handed out at once") {
  struct step {
    std::string_view pushed, given;
  };
  const std::vector<std::vector<step>> cases = {
      {{"\xff", "\xff"}},
      {{"\x80\xbf", "\x80\xbf"}},
      {{"\xe4", ""},
       {"a",
        "\xe4"
        "a"}},                               // cut short by another character
      {{"\xe0", ""}, {"\x80", "\xe0\x80"}},  // overlong
      {{"\xed", ""}, {"\xa0", "\xed\xa0"}},  // a surrogate
      {{"\xf4", ""}, {"\x90", "\xf4\x90"}},  // beyond U+10FFFF
      {{"\xf5", "\xf5"}},
      {{"\xc0", "\xc0"}},
      {{"\xf0\x9f", ""}, {"\xf0\x9f", "\xf0\x9f"}, {"\x99\x82", "\xf0\x9f\x99\x82"}},
      {{"\x80\x80\x80\x80", "\x80\x80\x80\x80"}},
      {{"a\xe4\xb8", "a"},
       {"\xad"
        "b",
        "\xe4\xb8\xad"
        "b"}},
  };
  for (const auto& steps : cases) {
    utf8_assembler assembler;
    for (const step& s : steps) CHECK(assembler.push(s.pushed) == s.given);
    CHECK(assembler.flush().empty());
  }
}

TEST_CASE("utf8_assembler: flush gives what waits, once, and the next text starts clean") {
  utf8_assembler assembler;
  CHECK(assembler.push("x\xf0\x9f\x99") == "x");
  CHECK(assembler.pending_bytes() == 3);
  CHECK(assembler.flush() == "\xf0\x9f\x99");
  CHECK(assembler.flush().empty());
  CHECK(assembler.push("\x82") == "\x82");
  CHECK(assembler.push("\xc3").empty());
  assembler.clear();
  CHECK(assembler.pending_bytes() == 0);
  CHECK(assembler.push("a") == "a");
}

TEST_CASE("utf8_assembler: any bytes in any pieces come out complete and in order, at most three of them late") {
  std::mt19937 random(3);
  for (int round = 0; round < 20'000; ++round) {
    std::string text, all;
    for (std::size_t n = random() % 20; n > 0; --n) {
      const char* const starts[] = {"\xe2\x96\x81", "\xf0\x9f\x99\x82", "\xc3", "\xf0\x9f", "\xe4\xb8", "a", "\x80", "\xff"};
      text += random() % 4 == 0 ? std::string(1, static_cast<char>(random() % 256)) : starts[random() % 8];
    }
    utf8_assembler assembler;
    for (std::size_t pos = 0; pos < text.size();) {
      const std::size_t n = random() % 4;
      all += assembler.push(std::string_view(text).substr(pos, n));
      pos += std::min(n, text.size() - pos);
      if (text.compare(0, all.size(), all) != 0 || pos - all.size() > 3) FAIL_CHECK("round " << round);
    }
    all += assembler.flush();
    if (all != text) CHECK(all == text);
  }
}

TEST_CASE("utf8_assembler: after reserve no push of that size moves the buffer") {
  utf8_assembler assembler;
  assembler.reserve(64);
  const char* const at = assembler.push(std::string(64, 'a')).data();
  for (int i = 0; i < 1000; ++i) {
    const std::string_view out = assembler.push(i % 2 == 0 ? std::string(61, 'b') + "\xf0\x9f\x99" : "\x82" + std::string(63, 'c'));
    if (out.data() != at) FAIL_CHECK("moved at " << i);
  }
}
