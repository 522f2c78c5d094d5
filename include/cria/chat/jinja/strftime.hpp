// SPDX-License-Identifier: MIT
// chat/jinja/strftime.hpp - a moment as text: %Y-%m-%d, %d %b %Y and the other directives of Python's strftime, in the C locale.
//
// Errors   nothing for a directive that is not known (%Z, %z and week numbers among them: a civil time has no zone)
// Source   Python 3 library reference, "strftime() and strptime() Format Codes"; days of the week: Zeller's congruence
#pragma once

#include <cria/chat/jinja/runtime.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::jinja {

[[nodiscard]] constexpr bool is_leap_year(int year) noexcept { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

/// Returns 0 for Sunday.
[[nodiscard]] constexpr int weekday_of(const civil_time& t) noexcept {
  const int month = t.month < 3 ? t.month + 12 : t.month, year = t.month < 3 ? t.year - 1 : t.year;
  return (t.day + 13 * (month + 1) / 5 + year + year / 4 - year / 100 + year / 400 + 6) % 7;
}
/// Returns 1 for the first of January.
[[nodiscard]] constexpr int day_of_year(const civil_time& t) noexcept {
  constexpr int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  return before[t.month - 1] + t.day + (t.month > 2 && is_leap_year(t.year));
}

class time_writer {
 public:
  explicit time_writer(const civil_time& t) : t_(t) {}

  [[nodiscard]] std::optional<std::string> write(std::string_view format) const {
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
      if (format[i] != '%') {
        out += format[i];
        continue;
      }
      const bool is_bare = i + 1 < format.size() && format[i + 1] == '-';   // %-d: without leading zero
      i += is_bare ? 2 : 1;
      if (i >= format.size() || !write_directive(out, format[i], is_bare ? 1 : 2)) return std::nullopt;
    }
    return out;
  }

 private:
  static void add_number(std::string& out, int n, std::size_t width, char fill = '0') {
    const std::string digits = std::to_string(n);
    if (digits.size() < width) out.append(width - digits.size(), fill);
    out += digits;
  }
  bool write_directive(std::string& out, char directive, std::size_t width) const {
    constexpr std::string_view months[] = {"January", "February", "March",     "April",   "May",      "June",
                                           "July",    "August",   "September", "October", "November", "December"};
    constexpr std::string_view days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    const std::string_view month = months[t_.month - 1], day = days[weekday_of(t_)];
    const int hour12 = t_.hour % 12 == 0 ? 12 : t_.hour % 12;
    const auto several = [&](std::string_view format) { return out += write(format).value_or(""), true; };
    switch (directive) {
      case 'Y': add_number(out, t_.year, 1); return true;
      case 'y': add_number(out, t_.year % 100, width); return true;
      case 'C': add_number(out, t_.year / 100, width); return true;
      case 'm': add_number(out, t_.month, width); return true;
      case 'd': add_number(out, t_.day, width); return true;
      case 'e': add_number(out, t_.day, width, ' '); return true;
      case 'H': add_number(out, t_.hour, width); return true;
      case 'I': add_number(out, hour12, width); return true;
      case 'M': add_number(out, t_.minute, width); return true;
      case 'S': add_number(out, t_.second, width); return true;
      case 'f': out += "000000"; return true;
      case 'j': add_number(out, day_of_year(t_), width == 1 ? 1 : 3); return true;
      case 'u': add_number(out, weekday_of(t_) == 0 ? 7 : weekday_of(t_), 1); return true;
      case 'w': add_number(out, weekday_of(t_), 1); return true;
      case 'B': out += month; return true;
      case 'b': case 'h': out += month.substr(0, 3); return true;
      case 'A': out += day; return true;
      case 'a': out += day.substr(0, 3); return true;
      case 'p': out += t_.hour < 12 ? "AM" : "PM"; return true;
      case 'n': out += '\n'; return true;
      case 't': out += '\t'; return true;
      case '%': out += '%'; return true;
      case 'F': return several("%Y-%m-%d");
      case 'D': case 'x': return several("%m/%d/%y");
      case 'T': case 'X': return several("%H:%M:%S");
      case 'R': return several("%H:%M");
      case 'r': return several("%I:%M:%S %p");
      case 'c': return several("%a %b %e %H:%M:%S %Y");
      default: return false;
    }
  }

  const civil_time& t_;
};

}  // namespace cria::inline v0_1_0::jinja
