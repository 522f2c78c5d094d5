// SPDX-License-Identifier: MIT
#include <cria/generate/text_output.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace cria;
using cria::detail::text_output;

namespace {

/// Whether every byte of `text` belongs to a whole character (the texts of this test are valid UTF-8).
bool is_whole(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t n = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
    if (n == 0 || i + n > text.size()) return false;
    i += n;
  }
  return true;
}

}  // namespace

TEST_CASE("text_output: every split of multi-byte text with a stop string gives the same whole characters") {
  // 12 and 13 bytes: all splits. The stop string begins with a byte that 'ü' has in the middle of nothing, and is itself multi-byte.
  struct sample {
    std::string text, stop, expected;
  };
  const sample samples[] = {
      {"aé\xe2\x82\xac\xf0\x9f\x99\x82z!", "\xe2\x82\xac\xf0\x9f", "aé"},              // "€" and half of an emoji
      {"xü\xe6\x9d\xb1\xe4\xba\xacüü#", "üü", "xü\xe6\x9d\xb1\xe4\xba\xac"},
      {"\xe6\x9d\xb1\xe6\x9d\xb2\xf0\x9f\x99\x82o", "\xe6\x9d\xb3", "\xe6\x9d\xb1\xe6\x9d\xb2\xf0\x9f\x99\x82o"},  // never reached, nearly twice
  };
  for (const sample& s : samples) {
    const std::vector<std::string> stops{s.stop};
    for (std::uint32_t cuts = 0; cuts < 1u << (s.text.size() - 1); ++cuts) {
      auto output = *text_output::create(stops, 16);
      std::string all;
      std::size_t begin = 0;
      for (std::size_t end = 1; end <= s.text.size() && !output.is_stopped(); ++end) {
        if (end < s.text.size() && ((cuts >> (end - 1)) & 1) == 0) continue;
        const std::string_view released = output.push(std::string_view(s.text).substr(begin, end - begin), end == s.text.size());
        REQUIRE(is_whole(released));
        all += released;
        begin = end;
      }
      REQUIRE(all == s.expected);
      REQUIRE(output.released_bytes() == all.size());
    }
  }
}

TEST_CASE("text_output: a character that never ends comes out with the last piece, and so does a byte that begins none") {
  auto output = *text_output::create({}, 8);
  CHECK(output.push("a\xf0\x9f") == "a");
  CHECK(output.push("\x99") == "");
  CHECK(output.flush() == "\xf0\x9f\x99");
  auto other = *text_output::create({}, 8);
  CHECK(other.push("\xff"
                   "b\xe2", true) == "\xff"
                                     "b\xe2");
}

TEST_CASE("text_output: at a stop string what was held for it is gone, what was before it is there") {
  const std::vector<std::string> stops{"<|end|>"};
  auto output = *text_output::create(stops, 8);
  CHECK(output.push("hi <") == "hi ");
  CHECK(output.push("<|en") == "<");
  CHECK(output.push("d|>zzz") == "");
  CHECK(output.is_stopped());
  CHECK(output.flush() == "");
  CHECK(output.released_bytes() == 4);
}
