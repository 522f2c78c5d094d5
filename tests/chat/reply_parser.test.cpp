// SPDX-License-Identifier: MIT
// The replies are written as the models' cards and templates show them; each is fed whole, byte by byte and in every cut in two.
#include <cria/chat/reply_parser.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace cria;

namespace {

constexpr reply_syntax every_syntax{.has_thinking = true, .starts_in_thinking = false, .has_call_tags = true, .has_call_list = true, .has_bare_calls = true};
constexpr reply_syntax tags{.has_call_tags = true};
constexpr reply_syntax list{.has_call_list = true};
constexpr reply_syntax bare{.has_bare_calls = true};
constexpr reply_syntax channels{.has_channels = true};

/// What a reply was parted into.
struct parted {
  std::string thinking, text;
  std::vector<std::string> calls;                       // name arguments
  std::vector<std::pair<reply_part, std::string>> parts;   // neighbours of one kind together

  bool operator==(const parted&) const = default;
};

/// Feeds the reply in pieces of these lengths, the last one again and again; checks what holds for every reply.
parted part(std::string_view reply, const reply_syntax& syntax, const std::vector<std::size_t>& lengths) {
  reply_parser parser(syntax);
  parted out;
  std::string all;
  std::size_t n_calls = 0;
  const auto take = [&](std::span<const reply_piece> pieces) {
    for (const reply_piece& p : pieces) {
      all += p.text;
      CHECK((p.part == reply_part::tool_call) == (p.call != nullptr));
      if (p.call != nullptr) {
        ++n_calls;
        out.calls.push_back(p.call->name + " " + p.call->arguments.dump());
      }
      if (!out.parts.empty() && out.parts.back().first == p.part && p.call == nullptr) {
        out.parts.back().second += p.text;
      } else {
        out.parts.emplace_back(p.part, std::string(p.text));
      }
      if (p.part == reply_part::text) out.text += p.text;
      if (p.part == reply_part::thinking) out.thinking += p.text;
    }
  };
  for (std::size_t at = 0, i = 0; at < reply.size(); ++i) {
    const std::string_view piece = reply.substr(at, lengths[std::min(i, lengths.size() - 1)]);
    take(parser.push(piece));
    at += piece.size();
  }
  take(parser.finish());
  CHECK(all == reply);   // nothing lost, nothing added
  CHECK(parser.text() == out.text);
  CHECK(parser.thinking() == out.thinking);
  CHECK(parser.calls().size() == n_calls);
  return out;
}

/// Parts a reply in many ways, which must all give the same.
parted part(std::string_view reply, const reply_syntax& syntax = every_syntax) {
  CAPTURE(reply);
  const parted whole = part(reply, syntax, {reply.size() + 1});
  for (std::size_t n = 1; n < reply.size(); ++n) {
    CAPTURE(n);
    CHECK(part(reply, syntax, {n, reply.size()}) == whole);
    if (n <= 5) CHECK(part(reply, syntax, {n}) == whole);
  }
  return whole;
}

using calls = std::vector<std::string>;

}  // namespace

TEST_CASE("reply_parser: plain text is text, all of it, whatever it looks like in the middle") {
  for (const std::string_view reply :
       {"Hello.", "  Two spaces before, two behind  ", "a < b and <b>bold</b>", "Use <think> and </think> for thoughts.", "</think>", "\n\n", "<", "<thin",
        "<thinking>no</thinking>", "[1, 2]", "{\"answer\": 42}", "\xf0\x9f\xa6\x99 <tool", "[TOOL_CALL"}) {
    const parted p = part(reply);
    CHECK(p.text == reply);
    CHECK(p.thinking.empty());
    CHECK(p.calls.empty());
  }
}

TEST_CASE("reply_parser: thinking comes first, and the white space around it is neither's") {
  const parted p = part("<think>\nHm. <b>\n\nYes.\n</think>\n\nThe answer is 4.\n");
  CHECK(p.thinking == "Hm. <b>\n\nYes.");
  CHECK(p.text == "The answer is 4.\n");
  CHECK(part("<think>\n\n</think>\n\nAt once.").text == "At once.");
  CHECK(part("<think>\n\n</think>\n\nAt once.").thinking.empty());
  CHECK(part("\n <think>a</think>b").text == "b");

  const parted cut = part("<think>\nnot yet done </thi");
  CHECK(cut.thinking == "not yet done </thi");
  CHECK(cut.text.empty());
  const parted twice = part("<think>a</think> <think>b</think> c <think>d</think>");
  CHECK(twice.thinking == "ab");
  CHECK(twice.text == "c <think>d</think>");

  const parted begun = part("Hm.\n</think>\nYes.", {.starts_in_thinking = true});
  CHECK(begun.thinking == "Hm.");
  CHECK(begun.text == "Yes.");
  CHECK(part("<think>a</think>b", {.has_thinking = false}).text == "<think>a</think>b");
}

