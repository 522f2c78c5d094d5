// SPDX-License-Identifier: MIT
// Conversations go through one batch engine together; what each is told and what it becomes are held against a chat_session that has a session to itself.
#include <cria/chat/chat_format.hpp>
#include <cria/chat/chat_session.hpp>
#include <cria/generate/batch_engine.hpp>

#include <tests/chat/scripted_sampler.hpp>
#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

constexpr std::size_t context = 192;

/// What a callback is told.
struct heard {
  std::string text, thinking, all;
  std::vector<std::string> calls;

  void operator()(const reply_piece& p) {
    if (p.part == reply_part::text) text += p.text;
    if (p.part == reply_part::thinking) thinking += p.text;
    if (p.call != nullptr) calls.push_back(p.call->name + " " + p.call->arguments.dump());
    all += p.text;
  }
  bool operator==(const heard&) const = default;
};

void check_same(const chat_reply& alone, const chat_reply& shared) {
  CHECK(shared.text == alone.text);
  CHECK(shared.thinking == alone.thinking);
  CHECK(shared.calls == alone.calls);
  CHECK(shared.dropped == alone.dropped);
  CHECK(shared.n_left_out == alone.n_left_out);
  CHECK(shared.done.reason == alone.done.reason);
  CHECK(shared.done.text == alone.done.text);
  CHECK(shared.done.tokens == alone.done.tokens);
  CHECK(shared.done.n_prompt == alone.done.n_prompt);
}

/// One conversation twice: with a session of its own, and in the company of others. Stays where it is, since a callback refers to it.
struct user {
  chat_session alone;
  conversation talk = {};
  chat_options options = {};
  std::optional<chat_request> asked = {};
  std::optional<chat_reply> expected = {};
  heard told_alone = {}, told = {};
  batch_id id = 0;

  user(const chat_format& format, std::string_view system)
      : alone(chat_session::create(make_session(format.model(), {.context_size = context}), format).value()) {
    alone.set_system(system);
    talk.set_system(system);
  }

  /// Says a message to both. sampler: nothing, or a function that makes one.
  template <class Engine, class... Make>
  void say(Engine& engine, const chat_format& format, std::string_view text, Make&... sampler) {
    told = told_alone = {};
    asked.reset();
    conversation next = talk;
    next.add("user", text);
    auto prepared = format.prepare(next, options, engine.capacity());
    auto reply = alone.say(chat_message("user", text), options, sampler()..., told_alone);
    REQUIRE(prepared.has_value() == reply.has_value());
    if (!reply) {
      CHECK(prepared.error().to_string() == reply.error().to_string());
      return;
    }
    expected = *std::move(reply);
    asked = *std::move(prepared);
    id = engine.add(asked->prompt, asked->generation, sampler()..., [this](const token_event& e) { return asked->reader.read(e, told); }).value();
  }

  void take(result<generation> outcome) {
    const auto reply = asked->reader.finish(std::move(outcome), told).value();
    talk = asked->reader.take_conversation();
    check_same(*expected, reply);
    CHECK(told == told_alone);
    CHECK(told.text == reply.text);
    CHECK(told.thinking == reply.thinking);
    CHECK(told.calls.size() == reply.calls.size());
    CHECK(talk.messages().back() == to_message(reply));
    CHECK(talk == alone.conversation());
  }
};

using users = std::vector<std::unique_ptr<user>>;

template <class Engine>
void answer(Engine& engine, users& all) {
  while (engine.has_work()) {
    REQUIRE(engine.step().has_value());
    while (auto ended = engine.next_finished()) {
      const auto whose = std::find_if(all.begin(), all.end(), [&](const auto& u) { return u->asked && u->id == ended->id; });
      REQUIRE(whose != all.end());
      (*whose)->take(std::move(ended->outcome));
    }
  }
}

batch_engine make_engine(const model& m) {
  return batch_engine::create(m, {.max_sequences = 3, .context_size = context, .page_size = 16, .n_threads = 1}).value();
}

model load_other(std::string_view name) {
  load_options options;
  options.n_threads = 1;
  return load_model(data_root() / "models" / name, options).value();
}

chat_format make_format(const model& m, std::string_view name = "zephyr") {
  return chat_format::create(m, chat_template::named(name, special_texts::of(m.tokenizer())).value()).value();
}

/// Writes tools, calls and their answers, and begins the model's thinking.
constexpr std::string_view with_tools =
    "{% for t in tools or [] %}T:{{ t.function.name }} <tool_call>\n{% endfor %}{% for m in messages %}{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<{{ c.id }} {{ c.function.name }}>{% endfor %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:<think>\n{% endif %}";

}  // namespace

