// SPDX-License-Identifier: MIT
// chat/json.hpp - a small JSON value: parsed within limits, printed as Python's json module prints it. Members keep their order.
//
// Units    bytes
// Ensures  parse accepts RFC 8259 and nothing else: UTF-8, one value, no comments; of equal keys the last value stays at the place of the first;
//          integers are kept exactly, those beyond 64 bits as their digits
// Errors   parse: syntax, with `where` "line L, column C" and the offset; limit_exceeded (nesting, size), out_of_memory
// Threads  values; nothing is shared
// Source   RFC 8259
#pragma once

#include <cria/chat/number.hpp>
#include <cria/core/result.hpp>
#include <cria/core/utf8.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cria::inline v0_1_0 {

/// What a text may have that is parsed: more is limit_exceeded.
struct json_limits {
  std::size_t max_depth = 100;                     ///< arrays and objects inside each other
  std::size_t max_bytes = std::size_t{64} << 20;   ///< of the text
};

class json {
  template <class T>
  static constexpr bool is_character = std::is_same_v<T, char> || std::is_same_v<T, wchar_t> || std::is_same_v<T, char8_t> || std::is_same_v<T, char16_t> ||
                                       std::is_same_v<T, char32_t>;

 public:
  /// An integer that does not fit 64 bits: its sign and digits.
  struct big_integer {
    std::string digits;
    bool operator==(const big_integer&) const = default;
  };
  using array = std::vector<json>;
  using object = std::vector<std::pair<std::string, json>>;

  json() noexcept = default;   ///< null
  json(std::nullptr_t) noexcept {}
  template <class T>
    requires(std::is_integral_v<T> && sizeof(T) <= 8 && !is_character<T>)
  json(T number) : value_(std::in_place_type<std::int64_t>, static_cast<std::int64_t>(number)) {
    if constexpr (std::is_same_v<T, bool>) value_ = number;
    if constexpr (std::is_unsigned_v<T> && sizeof(T) == 8) {
      if (number > static_cast<T>(std::numeric_limits<std::int64_t>::max())) value_ = big_integer{std::to_string(number)};
    }
  }
  template <class T>
    requires is_character<T>
  json(T) = delete;   // a number, or a text of one letter?
  json(double number) : value_(number) {}
  json(big_integer number) : value_(std::move(number)) {}
  json(std::string text) : value_(std::move(text)) {}
  json(std::string_view text) : value_(std::string(text)) {}
  json(const char* text) : value_(std::string(text)) {}
  json(array elements) : value_(std::move(elements)) {}
  json(object members) : value_(std::move(members)) {}
  // Calls: inlined, those of a variant are large, and GCC 12 warns of members that it does not hold.
  CRIA_NOINLINE json(const json& other) : value_(other.value_) {}
  CRIA_NOINLINE json(json&& other) noexcept : value_(std::move(other.value_)) {}
  CRIA_NOINLINE json& operator=(json other) noexcept {
    value_ = std::move(other.value_);
    return *this;
  }
  CRIA_NOINLINE ~json() {}

  /// Reads one value from `text`.
  [[nodiscard]] static result<json> parse(std::string_view text, const json_limits& limits = {});

  /// Returns the value if it is a T: bool, std::int64_t, double, big_integer, std::string, array or object.
  template <class T>
  [[nodiscard]] const T* get_if() const noexcept { return std::get_if<T>(&value_); }
  template <class T>
  [[nodiscard]] T* get_if() noexcept { return std::get_if<T>(&value_); }
  /// Returns any number as a double: what is written without a fraction is a std::int64_t, also where a schema says "number".
  [[nodiscard]] std::optional<double> number() const {
    if (const auto* whole = get_if<std::int64_t>()) return static_cast<double>(*whole);
    if (const auto* real = get_if<double>()) return *real;
    const auto* big = get_if<big_integer>();
    if (big == nullptr) return std::nullopt;
    const bool is_negative = big->digits.starts_with('-');
    const double size = detail::parse_decimal(std::string_view(big->digits).substr(is_negative ? 1 : 0)).value_or(0);
    return is_negative ? -size : size;
  }
  [[nodiscard]] bool is_null() const noexcept { return std::holds_alternative<std::monostate>(value_); }

  /// Returns the member called `key` of an object, nullptr where there is none.
  [[nodiscard]] const json* find(std::string_view key) const noexcept {
    const object* members = get_if<object>();
    if (members == nullptr) return nullptr;
    for (const auto& [name, value] : *members) {
      if (name == key) return &value;
    }
    return nullptr;
  }
  /// Sets the member called `key`; what is no object becomes one.
  void set(std::string_view key, json value) {
    if (get_if<object>() == nullptr) value_ = object{};
    for (auto& [name, old] : *get_if<object>()) {
      if (name == key) return void(old = std::move(value));
    }
    get_if<object>()->emplace_back(std::string(key), std::move(value));
  }

