// SPDX-License-Identifier: MIT
// structured MODEL.gguf [PROMPT]: a reply that is JSON of a given shape, whatever the model would rather say.
#include <cria/cria.hpp>

#include <iostream>

static int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return fail(model.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());

  // Compiled once, shared by any number of generations; what it cannot promise is an error here, not a surprise later.
  auto shape = cria::json_schema_grammar(R"({
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 120}, "likes": {"enum": ["hay", "grass"]}},
    "required": ["name", "age", "likes"],
    "additionalProperties": false
  })");
  if (!shape) return fail(shape.error());

  cria::generation_options options{.max_tokens = 200, .sampling = cria::sampler_config::greedy()};
  options.grammar = *shape;
  auto done = session->generate(argc > 2 ? argv[2] : "A young llama as JSON: ", options, [](std::string_view text) { std::cout << text << std::flush; });
  if (!done) return fail(done.error());
  std::cout << '\n';
}
