// SPDX-License-Identifier: MIT
// chat MODEL.gguf [QUESTION]...: asks one question after another in one conversation, which it prints as JSON in the end.
#include <cria/cria.hpp>

#include <iostream>
#include <vector>

static int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return fail(model.error());

  // The model's own template where the file has one; another can be named.
  auto how = cria::chat_template::from_model(*model);
  if (!how) how = cria::chat_template::named("zephyr", cria::special_texts::of(model->tokenizer()));
  if (!how) return fail(how.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());
  auto chat = cria::chat_session::create(*std::move(session), *std::move(how));
  if (!chat) return fail(chat.error());

  chat->set_system("Answer in one sentence.");
  cria::chat_options options;
  options.generation.max_tokens = 48;
  options.generation.sampling = cria::sampler_config::greedy();
  options.history.reply_room = 48;

  std::vector<std::string_view> questions(argv + std::min(argc, 2), argv + argc);
  if (questions.empty()) questions = {"What is the capital of France?", "And of Italy?"};
  for (const std::string_view question : questions) {
    std::cout << "> " << question << '\n';
    auto reply = chat->say(question, options, [](std::string_view text) { std::cout << text << std::flush; });
    if (!reply) return fail(reply.error());
    std::cout << "\n(" << reply->done.n_reused << " tokens of the prompt were in the cache, " << reply->dropped.size() << " old messages were dropped)\n";
  }
  std::cout << chat->conversation().to_json().dump() << '\n';
}