TEST_CASE("reply_parser: thinking has the tags that the template writes") {
  const auto seed = reply_syntax::without_tools("{%- set think_begin_token = '<seed:think>' -%}");
  const parted p = part("<seed:think>\nHm. </think>\n</seed:think>\nYes.", seed);
  CHECK(p.thinking == "Hm. </think>");
  CHECK(p.text == "Yes.");
  CHECK(part("<think>a</think>b", seed).text == "<think>a</think>b");
  CHECK(seed.tags() == std::vector<std::string_view>{"<seed:think>", "</seed:think>"});
  CHECK(reply_syntax::with_tools("<seed:think>").thinking.close == "</seed:think>");
  CHECK(reply_syntax::without_tools("<think>").thinking.open == "<think>");
}

TEST_CASE("reply_parser: calls between tags, as Hermes and Qwen write them") {
  const parted one = part("<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Lima\"}}\n</tool_call>", tags);
  CHECK(one.calls == calls{"get_weather {\"city\": \"Lima\"}"});
  CHECK(one.text.empty());
  const parted two = part("<think>\nI need both.\n</think>\n\nLet me look.\n<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": 1}}\n</tool_call>\n"
                          "<tool_call>{\"arguments\": {}, \"name\": \"b\"}</tool_call>\n");
  CHECK(two.thinking == "I need both.");
  CHECK(two.text == "Let me look.");
  CHECK(two.calls == calls{"a {\"x\": 1}", "b {}"});
  // Braces and tags inside texts are not the end.
  CHECK(part("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"}]</tool_call>\\\"{\"}}</tool_call>", tags).calls ==
        calls{"f {\"x\": \"}]</tool_call>\\\"{\"}"});
  // The end of the reply ends a call as well: many models stop there. So does the next call.
  CHECK(part("<tool_call>{\"name\": \"f\", \"arguments\": {}}", tags).calls == calls{"f {}"});
  CHECK(part("<tool_call>{\"name\": \"f\"}<tool_call>{\"name\": \"g\"}\n", tags).calls == calls{"f {}", "g {}"});
  // A list inside, arguments as text, the form with "function".
  CHECK(part("<tool_call>[{\"name\": \"f\"}, {\"name\": \"g\"}]</tool_call>", tags).calls == calls{"f {}", "g {}"});
  CHECK(part("<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}</tool_call>", tags).calls == calls{"f {\"x\": 1}"});
  CHECK(part("<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"x\": 1}}}</tool_call>", tags).calls ==
        calls{"f {\"x\": 1}"});
  const parted behind = part("<tool_call>{\"name\": \"f\"}</tool_call> and so on", tags);
  CHECK(behind.calls == calls{"f {}"});
  CHECK(behind.text == " and so on");
}

TEST_CASE("reply_parser: a whole call is one, wherever the reply was cut behind it") {
  const std::string call = "<tool_call>{\"name\": \"f\"}", both = call + "\n</tool_call>";
  for (std::size_t n = call.size(); n <= both.size(); ++n) {
    const parted p = part(both.substr(0, n), tags);
    CHECK(p.calls == calls{"f {}"});
    CHECK(p.text.empty());
  }
  CHECK(part(call + "</tool_x", tags).calls.empty());
  CHECK(part(call + "</", tags).calls == calls{"f {}"});
  const parted next = part(call + "<tool", tags);   // the next call
  CHECK(next.calls == calls{"f {}"});
  CHECK(next.text == "<tool");
}

