// SPDX-License-Identifier: MIT
// The reference text is that of golden/stories260K.json (llama.cpp d32676d, float32 cache).
#include <cria/sampling/temperature.hpp>
#include <cria/sampling/truncation.hpp>

#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

constexpr const char* once = "Once upon a time";

/// Chooses the tokens of a list, then the first one's successor for ever.
struct scripted {
  std::vector<token_id> script;
  std::size_t next = 0;
  std::vector<token_id> accepted = {};

  token_id sample(std::span<const float>) { return next < script.size() ? script[next++] : token_id{300}; }
  void accept(token_id token) { accepted.push_back(token); }
};

template <class Session>
std::vector<float> logits_of(const Session& s) {
  return {s.logits().begin(), s.logits().end()};
}

}  // namespace

TEST_CASE("session: greedy text of every golden prompt equals the golden bytes, and the callback gets each once") {
  if (!has_data(stories)) return;
  const golden reference = read_golden("stories260K");
  session s = make_session(load_stories(), {.context_size = 256});   // more than the model was trained for, as the reference was made
  for (const golden_case& c : reference.cases) {
    CAPTURE(c.prompt);
    std::string streamed;
    const auto done = s.generate(c.prompt, greedy(c.greedy.size()), [&](std::string_view text) { streamed += text; });
    REQUIRE(done);
    CHECK(done->tokens == c.greedy);
    CHECK(done->text == c.greedy_bytes);
    CHECK(streamed == c.greedy_bytes);
    CHECK(done->reason == finish_reason::max_tokens);
    CHECK(done->n_prompt == c.tokens.size());
    CHECK(done->n_generated() == c.greedy.size());
    CHECK(done->timings.prompt_seconds > 0);
    CHECK(done->timings.first_token_seconds >= done->timings.prompt_seconds);
    CHECK(done->tokens_per_second() > 0);
    // The last token was chosen but not evaluated.
    CHECK(s.length() == c.tokens.size() + c.greedy.size() - 1);
    CHECK(s.statistics().length == s.length());
    CHECK(s.statistics().cache_bytes == s.cache().bytes());
  }
}

TEST_CASE("session: same tokens and logits for 1, 2, 3, 8 threads and passes of 1, 7, 64 and all tokens, at each precision and cache") {
  if (!has_data("models/fixture-256.Q4_0.gguf")) return;
  std::string prompt;
  for (int i = 0; i < 30; ++i) prompt += "the old house by the sea ";
  const auto run = [&]<class Cache>(const model& m, std::size_t threads, std::size_t batch, std::type_identity<Cache>) {
    auto s = basic_session<Cache>::create(m, {.n_threads = threads, .max_batch = batch}).value();
    auto done = s.generate(prompt, greedy(6)).value();
    CHECK(done.n_prompt > 64);
    return std::pair(done.tokens, logits_of(s));
  };
  for (const precision p : {precision::exact, precision::fast}) {
    load_options options;
    options.precision = p;
    const model m = load_model(data_root() / "models/fixture-256.Q4_0.gguf", options).value();
    const auto check_all = [&](auto cache) {
      const auto expected = run(m, 1, 512, cache);
      for (const std::size_t threads : {1u, 2u, 3u, 8u}) {
        for (const std::size_t batch : {1u, 7u, 64u, 512u}) {
          if (threads == 8 && batch != 7 && batch != 512) continue;
          CAPTURE(threads);
          CAPTURE(batch);
          const auto got = run(m, threads, batch, cache);
          CHECK(got.first == expected.first);
          CHECK(same_bits(got.second, expected.second));
        }
      }
    };
    check_all(std::type_identity<contiguous_kv_cache<kv_type::f16>>{});
    check_all(std::type_identity<contiguous_kv_cache<kv_type::f32>>{});
  }
}

