// SPDX-License-Identifier: MIT
// chat/schema/formats.hpp - what a schema's "format" makes of a string: rules for what stands between the quotes, and how long its texts are.
//
// Ensures   every text is of the format; not every text of the format is made: dates of the years 1000 to 9999, addresses and hosts of ASCII letters and
//           digits (a host of 189 characters at most, so that an address stays below the 254 that mail allows), URIs with a host, IPv6 addresses of at most
//           seven groups where :: stands for the others
// Errors    none (noexcept)
// Source    RFC 3339 (times, appendix A: durations), 4122 (uuid), 5321 section 4.1.2 (email), 1123 section 2.1 (hostname), 2673 section 3.2 (ipv4),
//           4291 section 2.2 (ipv6), 3986 (uri); JSON Schema 2020-12, validation 7.3
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string_view>

namespace cria::inline v0_1_0::detail {

/// Rules that formats share.
inline constexpr std::string_view format_rules = R"(hour-minute ::= ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]
time ::= hour-minute ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] hour-minute)
day28 ::= "0" [1-9] | "1" [0-9] | "2" [0-8]
day30 ::= day28 | "29" | "30"
month-day ::= "02-" day28 | ("04" | "06" | "09" | "11") "-" day30 | ("01" | "03" | "05" | "07" | "08" | "10" | "12") "-" (day30 | "31")
date ::= [1-9] [0-9]{3} "-" month-day
count ::= [0-9]{1,9}
times ::= count "H" (count "M" (count "S")?)? | count "M" (count "S")? | count "S"
days ::= count "Y" (count "M" (count "D")?)? | count "M" (count "D")? | count "D"
label ::= [a-zA-Z0-9]{1,24} ("-" [a-zA-Z0-9]{1,15}){0,2}
host ::= (label "."){0,3} [a-zA-Z]{2,18}
byte ::= "25" [0-5] | "2" [0-4] [0-9] | "1" [0-9]{2} | [1-9]? [0-9]
group ::= hex{1,4}
uri-char ::= [a-zA-Z0-9._~!$&'()*+,;=:@/-] | "%" [0-9A-F]{2}
)";

/// A format, its rule, and bounds of what the rule makes.
struct string_format {
  std::string_view name;
  std::size_t least, most;   // characters
  std::string_view rule;
};

inline constexpr string_format string_formats[] = {
    {"date", 10, 10, "date"},
    {"time", 9, 21, "time"},
    {"date-time", 20, 32, R"(date "T" time)"},
    {"duration", 3, 62, R"("P" (count "W" | days ("T" times)? | "T" times))"},
    {"uuid", 36, 36, R"(hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12})"},
    {"email", 6, 253, R"([a-zA-Z0-9_+-]{1,21} ("." [a-zA-Z0-9_+-]{1,20}){0,2} "@" (label "."){1,3} [a-zA-Z]{2,18})"},
    {"hostname", 2, 189, "host"},
    {"ipv4", 7, 15, R"(byte ("." byte){3})"},
    {"ipv6", 2, 39, R"((group (":" group){7} | (group (":" group){0,2})? "::" (group (":" group){0,3})?))"},
    {"uri", 7, 2010,
     R"([a-z] [a-z0-9+.-]{1,9} "://" host (":" [1-9] [0-9]{0,3})? ("/" uri-char{0,400})? ("?" (uri-char | "?"){0,150})? ("#" (uri-char | "?"){0,50})?)"},
};

/// Returns the format of that name, nullptr where there is none.
[[nodiscard]] inline const string_format* find_string_format(std::string_view name) noexcept {
  const auto* found = std::find_if(std::begin(string_formats), std::end(string_formats), [name](const string_format& f) { return f.name == name; });
  return found == std::end(string_formats) ? nullptr : found;
}

}  // namespace cria::inline v0_1_0::detail
