// SPDX-License-Identifier: MIT
#include <cria/tokenizer/merge.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using cria::detail::merge_list;
using cria::detail::merge_part;
using cria::detail::merge_step;

namespace {

using rules = std::map<std::string, std::uint32_t, std::less<>>;  // a text that neighbours may become, and its order

struct applied {
  const rules& known;
  std::string_view text;
  std::optional<merge_step> operator()(const merge_part& a, const merge_part& b) const {
    const auto found = known.find(text.substr(a.start, a.length + b.length));
    if (found == known.end()) return std::nullopt;
    return merge_step{found->second, static_cast<std::int32_t>(found->second)};
  }
};

std::vector<std::string> merged(std::string_view text, const rules& known, std::size_t scan_limit) {
  merge_list list;
  for (std::size_t i = 0; i < text.size(); ++i) list.push(i, 1, -1);
  list.run(applied{known, text}, scan_limit);
  std::vector<std::string> parts;
  list.for_each([&](const merge_part& p) { parts.emplace_back(text.substr(p.start, p.length)); });
  return parts;
}

/// The definition, word for word.
std::vector<std::string> merged_slowly(std::string_view text, const rules& known) {
  std::vector<std::string> parts;
  for (const char c : text) parts.emplace_back(1, c);
  while (true) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = known.find(parts[i] + parts[i + 1]);
      if (found != known.end() && (!best || found->second < known.find(parts[*best] + parts[*best + 1])->second)) best = i;
    }
    if (!best) return parts;
    parts[*best] += parts[*best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(*best) + 1);
  }
}

constexpr std::size_t always = ~std::size_t{0}, never = 0;

}  // namespace

TEST_CASE("merge: the lowest order joins first, the leftmost of equals, and new neighbours are offered") {
  const rules known = {{"ab", 1}, {"bc", 0}, {"abc", 2}, {"aa", 5}, {"aaa", 5}};
  for (const std::size_t limit : {always, never}) {
    CHECK(merged("abc", known, limit) == std::vector<std::string>{"abc"});  // bc first, then a + bc
    CHECK(merged("ab", known, limit) == std::vector<std::string>{"ab"});
    CHECK(merged("aaaaa", known, limit) == std::vector<std::string>{"aaa", "aa"});
    CHECK(merged("xyz", known, limit) == std::vector<std::string>{"x", "y", "z"});
    CHECK(merged("", known, limit).empty());
    CHECK(merged("x", known, limit) == std::vector<std::string>{"x"});
  }
}

TEST_CASE("merge: the scan and the heap both do what the definition says, with ties and useless rules") {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    rules known;
    for (std::size_t n = random() % 30; n > 0; --n) {
      std::string text;
      for (std::size_t k = 2 + random() % 4; k > 0; --k) text += static_cast<char>('a' + random() % 3);
      known.emplace(text, static_cast<std::uint32_t>(random() % 8 == 0 ? ~0u : random() % 10));
    }
    std::string text;
    for (std::size_t n = random() % 40; n > 0; --n) text += static_cast<char>('a' + random() % 3);
    const auto expected = merged_slowly(text, known);
    if (merged(text, known, always) != expected) FAIL_CHECK("scan, round " << round);
    if (merged(text, known, never) != expected) FAIL_CHECK("heap, round " << round);
    if (merged(text, known, 24) != expected) FAIL_CHECK("round " << round);
  }
}

TEST_CASE("merge: a list is empty after clear and works again") {
  const rules known = {{"ab", 1}};
  merge_list list;
  for (int i = 0; i < 3; ++i) {
    list.clear();
    list.push(0, 1, -1);
    list.push(1, 1, -1);
    list.run(applied{known, "ab"}, i == 0 ? always : never);
    std::size_t parts = 0;
    list.for_each([&](const merge_part& p) { parts += p.length == 2 && p.symbol == 1 ? 1 : 100; });
    CHECK(parts == 1);
  }
}
