// SPDX-License-Identifier: MIT
// The model tells stories and knows no chat; what is tested is the bookkeeping around it, against sessions that are given the whole prompt anew.
#include <cria/chat/chat_session.hpp>

#include <tests/chat/scripted_sampler.hpp>
#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <tests/support/stack_use.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

chat_options greedy_chat(std::size_t max_tokens) {
  chat_options o;
  o.generation = greedy(max_tokens);
  return o;
}

chat_session make_chat(const model& m, std::size_t context = 256, std::string_view name = "zephyr") {
  auto t = chat_template::named(name, special_texts::of(m.tokenizer())).value();
  return chat_session::create(make_session(m, {.context_size = context}), std::move(t)).value();
}

/// What a fresh session says to the same conversation.
std::string reply_of_fresh_session(const model& m, const chat_template& t, const conversation& talk, const generation_options& options) {
  session s = make_session(m, {.context_size = 512});
  std::string text = s.generate(t.encode(talk, m.tokenizer()).value(), options).value().text;
  if (m.tokenizer().adds_space_prefix() && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

/// Writes tools, calls and their answers, each so that it can be found.
constexpr std::string_view with_tools =
    "{% for t in tools or [] %}T:{{ t.function.name }} <tool_call>\n{% endfor %}{% for m in messages %}{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<{{ c.id }} {{ c.function.name }} {{ c.function.arguments.city }}>{% endfor %}"
    "{% if m.tool_call_id %}({{ m.tool_call_id }}){% endif %}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

std::size_t count(const chat_session& c) { return c.usage().value().n_tokens; }

}  // namespace

TEST_CASE("chat_session: a reply is what the model says to the rendered conversation, and becomes part of it") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 512);
  chat.set_system("Be kind.");
  std::string streamed;
  const auto first = chat.say("Once upon a time", greedy_chat(20), [&](std::string_view text) { streamed += text; }).value();
  CHECK(first.text == streamed);
  CHECK(first.done.n_generated() == 20);
  CHECK_FALSE(first.is_whole());
  CHECK(first.dropped.empty());
  const auto asked = conversation().add("system", "Be kind.").add("user", "Once upon a time");
  CHECK(first.text == reply_of_fresh_session(m, chat.used_template(), asked, greedy(20)));
  auto talk = asked;
  CHECK(chat.conversation() == talk.add("assistant", first.text));

  const auto second = chat.say("And then?", greedy_chat(20)).value();
  CHECK(second.text == reply_of_fresh_session(m, chat.used_template(), talk.add("user", "And then?"), greedy(20)));
  CHECK(second.done.n_reused >= first.done.n_prompt);   // the prompt before is not computed again
  CHECK(chat.conversation().size() == 5);
}

TEST_CASE("chat_session: whatever stops a reply, what was said is kept") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m);
  std::size_t n = 0;
  const auto stopped = chat.say("Once upon a time", greedy_chat(30), [&](const token_event&) { return ++n < 5; }).value();
  CHECK(stopped.done.reason == finish_reason::stopped_by_callback);
  CHECK_FALSE(stopped.text.empty());
  CHECK(chat.conversation()[1].content() == stopped.text);
  CHECK(chat.conversation()[1].role() == "assistant");

  std::stop_source source;
  source.request_stop();
  chat_options cancelled = greedy_chat(30);
  cancelled.generation.stop = source.get_token();
  const auto nothing = chat.say("And then?", cancelled).value();
  CHECK(nothing.done.reason == finish_reason::cancelled);
  CHECK(nothing.text.empty());
  CHECK(chat.conversation().size() == 4);
  CHECK(chat.undo().size() == 2);
  CHECK(chat.conversation().size() == 2);
}

