// SPDX-License-Identifier: MIT
// Every allocation of making and using sessions, streams, batches, session files, adapters and measurements fails once, and from each one on:
// errc::out_of_memory or success, no leak, no other end; and what was used goes on.
#include <tests/support/failing_allocations.hpp>

#include <cria/generate/batch_engine.hpp>
#include <cria/generate/beam_search.hpp>
#include <cria/generate/logits_file.hpp>
#include <cria/generate/perplexity.hpp>
#include <cria/generate/session.hpp>
#include <cria/generate/session_file.hpp>
#include <cria/generate/speculative.hpp>

#include <tests/support/adapter_parts.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if CRIA_HAS_EXCEPTIONS

using namespace cria;
using namespace cria_test;

namespace {

const std::vector<token_id> prompt = {1, 4, 9, 4, 9, 7};

const model& small_model() {
  static const std::string bytes = tiny_model({.n_layers = 1}).build();
  static const model m = load_bytes(bytes).value();
  return m;
}

generation_options greedy(std::size_t n) {
  return {.max_tokens = n,
          .sampling = sampler_config::greedy(),
          .stop_strings = {"a stop string that is never written"},
          .stop_tokens = {2},
          .ignore_eos = true};
}

generation_options busy(std::size_t n) {
  generation_options o = greedy(n);
  o.sampling = sampler_config::balanced();
  o.sampling.repeat_penalty = 1.1f;
  o.sampling.dry_multiplier = 0.8f;
  o.sampling.no_repeat_ngram = 5;
  o.sampling.logit_bias = {{3, -1.0f}};
  return o;
}

session make_session(std::size_t context = 32) { return session::create(small_model(), {.context_size = context, .n_threads = 1}).value(); }

}  // namespace

TEST_CASE("out_of_memory: making a session, generating and a second turn with any allocation failing is a typed error and leaks nothing") {
  small_model();
  for (const bool is_busy : {false, true}) {
    const generation_options options = is_busy ? busy(4) : greedy(4);
    fail_each([&]() -> int {
      auto s = session::create(small_model(), {.context_size = 32, .n_threads = 1});
      if (!s) return code_of(s);
      const auto first = s->generate(prompt, options, [](std::string_view) {});
      if (!first) return code_of(first);
      return code_of(s->generate(std::string_view("t4t5"), options));
    });
  }
}

TEST_CASE("out_of_memory: a session whose generation, stream, embedding or evaluation had no memory gives the next one as a fresh session does") {
  const auto expected = make_session().generate(prompt, greedy(5)).value().tokens;
  session s = make_session();
  const auto goes_on = [&] {
    const auto next = s.generate(prompt, greedy(5));
    REQUIRE(next);
    CHECK(next->tokens == expected);
  };
  const generation_options options = busy(4);
  fail_each([&] { return code_of(s.generate(std::string_view("t4 t5"), options)); }, goes_on);
  fail_each([&]() -> int {
    auto stream = s.stream(prompt, options);
    for (const token_event& e : stream) static_cast<void>(e);
    return stream.has_error() ? static_cast<int>(stream.error().code) : code_of(stream.result());
  }, goes_on);
  fail_each([&] { return code_of(s.embed(prompt)); }, goes_on);
  fail_each([&]() -> int {
    s.reset();
    const auto done = s.evaluate(prompt);
    return done ? code_of(s.top_logits(3)) : code_of(done);
  }, goes_on);
}

TEST_CASE("out_of_memory: errors that were coming anyway are those errors or out_of_memory") {
  session s = make_session(8);
  const std::vector<token_id> foreign = {1, 1000}, longer(9, 3);
  const auto expected = [](const auto& r, errc code) { return r ? -2 : r.error().code == code ? no_error : code_of(r); };
  const generation_options plain = greedy(2);
  generation_options empty_stop = greedy(2), foreign_stop = greedy(2), bad_field = greedy(2);
  empty_stop.stop_strings = {""};
  foreign_stop.stop_tokens = {1000};
  bad_field.sampling.min_p = 7;
  const auto always = [&](auto&& work) {
    for (const bool all_later : {false, true}) {
      for (long long n = 0; n < 40; ++n) {
        const failed_run r = run_failing(work, n, all_later);
        CAPTURE(n);
        CHECK(r.lost == 0);
        CHECK((r.code == no_error || r.code == static_cast<int>(errc::out_of_memory)));
      }
    }
  };
  always([&] { return expected(s.generate(foreign, plain), errc::bad_argument); });
  always([&] { return expected(s.generate(longer, plain), errc::context_full); });
  always([&] { return expected(s.generate(prompt, empty_stop), errc::bad_argument); });
  always([&] { return expected(s.generate(prompt, foreign_stop), errc::bad_argument); });
  always([&] { return expected(s.generate(prompt, bad_field), errc::bad_argument); });
  always([&] { return expected(s.evaluate(longer), errc::context_full); });
  always([&] { return expected(s.truncate(100), errc::bad_argument); });
  always([&] { return expected(session::create(small_model(), {.max_batch = 0}), errc::bad_argument); });
}

