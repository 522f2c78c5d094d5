// SPDX-License-Identifier: MIT
// chat/jinja/brace_format.hpp - the method format of texts: "{} of {name:>8}".format(3, name="x").
//
// It reads the replacement fields and finds their arguments; format.hpp writes each of them as its format after the colon says.
//
// Ensures   what is filled in keeps its origin
// Errors    those of format.hpp
// Source    Python 3 library reference, "Format String Syntax"
#pragma once

#include <cria/chat/jinja/format.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::jinja {

class brace_format {
 public:
  brace_format(runtime& rt, const text& format, const arguments& given) : rt_(rt), format_(format), given_(given) {}

  [[nodiscard]] value run() {
    const std::string_view s = format_.bytes;
    while (at_ < s.size() && !rt_.has_failed()) {
      const std::size_t brace = std::min(s.find_first_of("{}", at_), s.size());
      if (!rt_.charge_bytes(brace - at_)) break;
      out_.add(rt_.piece(format_, at_, brace - at_));
      at_ = brace + 1;
      if (brace == s.size()) break;
      if (at_ < s.size() && s[at_] == s[brace]) {
        out_.add(s.substr(at_++, 1));
      } else if (s[brace] == '}') {
        rt_.fail("a single } in a format");
      } else {
        write_field(s);
      }
    }
    return rt_.string(out_, format_.is_safe);
  }

 private:
  void write_field(std::string_view s) {
    const std::size_t end = s.find_first_of("{}", at_);
    if (end == s.npos || s[end] == '{') return void(rt_.fail(end == s.npos ? "a { without }" : "fields inside fields are not supported"));
    std::string_view field = s.substr(at_, end - at_);
    at_ = end + 1;
    std::string_view spec_text;
    if (const std::size_t colon = field.find(':'); colon != field.npos) {
      spec_text = field.substr(colon + 1);
      field = field.substr(0, colon);
    }
    char conversion = 0;
    if (const std::size_t mark = field.find('!'); mark != field.npos) {
      if (field.size() != mark + 2 || (field[mark + 1] != 's' && field[mark + 1] != 'r')) return void(rt_.fail("a conversion that is neither !s nor !r"));
      conversion = field[mark + 1];
      field = field.substr(0, mark);
    }
    const value v = find(field);
    const auto spec = parse_spec(spec_text);
    if (rt_.has_failed() || !spec) return;
    write(v, *spec, conversion, spec_text.empty());
  }

  [[nodiscard]] value find(std::string_view field) {
    if (field.find_first_of(".[") != field.npos) return rt_.fail("attributes and items in replacement fields are not supported");
    std::size_t at = 0;
    const auto number = field.empty() ? std::optional<std::size_t>(next_++) : take_number(field, at);
    if (number && at == field.size()) {
      if (!field.empty()) has_numbers_ = true;
      if (has_numbers_ && next_ > 0) return rt_.fail("fields with and without numbers in one format");
      return *number < given_.positional.size() ? given_.positional[*number] : rt_.fail("too few arguments for the format");
    }
    if (!rt_.charge(given_.named.size() / 8)) return value::none();
    for (const keyword& k : given_.named) {
      if (k.name == field) return k.given;
    }
    return rt_.fail("the format finds no argument '" + printable(field) + "'");
  }

  [[nodiscard]] std::optional<format_spec> parse_spec(std::string_view s) {
    format_spec spec;
    std::size_t at = 0;
    const auto is_align = [&](std::size_t i) { return i < s.size() && std::string_view("<>^=").find(s[i]) != s.npos; };
    const std::size_t first = s.empty() ? 0 : decode_utf8(s, 0).length;
    if (is_align(first)) {
      spec.fill = s.substr(0, first);
      spec.align = s[first];
      at = first + 1;
    } else if (is_align(0)) {
      spec.align = s[at++];
    }
    const auto take = [&](std::string_view any) { return at < s.size() && any.find(s[at]) != any.npos ? s[at++] : '\0'; };
    spec.sign = take("+- ");
    if (spec.sign == '-') spec.sign = 0;
    spec.is_alternate = take("#") != 0;
    if (take("0") != 0 && spec.align == 0) {
      spec.align = '=';
      spec.fill = "0";
    }
    spec.width = take_number(s, at).value_or(0);
    spec.grouping = take(",_");
    if (take(".") != 0) {
      const auto precision = take_number(s, at);
      if (!precision) return rt_.fail("a format without its precision"), std::nullopt;
      spec.precision = static_cast<int>(*precision);
    }
    spec.type = take("bdeEfFgGosxX%");
    if (at != s.size()) return rt_.fail("a format '" + printable(s) + "' that is not supported"), std::nullopt;
    if (!formatter(rt_, out_).check(spec)) return std::nullopt;
    return spec;
  }

  void write(const value& v, const format_spec& spec, char conversion, bool is_plain) {
    formatter write(rt_, out_);
    if (conversion == 0 && v.is_number() && !is_plain && !(v.is(kind::boolean) && spec.type == 's')) {
      if (spec.type == 's') return void(rt_.fail_type("the format s needs a text, not", v));
      if (spec.type == 0 && v.is(kind::real) && spec.precision) return void(rt_.fail("a precision without a type is not supported"));
      return write.write_as_number(v, spec);
    }
    const bool is_text = v.is_string() || conversion != 0;
    if (is_text && (spec.align == '=' || spec.sign != 0 || (spec.type != 0 && spec.type != 's'))) {
      return void(rt_.fail("a text cannot be formatted as a number"));
    }
    if (!is_text && !is_plain) return void(rt_.fail_type("there is no such format for a", v));
    text_builder printed;
    conversion == 'r' ? append_repr(rt_, printed, v) : append_str(rt_, printed, v);
    if (!format_.is_safe || (v.is_string() && v.string->is_safe)) return write.write_text(printed.view(), spec);
    text_builder escaped;
    append_escaped(escaped, printed.view());
    write.write_text(escaped.view(), spec);
  }

  runtime& rt_;
  const text& format_;
  const arguments& given_;
  text_builder out_;
  std::size_t at_ = 0, next_ = 0;
  bool has_numbers_ = false;
};

}  // namespace cria::inline v0_1_0::jinja