#if CRIA_HAS_EXCEPTIONS
TEST_CASE("chat_session: what a callback throws at any call leaves the conversation as it was, and the next reply is the right one") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m);
  REQUIRE(chat.say("Once", greedy_chat(4)));
  const conversation before = chat.conversation();
  const std::string expected = chat.say("And then?", greedy_chat(6)).value().text;
  chat.undo();
  const auto throw_each = [&](auto&& say) {
    int n_thrown = 0;
    for (bool has_thrown = true; has_thrown; n_thrown += has_thrown) {
      int left = n_thrown;
      has_thrown = false;
      try {
        const bool is_said = say(left);
        CHECK(is_said);
        CHECK(chat.undo().size() == 2);
      } catch (int) {
        has_thrown = true;
      }
      CHECK(chat.conversation() == before);
      CHECK(chat.say("And then?", greedy_chat(6)).value().text == expected);
      chat.undo();
    }
    CHECK(n_thrown >= 6);
  };
  const auto burn = [](int& left) {
    if (left-- == 0) throw 5;
  };
  throw_each([&](int& left) { return chat.say("x", greedy_chat(8), [&](const token_event&) { burn(left); }).has_value(); });
  throw_each([&](int& left) { return chat.say("x", greedy_chat(8), [&](std::string_view) { burn(left); }).has_value(); });
  throw_each([&](int& left) { return chat.say("x", greedy_chat(8), [&](const reply_piece&) { burn(left); }).has_value(); });
}
#endif

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("chat_session: a reply takes less than 128 KiB of the caller's stack, a template or JSON that is nested without end less than 256") {
  if (!has_data(stories)) return;
  if constexpr (stack_frames_are_usual) {
    const model m = load_stories();
    const std::size_t to_reply = stack_use_of([&] {
      chat_session chat = make_chat(m);
      static_cast<void>(chat.say("Once", greedy_chat(4)).has_value());
    });
    std::string parentheses, loops, lists;
    for (int i = 0; i < 2000; ++i) parentheses += "{{ (", loops += "{% for x in [1] %}", lists += "[";
    const std::size_t to_fail = stack_use_of([&] {
      for (const std::string& source :
           {parentheses, loops, "{{ " + std::string(2000, '(') + "1" + std::string(2000, ')') + " }}", "{{ " + std::string(2000, '[') + "}}"}) {
        static_cast<void>(chat_template::compile(source).has_value());
      }
      static_cast<void>(json::parse(lists).has_value());
    });
    CHECK(to_reply < 128 << 10);   // 22 KiB with GCC 12
    CHECK(to_fail < 256 << 10);    // 96 KiB
  }
}
#endif

TEST_CASE("chat_session: regenerate answers the same question anew, undo and clear take turns back") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m);
  CHECK(chat.regenerate().error().code == errc::bad_argument);
  CHECK(chat.undo().empty());
  chat.set_system("Be kind.");
  chat_options seeded = greedy_chat(12);
  seeded.generation.sampling = {.temperature = 1.5f, .seed = 1};
  const auto first = chat.say("Once upon a time", seeded).value();
  const auto same = chat.regenerate(seeded).value();
  CHECK(same.text == first.text);
  CHECK(same.done.n_reused + 1 == same.done.n_prompt);
  seeded.generation.sampling.seed = 2;
  const auto other = chat.regenerate(seeded).value();
  CHECK(other.text != first.text);
  REQUIRE(chat.conversation().size() == 3);
  CHECK(chat.conversation()[2].content() == other.text);

  REQUIRE(chat.say("And then?", seeded));
  const auto taken = chat.undo();
  REQUIRE(taken.size() == 2);
  CHECK(taken[0].content() == "And then?");
  chat.set_system("Be brief.");
  chat.clear();
  REQUIRE(chat.conversation().size() == 1);
  CHECK(chat.conversation().system_text() == "Be brief.");
  chat.set_system("");
  CHECK(chat.conversation().empty());
  CHECK(chat.usage().value().n_tokens == 0);
}