  /// Returns the value as JSON on one line, with ", " and ": " between parts.
  [[nodiscard]] std::string dump() const {
    std::string out;
    print(out);
    return out;
  }

  bool operator==(const json&) const = default;

 private:
  inline void print(std::string& out) const;

  std::variant<std::monostate, bool, std::int64_t, double, big_integer, std::string, array, object> value_;
};

namespace detail {

inline void append_hex_escape(std::string& out, unsigned unit) {
  constexpr char hex[] = "0123456789abcdef";
  out += {'\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
}

/// Appends one character as it stands inside a JSON string; `piece` is its bytes.
inline void append_json_char(std::string& out, char32_t code, std::string_view piece, bool ascii_only) {
  switch (code) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    default: break;
  }
  if (code == invalid_char) {   // what is written can be read again
    code = 0xfffd;
    piece = "\xef\xbf\xbd";
  }
  if (code >= 0x20 && (!ascii_only || code < 0x7f)) {
    out += piece;
  } else if (code < 0x10000) {
    append_hex_escape(out, static_cast<unsigned>(code));
  } else {
    append_hex_escape(out, 0xd800 + (static_cast<unsigned>(code - 0x10000) >> 10));
    append_hex_escape(out, 0xdc00 + (static_cast<unsigned>(code - 0x10000) & 0x3ff));
  }
}

inline void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const utf8_char c = decode_utf8(text, i);
    append_json_char(out, c.code, text.substr(i, c.length), false);
    i += c.length;
  }
  out += '"';
}

/// Returns a float as Python's json module writes it.
[[nodiscard]] inline std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return python_repr(value);
}

class json_parser {
 public:
  json_parser(std::string_view text, const json_limits& limits) : text_(text), limits_(limits) {}

  [[nodiscard]] result<json> parse() {
    if (text_.size() > limits_.max_bytes) return fail(errc::limit_exceeded, std::to_string(text_.size()) + " bytes");
    CRIA_TRY(json value, parse_value(0));
    skip_space();
    if (at_ != text_.size()) return fail(errc::syntax, "text after the value");
    return value;
  }

 private:
  [[nodiscard]] error fail(errc code, const std::string& message) const { return {code, line_and_column(text_, at_), "JSON: " + message, at_}; }

