// SPDX-License-Identifier: MIT
// chat/jinja/string_methods.hpp - str.strip, split, replace, startswith and the others that templates use.
//
// Ensures   parts keep their origin; positions and lengths are counted in characters
// Errors    bad_value where Python raises TypeError or ValueError; limit_exceeded. Methods that are not here are known, and said to be
//           unsupported: encode, expandtabs, format_map, isidentifier, istitle, maketrans, translate
// Source    Python 3 library reference, "String Methods"
#pragma once

#include <cria/chat/jinja/brace_format.hpp>
#include <cria/chat/jinja/letter_case.hpp>
#include <cria/chat/jinja/repr.hpp>
#include <cria/chat/jinja/text_search.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

using given_values = std::span<const value>;

/// Methods of texts. Each is a builtin's function: given values in the order of its parameters, missing where absent.
struct string_methods {
  /// Returns the text that an argument must be, or nothing and a failure.
  [[nodiscard]] static const text* need_text(runtime& rt, const value& v) {
    if (v.is_string()) return v.string;
    if (v.is_undefined()) rt.fail_undefined(v);
    else rt.fail_type("expected a text, not", v);
    return nullptr;
  }
  /// Returns an integer argument, or `otherwise` where it is absent.
  [[nodiscard]] static std::int64_t need_integer(runtime& rt, const value& v, std::int64_t otherwise) {
    if (v.is_missing()) return otherwise;
    if (v.is_integral()) return v.as_integer();
    if (v.is_undefined()) rt.fail_undefined(v);
    else rt.fail_type("expected an integer, not", v);
    return otherwise;
  }

  // Case.
  template <auto Append>
  static value changed(runtime& rt, const value& self, given_values) {
    if (!rt.charge_chars(4 * self.bytes().size())) return value::none();
    text_builder out;
    Append(out, *self.string);
    return rt.string(out, self.string->is_safe);
  }
  static void append_upper(text_builder& out, const text& t) { append_in_case(out, t, letter_case::upper); }
  static void append_lower(text_builder& out, const text& t) { append_in_case(out, t, letter_case::lower); }
  static void append_swapped(text_builder& out, const text& t) {
    append_in_cases(out, t, [](char32_t code, bool) {
      return jinja::is_upper(code) ? letter_case::lower : jinja::is_lower(code) ? letter_case::upper : letter_case::title;   // the last: nothing changes
    });
  }

  // Questions.
  template <auto Holds>
  static value ask(runtime& rt, const value& self, given_values) {
    return rt.charge_chars(self.bytes().size()) ? value(bool{Holds(self.bytes())}) : value::none();
  }
  static bool is_upper(std::string_view s) { return is_all(s, letter_case::upper); }
  static bool is_lower(std::string_view s) { return is_all(s, letter_case::lower); }
  static bool is_space(std::string_view s) { return all_chars(s, is_python_space); }
  static bool is_ascii(std::string_view s) { return s.empty() || all_chars(s, [](char32_t c) { return c < 0x80; }); }
  static bool is_alpha(std::string_view s) { return all_chars(s, [](char32_t c) { return cria::detail::is_letter(cria::detail::class_of(c)); }); }
  static bool is_alnum(std::string_view s) {
    return all_chars(s, [](char32_t c) { return cria::detail::is_letter(cria::detail::class_of(c)) || cria::detail::class_of(c) == char_class::number; });
  }
  static bool is_numeric(std::string_view s) { return all_chars(s, [](char32_t c) { return cria::detail::class_of(c) == char_class::number; }); }
  static bool is_printable_text(std::string_view s) { return s.empty() || all_chars(s, is_printable); }
  /// isdigit, isdecimal: which of the other scripts' numbers are digits is not in our tables.
  static value is_digit(runtime& rt, const value& self, given_values) {
    if (!rt.charge_chars(2 * self.bytes().size())) return value::none();
    const auto is_foreign = [](char32_t c) { return c >= 0x80 && cria::detail::class_of(c) == char_class::number; };
    for_each_char(*self.string, [&](char32_t c, std::string_view, bool) {
      if (is_foreign(c)) rt.fail("digits that are not ASCII are not supported");
    });
    return all_chars(self.bytes(), [](char32_t c) { return c >= '0' && c <= '9'; });
  }