TEST_CASE("chat_session: drop_oldest drops whole turns and says which; the reply is that to the rest") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 160);
  chat.set_system("Be kind.");
  chat_options options = greedy_chat(1000);
  options.history = {.reply_room = 24, .slack = 40};
  options.generation.max_tokens = 24;
  conversation all;
  all.set_system("Be kind.");
  std::size_t n_dropped = 0, n_drops = 0, n_cheap = 0;
  for (std::size_t i = 0; i < 12; ++i) {
    const std::string question = "Tell " + std::to_string(i);
    const auto reply = chat.say(question, options).value();
    CHECK(reply.done.reason != finish_reason::context_full);
    CHECK(reply.done.n_prompt + 24 <= 160);
    all.add("user", question);
    CHECK(reply.dropped.size() % 2 == 0);
    for (std::size_t k = 0; k < reply.dropped.size(); ++k) CHECK(reply.dropped[k] == all[1 + n_dropped + k]);   // the oldest ones, in order
    n_dropped += reply.dropped.size();
    conversation rest = all;
    rest.drop_oldest(n_dropped / 2);
    CHECK(reply.text == reply_of_fresh_session(m, chat.used_template(), rest, options.generation));
    CHECK(chat.conversation() == rest.add("assistant", reply.text));
    all.add("assistant", reply.text);
    if (!reply.dropped.empty()) {
      ++n_drops;
      CHECK(reply.done.n_prompt + 24 + 40 <= 160);    // with slack, so that not every turn is computed anew
      CHECK(reply.done.n_reused >= 10);               // the system message stays in the cache
    } else if (i > 0) {
      n_cheap += reply.done.n_reused > reply.done.n_prompt / 2;
    }
  }
  CHECK(n_drops >= 2);
  CHECK(n_cheap >= 2);
  CHECK(chat.conversation().system_text() == "Be kind.");
}

TEST_CASE("chat_session: of a history of thousands of turns the fewest go that have to, found in a few looks, and the stop token ends the search") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 160);
  conversation history;
  history.set_system("Be kind.");
  for (int i = 0; i < 2000; ++i) history.add("user", "Tell " + std::to_string(i)).add("assistant", std::string(static_cast<std::size_t>(1 + i % 7), 'a'));
  const auto tokens_of = [&](const conversation& talk) { return chat.used_template().encode(talk, m.tokenizer()).value().size(); };
  chat_options options = greedy_chat(8);
  for (const std::size_t slack : {0u, 1u, 17u, 60u, 100u}) {
    CAPTURE(slack);
    options.history = {.reply_room = 8, .slack = slack};
    chat.conversation() = history;
    const auto start = std::chrono::steady_clock::now();
    static_cast<void>(tokens_of(history));
    const auto looked = std::chrono::steady_clock::now();
    const auto reply = chat.say("And then?", options).value();
    CHECK(std::chrono::steady_clock::now() - looked < 200 * (looked - start));   // turn by turn: 1,000 times
    REQUIRE(reply.dropped.size() % 2 == 0);
    const std::size_t n = reply.dropped.size() / 2;
    conversation asked = history;
    asked.add("user", "And then?");
    conversation rest = asked, one_more = asked;
    rest.drop_oldest(n);
    one_more.drop_oldest(n - 1);
    CHECK(tokens_of(rest) <= 160 - 8 - slack);
    CHECK(tokens_of(one_more) > 160 - 8 - slack);
    CHECK(reply.done.n_prompt == tokens_of(rest));
  }
  chat.conversation() = history;
  std::stop_source source;
  options.generation.stop = source.get_token();
  source.request_stop();
  const auto stopped = chat.say("And then?", options).value();
  CHECK(stopped.done.reason == finish_reason::cancelled);
  CHECK(stopped.done.n_prompt == 0);
  CHECK(stopped.dropped.empty());
  CHECK(chat.undo().size() == 2);
  CHECK(chat.conversation() == history);
}

TEST_CASE("chat_session: a stop makes a turn whenever it comes, and undo takes that one back") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 160);
  chat.set_system("Be kind.");
  REQUIRE(chat.say("Once", greedy_chat(4)));
  const conversation before = chat.conversation();
  // Before the prompt, then at each of the first tokens.
  for (int n_events = 0; n_events < 4; ++n_events) {
    std::stop_source source;
    chat_options options = greedy_chat(30);
    options.generation.stop = source.get_token();
    if (n_events == 0) source.request_stop();
    int n = 0;
    const auto stopped = chat.say("And then?", options, [&](const token_event&) {
      if (++n == n_events) source.request_stop();
    }).value();
    CHECK(stopped.done.reason == finish_reason::cancelled);
    REQUIRE(chat.conversation().turns().size() == 2);
    CHECK(chat.conversation()[4].content() == stopped.text);
    chat.undo();
    CHECK(chat.conversation() == before);
  }
  std::stop_source source;
  source.request_stop();
  chat_options options = greedy_chat(30);
  options.generation.stop = source.get_token();
  const auto again = chat.regenerate(options).value();   // the turn that is answered anew is the one that was stopped
  CHECK(again.text.empty());
  CHECK(chat.conversation().turns().size() == 1);
  chat.conversation() = before;
  const auto answered = chat.say_all({chat_message("tool", "4"), chat_message("tool", "5")}, options).value();
  CHECK(answered.done.reason == finish_reason::cancelled);
  CHECK(chat.conversation().size() == before.size() + 3);
}

