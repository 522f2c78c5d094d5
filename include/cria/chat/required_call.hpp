// SPDX-License-Identifier: MIT
// chat/required_call.hpp - makes a reply a call of a function: nothing else can be generated.
//
//   options.rendering.tools = cria::describe_tools(tools);
//   if (auto done = cria::require_call(options, "get_weather"); !done) ...   // without a name: of any of them
//   auto reply = chat->say("Is it raining in Lima?", options);               // reply->calls has one call
//
// A reply to the answers of a call needs options without this: the model could say nothing but call again.
// Ensures   One call, with arguments that validate against the function's parameters as far as json_schema.hpp says. It is written as JSON alone, without
//           thinking before it, whatever notation the model's template has. A reply that is cut (max_tokens, a stop) has what there is as its text, and so has
//           one whose parameters, by $ref, anyOf, oneOf or allOf, turn out to be not of an object.
// Errors    bad_argument (no tools, none of that name, or the reply has a grammar already), bad_value (a tool without a name, parameters that are not of an
//           object); those of json_schema_to_grammar, where `where` points into call_schema()
// Threads   values; nothing is shared
// Source    tool_choice of OpenAI's chat completions interface
#pragma once

#include <cria/chat/chat_options.hpp>
#include <cria/chat/json.hpp>
#include <cria/chat/json_schema.hpp>
#include <cria/core/result.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0 {

/// Returns the schema of a call of one of the tools, which are listed as describe_tools() does it: {"name": ..., "arguments": {...}}. With a name, of that one.
[[nodiscard]] result<json> call_schema(const json& tools, std::string_view name = {});

/// Makes the reply a call of one of options.rendering.tools. With a name, of that one.
[[nodiscard]] result<void> require_call(chat_options& options, std::string_view name = {}, const grammar_limits& limits = {});

#if CRIA_HAS_DEFINITIONS

namespace detail {

/// Makes the references in a schema, which lead from its own root, lead from the root of a schema that holds it at `place`.
class reference_mover {
 public:
  explicit reference_mover(std::string_view place) : place_(place) {}

  void move(json& schema) const {
    if (auto* list = schema.get_if<json::array>(); list != nullptr) {
      for (json& element : *list) move(element);
    }
    auto* members = schema.get_if<json::object>();
    if (members == nullptr) return;
    for (auto& [key, value] : *members) {
      if (key == "const" || key == "enum" || key == "default" || key == "examples") continue;   // values, not schemas
      if (key == "properties" || key == "$defs" || key == "definitions") {
        move_named(value);
      } else if (auto* text = value.get_if<std::string>(); key == "$ref" && text != nullptr && text->starts_with('#')) {
        text->insert(1, place_);
      } else {
        move(value);
      }
    }
  }

 private:
  /// The members' keys are names.
  void move_named(json& schemas) const {
    auto* members = schemas.get_if<json::object>();
    if (members == nullptr) return;
    for (auto& [name, schema] : *members) move(schema);
  }

  std::string place_;
};

/// Returns the schema of a function's arguments, to be held at `place`.
[[nodiscard]] inline result<json> arguments_schema(const json& function, const std::string& name, const std::string& place) {
  json::object kept;
  const json* parameters = function.find("parameters");
  if (parameters != nullptr && !parameters->is_null()) {
    const auto* members = parameters->get_if<json::object>();
    const json* type = parameters->find("type");
    const bool is_object = members != nullptr && (type == nullptr || *type == json("object"));
    if (!is_object) return error{errc::bad_value, "tools", "the parameters of \"" + printable(name) + "\" are not those of an object"};
    for (const auto& [key, value] : *members) {
      if (key != "$schema" && key != "$id") kept.emplace_back(key, value);   // of a whole schema, which this will be no longer
    }
  }
  json schema(std::move(kept));
  const auto has = [&](std::string_view key) { return schema.find(key) != nullptr; };
  if (!has("type") && !has("$ref") && !has("anyOf") && !has("oneOf") && !has("allOf")) schema.set("type", "object");
  reference_mover(place).move(schema);
  return schema;
}

}  // namespace detail

CRIA_INLINE result<json> call_schema(const json& tools, std::string_view name) {
  return catch_bad_alloc([&]() -> result<json> {
    const auto* list = tools.get_if<json::array>();
    if (list == nullptr || list->empty()) return error{errc::bad_argument, "tools", "there are none"};
    const bool is_one = !name.empty() || list->size() == 1;
    json::array calls;
    for (const json& tool : *list) {
      const json* inner = tool.find("function");
      const json& function = inner != nullptr ? *inner : tool;
      const json* named = function.find("name");
      const auto* text = named == nullptr ? nullptr : named->get_if<std::string>();
      if (text == nullptr || text->empty()) return error{errc::bad_value, "tools", "number " + std::to_string(&tool - list->data()) + " has no name"};
      if (!name.empty() && *text != name) continue;
      const std::string place = (is_one ? "/" : "/anyOf/" + std::to_string(calls.size()) + "/") + "properties/arguments";
      CRIA_TRY(json arguments, detail::arguments_schema(function, *text, place));
      calls.push_back(json::object{{"type", "object"},
                                   {"properties", json::object{{"name", json::object{{"const", *text}}}, {"arguments", std::move(arguments)}}},
                                   {"required", json::array{"name", "arguments"}},
                                   {"additionalProperties", false}});
      if (!name.empty()) break;
    }
    if (calls.empty()) return error{errc::bad_argument, "tools", "none is called \"" + printable(name) + "\""};
    return is_one ? std::move(calls.front()) : json(json::object{{"anyOf", std::move(calls)}});
  }, "tools");
}

CRIA_INLINE result<void> require_call(chat_options& options, std::string_view name, const grammar_limits& limits) {
  if (!options.rendering.tools) return error{errc::bad_argument, "tools", "there are none"};
  if (options.generation.grammar) return error{errc::bad_argument, "grammar", "a required call has one of its own"};
  CRIA_TRY(const json schema, call_schema(*options.rendering.tools, name));
  CRIA_TRY(options.generation.grammar, json_schema_to_grammar(schema, limits));
  options.syntax = reply_syntax::calls_alone();
  return {};
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
