// SPDX-License-Identifier: MIT
// chat/schema/schema_compiler.hpp - writes a grammar whose texts are the JSON values that a schema allows. chat/json_schema.hpp says what schemas may have.
//
// The root and everything that a $ref leads to are targets: each gets a rule of its own, so that schemas may refer to themselves. What a schema holds directly
// is written inside the rule of its target, as a piece of GBNF.
//
// Ensures   a schema is written once for each place where it stands, what $ref leads to once: the rules grow with the schema's text
// Errors    as chat/json_schema.hpp
// Threads   one at a time
// Lifetime  refers to the schema
#pragma once

#include <cria/chat/json.hpp>
#include <cria/chat/schema/gbnf_text.hpp>
#include <cria/chat/schema/scalars.hpp>
#include <cria/chat/schema/schema_places.hpp>
#include <cria/chat/schema/schema_types.hpp>
#include <cria/core/result.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

class schema_compiler {
 public:
  /// Rules of more than `max_bytes` are refused as soon as they are written.
  schema_compiler(const json& schema, std::size_t max_bytes) : root_(schema), max_bytes_(max_bytes), places_(schema), summaries_(places_) {}

  [[nodiscard]] result<std::string> compile() {
    targets_.push_back({&root_, "#"});
    target_of_.emplace(&root_, 0);
    out_ = "root ::= " + name_of(0) + "\n";
    for (std::size_t i = 0; i < targets_.size(); ++i) {   // grows: what is referred to is written later, not inside
      const target t = targets_[i];
      at_target_ = i;
      CRIA_TRY(const std::string piece, write(*t.schema, t.pointer, false));
      add_rule(name_of(i), piece);
    }
    CRIA_CHECK(refuse_circles());
    return std::move(out_) + std::string(shared_schema_rules) + std::string(format_rules);
  }

 private:
  /// A schema with a rule of its own.
  struct target {
    const json* schema;
    std::string pointer;
    std::vector<std::pair<std::size_t, std::string>> leads_to = {};   // other targets that it may be without any character of its own; by which keyword
  };

  void add_rule(const std::string& name, const std::string& piece) { out_ += name + " ::= " + piece + "\n"; }
  [[nodiscard]] std::string new_name(std::string_view stem) { return std::string(stem) + "-" + std::to_string(n_names_++); }
  [[nodiscard]] static std::string name_of(std::size_t target) { return "schema-" + std::to_string(target); }

  /// Returns whether a keyword says nothing about the value where it stands: that keys are strings, or what the whole schema is called.
  [[nodiscard]] bool is_empty_word(const json& schema, std::string_view key, const json& value) const {
    if (key == "$id") return &schema == &root_ && value.get_if<std::string>() != nullptr;
    if (key != "propertyNames") return is_annotation(key);
    if (value == json(true)) return true;
    const auto* members = value.get_if<json::object>();
    return members != nullptr && std::all_of(members->begin(), members->end(), [](const auto& m) {
      return is_annotation(m.first) || (m.first == "type" && m.second == json("string"));
    });
  }

  [[nodiscard]] static bool is_annotation(std::string_view key) noexcept {
    constexpr std::string_view keys[] = {"title",    "description", "default", "examples", "$comment",   "deprecated",
                                         "readOnly", "writeOnly",   "$schema", "$defs",    "definitions", "discriminator"};
    return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
  }