TEST_CASE("session: a prompt that begins as the last one goes on with the same bits as a fresh session") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  const std::string text = s.generate(once, greedy(30)).value().text;
  const auto n_held = s.length();
  for (const std::string& next : {once + text + " and", once + text.substr(0, 20), std::string(once), std::string("Once upon a mat"), std::string("Tom")}) {
    CAPTURE(next);
    session fresh = make_session(m);
    const std::size_t n_before = s.statistics().n_evaluated;
    const auto reused = s.generate(next, greedy(8)).value();
    const auto expected = fresh.generate(next, greedy(8)).value();
    CHECK(reused.tokens == expected.tokens);
    CHECK(same_bits(s.logits(), fresh.logits()));
    CHECK(expected.n_reused == 0);
    // Byte-fallback and merges may cut tokens otherwise at the seam, but the beginning is common.
    CHECK(reused.n_reused >= 1);
    CHECK(reused.n_reused < reused.n_prompt);
    CHECK(s.statistics().n_evaluated - n_before == reused.n_prompt - reused.n_reused + 7);
  }
  CHECK(n_held == 34);
  CHECK(s.statistics().n_reused > 40);
  // The same prompt again: all but its last token.
  const auto first = s.generate(once, greedy(4)).value();
  const auto again = s.generate(once, greedy(4)).value();
  CHECK(again.n_reused == again.n_prompt - 1);
  CHECK(again.tokens == first.tokens);
}

TEST_CASE("session: end tokens end the text, unless they are ignored") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const token_id eos = s.model().tokenizer().eos();
  const auto ended = s.generate(once, {.max_tokens = 20}, scripted{{403, eos, 407}}).value();
  CHECK(ended.reason == finish_reason::end_of_text);
  CHECK(ended.tokens == std::vector<token_id>{403, eos});
  CHECK(ended.text == s.model().tokenizer().piece(403));
  const auto ignored = s.generate(once, {.max_tokens = 3, .ignore_eos = true}, scripted{{403, eos, 407}}).value();
  CHECK(ignored.reason == finish_reason::max_tokens);
  CHECK(ignored.tokens == std::vector<token_id>{403, eos, 407});
  CHECK(ignored.text == std::string(s.model().tokenizer().piece(403)) + std::string(s.model().tokenizer().piece(407)));
  const auto own = s.generate(once, {.max_tokens = 20, .stop_tokens = {407}}, scripted{{403, 407, 261}}).value();
  CHECK(own.reason == finish_reason::end_of_text);
  CHECK(own.text == s.model().tokenizer().piece(403));
}

TEST_CASE("session: a stop string is cut off wherever token borders are, and nothing of it reaches the callback") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const std::string whole = s.generate(once, greedy(40)).value().text;
  for (std::size_t begin = 1; begin + 7 < whole.size(); begin += 3) {
    const std::string stop = whole.substr(begin, 7);
    CAPTURE(stop);
    std::string streamed;
    const auto done = s.generate(once, {.max_tokens = 40, .sampling = sampler_config::greedy(), .stop_strings = {"zzz", stop}},
                                 [&](std::string_view text) { streamed += text; }).value();
    CHECK(done.reason == finish_reason::stop_string);
    CHECK(done.text == whole.substr(0, whole.find(stop)));
    CHECK(streamed == done.text);
  }
  // Held back for a stop string that does not come: nothing is lost.
  const auto kept = s.generate(once, {.max_tokens = 40, .sampling = sampler_config::greedy(), .stop_strings = {whole + "!"}}).value();
  CHECK(kept.text == whole);
}

TEST_CASE("session: callbacks may stop, return nothing, or take events") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const auto whole = s.generate(once, greedy(10)).value();
  std::string streamed;
  const auto stopped = s.generate(once, greedy(10), [&](std::string_view text) {
    streamed += text;
    return streamed.size() < 8;
  }).value();
  CHECK(stopped.reason == finish_reason::stopped_by_callback);
  CHECK(stopped.text == streamed);
  CHECK(whole.text.starts_with(streamed));
  CHECK(streamed.size() >= 8);
  std::vector<token_id> tokens;
  std::string text;
  const auto by_event = s.generate(once, greedy(10), [&](const token_event& event) {
    CHECK(event.index == tokens.size());
    tokens.push_back(event.token);
    text += event.text;
    // The next token's candidates are visible from here; the first is the one just chosen.
    CHECK(s.top_logits(1).value().front().token == event.token);
  }).value();
  CHECK(tokens == whole.tokens);
  CHECK(text == whole.text);
  CHECK(by_event.tokens == whole.tokens);
}

