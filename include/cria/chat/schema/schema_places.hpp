// SPDX-License-Identifier: MIT
// chat/schema/schema_places.hpp - finds the schema that a $ref leads to. The keys of an object are indexed when a reference first goes through it, so that a
// schema with many definitions and many references to them does not take the product of the two.
//
// Errors    none: what leads nowhere is nullptr
// Threads   one at a time
// Lifetime  refers to the schema
// Source    pointers: RFC 6901, as fragments of a URI
#pragma once

#include <cria/chat/json.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::detail {

class schema_places {
 public:
  explicit schema_places(const json& root) : root_(root) {}

  /// Returns the schema at the place that `ref` names in this document.
  [[nodiscard]] const json* find(const json& ref) {
    const auto* text = ref.get_if<std::string>();
    if (text == nullptr || !text->starts_with('#') || (text->size() > 1 && (*text)[1] != '/')) return nullptr;
    const json* at = &root_;
    for (std::size_t pos = 1; pos < text->size() && at != nullptr;) {
      const std::size_t end = std::min(text->find('/', pos + 1), text->size());
      at = part_of(*at, decode_part(std::string_view(*text).substr(pos + 1, end - pos - 1)));
      pos = end;
    }
    return at;
  }

 private:
  [[nodiscard]] const json* part_of(const json& whole, std::string_view name) {
    if (const auto* list = whole.get_if<json::array>()) {
      const bool is_index = !name.empty() && name.size() < 7 && name.find_first_not_of("0123456789") == name.npos;
      const std::size_t index = is_index ? std::stoul(std::string(name)) : list->size();
      return index < list->size() ? &(*list)[index] : nullptr;
    }
    const auto* members = whole.get_if<json::object>();
    if (members == nullptr) return nullptr;
    auto& index = indexes_[members];
    if (index.empty()) {
      for (const auto& [key, value] : *members) index.emplace(key, &value);
    }
    const auto found = index.find(name);
    return found == index.end() ? nullptr : found->second;
  }

  /// Undoes %XX, then ~1 and ~0.
  [[nodiscard]] static std::string decode_part(std::string_view part) {
    constexpr std::string_view digits = "0123456789abcdefABCDEF";
    const auto value = [&](char c) { return digits.find(c) < 16 ? digits.find(c) : digits.find(c) - 6; };
    std::string plain, out;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const bool is_byte = part[i] == '%' && i + 2 < part.size() && digits.find(part[i + 1]) != digits.npos && digits.find(part[i + 2]) != digits.npos;
      plain += is_byte ? static_cast<char>(value(part[i + 1]) * 16 + value(part[i + 2])) : part[i];
      if (is_byte) i += 2;
    }
    for (std::size_t i = 0; i < plain.size(); ++i) {
      const bool is_coded = plain[i] == '~' && i + 1 < plain.size() && (plain[i + 1] == '0' || plain[i + 1] == '1');
      out += is_coded ? (plain[++i] == '0' ? '~' : '/') : plain[i];
    }
    return out;
  }

  const json& root_;
  std::map<const json::object*, std::map<std::string_view, const json*>> indexes_;   // of the objects that a reference has gone through
};

}  // namespace cria::inline v0_1_0::detail