  /// Returns the piece that matches the schema. is_guarded: a character of what is around it comes first.
  [[nodiscard]] result<std::string> write(const json& schema, const std::string& pointer, bool is_guarded) {
    if (out_.size() > max_bytes_) return refuse_schema(errc::limit_exceeded, pointer, "its rules take more than " + std::to_string(max_bytes_) + " bytes");
    if (const bool* any = schema.get_if<bool>()) {
      if (*any) return std::string("value");
      return refuse_schema(errc::bad_value, pointer, "false: nothing satisfies it");
    }
    const auto* members = schema.get_if<json::object>();
    if (members == nullptr) return refuse_schema(errc::syntax, pointer, "a schema is an object, true or false");
    constexpr std::string_view alone[] = {"$ref", "anyOf", "oneOf", "allOf", "const", "enum"};
    for (const std::string_view key : alone) {
      const json* value = schema.find(key);
      if (value == nullptr) continue;
      for (const auto& [other, argument] : *members) {
        const bool is_typed_list = other == "type" && (key == "const" || key == "enum");
        if (other == key || is_empty_word(schema, other, argument) || is_typed_list) continue;
        return unsupported_keyword(pointer, other, "beside " + std::string(key) + " is not supported");
      }
      const std::string here = pointer + "/" + std::string(key);
      if (key == "$ref") return write_ref(*value, here, is_guarded);
      if (key == "const") return write_values(schema, {*value}, here);
      const auto* list = value->get_if<json::array>();
      if (list == nullptr || list->empty()) return refuse_schema(errc::syntax, here, "a list that is not empty is expected");
      if (key == "enum") return write_values(schema, *list, here);
      return write_branches(*list, here, key, is_guarded);
    }
    return write_typed(schema, *members, pointer);
  }

  // ---- references and alternatives ----

  /// Returns the name of the rule of the schema that the reference leads to, which becomes a target if it is none yet.
  [[nodiscard]] result<std::string> write_ref(const json& ref, const std::string& here, bool is_guarded) {
    const json* schema = places_.find(ref);
    if (schema == nullptr) return refuse_schema(errc::syntax, here, "leads nowhere in this schema: " + printable(ref.dump()));
    const auto [known, is_new] = target_of_.emplace(schema, targets_.size());
    const std::size_t to = known->second;
    if (is_new) targets_.push_back({schema, *ref.get_if<std::string>()});
    if (!is_guarded) targets_[at_target_].leads_to.emplace_back(to, here);
    return name_of(to);
  }

