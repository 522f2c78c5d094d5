// SPDX-License-Identifier: MIT
// chat/schema/scalars.hpp - writes the grammars of schemas that hold no other schema: of strings and numbers; reads counts such as minItems; and has the rules
// that the grammars of all schemas share.
//
// Errors    syntax, bad_value, limit_exceeded; `where` is the JSON pointer of the keyword
#pragma once

#include <cria/chat/json.hpp>
#include <cria/chat/schema/decimals.hpp>
#include <cria/chat/schema/formats.hpp>
#include <cria/chat/schema/gbnf_text.hpp>
#include <cria/chat/schema/pattern.hpp>
#include <cria/core/result.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Rules that every schema's grammar has. `value` is any JSON value; ws is bounded, so that a text cannot be blanks for ever.
inline constexpr std::string_view shared_schema_rules = R"(ws ::= | " " | "\n" [ \t]{0,20}
hex ::= [0-9a-fA-F]
char ::= [^"\\\x00-\x1f\x7f] | "\\" (["\\/bfnrt] | "u" ([0-9abcefABCEF] hex{3} | [dD] [0-7] hex{2}))
string ::= "\"" char* "\""
whole ::= "0" | [1-9] [0-9]{0,17}
integer ::= "-"? whole
positive-number ::= whole ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?
number ::= "-"? positive-number
array ::= "[" ws (value ("," ws value)* ws)? "]"
object ::= "{" ws (member ("," ws member)* ws)? "}"
member ::= string ":" ws value
value ::= object | array | string | number | "true" | "false" | "null"
)";

constexpr std::size_t longest_pointer = 200;   // of an error; what is longer is cut

/// Returns the error that a schema is refused with; `where` is a JSON pointer.
[[nodiscard]] inline error refuse_schema(errc code, const std::string& where, std::string message) {
  return {code, printable(where, longest_pointer), "schema: " + std::move(message)};
}