TEST_CASE("reply_parser: what is no call is text, tags included") {
  for (const std::string_view reply : {
           "<tool_call>",
           "<tool_call>\n",
           "<tool_call>nothing</tool_call>",
           "<tool_call>{}</tool_call>",
           "<tool_call>[]</tool_call>",
           "<tool_call>{\"name\": 5}</tool_call>",
           "<tool_call>{\"name\": \"\"}</tool_call>",
           "<tool_call>{\"arguments\": {}}</tool_call>",
           "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
           "<tool_call>{\"name\": \"f\", \"arguments\": \"no json\"}</tool_call>",
           "<tool_call>{\"name\": \"f\"} what</tool_call>",
           "<tool_call>{\"name\": \"f\", }</tool_call>",
           "<tool_call>{\"name\": \"f\"",
           "<tool_call>{'name': 'f'}</tool_call>",
           "<tool_call>{\"name\": \"f\"]</tool_call>",
           "<tool_call>[{\"name\": \"f\"}, {\"nam\": \"g\"}]</tool_call>",
           "<tool_call>{\"name\": \"two\nlines\"}</tool_call>",
           "[TOOL_CALLS]",
           "[TOOL_CALLS] none",
           "[TOOL_CALLS]f{}",
           "[TOOL_CALLS]f[ARGS]",
           "[TOOL_CALLS]f[ARGS][1]",
           "[TOOL_CALLS] {\"x\": 1}",
           "[TOOL_CALLS][ARGS]{}",
           "<|python_tag|>print(1)",
           "{\"name\": \"Bob\"}",
           "{\"name\": \"f\", \"parameters\": {}} is a call",
           "{\"name\": \"f\", \"parameters\": {}",
           "{\"name\": \"Bob\", \"parameters\": \"tall\"}",
       }) {
    const parted p = part(reply);
    CHECK(p.calls.empty());
    CHECK(p.text == reply);
  }
  // What follows is looked at again.
  const parted p = part("<tool_call>oh <tool_call>{\"name\": \"f\"}</tool_call>", tags);
  CHECK(p.text == "<tool_call>oh");
  CHECK(p.calls == calls{"f {}"});
  // Forms that were not asked for are text.
  CHECK(part("<tool_call>{\"name\": \"f\"}</tool_call>", list).calls.empty());
  CHECK(part("[TOOL_CALLS][{\"name\": \"f\"}]", tags).calls.empty());
  CHECK(part("{\"name\": \"f\", \"parameters\": {}}", tags).calls.empty());
}

TEST_CASE("reply_parser: where the reply comes in whole characters, so do its pieces") {
  const std::string call = R"({"name":"f","parameters":{}})";
  const std::vector<std::string> replies = {call + ";日本", call + "; é",        call + ";" + call + ";🦙" + call, "<think>ü</think>é" + call,
                                            "日<tool_call>本", call + ";\xe6", "🦙 <"};
  for (const std::string& reply : replies) {
    CAPTURE(reply);
    for (std::size_t n_chars = 1; n_chars < 4; ++n_chars) {
      reply_parser parser(every_syntax);
      std::string all;
      const auto take = [&](std::span<const reply_piece> pieces) {
        for (const reply_piece& p : pieces) {
          all += p.text;
          const bool begins_whole = p.text.empty() || (static_cast<unsigned char>(p.text[0]) & 0xc0) != 0x80;
          CHECK(begins_whole);
        }
      };
      for (std::size_t at = 0; at < reply.size();) {
        std::size_t end = at;
        for (std::size_t i = 0; i < n_chars && end < reply.size(); ++i) end += detail::decode_utf8(reply, end).length;
        take(parser.push(std::string_view(reply).substr(at, end - at)));
        at = end;
      }
      take(parser.finish());
      CHECK(all == reply);
    }
  }
  const parted after = part(call + ";日本", bare);
  CHECK(after.calls == calls{"f {}"});
  CHECK(after.text == "日本");
}

TEST_CASE("reply_parser: Mistral's list, and a name with its arguments") {
  CHECK(part("[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": [1, {}]}}, {\"name\": \"g\", \"arguments\": {}}]", list).calls ==
        calls{"f {\"x\": [1, {}]}", "g {}"});
  CHECK(part("[TOOL_CALLS]{\"name\": \"f\", \"arguments\": {}}", list).calls == calls{"f {}"});
  const parted newer = part("One moment. [TOOL_CALLS]get_weather[ARGS]{\"city\": \"Lima\"}[TOOL_CALLS]b-2.x[CALL_ID]abc123XYZ[ARGS]{}", list);
  CHECK(newer.text == "One moment.");
  CHECK(newer.calls == calls{"get_weather {\"city\": \"Lima\"}", "b-2.x {}"});
  reply_parser parser(list);
  parser.push("[TOOL_CALLS]f[CALL_ID]abc123XYZ[ARGS]{}[TOOL_CALLS] [{\"name\": \"g\", \"id\": \"123456789\"}]");
  parser.finish();
  REQUIRE(parser.calls().size() == 2);
  CHECK(parser.calls()[0].id == "abc123XYZ");
  CHECK(parser.calls()[1].id == "123456789");
  CHECK(part("[TOOL_CALLS]" + std::string(300, 'f') + "[ARGS]{}", list).calls.empty());   // no name is that long
}