  // Ends.
  enum class side : std::uint8_t { left, right, both };
  template <side Side>
  static value strip(runtime& rt, const value& self, given_values given) {
    const text& t = *self.string;
    const text* chars = given[0].is_missing() || given[0].is(kind::none) ? nullptr : need_text(rt, given[0]);
    if (rt.has_failed() || !rt.charge_chars(chars == nullptr ? 0 : t.bytes.size() * (1 + chars->bytes.size() / 8))) return value::none();
    const std::size_t left = Side == side::right ? 0 : chars == nullptr ? leading_space(t.bytes) : leading_of(t.bytes, chars->bytes);
    const std::string_view rest = t.bytes.substr(left);
    const std::size_t right = Side == side::left ? 0 : chars == nullptr ? trailing_space(rest) : trailing_of(rest, chars->bytes);
    if (chars == nullptr && !rt.charge_chars(left + right)) return value::none();
    return rt.part(t, left, rest.size() - right);
  }
  /// The bytes of the characters [start, end) that the last two of a method's arguments choose.
  [[nodiscard]] static std::optional<byte_range> window(runtime& rt, const text& t, const value& start, const value& end) {
    if (start.is_missing() && end.is_missing()) return byte_range{0, t.bytes.size()};
    if (!rt.charge_chars(2 * t.bytes.size())) return std::nullopt;
    const auto n = static_cast<std::int64_t>(count_chars(t.bytes));
    const auto clamp = [n](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + n : i, 0, n); };
    const std::int64_t first = start.is(kind::none) ? 0 : need_integer(rt, start, 0), last = end.is(kind::none) ? n : need_integer(rt, end, n);
    if (first > n || clamp(first) > clamp(last)) return std::nullopt;
    const std::size_t from = char_offset(t.bytes, static_cast<std::size_t>(clamp(first)));
    return byte_range{from, from + char_offset(t.bytes.substr(from), static_cast<std::size_t>(clamp(last) - clamp(first)))};
  }
  template <bool AtEnd>
  static value has_affix(runtime& rt, const value& self, given_values given) {
    const auto range = window(rt, *self.string, given[1], given[2]);
    const std::string_view inside = range ? self.bytes().substr(range->start, range->size()) : std::string_view{};
    const value* first = &given[0];
    const auto affixes = first->is(kind::tuple) ? first->items->values : std::span<const value>(first, 1);
    bool found = false;
    for (const value& affix : affixes) {
      const text* t = need_text(rt, affix);
      if (t == nullptr || !rt.charge_bytes(std::min(t->bytes.size(), inside.size()))) return value::none();
      found |= range && (AtEnd ? inside.ends_with(t->bytes) : inside.starts_with(t->bytes));
    }
    return found;
  }
  template <bool AtEnd>
  static value remove_affix(runtime& rt, const value& self, given_values given) {
    const text* affix = need_text(rt, given[0]);
    if (affix == nullptr) return value::none();
    const std::size_t size = self.bytes().size(), n = affix->bytes.size();
    if (!rt.charge_bytes(std::min(size, n))) return value::none();
    if (!(AtEnd ? self.bytes().ends_with(affix->bytes) : self.bytes().starts_with(affix->bytes))) return self;
    return rt.part(*self.string, AtEnd ? 0 : n, size - n);
  }

  // Search.
  template <bool FromEnd, bool MustBeThere>
  static value find(runtime& rt, const value& self, given_values given) {
    const text* wanted = need_text(rt, given[0]);
    const auto range = window(rt, *self.string, given[1], given[2]);
    if (wanted == nullptr || rt.has_failed() || !rt.charge_chars(self.bytes().size())) return value::none();
    std::size_t at = std::string_view::npos;
    if (range) {
      const std::string_view inside = self.bytes().substr(range->start, range->size());
      at = FromEnd ? rfind_text(inside, wanted->bytes) : find_text(inside, wanted->bytes);
    }
    if (at != std::string_view::npos) return static_cast<std::int64_t>(count_chars(self.bytes().substr(0, range->start + at)));
    return MustBeThere ? rt.fail("the text is not there") : std::int64_t{-1};
  }
  static value count(runtime& rt, const value& self, given_values given) {
    const text* wanted = need_text(rt, given[0]);
    const auto range = window(rt, *self.string, given[1], given[2]);
    if (wanted == nullptr || rt.has_failed() || !rt.charge_chars(self.bytes().size()) || !range) return std::int64_t{0};
    const std::string_view inside = self.bytes().substr(range->start, range->size());
    if (wanted->bytes.empty()) return static_cast<std::int64_t>(count_chars(inside) + 1);
    return static_cast<std::int64_t>(find_all(inside, wanted->bytes, std::numeric_limits<std::size_t>::max()).size());
  }

  // Parts.
  /// A list of the texts between the cuts.
  static value parts_between(runtime& rt, const text& t, const std::vector<byte_range>& parts) {
    std::vector<value> out;
    for (const byte_range& p : parts) {
      if (rt.has_failed()) return value::none();
      out.push_back(rt.part(t, p.start, p.size()));
    }
    return rt.make_sequence(kind::list, out);
  }
  template <bool FromEnd>
  static value split(runtime& rt, const value& self, given_values given) {
    const bool at_space = given[0].is_missing() || given[0].is(kind::none);
    const text* separator = at_space ? nullptr : need_text(rt, given[0]);
    const std::int64_t most = need_integer(rt, given[1], -1);
    if (rt.has_failed() || !rt.charge_chars(self.bytes().size())) return value::none();
    if (separator != nullptr && separator->bytes.empty()) return rt.fail("an empty separator");
    const std::size_t limit = most < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(most);
    const std::size_t room = rt.steps_left() + 1;   // no more parts than can be paid for
    if (at_space) {
      return parts_between(rt, *self.string, FromEnd ? split_at_space_from_end(self.bytes(), limit, room) : split_at_space(self.bytes(), limit, room));
    }
    const auto cuts =
        FromEnd ? find_all_from_end(self.bytes(), separator->bytes, std::min(limit, room)) : find_all(self.bytes(), separator->bytes, std::min(limit, room));
    return parts_between(rt, *self.string, ranges_between(self.bytes().size(), cuts, separator->bytes.size()));
  }
  static value split_lines(runtime& rt, const value& self, given_values given) {
    if (!rt.charge_chars(self.bytes().size())) return value::none();
    return parts_between(rt, *self.string, line_ranges(self.bytes(), is_true(given[0]), rt.steps_left() + 1));
  }
  template <bool FromEnd>
  static value partition(runtime& rt, const value& self, given_values given) {
    const text* separator = need_text(rt, given[0]);
    if (separator == nullptr || !rt.charge_chars(self.bytes().size())) return value::none();
    if (separator->bytes.empty()) return rt.fail("an empty separator");
    const text& t = *self.string;
    const std::size_t at = FromEnd ? rfind_text(t.bytes, separator->bytes) : find_text(t.bytes, separator->bytes);
    const value empty = rt.string("");
    if (at == t.bytes.npos) {
      const value whole[] = {FromEnd ? empty : self, empty, FromEnd ? self : empty};
      return rt.make_sequence(kind::tuple, whole);
    }
    const std::size_t behind = at + separator->bytes.size();
    const value parts[] = {rt.part(t, 0, at), rt.part(t, at, behind - at), rt.part(t, behind, t.bytes.size() - behind)};
    return rt.make_sequence(kind::tuple, parts);
  }

  // New texts.
  /// Returns what joins a safe text: escaped, where it is not safe itself.
  [[nodiscard]] static text fit(runtime& rt, const text& self, const text& other) {
    if (!self.is_safe || other.is_safe) return other;
    text_builder out;
    append_escaped(out, other);
    return rt.finish(out, true);
  }
  static value replace(runtime& rt, const value& self, given_values given) {
    const text *old = need_text(rt, given[0]), *by = need_text(rt, given[1]);
    const std::int64_t most = need_integer(rt, given[2], -1);
    if (rt.has_failed()) return value::none();
    return replace_all(rt, *self.string, *old, fit(rt, *self.string, *by), most);
  }
  static value join(runtime& rt, const value& self, given_values given) {
    text_builder out;
    bool is_first = true;
    for (const value& v : iterate(rt, given[0])) {
      const text* t = need_text(rt, v);
      if (t == nullptr || !rt.charge_bytes(t->bytes.size() + self.bytes().size())) return value::none();
      if (!is_first) out.add(*self.string);
      out.add(fit(rt, *self.string, *t));
      is_first = false;
    }
    return rt.has_failed() ? value::none() : rt.string(out, self.string->is_safe);
  }
  static value format(runtime& rt, const value& self, const arguments& given) { return brace_format(rt, *self.string, given).run(); }
  template <char Align>
  static value pad(runtime& rt, const value& self, given_values given) {
    const std::int64_t width = need_integer(rt, given[0], 0);
    const text* fill = given[1].is_missing() ? nullptr : need_text(rt, given[1]);
    if (rt.has_failed() || (fill != nullptr && count_chars(fill->bytes) != 1)) return rt.fail("a text can be filled up with one character only");
    const auto length = static_cast<std::int64_t>(count_chars(self.bytes()));
    const std::int64_t blanks = width > length ? width - length : 0;
    // Python puts the odd blank of a centred text to the left where the width is odd.
    const std::int64_t before = Align == '<' ? 0 : Align == '>' ? blanks : blanks / 2 + (blanks & width & 1);
    if (!rt.charge_bytes(self.bytes().size()) || !rt.charge(static_cast<std::size_t>(blanks))) return value::none();
    text_builder out;
    const auto add_blanks = [&](std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) fill == nullptr ? out.add(" ") : out.add(*fill);
    };
    add_blanks(before);
    out.add(*self.string);
    add_blanks(blanks - before);
    return rt.string(out, self.string->is_safe);
  }
  static value zero_fill(runtime& rt, const value& self, given_values given) {
    const std::int64_t width = need_integer(rt, given[0], 0);
    const auto length = static_cast<std::int64_t>(count_chars(self.bytes()));
    const std::int64_t blanks = width > length ? width - length : 0;
    if (rt.has_failed() || !rt.charge(static_cast<std::size_t>(blanks) + 1)) return value::none();
    const bool has_sign = self.bytes().starts_with('-') || self.bytes().starts_with('+');
    text_builder out;
    out.add(rt.piece(*self.string, 0, has_sign)).add(std::string(static_cast<std::size_t>(blanks), '0'));
    out.add(rt.piece(*self.string, has_sign, self.bytes().size() - has_sign));
    return rt.string(out, self.string->is_safe);
  }
};