#if CRIA_HAS_EXCEPTIONS
TEST_CASE("session: what a callback, a sampler or an executor throws passes through, and the session goes on") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  const auto expected = s.generate(once, greedy(12)).value();
  struct oops {};
  int left = 3;
  CHECK_THROWS_AS(static_cast<void>(s.generate(once, greedy(12), [&](std::string_view) { if (--left == 0) throw oops{}; })), oops);
  CHECK(s.tokens().size() == s.cache().length());
  CHECK(s.generate(once, greedy(12)).value().tokens == expected.tokens);

  struct throwing_sampler {
    token_id sample(std::span<const float>) { throw oops{}; }
    void accept(token_id) {}
  };
  CHECK_THROWS_AS(static_cast<void>(s.generate(once, greedy(12), throwing_sampler{})), oops);
  // A stream whose sampler has thrown is over: nothing is put into the cache twice.
  struct once_throwing_sampler {
    int left = 3;
    token_id sample(std::span<const float> logits) {
      if (left-- == 0) throw oops{};
      return static_cast<token_id>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
    void accept(token_id) {}
  };
  auto stream = s.stream(once, greedy(12), once_throwing_sampler{});
  auto at = stream.begin();
  ++at, ++at;
  CHECK_THROWS_AS(static_cast<void>(++at), oops);
  const std::size_t length = s.length();
  ++at;
  CHECK(at == stream.end());
  CHECK(s.length() == length);
  CHECK(s.generate(once, greedy(12)).value().tokens == expected.tokens);

  struct throwing_executor {
    int runs_left;
    std::size_t concurrency() const noexcept { return 2; }
    void run(std::size_t n, task_ref task) {
      if (runs_left-- == 0) throw oops{};
      for (std::size_t i = 0; i < n; ++i) task(i);
    }
  };
  for (const int runs : {0, 1, 7, 33}) {
    throwing_executor threads{runs};
    auto t = session::create(m, {.executor = executor_ref(threads)}).value();
    CHECK_THROWS_AS(static_cast<void>(t.generate(once, greedy(12))), oops);
    CHECK(t.tokens().size() == t.cache().length());
    threads.runs_left = 1 << 30;
    CHECK(t.generate(once, greedy(12)).value().tokens == expected.tokens);
  }
}
#endif

TEST_CASE("session: cancellation at every layer boundary leaves whole tokens, and what follows is as in a fresh session") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const auto expected = make_session(m).generate(once, greedy(6)).value();
  const std::size_t n_writes = m.config().n_layers * (5 + 5);   // prompt and five evaluated tokens, head 0
  std::size_t n_cancelled = 0;
  for (const std::size_t batch : {2u, 256u}) {
    for (std::size_t stop_at = 0; stop_at <= n_writes; ++stop_at) {
      CAPTURE(stop_at);
      const auto hook = std::make_shared<hooked_cache::hook_state>();
      auto s = hooked_session::create(m, hooked_cache(m.cache_shape(), 64, hook), {.n_threads = 1, .max_batch = batch}).value();
      std::stop_source source;
      std::size_t n = 0;
      hook->on_write = [&](kv_slot) { return n++ == stop_at ? !source.request_stop() : false; };
      auto options = greedy(6);
      options.stop = source.get_token();
      const auto done = s.generate(once, options);
      REQUIRE(done);
      if (done->reason == finish_reason::cancelled) ++n_cancelled;
      CHECK((done->reason == finish_reason::cancelled) == (stop_at < n_writes));
      CHECK(std::equal(done->tokens.begin(), done->tokens.end(), expected.tokens.begin()));
      CHECK(expected.text.starts_with(done->text));
      CHECK(s.tokens().size() == s.cache().length());
      if (s.length() < 5) CHECK(s.length() % batch == 0);
      hook->on_write = nullptr;
      CHECK(s.generate(once, greedy(6)).value().tokens == expected.tokens);
    }
  }
  CHECK(n_cancelled == 2 * n_writes);
  // Before anything: nothing is computed.
  std::stop_source source;
  source.request_stop();
  auto options = greedy(6);
  options.stop = source.get_token();
  session s = make_session(m);
  const auto done = s.generate(once, options).value();
  CHECK(done.reason == finish_reason::cancelled);
  CHECK(done.tokens.empty());
  CHECK(s.length() == 0);
}