TEST_CASE("chat_session: a text far longer than the context is refused before it is tokenised, or stopped, whatever the policy") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 160);
  chat.set_system("Be kind.");
  REQUIRE(chat.say("Once", greedy_chat(4)));
  const conversation before = chat.conversation();
  const std::string lengthy(4 << 20, 'a');
  std::stop_source source;
  source.request_stop();
  for (const history_policy policy : {history_policy::drop_oldest, history_policy::slide, history_policy::stop}) {
    CAPTURE(name(policy));
    chat_options options = greedy_chat(8);
    options.history.policy = policy;
    const auto refused = chat.say(lengthy, options);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::context_full);
    CHECK(refused.error().message.find("tokens or more and room for 8 of the reply do not fit a context of 160") != std::string::npos);
    CHECK(chat.conversation() == before);
    options.generation.stop = source.get_token();
    CHECK(chat.say(lengthy, options).value().done.reason == finish_reason::cancelled);
    chat.undo();
    CHECK(chat.conversation() == before);
  }
  // Of an old one nothing is left: what is asked fits.
  chat.clear();
  chat.conversation().add("user", lengthy).add("assistant", "Yes.");
  CHECK(chat.say("And then?", greedy_chat(8)).value().dropped.size() == 2);
}

TEST_CASE("chat_session: the host's sampler answers several messages, and anew, as it answers one") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m);
  scripted_sampler first(m.tokenizer(), "One."), second(m.tokenizer(), "Two."), third(m.tokenizer(), "Three.");
  CHECK(chat.say_all({chat_message("user", "x"), chat_message("tool", "y")}, greedy_chat(20), first).value().text == "One.");
  CHECK(chat.regenerate(greedy_chat(20), second).value().text == "Two.");
  std::string streamed;
  CHECK(chat.regenerate(greedy_chat(20), third, [&](std::string_view text) { streamed += text; }).value().text == "Three.");
  CHECK(streamed == "Three.");
  CHECK(chat.conversation().size() == 3);
  CHECK(chat.say_all({}, greedy_chat(20), first).error().code == errc::bad_argument);
  chat.clear();
  CHECK(chat.regenerate(greedy_chat(20), first).error().code == errc::bad_argument);
}

TEST_CASE("chat_session: stop refuses what does not fit, and nothing changes") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 64);
  chat_options options = greedy_chat(16);
  options.history.policy = history_policy::stop;
  conversation before;
  bool is_full = false;
  for (std::size_t i = 0; i < 6 && !is_full; ++i) {
    before = chat.conversation();
    const auto reply = chat.say("Tell me more", options);
    is_full = !reply;
    if (is_full) CHECK(reply.error().code == errc::context_full);
  }
  REQUIRE(is_full);
  CHECK(chat.conversation() == before);
  CHECK(before.size() >= 2);
}

TEST_CASE("chat_session: a message that alone leaves no room is context_full with every policy, and nothing changes") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 96);
  chat.set_system("Be kind.");
  REQUIRE(chat.say("Once upon a time", greedy_chat(8)));
  const conversation before = chat.conversation();
  std::string lengthy;
  for (int i = 0; i < 60; ++i) lengthy += "long ago ";
  for (const history_policy policy : {history_policy::drop_oldest, history_policy::slide, history_policy::stop}) {
    CAPTURE(name(policy));
    chat_options options = greedy_chat(8);
    options.history.policy = policy;
    CHECK(chat.say(lengthy, options).error().code == errc::context_full);
    CHECK(chat.conversation() == before);
    options.history.reply_room = 200;   // more than the context
    options.generation.max_tokens = 500;
    CHECK(chat.say("x", options).error().code == errc::context_full);
    CHECK(chat.conversation() == before);
  }
  CHECK(chat.say("And then?", greedy_chat(8)));
}

