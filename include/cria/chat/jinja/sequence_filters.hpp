// SPDX-License-Identifier: MIT
// chat/jinja/sequence_filters.hpp - filters of lists and dicts: first, join, sort, unique, min, sum, dictsort, batch and others.
//
// Ensures   what is lazy in Jinja (unique, batch, slice, items, reverse) is an iterator here too: it has no length and can be read once
// Errors    bad_value where jinja2 raises
// Source    Jinja 3.1 template designer documentation, "List of Builtin Filters"; behaviour compared with jinja2 3.1.6
#pragma once

#include <cria/chat/jinja/arithmetic.hpp>
#include <cria/chat/jinja/attributes.hpp>
#include <cria/chat/jinja/filters.hpp>
#include <cria/chat/jinja/sorting.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// A path such as "function.name" or "0.role", whose parts are looked up one in the other.
class attribute_path {
 public:
  attribute_path(runtime& rt, const value& path) : rt_(rt) {
    if (path.is_missing() || path.is(kind::none)) return;
    if (!path.is_string()) {
      parts_.push_back(path);
      return;
    }
    for (const byte_range& r : parts_at(rt, *path.string, ".")) {
      const value part = rt.part(*path.string, r.start, r.size());
      if (rt.has_failed()) return;
      const std::string_view bytes = part.bytes();
      const bool is_number = !bytes.empty() && bytes.size() < 18 && bytes.find_first_not_of("0123456789") == bytes.npos;
      parts_.push_back(is_number ? value(*number_filters::parse_integer(rt, bytes, 10)) : part);
    }
  }
  [[nodiscard]] value find(value v, const value& otherwise = {}) const {
    for (const value& part : parts_) {
      if (!rt_.charge(1)) break;
      v = get_item(rt_, v, part);
      if (v.is_undefined() && !otherwise.is_missing() && !otherwise.is(kind::none)) v = otherwise;
    }
    return v;
  }
  /// The same; a text in lower case where `ignores_case`.
  [[nodiscard]] value find_key(const value& v, bool ignores_case) const {
    const value found = find(v);
    return found.is_string() && ignores_case ? string_methods::changed<&string_methods::append_lower>(rt_, found, {}) : found;
  }
  /// Returns the parts of a text between the separators, no more than can be paid for.
  [[nodiscard]] static std::vector<byte_range> parts_at(runtime& rt, const text& t, std::string_view separator) {
    if (!rt.charge_chars(t.bytes.size())) return {};
    return ranges_between(t.bytes.size(), find_all(t.bytes, separator, rt.steps_left() + 1), separator.size());
  }

 private:
  runtime& rt_;
  std::vector<value> parts_;
};