TEST_CASE("session: the context ends a text, and refuses a prompt that it cannot hold before anything changes") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories(), {.context_size = 16});
  CHECK(s.capacity() == 16);
  const auto full = s.generate(once, greedy(generation_options::no_limit)).value();
  CHECK(full.reason == finish_reason::context_full);
  CHECK(full.n_prompt + full.n_generated() == 17);   // the last one was chosen, but has no place
  CHECK(s.length() == 16);
  const auto held = std::vector<token_id>(s.tokens().begin(), s.tokens().end());
  const auto refused = s.generate("Once upon a time, there was a little girl who liked to play with her toys and her dog", greedy(4));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::context_full);
  CHECK(std::equal(held.begin(), held.end(), s.tokens().begin(), s.tokens().end()));
  // A text that cannot fit is not even tokenised, which would take seconds.
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) CHECK(s.generate(std::string(std::size_t{8} << 20, 'a'), greedy(4)).error().code == errc::context_full);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(4));
  CHECK(s.generate(std::string(100'000, ' '), greedy(4)).error().code == errc::context_full);   // could be white space that vanishes: tokenised
  CHECK(std::equal(held.begin(), held.end(), s.tokens().begin(), s.tokens().end()));
  // As long as the context: one token can be chosen.
  const std::vector<token_id> exact(held.begin(), held.end());
  const auto one = s.generate(exact, greedy(5)).value();
  CHECK(one.reason == finish_reason::context_full);
  CHECK(one.n_generated() == 1);
}

TEST_CASE("session: a model's learned positions are the most that its context can have") {
  const std::string path = "models/arch/gpt2.Q4_0.gguf";   // 256 of them
  if (!has_data(path)) return;
  session s = make_session(load_model(data_root() / path).value(), {.context_size = 512});
  CHECK(s.capacity() == 256);
  const auto over = s.evaluate(std::vector<token_id>(261, 5));
  REQUIRE_FALSE(over);
  CHECK(over.error().code == errc::context_full);
  CHECK(s.length() == 0);
  CHECK(s.evaluate(std::vector<token_id>(256, 5)));
}

TEST_CASE("session: an empty prompt is the token that begins texts, or refused; no tokens asked for means the prompt only") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const auto begun = s.generate("", greedy(5)).value();
  CHECK(begun.n_prompt == 1);
  CHECK(begun.n_generated() == 5);
  auto options = greedy(5);
  options.encode.add_bos = false;
  auto refused = s.generate("", options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::bad_argument);
  refused = s.generate(std::vector<token_id>{}, greedy(5));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::bad_argument);
  int calls = 0;
  const auto none = s.generate(once, greedy(0), [&](const token_event&) { ++calls; }).value();
  CHECK(none.reason == finish_reason::max_tokens);
  CHECK(none.tokens.empty());
  CHECK(none.text.empty());
  CHECK(calls == 0);
  CHECK(s.length() == 5);
  CHECK(s.top_logits(1).value().front().token == 432);   // golden: the first greedy token
}

TEST_CASE("session: options out of their range are typed errors that name the field, and change nothing") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const auto refused_session = [&](session_options options, std::string_view where) {
    CAPTURE(where);
    const auto s = session::create(m, options);
    REQUIRE_FALSE(s);
    CHECK(s.error().code == errc::bad_argument);
    CHECK(s.error().where == where);
  };
  refused_session({.max_batch = 0}, "max_batch");
  refused_session({.max_batch = std::size_t{1} << 40}, "max_batch");
  refused_session({.n_threads = 100'000}, "n_threads");
  refused_session({.context_size = ~std::size_t{0}}, "context_size");

  session s = make_session(m);
  REQUIRE(s.generate(once, greedy(3)));
  const auto held = std::vector<token_id>(s.tokens().begin(), s.tokens().end());
  const auto refused = [&](const auto& prompt, const generation_options& options, std::string_view where) {
    CAPTURE(where);
    const auto done = s.generate(prompt, options);
    REQUIRE_FALSE(done);
    CHECK(done.error().code == errc::bad_argument);
    CHECK(done.error().where == where);
    CHECK(std::equal(held.begin(), held.end(), s.tokens().begin(), s.tokens().end()));
    auto stream = s.stream(prompt, options);
    CHECK(stream.begin() == stream.end());
    REQUIRE(stream.has_error());
    CHECK(stream.error().where == where);
  };
  generation_options bad = greedy(3);
  bad.sampling.temperature = -1;
  refused(once, bad, "temperature");
  bad.sampling.temperature = std::nanf("");
  refused(once, bad, "temperature");
  bad.sampling = {};
  bad.sampling.logit_bias = {{512, 1.0f}};
  refused(once, bad, "logit_bias");
  bad = greedy(3);
  bad.stop_strings = {"a", ""};
  refused(once, bad, "stop_strings");
  bad = greedy(3);
  bad.stop_tokens = {512};
  refused(once, bad, "stop_tokens");
  refused(std::vector<token_id>{1, -1}, greedy(3), "prompt");
  refused(std::vector<token_id>{1, 512}, greedy(3), "prompt");
  const auto wild = s.generate(once, greedy(3), scripted{{512}});
  REQUIRE_FALSE(wild);
  CHECK(wild.error().code == errc::bad_argument);
  CHECK(wild.error().where == "sampler");
  CHECK(s.generate(once, greedy(3)));
}

TEST_CASE("session: logits that are not finite are an error, not a token") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const auto hook = std::make_shared<hooked_cache::hook_state>();
  auto s = hooked_session::create(m, hooked_cache(m.cache_shape(), 64, hook), {.n_threads = 1}).value();
  hook->on_write = [](kv_slot slot) { return slot.head.layer == 2 && slot.pos == 6; };   // the second generated token's key and value
  const auto spoilt = s.generate(once, greedy(6));
  REQUIRE_FALSE(spoilt);
  CHECK(spoilt.error().code == errc::non_finite);
  CHECK(s.logits().empty());
  hook->on_write = nullptr;
  s.reset();
  CHECK(s.generate(once, greedy(6)).value().tokens == make_session(m).generate(once, greedy(6)).value().tokens);
}