TEST_CASE("chat_format: conversations in one batch engine get the replies that a chat_session gives alone, piece by piece, on every kind of model") {
  for (const std::string_view name : {"stories260K.gguf", "fixture-256.Q4_K_M.gguf", "arch/gpt2.Q4_0.gguf", "arch/qwen3.F32.gguf", "arch/gemma2.F32.gguf",
                                      "arch/llama-moe.Q4_0.gguf"}) {
    CAPTURE(name);
    if (!has_data("models/" + std::string(name))) continue;
    const model m = load_other(name);
    const chat_format format = make_format(m, name == "arch/gpt2.Q4_0.gguf" ? "alpaca" : "zephyr");
    batch_engine engine = make_engine(m);
    users all;
    for (const std::string_view system : {"", "Be kind.", "Be kind.", "Your name is Zebulon.", ""}) {   // more than run at once
      all.push_back(std::make_unique<user>(format, system));
      generation_options& o = all.back()->options.generation;
      o.max_tokens = 4 + 5 * all.size();
      o.sampling = all.size() % 2 == 0 ? sampler_config::greedy() : sampler_config{.temperature = 1.2f, .seed = all.size()};
    }
    all[4]->options.generation.stop_strings = {"e"};
    all[3]->options.generation.grammar = grammar::parse("root ::= \" \"? (\"yes\" | \"no\") \", because \" [a-z ]{1,20}").value();
    for (const std::string_view text : {"Once upon a time", "And then?"}) {
      for (auto& u : all) u->say(engine, format, text);
      answer(engine, all);
    }
    for (const auto& u : all) CHECK(u->talk.turns().size() == 2);
  }
}

TEST_CASE("chat_format: thinking that the prompt begins and calls of tools come out of an engine as out of a chat_session, with their ids") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const chat_format format = chat_format::create(m, chat_template::compile(with_tools, special_texts::of(m.tokenizer())).value()).value();
  auto engine = basic_batch_engine<kv_type::f16, scripted_sampler>::create(m, {.max_sequences = 3, .context_size = context, .n_threads = 1}).value();
  const std::string_view scripts[] = {"Hm.\n</think>\n\nFour.",
                                      "Rain?</think> One moment.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"city\": \"Lima\"}}\n</tool_call>\n"
                                      "<tool_call>{\"name\": \"g\"}</tool_call>",
                                      "never ends <tool_call>{\"name\": \"f\"}</tool_call>"};
  users all;
  for (std::size_t i = 0; i < std::size(scripts); ++i) {
    all.push_back(std::make_unique<user>(format, ""));
    all.back()->options.generation.max_tokens = 150;
    all.back()->options.history.reply_room = 60;
    if (i > 0) all.back()->options.rendering.tools = describe_tools({{"f", "Weather", json::object{}}});
  }
  for (int turn = 0; turn < 2; ++turn) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto sampler = [&] { return scripted_sampler(m.tokenizer(), scripts[i]); };
      all[i]->say(engine, format, "x", sampler);
    }
    answer(engine, all);
    CHECK(all[0]->expected->thinking == "Hm.");
    CHECK(all[0]->expected->text == "Four.");
    REQUIRE(all[1]->expected->calls.size() == 2);
    CHECK(all[1]->expected->text == "One moment.");
    CHECK(all[1]->expected->calls[1].id == (turn == 0 ? "call00002" : "call00004"));
    CHECK(all[2]->expected->text.empty());   // it is all thinking
  }
}

TEST_CASE("chat_format: channels of a gpt-oss reply are thinking and text, also in the next prompt, with a template that refuses their marks") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const auto refuses_marks = chat_template::compile(
      "{% for m in messages %}{% if '<|channel|>' in m.content %}{{ raise_exception('marks') }}{% endif %}"
      "<|start|>{{ m.role }}<|message|>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}",
      special_texts::of(m.tokenizer()));
  const auto format = chat_format::create(m, refuses_marks.value()).value();
  auto chat = chat_session::create(make_session(m, {.context_size = context}), format).value();
  scripted_sampler says(m.tokenizer(), "<|channel|>analysis<|message|>2 and 2<|end|><|start|>assistant<|channel|>final<|message|>four");
  heard told;
  const auto reply = chat.say(chat_message("user", "2 + 2?"), {}, says, told).value();
  CHECK(reply.text == "four");
  CHECK(reply.thinking == "2 and 2");
  CHECK(told.text == "four");
  scripted_sampler without_marks(m.tokenizer(), "yes");
  CHECK(chat.say(chat_message("user", "sure?"), {}, without_marks).value().text == "yes");
}

