// SPDX-License-Identifier: MIT
#include <cria/generate/stop.hpp>

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace cria;
using cria::detail::stop_matcher;

namespace {

/// What is before the match that ends first (the longest of several): tried at every end, with every string.
std::string text_before_stop(const std::string& text, const std::vector<std::string>& stops, bool& is_stopped) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& s : stops) {
      if (s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0) longest = std::max(longest, s.size());
    }
    if (longest != 0) return is_stopped = true, text.substr(0, end - longest);
  }
  return is_stopped = false, text;
}

/// How many bytes at the end of `text` are the beginning of a stop string.
std::size_t must_hold(const std::string& text, const std::vector<std::string>& stops) {
  std::size_t held = 0;
  for (const std::string& s : stops) {
    for (std::size_t n = 1; n < s.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, s, 0, n) == 0) held = std::max(held, n);
    }
  }
  return held;
}

}  // namespace

TEST_CASE("stop: without strings everything comes out at once") {
  stop_matcher m;
  CHECK(m.push("abc") == "abc");
  CHECK(m.push("") == "");
  CHECK(m.push("d") == "d");
  CHECK(m.flush() == "");
  CHECK_FALSE(m.is_stopped());
}

TEST_CASE("stop: a beginning is held, released when it goes on otherwise, cut off when it completes") {
  const std::vector<std::string> stops{"END"};
  auto m = *stop_matcher::create(stops);
  CHECK(m.push("the E") == "the ");
  CHECK(m.held_bytes() == 1);
  CHECK(m.push("N") == "");
  CHECK(m.push("E") == "EN");
  CHECK(m.push("ND and more") == "");
  CHECK(m.is_stopped());
  CHECK(m.push("END") == "");
  CHECK(m.flush() == "");
}

TEST_CASE("stop: what is held at the end is not lost") {
  const std::vector<std::string> stops{"\n\nUser:"};
  auto m = *stop_matcher::create(stops);
  CHECK(m.push("yes\n\nUs") == "yes");
  CHECK(m.flush() == "\n\nUs");
  CHECK(m.flush() == "");
}

TEST_CASE("stop: an empty string is refused") {
  const std::vector<std::string> stops{"a", ""};
  const auto m = stop_matcher::create(stops);
  REQUIRE_FALSE(m);
  CHECK(m.error().code == errc::bad_argument);
  CHECK(m.error().where == "stop_strings");
}

TEST_CASE("stop: every split of every text gives what a search of the whole text gives, and holds no byte too many") {
  // Two letters make overlaps and borders likely; strings of up to 6 letters, texts of up to 14.
  std::mt19937 random(7);
  const auto word = [&](std::size_t longest) {
    std::string s(1 + random() % longest, 'a');
    for (char& c : s) c = random() % 3 == 0 ? 'b' : 'a';
    return s;
  };
  std::size_t n_stopped = 0;
  for (int round = 0; round < 4000; ++round) {
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& s : stops) s = word(6);
    const std::string text = word(14);
    bool is_stopped = false;
    const std::string expected = text_before_stop(text, stops, is_stopped);
    n_stopped += is_stopped;
    // One random split per round out of all 2^(n-1), and letter by letter every fourth round.
    const std::uint32_t cuts = round % 4 == 0 ? ~0u : static_cast<std::uint32_t>(random());
    auto m = *stop_matcher::create(stops);
    std::string out, fed;
    for (std::size_t begin = 0; begin < text.size();) {
      std::size_t end = begin + 1;
      while (end < text.size() && ((cuts >> end) & 1) == 0) ++end;
      fed += text.substr(begin, end - begin);
      out += m.push(std::string_view(text).substr(begin, end - begin));
      if (!m.is_stopped()) REQUIRE(out.size() == fed.size() - must_hold(fed, stops));
      begin = end;
    }
    out += m.flush();
    CAPTURE(text);
    CAPTURE(stops.front());
    REQUIRE(out == expected);
    REQUIRE(m.is_stopped() == is_stopped);
  }
  CHECK(n_stopped > 1000);
  CHECK(n_stopped < 3900);
}

TEST_CASE("stop: all splits of one text that nearly matches again and again") {
  const std::vector<std::string> stops{"aab", "abab"};
  const std::string text = "aaabaxabaab";   // "aab" ends at 4
  for (std::uint32_t cuts = 0; cuts < 1u << (text.size() - 1); ++cuts) {
    auto m = *stop_matcher::create(stops);
    std::string out;
    std::size_t begin = 0;
    for (std::size_t end = 1; end <= text.size(); ++end) {
      if (end < text.size() && ((cuts >> (end - 1)) & 1) == 0) continue;
      out += m.push(std::string_view(text).substr(begin, end - begin));
      begin = end;
    }
    REQUIRE(out == "a");
    REQUIRE(m.is_stopped());
  }
}

TEST_CASE("stop: time is linear where a naive matcher's is not") {
  // 4 MB of "a" against "a...ab" of 20,000 letters: 8e10 comparisons by trying every position; this must end at once.
  const std::vector<std::string> stops{std::string(20000, 'a') + "b"};
  auto m = *stop_matcher::create(stops);
  const std::string text(4096, 'a');
  std::size_t n = 0;
  for (int i = 0; i < 1000; ++i) n += m.push(text).size();
  CHECK(n == 1000 * 4096 - 20000);
  CHECK(m.push("b") == "");
  CHECK(m.is_stopped());
}
