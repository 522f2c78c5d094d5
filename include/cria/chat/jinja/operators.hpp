// SPDX-License-Identifier: MIT
// chat/jinja/operators.hpp - truth, equality, order, membership, arithmetic and iteration of values, as Python has them.
//
// Errors   bad_value where Python raises TypeError, ZeroDivisionError or jinja2.UndefinedError; limit_exceeded where an integer leaves 64 bits
// Source   Python 3 language reference, sections 3.3, 6.7 to 6.10
#pragma once

#include <cria/chat/jinja/ast.hpp>
#include <cria/chat/jinja/find_text.hpp>
#include <cria/chat/jinja/runtime.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Returns whether a condition holds that is this value.
[[nodiscard]] inline bool is_true(const value& v) noexcept {
  switch (v.type) {
    case kind::missing: case kind::undefined: case kind::none: return false;
    case kind::boolean: return v.boolean;
    case kind::integer: return v.integer != 0;
    case kind::real: return v.real != 0;
    case kind::string: return !v.bytes().empty();
    case kind::list: case kind::tuple: case kind::view: return !v.items->values.empty();
    case kind::dict: return !v.members->pairs.empty();
    case kind::range: return v.numbers->length != 0;
    default: return true;
  }
}

/// Returns -1, 0, 1, or 2 where one is not a number.
[[nodiscard]] inline int compare_numbers(const value& a, const value& b) noexcept {
  if (a.is_integral() && b.is_integral()) return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer();
  if (a.is(kind::real) && b.is(kind::real)) return a.real < b.real ? -1 : a.real > b.real ? 1 : a.real == b.real ? 0 : 2;
  if (b.is_integral()) {
    const int order = compare_numbers(b, a);
    return order == 2 ? 2 : -order;
  }
  if (std::isnan(b.real)) return 2;
  if (b.real >= 0x1p63) return -1;
  if (b.real < -0x1p63) return 1;
  const double whole = std::floor(b.real);
  const auto rounded = static_cast<std::int64_t>(whole);
  if (a.as_integer() != rounded) return a.as_integer() < rounded ? -1 : 1;
  return whole < b.real ? -1 : 0;
}

/// Returns a == b, for which numbers of any kinds, and containers by their elements, are compared.
[[nodiscard]] inline bool equals(runtime& rt, const value& a, const value& b);

/// Returns the place of a key in a dict.
[[nodiscard]] inline const pair* find_key(runtime& rt, const dict& d, const value& key) {
  if (key.is_string()) {
    for (const pair& p : d.pairs) {
      if (!p.key.is_string() || p.key.bytes().size() != key.bytes().size()) continue;
      if (!rt.charge(key.bytes().size() / 32)) return nullptr;
      if (p.key.bytes() == key.bytes()) return rt.charge(static_cast<std::size_t>(&p - d.pairs.data()) / 16), &p;
    }
    return rt.charge(d.pairs.size() / 16), nullptr;
  }
  for (const pair& p : d.pairs) {
    if (rt.has_failed()) break;
    if (equals(rt, p.key, key)) return &p;
  }
  return nullptr;
}

[[nodiscard]] inline bool equal_sequences(runtime& rt, std::span<const value> a, std::span<const value> b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!equals(rt, a[i], b[i])) return false;
  }
  return true;
}

inline bool equals(runtime& rt, const value& a, const value& b) {
  const runtime::level guard(rt);
  if (rt.has_failed() || !rt.charge(1)) return false;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.type != b.type) return false;
  switch (a.type) {
    case kind::missing: case kind::undefined: case kind::none: return true;
    case kind::string: return rt.charge(a.bytes().size() / 256) && a.bytes() == b.bytes();
    case kind::big_integer: return rt.charge(a.bytes().size() / 256) && a.bytes() == b.bytes();
    case kind::list: case kind::tuple: return equal_sequences(rt, a.items->values, b.items->values);
    case kind::view: return a.items == b.items;
    case kind::dict:
      if (a.members->pairs.size() != b.members->pairs.size()) return false;
      for (const pair& p : a.members->pairs) {
        const pair* other = find_key(rt, *b.members, p.key);
        if (other == nullptr || !equals(rt, p.mapped, other->mapped)) return false;
      }
      return true;
    case kind::range: {
      const range &x = *a.numbers, &y = *b.numbers;
      return x.length == y.length && (x.length == 0 || (x.start == y.start && (x.length == 1 || x.step == y.step)));
    }
    case kind::method: return a.bound->native == b.bound->native && equals(rt, a.bound->self, b.bound->self);
    default: return a.native == b.native;   // the same object
  }
}

