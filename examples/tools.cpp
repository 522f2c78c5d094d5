// SPDX-License-Identifier: MIT
// tools MODEL.gguf [QUESTION]: a model that may call functions of the program; what it asks for is run, and it answers with the results.
#include <cria/cria.hpp>

#include <iostream>
#include <vector>

static int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

// Names and arguments come from the model: check them like any other input.
static std::string run(const cria::tool_call& call) {
  const cria::json* city = call.arguments.find("city");
  if (call.name != "get_weather") return "error: there is no such function";
  if (city == nullptr || city->get_if<std::string>() == nullptr) return "error: \"city\" must be a text";
  return cria::json(cria::json::object{{"city", *city}, {"sky", "rain"}, {"celsius", 17}}).dump();
}

// For models whose own template has no place for tools: as Hermes and Qwen write them.
static constexpr const char* with_tools = R"({%- if tools %}{{- '<|im_start|>system\nYou may call these functions:\n<tools>' }}
{%- for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}
{{- '\n</tools>\nTo call one, answer with\n<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call><|im_end|>\n' }}{% endif %}
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}
{%- for call in m.tool_calls or [] %}{{ '<tool_call>\n' }}{{ call.function | tojson }}{{ '\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return fail(model.error());
  auto how = cria::chat_template::from_model(*model);
  const bool knows_tools = how && how->mentions("tools");
  if (!knows_tools) how = cria::chat_template::compile(with_tools);
  if (!how) return fail(how.error());
  auto session = cria::session::create(*model, {.context_size = 2048});
  if (!session) return fail(session.error());
  auto chat = cria::chat_session::create(*std::move(session), *std::move(how));
  if (!chat) return fail(chat.error());

  auto city = cria::json::parse(R"({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false})");
  cria::chat_options options;
  options.rendering.tools = cria::describe_tools({{"get_weather", "Tells the weather of a city now", *city}});
  options.generation.max_tokens = 100;
  options.generation.sampling = cria::sampler_config::greedy();
  // A model that was never taught to call functions is made to: its first reply can be nothing but a call.
  cria::chat_options first = options;
  if (!knows_tools) {
    if (auto done = cria::require_call(first, "get_weather"); !done) return fail(done.error());
  }

  const auto show = [](const cria::reply_piece& piece) {
    if (piece.part == cria::reply_part::text) std::cout << piece.text << std::flush;
    if (piece.call != nullptr) std::cout << "[" << piece.call->name << " " << piece.call->arguments.dump() << "]\n";
  };
  const std::string question = argc > 2 ? argv[2] : "What is the weather in Lima?";
  std::cout << "> " << question << '\n';
  auto reply = chat->say(question, first, show);
  for (int round = 0; round < 3 && reply && !reply->calls.empty(); ++round) {
    std::vector<cria::chat_message> answers;
    for (const cria::tool_call& call : reply->calls) answers.push_back(cria::tool_answer(call, run(call)));
    reply = chat->say_all(std::move(answers), options, show);
  }
  if (!reply) return fail(reply.error());
  std::cout << '\n';
}
