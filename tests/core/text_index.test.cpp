// SPDX-License-Identifier: MIT
#include <cria/core/text_index.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

using cria::detail::text_index;

TEST_CASE("text_index: finds the first of equal texts and nothing that was not added; a second one of a text is told of the first") {
  std::mt19937 random(5);
  std::vector<std::string> texts;
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < 5000; ++i) {
    std::string text;
    for (std::size_t n = random() % 20; n > 0; --n) text += static_cast<char>(random() % 3);  // NUL too
    first.emplace(text, i);
    texts.push_back(text);
  }
  const auto text_of = [&](std::size_t i) -> std::string_view { return texts[i]; };
  text_index index;
  CHECK(!index.find("a", text_of));
  index.reset(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto equal = index.insert(texts[i], i, text_of);
    if (equal.value_or(i) != first.at(texts[i])) FAIL_CHECK(i);
  }
  for (const std::string& text : texts) {
    if (index.find(text, text_of) != first.at(text)) FAIL_CHECK(text.size());
    const std::string other = text + "x";
    if (index.find(other, text_of)) FAIL_CHECK(text.size());
  }
  index.reset(0);
  CHECK(!index.find("a", text_of));   // a table for none has a free slot to stop at
}

TEST_CASE("text_index: texts that differ in one bit anywhere, or only in length, get different hashes") {
  for (const std::uint64_t key : {std::uint64_t{0}, std::uint64_t{0x123456789abcdef}}) {
    std::set<std::uint64_t> hashes;
    std::size_t texts = 0;
    for (std::size_t length = 0; length <= 40; ++length) {
      std::string text(length, '\0');
      hashes.insert(cria::detail::hash_text(key, text)), ++texts;
      for (std::size_t bit = 0; bit < length * 8; ++bit) {
        text[bit / 8] = static_cast<char>(1 << bit % 8);
        hashes.insert(cria::detail::hash_text(key, text)), ++texts;
        text[bit / 8] = '\0';
      }
    }
    CHECK(hashes.size() == texts);
  }
}

TEST_CASE("text_index: numbers in any order of bytes spread over the slots") {
  // texts that differ in few high bits are what a multiplicative hash without folding piles up
  for (const unsigned shift : {0u, 8u, 24u, 40u, 56u}) {
    std::set<std::uint64_t> slots;
    for (std::uint64_t i = 0; i < 256; ++i) {
      std::string text(8, '\0');
      for (std::size_t b = 0; b < 8; ++b) text[b] = static_cast<char>((i << shift) >> (8 * b));
      slots.insert(cria::detail::hash_text(77, text) & 0xffff);
    }
    CHECK(slots.size() > 240);  // 256 balls in 65,536 slots: 0.5 expected collisions
  }
}
