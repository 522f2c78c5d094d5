// SPDX-License-Identifier: MIT
// chat/jinja/filters.hpp - filters of one text or number: trim, replace, indent, tojson, int, round, default and others.
//
// Errors   bad_value where jinja2 raises; limit_exceeded
// Source   Jinja 3.1 template designer documentation, "List of Builtin Filters"; behaviour compared with jinja2 3.1.6; tojson: see repr.hpp
#pragma once

#include <cria/chat/jinja/arithmetic.hpp>
#include <cria/chat/jinja/methods.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::jinja {

struct text_filters {
  /// Applies a method of texts to str(self).
  template <auto Method>
  static value with_text(runtime& rt, const value& self, given_values given) {
    if (self.is_string()) return Method(rt, self, given);
    const value printed = rt.keep(to_text(rt, self));
    return rt.has_failed() ? value::none() : Method(rt, printed, given);
  }
  static value string(runtime& rt, const value& self, given_values) { return self.is_string() ? self : rt.keep(to_text(rt, self)); }
  static value safe(runtime& rt, const value& self, given_values) {
    text t = to_text(rt, self);
    t.is_safe = true;
    return rt.keep(t);
  }
  static value escape(runtime& rt, const value& self, given_values) {
    if (self.is_string() && self.string->is_safe) return self;
    return force_escape(rt, self, {});
  }
  static value force_escape(runtime& rt, const value& self, given_values) {
    const text t = to_text(rt, self);
    if (!rt.charge_chars(t.bytes.size())) return value::none();
    text_builder out;
    append_escaped(out, t);
    return rt.string(out, true);
  }
  static value replace(runtime& rt, const value& self, given_values given) {
    const std::int64_t most = given[2].is(kind::none) ? -1 : string_methods::need_integer(rt, given[2], -1);
    text t = to_text(rt, self);
    t.is_safe = false;
    return rt.has_failed() ? value::none() : replace_all(rt, t, to_text(rt, given[0]), to_text(rt, given[1]), most);
  }
  /// Words begin behind white space and - ( { [ <.
  static void append_title(text_builder& out, const text& t) {
    append_in_cases(out, t, [begins = true](char32_t code, bool) mutable {
      const bool is_first = std::exchange(begins, is_python_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<');
      return is_first ? letter_case::upper : letter_case::lower;
    });
  }
  static value format(runtime& rt, const value& self, const arguments& given) {
    if (!given.positional.empty() && !given.named.empty()) return rt.fail("format takes positional or named arguments, not both");
    std::vector<pair> pairs;
    for (const keyword& k : given.named) pairs.push_back({rt.string(k.name), k.given});
    const text t = to_text(rt, self);
    const value values = pairs.empty() ? rt.make_sequence(kind::tuple, given.positional) : rt.make_dict(pairs);
    return rt.has_failed() ? value::none() : format_percent(rt, t, values);
  }
  static value indent(runtime& rt, const value& self, given_values given) {
    const text* t = string_methods::need_text(rt, self);
    if (t == nullptr) return value::none();
    text_builder margin;
    if (given[0].is_string()) {
      margin.add(*given[0].string);
    } else {
      const std::int64_t width = string_methods::need_integer(rt, given[0], 4);
      if (rt.has_failed() || !rt.charge(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)))) return value::none();
      margin.add(std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' '));
    }
    if (!rt.charge_chars(t->bytes.size())) return value::none();
    text_builder whole, out;
    whole.add(*t).add("\n");   // so that a line end at the end begins a line
    const std::vector<byte_range> lines = line_ranges(whole.view().bytes, false, rt.steps_left() + 1);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (!rt.charge_bytes(lines[i].size() + margin.size())) return value::none();
      if (i > 0) out.add("\n");
      if (i == 0 ? is_true(given[1]) : lines[i].size() != 0 || is_true(given[2])) out.add(margin.view());
      out.add(rt.piece(*t, lines[i].start, lines[i].size()));
    }
    return rt.string(out, t->is_safe);
  }
  static value center(runtime& rt, const value& self, given_values given) {
    const value width[] = {given[0].is_missing() ? value(std::int64_t{80}) : given[0], value()};
    return with_text<&string_methods::pad<'^'>>(rt, self, width);
  }
  static value truncate(runtime& rt, const value& self, given_values given) {
    const text* t = string_methods::need_text(rt, self);
    const std::int64_t length = string_methods::need_integer(rt, given[0], 255);
    const text* end = given[2].is_missing() ? rt.make(text{"...", {}}) : string_methods::need_text(rt, given[2]);
    const std::int64_t leeway = given[3].is(kind::none) ? 5 : string_methods::need_integer(rt, given[3], 5);
    if (rt.has_failed() || !rt.charge_chars(t->bytes.size())) return value::none();
    const auto end_length = static_cast<std::int64_t>(count_chars(end->bytes));
    if (length < end_length || leeway < 0) return rt.fail("a length that leaves no room for the end");
    constexpr std::int64_t longest = std::int64_t{1} << 40;   // no text is
    if (static_cast<std::int64_t>(count_chars(t->bytes)) <= std::min(length, longest) + std::min(leeway, longest)) return self;
    std::size_t size = char_offset(t->bytes, static_cast<std::size_t>(length - end_length));
    if (!is_true(given[1])) size = std::min(t->bytes.substr(0, size).rfind(' '), size);
    text_builder out;
    out.add(rt.piece(*t, 0, size)).add(*end);
    return rt.string(out, t->is_safe);
  }
  static value count_words(runtime& rt, const value& self, given_values) {
    const text t = to_text(rt, self);
    if (!rt.charge_chars(t.bytes.size())) return value::none();
    std::int64_t n = 0;
    bool inside = false;
    for_each_char(t, [&](char32_t code, std::string_view, bool) {
      const char_class c = cria::detail::class_of(code);
      const bool is_word = cria::detail::is_letter(c) || c == char_class::number || code == '_';
      n += is_word && !inside;
      inside = is_word;
    });
    return n;
  }
  static value to_json(runtime& rt, const value& self, given_values given) {
    json_style style;
    style.ascii_only = is_true(given[0]);
    style.sort_keys = is_true(given[3]);
    if (!given[1].is_missing() && !given[1].is(kind::none)) {
      style.is_indented = true;
      style.item_separator.bytes = ",";
      const auto width = given[1].is_string() ? 0 : std::max<std::int64_t>(string_methods::need_integer(rt, given[1], 0), 0);
      if (!rt.charge(static_cast<std::size_t>(width))) return value::none();
      style.indent = given[1].is_string() ? *given[1].string : text{rt.copy(std::string_view(std::string(static_cast<std::size_t>(width), ' '))), {}};
    }
    if (!given[2].is_missing() && !given[2].is(kind::none)) {
      const auto separators = iterate(rt, given[2]);
      if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) return rt.fail("separators are two texts");
      style.item_separator = *separators[0].string;
      style.key_separator = *separators[1].string;
    }
    text_builder out;
    json_writer(rt, out, style).write(self);
    return rt.has_failed() ? value::none() : rt.string(out);
  }
  static value default_value(runtime& rt, const value& self, given_values given) {
    if (!self.is_undefined() && !(is_true(given[1]) && !is_true(self))) return self;
    return given[0].is_missing() ? rt.string("") : given[0];
  }
};

