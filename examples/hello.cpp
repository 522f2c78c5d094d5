// SPDX-License-Identifier: MIT
// hello MODEL.gguf [PROMPT]: streams what the model writes after the prompt.
#include <cria/cria.hpp>

#include <iostream>

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return std::cerr << model.error().to_string() << '\n', 1;
  auto session = cria::session::create(*model);
  if (!session) return std::cerr << session.error().to_string() << '\n', 1;

  auto reply = session->stream(argc > 2 ? argv[2] : "Once upon a time", {.max_tokens = 100});
  for (std::string_view text : reply) std::cout << text << std::flush;
  if (reply.has_error()) return std::cerr << reply.error().to_string() << '\n', 1;
}