TEST_CASE("session: samplers of the host are told the prompt and each token; compile-time chains choose as the config does") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  scripted own{{403, 407, 261}};
  const auto done = s.generate(once, {.max_tokens = 3}, own).value();
  CHECK(done.tokens == std::vector<token_id>{403, 407, 261});
  CHECK(own.accepted == std::vector<token_id>{1, 403, 407, 261, 378, 403, 407, 261});

  generation_options options{.max_tokens = 40};
  options.sampling.seed = 11;
  const auto by_config = s.generate(once, options).value();
  sampler_chain chain(s.model().vocab_size(), multinomial(11), top_k{40}, top_p{0.9f}, temperature{0.8f});
  const auto by_chain = s.generate(once, options, chain).value();
  CHECK(by_config.tokens == by_chain.tokens);
  options.sampling.seed = 12;
  CHECK(s.generate(once, options).value().tokens != by_config.tokens);
}

TEST_CASE("session: evaluate gives every position's logits, the golden ones, in whatever parts") {
  if (!has_data(stories)) return;
  const golden reference = read_golden("stories260K");
  const model m = load_stories();
  auto s = make_session<basic_session<contiguous_kv_cache<kv_type::f32>>>(m, {.max_batch = 3});
  const golden_case& c = reference.cases[1];
  std::vector<float> rows(c.tokens.size() * s.logits_stride());
  REQUIRE(s.evaluate(c.tokens, rows));
  for (std::size_t i = 0; i < c.tokens.size(); ++i) {
    const auto row = std::span<const float>(rows).subspan(i * s.logits_stride(), m.vocab_size());
    CHECK(relative_error(std::span<const float>(c.logits).subspan(i * m.vocab_size(), m.vocab_size()), row) <= 1e-4);
  }
  CHECK(same_bits(s.logits(), std::span<const float>(rows).last(s.logits_stride()).first(m.vocab_size())));
  s.reset();
  REQUIRE(s.evaluate(std::span(c.tokens).first(4)));
  REQUIRE(s.evaluate(std::span(c.tokens).subspan(4)));
  CHECK(same_bits(s.logits(), std::span<const float>(rows).last(s.logits_stride()).first(m.vocab_size())));

  const auto top = s.top_logits(3).value();
  REQUIRE(top.size() == 3);
  CHECK(top[0].token == c.greedy[0]);
  CHECK(top[0].logit >= top[1].logit);
  CHECK(top[0].probability == doctest::Approx(std::exp(top[0].logit - log_sum_exp(s.logits()))));
  CHECK(top[0].text == m.tokenizer().piece(c.greedy[0]));
  CHECK(s.top_logits(100'000).value().size() == m.vocab_size());

  CHECK(s.evaluate({}).error().code == errc::bad_argument);
  CHECK(s.evaluate(std::span(c.tokens), std::span(rows).first(rows.size() - 1)).error().code == errc::bad_argument);
  CHECK(s.evaluate(std::vector<token_id>(120, 5)).error().code == errc::context_full);
  CHECK(s.length() == c.tokens.size());
  CHECK(s.truncate(s.length() + 1).error().code == errc::bad_argument);
  REQUIRE(s.truncate(2));
  CHECK(s.length() == 2);
  CHECK(s.logits().empty());
  CHECK(s.top_logits(1).error().code == errc::bad_argument);
}

TEST_CASE("session: who uses it while it generates is refused, from a callback or another thread, and the text goes on; looking is allowed") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  const auto expected = make_session(m).generate(once, greedy(8)).value();
  for (const bool has_thread : {false, true}) {
    std::string text;
    std::size_t n_refused = 0, n_seen = 0;
    const auto is_refused = [&](const auto& done) { return !done && done.error().to_string() == "bad_argument: session: is used by two callers at once"; };
    const auto intrude = [&] {
      n_refused += is_refused(s.generate("Tom", greedy(2)));
      n_refused += is_refused(s.evaluate(std::vector<token_id>{1}));
      n_refused += is_refused(s.embed("Tom"));
      n_refused += is_refused(s.truncate(0));
      n_refused += is_refused(s.set_adapters({}));
      const auto stream = s.stream("Tom", greedy(2));
      n_refused += stream.has_error() && stream.error().where == "session";
      s.reset();
      n_seen += s.top_logits(1).has_value() && s.logits().size() == m.vocab_size() && s.length() > 1;
    };
    const auto done = s.generate(once, greedy(8), [&](const token_event& e) {
      text += e.text;
      CHECK(s.top_logits(1).value().front().token == e.token);
      if (e.index != 3) return;
      if (has_thread) std::thread(intrude).join();
      else intrude();
    });
    REQUIRE_MESSAGE(done, (done ? "" : done.error().to_string()));
    CHECK(n_refused == 6);
    CHECK(n_seen == 1);
    CHECK(text == expected.text);
    CHECK(done->tokens == expected.tokens);
    CHECK(s.generate("Tom", greedy(2)));
  }
#if CRIA_HAS_EXCEPTIONS
  CHECK_THROWS(static_cast<void>(s.generate(once, greedy(5), [](std::string_view) { throw 1; })));
  CHECK(s.generate(once, greedy(8)).value().tokens == expected.tokens);   // whoever threw has left
#endif
  // From inside a pass (an executor of the host): refused.
  struct reentrant {
    session* inner = nullptr;
    bool was_refused = false;
    std::size_t concurrency() const noexcept { return 2; }
    void run(std::size_t n, task_ref task) {
      if (inner != nullptr) {
        const auto done = std::exchange(inner, nullptr)->evaluate(std::vector<token_id>{1});
        was_refused = !done && done.error().code == errc::bad_argument;
      }
      for (std::size_t i = 0; i < n; ++i) task(i);
    }
  } threads;
  auto t = session::create(s.model(), {.executor = executor_ref(threads)}).value();
  threads.inner = &t;
  CHECK(t.evaluate(std::vector<token_id>{1, 403}));
  CHECK(threads.was_refused);
}

TEST_CASE("session: going back while a pass runs is refused, and neither ends what runs nor changes its bits") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session quiet = make_session(m);
  const auto expected = quiet.generate(once, greedy(8)).value();
  meddling threads;
  auto t = session::create(m, {.executor = executor_ref(threads)}).value();
  threads.is_refused = [&t] {
    t.reset();
    const auto back = t.truncate(0);
    return !back && back.error().code == errc::bad_argument && back.error().where == "session";
  };
  CHECK(t.generate(once, greedy(8)).value().tokens == expected.tokens);
  threads.is_refused = nullptr;
  CHECK(threads.n_runs > 50);
  CHECK(threads.n_refused == threads.n_runs);
  CHECK(t.tokens().size() == quiet.tokens().size());
  CHECK(t.truncate(3));
  t.reset();
  CHECK(t.length() == 0);
}