/// Returns how a template writes the operator.
[[nodiscard]] inline std::string_view spelling(operation op) noexcept {
  constexpr std::string_view names[] = {"+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "-", "+", "not", "and", "or"};
  return names[static_cast<std::size_t>(op)];
}

/// Fails because `op` is not defined for the two.
inline value fail_operands(runtime& rt, operation op, const value& a, const value& b) {
  if (a.is_undefined()) return rt.fail_undefined(a);
  if (b.is_undefined()) return rt.fail_undefined(b);
  return rt.fail("'" + std::string(spelling(op)) + "' cannot be used with " + std::string(type_name(a.type)) + " and " + std::string(type_name(b.type)));
}

/// Computes a < b, a <= b, a > b or a >= b.
[[nodiscard]] inline bool is_ordered(runtime& rt, operation op, const value& a, const value& b) {
  const runtime::level guard(rt);
  if (rt.has_failed() || !rt.charge(1)) return false;
  const auto holds = [op](int order) {
    switch (op) {
      case operation::less: return order == -1;
      case operation::less_equal: return order == -1 || order == 0;
      case operation::greater: return order == 1;
      default: return order == 1 || order == 0;
    }
  };
  if (a.is_number() && b.is_number()) return holds(compare_numbers(a, b));
  if (a.is_string() && b.is_string()) {
    rt.charge(a.bytes().size() / 256);
    const int order = a.bytes().compare(b.bytes());   // the order of UTF-8 is the order of its code points
    return holds(order < 0 ? -1 : order > 0);
  }
  if (a.type == b.type && (a.is(kind::list) || a.is(kind::tuple))) {
    const auto x = a.items->values, y = b.items->values;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equals(rt, x[i], y[i])) return is_ordered(rt, op, x[i], y[i]);
    }
    return holds(x.size() < y.size() ? -1 : x.size() > y.size());
  }
  fail_operands(rt, op, a, b);
  return false;
}

/// Returns the elements that a loop over `v` meets, and charges for visiting all of them; an iterator is empty afterwards. The characters of a safe text are
/// not safe.
[[nodiscard]] inline std::span<const value> iterate(runtime& rt, const value& v) {
  switch (v.type) {
    case kind::list: case kind::tuple: case kind::view: return rt.charge(1 + v.items->values.size()) ? v.items->values : std::span<const value>();
    case kind::undefined: return {};
    case kind::iterator: {
      const auto rest = std::exchange(v.iterator->values, {});
      return rt.charge(1 + rest.size()) ? rest : std::span<const value>();
    }
    case kind::dict: {
      if (!rt.charge(1 + v.members->pairs.size())) return {};
      const auto keys = rt.make_array<value>(v.members->pairs.size());
      for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = v.members->pairs[i].key;
      return keys;
    }
    case kind::string: {
      std::vector<value> chars;
      const text t{v.bytes(), v.string->flips};
      for (std::size_t i = 0; i < t.bytes.size();) {
        const std::size_t length = decode_utf8(t.bytes, i).length;
        chars.push_back(rt.part(t, i, length));
        if (rt.has_failed()) return {};
        i += length;
      }
      return rt.copy(std::span<const value>(chars));
    }
    case kind::range: {
      if (!rt.charge(1 + static_cast<std::size_t>(v.numbers->length))) return {};
      const auto all = rt.make_array<value>(static_cast<std::size_t>(v.numbers->length));
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = v.numbers->at(static_cast<std::int64_t>(i));
      return all;
    }
    default: rt.fail_type("cannot iterate over", v); return {};
  }
}

/// Whether a value can be a key. Tuples may hold one part many times, so looking at them costs steps; where none are left nothing can.
[[nodiscard]] inline bool is_hashable(runtime& rt, const value& v) {
  if (v.is(kind::tuple)) {
    for (const value& part : v.items->values) {
      if (!rt.charge(1) || !is_hashable(rt, part)) return false;
    }
  }
  return !v.is(kind::list) && !v.is(kind::dict) && !v.is(kind::view);
}