TEST_CASE("chat_format: the thinking that led to a gpt-oss call is in the next prompt, under the name that its template reads") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const chat_template written = chat_template::compile(
      "{% if tools %}{{ tools }}{% endif %}{% for m in messages %}{% if m.tool_calls and m.content and m.thinking %}{{ raise_exception('both') }}{% endif %}"
      "<|start|>{{ m.role }}{% if m.tool_calls and m.thinking %}<|channel|>analysis<|message|>{{ m.thinking }}{% endif %}<|message|>{{ m.content }}{% endfor %}"
      "{% if add_generation_prompt %}<|start|>assistant{% endif %}", special_texts::of(m.tokenizer())).value();
  const chat_format format = chat_format::create(m, written).value();
  const auto call = [](std::string_view before) {
    return std::string(before) + "<|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\":\"Lima\"}";
  };
  const std::string thinking = "<|channel|>analysis<|message|>rain?<|end|>", remark = "<|start|>assistant<|channel|>commentary<|message|>Let me see.<|end|>";
  for (const bool has_text : {false, true}) {
    CAPTURE(has_text);
    auto chat = chat_session::create(make_session(m, {.context_size = 512}), format).value();
    chat_options options;
    options.rendering.tools = describe_tools({{"weather", "Weather of a city", json::object{}}});
    scripted_sampler asks(m.tokenizer(), call(has_text ? thinking + remark : thinking));
    const auto reply = chat.say(chat_message("user", "rain?"), options, asks).value();
    REQUIRE(reply.calls.size() == 1);
    CHECK(reply.thinking == "rain?");
    CHECK(reply.text == (has_text ? "Let me see." : ""));
    scripted_sampler says(m.tokenizer(), "no");
    REQUIRE(chat.say_all({tool_answer(reply.calls[0], "dry")}, options, says));   // the template raises no error
    const std::string prompt = written.render(chat.conversation(), options.rendering)->text;
    CHECK((prompt.find("<|channel|>analysis<|message|>rain?") != std::string::npos) == !has_text);
  }
}

TEST_CASE("chat_format: when the context is full, every history policy leaves the engine's conversation what the chat_session's is") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const chat_format format = make_format(m);
  batch_engine engine = make_engine(m);
  REQUIRE(engine.capacity() == context);
  users all;
  for (const history_policy policy : {history_policy::drop_oldest, history_policy::slide, history_policy::stop}) {
    all.push_back(std::make_unique<user>(format, "Be kind."));
    all.back()->options.generation = greedy(24);
    all.back()->options.history = {.policy = policy, .reply_room = 20, .slack = 40};
  }
  std::size_t n_dropped = 0, n_slid = 0, n_refused = 0;
  for (std::size_t i = 0; i < 10; ++i) {
    for (auto& u : all) u->say(engine, format, "Tell me more " + std::to_string(i));
    for (auto& u : all) n_refused += !u->asked.has_value();
    answer(engine, all);
    n_dropped += all[0]->expected->dropped.size();
    n_slid += all[1]->expected->n_left_out > 0;
  }
  CHECK(n_dropped >= 6);
  CHECK(n_slid >= 3);
  CHECK(n_refused >= 3);
  CHECK(all[0]->talk.turns().size() == 10 - n_dropped / 2);
  CHECK(all[1]->talk.turns().size() == 10);
  CHECK(all[2]->talk.turns().size() == 10 - n_refused);
}

TEST_CASE("chat_format: who is cancelled in an engine has the turn, with what was said until then, and a stop before there is a prompt is an error") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const chat_format format = make_format(m);
  batch_engine engine = make_engine(m);
  conversation talk;
  talk.add("user", "Once upon a time");
  for (const std::size_t n_steps : {0u, 4u}) {
    std::stop_source source;
    chat_options options;
    options.generation = greedy(50);
    options.generation.stop = source.get_token();
    auto asked = format.prepare(talk, options, engine.capacity()).value();
    std::string streamed;
    REQUIRE(engine.add(asked.prompt, asked.generation,
                       [&](const token_event& e) { return asked.reader.read(e, [&](std::string_view text) { streamed += text; }); }));
    for (std::size_t i = 0; i < n_steps; ++i) REQUIRE(engine.step());
    source.request_stop();
    REQUIRE(engine.run());
    const auto reply = asked.reader.finish(engine.next_finished()->outcome).value();
    CHECK(reply.done.reason == finish_reason::cancelled);
    CHECK(reply.text == streamed);
    CHECK(reply.text.empty() == (n_steps == 0));
    CHECK(asked.reader.conversation().size() == 2);
    const auto stopped = format.prepare(talk, options, engine.capacity());
    REQUIRE_FALSE(stopped);
    CHECK(stopped.error().code == errc::cancelled);
  }
}

