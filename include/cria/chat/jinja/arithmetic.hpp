// SPDX-License-Identifier: MIT
// chat/jinja/arithmetic.hpp - the operators + - * / // % ** and ~ for any two values, with the results that Python gives.
//
// Where one of two texts is marked safe, joining them escapes the HTML characters of the other.
//
// Ensures  a text or list is charged to the rendering before it is made, so that 'a' * 10 ** 9 takes no memory
// Errors   kept in the runtime: bad_value where Python raises TypeError or ZeroDivisionError; limit_exceeded where an integer leaves 64 bits, or the rendering
//          has no steps left
// Source   Python 3 language reference, section 6.7; MarkupSafe 3: Markup + str escapes the str
#pragma once

#include <cria/chat/jinja/format.hpp>
#include <cria/chat/jinja/operators.hpp>
#include <cria/chat/jinja/repr.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Returns a + b. If one of them is safe, the result is, and the other is escaped.
[[nodiscard]] inline value concatenate_texts(runtime& rt, const text& a, const text& b) {
  const bool is_safe = a.is_safe || b.is_safe;
  text_builder out;
  if (!rt.charge_bytes(a.bytes.size() + b.bytes.size())) return value::none();
  is_safe && !a.is_safe ? append_escaped(out, a) : static_cast<void>(out.add(a));
  is_safe && !b.is_safe ? append_escaped(out, b) : static_cast<void>(out.add(b));
  return rt.string(out, is_safe);
}

/// Returns a + b for two lists or two tuples.
[[nodiscard]] inline value concatenate_sequences(runtime& rt, const value& a, const value& b) {
  const auto x = a.items->values, y = b.items->values;
  const auto all = rt.make_array<value>(x.size() + y.size());
  if (rt.has_failed()) return value::none();
  std::copy(x.begin(), x.end(), all.begin());
  std::copy(y.begin(), y.end(), all.begin() + static_cast<std::ptrdiff_t>(x.size()));
  return rt.sequence_of(a.type, all);
}

/// Returns a text, list or tuple so many times.
[[nodiscard]] inline value repeat(runtime& rt, const value& v, std::int64_t times) {
  const auto n = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const std::size_t size = v.is_string() ? v.bytes().size() + v.string->flips.size() * sizeof(std::uint32_t) : v.items->values.size();
  if (size != 0 && n > rt.steps_left() * 64 / size) return rt.charge(rt.steps_left() + 1), value::none();   // below this the product cannot overflow
  if (!rt.charge(v.is_string() ? 1 + size * n / 64 + n / 16 : 1 + size * n)) return value::none();
  if (v.is_string()) {
    text_builder out;
    for (std::size_t i = 0; i < n && size != 0; ++i) out.add(*v.string);
    return rt.string(out, v.string->is_safe);
  }
  std::vector<value> all;
  for (std::size_t i = 0; i < n && size != 0; ++i) all.insert(all.end(), v.items->values.begin(), v.items->values.end());
  return rt.make_sequence(v.type, all);
}

/// Computes + - * / // % ** of any two values.
[[nodiscard]] inline value compute(runtime& rt, operation op, const value& a, const value& b) {
  if (a.is_number() && b.is_number()) return compute_numbers(rt, op, a, b);
  const auto is_sequence = [](const value& v) { return v.is_string() || v.is(kind::list) || v.is(kind::tuple); };
  if (op == operation::add && a.is_string() && b.is_string()) return concatenate_texts(rt, *a.string, *b.string);
  if (op == operation::add && a.type == b.type && is_sequence(a)) return concatenate_sequences(rt, a, b);
  if (op == operation::multiply && is_sequence(a) && b.is_integral()) return repeat(rt, a, b.as_integer());
  if (op == operation::multiply && a.is_integral() && is_sequence(b)) return repeat(rt, b, a.as_integer());
  if (op == operation::modulo && a.is_string()) return format_percent(rt, *a.string, b);
  if (a.is(kind::big_integer) || b.is(kind::big_integer)) return rt.fail("an integer beyond 64 bits cannot be computed with", errc::limit_exceeded);
  return fail_operands(rt, op, a, b);
}

/// Returns -v, or +v.
[[nodiscard]] inline value negate(runtime& rt, const value& v, operation op) {
  if (v.is_undefined()) return rt.fail_undefined(v);
  if (v.is(kind::real)) return op == operation::negate ? -v.real : v.real;
  if (!v.is_integral()) return rt.fail_type("there is no sign for a", v);
  if (op == operation::plus) return v.as_integer();
  return compute_numbers(rt, operation::subtract, std::int64_t{0}, v);
}

}  // namespace cria::inline v0_1_0::jinja