  void skip_space() noexcept {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  [[nodiscard]] bool take(char c) noexcept {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  [[nodiscard]] bool take_word(std::string_view word) noexcept {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  [[nodiscard]] result<json> parse_value(std::size_t depth) {
    if (depth > limits_.max_depth) return fail(errc::limit_exceeded, "nested deeper than " + std::to_string(limits_.max_depth));
    skip_space();
    if (at_ == text_.size()) return fail(errc::syntax, "the text ends where a value is expected");
    switch (text_[at_]) {
      case '{': return parse_object(depth);
      case '[': return parse_array(depth);
      case '"': {
        CRIA_TRY(std::string text, parse_string());
        return json(std::move(text));
      }
      default: break;
    }
    if (take_word("null")) return json();
    if (take_word("true")) return json(true);
    if (take_word("false")) return json(false);
    return parse_number();
  }

  [[nodiscard]] result<json> parse_array(std::size_t depth) {
    ++at_;
    json::array elements;
    if (take(']')) return json(std::move(elements));
    do {
      CRIA_TRY(json element, parse_value(depth + 1));
      elements.push_back(std::move(element));
    } while (take(','));
    if (!take(']')) return fail(errc::syntax, "expected , or ] in an array");
    return json(std::move(elements));
  }

  [[nodiscard]] result<json> parse_object(std::size_t depth) {
    ++at_;
    json::object members;
    std::map<std::string, std::size_t> places;   // only once there are many; hashes could be made to collide
    if (take('}')) return json(std::move(members));
    do {
      skip_space();
      if (at_ == text_.size() || text_[at_] != '"') return fail(errc::syntax, "expected the name of a member in quotes");
      CRIA_TRY(std::string key, parse_string());
      if (!take(':')) return fail(errc::syntax, "expected : after the name of a member");
      CRIA_TRY(json value, parse_value(depth + 1));
      std::size_t place = 0;
      if (members.size() < 16) {
        while (place < members.size() && members[place].first != key) ++place;
      } else {
        for (std::size_t i = places.size(); i < members.size(); ++i) places.emplace(members[i].first, i);
        const auto found = places.find(key);
        place = found == places.end() ? members.size() : found->second;
      }
      if (place < members.size()) {
        members[place].second = std::move(value);
      } else {
        members.emplace_back(std::move(key), std::move(value));
      }
    } while (take(','));
    if (!take('}')) return fail(errc::syntax, "expected , or } in an object");
    return json(std::move(members));
  }

  [[nodiscard]] std::size_t count_digits() noexcept {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ - start;
  }

  [[nodiscard]] result<json> parse_number() {
    const std::size_t start = at_;
    const bool is_negative = take_word("-");
    const std::size_t digits_start = at_;
    const std::size_t n = count_digits();
    if (n == 0 || (n > 1 && text_[digits_start] == '0')) return at_ = start, fail(errc::syntax, "not a value");
    bool is_integer = true;
    if (take_word(".")) {
      is_integer = false;
      if (count_digits() == 0) return fail(errc::syntax, "a number without digits after its point");
    }
    if (take_word("e") || take_word("E")) {
      is_integer = false;
      if (!take_word("+")) static_cast<void>(take_word("-"));
      if (count_digits() == 0) return fail(errc::syntax, "a number without digits in its exponent");
    }
    const std::string_view whole = text_.substr(start, at_ - start);
    if (is_integer) {
      std::int64_t value = 0;
      if (std::from_chars(whole.data(), whole.data() + whole.size(), value).ec == std::errc{}) return json(value);
      return json(json::big_integer{std::string(whole)});
    }
    const double value = parse_decimal(whole.substr(digits_start - start)).value_or(0);
    if (!std::isfinite(value)) return at_ = start, fail(errc::syntax, "a number beyond the range of a double");
    return json(is_negative ? -value : value);
  }

  /// Reads the four digits of \uXXXX; nothing where they are none.
  [[nodiscard]] std::optional<char32_t> parse_hex() noexcept {
    unsigned unit = 0;
    if (text_.size() - at_ < 4) return std::nullopt;
    const auto [stop, failure] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, unit, 16);
    if (failure != std::errc{} || stop != text_.data() + at_ + 4) return std::nullopt;
    at_ += 4;
    return unit;
  }

  [[nodiscard]] result<void> parse_escape(std::string& out) {
    constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    if (const std::size_t i = names.find(c); i != names.npos && c != '\0') return out += values[i], result<void>{};
    if (c != 'u') return fail(errc::syntax, "an unknown escape in a string");
    auto code = parse_hex();
    if (code && *code >= 0xd800 && *code < 0xdc00 && take_word("\\u")) {
      const auto low = parse_hex();
      const bool is_pair = low && *low >= 0xdc00 && *low < 0xe000;
      code = is_pair ? std::optional<char32_t>(0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00)) : std::nullopt;
    }
    if (!code || (*code >= 0xd800 && *code < 0xe000)) return fail(errc::syntax, "a \\u escape that is no character");
    append_utf8(out, *code);
    return {};
  }

  [[nodiscard]] result<std::string> parse_string() {
    ++at_;
    std::string out;
    while (at_ < text_.size()) {
      const utf8_char c = decode_utf8(text_, at_);
      if (c.code == invalid_char) return fail(errc::syntax, "a string that is not UTF-8");
      if (c.code < 0x20) return fail(errc::syntax, "a control character in a string");
      out += text_.substr(at_, c.length);
      at_ += c.length;
      if (c.code == '"') return out.pop_back(), out;
      if (c.code == '\\') {
        out.pop_back();
        CRIA_CHECK(parse_escape(out));
      }
    }
    return fail(errc::syntax, "a string without an end");
  }

  std::string_view text_;
  json_limits limits_;
  std::size_t at_ = 0;
};

}  // namespace detail

inline result<json> json::parse(std::string_view text, const json_limits& limits) {
  return catch_bad_alloc([&] { return detail::json_parser(text, limits).parse(); }, "JSON");
}

inline void json::print(std::string& out) const {
  if (const auto* b = get_if<bool>()) out += *b ? "true" : "false";
  if (is_null()) out += "null";
  if (const auto* n = get_if<std::int64_t>()) out += std::to_string(*n);
  if (const auto* d = get_if<double>()) out += detail::json_number(*d);
  if (const auto* big = get_if<big_integer>()) out += big->digits;
  if (const auto* s = get_if<std::string>()) detail::append_json_string(out, *s);
  if (const auto* elements = get_if<array>()) {
    out += '[';
    for (std::size_t i = 0; i < elements->size(); ++i) {
      if (i != 0) out += ", ";
      (*elements)[i].print(out);
    }
    out += ']';
  }
  if (const auto* members = get_if<object>()) {
    out += '{';
    for (std::size_t i = 0; i < members->size(); ++i) {
      if (i != 0) out += ", ";
      detail::append_json_string(out, (*members)[i].first);
      out += ": ";
      (*members)[i].second.print(out);
    }
    out += '}';
  }
}

}  // namespace cria::inline v0_1_0