TEST_CASE("out_of_memory: saving, opening and restoring a session with any allocation failing changes nothing") {
  session s = make_session(), other = make_session();
  REQUIRE(s.evaluate(prompt));
  const auto expected = make_session().generate(prompt, greedy(5)).value().tokens;
  auto sampler = runtime_sampler::create(sampler_config::balanced(), small_model().vocab_size()).value();
  const session_extras extras{.sampler = sampler.save(), .sections = {{"a name that is not short at all", {std::byte{1}}}}};
  std::vector<std::byte> bytes;
  fail_each([&]() -> int {
    std::vector<std::byte>().swap(bytes);
    const auto sink = catch_bad_alloc([&]() -> result<std::shared_ptr<byte_sink>> { return std::shared_ptr<byte_sink>(memory_sink(bytes)); }, "sink");
    if (!sink) return code_of(sink);
    const int code = code_of(save_session(s, **sink, extras));
    std::vector<std::byte>().swap(bytes);
    return code;
  });
  REQUIRE(save_session(s, *memory_sink(bytes), extras));
  const auto source = memory_source(bytes);
  fail_each([&]() -> int {
    const auto file = session_file::open(*source, other);
    return file ? code_of(file->restore(other, sampler)) : code_of(file);
  }, [&] {
    const auto next = other.generate(prompt, greedy(5));
    REQUIRE(next);
    CHECK(next->tokens == expected);
    other.reset();
  });
}

TEST_CASE("out_of_memory: a batch with any allocation failing refuses what has no room and gives every other text whole") {
  small_model();
  std::vector<std::vector<token_id>> prompts = {{1, 4, 9, 4, 9, 7}, {1, 4, 9, 4, 3}, {1, 5}};
  std::vector<std::vector<token_id>> expected;
  for (const auto& p : prompts) expected.push_back(make_session(48).generate(p, greedy(20)).value().tokens);
  const generation_options options = greedy(20);
  fail_each([&]() -> int {
    auto engine = batch_engine::create(small_model(), {.max_sequences = 2, .context_size = 48, .page_size = 16, .n_threads = 1});
    if (!engine) return code_of(engine);
    int code = no_error;
    std::array<batch_id, 3> ids{};
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto id = engine->add(prompts[i], options, [](std::string_view) {});
      if (!id) code = code_of(id);
      ids[i] = id ? *id : 0;
    }
    for (int tries = 0; tries < 400; ++tries) {
      const auto stepped = engine->step();
      if (!stepped) code = code_of(stepped);
      if (stepped && !engine->has_work()) break;
    }
    std::size_t n_whole = 0;
    while (const auto ended = engine->next_finished()) {
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] != ended->id) continue;
        if (!ended->outcome) code = code_of(ended->outcome);
        else if (ended->outcome->tokens != expected[i]) return -2;
        ++n_whole;
      }
    }
    if (code == no_error && n_whole != prompts.size()) return -3;
    return code;
  });
}

TEST_CASE("out_of_memory: beams and guesses with any allocation failing are typed errors, and what was used goes on") {
  auto search = beam_search::create(small_model(), {.max_width = 3, .context_size = 32, .n_threads = 1}).value();
  const auto best = search.search(prompt, {.width = 3, .max_tokens = 5}).value().front().tokens;
  fail_each([&] { return code_of(beam_search::create(small_model(), {.max_width = 2, .context_size = 32, .n_threads = 1})); });
  fail_each([&] { return code_of(search.search(prompt, {.width = 3, .max_tokens = 5})); }, [&] {
    const auto next = search.search(prompt, {.width = 3, .max_tokens = 5});
    REQUIRE(next);
    CHECK(next->front().tokens == best);
  });

  const auto expected = make_session().generate(prompt, greedy(8)).value().tokens;
  session s = make_session();
  const generation_options options = greedy(8);
  fail_each([&]() -> int {
    lookup_drafter drafter;
    return code_of(generate_speculatively(s, prompt, options, drafter));
  }, [&] {
    const auto next = s.generate(prompt, greedy(8));
    REQUIRE(next);
    CHECK(next->tokens == expected);
  });
}

