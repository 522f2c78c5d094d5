// SPDX-License-Identifier: MIT
// chat/jinja/loop.hpp - the state of a for loop, which templates see as `loop`.
//
// Ensures   the condition of `for ... if` is asked about an item when the loop comes to it, or looks ahead to it, and not before
// Errors    those of the condition; bad_value for loop.cycle() without arguments
// Source    Jinja 3.1 template designer documentation, "For"
#pragma once

#include <cria/chat/jinja/operators.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

class evaluator;

/// A loop that runs. What templates ask of `loop` (index, last, length, previtem and others) is computed from it.
struct loop {
  /// Returns whether the loop's condition holds for an item.
  using test = bool (*)(evaluator&, loop&, const value& item);

  const for_node* node = nullptr;
  frame* outer = nullptr;              ///< the variables around the loop
  evaluator* owner = nullptr;          ///< evaluates the condition
  test passes = nullptr;               ///< nullptr: every item does
  frame* condition_frame = nullptr;    ///< the variables of the condition

  std::span<const value> items;        ///< what the loop is over; when its length was asked for, the items to come that pass
  std::size_t next_item = 0;           ///< of `items`: the first that was not asked about
  std::int64_t index0 = -1;            ///< rounds before this one; -1 before the first
  std::int64_t depth0 = 0;             ///< recursive calls of loop() around this one
  std::int64_t known_length = -1;      ///< items that pass; -1 while nobody has asked
  value before, current;               ///< the items of the last round and of this one
  value ahead;                         ///< the item of the next round, if it was looked at
  value last_changed;                  ///< what loop.changed() was given last
};

/// Returns the next item that passes; missing at the end.
[[nodiscard]] inline value find_next(runtime& rt, loop& l) {
  while (l.next_item < l.items.size() && !rt.has_failed()) {
    const value& item = l.items[l.next_item++];
    if (l.passes == nullptr || l.passes(*l.owner, l, item)) return item;
  }
  return {};
}
/// Returns the item of the next round; missing at the end.
[[nodiscard]] inline const value& look_ahead(runtime& rt, loop& l) {
  if (l.ahead.is_missing()) l.ahead = find_next(rt, l);
  return l.ahead;
}
/// Goes on to the next item; false at the end.
[[nodiscard]] inline bool advance(runtime& rt, loop& l) {
  const value item = look_ahead(rt, l);
  l.ahead = value();
  if (item.is_missing() || rt.has_failed()) return false;
  ++l.index0;
  l.before = l.current;
  l.current = item;
  return true;
}
/// Returns how many items pass, for which the condition is asked about all that are left.
[[nodiscard]] inline std::int64_t length_of(runtime& rt, loop& l) {
  if (l.known_length >= 0) return l.known_length;
  if (l.passes == nullptr) return l.known_length = static_cast<std::int64_t>(l.items.size());
  std::vector<value> rest;
  for (value item = find_next(rt, l); !item.is_missing() && !rt.has_failed(); item = find_next(rt, l)) rest.push_back(item);
  l.items = rt.copy(std::span<const value>(rest));
  l.next_item = 0;
  l.passes = nullptr;
  return l.known_length = static_cast<std::int64_t>(rest.size()) + l.index0 + 1 + !l.ahead.is_missing();
}

struct loop_methods {
  static value cycle(runtime& rt, const value& self, const arguments& given) {
    if (given.positional.empty() || !given.named.empty()) return rt.fail("loop.cycle needs values");
    return given.positional[static_cast<std::size_t>(self.iteration->index0) % given.positional.size()];
  }
  static value changed(runtime& rt, const value& self, const arguments& given) {
    loop& l = *self.iteration;
    const value now = rt.make_sequence(kind::tuple, given.positional);
    if (rt.has_failed() || (!l.last_changed.is_missing() && equals(rt, l.last_changed, now))) return false;
    l.last_changed = now;
    return true;
  }
};
inline constexpr builtin loop_method_table[] = {{"cycle", "", 0, nullptr, &loop_methods::cycle}, {"changed", "", 0, nullptr, &loop_methods::changed}};

/// Returns loop.name; missing where there is no such thing.
[[nodiscard]] inline value loop_attribute(runtime& rt, const value& self, std::string_view name) {
  loop& l = *self.iteration;
  if (name == "index") return l.index0 + 1;
  if (name == "index0") return l.index0;
  if (name == "first") return l.index0 == 0;
  if (name == "last") return look_ahead(rt, l).is_missing();
  if (name == "length") return length_of(rt, l);
  if (name == "revindex") return length_of(rt, l) - l.index0;
  if (name == "revindex0") return length_of(rt, l) - l.index0 - 1;
  if (name == "depth") return l.depth0 + 1;
  if (name == "depth0") return l.depth0;
  if (name == "previtem") return l.index0 == 0 ? rt.make_undefined("there is no previous item") : l.before;
  if (name == "nextitem") {
    const value next = look_ahead(rt, l);
    return next.is_missing() ? rt.make_undefined("there is no next item") : next;
  }
  for (const builtin& b : loop_method_table) {
    if (b.name == name) return rt.make_method(&b, self);
  }
  return {};
}

}  // namespace cria::inline v0_1_0::jinja