TEST_CASE("reply_parser: Llama 3's JSON as the whole reply") {
  CHECK(part("{\"name\": \"f\", \"parameters\": {\"x\": \"1\"}}", bare).calls == calls{"f {\"x\": \"1\"}"});
  CHECK(part("\n{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}\n", bare).calls == calls{"f {}"});
  CHECK(part("<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", bare).calls == calls{"f {}"});
  CHECK(part("{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}", bare).calls == calls{"f {}", "g {}"});
  CHECK(part("{\"name\": \"f\", \"parameters\": {}}\n{\"name\": \"g\", \"parameters\": {}}", bare).calls == calls{"f {}", "g {}"});
  CHECK(part("Here: {\"name\": \"f\", \"parameters\": {}}", bare).calls.empty());
  const parted answer = part("{\"name\": \"Bob\", \"age\": 5} is he.", bare);
  CHECK(answer.calls.empty());
  CHECK(answer.text == "{\"name\": \"Bob\", \"age\": 5} is he.");
}

// As in OpenAI's description of the Harmony response format; the prompt ends with <|start|>assistant, and <|return|> and <|call|> end the reply.
TEST_CASE("reply_parser: channels of gpt-oss: analysis is thinking, final and commentary are text, messages to functions are calls") {
  const parted answer = part("<|channel|>analysis<|message|>User asks 2 + 2.<|end|><|start|>assistant<|channel|>final<|message|>2 + 2 = 4.", channels);
  CHECK(answer.thinking == "User asks 2 + 2.");
  CHECK(answer.text == "2 + 2 = 4.");
  const parted called = part("<|channel|>analysis<|message|>Need the weather.<|end|><|start|>assistant"
                             "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"location\": \"Tokyo\"}", channels);
  CHECK(called.thinking == "Need the weather.");
  CHECK(called.text.empty());
  CHECK(called.calls == calls{R"(get_weather {"location": "Tokyo"})"});
  const parted two = part(" to=functions.f<|channel|>commentary json<|message|>{}<|end|><|start|>assistant<|channel|>commentary to=functions.g<|message|>"
                          "{\"a\": [1]}", channels);
  CHECK(two.calls == calls{"f {}", R"(g {"a": [1]})"});
  const parted preamble =
      part("<|channel|>commentary<|message|>I'll look.<|end|><|start|>assistant to=functions.f<|channel|>commentary<|message|>{\"<\": \"|end\"}", channels);
  CHECK(preamble.text == "I'll look.");
  CHECK(preamble.calls == calls{R"(f {"<": "|end"})"});
  CHECK(part("<|channel|>analysis<|message|>a < b <|e", channels).thinking == "a < b <|e");   // cut there
}

TEST_CASE("reply_parser: with channels, what has no header or is no call is text, and a header that was cut is neither text nor thinking") {
  for (const std::string_view plain : {"4.", " ", "{\"a\": 1}", "<b>4</b>", "<|chan", "to=", "A <|channel|>final<|message|>", "<think>a</think>b"}) {
    CHECK(part(plain, channels).text == plain);
  }
  const parted no_json = part("<|channel|>commentary to=functions.f<|message|>not JSON<|end|><|start|>assistant<|channel|>final<|message|>b", channels);
  CHECK(no_json.calls.empty());
  CHECK(no_json.text == "not JSONb");
  CHECK(part("<|channel|>commentary to=functions.f<|message|>[1]", channels).text == "[1]");
  const parted cut = part("<|channel|>final<|message|>4.<|end|><|start|>assistant<|channel|>ana", channels);
  CHECK(cut.text == "4.");
  CHECK(cut.thinking.empty());
  const std::string endless = "<|channel|>" + std::string(600, 'a') + "<|message|>";
  CHECK(part(endless, channels).text == endless);
  const std::string longest = "<|channel|>" + std::string(490, 'a') + "<|message|>b";
  CHECK(part(longest, channels).text == "b");
}

