// SPDX-License-Identifier: MIT
// chat/jinja/methods.hpp - the methods of dicts, lists, ranges, loops and cyclers (those of texts: string_methods.hpp), and how the arguments of a call are
// brought into the order of the parameters before a builtin sees them.
//
// Ensures  nothing that a template was given changes: methods that would change a list or dict are forbidden, as in Jinja's sandbox
// Errors   bad_value where Python raises TypeError or ValueError, and for forbidden methods
// Source   Python 3 library reference, "Built-in Types"; Jinja 3.1, class ImmutableSandboxedEnvironment, LoopContext, Cycler
#pragma once

#include <cria/chat/jinja/operators.hpp>
#include <cria/chat/jinja/string_methods.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Puts the arguments of a call into the order of a builtin's parameters and calls it.
inline value call_builtin(runtime& rt, const builtin& f, const value& self, const arguments& given) {
  if (rt.has_failed()) return value::none();
  if (f.call_all != nullptr) return f.call_all(rt, self, given);
  constexpr std::size_t most = 6;
  std::array<value, most> slots;
  std::string_view rest = f.parameters;
  const bool by_position = rest.starts_with("/ ");
  if (by_position) rest.remove_prefix(2);
  std::size_t n = 0, n_named = 0;
  for (; !rest.empty(); ++n) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view name = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (n < given.positional.size()) slots[n] = given.positional[n];
    for (const keyword& k : given.named) {
      if (by_position || k.name != name) continue;
      if (n < given.positional.size()) return rt.fail(std::string(f.name) + " gets its argument '" + std::string(name) + "' twice");
      slots[n] = k.given;
      ++n_named;
    }
    if (n < f.n_required && slots[n].is_missing()) return rt.fail(std::string(f.name) + " needs its argument '" + std::string(name) + "'");
  }
  if (given.positional.size() > n) return rt.fail(std::string(f.name) + " takes at most " + std::to_string(n) + " arguments");
  if (given.named.size() > n_named) return rt.fail(std::string(f.name) + " has no such named argument");
  return f.call(rt, self, std::span<const value>(slots).first(std::max<std::size_t>(n, 1)));
}

struct container_methods {
  [[nodiscard]] static value make_view(runtime& rt, std::span<const value> kept, std::string_view name) { return rt.sequence_of(kind::view, kept, name); }

  static value keys(runtime& rt, const value& self, given_values) { return make_view(rt, iterate(rt, self), "dict_keys"); }
  static value values(runtime& rt, const value& self, given_values) {
    const auto all = rt.make_array<value>(self.members->pairs.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = self.members->pairs[i].mapped;
    return make_view(rt, all, "dict_values");
  }
  [[nodiscard]] static std::span<const value> pairs_of(runtime& rt, const dict& d) {
    if (!rt.charge(d.pairs.size())) return {};
    const auto all = rt.make_array<value>(d.pairs.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = rt.make_tuple(d.pairs[i].key, d.pairs[i].mapped);
    return all;
  }
  static value items(runtime& rt, const value& self, given_values) { return make_view(rt, pairs_of(rt, *self.members), "dict_items"); }
  static value get(runtime& rt, const value& self, given_values given) {
    if (!is_hashable(rt, given[0])) return rt.has_failed() ? value::none() : rt.fail_type("no key can be a", given[0]);
    const pair* found = find_key(rt, *self.members, given[0]);
    return found != nullptr ? found->mapped : given[1].is_missing() ? value::none() : given[1];
  }
  static value copy(runtime&, const value& self, given_values) { return self; }   // nothing can change it

  static value index(runtime& rt, const value& self, given_values given) {
    const auto all = iterate(rt, self);
    const auto n = static_cast<std::int64_t>(all.size());
    const auto clamp = [n](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + n : i, 0, n); };
    const std::int64_t end = clamp(string_methods::need_integer(rt, given[2], n));
    for (std::int64_t i = clamp(string_methods::need_integer(rt, given[1], 0)); i < end && !rt.has_failed(); ++i) {
      if (equals(rt, all[static_cast<std::size_t>(i)], given[0])) return i;
    }
    return rt.fail("the value is not in the list");
  }
  static value count(runtime& rt, const value& self, given_values given) {
    std::int64_t n = 0;
    for (const value& v : iterate(rt, self)) n += equals(rt, v, given[0]);
    return n;
  }

  static value next(runtime&, const value& self, given_values) {
    cycler& c = *self.cycle;
    const value current = c.values[c.position];
    c.position = (c.position + 1) % c.values.size();
    return current;
  }
  static value reset(runtime&, const value& self, given_values) {
    self.cycle->position = 0;
    return value::none();
  }
};

inline constexpr builtin dict_method_table[] = {
    {"copy", "", 0, &container_methods::copy},     {"get", "/ key default", 1, &container_methods::get}, {"items", "", 0, &container_methods::items},
    {"keys", "", 0, &container_methods::keys},     {"values", "", 0, &container_methods::values},
};
inline constexpr std::string_view forbidden_dict_methods[] = {"clear", "pop", "popitem", "setdefault", "update", "fromkeys"};
inline constexpr builtin list_method_table[] = {
    // tuples and ranges have the first two
    {"count", "/ value", 1, &container_methods::count},
    {"index", "/ value start stop", 1, &container_methods::index},
    {"copy", "", 0, &container_methods::copy},
};
inline constexpr std::string_view forbidden_list_methods[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
inline constexpr builtin cycler_method_table[] = {{"next", "", 0, &container_methods::next}, {"reset", "", 0, &container_methods::reset}};

[[nodiscard]] inline const builtin* find_builtin(std::span<const builtin> table, std::string_view name) noexcept {
  for (const builtin& b : table) {
    if (b.name == name) return &b;
  }
  return nullptr;
}

}  // namespace cria::inline v0_1_0::jinja