  /// Refuses schemas that are themselves, such as {"$ref": "#"}: their rules would lead to each other for ever. Targets that nothing unfinished leads to are
  /// taken away one by one; the circles are what is left.
  [[nodiscard]] result<void> refuse_circles() const {
    std::vector<std::size_t> n_into(targets_.size(), 0), open;
    for (const target& t : targets_) {
      for (const auto& [to, by] : t.leads_to) ++n_into[to];
    }
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      if (n_into[i] == 0) open.push_back(i);
    }
    std::vector<char> is_done(targets_.size(), 0);
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      is_done[at] = 1;
      for (const auto& [to, by] : targets_[at].leads_to) {
        if (--n_into[to] == 0) open.push_back(to);
      }
    }
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      for (const auto& [to, by] : targets_[i].leads_to) {
        if (is_done[i] == 0 && is_done[to] == 0) return refuse_schema(errc::bad_value, by, "the schema refers to itself and says nothing else");
      }
    }
    return {};
  }

  /// anyOf, oneOf and an allOf of one schema: any of the branches.
  [[nodiscard]] result<std::string> write_branches(const json::array& branches, const std::string& here, std::string_view key, bool is_guarded) {
    if (key == "allOf" && branches.size() != 1) return refuse_schema(errc::syntax, here, "\"allOf\" of several schemas is not supported");
    if (key == "oneOf") CRIA_CHECK(check_disjoint(branches, here));
    std::vector<std::string> pieces;
    for (std::size_t i = 0; i < branches.size(); ++i) {
      CRIA_TRY(std::string piece, write(branches[i], here + "/" + std::to_string(i), is_guarded));
      pieces.push_back(std::move(piece));
    }
    return gbnf_any_of(pieces);
  }

  /// Refuses branches of a oneOf that one value may satisfy both.
  [[nodiscard]] result<void> check_disjoint(const json::array& branches, const std::string& here) {
    constexpr std::size_t most = 500;
    if (branches.size() > most) return refuse_schema(errc::limit_exceeded, here, "more than " + std::to_string(most) + " schemas");
    std::vector<const schema_summary*> all;
    for (const json& branch : branches) all.push_back(&summaries_.of(branch));
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (summaries_.are_disjoint(*all[i], *all[j])) continue;
        if (summaries_.is_exhausted()) return refuse_schema(errc::limit_exceeded, here, "too many schemas and values to tell apart");
        return refuse_schema(errc::syntax, here + "/" + std::to_string(i),
                             "may allow what schema " + std::to_string(j) + " of oneOf does: use anyOf, or tell them apart by type or by a required const");
      }
    }
    return {};
  }

  /// const and enum: the JSON texts of the values, of those whose type is allowed beside them.
  [[nodiscard]] result<std::string> write_values(const json& schema, const json::array& values, const std::string& here) const {
    unsigned kinds = k_any;
    if (const json* type = schema.find("type")) {
      CRIA_TRY(kinds, kinds_of(*type, here));
    }
    std::vector<std::string> pieces;
    for (const json& value : values) {
      if ((kind_of(value) & kinds) != 0) pieces.push_back(gbnf_literal(value.dump()));
    }
    if (pieces.empty()) return refuse_schema(errc::bad_value, here, "no value is of the type beside it");
    return gbnf_any_of(pieces);
  }

  // ---- types ----

  /// Returns the kinds of values that "type", a name or a list of names, allows.
  [[nodiscard]] static result<unsigned> kinds_of(const json& type, const std::string& where) {
    unsigned kinds = 0;
    const auto add = [&kinds](const json& name) {
      const auto* text = name.get_if<std::string>();
      const unsigned more = text != nullptr ? kinds_of_type(*text) : 0;
      kinds |= more;
      return more != 0;
    };
    bool is_known = true;
    if (const auto* list = type.get_if<json::array>()) {
      for (const json& one : *list) is_known &= add(one);
      is_known &= !list->empty();
    } else {
      is_known = add(type);
    }
    if (!is_known) return refuse_schema(errc::syntax, where, "not a type: " + printable(type.dump()));
    return kinds;
  }

  /// A keyword that restricts values of some kinds, and says nothing about others.
  struct keyword {
    std::string_view name;
    unsigned kinds;
  };
  static constexpr keyword keywords[] = {
      {"properties", k_object}, {"required", k_object}, {"additionalProperties", k_object},
      {"items", k_array}, {"prefixItems", k_array}, {"additionalItems", k_array}, {"minItems", k_array}, {"maxItems", k_array},
      {"uniqueItems", k_array},
      {"minLength", k_string}, {"maxLength", k_string}, {"pattern", k_string}, {"format", k_string},
      {"minimum", k_integer | k_fraction}, {"maximum", k_integer | k_fraction},
      {"exclusiveMinimum", k_integer | k_fraction}, {"exclusiveMaximum", k_integer | k_fraction}};

  /// A schema of keywords: the pieces of all kinds of values that it allows.
  [[nodiscard]] result<std::string> write_typed(const json& schema, const json::object& members, const std::string& pointer) {
    unsigned about = 0;
    for (const auto& [key, value] : members) {
      if (key == "type" || is_empty_word(schema, key, value)) continue;
      const std::string_view name = key;
      const auto* known = std::find_if(std::begin(keywords), std::end(keywords), [name](const keyword& k) { return k.name == name; });
      if (known == std::end(keywords)) return unsupported_keyword(pointer, key);
      about |= known->kinds;
    }
    unsigned kinds = about == 0 ? unsigned{k_any} : about;   // without a type: one that the keywords are about, if any
    if (const json* type = schema.find("type")) {
      CRIA_TRY(kinds, kinds_of(*type, pointer + "/type"));
    }
    if (kinds == k_any && about == 0) return std::string("value");
    std::vector<std::string> pieces;
    if ((kinds & k_object) != 0) {
      CRIA_TRY(std::string piece, write_object(schema, pointer));
      pieces.push_back(std::move(piece));
    }
    if ((kinds & k_array) != 0) {
      CRIA_TRY(std::string piece, write_array(schema, pointer));
      pieces.push_back(std::move(piece));
    }
    if ((kinds & k_string) != 0) {
      CRIA_TRY(std::string piece, write_string(schema, pointer));
      pieces.push_back(std::move(piece));
    }
    if ((kinds & (k_integer | k_fraction)) != 0) {
      CRIA_TRY(std::string piece, write_number(schema, pointer, (kinds & k_fraction) != 0));
      pieces.push_back(std::move(piece));
    }
    if ((kinds & k_boolean) != 0) pieces.push_back("(\"true\" | \"false\")");
    if ((kinds & k_null) != 0) pieces.push_back("\"null\"");
    return gbnf_any_of(pieces);
  }

  [[nodiscard]] result<std::string> write_array(const json& schema, const std::string& pointer) {
    CRIA_TRY(schema_count count, read_count(schema, pointer, "minItems", "maxItems"));
    if (const json* unique = schema.find("uniqueItems"); unique != nullptr && *unique != json(false)) return unsupported_keyword(pointer, "uniqueItems");
    // Before 2020-12 a list under items was what prefixItems is, and additionalItems what items is.
    const json* const words[] = {schema.find("items"), schema.find("prefixItems"), schema.find("additionalItems")};
    const bool is_old = words[0] != nullptr && words[0]->get_if<json::array>() != nullptr;
    if (is_old && words[1] != nullptr) return unsupported_keyword(pointer, "items", "is a list beside prefixItems");
    if (!is_old && words[2] != nullptr) return unsupported_keyword(pointer, "additionalItems", "without a list of items is not supported");
    const json* items = is_old ? words[2] : words[0];
    const json* prefix = is_old ? words[0] : words[1];
    const std::string items_at = pointer + (is_old ? "/additionalItems" : "/items"), prefix_at = pointer + (is_old ? "/items" : "/prefixItems");
    std::string out = "(\"[\" ws";
    std::size_t n_first = 0;
    if (prefix != nullptr) {
      const auto* list = prefix->get_if<json::array>();
      if (list == nullptr || list->empty()) return refuse_schema(errc::syntax, prefix_at, "is not a list of schemas");
      n_first = std::min(list->size(), count.most.value_or(list->size()));
      for (std::size_t i = 0; i < n_first; ++i) {
        CRIA_TRY(const std::string piece, write((*list)[i], prefix_at + "/" + std::to_string(i), true));
        out += (i == 0 ? " " : " \",\" ws ") + piece;
      }
      // Behind the first ones there are others only where the schema says something about them, or needs them.
      if (items == nullptr) count.most = std::max(count.least, n_first);
    }
    const bool may_have_more = items == nullptr || *items != json(false);
    const std::size_t least = std::max(count.least, n_first) - n_first;
    if (!may_have_more && least != 0) return refuse_schema(errc::bad_value, pointer + "/minItems", "more than are listed, and there are no others");
    const std::optional<std::size_t> most = !may_have_more ? 0 : count.most ? std::optional(std::max(*count.most, n_first) - n_first) : std::nullopt;
    if (most == std::size_t{0}) return out + " ws \"]\")";
    const std::string item = new_name("item");
    CRIA_TRY(const std::string piece, items == nullptr ? result<std::string>(std::string("value")) : write(*items, items_at, true));
    add_rule(item, piece);
    const schema_count rest{n_first == 0 && least > 0 ? least - 1 : least, n_first == 0 && most ? std::optional(*most - 1) : most};
    const std::string more = "(\",\" ws " + item + ")" + rest.quantifier();
    out += n_first != 0 ? " " + more : least != 0 ? " " + item + " " + more : " (" + item + " " + more + ")?";
    return out + " ws \"]\")";
  }

  struct property {
    std::string key;
    std::string rule;   // of key and value
    bool is_required;
  };

  /// Reads properties, in their order, then what is required beside them, which `other` matches.
  [[nodiscard]] result<std::vector<property>> read_properties(const json& schema, const std::string& pointer, const std::string& other) {
    std::vector<property> all;
    const json* properties = schema.find("properties");
    const json* required = schema.find("required");
    const json* others = schema.find("additionalProperties");
    const json::object none;
    const auto* members = properties == nullptr ? &none : properties->get_if<json::object>();
    if (members == nullptr) return unsupported_keyword(pointer, "properties", "is not an object");
    std::set<std::string> names;
    if (required != nullptr) {
      const auto* list = required->get_if<json::array>();
      if (list == nullptr) return unsupported_keyword(pointer, "required", "is not a list");
      for (const json& name : *list) {
        if (name.get_if<std::string>() == nullptr) return unsupported_keyword(pointer, "required", "is not a list of strings");
        names.insert(*name.get_if<std::string>());
      }
    }
    const auto add = [&](const std::string& key, const std::string& piece, bool is_required) {
      all.push_back({key, new_name("member"), is_required});
      add_rule(all.back().rule, gbnf_literal(json(key).dump() + ":") + " ws " + piece);
    };
    for (const auto& [key, value] : *members) {
      CRIA_TRY(const std::string piece, write(value, pointer + "/properties" + pointer_part(key), true));
      add(key, piece, names.erase(key) != 0);
    }
    for (const std::string& key : names) {
      if (others != nullptr && *others == json(false)) {
        return refuse_schema(errc::bad_value, pointer + "/required", "\"" + printable(key) + "\" is required and not allowed");
      }
      add(key, other, true);
    }
    return all;
  }

  [[nodiscard]] result<std::string> write_object(const json& schema, const std::string& pointer) {
    const json* others = schema.find("additionalProperties");
    const json* required = schema.find("required");
    const bool is_free_form = schema.find("properties") == nullptr && (required == nullptr || *required == json(json::array{}));
    const bool is_open = others == nullptr ? is_free_form : *others != json(false);
    // Written once, for all members that it is for: written for each, nested schemas would double with every level.
    std::string other = "value";
    if (others != nullptr && others->get_if<bool>() == nullptr) {
      CRIA_TRY(const std::string piece, write(*others, pointer + "/additionalProperties", true));
      other = new_name("other");
      add_rule(other, piece);
    }
    CRIA_TRY(const std::vector<property> all, read_properties(schema, pointer, other));
    if (all.empty() && is_open && (others == nullptr || *others == json(true))) return std::string("object");
    // rest: what may follow a member; first: what may follow the opening brace.
    std::string rest = "\"\"", first = "\"\"";
    if (is_open) {
      const std::string key = new_name("key"), member = new_name("member");
      std::vector<std::string> names;
      for (const property& p : all) names.push_back(p.key);
      for (const auto& [name, piece] : keys_other_than(names, key)) add_rule(name, piece);
      add_rule(member, key + " \":\" ws " + other);
      rest = "(\",\" ws " + member + ")*";
      first = "(" + member + " " + rest + ")?";
    }
    const std::string name = new_name("object");
    for (std::size_t i = all.size(); i-- > 0;) {
      const property& p = all[i];
      const std::string rest_name = name + "-rest-" + std::to_string(i), first_name = name + "-first-" + std::to_string(i);
      add_rule(first_name, p.rule + " " + rest + (p.is_required ? "" : " | " + first));
      add_rule(rest_name, (p.is_required ? "\",\" ws " + p.rule : "(\",\" ws " + p.rule + ")?") + " " + rest);
      first = first_name;
      rest = rest_name;
    }
    return "(\"{\" ws " + first + " ws \"}\")";
  }

  const json& root_;
  std::size_t max_bytes_;
  schema_places places_;
  schema_summaries summaries_;
  std::vector<target> targets_;
  std::map<const json*, std::size_t> target_of_;
  std::size_t at_target_ = 0, n_names_ = 0;
  std::string out_;
};

}  // namespace cria::inline v0_1_0::detail