TEST_CASE("reply_parser: a call of gpt-oss that is held back takes time in proportion") {
  reply_parser parser(channels);
  parser.push("<|channel|>commentary to=functions.f<|message|>{\"a\": \"");
  for (int i = 0; i < 300'000; ++i) parser.push("<");
  parser.push("\"}");
  parser.finish();
  REQUIRE(parser.calls().size() == 1);
  CHECK(parser.calls()[0].arguments.dump().size() == 300'000 + 9);
}

TEST_CASE("reply_parser: text is handed out as soon as it cannot be a tag") {
  reply_parser plain(reply_syntax{});
  CHECK(plain.push("Hello").size() == 1);
  CHECK(plain.push(" world ").size() == 1);   // without tools white space is not held back
  CHECK(plain.text() == "Hello world ");
  reply_parser parser(every_syntax);
  parser.push("Hello <");
  CHECK(parser.text() == "Hello");
  parser.push("b");
  CHECK(parser.text() == "Hello <b");
  parser.push("> {\"x\": ");
  CHECK(parser.text() == "Hello <b> {\"x\":");
  parser.push("<tool_call> what");             // no JSON: text at once, not only at the end
  CHECK(parser.text() == "Hello <b> {\"x\": <tool_call> what");
  reply_parser thinking(every_syntax);
  thinking.push("<think>so ");
  CHECK(thinking.thinking() == "so");
  thinking.push("far");
  CHECK(thinking.thinking() == "so far");
}

TEST_CASE("reply_parser: any mixture of tags and JSON, cut anywhere, is parted alike and kept whole") {
  constexpr std::string_view words[] = {"<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "{\"name\": \"f\"",
                                        ", \"arguments\": {}", "}", "{", "[", "]", "\"", "\\", ";", " ", "\n", " \n\n\t", "f", "\xc3\xa4", "<",
                                        "{\"name\": \"f\", \"parameters\": {}}"};
  constexpr std::string_view marks[] = {"<|channel|>", "<|message|>", "<|start|>assistant", "<|end|>", "analysis", "final", " to=functions.f",
                                        "<|channel|>commentary to=functions.f<|message|>{}", "{}", "{\"a\": ", "1}", " ", "<", "<|", "x"};
  std::mt19937 random(1);
  std::size_t n_calls = 0, n_thinking = 0, n_channel_calls = 0;
  for (int i = 0; i < 6000; ++i) {
    std::string reply;
    for (auto n = random() % 12; n > 0; --n) reply += words[random() % std::size(words)];
    reply_syntax syntax = every_syntax;
    syntax.starts_in_thinking = random() % 8 == 0;
    syntax.has_call_tags = random() % 4 != 0;
    CAPTURE(reply);
    const parted whole = part(reply, syntax, {reply.size() + 1});
    CHECK(part(reply, syntax, {1}) == whole);
    CHECK(part(reply, syntax, {1 + random() % 5, 1 + random() % 20, 2}) == whole);
    n_calls += whole.calls.size();
    n_thinking += !whole.thinking.empty();
    reply.clear();
    for (auto n = random() % 16; n > 0; --n) reply += marks[random() % std::size(marks)];
    const parted messages = part(reply, channels, {reply.size() + 1});
    CHECK(part(reply, channels, {1}) == messages);
    CHECK(part(reply, channels, {1 + random() % 5, 1 + random() % 20, 2}) == messages);
    n_channel_calls += messages.calls.size();
  }
  CHECK(n_channel_calls > 20);
  CHECK(n_calls > 100);      // or the test shows nothing
  CHECK(n_thinking > 100);
}

TEST_CASE("reply_parser: a long reply takes time in proportion") {
  std::string reply = "<tool_call>[\"";
  for (int i = 0; i < 20000; ++i) reply += "<tool_call>[1, ";
  reply_parser parser(every_syntax);
  for (const char c : reply) parser.push({&c, 1});
  parser.finish();
  CHECK(parser.text() == reply);
}

TEST_CASE("reply_parser: white space that is held back takes time in proportion, wherever it is") {
  const auto add_lines = [](reply_parser& parser, std::string_view before, std::string_view behind) {
    parser.push(before);
    for (int i = 0; i < 300'000; ++i) parser.push(i % 16 == 0 ? " " : "\n");
    parser.push(behind);
    parser.finish();
  };
  constexpr std::size_t n = 300'000;
  reply_parser start(every_syntax), thinking(every_syntax), thought(every_syntax), text(every_syntax), behind_call(tags), behind_json(bare), before_json(tags);
  add_lines(start, "", "a");
  CHECK(start.text().size() == n + 1);
  add_lines(thinking, "<think>", "a</think>");
  CHECK(thinking.thinking() == "a");
  add_lines(thought, "<think>a", "b</think>");
  CHECK(thought.thinking().size() == n + 2);
  add_lines(text, "a", "<tool_cal");
  CHECK(text.text().size() == n + 10);
  add_lines(behind_call, "<tool_call>{\"name\": \"f\"}", "</tool_call>");
  CHECK(behind_call.calls().size() == 1);
  add_lines(behind_json, "{\"name\": \"f\", \"parameters\": {}}", "");
  CHECK(behind_json.calls().size() == 1);
  add_lines(before_json, "<tool_call>", "{\"name\": \"f\"}");
  CHECK(before_json.calls().size() == 1);
}

TEST_CASE("reply_syntax: a template's text tells how its model calls tools") {
  const auto hermes = reply_syntax::with_tools("... return {'name': <function-name>} within <tool_call></tool_call> ...");
  CHECK((hermes.has_call_tags && !hermes.has_call_list && !hermes.has_bare_calls));
  const auto mistral = reply_syntax::with_tools("{{ '[TOOL_CALLS] [' }}");
  CHECK((!mistral.has_call_tags && mistral.has_call_list && !mistral.has_bare_calls));
  const auto llama = reply_syntax::with_tools("{{ '<|start_header_id|>ipython' }}");
  CHECK((!llama.has_call_tags && !llama.has_call_list && llama.has_bare_calls));
  const auto harmony = reply_syntax::with_tools("{{ '<|channel|>analysis<|message|>' }}");
  CHECK((harmony.has_channels && !harmony.has_call_tags && !harmony.has_call_list && !harmony.has_bare_calls));
  CHECK(reply_syntax::without_tools("{{ '<|channel|>analysis<|message|>' }}").has_channels);
  CHECK_FALSE(reply_syntax::without_tools("{{ '<think>' }}").has_channels);
  const auto unknown = reply_syntax::with_tools("");
  CHECK((unknown.has_call_tags && unknown.has_call_list && unknown.has_bare_calls));
}

TEST_CASE("tool_call: descriptions, messages and answers are those that templates read") {
  const json tools = describe_tools({{"f", "Does f", json::parse(R"({"type": "object"})").value()}, {"g", "", json{}}});
  CHECK(tools.dump() == R"([{"type": "function", "function": {"name": "f", "description": "Does f", "parameters": {"type": "object"}}}, )"
                        R"({"type": "function", "function": {"name": "g", "description": "", "parameters": null}}])");
  const auto call = tool_call::from_json(json::parse(R"({"id": "1", "name": "f", "arguments": {"x": 1}})").value()).value();
  CHECK(call.to_json().dump() == R"({"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}})");
  CHECK(tool_call::from_json(call.to_json()).value() == call);
  for (const char* none : {R"({"name": "f"})", R"({"name": "f", "arguments": null})", R"({"name": "f", "arguments": ""})",
                           R"({"type": "function", "function": {"name": "f", "arguments": ""}})"}) {
    CAPTURE(none);
    CHECK(tool_call::from_json(json::parse(none).value()).value().arguments == json(json::object{}));
  }
  CHECK(tool_answer(call, "42").fields().dump() == R"({"role": "tool", "content": "42", "name": "f", "tool_call_id": "1"})");
  for (const char* bad : {"1", "null", "{}", R"({"name": ""})", R"({"name": "f", "arguments": 5})", R"({"name": "f", "arguments": "["})",
                          R"({"name": "f", "arguments": " "})", R"({"function": {"x": 1}})"}) {
    CAPTURE(bad);
    const auto refused = tool_call::from_json(json::parse(bad).value());
    REQUIRE_FALSE(refused);
    CHECK((refused.error().code == errc::bad_value || refused.error().code == errc::syntax));
  }
}
