// SPDX-License-Identifier: MIT
// chat/schema/schema_types.hpp - what kinds of values a schema allows, and whether two schemas can allow the same value.
//
// oneOf demands that no value satisfies two of its schemas. A grammar cannot count, so the compiler accepts a oneOf only if no value can.
//
// Errors    none: a schema that is not understood counts as one that allows anything, so that the compiler refuses rather than writes too much
#pragma once

#include <cria/chat/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0::detail {

/// Kinds of JSON values as bits; a number that is an integer is `integer`.
enum json_kind : unsigned { k_null = 1, k_boolean = 2, k_integer = 4, k_fraction = 8, k_string = 16, k_array = 32, k_object = 64, k_any = 127 };

/// Returns the kinds of a type name of JSON Schema; 0 for none.
[[nodiscard]] constexpr unsigned kinds_of_type(std::string_view type) noexcept {
  if (type == "null") return k_null;
  if (type == "boolean") return k_boolean;
  if (type == "integer") return k_integer;
  if (type == "number") return k_integer | k_fraction;
  if (type == "string") return k_string;
  if (type == "array") return k_array;
  return type == "object" ? unsigned{k_object} : 0u;
}

/// Returns the kind of a value.
[[nodiscard]] inline unsigned kind_of(const json& value) noexcept {
  if (value.is_null()) return k_null;
  if (value.get_if<bool>() != nullptr) return k_boolean;
  if (value.get_if<std::string>() != nullptr) return k_string;
  if (value.get_if<json::array>() != nullptr) return k_array;
  if (value.get_if<json::object>() != nullptr) return k_object;
  const auto* number = value.get_if<double>();
  return number == nullptr || std::floor(*number) == *number ? k_integer : k_fraction;
}

/// What is known of the values that a schema allows.
struct schema_summary {
  unsigned kinds = k_any;
  std::optional<std::set<std::string>> values = {};                  // all of them, printed
  std::map<std::string, std::set<std::string>> tags = {};            // members that must be there, with all their values
};

/// From a $ref to its schema, nullptr where there is none.
using schema_resolver = std::function<const json*(const json&)>;

/// Follows $ref until there is none; nullptr where that ends nowhere, or not soon.
[[nodiscard]] inline const json* target_of(const json& schema, const schema_resolver& resolve) {
  const json* at = &schema;
  for (int n = 0; n < 16 && at != nullptr; ++n) {
    const json* ref = at->find("$ref");
    if (ref == nullptr) return at;
    at = resolve(*ref);
  }
  return nullptr;
}

/// Returns all the values that a schema allows, printed, where it lists them.
[[nodiscard]] inline std::optional<std::set<std::string>> values_of(const json& schema, const schema_resolver& resolve) {
  const json* target = target_of(schema, resolve);
  if (target == nullptr) return std::nullopt;
  if (const json* value = target->find("const")) return std::set<std::string>{value->dump()};
  const json* list = target->find("enum");
  if (list == nullptr || list->get_if<json::array>() == nullptr) return std::nullopt;
  std::set<std::string> all;
  for (const json& value : *list->get_if<json::array>()) all.insert(value.dump());
  return all;
}

/// Returns the kinds of the values that a schema allows. Each schema is looked at once: what leads back to one adds nothing.
[[nodiscard]] inline unsigned kinds_in(const json& schema, const schema_resolver& resolve, std::set<const json*>& seen, int depth = 0) {
  constexpr int deepest = 64;
  const json* at = target_of(schema, resolve);
  if (at == nullptr || depth > deepest || at->get_if<json::object>() == nullptr) return k_any;
  if (!seen.insert(at).second) return 0;
  unsigned kinds = 0;
  if (const json* value = at->find("const")) return kind_of(*value);
  if (const json* list = at->find("enum"); list != nullptr && list->get_if<json::array>() != nullptr) {
    for (const json& value : *list->get_if<json::array>()) kinds |= kind_of(value);
    return kinds;
  }
  for (const char* key : {"anyOf", "oneOf"}) {
    const json* list = at->find(key);
    if (list == nullptr || list->get_if<json::array>() == nullptr) continue;
    for (const json& branch : *list->get_if<json::array>()) kinds |= kinds_in(branch, resolve, seen, depth + 1);
    return kinds;
  }
  const json* type = at->find("type");
  if (type == nullptr) return k_any;
  if (const auto* one = type->get_if<std::string>()) kinds = kinds_of_type(*one);
  if (const auto* many = type->get_if<json::array>()) {
    for (const json& one : *many) kinds |= one.get_if<std::string>() != nullptr ? kinds_of_type(*one.get_if<std::string>()) : unsigned{k_any};
  }
  return kinds;
}

/// Returns what can be told of a schema's values without looking at more than its types, constants and required members.
[[nodiscard]] inline schema_summary summary_of(const json& schema, const schema_resolver& resolve) {
  std::set<const json*> seen;
  schema_summary s{kinds_in(schema, resolve, seen), values_of(schema, resolve), {}};
  const json* at = target_of(schema, resolve);
  if (at == nullptr || s.values || at->find("anyOf") != nullptr || at->find("oneOf") != nullptr) return s;
  const json* properties = at->find("properties");
  const json* required = at->find("required");
  if (properties == nullptr || required == nullptr || required->get_if<json::array>() == nullptr) return s;
  std::set<std::string_view> names;
  for (const json& name : *required->get_if<json::array>()) {
    if (const auto* text = name.get_if<std::string>()) names.insert(*text);
  }
  if (properties->get_if<json::object>() == nullptr) return s;
  for (const auto& [key, member] : *properties->get_if<json::object>()) {
    if (names.count(key) == 0) continue;
    if (auto values = values_of(member, resolve)) s.tags.emplace(key, *std::move(values));
  }
  return s;
}

/// Returns whether no value is allowed by both, as far as can be told.
[[nodiscard]] inline bool are_disjoint(const schema_summary& a, const schema_summary& b) {
  const auto share = [](const std::set<std::string>& x, const std::set<std::string>& y) {
    return std::any_of(x.begin(), x.end(), [&y](const std::string& value) { return y.count(value) != 0; });
  };
  if ((a.kinds & b.kinds) == 0) return true;
  // Numbers may be equal and printed differently.
  if (a.values && b.values && (a.kinds & b.kinds & (k_integer | k_fraction | k_array | k_object)) == 0) return !share(*a.values, *b.values);
  if ((a.kinds & b.kinds) != k_object) return false;
  return std::any_of(a.tags.begin(), a.tags.end(), [&](const auto& tag) {
    const auto other = b.tags.find(tag.first);
    const auto is_text = [](const std::set<std::string>& values) {
      return std::all_of(values.begin(), values.end(), [](const std::string& v) { return v.starts_with('"'); });
    };
    return other != b.tags.end() && is_text(tag.second) && is_text(other->second) && !share(tag.second, other->second);
  });
}

}  // namespace cria::inline v0_1_0::detail
