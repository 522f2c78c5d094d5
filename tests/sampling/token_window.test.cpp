// SPDX-License-Identifier: MIT
#include <cria/core/random.hpp>
#include <cria/sampling/token_window.hpp>

#include <doctest/doctest.h>

#include <deque>

using cria::token_id;
using cria::token_window;

namespace {

bool equal(std::span<const token_id> got, const std::deque<token_id>& expected) {
  return std::equal(got.begin(), got.end(), expected.begin(), expected.end());
}

}  // namespace

TEST_CASE("token_window: holds the last n tokens, as a deque would") {
  cria::random_generator random(1);
  for (const std::size_t capacity : {0u, 1u, 2u, 7u, 64u}) {
    token_window window(capacity);
    std::deque<token_id> expected;
    for (int i = 0; i < 500; ++i) {
      if (i == 333) {
        window.clear();
        expected.clear();
      }
      const auto token = static_cast<token_id>(random.next() % 1000);
      window.push(token);
      expected.push_back(token);
      if (expected.size() > capacity) expected.pop_front();
      REQUIRE(equal(window.tokens(), expected));
    }
  }
}

TEST_CASE("token_window: what save wrote is restored, and the rest of the words is left") {
  token_window window(5);
  for (token_id t = 0; t < 13; ++t) window.push(t);
  cria::sampler_state words;
  window.save(words);
  words.push_back(77);
  for (const std::size_t capacity : {5u, 9u}) {
    token_window other(capacity);
    other.push(3);
    std::span<const std::uint64_t> in = words;
    REQUIRE(other.restore(in, 13));
    CHECK(equal(other.tokens(), {8, 9, 10, 11, 12}));
    REQUIRE(in.size() == 1);
    CHECK(in[0] == 77);
  }
}

TEST_CASE("token_window: words that save did not write are refused") {
  token_window window(4);
  const auto refuses = [&window](std::vector<std::uint64_t> words) {
    std::span<const std::uint64_t> in = words;
    return !window.restore(in, 100);
  };
  CHECK(refuses({}));
  CHECK(refuses({1}));
  CHECK(refuses({5, 1, 1, 1, 1, 1}));
  CHECK(refuses({4, 1, 1, 1}));
  CHECK(refuses({1, 100}));
  CHECK(refuses({1, ~std::uint64_t{0}}));
  CHECK(refuses({~std::uint64_t{0}, 1}));
  CHECK_FALSE(refuses({0}));
  CHECK_FALSE(refuses({1, 99}));
}
