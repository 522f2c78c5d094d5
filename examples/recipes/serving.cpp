// SPDX-License-Identifier: MIT
// Recipes about requests, replies of a given shape, and conversations.
#include "recipes.hpp"

#include <cria/chat/chat_session.hpp>
#include <cria/chat/json_schema.hpp>
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/load.hpp>
#include <cria/generate/session.hpp>

#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace recipes {

// recipe
// The loop of a server: requests come from any thread, one thread takes them all through the model together.
class server {
 public:
  explicit server(cria::batch_engine engine) : engine_(std::move(engine)), thread_([this] { serve(); }) {}
  ~server() {
    stop_.request_stop();   // ends a pass within one layer
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  std::future<cria::result<cria::generation>> ask(std::string prompt, cria::generation_options options) {
    const std::lock_guard lock(mutex_);
    arrived_.push_back({std::move(prompt), std::move(options), {}});
    changed_.notify_one();
    return arrived_.back().reply.get_future();
  }

 private:
  struct request {
    std::string prompt;
    cria::generation_options options;
    std::promise<cria::result<cria::generation>> reply;
  };

  void serve() {
    std::map<cria::batch_id, std::promise<cria::result<cria::generation>>> open;
    while (true) {
      std::vector<request> requests;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ends_ || engine_.has_work() || !arrived_.empty(); });
        if (ends_) return;   // who still waits gets std::future_error
        requests.swap(arrived_);
      }
      for (request& r : requests) {
        auto id = engine_.add(r.prompt, r.options);   // a callback here would stream its text from inside step()
        if (id) open.emplace(*id, std::move(r.reply));
        else r.reply.set_value(id.error());           // too long, the queue is full: the others go on
      }
      const auto stepped = engine_.step(stop_.get_token());
      while (auto ended = engine_.next_finished()) {
        if (auto found = open.extract(ended->id)) found.mapped().set_value(std::move(ended->outcome));
      }
      if (stepped || stepped.error().code == cria::errc::cancelled) continue;   // cancelled: nothing is lost
      for (auto& [id, reply] : open) {   // out of memory: the next step would most likely end the same way
        engine_.cancel(id);
        reply.set_value(stepped.error());
      }
      open.clear();
    }
  }

  cria::batch_engine engine_;
  cria::stop_source stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<request> arrived_;
  bool ends_ = false;
  std::thread thread_;   // last: it uses the others
};

int serve_requests(const char* path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  auto engine = cria::batch_engine::create(*model, {.max_sequences = 8, .max_waiting = 100});
  if (!engine) return fail(engine.error());
  server s(*std::move(engine));

  std::vector<std::future<cria::result<cria::generation>>> replies;
  for (const char* prompt : {"Once upon a time", "The dog", "One day"}) replies.push_back(s.ask(prompt, {.max_tokens = 20}));
  for (auto& reply : replies) {
    const cria::result<cria::generation> done = reply.get();
    if (!done) return fail(done.error());
    std::cout << "..." << done->text << '\n';
  }
  return 0;
}
// end

// recipe
int answer_as_json(const char* path) {
  auto shape = cria::json_schema_grammar(R"({
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "sunny": {"type": "boolean"}},
    "required": ["city", "sunny"], "additionalProperties": false
  })");
  if (!shape) return fail(shape.error());   // a keyword that cannot be kept is an error, never ignored
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());
  cria::generation_options options{.max_tokens = 100};
  options.grammar = *shape;   // compiled once, shared by any number of generations
  auto done = session->generate("The weather as JSON: ", options);
  if (!done) return fail(done.error());
  if (done->reason != cria::finish_reason::end_of_text) return std::cerr << "the text was cut\n", 1;
  auto value = cria::json::parse(done->text);   // always parses, has both members, and their types
  if (!value) return fail(value.error());
  std::cout << value->dump() << '\n';
  return 0;
}
// end

// recipe
// A conversation that outgrows its context: the oldest turns go, and the host is told which.
int chat_within_limits(const char* path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  auto how = cria::chat_template::from_model(*model);
  if (!how) how = cria::chat_template::named("zephyr", cria::special_texts::of(model->tokenizer()));   // the file has none
  if (!how) return fail(how.error());
  auto session = cria::session::create(*model, {.context_size = 192});
  if (!session) return fail(session.error());
  auto chat = cria::chat_session::create(*std::move(session), *std::move(how));
  if (!chat) return fail(chat.error());

  chat->set_system("Be brief.");   // always stays
  cria::chat_options options;
  options.generation.max_tokens = 24;
  options.history.policy = cria::history_policy::drop_oldest;   // or slide: keep the system message and the newest tokens; or stop: an error
  options.history.reply_room = 24;
  for (int i = 1; i <= 4; ++i) {
    auto reply = chat->say("What is a cria? I asked " + std::to_string(i) + " times.", options);
    if (!reply) return fail(reply.error());
    std::cout << "turn " << i << ": " << reply->done.n_reused << " tokens were in the cache, " << reply->dropped.size() << " messages were dropped\n";
  }
  std::cout << chat->conversation().to_json().dump() << '\n';   // conversation::from_json reads it back
  return 0;
}
// end

}  // namespace recipes