TEST_CASE("chat_session: slide keeps the conversation, the sinks and the newest tokens, and moves in steps") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 192);
  chat_options options = greedy_chat(16);
  options.history = {.policy = history_policy::slide, .reply_room = 16, .slack = 64, .n_sinks = 6};
  std::size_t n_slid = 0, n_cheap = 0, last_out = 0;
  for (std::size_t i = 0; i < 12; ++i) {
    conversation talk = chat.conversation();
    const auto reply = chat.say("Tell me more", options).value();
    CHECK(chat.conversation().size() == 2 * i + 2);
    CHECK(reply.dropped.empty());
    const auto whole = chat.used_template().encode(talk.add("user", "Tell me more"), m.tokenizer()).value();
    const auto seen = chat.session().tokens().first(reply.done.n_prompt);
    REQUIRE(whole.size() == seen.size() + reply.n_left_out);
    CHECK(reply.done.n_prompt + 16 <= 192);
    CHECK(std::equal(seen.begin(), seen.begin() + 6, whole.begin()));
    CHECK(std::equal(seen.begin() + 6, seen.end(), whole.begin() + 6 + static_cast<std::ptrdiff_t>(reply.n_left_out)));
    CHECK(reply.n_left_out % 64 == 0);
    n_slid += reply.n_left_out > 0;
    n_cheap += reply.n_left_out > 0 && reply.n_left_out == last_out && reply.done.n_reused > 40;
    last_out = reply.n_left_out;
  }
  CHECK(n_slid >= 3);
  CHECK(n_cheap >= 1);
}

TEST_CASE("chat_session: slide keeps the whole system message, whether the template writes it alone or into the first turn") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const std::string name = "Your name is Zebulon and you are kind.";
  for (const std::string_view form : {"zephyr", "chatml", "llama2"}) {
    CAPTURE(form);
    chat_session chat = make_chat(m, 192, form);
    chat.set_system(name);
    chat_options options = greedy_chat(16);
    options.history = {.policy = history_policy::slide, .reply_room = 16, .slack = 32};
    std::size_t n_slid = 0;
    for (std::size_t i = 0; i < 6; ++i) {
      const auto reply = chat.say("Tell me more", options).value();
      const std::string seen = m.tokenizer().decode(chat.session().tokens().first(reply.done.n_prompt), true);
      CHECK(seen.find(name) < 40);   // and not with the beginning of something else inside
      n_slid += reply.n_left_out > 0;
      if (form != "zephyr") continue;   // the others' marks are text to this vocabulary, and merge with what is beside them
      const auto alone = chat.used_template().encode(conversation().add("system", name), m.tokenizer(), {.add_generation_prompt = false}).value();
      const auto tokens = chat.session().tokens().first(reply.done.n_prompt);
      CHECK(std::equal(alone.begin(), alone.end(), tokens.begin()));
    }
    CHECK(n_slid >= 2);
  }
}

TEST_CASE("chat_session: a second reply while one is made is refused, on another thread or in its callback, and the first goes on") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session quiet = make_chat(m), chat = make_chat(m);
  const std::string expected = quiet.say("Once upon a time", greedy_chat(8)).value().text;
  std::vector<error> refused;
  const auto first = chat.say("Once upon a time", greedy_chat(8), [&](std::string_view) {
    if (!refused.empty()) return;
    std::thread([&] {
      for (const auto& other : {chat.say("Me too"), chat.say_all({chat_message("user", "And me")}), chat.regenerate()}) {
        if (!other) refused.push_back(other.error());
      }
    }).join();
    const auto inner = chat.say("And I");
    if (!inner) refused.push_back(inner.error());
  });
  CHECK(first.value().text == expected);
  REQUIRE(refused.size() == 4);
  for (const error& e : refused) CHECK(e.to_string() == "bad_argument: chat: is asked for two replies at once");
  CHECK(chat.conversation() == quiet.conversation());
  chat_session moved = std::move(chat);
  CHECK(moved.say("And then?", greedy_chat(8)).value().text == quiet.say("And then?", greedy_chat(8)).value().text);
}

