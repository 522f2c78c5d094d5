// SPDX-License-Identifier: MIT
// Every allocation of templates, conversations, replies, JSON, schemas and grammars fails once, and from each one on: errc::out_of_memory or success, no leak,
// no other end; and a chat whose reply had no memory is the conversation that it was.
#include <tests/support/failing_allocations.hpp>

#include <cria/chat/chat_format.hpp>
#include <cria/chat/chat_session.hpp>
#include <cria/chat/json_schema.hpp>
#include <cria/chat/reply_parser.hpp>
#include <cria/sampling/sampler_fields.hpp>

#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#if CRIA_HAS_EXCEPTIONS

using namespace cria;
using namespace cria_test;

namespace {

constexpr std::string_view source =
    "{% for m in messages %}{{ '<' ~ m['role']|upper ~ '> ' ~ m.content|trim }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 't4' * 2 }}{% endif %}";
constexpr std::string_view talk = R"([{"role": "system", "content": "Be kind to whoever it is that asks."}, {"role": "user", "content": " t4 t5 \u00e9 "}])";
constexpr std::string_view schema =
    R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 4}, "n": {"type": "integer", "minimum": -3, "maximum": 70},
                                        "list": {"type": "array", "items": {"enum": ["a", 1, null]}, "maxItems": 2}}, "required": ["name"]})";
constexpr std::string_view gbnf = "root ::= item+ (\",\" [^a-c]{2,3})?\nitem ::= \"t\" digit | \"(\" item \")\"\ndigit ::= [0-9]";

const model& small_model() {
  static const std::string bytes = [] {
    auto parts = tiny_model({.n_layers = 1});
    parts.set("tokenizer.chat_template", std::string(source));
    return parts.build();
  }();
  static const model m = load_bytes(bytes).value();
  return m;
}

template <class T>
int code_unless(const result<T>& r, errc expected) {
  return r ? -2 : r.error().code == expected ? no_error : code_of(r);
}

chat_options short_reply() {
  chat_options o;
  o.generation = {.max_tokens = 3, .sampling = sampler_config::greedy(), .ignore_eos = true};
  return o;
}

}  // namespace

TEST_CASE("out_of_memory: compiling and rendering a template with any allocation failing is a typed error and leaks nothing") {
  const conversation said = conversation::parse(talk).value();
  const tokenizer& t = small_model().tokenizer();
  fail_each([&] { return code_of(conversation::parse(talk)); });
  fail_each([&] { return code_of(chat_template::compile(source)); });
  fail_each([&] { return code_of(chat_template::named("chatml")); });
  fail_each([&] { return code_unless(chat_template::named("no such template"), errc::bad_argument); });
  fail_each([&] { return code_of(chat_template::from_model(small_model())); });
  fail_each([&] { return code_unless(chat_template::compile("{% for x in y %}{{ a very long line that ends in nothing"), errc::syntax); });
  for (const std::string_view each :
       {source, std::string_view("{% set ns = namespace(x=1) %}{% macro m(a, b=2) %}{{ [a, b]|join(', ') }}{% endmacro %}"
                                 "{{ m(messages|length) }}{{ messages|tojson }}{{ {'a': 1}.items()|list }}{{ 'x'|replace('x', 'yy') }}")}) {
    const auto made = chat_template::compile(each).value();
    fail_each([&] { return code_of(made.encode(said, t, {.now = jinja::civil_time{}})); });
  }
  const auto loud = chat_template::compile("{{ raise_exception('a conversation of a kind that is not for this model') }}").value();
  fail_each([&] { return code_unless(loud.render(said), errc::bad_value); });
}

TEST_CASE("out_of_memory: JSON, schemas, grammars and settings with any allocation failing are typed errors and leak nothing") {
  fail_each([&] { return code_of(json_schema_grammar(schema)); });
  fail_each([&] { return code_unless(json_schema_grammar(R"({"type": "object", "properties": {"a name of some length": {"not": {}}}})"), errc::syntax); });
  fail_each([&] { return code_of(grammar::parse(gbnf)); });
  fail_each([&] { return code_unless(grammar::parse("root ::= \"a\" a_rule_that_is_not_there"), errc::syntax); });
  sampler_config config;
  fail_each([&] { return code_of(set_sampler_field(config, "order", "top_k;temperature;penalties;min_p")); });
  fail_each([&] { return code_unless(set_sampler_field(config, "temperature", "as warm as it gets in here"), errc::bad_argument); });
}

