// SPDX-License-Identifier: MIT
#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <iterator>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

using namespace cria;
using namespace cria_test;

using stream_type = token_stream<contiguous_kv_cache<kv_type::f16>, runtime_sampler>;
static_assert(std::ranges::input_range<stream_type>);
static_assert(std::movable<stream_type> && !std::copyable<stream_type>);
static_assert(std::convertible_to<std::ranges::range_reference_t<stream_type>, std::string_view>);

TEST_CASE("token_stream: a loop over it gives the text that generate gives, and its result tells the rest") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const auto expected = s.generate("Tom had a dog", greedy(30)).value();
  std::string text;
  std::vector<token_id> tokens;
  auto stream = s.stream("Tom had a dog", greedy(30));
  for (const token_event& event : stream) {
    text += event.text;
    tokens.push_back(event.token);
  }
  CHECK_FALSE(stream.has_error());
  CHECK(text == expected.text);
  CHECK(tokens == expected.tokens);
  const auto done = stream.result().value();
  CHECK(done.text == expected.text);
  CHECK(done.tokens == expected.tokens);
  CHECK(done.reason == finish_reason::max_tokens);
  CHECK(done.n_reused == done.n_prompt - 1);
  CHECK(stream.result().error().code == errc::bad_argument);   // taken already
}

TEST_CASE("token_stream: it computes one token per increment and nothing before it is asked") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  auto stream = s.stream("Once upon a time", greedy(30));
  CHECK(s.length() == 0);
  auto i = stream.begin();
  CHECK(s.length() == 5);
  CHECK(stream.begin()->index == i->index);   // beginning again computes nothing
  CHECK(s.length() == 5);
  ++i;
  CHECK(s.length() == 6);
  i++;
  CHECK(s.length() == 7);
  auto moved = std::move(stream);
  CHECK(moved.begin()->index == 2);
  const auto done = moved.result().value();   // given up in the middle
  CHECK(done.reason == finish_reason::stopped_by_callback);
  CHECK(done.n_generated() == 3);
  CHECK(s.length() == 7);
}

TEST_CASE("token_stream: text held back for a stop string that never comes follows at the end") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories(), {.context_size = 16});
  auto options = greedy(generation_options::no_limit);
  const std::string whole = s.generate("Once upon a time", options).value().text;
  options.stop_strings = {whole.substr(2) + "#"};
  auto stream = s.stream("Once upon a time", options);
  std::string text;
  token_id last = 0;
  for (const token_event& event : stream) {
    text += event.text;
    last = event.token;
  }
  CHECK(text == whole);
  CHECK(last == no_token);   // the context was full: no token to carry it
  CHECK(stream.result().value().reason == finish_reason::context_full);
}

TEST_CASE("token_stream: other use of the session ends it with an error, and its session may move") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  auto stream = s.stream("Once upon a time", greedy(30));
  auto i = stream.begin();
  session moved = std::move(s);
  ++i;
  CHECK(i->index == 1);
  REQUIRE(moved.truncate(3));
  ++i;
  CHECK(i == stream.end());
  REQUIRE(stream.has_error());
  CHECK(stream.error().code == errc::bad_argument);
  CHECK_FALSE(stream.result());
  CHECK(moved.length() == 3);
}

TEST_CASE("token_stream: a sampler of the host is used where it is") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  sampler_chain chain(s.model().vocab_size(), argmax{});
  auto stream = s.stream("Once upon a time", {.max_tokens = 5}, chain);
  std::string text;
  for (const std::string_view piece : stream) text += piece;
  CHECK(text == s.generate("Once upon a time", greedy(5)).value().text);
}
