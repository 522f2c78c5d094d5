// SPDX-License-Identifier: MIT
// chat/schema/schema_types.hpp - what kinds of values a schema allows, and whether two schemas can allow the same value.
//
// oneOf demands that no value satisfies two of its schemas. A grammar cannot count, so the compiler accepts a oneOf only if no value can.
//
// Errors    none: a schema that is not understood counts as one that allows anything, so that the compiler refuses rather than writes too much; is_exhausted()
//           where schemas take too long to tell apart
// Threads   one at a time
// Lifetime  refers to the schema
#pragma once

#include <cria/chat/json.hpp>
#include <cria/chat/schema/schema_places.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
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

/// All the values of a schema that lists them.
struct listed_values {
  unsigned kinds = 0;
  bool are_texts = true;
  std::set<std::string> printed = {};
};

/// What is known of the values that a schema allows.
struct schema_summary {
  unsigned kinds = k_any;
  const listed_values* values = nullptr;                        // all of them
  std::map<std::string_view, const listed_values*> tags = {};   // members that must be there, with all their values
};

/// Looks at schemas, at each once: a $ref shares what is known of the schema that it leads to. What it looks at is counted, since telling the schemas of a
/// oneOf apart takes the product of their sizes.
class schema_summaries {
 public:
  static constexpr std::size_t most_looks = 2'000'000;   // schemas, members and values; long values are several

  explicit schema_summaries(schema_places& places) : places_(places) {}

  [[nodiscard]] std::size_t n_looks() const noexcept { return n_looks_; }
  /// Returns whether so much was looked at that nothing more is: what is returned then means nothing.
  [[nodiscard]] bool is_exhausted() const noexcept { return n_looks_ > most_looks; }

  /// Returns what can be told of a schema's values without looking at more than its types, constants and required members.
  [[nodiscard]] const schema_summary& of(const json& schema) {
    const json* at = target_of(schema);
    const auto [known, is_new] = summaries_.try_emplace(at);   // nullptr: nothing is known
    if (is_new && at != nullptr) known->second = summarise(*at);
    return known->second;
  }

  /// Returns whether no value is allowed by both, as far as can be told.
  [[nodiscard]] bool are_disjoint(const schema_summary& a, const schema_summary& b) {
    if (!look(1)) return false;
    if ((a.kinds & b.kinds) == 0) return true;
    // Numbers may be equal and printed differently.
    if (a.values != nullptr && b.values != nullptr && (a.kinds & b.kinds & (k_integer | k_fraction | k_array | k_object)) == 0) {
      return !share(*a.values, *b.values);
    }
    if ((a.kinds & b.kinds) != k_object) return false;
    return std::any_of(a.tags.begin(), a.tags.end(), [&](const auto& tag) {
      const auto other = look(1) ? b.tags.find(tag.first) : b.tags.end();
      return other != b.tags.end() && tag.second->are_texts && other->second->are_texts && !share(*tag.second, *other->second);
    });
  }

 private:
  bool look(std::size_t n) noexcept {
    n_looks_ += n;
    return !is_exhausted();
  }
  [[nodiscard]] static std::size_t looks_of(const std::string& printed) noexcept { return 1 + printed.size() / 32; }

  /// Follows $ref until there is none; nullptr where that ends nowhere, or not soon.
  [[nodiscard]] const json* target_of(const json& schema) {
    const json* at = &schema;
    for (int n = 0; n < 16 && at != nullptr; ++n) {
      const auto* members = at->get_if<json::object>();
      if (!look(1 + (members != nullptr ? members->size() / 16 : 0))) return nullptr;
      const json* ref = at->find("$ref");
      if (ref == nullptr) return at;
      at = places_.find(*ref);
    }
    return nullptr;
  }

  /// Returns all the values of a schema without $ref, nullptr where it does not list them.
  [[nodiscard]] const listed_values* listed_in(const json& target) {
    const json* constant = target.find("const");
    const json* list = constant == nullptr ? target.find("enum") : nullptr;
    const auto* values = list != nullptr ? list->get_if<json::array>() : nullptr;
    if (constant == nullptr && values == nullptr) return nullptr;
    const auto [known, is_new] = listed_.try_emplace(&target);
    listed_values& all = known->second;
    const auto add = [&](const json& value) {
      std::string printed = value.dump();
      if (!look(looks_of(printed))) return false;
      all.kinds |= kind_of(value);
      all.are_texts &= printed.starts_with('"');
      all.printed.insert(std::move(printed));
      return true;
    };
    if (!is_new) return &all;
    if (constant != nullptr) {
      add(*constant);
    } else {
      for (const json& value : *values) {
        if (!add(value)) break;
      }
    }
    return &all;
  }

  /// Returns the kinds of the values that a schema allows. Each schema is looked at once: what leads back to one adds nothing.
  [[nodiscard]] unsigned kinds_in(const json& schema, std::set<const json*>& seen, int depth = 0) {
    constexpr int deepest = 64;
    const json* at = target_of(schema);
    if (at == nullptr || depth > deepest || at->get_if<json::object>() == nullptr) return k_any;
    if (!seen.insert(at).second) return 0;
    if (const listed_values* listed = listed_in(*at)) return listed->kinds;
    unsigned kinds = 0;
    for (const char* key : {"anyOf", "oneOf"}) {
      const json* list = at->find(key);
      if (list == nullptr || list->get_if<json::array>() == nullptr) continue;
      for (const json& branch : *list->get_if<json::array>()) kinds |= kinds_in(branch, seen, depth + 1);
      return kinds;
    }
    const json* type = at->find("type");
    if (type == nullptr) return k_any;
    if (const auto* one = type->get_if<std::string>()) kinds = kinds_of_type(*one);
    if (const auto* many = type->get_if<json::array>()) {
      for (const json& one : *many) kinds |= one.get_if<std::string>() != nullptr && look(1) ? kinds_of_type(*one.get_if<std::string>()) : unsigned{k_any};
    }
    return kinds;
  }

  [[nodiscard]] schema_summary summarise(const json& target) {
    std::set<const json*> seen;
    schema_summary s{kinds_in(target, seen), listed_in(target), {}};
    if (s.values != nullptr || target.find("anyOf") != nullptr || target.find("oneOf") != nullptr) return s;
    const json* properties = target.find("properties");
    const json* required = target.find("required");
    if (properties == nullptr || required == nullptr || required->get_if<json::array>() == nullptr) return s;
    std::set<std::string_view> names;
    for (const json& name : *required->get_if<json::array>()) {
      if (const auto* text = name.get_if<std::string>()) names.insert(*text);
    }
    if (properties->get_if<json::object>() == nullptr) return s;
    for (const auto& [key, member] : *properties->get_if<json::object>()) {
      if (names.count(key) == 0) continue;
      const json* at = target_of(member);
      if (at == nullptr) continue;
      if (const listed_values* values = listed_in(*at)) s.tags.emplace(key, values);
    }
    return s;
  }

  /// Returns whether a value is among both.
  [[nodiscard]] bool share(const listed_values& a, const listed_values& b) {
    if (a.printed.size() > b.printed.size()) return share(b, a);
    return std::any_of(a.printed.begin(), a.printed.end(), [&](const std::string& v) { return !look(looks_of(v)) || b.printed.count(v) != 0; });
  }

  schema_places& places_;
  std::map<const json*, schema_summary> summaries_;   // by what the schemas lead to
  std::map<const json*, listed_values> listed_;
  std::size_t n_looks_ = 0;
};

}  // namespace cria::inline v0_1_0::detail
