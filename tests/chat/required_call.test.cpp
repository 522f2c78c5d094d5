// SPDX-License-Identifier: MIT
// Schemas of calls are held against what they should say; replies of a model that knows no functions, against the parameters of those that it was made to call.
#include <cria/chat/chat_session.hpp>
#include <cria/chat/required_call.hpp>

#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

json read(std::string_view text) { return json::parse(text).value(); }

json one_tool(std::string_view name, std::string_view parameters) {
  return json::array{json::object{{"type", "function"}, {"function", json::object{{"name", name}, {"parameters", read(parameters)}}}}};
}

std::string call_of(std::string_view name, std::string_view arguments) {
  return read(R"({"type": "object", "properties": {"name": {"const": ")" + std::string(name) + R"("}, "arguments": )" + std::string(arguments) +
              R"(}, "required": ["name", "arguments"], "additionalProperties": false})").dump();
}

constexpr std::string_view weather = R"({"type": "object",
  "properties": {"city": {"enum": ["Lima", "Cusco"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
  "required": ["city", "days"], "additionalProperties": false})";
constexpr std::string_view light = R"({"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": false})";

}  // namespace

TEST_CASE("call_schema: the function's name and its parameters, of one or of any") {
  const json one = one_tool("f", light);
  CHECK(call_schema(one).value().dump() == call_of("f", light));
  CHECK(call_schema(one, "f").value() == call_schema(one).value());
  CHECK(call_schema(describe_tools({{"f", "", read(light)}})).value().dump() == call_of("f", light));
  const json bare = read(R"([{"name": "f", "parameters": )" + std::string(light) + "}]");   // without "function" around it
  CHECK(call_schema(bare).value().dump() == call_of("f", light));

  const json two = json::array{(*one.get_if<json::array>())[0], (*one_tool("g", weather).get_if<json::array>())[0]};
  CHECK(call_schema(two).value().dump() == read(R"({"anyOf": [)" + call_of("f", light) + "," + call_of("g", weather) + "]}").dump());
  CHECK(call_schema(two, "g").value().dump() == call_of("g", weather));
}

TEST_CASE("call_schema: parameters that say little are those of an object") {
  for (const std::string_view nothing : {R"([{"name": "f"}])", R"([{"name": "f", "parameters": null}])", R"([{"name": "f", "parameters": {}}])"}) {
    CHECK(call_schema(read(nothing)).value().dump() == call_of("f", R"({"type": "object"})"));
  }
  CHECK(call_schema(one_tool("f", R"({"properties": {}})")).value().dump() == call_of("f", R"({"properties": {}, "type": "object"})"));
  CHECK(call_schema(one_tool("f", R"({"$schema": "x", "$id": "y", "type": "object"})")).value().dump() == call_of("f", R"({"type": "object"})"));
}

TEST_CASE("call_schema: references lead where they led, and what only looks like one stays") {
  const std::string_view parameters = R"({"type": "object", "$defs": {"a/b": {"type": "null"}, "default": {"$ref": "#/$defs/a~1b"}},
    "properties": {"const": {"$ref": "#/$defs/default"}, "$ref": {"$ref": "#"}, "list": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/a~1b"}]}},
                   "said": {"const": {"$ref": "#/$defs/a"}}, "far": {"$ref": "http://x/#/y"}}})";
  std::string moved(parameters);
  for (const auto& [from, to] : {std::pair<std::string, std::string>{R"("#/$defs/default")", R"("#PLACE/$defs/default")"}, {R"("#")", R"("#PLACE")"},
                                 {R"("#/$defs/a~1b")", R"("#PLACE/$defs/a~1b")"}}) {
    for (std::size_t at = moved.find(from); at != moved.npos; at = moved.find(from, at + to.size())) moved.replace(at, from.size(), to);
  }
  const auto at_place = [&](std::string_view place) {
    std::string text = moved;
    for (std::size_t at = text.find("PLACE"); at != text.npos; at = text.find("PLACE")) text.replace(at, 5, place);
    return text;
  };
  CHECK(call_schema(one_tool("f", parameters)).value().dump() == call_of("f", at_place("/properties/arguments")));
  const json both = json::array{(*one_tool("g", light).get_if<json::array>())[0], (*one_tool("f", parameters).get_if<json::array>())[0]};
  CHECK(call_schema(both).value().dump() ==
        read(R"({"anyOf": [)" + call_of("g", light) + "," + call_of("f", at_place("/anyOf/1/properties/arguments")) + "]}").dump());

  // Definitions of two functions by the same name are two.
  const std::string_view number = R"({"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}, "$defs": {"X": {"type": "integer"}}, "required": ["x"]})";
  const std::string_view text = R"({"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}, "$defs": {"X": {"enum": ["t"]}}, "required": ["x"]})";
  const json same = json::array{(*one_tool("n", number).get_if<json::array>())[0], (*one_tool("t", text).get_if<json::array>())[0]};
  CHECK(json_schema_to_grammar(call_schema(same).value()).has_value());
  const std::string gbnf = json_schema_to_gbnf(call_schema(same).value()).value();
  CHECK(gbnf.find("\\\"t\\\"") != gbnf.npos);
}

