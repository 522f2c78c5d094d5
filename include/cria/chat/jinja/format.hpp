// SPDX-License-Identifier: MIT
// chat/jinja/format.hpp - the two ways in which Python fills in text: "%s is %d" % (a, b) and "{} is {:>5}".format(a, b).
//
// Ensures   what is filled in keeps its origin
// Errors    bad_value as Python raises TypeError, ValueError, IndexError and KeyError; limit_exceeded (widths); attributes and items inside of
//           replacement fields ({0.name}, {0[1]}), nested fields and the types a, c, n are not supported and say so
// Source    Python 3 library reference, "printf-style String Formatting" and "Format String Syntax"
#pragma once

#include <cria/chat/jinja/repr.hpp>

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::jinja {

/// Appends the text with & < > ' " as HTML writes them.
inline void append_escaped(text_builder& out, const text& t) {
  for_each_run(t, [&](std::string_view run, bool is_content) {
    for (std::size_t i = 0; i < run.size();) {
      const std::size_t special = std::min(run.find_first_of("&<>'\"", i), run.size());
      out.add(run.substr(i, special - i), is_content);
      if (special == run.size()) break;
      const char c = run[special];
      out.add(c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '\'' ? "&#39;" : "&#34;", is_content);
      i = special + 1;
    }
  });
}

/// How one value is written.
struct format_spec {
  static constexpr std::size_t max_width = 10'000;

  std::string fill = " ";
  char align = 0;             ///< < > ^ = or none given
  char sign = 0;              ///< + or space
  char type = 0;
  char grouping = 0;          ///< , or _
  bool is_alternate = false;
  std::size_t width = 0;
  std::optional<int> precision;
};

/// Reads digits; nothing where there are none.
[[nodiscard]] inline std::optional<std::size_t> take_number(std::string_view s, std::size_t& at) {
  const std::size_t start = at;
  std::size_t n = 0;
  for (; at < s.size() && s[at] >= '0' && s[at] <= '9'; ++at) n = std::min<std::size_t>(n * 10 + static_cast<std::size_t>(s[at] - '0'), 1'000'000);
  return at == start ? std::nullopt : std::optional(n);
}

/// Writes values by their specification.
class formatter {
 public:
  formatter(runtime& rt, text_builder& out) : rt_(rt), out_(out) {}

  void write_text(const text& t, const format_spec& spec) {
    text cut = t;
    if (spec.precision) cut = rt_.piece(t, 0, char_offset(t.bytes, static_cast<std::size_t>(*spec.precision)));
    if (!rt_.charge_chars(cut.bytes.size())) return;
    pad(spec, count_chars(cut.bytes), '<', [&] { out_.add(cut); });
  }
  void write_integer(std::int64_t n, const format_spec& spec) {
    const int base = spec.type == 'x' || spec.type == 'X' ? 16 : spec.type == 'o' ? 8 : spec.type == 'b' ? 2 : 10;
    std::string digits(66, '\0');
    const auto magnitude = n < 0 ? ~static_cast<std::uint64_t>(n) + 1 : static_cast<std::uint64_t>(n);
    digits.resize(static_cast<std::size_t>(std::to_chars(digits.data(), digits.data() + digits.size(), magnitude, base).ptr - digits.data()));
    if (spec.precision && digits.size() < static_cast<std::size_t>(*spec.precision)) {
      digits.insert(0, static_cast<std::size_t>(*spec.precision) - digits.size(), '0');
    }
    std::string prefix;
    if (spec.is_alternate && base != 10) prefix = base == 16 ? "0x" : base == 8 ? "0o" : "0b";
    write_number(n < 0, prefix, digits, spec);
  }
  void write_real(double x, const format_spec& spec) {
    const char type = spec.type == 0 ? 'g' : spec.type;
    const bool is_percent = type == '%';
    const double magnitude = std::fabs(is_percent ? x * 100 : x);
    const auto form = type == 'f' || type == 'F' || is_percent ? std::chars_format::fixed
                      : type == 'e' || type == 'E'             ? std::chars_format::scientific
                                                               : std::chars_format::general;
    int precision = spec.precision.value_or(6);
    if (form == std::chars_format::general && precision == 0) precision = 1;
    std::string digits = std::isnan(x) ? "nan" : std::isinf(x) ? "inf" : format_digits(magnitude, precision, form);
    if (spec.type == 0 && !spec.precision) digits = python_repr(magnitude);
    if (is_percent) digits += '%';
    write_number(std::signbit(x) && !std::isnan(x), {}, digits, spec);
  }
  /// Writes `v` for a number's type, or fails.
  void write_as_number(const value& v, const format_spec& spec) {
    const bool wants_integer = spec.type != 0 && std::string_view("dxXob").find(spec.type) != std::string_view::npos;
    if (!v.is_number()) return void(rt_.fail_type(std::string("the format ") + spec.type + " needs a number, not", v));
    if (!wants_integer && (spec.type != 0 || v.is(kind::real))) return write_real(v.as_real(), spec);
    if (v.is(kind::real)) return void(rt_.fail(std::string("the format ") + spec.type + " needs an integer"));
    write_integer(v.as_integer(), spec);
  }
  [[nodiscard]] bool check(const format_spec& spec) {
    if (spec.width <= format_spec::max_width && spec.precision.value_or(0) <= 400) return true;
    rt_.fail("a width or precision that is too large", errc::limit_exceeded);
    return false;
  }

 private:
  static constexpr auto format_digits = &cria::detail::format_digits;
  static constexpr auto python_repr = &cria::detail::python_repr;

  template <class Write>
  void pad(const format_spec& spec, std::size_t length, char default_align, Write&& write) {
    const std::size_t blanks = spec.width > length ? spec.width - length : 0;
    const char align = spec.align == 0 ? default_align : spec.align;
    const std::size_t before = align == '<' ? 0 : align == '^' ? blanks / 2 : blanks;
    if (!rt_.charge_bytes(blanks * spec.fill.size())) return;
    for (std::size_t i = 0; i < before; ++i) out_.add(spec.fill);
    write();
    for (std::size_t i = before; i < blanks; ++i) out_.add(spec.fill);
  }
  void write_number(bool is_negative, const std::string& prefix, std::string digits, const format_spec& spec) {
    if (spec.grouping != 0) {
      const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
      for (std::size_t i = whole; i > 3; i -= 3) digits.insert(i - 3, 1, spec.grouping);
    }
    if (spec.type == 'X' || spec.type == 'E' || spec.type == 'G' || spec.type == 'F') {
      for (char& c : digits) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    }
    const std::string head = (is_negative ? "-" : spec.sign == 0 ? "" : std::string(1, spec.sign)) + prefix;
    if (spec.align != '=') return pad(spec, head.size() + digits.size(), '>', [&] { out_.add(head).add(digits); });
    out_.add(head);
    format_spec rest = spec;
    rest.width = spec.width > head.size() ? spec.width - head.size() : 0;
    pad(rest, digits.size(), '>', [&] { out_.add(digits); });
  }

  runtime& rt_;
  text_builder& out_;
};

/// Computes format % given.
class percent_format {
 public:
  percent_format(runtime& rt, const text& format, const value& given) : rt_(rt), format_(format), given_(given) {}

  [[nodiscard]] value run() {
    const std::string_view s = format_.bytes;
    while (at_ < s.size() && !rt_.has_failed()) {
      const std::size_t percent = std::min(s.find('%', at_), s.size());
      if (!rt_.charge_bytes(percent - at_)) break;
      out_.add(rt_.piece(format_, at_, percent - at_));
      at_ = percent + 1;
      if (percent < s.size()) write_field(s);
    }
    const bool may_be_unused = given_.is(kind::dict) || given_.is(kind::list) || given_.is_undefined();   // what [] can be asked of
    const bool has_unused = given_.is(kind::tuple) ? next_ < given_.items->values.size() : next_ == 0 && !may_be_unused;
    if (has_unused) rt_.fail("not all arguments are used by the format");
    return rt_.string(out_, format_.is_safe);
  }

 private:
  [[nodiscard]] value next() {
    if (!given_.is(kind::tuple)) return next_++ == 0 ? given_ : rt_.fail("not enough arguments for the format");
    return next_ < given_.items->values.size() ? given_.items->values[next_++] : rt_.fail("not enough arguments for the format");
  }
  [[nodiscard]] value find(std::string_view key) {
    if (given_.is_undefined()) return rt_.fail_undefined(given_);
    if (!given_.is(kind::dict)) return rt_.fail("the format needs a mapping");
    ++next_;
    const pair* found = find_key(rt_, *given_.members, rt_.string(key));
    return found != nullptr ? found->mapped : rt_.fail("the format finds no key '" + printable(key) + "'");
  }
  [[nodiscard]] std::optional<std::size_t> take_size(std::string_view s) {
    if (at_ >= s.size() || s[at_] != '*') return take_number(s, at_);
    ++at_;
    const value n = next();
    if (n.is_integral() && n.as_integer() >= 0) return static_cast<std::size_t>(n.as_integer());
    rt_.fail("* in a format needs an integer that is not negative");
    return std::nullopt;
  }

  void write_field(std::string_view s) {
    format_spec spec;
    std::optional<value> named;
    if (at_ < s.size() && s[at_] == '(') {
      const std::size_t close = s.find(')', at_);
      if (close == s.npos) return void(rt_.fail("a format with an incomplete key"));
      named = find(s.substr(at_ + 1, close - at_ - 1));
      at_ = close + 1;
    }
    bool pads_with_zero = false;
    for (; at_ < s.size() && std::string_view("-+ #0").find(s[at_]) != s.npos; ++at_) {
      if (s[at_] == '-') spec.align = '<';
      if (s[at_] == '+' || (s[at_] == ' ' && spec.sign == 0)) spec.sign = s[at_];
      if (s[at_] == '#') spec.is_alternate = true;
      if (s[at_] == '0') pads_with_zero = true;
    }
    spec.width = take_size(s).value_or(0);
    if (at_ < s.size() && s[at_] == '.') {
      ++at_;
      spec.precision = static_cast<int>(std::min<std::size_t>(take_size(s).value_or(0), 1'000'000));
    }
    while (at_ < s.size() && std::string_view("hlL").find(s[at_]) != s.npos) ++at_;
    if (at_ >= s.size()) return void(rt_.fail("an incomplete format"));
    spec.type = s[at_++];
    if (spec.type == '%') return void(out_.add("%"));
    formatter write(rt_, out_);
    const value v = named ? *named : next();
    if (rt_.has_failed() || !write.check(spec)) return;
    if (spec.type == 's' || spec.type == 'r') return write_text(write, v, spec);
    if (spec.align == 0) spec.align = pads_with_zero ? '=' : '>';
    if (pads_with_zero && spec.align == '=') spec.fill = "0";
    write_as_number(write, v, spec);
  }
  void write_text(formatter& write, const value& v, format_spec& spec) {
    text_builder printed;
    spec.type == 's' ? append_str(rt_, printed, v) : append_repr(rt_, printed, v);
    if (spec.align == 0) spec.align = '>';
    if (!format_.is_safe || (v.is_string() && v.string->is_safe)) return write.write_text(printed.view(), spec);
    text_builder escaped;
    append_escaped(escaped, printed.view());
    write.write_text(escaped.view(), spec);
  }
  void write_as_number(formatter& write, const value& v, format_spec& spec) {
    if (v.is_undefined()) return void(rt_.fail_undefined(v));
    if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
    if (std::string_view("dxXofFeEgG").find(spec.type) == std::string_view::npos) {
      return void(rt_.fail("a format of unknown type '" + printable({&spec.type, 1}) + "'"));
    }
    if (spec.type == 'd' && v.is(kind::real)) {
      if (!(std::fabs(v.real) < 0x1p63)) return void(rt_.fail("a number that fits no integer"));
      return write.write_integer(static_cast<std::int64_t>(v.real), spec);
    }
    write.write_as_number(v, spec);
  }

  runtime& rt_;
  const text& format_;
  const value& given_;
  text_builder out_;
  std::size_t at_ = 0, next_ = 0;
};

[[nodiscard]] inline value format_percent(runtime& rt, const text& format, const value& given) { return percent_format(rt, format, given).run(); }

}  // namespace cria::inline v0_1_0::jinja
