// SPDX-License-Identifier: MIT
// chat/tool_call.hpp - how a model is told about the host's functions, how it calls them, and how it gets the answers.
//
//   options.rendering.tools = cria::describe_tools({{"get_weather", "Weather of a city now", *cria::json::parse(schema)}});
//   auto reply = chat->say("Is it raining in Lima?", options);
//   for (const cria::tool_call& call : reply->calls) answers.push_back(cria::tool_answer(call, run(call)));
//
// Errors    tool_call::from_json: bad_value (no name, arguments that are not an object), those of json::parse (arguments that are JSON inside a text)
// Threads   values; nothing is shared
// Source    functions and tool_calls of OpenAI's chat completions interface, as Hugging Face's templates read them
#pragma once

#include <cria/chat/conversation.hpp>
#include <cria/chat/json.hpp>
#include <cria/core/result.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// A function that the model may call.
struct chat_tool {
  std::string name, description;
  json parameters = json::object{{"type", "object"}, {"properties", json::object{}}};   ///< a JSON schema of an object
};

/// Returns the list that templates read as `tools`.
[[nodiscard]] inline json describe_tools(const std::vector<chat_tool>& tools) {
  json::array out;
  for (const chat_tool& t : tools) {
    out.push_back(json::object{{"type", "function"},
                               {"function", json::object{{"name", t.name}, {"description", t.description}, {"parameters", t.parameters}}}});
  }
  return out;
}

/// A call that the model asks for. Untrusted: name and arguments are whatever the model wrote.
struct tool_call {
  std::string id;                     ///< empty if the model gave none
  std::string name;
  json arguments = json::object{};    ///< an object

  /// Reads {"name": ..., "arguments": {...}}. The arguments may be called "parameters" and may be a text that holds JSON; the whole may be inside "function".
  /// Arguments that are absent, null or an empty text, as some hosts write a call without arguments, are {}.
  [[nodiscard]] static result<tool_call> from_json(json value) {
    const json* inner = value.find("function");
    const json& fields = inner != nullptr && inner->get_if<json::object>() != nullptr ? *inner : value;
    tool_call made;
    const json* name = fields.find("name");
    if (name == nullptr || name->get_if<std::string>() == nullptr || name->get_if<std::string>()->empty()) {
      return error{errc::bad_value, "tool call", "has no name"};
    }
    made.name = *name->get_if<std::string>();
    if (const json* id = value.find("id"); id != nullptr && id->get_if<std::string>() != nullptr) made.id = *id->get_if<std::string>();
    const json* given = fields.find("arguments") != nullptr ? fields.find("arguments") : fields.find("parameters");
    if (given == nullptr || given->is_null()) return made;
    if (const std::string* text = given->get_if<std::string>(); text == nullptr) {
      made.arguments = *given;
    } else if (!text->empty()) {
      CRIA_TRY(made.arguments, json::parse(*text));
    }
    if (made.arguments.get_if<json::object>() == nullptr) return error{errc::bad_value, "tool call", "has arguments that are no object"};
    return made;
  }

  /// Returns a member of tool_calls in an assistant's message.
  [[nodiscard]] json to_json() const {
    json::object out;
    if (!id.empty()) out.emplace_back("id", id);
    out.emplace_back("type", "function");
    out.emplace_back("function", json::object{{"name", name}, {"arguments", arguments}});
    return out;
  }

  bool operator==(const tool_call&) const = default;
};

/// Returns the message that tells the model a function's result.
[[nodiscard]] inline chat_message tool_answer(const tool_call& call, std::string_view content) {
  chat_message m("tool", content);
  m.set("name", call.name);
  if (!call.id.empty()) m.set("tool_call_id", call.id);
  return m;
}

}  // namespace cria::inline v0_1_0