struct sequence_filters {
  static value length(runtime& rt, const value& self, given_values) {
    switch (self.type) {
      case kind::undefined: return std::int64_t{0};
      case kind::string: return rt.charge_chars(self.bytes().size()) ? value(static_cast<std::int64_t>(count_chars(self.bytes()))) : value::none();
      case kind::list: case kind::tuple: case kind::view: return static_cast<std::int64_t>(self.items->values.size());
      case kind::dict: return static_cast<std::int64_t>(self.members->pairs.size());
      case kind::range: return self.numbers->length;
      case kind::loop: return length_of(rt, *self.iteration);
      default: return rt.fail_type("there is no length of a", self);
    }
  }
  static value first(runtime& rt, const value& self, given_values) {
    if (self.is_string() && !self.bytes().empty()) return rt.part({self.bytes(), self.string->flips}, 0, decode_utf8(self.bytes(), 0).length);
    if (self.is(kind::iterator)) {
      auto& rest = self.iterator->values;
      if (rest.empty()) return rt.make_undefined("there is no first item");
      const value one = rest.front();
      rest = rest.subspan(1);
      return one;
    }
    const auto all = elements(rt, self);
    return all.empty() ? rt.make_undefined("there is no first item") : all.front();
  }
  static value last(runtime& rt, const value& self, given_values) {
    if (self.is_string() && !self.bytes().empty()) return element_at(rt, self, -1);
    if (self.is(kind::iterator)) return rt.fail_type("there is no last item of a", self);
    const auto all = elements(rt, self);
    return all.empty() ? rt.make_undefined("there is no last item") : all.back();
  }
  static value list(runtime& rt, const value& self, given_values) {
    const auto all = iterate(rt, self);
    return rt.has_failed() ? value::none() : rt.sequence_of(kind::list, all);
  }
  static value reverse(runtime& rt, const value& self, given_values) {
    if (self.is_string()) return slice_text(rt, *self.string, value::none(), value::none(), std::int64_t{-1});
    const auto all = iterate(rt, self);
    if (rt.has_failed()) return value::none();
    std::vector<value> reversed(all.rbegin(), all.rend());
    return self.is(kind::iterator) ? rt.make_sequence(kind::list, reversed) : rt.make_iterator(reversed);
  }
  static value join(runtime& rt, const value& self, given_values given) {
    const text separator = given[0].is_missing() ? text{} : to_text(rt, given[0]);
    const attribute_path path(rt, given[1]);
    text_builder out;
    bool is_first = true;
    for (const value& v : iterate(rt, self)) {
      if (!is_first && rt.charge_bytes(separator.bytes.size())) out.add(separator);
      append_str(rt, out, path.find(v));
      if (rt.has_failed()) break;
      is_first = false;
    }
    return rt.has_failed() ? value::none() : rt.string(out);
  }
  static value items(runtime& rt, const value& self, given_values) {
    if (self.is_undefined()) return rt.make_iterator({});
    if (!self.is(kind::dict)) return rt.fail_type("only a dict has items, not a", self);
    return rt.make_iterator(container_methods::pairs_of(rt, *self.members));
  }
  static value dict_sort(runtime& rt, const value& self, given_values given) {
    const std::string_view by = given[1].is_missing() ? "key" : given[1].is_string() ? given[1].bytes() : "";
    if (by != "key" && by != "value") return rt.fail("a dict can be sorted by key or value");
    if (!self.is(kind::dict)) return self.is_undefined() ? rt.fail_undefined(self) : rt.fail_type("only a dict can be sorted so, not a", self);
    const auto pairs = container_methods::pairs_of(rt, *self.members);
    const attribute_path whole(rt, value());
    std::vector<value> keys;
    for (const pair& p : self.members->pairs) keys.push_back(whole.find_key(by == "key" ? p.key : p.mapped, !is_true(given[0])));
    return in_order(rt, pairs, sorted_places(rt, keys, is_true(given[2])));
  }
  static value sort(runtime& rt, const value& self, given_values given) {
    std::vector<attribute_path> paths;
    if (given[2].is_string()) {
      const text& all = *given[2].string;
      for (const byte_range& r : attribute_path::parts_at(rt, all, ",")) {
        if (rt.has_failed()) return value::none();
        paths.emplace_back(rt, rt.part(all, r.start, r.size()));
      }
    } else {
      paths.emplace_back(rt, given[2]);
    }
    const auto all = iterate(rt, self);
    std::vector<value> keys, parts;
    for (const value& v : all) {
      if (rt.has_failed()) return value::none();
      parts.clear();
      for (const attribute_path& path : paths) parts.push_back(path.find_key(v, !is_true(given[1])));
      keys.push_back(rt.make_sequence(kind::list, parts));
    }
    return in_order(rt, all, sorted_places(rt, keys, is_true(given[0])));
  }
  static value unique(runtime& rt, const value& self, given_values given) {
    const attribute_path path(rt, given[1]);
    std::vector<value> out, seen;
    for (const value& v : iterate(rt, self)) {
      const value key = path.find_key(v, !is_true(given[0]));
      if (!is_hashable(rt, key) && !rt.has_failed()) rt.fail_type("there is no uniqueness of a", key);
      if (rt.has_failed()) return value::none();
      if (std::any_of(seen.begin(), seen.end(), [&](const value& other) { return equals(rt, other, key); })) continue;
      seen.push_back(key);
      out.push_back(v);
    }
    return rt.has_failed() ? value::none() : rt.make_iterator(out);
  }
  template <operation Better>
  static value extreme(runtime& rt, const value& self, given_values given) {
    const attribute_path path(rt, given[1]);
    value best, best_key;
    for (const value& v : iterate(rt, self)) {
      const value key = path.find_key(v, !is_true(given[0]));
      if (rt.has_failed()) return value::none();
      if (!best.is_missing() && !is_ordered(rt, Better, key, best_key)) continue;
      best = v;
      best_key = key;
    }
    return best.is_missing() ? rt.make_undefined("there is no item to choose from") : best;
  }
  static value sum(runtime& rt, const value& self, given_values given) {
    const attribute_path path(rt, given[0]);
    value total = given[1].is_missing() ? value(std::int64_t{0}) : given[1];
    if (total.is_string()) return rt.fail("texts cannot be summed; join them");
    for (const value& v : iterate(rt, self)) {
      if (rt.has_failed()) break;
      total = compute(rt, operation::add, total, path.find(v));
    }
    return total;
  }
  static value batch(runtime& rt, const value& self, given_values given) {
    const std::int64_t size = string_methods::need_integer(rt, given[0], 1);
    std::vector<value> rows, row;
    const auto close_row = [&] {
      rows.push_back(rt.make_sequence(kind::list, row));
      row.clear();
    };
    for (const value& v : iterate(rt, self)) {
      if (rt.has_failed()) return value::none();
      if (static_cast<std::int64_t>(row.size()) == size) close_row();
      row.push_back(v);
    }
    const bool fills = !given[1].is_missing() && !given[1].is(kind::none);
    while (!row.empty() && fills && static_cast<std::int64_t>(row.size()) < size && rt.charge(1)) row.push_back(given[1]);
    if (!row.empty()) close_row();
    return rt.has_failed() ? value::none() : rt.make_iterator(rows);
  }
  static value slice(runtime& rt, const value& self, given_values given) {
    const std::int64_t n = string_methods::need_integer(rt, given[0], 1);
    const auto all = iterate(rt, self);
    if (rt.has_failed() || n <= 0) return n == 0 ? rt.fail("division by zero") : rt.make_iterator({});
    if (!rt.charge(static_cast<std::size_t>(n))) return value::none();
    const std::size_t count = static_cast<std::size_t>(n), size = all.size() / count, n_longer = all.size() % count;
    const bool fills = !given[1].is_missing() && !given[1].is(kind::none);
    std::vector<value> slices, one;
    for (std::size_t i = 0, start = 0; i < count; ++i) {
      const std::size_t length = size + (i < n_longer);
      one.assign(all.begin() + static_cast<std::ptrdiff_t>(start), all.begin() + static_cast<std::ptrdiff_t>(start + length));
      if (fills && i >= n_longer) one.push_back(given[1]);
      slices.push_back(rt.make_sequence(kind::list, one));
      start += length;
    }
    return rt.make_iterator(slices);
  }
  /// Only what the object itself has, not its elements.
  static value attribute(runtime& rt, const value& self, given_values given) {
    const text* name = string_methods::need_text(rt, given[0]);
    if (name == nullptr) return value::none();
    if (self.is_undefined()) return rt.fail_undefined(self);
    const value found = own_attribute(rt, self, *name);
    return found.is_missing() ? rt.make_undefined(self, given[0]) : found;
  }

 private:
  /// As iterate; what is there already costs nothing, as nobody visits all of it.
  [[nodiscard]] static std::span<const value> elements(runtime& rt, const value& v) {
    return v.is(kind::list) || v.is(kind::tuple) || v.is(kind::view) ? v.items->values : iterate(rt, v);
  }
  [[nodiscard]] static value in_order(runtime& rt, std::span<const value> all, const std::vector<std::size_t>& places) {
    if (rt.has_failed()) return value::none();
    const auto kept = rt.make_array<value>(places.size());
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = all[places[i]];
    return rt.sequence_of(kind::list, kept);
  }
};

}  // namespace cria::inline v0_1_0::jinja