TEST_CASE("session: a second generation while a pass runs is refused, and the first one goes on to the same bits") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session quiet = make_session(m);
  const auto expected = quiet.generate(once, greedy(8)).value();
  meddling threads;
  auto t = session::create(m, {.executor = executor_ref(threads)}).value();
  threads.is_refused = [&t] {
    const auto two_callers = [](const error& e) { return e.to_string() == "bad_argument: session: is used by two callers at once"; };
    const auto done = t.generate("Tom", greedy(2));
    const auto stream = t.stream("Tom", greedy(2));   // never begun
    return !done && two_callers(done.error()) && stream.has_error() && two_callers(stream.error());
  };
  const auto first = t.generate(once, greedy(8));
  REQUIRE_MESSAGE(first, (first ? "" : first.error().to_string()));
  CHECK(first->tokens == expected.tokens);
  CHECK(threads.n_runs > 50);
  CHECK(threads.n_refused == threads.n_runs);
  t.reset();
  std::string streamed;
  auto stream = t.stream(once, greedy(8));
  for (const std::string_view piece : stream) streamed += piece;
  CHECK_FALSE(stream.has_error());
  CHECK(streamed == expected.text);
  CHECK(threads.n_refused == threads.n_runs);
}

TEST_CASE("session: making a stream ends one that was made before, begun or not") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  auto first = s.stream(once, greedy(5));
  auto second = s.stream(once, greedy(5));
  CHECK(first.begin() == first.end());
  REQUIRE(first.has_error());
  CHECK(first.error().to_string() == "bad_argument: session: has been used for something else meanwhile");
  std::size_t n = 0;
  for ([[maybe_unused]] const token_event& e : second) ++n;
  CHECK(n == 5);
}

