// SPDX-License-Identifier: MIT
// chat/schema/decimals.hpp - the numbers between two bounds as pieces of a grammar: plain decimals, digit by digit, without exponents.
//
//   0.25 <= x < 2       "0" "." ("2" ("5" [0-9]{0,12} | [6-9] ...) | [3-9] ...)  |  "1" ("." [0-9]{1,14})?
// Ensures   at most 18 digits before the point, and as many after it as make 15 together with those that the bounds have before theirs. Doubles tell decimals
//           of 15 digits apart, so a number inside the bounds is still inside when it was read as a double. 0 has no sign
// Errors    none, except for memory; nothing is returned where no number is between the bounds
// Threads   pure functions
#pragma once

#include <cria/chat/number.hpp>
#include <cria/chat/schema/gbnf_text.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// A number that is not negative, as digits: no leading zeros in `whole` (except for 0 itself), no trailing ones in `fraction`.
struct decimal {
  std::string whole = "0", fraction = {};

  /// Returns the shortest decimal that reads back as |value|. Requires a finite value.
  [[nodiscard]] static decimal of(double value) {
    if (value == 0) return {};
    const shortest_digits s = find_shortest(std::fabs(value));
    if (s.point <= 0) return {"0", std::string(static_cast<std::size_t>(-s.point), '0') + s.digits};
    const auto n_whole = static_cast<std::size_t>(s.point);
    if (s.digits.size() <= n_whole) return {s.digits + std::string(n_whole - s.digits.size(), '0'), {}};
    return {s.digits.substr(0, n_whole), s.digits.substr(n_whole)};
  }

  /// Rounds to at most n digits after the point, down or up; returns whether the number changed.
  bool round_to(std::size_t n, bool up) {
    if (fraction.size() <= n) return false;
    fraction.resize(n);
    if (up) increment();
    fraction.resize(fraction.find_last_not_of('0') + 1);
    return true;
  }

  [[nodiscard]] friend bool operator<(const decimal& a, const decimal& b) noexcept {
    if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size();
    return a.whole != b.whole ? a.whole < b.whole : a.fraction < b.fraction;
  }
  [[nodiscard]] friend bool operator==(const decimal& a, const decimal& b) noexcept { return a.whole == b.whole && a.fraction == b.fraction; }

 private:
  /// Adds one to the last digit.
  void increment() {
    for (std::string* digits : {&fraction, &whole}) {
      for (std::size_t i = digits->size(); i-- > 0;) {
        if (++(*digits)[i] <= '9') return;
        (*digits)[i] = '0';
      }
    }
    whole.insert(0, "1");
  }
};

/// A bound of numbers.
struct number_bound {
  double value = 0;
  bool is_open = false;   ///< the bound itself is not allowed
};

/// Writes the decimals between two bounds.
class decimal_ranges {
 public:
  static constexpr std::size_t most_whole_digits = 14;   // of bounds: at least one digit is left for after the point

  /// Returns the numbers between two bounds, or on the right side of one. Requires bounds with at most most_whole_digits before the point.
  [[nodiscard]] static std::optional<std::string> between(const std::optional<number_bound>& low, const std::optional<number_bound>& high) {
    decimal_ranges ranges(low, high);
    pieces ways;
    // Below 0 sizes run the other way.
    if (!low || low->value < 0) {
      const edge nearest = high && high->value < 0 ? edge{decimal::of(high->value), high->is_open} : edge{{}, true};
      ranges.add(ways, "\"-\" ", ranges.sizes(nearest, low ? std::optional(edge{decimal::of(low->value), low->is_open}) : std::nullopt));
    }
    if (!high || high->value >= 0) {
      const edge nearest = low && low->value >= 0 ? edge{decimal::of(low->value), low->is_open} : edge{};
      ranges.add(ways, "", ranges.sizes(nearest, high ? std::optional(edge{decimal::of(high->value), high->is_open}) : std::nullopt));
    }
    return any_of(ways);
  }

 private:
  using pieces = std::vector<std::string>;
  using piece = std::optional<std::string>;   // nothing: no text can stand here
  struct edge {
    decimal at = {};
    bool is_open = false;
  };

  decimal_ranges(const std::optional<number_bound>& low, const std::optional<number_bound>& high) {
    std::size_t n = 1;
    for (const auto* bound : {&low, &high}) n = *bound ? std::max(n, decimal::of((*bound)->value).whole.size()) : n;
    n_digits_ = most_whole_digits + 1 - n;
  }