struct number_filters {
  /// Returns the text without white space around it and underscores between its digits; nothing where underscores are elsewhere.
  [[nodiscard]] static std::optional<std::string> plain_number(std::string_view s) {
    s.remove_prefix(leading_space(s));
    s.remove_suffix(trailing_space(s));
    std::string out;
    for (std::size_t i = 0; i < s.size(); ++i) {
      const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
      if (s[i] != '_') out += s[i];
      else if (i == 0 || i + 1 == s.size() || !is_digit(s[i - 1]) || !is_digit(s[i + 1])) return std::nullopt;
    }
    return out;
  }
  [[nodiscard]] static std::optional<double> parse_real(std::string_view s) {
    const auto plain = plain_number(s);
    if (!plain) return std::nullopt;
    std::string_view digits = *plain;
    const bool is_negative = digits.starts_with('-');
    if (is_negative || digits.starts_with('+')) digits.remove_prefix(1);
    std::string lower;
    for (const char c : digits) lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    std::optional<double> x;
    if (lower == "inf" || lower == "infinity") x = std::numeric_limits<double>::infinity();
    else if (lower == "nan") x = std::numeric_limits<double>::quiet_NaN();
    else if (!lower.empty() && lower.find_first_not_of("0123456789.e+-") == lower.npos && lower[0] != '-' && lower[0] != '+')
      x = cria::detail::parse_decimal(lower);
    return x && is_negative ? std::optional(-*x) : x;
  }
  /// As Python's int(text, base): nothing for what is no integer. An integer beyond 64 bits is a failure.
  [[nodiscard]] static std::optional<std::int64_t> parse_integer(runtime& rt, std::string_view s, std::int64_t base) {
    const auto plain = plain_number(s);
    if (!plain || (base != 0 && (base < 2 || base > 36))) return std::nullopt;
    std::string_view digits = *plain;
    const bool is_negative = digits.starts_with('-');
    if (is_negative || digits.starts_with('+')) digits.remove_prefix(1);
    const auto takes_prefix = [&](std::int64_t of, char letter) {
      if ((base != of && base != 0) || digits.size() < 2 || digits[0] != '0' || (digits[1] | 0x20) != letter) return false;
      digits.remove_prefix(2);
      return base = of, true;
    };
    if (!takes_prefix(16, 'x') && !takes_prefix(8, 'o')) takes_prefix(2, 'b');
    if (base == 0) base = 10;
    std::int64_t n = 0;
    const std::string whole = (is_negative ? "-" : "") + std::string(digits);
    const auto [stop, failure] = std::from_chars(whole.data(), whole.data() + whole.size(), n, static_cast<int>(base));
    if (digits.starts_with('-') || failure == std::errc::invalid_argument || stop != whole.data() + whole.size()) return std::nullopt;
    if (failure != std::errc{}) rt.fail("an integer beyond 64 bits", errc::limit_exceeded);
    return n;
  }
  [[nodiscard]] static value to_whole(runtime& rt, double x) {
    if (!(std::fabs(x) < 0x1p63)) return rt.fail("an integer beyond 64 bits", errc::limit_exceeded);
    return static_cast<std::int64_t>(x);
  }
  static value to_integer(runtime& rt, const value& self, given_values given) {
    if (self.is_undefined()) return rt.fail_undefined(self);
    const value otherwise = given[0].is_missing() ? value(std::int64_t{0}) : given[0];
    if (self.is_integral()) return self.as_integer();
    if (self.is(kind::big_integer)) return self;
    if (self.is(kind::real)) {
      if (std::isinf(self.real)) return rt.fail("an infinite number has no integer");
      return std::isnan(self.real) ? otherwise : to_whole(rt, self.real);
    }
    if (!self.is_string()) return otherwise;
    const std::int64_t base = string_methods::need_integer(rt, given[1], 10);
    if (!rt.charge_chars(4 * self.bytes().size())) return value::none();
    if (const auto n = parse_integer(rt, self.bytes(), base)) return *n;
    const auto x = parse_real(self.bytes());
    return x && std::isfinite(*x) ? to_whole(rt, *x) : otherwise;
  }
  static value to_real(runtime& rt, const value& self, given_values given) {
    if (self.is_undefined()) return rt.fail_undefined(self);
    if (self.is_number()) return self.as_real();
    const bool is_text = self.is_string() || self.is(kind::big_integer);
    if (is_text && !rt.charge_chars(4 * self.bytes().size())) return value::none();
    const auto x = is_text ? parse_real(self.bytes()) : std::nullopt;
    return x ? value(*x) : given[0].is_missing() ? value(0.0) : given[0];
  }
  static value absolute(runtime& rt, const value& self, given_values) {
    if (self.is(kind::real)) return std::fabs(self.real);
    if (!self.is_integral()) return self.is_undefined() ? rt.fail_undefined(self) : rt.fail_type("there is no absolute value of a", self);
    return self.as_integer() < 0 ? compute_numbers(rt, operation::subtract, std::int64_t{0}, self) : value(self.as_integer());
  }
  static value round(runtime& rt, const value& self, given_values given) {
    const std::int64_t precision = string_methods::need_integer(rt, given[0], 0);
    const std::string_view method = given[1].is_missing() ? "common" : given[1].is_string() ? given[1].bytes() : "";
    if (method != "common" && method != "ceil" && method != "floor") return rt.fail("the method of round is common, ceil or floor");
    if (!self.is_number()) return self.is_undefined() ? rt.fail_undefined(self) : rt.fail_type("there is no rounding of a", self);
    if (precision < -300 || precision > 300) return rt.fail("a precision that is too large", errc::limit_exceeded);
    const double scale = std::pow(10.0, static_cast<double>(precision));
    if (method != "common") return (method == "ceil" ? std::ceil(self.as_real() * scale) : std::floor(self.as_real() * scale)) / scale;
    if (self.is_integral()) return precision >= 0 ? value(self.as_integer()) : round_integer(rt, self.as_integer(), precision);
    if (!std::isfinite(self.real)) return self.real;
    if (precision < 0) return std::nearbyint(self.real * scale) / scale;
    const double rounded =
        cria::detail::parse_decimal(cria::detail::format_digits(std::fabs(self.real), static_cast<int>(precision), std::chars_format::fixed)).value_or(0);
    return std::copysign(rounded, self.real);
  }

 private:
  [[nodiscard]] static value round_integer(runtime& rt, std::int64_t n, std::int64_t precision) {
    if (precision < -18) {
      constexpr std::int64_t half = 5'000'000'000'000'000'000;   // of the next unit, which 64 bits do not have
      if (precision == -19 && (n > half || n < -half)) return rt.fail("an integer beyond 64 bits", errc::limit_exceeded);
      return std::int64_t{0};
    }
    std::int64_t unit = 1;
    for (; precision < 0; ++precision) unit *= 10;
    const std::int64_t rest = n % unit, size = rest < 0 ? -rest : rest;   // towards 0, where nothing overflows; half goes to the even multiple
    const bool goes_away = size > unit / 2 || (size == unit / 2 && n / unit % 2 != 0);
    return compute_numbers(rt, operation::add, n - rest, !goes_away ? std::int64_t{0} : n < 0 ? -unit : unit);
  }
};

}  // namespace cria::inline v0_1_0::jinja
