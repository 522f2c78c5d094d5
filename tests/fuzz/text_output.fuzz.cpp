// SPDX-License-Identifier: MIT
// tests/fuzz/text_output.fuzz.cpp - any text, cut into pieces anywhere, with any stop strings: nothing is lost, nothing of a stop string comes out, no
// character is cut.
//
//   n_stops      1 byte: 0 to 3 stop strings; each: 1 byte length of 1 to 8, then its bytes
//   n_cuts       1 byte: how many bytes of pieces' lengths follow, taken again and again, 1 to 8 each
//   text         the rest
#include <cria/generate/text_output.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cria;
using cria::detail::stop_matcher;
using cria::detail::text_output;

/// What must hold, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

/// What is before the match that ends first, the longest of several: tried at every end.
std::string before_stop(std::string_view text, const std::vector<std::string>& stops, bool& is_stopped) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& s : stops) {
      if (text.substr(0, end).ends_with(s)) longest = std::max(longest, s.size());
    }
    if (longest != 0) return is_stopped = true, std::string(text.substr(0, end - longest));
  }
  return is_stopped = false, std::string(text);
}

/// Whether the bytes end within a character: a lead byte with fewer bytes behind it than it announces, all of them continuations that may follow it.
bool ends_within_character(std::string_view text) {
  for (std::size_t n = 1; n <= 3 && n <= text.size(); ++n) {
    const auto lead = static_cast<unsigned char>(text[text.size() - n]);
    if ((lead & 0xc0) == 0x80) continue;
    const std::size_t length = lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xc2 && lead < 0xe0 ? 2 : 1;
    if (n == 1 || length <= n) return length > n;
    const auto second = static_cast<unsigned char>(text[text.size() - n + 1]);
    const bool is_bad =
        (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f);
    return !is_bad;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto take = [&rest](std::size_t n) {
    const std::string_view taken = rest.substr(0, n);
    rest.remove_prefix(taken.size());
    return taken;
  };
  const auto byte = [&]() -> unsigned { return rest.empty() ? 0u : static_cast<unsigned char>(take(1)[0]); };
  std::vector<std::string> stops;
  for (unsigned n = byte() % 4; n > 0; --n) {
    stops.emplace_back(take(1 + byte() % 8));
    if (stops.back().empty()) stops.pop_back();
  }
  std::string_view cuts = take(byte());
  if (cuts.empty()) cuts = std::string_view("\0", 1);
  const std::string_view text = rest;

  auto output = text_output::create(stops, 8);
  expect(output.has_value());
  bool is_stopped = false;
  const std::string expected = before_stop(text, stops, is_stopped);
  std::string all;
  for (std::size_t at = 0, i = 0; at < text.size() && !output->is_stopped(); ++i) {
    const std::string_view piece = text.substr(at, 1 + static_cast<unsigned char>(cuts[i % cuts.size()]) % 8);
    at += piece.size();
    const bool is_last = at == text.size();
    const std::string_view released = output->push(piece, is_last);
    all += released;
    expect(expected.starts_with(all));
    // Bytes that begin a character may come out once the next byte shows that it never ends.
    const bool is_broken = all.size() < expected.size() && (static_cast<unsigned char>(expected[all.size()]) & 0xc0) != 0x80;
    if (!is_last && !output->is_stopped()) expect(is_broken || !ends_within_character(all));
    expect(output->released_bytes() == all.size());
  }
  all += output->flush();
  expect(all == expected);
  expect(output->is_stopped() == is_stopped);
  return 0;
}