TEST_CASE("out_of_memory: parting a reply with any allocation failing is std::bad_alloc and nothing lost, and the parser can be let go of") {
  constexpr std::string_view replies[] = {
      "<think>which of the tools is it that knows</think>  text before <tool_call>{\"name\": \"weather_of_a_city\", \"arguments\": {\"city\": "
      "\"Lima\", \"days\": [1, 2.5, null]}}</tool_call><tool_call>{no JSON}</tool_call> text behind",
      "[TOOL_CALLS]weather_of_a_city[ARGS]{\"city\": \"Lima\"}",
      "{\"name\": \"weather_of_a_city\", \"parameters\": {\"city\": \"Lima\"}}; {\"name\": \"b\", \"parameters\": {}}"};
  for (const std::string_view reply : replies) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{7}, reply.size()}) {
      const reply_syntax syntax{.has_thinking = true, .has_call_tags = true, .has_call_list = true, .has_bare_calls = true};
      fail_each([&]() -> int {
        return code_of(catch_bad_alloc([&]() -> result<void> {
          reply_parser parser(syntax);
          for (std::size_t at = 0; at < reply.size(); at += n) parser.push(reply.substr(at, n));
          parser.finish();
          return {};
        }, "reply"));
      });
    }
  }
}

TEST_CASE("out_of_memory: a generation that keeps to a grammar with any allocation failing is a typed error, and the session goes on") {
  session s = session::create(small_model(), {.context_size = 32, .n_threads = 1}).value();
  generation_options options{.max_tokens = 6, .sampling = sampler_config::greedy(), .grammar = grammar::parse(gbnf).value()};
  const std::vector<token_id> prompt = {1, 4};
  const std::string expected = s.generate(prompt, options).value().text;
  fail_each([&]() -> int {
    auto fresh = session::create(small_model(), {.context_size = 32, .n_threads = 1});
    return fresh ? code_of(fresh->generate(prompt, options)) : code_of(fresh);
  });
  fail_each([&] { return code_of(s.generate(prompt, options)); }, [&] {
    const auto next = s.generate(prompt, options);
    REQUIRE(next);
    CHECK(next->text == expected);
  });
}

TEST_CASE("out_of_memory: a chat whose reply had no memory is the conversation that it was, and the next reply is the right one") {
  chat_session chat = chat_session::create(small_model(), {.context_size = 128, .n_threads = 1}).value();
  const chat_options options = short_reply();
  chat.set_system("t7");
  const std::string expected = chat.say("t4 t5", options).value().text;
  chat.clear();
  const conversation before = chat.conversation();
  fail_each([&]() -> int {
    const auto reply = chat.say("t4 t5", options);
    if (!reply && !(chat.conversation() == before)) return -2;
    if (!reply) return code_of(reply);
    const int code = code_of(chat.usage());
    chat.clear();
    return code;
  }, [&] {
    chat.clear();
    const auto next = chat.say("t4 t5", options);
    REQUIRE(next);
    CHECK(next->text == expected);
    chat.clear();
  }, 3 * step);
  fail_each([&] { return code_of(chat_session::create(small_model(), {.context_size = 64, .n_threads = 1})); });
}

TEST_CASE("out_of_memory: a conversation made ready for an engine, and its reply, with any allocation failing are typed errors and leak nothing") {
  const chat_format format = chat_format::create(small_model()).value();
  const conversation said = conversation::parse(talk).value();
  chat_options options = short_reply();
  options.syntax = reply_syntax{.has_call_tags = true};
  generation done;
  done.text = "text that is longer than short ones are <tool_call>{\"name\": \"weather_of_a_city\"}</tool_call>";
  fail_each([&] { return code_of(chat_format::create(small_model())); });
  for (const std::size_t n_streamed : {std::size_t{0}, std::size_t{10}}) {
    fail_each([&]() -> int {
      auto asked = format.prepare(said, options, 128);
      if (!asked) return code_of(asked);
      if (n_streamed != 0) asked->reader.read({4, std::string_view(done.text).substr(0, n_streamed), 0});
      auto outcome = catch_bad_alloc([&]() -> result<generation> { return done; }, "outcome");
      return code_of(asked->reader.finish(std::move(outcome)));
    });
  }
  conversation longer = said;
  for (int i = 0; i < 6; ++i) longer.add("assistant", "t6 t7 t8").add("user", "t9 t10");
  options.history = {.reply_room = 3, .slack = 8};
  const std::size_t too_few = format.prepare(longer, options, 4096).value().prompt.size();
  for (const history_policy policy : {history_policy::drop_oldest, history_policy::slide}) {
    CAPTURE(name(policy));
    options.history.policy = policy;
    auto asked = format.prepare(longer, options, too_few).value();
    CHECK(asked.prompt.size() + 3 <= too_few);
    fail_each([&]() -> int {
      const auto again = format.prepare(longer, options, too_few);
      if (again && again->prompt != asked.prompt) return -2;
      return code_of(again);
    });
  }
}

#endif