TEST_CASE("session: a callback that holds nothing to call is none") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  const auto expected = s.generate(once, greedy(5)).value();
  const std::function<void(std::string_view)> no_text;
  std::function<bool(const token_event&)> no_tokens;
  void (*no_function)(std::string_view) = nullptr;
  CHECK(s.generate(once, greedy(5), no_text).value().tokens == expected.tokens);
  CHECK(s.generate(once, greedy(5), no_tokens).value().reason == finish_reason::max_tokens);
  CHECK(s.generate(once, greedy(5), no_function).value().tokens == expected.tokens);
  auto own = runtime_sampler::create(sampler_config::greedy(), s.model().vocab_size()).value();
  CHECK(s.generate(once, greedy(5), own, no_text).value().tokens == expected.tokens);
  std::string text;
  no_tokens = [&](const token_event& e) { return text += e.text, true; };
  CHECK(s.generate(once, greedy(5), no_tokens).value().text == text);
}

TEST_CASE("session: a context that there is no memory for is named") {
  if (!has_data(stories)) return;
  const auto refused = session::create(load_stories(), {.context_size = session_options::max_context, .n_threads = 1});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().to_string() == "out_of_memory: context_size: no memory for a context of 2147483648 positions");
}

TEST_CASE("session: an executor of the host that grows is used as it was when the session was made") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session quiet = make_session(m);
  const auto expected = quiet.generate(once, greedy(8)).value();
  struct growing {
    std::size_t n = 1, n_most = 0;
    std::size_t concurrency() const noexcept { return n; }
    void run(std::size_t n_tasks, task_ref task) {
      n_most = std::max(n_most, n_tasks);
      for (std::size_t i = 0; i < n_tasks; ++i) task(i);
    }
  } threads;
  for (const std::size_t n : {std::size_t{1}, std::size_t{2}}) {
    threads = {.n = n};
    auto t = session::create(m, {.executor = executor_ref(threads)}).value();
    threads.n = 64;
    CHECK(t.generate(once, greedy(8)).value().tokens == expected.tokens);
    CHECK(threads.n_most <= n);
  }
}

TEST_CASE("session: sessions of one model do not disturb each other, and outlive the handle they were made from") {
  if (!has_data(stories)) return;
  auto m = std::make_unique<model>(load_stories());
  session a = make_session(*m), b = make_session(*m);
  const auto expected = a.generate(once, greedy(10)).value().tokens;
  m.reset();
  auto stream_a = a.stream(once, greedy(10));
  auto stream_b = b.stream("Tom", greedy(10));
  auto i = stream_a.begin();
  auto j = stream_b.begin();
  for (; i != stream_a.end() && j != stream_b.end(); ++i, ++j) {
  }
  CHECK(stream_a.result().value().tokens == expected);
  session moved = std::move(b);
  CHECK(moved.generate(once, greedy(10)).value().tokens == expected);
}