TEST_CASE("chat_format: usage is chat_session's, a request refuses tools that the template has no place for, and without a template there is no format") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const chat_format format = make_format(m);
  conversation talk;
  talk.set_system("Be kind.");
  talk.add("user", "Once").add("assistant", "upon").add("user", "a time");
  chat_session chat = chat_session::create(make_session(m, {.context_size = context}), format).value();
  chat.conversation() = talk;
  const auto mine = format.usage(talk, {}, context).value(), its = chat.usage().value();
  CHECK(mine.n_tokens == its.n_tokens);
  CHECK(mine.capacity == its.capacity);
  CHECK(mine.n_before_turns == its.n_before_turns);
  CHECK(mine.turns == its.turns);
  chat_options options;
  options.rendering.tools = describe_tools({{"f", "Weather", json::object{}}});
  CHECK(format.prepare(talk, options, context).error().where == "tools");
  CHECK(chat_format::create(m).error().code == errc::missing_key);
}

TEST_CASE("reply_reader: what was not streamed is read from the outcome, to the same reply; an error leaves the conversation as it was asked") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const chat_format format = make_format(m);
  batch_engine engine = make_engine(m);
  chat_options options;
  options.generation = greedy(20);
  conversation talk;
  talk.add("user", "Once upon a time");
  chat_session chat = chat_session::create(make_session(m, {.context_size = context}), format).value();
  const auto expected = chat.say("Once upon a time", options).value();

  auto asked = format.prepare(talk, options, engine.capacity()).value();
  REQUIRE(engine.add(asked.prompt, asked.generation));
  REQUIRE(engine.run());
  const generation done = engine.next_finished()->outcome.value();
  for (const std::size_t n_streamed : {std::size_t{0}, std::size_t{1}, std::size_t{7}, done.text.size()}) {
    CAPTURE(n_streamed);
    reply_reader reader = asked.reader;
    std::string streamed;
    const auto show = [&](std::string_view text) { streamed += text; };
    if (n_streamed != 0) CHECK(reader.read({1, std::string_view(done.text).substr(0, n_streamed), 0}, show));
    reply_reader moved = std::move(reader);
    const auto reply = moved.finish(done, show).value();
    check_same(expected, reply);
    CHECK(streamed == reply.text);
    CHECK(moved.conversation() == chat.conversation());
  }
  reply_reader failed = asked.reader;
  CHECK(failed.finish(error{errc::non_finite, "logits"}).error().code == errc::non_finite);
  CHECK(failed.conversation() == talk);
  std::size_t n_pieces = 0;
  CHECK_FALSE(asked.reader.read({1, "One two", 0}, [&](std::string_view) { return ++n_pieces > 1; }));
  CHECK_FALSE(asked.reader.read({1, " three", 1}, [&](std::string_view) { return ++n_pieces > 1; }));
  generation stopped;
  stopped.text = "One two three";
  stopped.reason = finish_reason::stopped_by_callback;
  CHECK(asked.reader.finish(stopped, [&](std::string_view) { ++n_pieces; }).value().text == "One two three");
  CHECK(n_pieces == 1);   // who wants no more gets no more
}

TEST_CASE("reply_reader: the first bytes of a character that an end cut are no part of the reply") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  conversation talk;
  talk.add("user", "x");
  const std::string whole = "caf\xc3\xa9 \xe2\x82\xac\xf0\x9f\xa6\x99";
  for (std::size_t n = 0; n <= whole.size(); ++n) {
    std::size_t n_kept = n;
    while (n_kept > 0 && n_kept < whole.size() && (static_cast<unsigned char>(whole[n_kept]) & 0xc0) == 0x80) --n_kept;
    for (const bool is_streamed : {false, true}) {
      reply_reader reader(m, talk, {});
      std::string streamed, raw;
      generation done;
      done.text = whole.substr(0, n);
      if (is_streamed) reader.read({1, done.text, 0}, [&](const token_event& e) { raw += e.text; });
      const auto reply = reader.finish(done, [&](std::string_view text) { streamed += text; }).value();
      CHECK(reply.text == whole.substr(0, n_kept));
      CHECK(raw == (is_streamed ? reply.text : ""));
      CHECK(reader.conversation()[1].content() == reply.text);
      CHECK(reply.done.text == whole.substr(0, n));   // as the model said it
    }
  }
}