TEST_CASE("chat_session: usage counts the tokens of each turn, which add up") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m);
  chat.set_system("Be kind.");
  REQUIRE(chat.say("Once upon a time there was", greedy_chat(10)));
  REQUIRE(chat.say("Hm", greedy_chat(3)));
  const auto use = chat.usage().value();
  CHECK(use.capacity == 256);
  REQUIRE(use.turns.size() == 2);
  CHECK(use.n_before_turns + use.turns[0] + use.turns[1] == use.n_tokens);
  CHECK(use.n_before_turns > 5);
  CHECK(use.turns[0] > use.turns[1]);
  chat.undo();
  CHECK(count(chat) == use.n_tokens - use.turns[1]);
}

TEST_CASE("chat_session: a named template's end of turn ends a reply, as text where the vocabulary has no token for it") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const auto alpaca = chat_template::named("alpaca", special_texts::of(m.tokenizer())).value().ends(m.tokenizer()).value();
  CHECK(alpaca.tokens.empty());
  CHECK(alpaca.strings == std::vector<std::string>{"### Instruction:"});
  const auto vicuna = chat_template::named("vicuna", special_texts::of(m.tokenizer())).value().ends(m.tokenizer()).value();
  CHECK(vicuna.tokens == std::vector<token_id>{m.tokenizer().eos()});
  CHECK(vicuna.strings == std::vector<std::string>{"\nUSER:"});
  const auto zephyr = chat_template::named("zephyr", special_texts::of(m.tokenizer())).value().ends(m.tokenizer()).value();
  CHECK(zephyr.tokens == std::vector<token_id>{m.tokenizer().eos()});
  CHECK(zephyr.strings == std::vector<std::string>{"<|user|>", "\n<|user|>"});   // this vocabulary has no token for it
  // A stop string that the story is sure to reach: it is not in the reply, and the reply is whole.
  chat_session chat = make_chat(m);
  const auto long_one = chat.say("Once upon a time", greedy_chat(30)).value();
  REQUIRE(long_one.text.size() > 20);
  chat_options options = greedy_chat(30);
  options.generation.stop_strings = {long_one.text.substr(10, 5)};
  const auto cut = chat.regenerate(options).value();
  CHECK(cut.is_whole());
  CHECK(cut.text == long_one.text.substr(0, long_one.text.find(long_one.text.substr(10, 5))));
}