  static void add(pieces& ways, const std::string& before, const piece& one) {
    if (one) ways.push_back(before + *one);
  }
  [[nodiscard]] static piece any_of(const pieces& ways) { return ways.empty() ? piece() : gbnf_any_of(ways); }
  [[nodiscard]] static std::string digits(char first, char last) { return std::string("[") + first + "-" + last + "]"; }
  /// Returns any digits, or zeros, from place i after the point on.
  [[nodiscard]] std::string rest(std::size_t i, std::string_view digit = "[0-9]") const {
    return i == n_digits_ ? "\"\"" : std::string(digit) + "{0," + std::to_string(n_digits_ - i) + "}";
  }
  [[nodiscard]] std::string any_fraction() const { return "(\".\" [0-9]{1," + std::to_string(n_digits_) + "})?"; }
  [[nodiscard]] static char digit_at(const std::string& fraction, std::size_t i) noexcept { return i < fraction.size() ? fraction[i] : '0'; }

  /// Returns the sizes from one edge to another.
  [[nodiscard]] piece sizes(edge low, std::optional<edge> high) const {
    if (low.at.round_to(n_digits_, true)) low.is_open = false;
    if (high && high->at.round_to(n_digits_, false)) high->is_open = false;
    if (high && (high->at < low.at || (high->at == low.at && (low.is_open || high->is_open)))) return std::nullopt;
    constexpr std::uint64_t largest = 999'999'999'999'999'999;
    const std::uint64_t first = std::stoull(low.at.whole), last = high ? std::stoull(high->at.whole) : largest;
    pieces ways;
    if (high && first == last) {
      add(ways, gbnf_literal(low.at.whole) + " ", fraction_between(low, *high));
      return any_of(ways);
    }
    add(ways, gbnf_literal(low.at.whole) + " ", fraction_at_least(low));
    const std::uint64_t end = high ? last : largest + 1;
    if (end - first > 1) ways.push_back(digit_ranges::between(first + 1, end - 1) + " " + any_fraction());
    if (high) add(ways, gbnf_literal(high->at.whole) + " ", fraction_at_most(*high));
    return any_of(ways);
  }

  [[nodiscard]] piece fraction_at_least(const edge& low) const {
    if (low.at.fraction.empty() && !low.is_open) return any_fraction();
    const piece tail = at_least(low, 0);
    return tail ? piece("\".\" " + *tail) : piece();
  }
  [[nodiscard]] piece fraction_at_most(const edge& high) const {
    if (high.at.fraction.empty()) return high.is_open ? piece() : "(\".\" \"0\"{1," + std::to_string(n_digits_) + "})?";
    const piece tail = at_most(high, 0);
    return tail ? "(\".\" " + *tail + ")?" : std::string("\"\"");
  }
  /// Requires low < high, or equal and closed.
  [[nodiscard]] piece fraction_between(const edge& low, const edge& high) const {
    const piece tail = between(low, high, 0);
    const bool may_be_empty = low.at.fraction.empty() && !low.is_open;
    if (!tail) return may_be_empty ? piece("\"\"") : piece();
    return may_be_empty ? "(\".\" " + *tail + ")?" : "\".\" " + *tail;
  }

  // The digits from place i after the point on, where those before are the edge's.

  [[nodiscard]] piece at_least(const edge& low, std::size_t i) const {
    const std::string& edge_digits = low.at.fraction;
    if (i >= edge_digits.size() && !low.is_open) return rest(i);
    if (i == n_digits_) return std::nullopt;
    const char d = digit_at(edge_digits, i);
    pieces ways;
    add(ways, digits(d, d) + " ", at_least(low, i + 1));
    if (d != '9') ways.push_back(digits(static_cast<char>(d + 1), '9') + " " + rest(i + 1));
    return any_of(ways);
  }

  [[nodiscard]] piece at_most(const edge& high, std::size_t i) const {
    const std::string& edge_digits = high.at.fraction;
    if (i >= edge_digits.size()) return high.is_open ? piece() : rest(i, "\"0\"");
    const char d = edge_digits[i];
    pieces ways;
    if (i != 0) ways.emplace_back("\"\"");
    if (d != '0') ways.push_back(digits('0', static_cast<char>(d - 1)) + " " + rest(i + 1));
    add(ways, digits(d, d) + " ", at_most(high, i + 1));
    return any_of(ways);
  }

  [[nodiscard]] piece between(const edge& low, const edge& high, std::size_t i) const {
    if (low.at == high.at && i >= low.at.fraction.size()) return i == 0 ? "\"0\"{1," + std::to_string(n_digits_) + "}" : rest(i, "\"0\"");
    const char a = digit_at(low.at.fraction, i), b = digit_at(high.at.fraction, i);
    pieces ways;
    if (i != 0 && i >= low.at.fraction.size() && !low.is_open) ways.emplace_back("\"\"");
    if (a == b) {
      add(ways, digits(a, a) + " ", between(low, high, i + 1));
    } else {
      add(ways, digits(a, a) + " ", at_least(low, i + 1));
      if (b - a > 1) ways.push_back(digits(static_cast<char>(a + 1), static_cast<char>(b - 1)) + " " + rest(i + 1));
      add(ways, digits(b, b) + " ", at_most(high, i + 1));
    }
    return any_of(ways);
  }

  std::size_t n_digits_ = 0;   // at most, after the point
};

}  // namespace cria::inline v0_1_0::detail
