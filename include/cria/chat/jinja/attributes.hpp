// SPDX-License-Identifier: MIT
// chat/jinja/attributes.hpp - what x.name, x[key] and x[a:b:c] give, for every kind of x.
//
//   x.name    an attribute of the object (a method), else its element "name", else undefined
//   x[key]    an element, else (key a text) an attribute, else undefined
//
// Ensures   methods that would change a list or dict give an undefined value, which fails once it is called
// Errors    bad_value: anything of an undefined value; slices of what has none; methods that cria does not have
// Source    Jinja 3.1 template designer documentation, "Implementation" of variables; sandbox.py for what is forbidden
#pragma once

#include <cria/chat/jinja/loop.hpp>
#include <cria/chat/jinja/methods.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

[[nodiscard]] inline value find_in_table(runtime& rt, const value& object, std::span<const builtin> table, std::string_view name) {
  const builtin* found = find_builtin(table, name);
  return found != nullptr ? rt.make_method(found, object) : value();
}

/// Returns what the object itself has under that name: a method, a member of a namespace or loop; missing where there is none.
[[nodiscard]] inline value own_attribute(runtime& rt, const value& object, const text& name) {
  const std::string_view n = name.bytes;
  const auto is_one_of = [n](std::span<const std::string_view> names) { return std::find(names.begin(), names.end(), n) != names.end(); };
  switch (object.type) {
    case kind::string:
      if (is_one_of(unsupported_string_methods)) return rt.fail("the method '" + std::string(n) + "' of texts is not supported");
      return find_in_table(rt, object, string_method_table, n);
    case kind::dict:
      if (is_one_of(forbidden_dict_methods)) return rt.make_undefined("templates may not change a dict, nor use its method '" + std::string(n) + "'");
      return find_in_table(rt, object, dict_method_table, n);
    case kind::list:
      if (is_one_of(forbidden_list_methods)) return rt.make_undefined("templates may not change a list, nor use its method '" + std::string(n) + "'");
      return find_in_table(rt, object, list_method_table, n);
    case kind::tuple: case kind::range: return find_in_table(rt, object, std::span(list_method_table).first(2), n);
    case kind::name_space: {
      const name_space& space = *object.space;
      const pair* found = find_key(rt, {space.pairs.first(space.n)}, value(&name));
      return found != nullptr ? found->mapped : value();
    }
    case kind::cycler:
      if (n == "current") return object.cycle->values[object.cycle->position];
      return find_in_table(rt, object, cycler_method_table, n);
    case kind::loop: return loop_attribute(rt, object, n);
    case kind::macro: return n == "name" ? rt.string(object.function->definition->spelling) : value();
    default: return {};
  }
}

/// Returns object[index] for an integer; missing where the object has no such element.
[[nodiscard]] inline value element_at(runtime& rt, const value& object, std::int64_t index) {
  const auto in_range = [&](std::size_t size) {
    if (index < 0) index += static_cast<std::int64_t>(size);
    return index >= 0 && index < static_cast<std::int64_t>(size);
  };
  if (object.is(kind::list) || object.is(kind::tuple)) {
    return in_range(object.items->values.size()) ? object.items->values[static_cast<std::size_t>(index)] : value();
  }
  if (object.is(kind::range)) {
    return in_range(static_cast<std::size_t>(object.numbers->length)) ? value(object.numbers->at(index)) : value();
  }
  if (!object.is_string() || !rt.charge_chars(object.bytes().size())) return {};
  if (!in_range(count_chars(object.bytes()))) return {};
  const std::size_t start = char_offset(object.bytes(), static_cast<std::size_t>(index));
  return rt.part(*object.string, start, decode_utf8(object.bytes(), start).length);
}

/// Returns object[key]; missing where the object has no such element.
[[nodiscard]] inline value own_element(runtime& rt, const value& object, const value& key) {
  if (object.is(kind::dict)) {
    if (!is_hashable(rt, key)) return {};
    const pair* found = find_key(rt, *object.members, key);
    return found != nullptr ? found->mapped : value();
  }
  return key.is_integral() ? element_at(rt, object, key.as_integer()) : value();
}

/// Computes object.name
[[nodiscard]] inline value get_attribute(runtime& rt, const value& object, const text& name) {
  if (rt.has_failed()) return value::none();
  if (object.is_undefined()) return rt.fail_undefined(object);
  value found = own_attribute(rt, object, name);
  if (found.is_missing()) found = own_element(rt, object, value(&name));
  return found.is_missing() ? rt.make_undefined(object, value(&name)) : found;
}