TEST_CASE("out_of_memory: loading, choosing and using an adapter with any allocation failing is a typed error, and the session says what it says without") {
  const model& m = small_model();
  auto base = tiny_model({.n_layers = 1});
  const adapter_parts parts(base, {"blk.0.attn_q.weight", "blk.0.ffn_down.weight", "output.weight"}, 4, 8, 3);
  const std::string bytes = parts.file.build();
  const auto source = memory_source(std::as_bytes(std::span(bytes)));
  const auto load = [&]() -> result<adapter> {
    CRIA_TRY(const auto file, gguf::file::open(source));
    return adapter::load(file, m);
  };
  fail_each([&] { return code_of(load()); });
  const adapter_choice choice{load().value(), 1.5f};
  session s = make_session(48);
  const auto plain = s.generate(prompt, greedy(5)).value().tokens;
  REQUIRE(s.set_adapters({&choice, 1}));
  const generation_options options = greedy(5);
  const auto adapted = s.generate(prompt, options).value().tokens;
  CHECK(adapted != plain);
  fail_each([&]() -> int {
    auto fresh = session::create(m, {.context_size = 48, .n_threads = 1});
    if (!fresh) return code_of(fresh);
    const auto set = fresh->set_adapters({&choice, 1});
    return set ? code_of(fresh->generate(prompt, options)) : code_of(set);
  });
  for (const bool all_later : {false, true}) {
    failed_run r{.reached = true};
    for (long long n = 0; r.reached; n += step) {
      r = run_failing([&] { return code_of(s.set_adapters({&choice, 1})); }, n, all_later);
      REQUIRE(s.set_adapters({}));
      CHECK(s.generate(prompt, greedy(5)).value().tokens == plain);
    }
    CHECK(r.code == no_error);
  }
}

TEST_CASE("out_of_memory: measuring a text and keeping its logits with any allocation failing is a typed error, and the session measures the same again") {
  session s = make_session();
  const auto& t = small_model().tokenizer();
  const std::string text = "t4t5t6t7t8t9t4t6t8t5t7t9t4t4t5t5";
  const text_window_options small{.window = 8};
  const auto windows = text_windows::create(t, text, small).value();
  const double expected = measure_perplexity(s, windows).value().value();
  fail_each([&] { return code_of(text_windows::create(t, text, small)); });
  const auto unless = [](const auto& r, errc code) { return r ? -2 : r.error().code == code ? no_error : code_of(r); };
  for (const text_window_options& refused :
       {text_window_options{.window = 2}, text_window_options{.window = 500}, text_window_options{.window = 8, .max_windows = 0}}) {
    fail_each([&] { return unless(text_windows::create(t, text, refused), errc::bad_argument); });
  }
  fail_each([&]() -> int {
    auto fresh = session::create(small_model(), {.context_size = 16, .n_threads = 1});
    return fresh ? code_of(measure_perplexity(*fresh, windows)) : code_of(fresh);
  });
  CHECK(run_failing([&] { return code_of(measure_perplexity(s, windows)); }, 0, false).code == static_cast<int>(errc::out_of_memory));
  CHECK(measure_perplexity(s, windows).value().value() == expected);

  std::vector<std::byte> bytes;
  const auto begin = [&]() -> result<logits_file_writer> {
    CRIA_TRY(auto sink, catch_bad_alloc([&]() -> result<std::unique_ptr<byte_sink>> { return memory_sink(bytes); }, "sink"));
    return logits_file_writer::create(std::move(sink), t, windows);
  };
  const auto commit_nothing = [&]() -> result<void> {
    CRIA_TRY(auto writer, begin());
    return writer.commit();
  };
  const auto write = [&]() -> result<void> {
    CRIA_TRY(auto writer, begin());
    CRIA_TRY(const auto measured, measure_perplexity(s, windows, {}, writer));
    static_cast<void>(measured);
    return writer.commit();
  };
  fail_each([&] {
    const int code = unless(commit_nothing(), errc::bad_argument);
    std::vector<std::byte>().swap(bytes);
    return code;
  });
  fail_each([&] {
    const int code = code_of(write());
    std::vector<std::byte>().swap(bytes);
    return code;
  });
  REQUIRE(write());
  const auto source = memory_source(bytes);
  const auto compare = [&](const text_windows& of) -> result<void> {
    CRIA_TRY(auto file, logits_file::open(source));
    CRIA_CHECK(file.check(t, of));
    divergence sum;
    CRIA_TRY(const auto measured, measure_perplexity(s, of, {}, [&](const scored_position& p) { return file.compare(p, sum); }));
    static_cast<void>(measured);
    return {};
  };
  fail_each([&] { return code_of(compare(windows)); });
  const auto others = text_windows::create({1, 4, 5, 6, 7, 8, 9, 4, 3, 3, 3, 3, 3, 3, 3, 3}, 1, small).value();
  fail_each([&] { return unless(compare(others), errc::mismatch); });
}

#endif
