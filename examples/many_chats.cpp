// SPDX-License-Identifier: MIT
// many_chats MODEL.gguf [QUESTION]...: conversations through one batch engine, as a chat server holds them. Each question comes from a user of its own,
// who then asks once more; every reply is the one that a chat_session gives to that user alone.
#include <cria/cria.hpp>

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

static int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

/// A conversation, and its reply while it is made. The engine's callback refers to it: it stays where it is.
struct user {
  cria::conversation talk;
  std::optional<cria::chat_request> asked = {};
  cria::batch_id id = 0;
  std::string sent = {};   // a server would have a connection

  void operator()(const cria::reply_piece& piece) {   // or std::string_view: the text alone
    if (piece.part == cria::reply_part::text) sent += piece.text;
  }
};

static cria::result<void> ask(user& u, std::string_view question, const cria::chat_format& format, const cria::chat_options& options,
                              cria::batch_engine& engine) {
  cria::conversation next = u.talk;   // u.talk becomes this and the reply when there is one: an error changes nothing
  next.add("user", question);
  auto asked = format.prepare(next, options, engine.capacity());
  if (!asked) return asked.error();   // context_full: options.history cannot make room for so long a question
  u.asked = *std::move(asked);
  auto id = engine.add(u.asked->prompt, u.asked->generation, [&u](const cria::token_event& event) { return u.asked->reader.read(event, u); });
  if (!id) return id.error();
  u.id = *id;
  return {};
}

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return fail(model.error());
  auto how = cria::chat_template::from_model(*model);
  if (!how) how = cria::chat_template::named("zephyr", cria::special_texts::of(model->tokenizer()));   // the file has none
  if (!how) return fail(how.error());
  auto format = cria::chat_format::create(*model, *std::move(how));   // one for all conversations
  if (!format) return fail(format.error());
  auto engine = cria::batch_engine::create(*model, {.max_sequences = 8, .context_size = 256});
  if (!engine) return fail(engine.error());

  cria::chat_options options;
  options.generation.max_tokens = 24;
  options.generation.sampling = cria::sampler_config::greedy();
  std::vector<std::string_view> questions(argv + std::min(argc, 2), argv + argc);
  if (questions.empty()) questions = {"What is a cria?", "Tell me about the dog.", "What is the capital of France?"};
  std::vector<std::unique_ptr<user>> users;
  for (const std::string_view question : questions) {
    users.push_back(std::make_unique<user>());
    users.back()->talk.set_system("Be brief.");
    if (auto added = ask(*users.back(), question, *format, options, *engine); !added) return fail(added.error());
  }

  while (engine->has_work()) {   // a server would ask for whoever says something between two steps
    if (auto stepped = engine->step(); !stepped) return fail(stepped.error());
    while (auto ended = engine->next_finished()) {
      for (auto& u : users) {
        if (u->id != ended->id) continue;
        auto reply = u->asked->reader.finish(std::move(ended->outcome), *u);   // text, thinking, calls, which messages were dropped
        if (!reply) return fail(reply.error());
        u->talk = u->asked->reader.take_conversation();
        std::cout << "[" << u->id << "] " << std::exchange(u->sent, {}) << '\n';
        if (u->talk.turns().size() > 1) continue;
        if (auto added = ask(*u, "And then?", *format, options, *engine); !added) return fail(added.error());
      }
    }
  }
  for (const auto& u : users) std::cout << '\n' << u->talk.to_json().dump() << '\n';
}