/// Computes `needle in haystack`.
[[nodiscard]] inline bool contains(runtime& rt, const value& needle, const value& haystack) {
  if (haystack.is_string()) {
    if (!needle.is_string()) return rt.fail_type("only text can be in a text, not", needle), false;
    return rt.charge_bytes(haystack.bytes().size()) && find_text(haystack.bytes(), needle.bytes()) != std::string_view::npos;
  }
  if (haystack.is(kind::dict)) {
    if (!is_hashable(rt, needle)) return rt.has_failed() ? false : rt.fail_type("no key can be a", needle), false;
    return find_key(rt, *haystack.members, needle) != nullptr;
  }
  for (const value& v : iterate(rt, haystack)) {
    if (rt.has_failed()) break;
    if (equals(rt, v, needle)) return true;
  }
  return false;
}

/// Computes + - * // % of two integers; nothing where the result does not fit 64 bits. Requires b != 0 for // and %.
[[nodiscard]] inline std::optional<std::int64_t> checked_integer(operation op, std::int64_t a, std::int64_t b) noexcept {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max(), least = std::numeric_limits<std::int64_t>::min();
  switch (op) {
    case operation::add: return (b > 0 ? a > most - b : a < least - b) ? std::nullopt : std::optional(a + b);
    case operation::subtract: return (b < 0 ? a > most + b : a < least + b) ? std::nullopt : std::optional(a - b);
    case operation::multiply:
      if (a == 0 || b == 0) return 0;
      if (a == -1 || b == -1) return a == least || b == least ? std::nullopt : std::optional(-(a == -1 ? b : a));
      return ((b > 0) ? (a > most / b || a < least / b) : (a < most / b || a > least / b)) ? std::nullopt : std::optional(a * b);
    case operation::floor_divide:
      if (b == -1) return a == least ? std::nullopt : std::optional(-a);
      return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
    default: {   // modulo: the sign of the divisor
      if (b == -1) return 0;
      const std::int64_t rest = a % b;
      return rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest;
    }
  }
}

/// Computes base ** exponent: an integer, or a real number where the exponent is negative.
[[nodiscard]] inline value integer_power(runtime& rt, std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return rt.fail("0 to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  if (base == 0 || base == 1) return exponent == 0 ? std::int64_t{1} : base;
  if (base == -1) return std::int64_t{exponent % 2 == 0 ? 1 : -1};
  std::int64_t result = 1;
  for (; exponent > 0; --exponent) {
    const auto next = checked_integer(operation::multiply, result, base);
    if (!next) return rt.fail("an integer beyond 64 bits", errc::limit_exceeded);
    result = *next;
  }
  return result;
}

/// Computes an operation of real numbers. // and % round towards minus infinity, as Python's do.
[[nodiscard]] inline value compute_reals(runtime& rt, operation op, double a, double b) {
  if (b == 0 && (op == operation::divide || op == operation::floor_divide || op == operation::modulo)) return rt.fail("division by zero");
  switch (op) {
    case operation::add: return a + b;
    case operation::subtract: return a - b;
    case operation::multiply: return a * b;
    case operation::divide: return a / b;
    case operation::power: {
      if (a == 0 && b < 0) return rt.fail("0 to a negative power");
      if (a < 0 && std::floor(b) != b) return rt.fail("complex numbers are not supported");
      const double power = std::pow(a, b);
      if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) return rt.fail("a number too large for a float", errc::limit_exceeded);
      return power;
    }
    default: break;
  }
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) {
      rest += b;
      quotient -= 1;
    }
  } else {
    rest = std::copysign(0.0, b);
  }
  if (op == operation::modulo) return rest;
  return quotient == 0 ? std::copysign(0.0, a / b) : std::floor(quotient + 0.25);   // an integer but for rounding
}

/// Computes an operation of two numbers: of integers exactly, except for / and where one of them is real.
[[nodiscard]] inline value compute_numbers(runtime& rt, operation op, const value& a, const value& b) {
  if (a.is(kind::real) || b.is(kind::real) || op == operation::divide) return compute_reals(rt, op, a.as_real(), b.as_real());
  const std::int64_t x = a.as_integer(), y = b.as_integer();
  if (op == operation::power) return integer_power(rt, x, y);
  if (y == 0 && (op == operation::floor_divide || op == operation::modulo)) return rt.fail("division by zero");
  const auto result = checked_integer(op, x, y);
  return result ? value(*result) : rt.fail("an integer beyond 64 bits", errc::limit_exceeded);
}

}  // namespace cria::inline v0_1_0::jinja
