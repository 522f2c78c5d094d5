// SPDX-License-Identifier: MIT
// chat/jinja/tests.hpp - the tests, which follow `is` in a template: defined, string, mapping, odd, in and others. library.hpp has the table of their names.
//
// Errors   bad_value where jinja2 raises
// Source   Jinja 3.1 template designer documentation, "List of Builtin Tests"; behaviour compared with jinja2 3.1.6
#pragma once

#include <cria/chat/jinja/arithmetic.hpp>
#include <cria/chat/jinja/methods.hpp>

#include <cstdint>

namespace cria::inline v0_1_0::jinja {

struct test_functions {
  template <kind... Kinds>
  static value is_kind(runtime&, const value& self, given_values) { return (self.is(Kinds) || ...); }
  static value is_defined(runtime&, const value& self, given_values) { return !self.is_undefined(); }
  template <bool Wanted>
  static value is_boolean(runtime&, const value& self, given_values) { return self.is(kind::boolean) && self.boolean == Wanted; }
  static value is_sequence(runtime&, const value& self, given_values) {
    return self.is_string() || self.is_undefined() || self.is(kind::list) || self.is(kind::tuple) || self.is(kind::dict) || self.is(kind::range);
  }
  static value is_iterable(runtime&, const value& self, given_values) {
    return self.is_string() || self.is_undefined() || self.is_container() || self.is(kind::range) || self.is(kind::iterator) || self.is(kind::loop);
  }
  static value is_callable(runtime&, const value& self, given_values) {   // what is undefined can be called too: it fails then
    return self.is_undefined() || self.is(kind::macro) || self.is(kind::builtin) || self.is(kind::method) || self.is(kind::joiner) || self.is(kind::loop);
  }
  static value is_escaped(runtime&, const value& self, given_values) { return self.is_string() && self.string->is_safe; }
  template <letter_case Wanted>
  static value is_case(runtime& rt, const value& self, given_values) {
    const text t = to_text(rt, self);
    return rt.charge_chars(t.bytes.size()) ? value(is_all(t.bytes, Wanted)) : value::none();
  }

  template <operation Op>
  static value compare(runtime& rt, const value& self, given_values given) {
    if constexpr (Op == operation::equal) return equals(rt, self, given[0]);
    else if constexpr (Op == operation::not_equal) return !equals(rt, self, given[0]);
    else if constexpr (Op == operation::in) return contains(rt, self, given[0]);
    else return is_ordered(rt, Op, self, given[0]);
  }
  template <std::int64_t Rest>
  static value is_rest_of_two(runtime& rt, const value& self, given_values) {
    return equals(rt, compute(rt, operation::modulo, self, std::int64_t{2}), Rest);
  }
  static value is_divisible(runtime& rt, const value& self, given_values given) {
    return equals(rt, compute(rt, operation::modulo, self, given[0]), std::int64_t{0});
  }
  /// The same object; of texts and numbers nothing is promised in Python, here equal ones are the same.
  static value is_same(runtime& rt, const value& self, given_values given) {
    return self.type == given[0].type && (self.is_container() ? self.items == given[0].items : equals(rt, self, given[0]));
  }
};

}  // namespace cria::inline v0_1_0::jinja