TEST_CASE("chat_session: calls of tools are no text, and the next prompt has them and their answers") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto t = chat_template::compile(with_tools, special_texts::of(m.tokenizer())).value();
  auto chat = chat_session::create(make_session(m, {.context_size = 512}), t).value();
  chat_options options = greedy_chat(200);
  options.rendering.tools = describe_tools({{"get_weather", "Weather of a city", json::parse(R"({"type": "object"})").value()}});
  scripted_sampler asks(m.tokenizer(),
                        "<think>Hm.</think>\nOne moment.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Lima\"}}\n</tool_call>\n"
                        "<tool_call>{\"name\": \"f\"}</tool_call>");
  std::string text, thinking;
  std::vector<std::string> names;
  const auto reply = chat.say(chat_message("user", "Rain?"), options, asks, [&](const reply_piece& p) {
    if (p.part == reply_part::text) text += p.text;
    if (p.part == reply_part::thinking) thinking += p.text;
    if (p.call != nullptr) names.push_back(p.call->name);
  }).value();
  CHECK(reply.text == "One moment.");
  CHECK(reply.thinking == "Hm.");
  CHECK(text == reply.text);
  CHECK(thinking == reply.thinking);
  CHECK(names == std::vector<std::string>{"get_weather", "f"});
  REQUIRE(reply.calls.size() == 2);
  CHECK(reply.calls[0].arguments.dump() == R"({"city": "Lima"})");
  CHECK(reply.calls[0].id == "call00001");
  CHECK(reply.calls[1].id == "call00002");
  CHECK(reply.done.text.find("</tool_call>\n<tool_call>") != std::string::npos);   // as the model said it
  REQUIRE(chat.conversation().size() == 2);
  CHECK(chat.conversation()[1].content() == "One moment.");
  CHECK(chat.conversation()[1].find("reasoning_content")->dump() == "\"Hm.\"");

  scripted_sampler answers(m.tokenizer(), "It rains. <tool_call>{\"name\": \"g\"}");
  const conversation before = chat.conversation();
  chat.conversation().add(tool_answer(reply.calls[0], "rain"));
  const auto second = chat.say(tool_answer(reply.calls[1], "nothing"), options, answers).value();
  CHECK(second.text == "It rains.");
  REQUIRE(second.calls.size() == 1);
  CHECK(second.calls[0].id == "call00003");
  // A model may copy ids that it has seen: those without one get others.
  scripted_sampler copies(m.tokenizer(), "<tool_call>{\"name\": \"g\", \"id\": \"call00004\"}</tool_call><tool_call>{\"name\": \"g\"}</tool_call>");
  const auto third = chat.say(chat_message("user", "Again?"), options, copies).value();
  REQUIRE(third.calls.size() == 2);
  CHECK(third.calls[0].id == "call00004");
  CHECK(third.calls[1].id == "call00005");
  chat.undo();
  const std::string rendered = chat.used_template().render(chat.conversation(), options.rendering).value().text;
  CHECK(rendered.find("T:get_weather") == 0);
  CHECK(rendered.find("assistant:One moment.<call00001 get_weather Lima><call00002 f >") != std::string::npos);
  CHECK(rendered.find("tool:rain(call00001)") < rendered.find("tool:nothing(call00002)"));
  CHECK(chat.conversation().turns().size() == 1);   // all of it is the answer to one message

  // The model's own sampler: what is answered, and what a bad request leaves alone.
  chat.conversation() = before;
  CHECK(chat.say_all({}, options).error().code == errc::bad_argument);
  CHECK(chat.conversation() == before);
  const auto both = chat.say_all({tool_answer(reply.calls[0], "rain"), tool_answer(reply.calls[1], "nothing")}, greedy_chat(5)).value();
  CHECK(both.done.n_generated() == 5);
  CHECK(chat.conversation().size() == 5);
  CHECK(chat.regenerate(greedy_chat(5)).value().text == both.text);
  CHECK(chat.conversation().size() == 5);
  REQUIRE(chat.set_template(chat_template::named("chatml").value()));
  const auto refused = chat.say("x", options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().where == "tools");
  CHECK(chat.conversation().size() == 5);
}

TEST_CASE("chat_session: without tools calls are text; thinking that the prompt begins is thinking; raw tokens go to who asks for them") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 512);
  const std::string call = "<tool_call>{\"name\": \"f\"}</tool_call>";
  scripted_sampler says(m.tokenizer(), call);
  const auto plain = chat.say(chat_message("user", "x"), greedy_chat(100), says).value();
  CHECK(plain.text == call);
  CHECK(plain.calls.empty());
  CHECK(chat.conversation()[1].find("tool_calls") == nullptr);
  chat.clear();
  chat_options forced = greedy_chat(100);
  forced.syntax = reply_syntax{.has_call_tags = true};
  scripted_sampler again(m.tokenizer(), call);
  CHECK(chat.say(chat_message("user", "x"), forced, again).value().calls.size() == 1);

  constexpr std::string_view opened = "{% for m in messages %}{{ m.role }}:{{ m.content + eos_token }}\n{% endfor %}assistant:<think>\n";
  auto t = chat_template::compile(opened, special_texts::of(m.tokenizer())).value();
  auto thinker = chat_session::create(make_session(m, {.context_size = 512}), t).value();
  scripted_sampler thinks(m.tokenizer(), "Let me see.\n</think>\n\nFour.");
  std::string raw, shown;
  const auto reply = thinker.say(chat_message("user", "2 + 2?"), greedy_chat(100), thinks, [&](const token_event& e) { raw += e.text; }).value();
  CHECK(reply.thinking == "Let me see.");
  CHECK(reply.text == "Four.");
  CHECK(raw == reply.done.text.substr(reply.done.text.starts_with(' ') ? 1 : 0));
  chat_options with_grammar = greedy_chat(100);
  with_grammar.generation.grammar = grammar::parse("root ::= [ ]? (\"yes\" | \"no\")").value();
  scripted_sampler obeys(m.tokenizer(), "yes");
  const auto answer = thinker.say(chat_message("user", "Four?"), with_grammar, obeys).value();   // what the grammar describes is the reply
  CHECK(answer.text == "yes");
  CHECK(answer.thinking.empty());
  scripted_sampler cut(m.tokenizer(), "Let me see.\n</think>\n\nFour and more");
  std::size_t n_pieces = 0;
  const auto stopped =
      thinker.say(chat_message("user", "2 + 2?"), greedy_chat(100), cut, [&](std::string_view text) { return shown += text, ++n_pieces < 3; }).value();
  CHECK(stopped.text == shown);
  CHECK(stopped.done.reason == finish_reason::stopped_by_callback);
}