/// Returns a key as part of a JSON pointer.
[[nodiscard]] inline std::string pointer_part(std::string_view key) {
  std::string out = "/";
  for (const char c : key.substr(0, longest_pointer)) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

/// Returns the error for a keyword of the schema at `pointer`.
[[nodiscard]] inline error unsupported_keyword(const std::string& pointer, std::string_view key, std::string_view why = "is not supported") {
  return refuse_schema(errc::syntax, pointer + pointer_part(key), "\"" + printable(key) + "\" " + std::string(why));
}

/// Returns the number under `key`, if there is one: an integer, or a float without a fraction. What is beyond 64 bits is the nearest that is not.
[[nodiscard]] inline result<std::optional<std::int64_t>> schema_integer(const json& schema, const std::string& pointer, std::string_view key) {
  const json* value = schema.find(key);
  if (value == nullptr) return std::optional<std::int64_t>{};
  if (const auto* n = value->get_if<std::int64_t>()) return std::optional(*n);
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max(), least = std::numeric_limits<std::int64_t>::min();
  if (const auto* big = value->get_if<json::big_integer>()) return std::optional(big->digits.starts_with('-') ? least : most);
  constexpr double largest_exact = 9007199254740992.0;
  if (const auto* d = value->get_if<double>(); d != nullptr && std::fabs(*d) >= 0x1p63) return std::optional(*d < 0 ? least : most);
  if (const auto* d = value->get_if<double>(); d != nullptr && std::floor(*d) == *d && std::fabs(*d) <= largest_exact) {
    return std::optional(static_cast<std::int64_t>(*d));
  }
  return unsupported_keyword(pointer, key, "is not an integer of 64 bits");
}

/// A number of times, from least to most; most is nothing where there is no bound.
struct schema_count {
  std::size_t least = 0;
  std::optional<std::size_t> most;

  [[nodiscard]] std::string quantifier() const {
    return "{" + std::to_string(least) + "," + (most ? std::to_string(*most) : std::string()) + "}";
  }
};

/// Reads a pair of keywords such as minItems and maxItems.
[[nodiscard]] inline result<schema_count> read_count(const json& schema, const std::string& pointer, std::string_view least, std::string_view most) {
  constexpr std::int64_t largest = 9'999;
  schema_count count;
  for (const std::string_view key : {least, most}) {
    CRIA_TRY(const auto n, schema_integer(schema, pointer, key));
    if (!n) continue;
    if (*n < 0) return unsupported_keyword(pointer, key, "is negative");
    if (*n > largest) return refuse_schema(errc::limit_exceeded, pointer + pointer_part(key), "more than " + std::to_string(largest));
    (key == least ? count.least : count.most.emplace()) = static_cast<std::size_t>(*n);
  }
  if (count.most && *count.most < count.least) return refuse_schema(errc::bad_value, pointer + pointer_part(most), "is less than " + std::string(least));
  return count;
}

/// Writes the strings that pattern, format, minLength and maxLength allow.
[[nodiscard]] inline result<std::string> write_string(const json& schema, const std::string& pointer) {
  const json* pattern = schema.find("pattern");
  const json* format = schema.find("format");
  CRIA_TRY(const schema_count length, read_count(schema, pointer, "minLength", "maxLength"));
  const bool is_counted = length.least != 0 || length.most;
  if (pattern != nullptr) {
    if (is_counted || format != nullptr) return unsupported_keyword(pointer, "pattern", "beside a length or a format is not supported");
    if (pattern->get_if<std::string>() == nullptr) return unsupported_keyword(pointer, "pattern", "is not a string");
    CRIA_TRY(const std::string inside, pattern_compiler(*pattern->get_if<std::string>(), "char", pointer + "/pattern").compile());
    return "(\"\\\"\" " + inside + " \"\\\"\")";
  }
  if (format != nullptr) {
    const auto* name = format->get_if<std::string>();
    const string_format* known = name != nullptr ? find_string_format(*name) : nullptr;
    if (known == nullptr) return refuse_schema(errc::syntax, pointer + "/format", "format " + printable(format->dump()) + " is not supported");
    if (length.least > known->least || (length.most && *length.most < known->most)) {
      return unsupported_keyword(pointer, "format", "beside a length is supported where all its texts, of " + std::to_string(known->least) + " to " +
                                                        std::to_string(known->most) + " characters, have it");
    }
    return "(\"\\\"\" " + std::string(known->rule) + " \"\\\"\")";
  }
  return is_counted ? "(\"\\\"\" char" + length.quantifier() + " \"\\\"\")" : std::string("string");
}

/// Returns the integers from low to high, as far as they have at most 18 digits.
[[nodiscard]] inline std::string write_integers(std::int64_t low, std::int64_t high) {
  std::vector<std::string> ways;
  if (low < 0) ways.push_back("\"-\" " + digit_ranges::between(static_cast<std::uint64_t>(high < 0 ? -high : 1), static_cast<std::uint64_t>(-low)));
  if (high >= 0) ways.push_back(digit_ranges::between(static_cast<std::uint64_t>(std::max<std::int64_t>(low, 0)), static_cast<std::uint64_t>(high)));
  return "(" + gbnf_any_of(ways) + ")";
}

/// Returns the numbers, with fractions, between the bounds under these keys.
[[nodiscard]] inline result<std::string> write_fractions(const json& schema, const std::string& pointer, std::span<const std::string_view> keys) {
  std::optional<number_bound> low, high;
  bool is_positive = true;   // minimum 0, and no more
  for (const std::string_view key : keys) {
    const json* bound = schema.find(key);
    if (bound == nullptr) continue;
    const auto number = bound->number();
    if (!number) return unsupported_keyword(pointer, key, "is not a number");
    const number_bound b{*number, key.starts_with("ex")};
    const bool is_lower = key.ends_with("inimum");
    is_positive &= key == "minimum" && b.value == 0;
    constexpr double beyond = 1e18;   // all numbers that are written without an exponent
    if (is_lower ? b.value < -beyond : b.value > beyond) continue;
    if (!std::isfinite(b.value) || decimal::of(b.value).whole.size() > decimal_ranges::most_whole_digits) {
      return refuse_schema(errc::limit_exceeded, pointer + pointer_part(key), "numbers with bounds of more than 14 digits before the point");
    }
    auto& known = is_lower ? low : high;
    const bool is_closer = !known || (is_lower ? b.value > known->value : b.value < known->value);
    if (is_closer || (b.value == known->value && b.is_open)) known = b;
  }
  if (is_positive) return std::string("positive-number");
  auto piece = decimal_ranges::between(low, high);
  if (!piece) return refuse_schema(errc::bad_value, pointer, "no number of at most 15 digits is between the bounds");
  return *std::move(piece);
}

/// Writes the numbers between the bounds of the schema: integers only, or fractions, too.
[[nodiscard]] inline result<std::string> write_number(const json& schema, const std::string& pointer, bool has_fractions) {
  constexpr std::string_view keys[] = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"};
  const bool is_bounded = std::any_of(std::begin(keys), std::end(keys), [&](std::string_view key) { return schema.find(key) != nullptr; });
  if (!is_bounded) return std::string(has_fractions ? "number" : "integer");
  if (has_fractions) return write_fractions(schema, pointer, keys);
  constexpr std::int64_t largest = 999'999'999'999'999'999;
  std::int64_t low = -largest, high = largest;
  for (const std::string_view key : keys) {
    CRIA_TRY(const auto n, schema_integer(schema, pointer, key));
    if (!n) continue;
    const bool is_lower = key.ends_with("inimum");
    // A bound beyond 18 digits is none, or leaves nothing that can be written.
    if (is_lower ? *n > largest : *n < -largest) return refuse_schema(errc::limit_exceeded, pointer + pointer_part(key), "integers of more than 18 digits");
    const std::int64_t bound = std::clamp(*n, -largest - 1, largest + 1) + (key[0] != 'e' ? 0 : is_lower ? 1 : -1);
    if (is_lower) {
      low = std::max(low, bound);
    } else {
      high = std::min(high, bound);
    }
  }
  if (low > high) return refuse_schema(errc::bad_value, pointer, "no integer is between the bounds");
  return write_integers(low, high);
}

}  // namespace cria::inline v0_1_0::detail
