// SPDX-License-Identifier: MIT
// chat/number.hpp - numbers to text and back as Python writes them, whatever the locale.
//
// Ensures  python_repr(x) is the shortest text that reads back as x, laid out as Python's repr(); "%.Nf" and "%.Ne" are rounded from the exact
//          value, half to even
// Errors   none: absence of a value is the failure
// Source   Python 3 language reference, float.__repr__: exponents below -4 and from 16 on are written in scientific form
#pragma once

#include <cria/core/config.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace cria::inline v0_1_0::detail {

/// Returns whether a decimal number is less than 1, by its digits: where a double cannot say it. Requires a number, not 0.
[[nodiscard]] inline bool is_below_one(std::string_view text) noexcept {
  const std::size_t e = std::min(text.find_first_of("eE"), text.size());
  const std::string_view digits = text.substr(0, e);
  const auto point = static_cast<std::int64_t>(std::min(digits.find('.'), digits.size())), first = static_cast<std::int64_t>(digits.find_first_not_of("0."));
  std::string_view power = text.substr(std::min(e + 1, text.size()));
  if (power.starts_with('+')) power.remove_prefix(1);
  std::int64_t exponent = 0;
  const auto read = std::from_chars(power.data(), power.data() + power.size(), exponent);
  if (read.ec == std::errc::result_out_of_range) return power.starts_with('-');
  // 0.d1d2d3... times 10 to the power of what is left of the point, or of the zeros behind it.
  const std::int64_t magnitude = first < point ? point - first : point + 1 - first;
  return exponent <= -magnitude;
}

/// Reads the whole of `text` as a decimal number: digits, fraction, exponent, no sign. Beyond the range it is infinite or zero.
[[nodiscard]] inline std::optional<double> parse_decimal(std::string_view text) {
  double value = 0;
#if defined(__cpp_lib_to_chars)
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure == std::errc::invalid_argument || stop != text.data() + text.size()) return std::nullopt;
  if (failure == std::errc::result_out_of_range) return is_below_one(text) ? 0.0 : std::numeric_limits<double>::infinity();
#else
  const std::string copy(text);
  char* stop = nullptr;
  value = std::strtod(copy.c_str(), &stop);
  if (stop != copy.c_str() + copy.size() || copy.empty()) return std::nullopt;
#endif
  return value;
}

/// Returns `value`, which is finite, in the form of printf's %.<precision>f, %e or %g. Precision at most 400.
[[nodiscard]] inline std::string format_digits(double value, int precision, std::chars_format form) {
  std::array<char, 800> buffer;   // 309 digits before the point, 400 after it
#if defined(__cpp_lib_to_chars)
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, form, precision).ptr};
#else
  const char* pattern = form == std::chars_format::fixed ? "%.*f" : form == std::chars_format::scientific ? "%.*e" : "%.*g";
  return {buffer.data(), static_cast<std::size_t>(std::snprintf(buffer.data(), buffer.size(), pattern, precision, value))};
#endif
}

/// The shortest digits that read back as a finite positive number: 0.d1d2d3... times 10 to the power `point`.
struct shortest_digits {
  std::string digits;
  int point = 0;
};

[[nodiscard]] inline shortest_digits find_shortest(double value) {
  std::string text;
#if defined(__cpp_lib_to_chars)
  std::array<char, 64> buffer;
  text.assign(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific).ptr);
#else
  for (int precision = 0; precision < 17; ++precision) {
    text = format_digits(value, precision, std::chars_format::scientific);
    if (std::strtod(text.c_str(), nullptr) == value) break;
  }
#endif
  const std::size_t e = text.find('e');
  shortest_digits out;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') out.digits += c;
  }
  while (out.digits.size() > 1 && out.digits.back() == '0') out.digits.pop_back();
  int exponent = 0;
  for (const char c : text.substr(e + 2)) exponent = exponent * 10 + (c - '0');
  out.point = (text[e + 1] == '-' ? -exponent : exponent) + 1;
  return out;
}

/// Returns the number as Python's repr() writes it: 1.0, 1e-05, 1.5e+16, inf, nan.
[[nodiscard]] inline std::string python_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const std::string sign = std::signbit(value) ? "-" : "";
  if (value == 0) return sign + "0.0";
  const shortest_digits s = find_shortest(std::fabs(value));
  const auto n = static_cast<int>(s.digits.size());
  if (s.point > -4 && s.point <= 16) {
    if (s.point <= 0) return sign + "0." + std::string(static_cast<std::size_t>(-s.point), '0') + s.digits;
    if (s.point >= n) return sign + s.digits + std::string(static_cast<std::size_t>(s.point - n), '0') + ".0";
    return sign + s.digits.substr(0, static_cast<std::size_t>(s.point)) + "." + s.digits.substr(static_cast<std::size_t>(s.point));
  }
  const int exponent = s.point - 1;
  std::string power = std::to_string(exponent < 0 ? -exponent : exponent);
  if (power.size() < 2) power.insert(0, "0");
  return sign + s.digits.substr(0, 1) + (n > 1 ? "." + s.digits.substr(1) : "") + (exponent < 0 ? "e-" : "e+") + power;
}

}  // namespace cria::inline v0_1_0::detail