TEST_CASE("call_schema: what is no list of functions is an error that names it") {
  CHECK(call_schema(json()).error().code == errc::bad_argument);
  CHECK(call_schema(json::array{}).error().code == errc::bad_argument);
  CHECK(call_schema(one_tool("f", light), "g").error().to_string().find("none is called \"g\"") != std::string::npos);
  for (const std::string_view nameless : {"7", "{}", R"({"function": {"name": 1}})", R"({"name": ""})"}) {
    const auto refused = call_schema(read(R"([{"name": "f"}, )" + std::string(nameless) + "]"));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == errc::bad_value);
    CHECK(refused.error().message == "number 1 has no name");
  }
  for (const std::string_view not_object : {"7", "[]", R"({"type": "string"})", R"({"type": ["object", "null"]})"}) {
    const auto refused = call_schema(one_tool("f", not_object));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == errc::bad_value);
    CHECK(refused.error().message.find("\"f\"") != std::string::npos);
  }
}

TEST_CASE("require_call: refuses what it cannot hold a reply to, and leaves the options as they were") {
  chat_options options;
  CHECK(require_call(options).error().code == errc::bad_argument);
  options.rendering.tools = one_tool("f", R"({"type": "object", "properties": {"x": {"type": "string", "contentEncoding": "base64"}}})");
  const auto refused = require_call(options);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().where == "#/properties/arguments/properties/x/contentEncoding");
  CHECK_FALSE(options.generation.grammar.has_value());
  CHECK_FALSE(options.syntax.has_value());
  options.rendering.tools = one_tool("f", light);
  options.generation.grammar = grammar::parse("root ::= \"x\"").value();
  CHECK(require_call(options).error().code == errc::bad_argument);
}

TEST_CASE("require_call: whatever the model, the reply is one call whose arguments validate") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto how = chat_template::compile("{% for t in tools or [] %}{{ t.function.name }} {% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}<think>",
                                    special_texts::of(m.tokenizer())).value();
  auto chat = chat_session::create(make_session(m, {.context_size = 512}), std::move(how)).value();
  const json tools = describe_tools({{"get_weather", "", read(weather)}, {"light", "", read(light)}});
  const std::string_view names[] = {"", "light", "get_weather"};
  std::set<std::string> called;
  for (std::uint32_t seed = 0; seed < 12; ++seed) {
    const std::string_view name = names[seed % 3];
    chat_options options;
    options.rendering.tools = tools;
    options.generation.max_tokens = 300;
    options.generation.sampling.temperature = 2;
    options.generation.sampling.seed = seed;
    REQUIRE(require_call(options, name).has_value());
    chat.clear();
    std::string text;
    const auto reply = chat.say("Once", options, [&](const reply_piece& p) { text += p.part == reply_part::text ? p.text : ""; }).value();
    CAPTURE(reply.done.text);
    REQUIRE(reply.calls.size() == 1);
    CHECK(reply.is_whole());
    CHECK(text.empty());
    CHECK(reply.text.empty());
    CHECK(reply.thinking.empty());
    const tool_call& call = reply.calls[0];
    CHECK_FALSE(call.id.empty());
    if (!name.empty()) CHECK(call.name == name);
    called.insert(call.name);
    REQUIRE(call.arguments.get_if<json::object>() != nullptr);
    if (call.name == "light") {
      CHECK(call.arguments.get_if<json::object>()->size() == 1);
      REQUIRE(call.arguments.find("on") != nullptr);
      CHECK(call.arguments.find("on")->get_if<bool>() != nullptr);
    } else {
      REQUIRE(call.name == "get_weather");
      REQUIRE(call.arguments.get_if<json::object>()->size() == 2);
      const json* city = call.arguments.find("city");
      CHECK((*city == json("Lima") || *city == json("Cusco")));
      const auto* days = call.arguments.find("days")->get_if<std::int64_t>();
      REQUIRE(days != nullptr);
      CHECK((*days >= 1 && *days <= 9));
    }
  }
  CHECK(called.size() == 2);
}

TEST_CASE("require_call: a reply that is cut shows what there is") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto chat = chat_session::create(make_session(m, {.context_size = 256}), chat_template::compile("{{ messages[0].content }}{{ tools | length }}",
                                                                                                special_texts::of(m.tokenizer())).value()).value();
  chat_options options;
  options.rendering.tools = one_tool("light", light);
  options.generation.max_tokens = 3;
  REQUIRE(require_call(options).has_value());
  const auto reply = chat.say("Once", options).value();
  CHECK(reply.calls.empty());
  CHECK_FALSE(reply.is_whole());
  CHECK(reply.text == reply.done.text);
  CHECK(reply.text.starts_with("{"));
}