inline constexpr builtin string_method_table[] = {
    {"capitalize", "", 0, &string_methods::changed<&append_capitalised>},
    {"casefold", "", 0, &string_methods::changed<&append_folded>},
    {"center", "/ width fillchar", 1, &string_methods::pad<'^'>},
    {"count", "/ sub start end", 1, &string_methods::count},
    {"endswith", "/ suffix start end", 1, &string_methods::has_affix<true>},
    {"find", "/ sub start end", 1, &string_methods::find<false, false>},
    {"format", "", 0, nullptr, &string_methods::format},
    {"index", "/ sub start end", 1, &string_methods::find<false, true>},
    {"isalnum", "", 0, &string_methods::ask<&string_methods::is_alnum>},
    {"isalpha", "", 0, &string_methods::ask<&string_methods::is_alpha>},
    {"isascii", "", 0, &string_methods::ask<&string_methods::is_ascii>},
    {"isdecimal", "", 0, &string_methods::is_digit},
    {"isdigit", "", 0, &string_methods::is_digit},
    {"islower", "", 0, &string_methods::ask<&string_methods::is_lower>},
    {"isnumeric", "", 0, &string_methods::ask<&string_methods::is_numeric>},
    {"isprintable", "", 0, &string_methods::ask<&string_methods::is_printable_text>},
    {"isspace", "", 0, &string_methods::ask<&string_methods::is_space>},
    {"isupper", "", 0, &string_methods::ask<&string_methods::is_upper>},
    {"join", "/ iterable", 1, &string_methods::join},
    {"ljust", "/ width fillchar", 1, &string_methods::pad<'<'>},
    {"lower", "", 0, &string_methods::changed<&string_methods::append_lower>},
    {"lstrip", "/ chars", 0, &string_methods::strip<string_methods::side::left>},
    {"partition", "/ sep", 1, &string_methods::partition<false>},
    {"removeprefix", "/ prefix", 1, &string_methods::remove_affix<false>},
    {"removesuffix", "/ suffix", 1, &string_methods::remove_affix<true>},
    {"replace", "/ old new count", 2, &string_methods::replace},
    {"rfind", "/ sub start end", 1, &string_methods::find<true, false>},
    {"rindex", "/ sub start end", 1, &string_methods::find<true, true>},
    {"rjust", "/ width fillchar", 1, &string_methods::pad<'>'>},
    {"rpartition", "/ sep", 1, &string_methods::partition<true>},
    {"rsplit", "sep maxsplit", 0, &string_methods::split<true>},
    {"rstrip", "/ chars", 0, &string_methods::strip<string_methods::side::right>},
    {"split", "sep maxsplit", 0, &string_methods::split<false>},
    {"splitlines", "keepends", 0, &string_methods::split_lines},
    {"startswith", "/ prefix start end", 1, &string_methods::has_affix<false>},
    {"strip", "/ chars", 0, &string_methods::strip<string_methods::side::both>},
    {"swapcase", "", 0, &string_methods::changed<&string_methods::append_swapped>},
    {"title", "", 0, &string_methods::changed<&append_titled>},
    {"upper", "", 0, &string_methods::changed<&string_methods::append_upper>},
    {"zfill", "/ width", 1, &string_methods::zero_fill},
};
inline constexpr std::string_view unsupported_string_methods[] = {"encode", "expandtabs", "format_map", "isidentifier", "istitle", "maketrans", "translate"};

}  // namespace cria::inline v0_1_0::jinja