TEST_CASE("chat_session: control tokens are no text, but for those that are asked for") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  generation_options options = greedy(30);
  scripted_sampler hidden(m.tokenizer(), "A <s> b");   // <s> is a control token
  CHECK(s.generate("x", options, hidden).value().text.find("<s>") == std::string::npos);
  options.shown_tokens = {m.tokenizer().bos()};
  scripted_sampler shown(m.tokenizer(), "A <s> b");
  std::string streamed;
  const auto done = s.generate("x", options, shown, [&](std::string_view text) { streamed += text; }).value();
  CHECK(done.text.find("A <s>") != std::string::npos);
  CHECK(done.text.ends_with("b"));
  CHECK(streamed == done.text);
  options.stop_strings = {" <s"};
  scripted_sampler stopped(m.tokenizer(), "A <s> b");
  const auto cut = s.generate("x", options, stopped).value();
  CHECK(cut.reason == finish_reason::stop_string);
  CHECK(cut.text.ends_with("A"));
  options.shown_tokens = {512};
  CHECK(s.generate("x", options).error().where == "shown_tokens");
}

TEST_CASE("chat_session: a reply ends where it goes on with the user's turn, as models that write marks as text do") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  chat_session chat = make_chat(m, 512);   // zephyr
  scripted_sampler goes_on(m.tokenizer(), "Hello.\n<|user|>\nAnd you?");
  const auto reply = chat.say(chat_message("user", "Hi"), greedy_chat(100), goes_on).value();
  CHECK(reply.text == "Hello.");
  CHECK(reply.done.reason == finish_reason::stop_string);
  CHECK(reply.is_whole());
  scripted_sampler similar(m.tokenizer(), "A <|use and\n<|users");
  CHECK(chat.say(chat_message("user", "Hi"), greedy_chat(100), similar).value().text == "A <|use and\n<|users");
  // A word with a colon is one in any program: only at the beginning of a line is it the user's turn.
  REQUIRE(chat.set_template(
      chat_template::compile("{% for m in messages %}{{ 'User: ' if m.role == 'user' else 'Assistant: ' }}{{ m.content }}\n\n{% endfor %}").value()));
  scripted_sampler program(m.tokenizer(), "So:\nclass User:\n  pass\n\nUser: And you?");
  const auto code = chat.say(chat_message("user", "Write a class"), greedy_chat(100), program).value();
  CHECK(code.text == "So:\nclass User:\n  pass\n");
  CHECK(code.done.reason == finish_reason::stop_string);
}

TEST_CASE("chat_session: a template that refuses a conversation is its error, and nothing changes") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto strict = chat_template::compile("{% if messages | length > 1 %}{{ raise_exception('one at a time') }}{% endif %}{{ messages[0].content }}").value();
  auto chat = chat_session::create(make_session(m), std::move(strict)).value();
  REQUIRE(chat.say("Once", greedy_chat(3)));
  const auto refused = chat.say("Twice", greedy_chat(3));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::bad_value);
  CHECK(refused.error().message.find("one at a time") != std::string::npos);
  CHECK(chat.conversation().size() == 2);
  CHECK(chat.set_template(chat_template::named("chatml").value()));
  CHECK(chat.say("Twice", greedy_chat(3)));
  CHECK(chat_session::create(m).error().code == errc::missing_key);   // the model has no template of its own
}
