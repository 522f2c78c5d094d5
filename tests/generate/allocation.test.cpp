// SPDX-License-Identifier: MIT
// Counts every call of operator new in this program, and its bytes.
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/beam_search.hpp>
#include <cria/generate/speculative.hpp>

#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

namespace {
std::atomic<std::size_t> n_news{0}, n_new_bytes{0};
void* counted(std::size_t n) {
  n_news.fetch_add(1, std::memory_order_relaxed);
  n_new_bytes.fetch_add(n, std::memory_order_relaxed);
  void* const p = std::malloc(n == 0 ? 1 : n);
  if (p == nullptr) std::abort();
  return p;
}
}  // namespace

void* operator new(std::size_t n) { return counted(n); }
void* operator new[](std::size_t n) { return counted(n); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return counted(n); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return counted(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

using namespace cria;
using namespace cria_test;

TEST_CASE("allocation: the counter counts") {
  const std::size_t before = n_news;
  const std::vector<int> v(100);
  CHECK(v.size() == 100);
  CHECK(n_news > before);
}

TEST_CASE("allocation: no token allocates, with any of the samplers, stop strings and threads") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  sampler_config busy;
  busy.seed = 3;
  busy.min_p = 0.02f;
  busy.typical_p = 0.95f;
  busy.repeat_penalty = 1.1f;
  busy.dry_multiplier = 0.8f;
  busy.no_repeat_ngram = 5;
  busy.logit_bias = {{2, -100.0f}};
  sampler_config steered;
  steered.mirostat = 2;
  for (const std::size_t threads : {1u, 3u}) {
    session s = make_session(m, {.n_threads = threads, .max_batch = 4});
    for (const sampler_config& sampling : {sampler_config::greedy(), sampler_config::balanced(), busy, steered}) {
      generation_options options{
          .max_tokens = 100, .sampling = sampling, .stop_strings = {"never written", "xyz", " the cat sat on the mat"}, .ignore_eos = true};
      std::size_t at_first = 0, at_last = 0, n_bytes = 0;
      const auto done = s.generate("Once upon a time", options, [&](std::string_view text) {
        if (n_bytes == 0) at_first = n_news;
        n_bytes += text.size();
        at_last = n_news;
      });
      REQUIRE(done);
      CHECK(done->n_generated() == 100);
      CHECK(at_last == at_first);
    }
    // Passes of a long prompt after the first one, too.
    std::vector<token_id> prompt(60, 403);
    prompt.front() = 1;
    s.reset();
    REQUIRE(s.evaluate(std::span(prompt).first(8)));
    const std::size_t before = n_news;
    REQUIRE(s.evaluate(std::span(prompt).subspan(8)));
    CHECK(n_news == before);
  }
}

TEST_CASE("allocation: a grammar with stop tokens of the host's makes no tree of the vocabulary for each request") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  auto engine = batch_engine::create(m, {.max_sequences = 2, .context_size = 64, .n_threads = 1}).value();
  auto beams = beam_search::create(m, {.max_width = 2, .context_size = 64, .n_threads = 1}).value();
  lookup_drafter drafter;
  generation_options options = greedy(3);
  options.grammar = grammar::parse("root ::= \"abc\"").value();
  options.stop_tokens = {m.tokenizer().find("z").value()};
  std::size_t before = n_new_bytes;
  REQUIRE(make_token_trie(m.tokenizer(), options.stop_tokens));
  const std::size_t tree_bytes = n_new_bytes - before;
  const auto bytes_of = [&](auto&& work) {   // the second time
    work();
    const std::size_t start = n_new_bytes;
    work();
    return n_new_bytes - start;
  };
  CHECK(bytes_of([&] { REQUIRE(s.generate("Once", options)); }) < tree_bytes);
  CHECK(bytes_of([&] { REQUIRE_FALSE(s.stream("Once", options).has_error()); }) < tree_bytes);
  CHECK(bytes_of([&] { REQUIRE(generate_speculatively(s, "Once", options, drafter)); }) < tree_bytes);
  CHECK(bytes_of([&] { REQUIRE(engine.add("Once", options)); }) < tree_bytes);
  const beam_options two = {.width = 2, .n_best = 1, .max_tokens = 3, .stop_tokens = options.stop_tokens, .grammar = options.grammar};
  CHECK(bytes_of([&] { REQUIRE(beams.search("Once", two)); }) < tree_bytes);
}

TEST_CASE("allocation: a stream's increments allocate nothing either") {
  if (!has_data(stories)) return;
  session s = make_session(load_stories());
  auto stream = s.stream("Once upon a time", greedy(60));
  auto i = stream.begin();
  const std::size_t before = n_news;
  std::size_t n = 0;
  for (; i != stream.end(); ++i) ++n;
  CHECK(n == 60);
  CHECK(n_news == before);
}

TEST_CASE("allocation: no token of a batch allocates, and neither does the next page of a sequence") {
  if (!has_data(stories)) return;
  auto engine = batch_engine::create(load_stories(), {.max_sequences = 5, .context_size = 256, .page_size = 16, .n_threads = 2}).value();
  generation_options options{.max_tokens = 120, .stop_strings = {"never written", "xyz"}, .ignore_eos = true};
  for (options.sampling.seed = 0; options.sampling.seed < 5; ++options.sampling.seed) REQUIRE(engine.add("Once upon a time", options, [](std::string_view) {}));
  for (int i = 0; i < 3; ++i) REQUIRE(engine.step());
  const std::size_t before = n_news;
  for (int i = 0; i < 100; ++i) REQUIRE(engine.step());
  CHECK(n_news == before);
  CHECK(engine.statistics().n_generated_tokens == 5 * 103);
}