/// Computes object[key]
[[nodiscard]] inline value get_item(runtime& rt, const value& object, const value& key) {
  if (rt.has_failed()) return value::none();
  if (object.is_undefined()) return rt.fail_undefined(object);
  value found = own_element(rt, object, key);
  if (found.is_missing() && key.is_string()) found = own_attribute(rt, object, *key.string);
  return found.is_missing() ? rt.make_undefined(object, key) : found;
}

/// The elements that start:stop:step choose of so many, as Python counts them.
struct slice_range {
  std::int64_t start = 0, stop = 0, step = 1, length = 0;
};
[[nodiscard]] inline slice_range choose_slice(runtime& rt, std::int64_t size, const value& start, const value& stop, const value& step) {
  const auto bound = [&](const value& v, std::int64_t otherwise, std::int64_t low, std::int64_t high) {
    if (v.is(kind::none)) return otherwise;
    if (!v.is_integral()) return rt.fail_type("slices need integers, not", v), otherwise;
    const std::int64_t i = v.as_integer();
    return std::clamp(i < 0 ? std::max(i, -size - 1) + size : i, low, high);
  };
  slice_range r;
  if (!step.is(kind::none)) {
    if (!step.is_integral()) return rt.fail_type("slices need integers, not", step), r;
    r.step = std::max(step.as_integer(), -std::numeric_limits<std::int64_t>::max());
  }
  if (r.step == 0) return rt.fail("the step of a slice is 0"), r;
  const bool is_forward = r.step > 0;
  r.start = is_forward ? bound(start, 0, 0, size) : bound(start, size - 1, -1, size - 1);
  r.stop = is_forward ? bound(stop, size, 0, size) : bound(stop, -1, -1, size - 1);
  if (is_forward && r.start < r.stop) r.length = (r.stop - r.start - 1) / r.step + 1;
  if (!is_forward && r.stop < r.start) r.length = (r.start - r.stop - 1) / -r.step + 1;
  return r;
}

[[nodiscard]] inline value slice_text(runtime& rt, const text& t, const value& start, const value& stop, const value& step) {
  if (!rt.charge_chars(t.bytes.size())) return value::none();
  const slice_range r = choose_slice(rt, static_cast<std::int64_t>(count_chars(t.bytes)), start, stop, step);
  if (rt.has_failed()) return value::none();
  if (r.length == 0) return rt.part(t, 0, 0);
  if (r.step == 1) {
    const std::size_t first = char_offset(t.bytes, static_cast<std::size_t>(r.start));
    return rt.part(t, first, char_offset(t.bytes.substr(first), static_cast<std::size_t>(r.length)));
  }
  std::vector<std::size_t> offsets;
  for (std::size_t i = 0; i < t.bytes.size(); i += decode_utf8(t.bytes, i).length) offsets.push_back(i);
  if (!rt.charge(static_cast<std::size_t>(r.length))) return value::none();
  text_builder out;
  for (std::int64_t i = 0; i < r.length; ++i) {
    const std::size_t at = offsets[static_cast<std::size_t>(r.start + i * r.step)];
    out.add(t.bytes.substr(at, decode_utf8(t.bytes, at).length), t.is_content_at(at));
  }
  return rt.string(out, t.is_safe);
}

/// Computes object[start:stop:step], where none stands for what was left out.
[[nodiscard]] inline value get_slice(runtime& rt, const value& object, const value& start, const value& stop, const value& step) {
  if (rt.has_failed()) return value::none();
  if (object.is_undefined()) return rt.fail_undefined(object);
  if (object.is_string()) return slice_text(rt, *object.string, start, stop, step);
  const bool is_range = object.is(kind::range);
  if (!is_range && !object.is(kind::list) && !object.is(kind::tuple)) return rt.fail_type("there are no slices of a", object);
  const std::int64_t size = is_range ? object.numbers->length : static_cast<std::int64_t>(object.items->values.size());
  const slice_range r = choose_slice(rt, size, start, stop, step);
  if (rt.has_failed() || !rt.charge(static_cast<std::size_t>(r.length))) return value::none();
  if (is_range) {
    const range& whole = *object.numbers;
    const range strides{0, 0, whole.step, 0};   // of two numbers further apart than 64 bits count, the stride wraps around, and leads to the other all the same
    return rt.make(range{whole.at(r.start), whole.at(r.stop), r.length > 1 ? strides.at(r.step) : 1, r.length});
  }
  const auto kept = rt.make_array<value>(static_cast<std::size_t>(r.length));
  for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = object.items->values[static_cast<std::size_t>(r.start + static_cast<std::int64_t>(i) * r.step)];
  return rt.sequence_of(object.type, kept);
}

}  // namespace cria::inline v0_1_0::jinja
