// SPDX-License-Identifier: MIT
// chat/jinja/find_text.hpp - finds a text in another in linear time, whatever the two are.
//
// Units    bytes
// Ensures  as std::string_view::find and rfind, whose time is the product of the two lengths at worst
// Source   Knuth, Morris, Pratt: Fast pattern matching in strings (1977)
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Texts up to this length are searched for by the standard library.
inline constexpr std::size_t longest_short_pattern = 32;

/// Finds the first, or the last, place of a pattern that is not empty; at(i) and pattern_at(i) are the bytes in the order of the search.
template <class At, class PatternAt>
[[nodiscard]] std::size_t find_in_order(std::size_t size, std::size_t length, At&& at, PatternAt&& pattern_at) {
  std::vector<std::size_t> borders(length, 0);   // of each beginning: how much of it is also its end
  for (std::size_t i = 1, n = 0; i < length; ++i) {
    while (n > 0 && pattern_at(i) != pattern_at(n)) n = borders[n - 1];
    if (pattern_at(i) == pattern_at(n)) ++n;
    borders[i] = n;
  }
  for (std::size_t i = 0, n = 0; i < size; ++i) {
    while (n > 0 && at(i) != pattern_at(n)) n = borders[n - 1];
    if (at(i) == pattern_at(n)) ++n;
    if (n == length) return i + 1 - length;
  }
  return std::string_view::npos;
}

[[nodiscard]] inline std::size_t find_text(std::string_view s, std::string_view wanted, std::size_t from = 0) {
  if (wanted.size() <= longest_short_pattern || from > s.size()) return s.find(wanted, from);
  if (wanted.size() > s.size() - from) return s.npos;
  const std::string_view rest = s.substr(from);
  const std::size_t at = find_in_order(rest.size(), wanted.size(), [&](std::size_t i) { return rest[i]; }, [&](std::size_t i) { return wanted[i]; });
  return at == s.npos ? at : from + at;
}

[[nodiscard]] inline std::size_t rfind_text(std::string_view s, std::string_view wanted) {
  if (wanted.size() <= longest_short_pattern) return s.rfind(wanted);
  if (wanted.size() > s.size()) return s.npos;
  const std::size_t at = find_in_order(s.size(), wanted.size(), [&](std::size_t i) { return s[s.size() - 1 - i]; },
                                       [&](std::size_t i) { return wanted[wanted.size() - 1 - i]; });
  return at == s.npos ? at : s.size() - at - wanted.size();
}

}  // namespace cria::inline v0_1_0::jinja
