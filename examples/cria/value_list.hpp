// SPDX-License-Identifier: MIT
// value_list.hpp - lists of numbers as llama-bench takes them: "1,2,4", "1-8" (step 1), "128-512+128", "1-8*2".
#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace cria_program {

namespace detail {

/// Takes a number off the front of the text.
[[nodiscard]] inline std::optional<std::size_t> take_number(std::string_view& text) {
  std::size_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

/// Appends the numbers of one item; returns whether it is one: N, N-N, N-N+N or N-N*N, with at most 1,000 numbers.
[[nodiscard]] inline bool append_item(std::string_view item, std::size_t highest, std::vector<std::size_t>& out) {
  const auto first = take_number(item);
  if (!first || *first > highest) return false;
  if (item.empty()) {
    out.push_back(*first);
    return true;
  }
  if (item.front() != '-') return false;
  item.remove_prefix(1);
  const auto last = take_number(item);
  if (!last || *last > highest || *last < *first) return false;
  const char how = item.empty() ? '+' : item.front();
  std::size_t step = 1;
  if (!item.empty()) {
    item.remove_prefix(1);
    const auto given = take_number(item);
    if (!given || !item.empty() || *given > highest) return false;
    step = *given;
  }
  if ((how != '+' && how != '*') || step < (how == '*' ? 2u : 1u) || (how == '*' && *first == 0)) return false;
  for (std::size_t n = *first; n <= *last; n = how == '*' ? n * step : n + step) {
    if (out.size() == 1000) return false;
    out.push_back(n);
  }
  return true;
}

}  // namespace detail

/// Returns the numbers of the list in its order, none above `highest`; nothing where the text is no list. Requires highest < 2^32.
[[nodiscard]] inline std::optional<std::vector<std::size_t>> parse_value_list(std::string_view text, std::size_t highest) {
  std::vector<std::size_t> out;
  for (bool more = true; more;) {
    const std::size_t comma = text.find(',');
    if (!detail::append_item(text.substr(0, comma), highest, out)) return std::nullopt;
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);
  }
  return out;
}

}  // namespace cria_program
