// SPDX-License-Identifier: MIT
// Many requests at once. What each of them must give is what a session gives alone; the texts of the golden prompts are those of
// golden/stories260K.json (llama.cpp d32676d, float32 cache).
// CRIA_SOAK_REQUESTS=10000 makes the soak test of 300 requests one of 10,000.
#include <cria/generate/batch_engine.hpp>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/adapter_parts.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

batch_options small(std::size_t n) { return {.max_sequences = n, .context_size = 128, .max_batch = 32, .prompt_share = 8, .n_threads = 1}; }

std::map<batch_id, generation> run_all(auto& engine) {
  std::map<batch_id, generation> out;
  while (engine.has_work()) {
    engine.step().value();
    while (auto ended = engine.next_finished()) {
      REQUIRE_MESSAGE(ended->outcome, (ended->outcome ? "" : ended->outcome.error().to_string()));
      CHECK(out.emplace(ended->id, *std::move(ended->outcome)).second);
    }
  }
  CHECK_FALSE(engine.has_work());
  return out;
}

/// Samples as runtime_sampler does and keeps the bits of every row of logits.
struct noting_sampler {
  runtime_sampler inner;
  std::shared_ptr<std::vector<std::uint64_t>> rows;

  result<token_id> sample(std::span<const float> logits) {
    rows->push_back(hash_of(logits));
    return inner.sample(logits);
  }
  void accept(token_id token) noexcept { inner.accept(token); }
};

/// A request with all that decides its text.
struct order {
  std::vector<token_id> prompt;
  generation_options options;
};

/// Orders of many kinds: prompts that share beginnings, long and short, greedy and sampled, with stop strings and without.
order random_order(std::mt19937& random, const model& m) {
  static const char* const texts[] = {"Once upon a time", "Once upon a time, there was a little girl named Lily.", "The dog",
                                      "Tom and Sue went to the park. They saw a big"};
  order o;
  o.prompt = m.tokenizer().encode(texts[random() % 4]).value();
  const std::size_t n_more = random() % 4 == 0 ? random() % 60 : random() % 5;
  for (std::size_t i = 0; i < n_more; ++i) o.prompt.push_back(static_cast<token_id>(3 + (i * 7 + random() % 2) % 500));
  o.options.max_tokens = random() % 10 == 0 ? 0 : 1 + random() % 24;
  if (random() % 2 == 0) {
    o.options.sampling = sampler_config::greedy();
  } else {
    o.options.sampling.seed = random();
    o.options.sampling.repeat_penalty = 1.1f;
  }
  if (random() % 4 == 0) o.options.stop_strings = {" was", "ing"};
  if (random() % 8 == 0) o.options.stop_tokens = {static_cast<token_id>(random() % 512)};
  return o;
}

/// Files of models whose layers have windows: all of them, and some.
std::vector<std::string> windowed_models() {
  model_parts all = tiny_model({.dim = 64, .n_heads = 4, .n_kv_heads = 2, .vocab_size = 97, .type = tensor_type::q4_0});
  all.set("llama.attention.sliding_window", std::uint32_t{21});
  std::vector<std::string> out{all.build()};
  if (has_data("models/arch/gemma3.Q4_0.gguf")) out.push_back(read_data("models/arch/gemma3.Q4_0.gguf"));   // 16, every other layer
  return out;
}

}  // namespace

TEST_CASE("batch_engine: golden prompts side by side give their golden texts, and each callback its own") {
  if (!has_data(stories)) return;
  const golden reference = read_golden("stories260K");
  auto options = small(reference.cases.size());
  options.context_size = 256;
  auto engine = batch_engine::create(load_stories(), options).value();
  std::map<batch_id, std::string> streamed;
  std::map<batch_id, const golden_case*> wanted;
  for (const golden_case& c : reference.cases) {
    const batch_id id =
        engine.add(c.prompt, greedy(c.greedy.size()), [&streamed, id = wanted.size() + 1](std::string_view piece) { streamed[id] += piece; }).value();
    CHECK(id == wanted.size() + 1);
    wanted[id] = &c;
  }
  for (const auto& [id, done] : run_all(engine)) {
    CHECK(done.tokens == wanted[id]->greedy);
    CHECK(done.text == wanted[id]->greedy_bytes);
    CHECK(streamed[id] == wanted[id]->greedy_bytes);
    CHECK(done.n_prompt == wanted[id]->tokens.size());
    CHECK(done.reason == finish_reason::max_tokens);
    CHECK(done.timings.first_token_seconds >= done.timings.prompt_seconds);
  }
}

TEST_CASE("batch_engine: logits and tokens are the same bits alone and in any company, whoever joins and leaves") {
  using engine_type = basic_batch_engine<kv_type::f16, noting_sampler>;
  const std::string quantised =
      tiny_model({.dim = 64, .n_heads = 4, .n_kv_heads = 2, .vocab_size = 97, .type = tensor_type::q4_0, .output_type = tensor_type::q8_0}).build();
  std::vector<model> models{load_bytes(quantised).value()};
  if (has_data(stories)) models.push_back(load_stories());
  for (const std::string& windowed : windowed_models()) models.push_back(load_bytes(windowed).value());
  for (const model& m : models) {
    const auto vocab = static_cast<token_id>(m.vocab_size());
    const auto prompt_of = [&](std::size_t i) {
      std::vector<token_id> prompt(1 + i * 13 % 40);
      for (std::size_t n = 0; n < prompt.size(); ++n) prompt[n] = static_cast<token_id>((n < 20 ? n * n : n * i) % static_cast<std::size_t>(vocab));
      return prompt;
    };
    const auto noting = [&](std::size_t i, std::shared_ptr<std::vector<std::uint64_t>> rows) {
      sampler_config config = i % 3 == 0 ? sampler_config::greedy() : sampler_config{};
      config.seed = i;
      return noting_sampler{runtime_sampler::create(config, m.vocab_size()).value(), std::move(rows)};
    };
    const auto options_of = [](std::size_t i) {
      generation_options options{.max_tokens = 3 + i * 5 % 30};
      options.ignore_eos = true;
      return options;
    };
    constexpr std::size_t n_requests = 34;
    std::vector<generation> alone;
    std::vector<std::vector<std::uint64_t>> alone_rows;
    for (std::size_t i = 0; i < n_requests; ++i) {
      auto rows = std::make_shared<std::vector<std::uint64_t>>();
      auto s = make_session(m, {.context_size = 128, .max_batch = 128});
      alone.push_back(s.generate(prompt_of(i), options_of(i), noting(i, rows)).value());
      alone_rows.push_back(*rows);
    }
    for (const std::size_t n : {1u, 2u, 7u, 16u, 32u}) {
      CAPTURE(n);
      auto options = small(n);
      options.page_size = n % 2 == 0 ? 16 : 64;
      options.shares_prefixes = n != 7;
      options.n_threads = n == 16 ? 3 : 1;
      auto engine = engine_type::create(m, options).value();
      std::vector<std::shared_ptr<std::vector<std::uint64_t>>> rows;
      for (std::size_t i = 0; i < n_requests; ++i) {
        rows.push_back(std::make_shared<std::vector<std::uint64_t>>());
        REQUIRE(engine.add(prompt_of(i), options_of(i), noting(i, rows.back())));
      }
      for (const auto& [id, done] : run_all(engine)) {
        CHECK(done.tokens == alone[id - 1].tokens);
        CHECK(done.text == alone[id - 1].text);
        CHECK(*rows[id - 1] == alone_rows[id - 1]);
      }
    }
  }
}

TEST_CASE("batch_engine: every architecture's sequences are those of a session, through windows, experts and pages, up to the last position it has learned") {
  for (const char* const name : {"gemma2", "gemma3", "gpt2", "llama-moe", "llama-odd", "phi3", "qwen2", "qwen3", "qwen3moe"}) {
    const std::string path = "models/arch/" + std::string(name) + ".Q4_0.gguf";
    if (!has_data(path)) continue;
    CAPTURE(name);
    const model m = load_data(path);
    auto options = small(4);
    options.context_size = m.config().has_learned_positions ? 4096 : 192;
    options.cache_positions = 600;
    options.page_size = 16;
    auto engine = batch_engine::create(m, options).value();
    std::map<batch_id, generation> wanted;
    for (std::size_t i = 0; i < 5; ++i) {
      std::vector<token_id> prompt(3 + i * 17);
      for (std::size_t n = 0; n < prompt.size(); ++n) prompt[n] = static_cast<token_id>((5 + n * n * (1 + i / 3)) % m.vocab_size());
      generation_options o = greedy(i == 4 ? 100 : 8);
      if (i == 4 && m.config().has_learned_positions) o.max_tokens = 5000;
      o.ignore_eos = true;
      auto s = make_session(m, {.context_size = options.context_size});
      wanted[engine.add(prompt, o).value()] = s.generate(prompt, o).value();
    }
    for (const auto& [id, done] : run_all(engine)) {
      CHECK(done.tokens == wanted[id].tokens);
      CHECK(done.reason == wanted[id].reason);
    }
  }
}

TEST_CASE("batch_engine: a cache too small for all makes the youngest start over, and changes no text") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  for (const bool shares : {true, false}) {
    auto options = small(8);
    options.cache_positions = 160;   // ten pages for eight sequences of up to 70 tokens
    options.page_size = 16;
    options.shares_prefixes = shares;
    auto engine = batch_engine::create(m, options).value();
    std::map<batch_id, generation> wanted;
    for (std::size_t i = 0; i < 12; ++i) {
      std::vector<token_id> prompt(2 + i * 2, static_cast<token_id>(300 + i));
      prompt.front() = 1;
      generation_options o{.max_tokens = 40};
      o.sampling.seed = i;
      o.sampling.dry_multiplier = 0.8f;
      o.ignore_eos = true;
      auto s = make_session(m, {.context_size = 128});
      wanted[engine.add(prompt, o).value()] = s.generate(prompt, o).value();
    }
    const auto got = run_all(engine);
    REQUIRE(got.size() == 12);
    for (const auto& [id, done] : got) {
      CHECK(done.tokens == wanted[id].tokens);
      CHECK(done.text == wanted[id].text);
    }
    const batch_statistics s = engine.statistics();
    CHECK(s.n_preempted > 0);
    CHECK(s.pages.most_used == 10);
    engine.forget_prefixes();
    CHECK(engine.statistics().pages.n_used == 0);
    CHECK(s.n_generated_tokens == 12 * 40);
  }
}

TEST_CASE("batch_engine: one sequence may fill the whole pool, and ends with context_full as a session does") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto options = small(4);
  options.cache_positions = 64;
  options.page_size = 16;
  auto engine = batch_engine::create(m, options).value();
  CHECK(engine.capacity() == 64);
  generation_options o = greedy(1000);
  o.ignore_eos = true;
  auto s = make_session(m, {.context_size = 64});
  const auto wanted = s.generate("Once upon a time", o).value();
  CHECK(wanted.reason == finish_reason::context_full);
  for (int i = 0; i < 3; ++i) REQUIRE(engine.add("Once upon a time", o));
  for (const auto& [id, done] : run_all(engine)) {
    CHECK(done.tokens == wanted.tokens);
    CHECK(done.text == wanted.text);
    CHECK(done.reason == finish_reason::context_full);
  }
  CHECK(engine.add(std::vector<token_id>(65, 5)).error().code == errc::context_full);
  REQUIRE(engine.add(std::vector<token_id>(64, 5)));
  CHECK(run_all(engine).begin()->second.n_generated() == 1);
}

TEST_CASE("batch_engine: prompts that begin alike are computed once, at the same time and later") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto options = small(8);
  options.page_size = 16;
  auto engine = batch_engine::create(m, options).value();
  std::vector<token_id> prompt(70);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<token_id>(3 + i * i % 500);
  prompt.front() = 1;
  auto s = make_session(m, {.context_size = 128});
  const auto wanted = s.generate(prompt, greedy(5)).value();
  for (int i = 0; i < 6; ++i) REQUIRE(engine.add(prompt, greedy(5)));
  for (const auto& [id, done] : run_all(engine)) CHECK(done.tokens == wanted.tokens);
  batch_statistics counts = engine.statistics();
  CHECK(counts.n_prompt_tokens == 6 * 70);
  CHECK(counts.n_reused_tokens == 5 * 64);   // whole pages of the one that is under way
  CHECK(counts.n_evaluated_tokens == 70 + 5 * 6 + 6 * 4);
  CHECK(counts.hit_rate() == doctest::Approx(5.0 * 64 / (6 * 70)));
  // Later: what was said is known as well, and a beginning that ends inside a page is shared to the token.
  auto longer = prompt;
  longer.insert(longer.end(), wanted.tokens.begin(), wanted.tokens.end());
  longer.resize(75 + 3, 7);
  const auto wanted_later = s.generate(longer, greedy(5)).value();
  auto other = prompt;
  other[50] = 9;
  s.reset();
  const auto wanted_other = s.generate(other, greedy(5)).value();
  REQUIRE(engine.add(longer, greedy(5)));
  REQUIRE(engine.add(other, greedy(5)));
  const auto got = run_all(engine);
  CHECK(got.at(7).tokens == wanted_later.tokens);
  CHECK(got.at(7).n_reused == 64);
  CHECK(got.at(8).tokens == wanted_other.tokens);
  CHECK(got.at(8).n_reused == 50);
  CHECK(engine.statistics().pages.n_copies > 0);
  CHECK(engine.statistics().n_indexed_pages == engine.statistics().pages.n_used);
}

TEST_CASE("batch_engine: each request has its own adapters, and shares pages only with those that have the same") {
  model_parts base = tiny_model({.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .vocab_size = 97, .type = tensor_type::q4_0});
  const model m = load_bytes(base.build()).value(), other = load_bytes(base.build()).value();
  const adapter_parts first(base, {"blk.0.attn_k.weight", "blk.1.attn_v.weight", "blk.1.ffn_up.weight", "output.weight"}, 4, 16, 3);
  const adapter_parts second(base, {"blk.0.attn_q.weight", "blk.0.ffn_down.weight"}, 3, 9, 4);
  const adapter a = adapter_of(first.file, m), b = adapter_of(second.file, m);
  auto options = small(8);
  options.page_size = 16;
  auto engine = batch_engine::create(m, options).value();
  std::vector<token_id> prompt(40);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<token_id>(3 + i * i % 90);
  auto s = make_session(m, {.context_size = 128});
  const auto with = [](std::vector<adapter_choice> adapters) {
    generation_options o = greedy(20);
    o.ignore_eos = true;
    o.adapters = std::move(adapters);
    return o;
  };
  const std::vector<std::vector<adapter_choice>> sets = {{}, {{a, 1}}, {{a, 1}}, {{a, 0.5f}}, {{b, 1}, {a, 1}}};
  std::vector<std::vector<token_id>> wanted;
  for (const auto& set : sets) {
    wanted.push_back(s.generate(prompt, with(set)).value().tokens);
    REQUIRE(engine.add(prompt, with(set)));
  }
  CHECK(wanted[0] != wanted[1]);
  CHECK(wanted[1] != wanted[3]);
  CHECK(wanted[1] != wanted[4]);
  for (const auto& [id, done] : run_all(engine)) {
    CHECK(done.tokens == wanted[id - 1]);
    CHECK(done.n_reused == (id == 3 ? 32 : 0));
  }
  // Later the pages are there for those that have the same adapters, not for one that is loaded from the same file anew.
  REQUIRE(engine.add(prompt, with(sets[4])));
  REQUIRE(engine.add(prompt, with({{adapter_of(first.file, m), 1}})));
  REQUIRE(engine.add(prompt, greedy(20)));
  const auto later = run_all(engine);
  CHECK(later.at(6).tokens == wanted[4]);
  CHECK(later.at(6).n_reused == 39);
  CHECK(later.at(7).tokens == wanted[1]);
  CHECK(later.at(7).n_reused == 0);
  CHECK(later.at(8).n_reused == 39);
  const auto foreign = engine.add(prompt, with({{adapter_of(first.file, other), 1}}));
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().code == errc::bad_argument);
  CHECK(foreign.error().where == "adapters");
}

TEST_CASE("batch_engine: a long prompt delays nobody's tokens, and short ones overtake its computation") {
  if (!has_data(stories)) return;
  auto options = small(4);
  options.context_size = 512;
  auto engine = batch_engine::create(load_stories(), options).value();
  std::size_t n_first = 0, n_long = 0, n_short = 0;
  generation_options o = greedy(200);
  o.ignore_eos = true;
  REQUIRE(engine.add("Once", o, [&](const token_event&) { ++n_first; }));
  REQUIRE(engine.step());
  CHECK(n_first == 1);
  REQUIRE(engine.add(std::vector<token_id>(300, 10), greedy(3), [&](const token_event&) { ++n_long; }));
  REQUIRE(engine.add(std::vector<token_id>{1, 20, 30, 40}, greedy(3), [&](const token_event&) { ++n_short; }));
  for (std::size_t i = 0; i < 10; ++i) {
    REQUIRE(engine.step());
    CHECK(n_first == 2 + i);
  }
  CHECK(n_long == 0);
  CHECK(n_short == 3);
  run_all(engine);
  CHECK(n_long == 3);
}

TEST_CASE("batch_engine: without a bound on the cache as many run at once as were asked for, however full their contexts get") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  for (const std::size_t context : {14u, 64u, 65u, 128u}) {
    CAPTURE(context);
    auto options = small(16);
    options.context_size = context;
    options.shares_prefixes = context != 65;
    auto engine = batch_engine::create(m, options).value();
    generation_options o = greedy(6);
    o.ignore_eos = true;
    for (std::size_t i = 0; i < 16; ++i) {
      std::vector<token_id> prompt(context - 6, static_cast<token_id>(20 + i));
      REQUIRE(engine.add(prompt, o));
    }
    REQUIRE(engine.step());
    CHECK(engine.statistics().n_running == 16);
    run_all(engine);
    CHECK(engine.statistics().n_preempted == 0);
    CHECK(engine.statistics().n_evaluated_tokens == 16 * (context - 6 + 5));
  }
}

TEST_CASE("batch_engine: what goes wrong with one request ends that one alone") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto engine = batch_engine::create(m, small(8)).value();
  auto s = make_session(m, {.context_size = 128});
  const auto wanted = s.generate("Once upon a time", greedy(20)).value();
  std::stop_source stop;
  std::size_t n_at_stop = 0;
  const batch_id fine = engine.add("Once upon a time", greedy(20)).value();
  const batch_id said_no = engine.add("Once upon a time", greedy(20), [](const token_event& e) { return e.index < 4; }).value();
  const batch_id cancelled = engine.add("Once upon a time", greedy(20)).value();
  generation_options stoppable = greedy(20);
  stoppable.stop = stop.get_token();
  const batch_id stopped = engine.add("Once upon a time", stoppable, [&](const token_event&) { if (++n_at_stop == 3) stop.request_stop(); }).value();
#if CRIA_HAS_EXCEPTIONS
  const auto throws_at_5 = [](const token_event& e) {
    if (e.index == 5) throw std::runtime_error("lost the line");
  };
  const batch_id thrower = engine.add("Once upon a time", greedy(20), throws_at_5).value();
#endif
  std::map<batch_id, batch_result> ended;
  for (int step = 0; engine.has_work(); ++step) {
    REQUIRE(engine.step());
    if (step == 6) CHECK(engine.cancel(cancelled));
    while (auto one = engine.next_finished()) ended.emplace(one->id, std::move(*one));
  }
  CHECK_FALSE(engine.cancel(cancelled));
  CHECK_FALSE(engine.cancel(99));
  CHECK(ended.at(fine).outcome->text == wanted.text);
  CHECK(ended.at(said_no).outcome->reason == finish_reason::stopped_by_callback);
  CHECK(ended.at(said_no).outcome->n_generated() == 5);
  CHECK(ended.at(cancelled).outcome->reason == finish_reason::cancelled);
  CHECK(ended.at(cancelled).outcome->n_generated() > 1);
  CHECK(wanted.text.starts_with(ended.at(cancelled).outcome->text));
  CHECK(ended.at(stopped).outcome->reason == finish_reason::cancelled);
  CHECK(ended.at(stopped).outcome->n_generated() == 3);
#if CRIA_HAS_EXCEPTIONS
  REQUIRE_FALSE(ended.at(thrower).outcome);
  CHECK(ended.at(thrower).outcome.error().code == errc::host_exception);
  CHECK(ended.at(thrower).outcome.error().where == "callback");
  CHECK(ended.at(thrower).outcome.error().message == "lost the line");
  CHECK(engine.statistics().n_failed == 1);
#endif
  engine.forget_prefixes();
  CHECK(engine.statistics().pages.n_used == 0);
}

TEST_CASE("batch_engine: a callback may add, cancel and take requests, but not step") {
  if (!has_data(stories)) return;
  auto engine = batch_engine::create(load_stories(), small(3)).value();
  errc code{};
  std::size_t n_second = 0, n_ended = 0;
  const batch_id first = engine.add("Once", greedy(8), [&](const token_event& e) {
    if (e.index == 2) {
      code = engine.step().error().code;
      for (int i = 0; i < 20; ++i) REQUIRE(engine.add("The dog", greedy(4), [&](const token_event&) { ++n_second; }));
    }
    if (e.index == 3) engine.cancel(5);
    if (e.index == 4) n_ended += engine.next_finished().has_value();
  }).value();
  while (engine.has_work()) {
    REQUIRE(engine.step());
    while (engine.next_finished()) ++n_ended;
  }
  CHECK(first == 1);
  CHECK(code == errc::bad_argument);
  CHECK(n_ended == 21);
  CHECK(n_second == 19 * 4);
}

namespace {

/// A client that its requests' callbacks own together; when it goes it gives up what it still has, and asks for one more.
struct client {
  batch_engine& engine;
  std::size_t& n_gone;
  bool asks_again = false;
  std::vector<batch_id> requests = {};

  client(batch_engine& e, std::size_t& n, bool asks) : engine(e), n_gone(n), asks_again(asks) {}
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client() {
    for (const batch_id id : requests) engine.cancel(id);
    engine.cancel(1'000'000);
    static_cast<void>(engine.next_finished());
    static_cast<void>(engine.has_work());
    if (asks_again) static_cast<void>(engine.add("Tom", greedy(2)));
    ++n_gone;
  }
};

}  // namespace

TEST_CASE("batch_engine: what a callback holds may cancel, add and take in its destructor, when its request ends and when the engine goes") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const auto wanted = make_session(m, {.context_size = 128}).generate("Once upon a time", greedy(20)).value();
  for (const std::size_t n_places : {8u, 2u, 1u}) {
    for (const bool runs : {true, false}) {
      for (const bool asks : {false, true}) {
        CAPTURE(n_places);
        CAPTURE(runs);
        CAPTURE(asks);
        std::size_t n_gone = 0, n_right = 0;
        auto engine = batch_engine::create(m, small(n_places)).value();
        for (std::size_t i = 0; i < 6; ++i) {
          const auto owner = std::make_shared<client>(engine, n_gone, asks);
          for (std::size_t k = 0; k < 1 + i % 2; ++k) {   // of two, one may outlive the other
            owner->requests.push_back(engine.add("Once upon a time", greedy(3 + 2 * i), [owner](std::string_view) {}).value());
          }
        }
        const auto last = engine.add("Once upon a time", greedy(20), [&](const token_event& e) { n_right += e.token == wanted.tokens[e.index]; }).value();
        for (int i = 0; i < 3; ++i) REQUIRE(engine.step());
        CHECK(engine.cancel(2));   // of a client that has another one
        if (runs) {
          REQUIRE(engine.run());
          CHECK(n_gone == 6);
          CHECK(n_right == 20);
          CHECK_FALSE(engine.cancel(last));
        }
        if (asks) engine = batch_engine::create(m, small(2)).value();   // lets go of what is in it
        if (asks) CHECK(n_gone == 6);
        if (asks) CHECK_FALSE(engine.has_work());
      }
    }
  }
}

TEST_CASE("batch_engine: a callback sees the logits that its token was drawn from, those of a session, in any company") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m, {.context_size = 128});
  const std::vector<std::string> prompts = {"Once upon a time", "Tom", "The dog was big. It liked to run"};
  auto engine = batch_engine::create(m, small(2)).value();
  std::vector<std::vector<std::uint64_t>> expected(prompts.size()), seen(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    REQUIRE(s.generate(prompts[i], greedy(12), [&](const token_event&) { expected[i].push_back(hash_of(s.logits())); }));
    REQUIRE(engine.add(prompts[i], greedy(12), [&, i](const token_event& e) {
      seen[i].push_back(hash_of(engine.logits()));
      for (const token_candidate& c : *engine.top_logits(1)) {
        CHECK(c.token == e.token);
        CHECK(c.probability > 0);
      }
    }));
  }
  CHECK(engine.top_logits(1).error().code == errc::bad_argument);
  REQUIRE(engine.run());
  CHECK(seen == expected);
  CHECK(engine.logits().empty());
}

TEST_CASE("batch_engine: a callback that holds nothing to call is none") {
  if (!has_data(stories)) return;
  auto engine = batch_engine::create(load_stories(), small(2)).value();
  REQUIRE(engine.add("Once", greedy(4), std::function<void(std::string_view)>()));
  REQUIRE(engine.add("Once", greedy(4), std::function<bool(const token_event&)>()));
  for (const auto& [id, done] : run_all(engine)) CHECK(done.n_generated() == 4);
}

TEST_CASE("batch_engine: an engine can be moved with requests in it, and so can its result") {
  static_assert(std::is_nothrow_move_constructible_v<batch_engine> && std::is_nothrow_move_assignable_v<batch_engine>);
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto s = make_session(m, {.context_size = 128});
  const auto wanted = s.generate("Once upon a time", greedy(10)).value();
  result<batch_engine> made = batch_engine::create(m, small(2));
  result<batch_engine> kept = std::move(made);
  REQUIRE(kept);
  for (int i = 0; i < 3; ++i) REQUIRE(kept->add("Once upon a time", greedy(10)));   // two run, one waits
  REQUIRE(kept->step());
  auto other = batch_engine::create(m, small(1)).value();
  REQUIRE(other.add("Tom", greedy(5)));
  other = *std::move(kept);
  const auto all = run_all(other);
  CHECK(all.size() == 3);
  for (const auto& [id, done] : all) CHECK(done.text == wanted.text);
}

TEST_CASE("batch_engine: a request's own stop token ends its prompt within a layer, and nobody else's") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  meddling threads;
  batch_options options = small(2);
  options.executor = executor_ref(threads);
  const std::vector<token_id> prompt(28, 7);
  const auto expected = make_session(m, {.context_size = 128}).generate(prompt, greedy(3)).value().tokens;
  int n_whole = 0;
  for (const bool has_company : {false, true}) {
    for (const int at : {1 << 20, 0, 7}) {   // runs of the executor before the host asks to stop; first: never
      CAPTURE(has_company);
      CAPTURE(at);
      auto engine = batch_engine::create(m, options).value();
      stop_source stop;
      generation_options stoppable = greedy(3);
      stoppable.stop = stop.get_token();
      const batch_id stopped = engine.add(prompt, stoppable).value();
      const batch_id other = has_company ? engine.add(std::vector<token_id>{1, 403}, greedy(3)).value() : 0;
      threads.n_runs = 0;
      threads.is_refused = [&] { return threads.n_runs - 1 == at && stop.request_stop(); };
      REQUIRE(engine.step());
      threads.is_refused = nullptr;
      if (!has_company && at > 100) n_whole = threads.n_runs;
      if (!has_company && at < 100) {
        CHECK(threads.n_runs <= at + 16);   // of a layer
        CHECK(threads.n_runs < n_whole / 2);
        CHECK_FALSE(engine.has_work());   // and it has ended, not only stopped
        CHECK(engine.statistics().n_evaluated_tokens == 0);
      }
      REQUIRE(engine.run());
      while (const auto ended = engine.next_finished()) {
        REQUIRE(ended->outcome);
        if (ended->id == other) CHECK(ended->outcome->n_generated() == 3);
        if (ended->id == stopped && at > 100) CHECK(ended->outcome->tokens == expected);
        if (ended->id == stopped && at < 100) CHECK(ended->outcome->reason == finish_reason::cancelled);
      }
      engine.forget_prefixes();
      CHECK(engine.statistics().pages.n_used == 0);
    }
  }
}

TEST_CASE("batch_engine: a step that is stopped loses nothing") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto engine = batch_engine::create(m, small(3)).value();
  auto s = make_session(m, {.context_size = 128});
  const auto wanted = s.generate("Once upon a time", greedy(10)).value();
  for (int i = 0; i < 3; ++i) REQUIRE(engine.add("Once upon a time", greedy(10)));
  std::stop_source stop;
  stop.request_stop();
  for (int i = 0; i < 5; ++i) {
    CHECK(engine.step(stop.get_token()).error().code == errc::cancelled);
    REQUIRE(engine.step());
  }
  CHECK(engine.run(stop.get_token()).error().code == errc::cancelled);
  for (const auto& [id, done] : run_all(engine)) CHECK(done.text == wanted.text);
}

TEST_CASE("batch_engine: a full engine waits in order or refuses, as it was told") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto options = small(2);
  options.max_waiting = 3;
  auto engine = batch_engine::create(m, options).value();
  for (int i = 0; i < 5; ++i) REQUIRE(engine.add("Once", greedy(3)));   // two of them will not have to wait
  CHECK(engine.add("Once", greedy(3)).error().code == errc::limit_exceeded);
  REQUIRE(engine.step());
  CHECK(engine.add("Once", greedy(3)).error().code == errc::limit_exceeded);
  while (engine.statistics().n_running == 2) REQUIRE(engine.step());
  REQUIRE(engine.add("Once", greedy(3)));
  std::vector<batch_id> in_order;
  while (engine.has_work()) {
    REQUIRE(engine.step());
    while (auto ended = engine.next_finished()) in_order.push_back(ended->id);
  }
  CHECK(in_order == std::vector<batch_id>{1, 2, 3, 4, 5, 6});
  CHECK(engine.statistics().n_refused == 2);

  options.when_full = when_full::refuse;
  options.cache_positions = 128;
  options.page_size = 16;
  auto strict = batch_engine::create(m, options).value();
  REQUIRE(strict.add(std::vector<token_id>(100, 7), greedy(3)));
  REQUIRE(strict.step());
  const auto no_pages = strict.add(std::vector<token_id>(100, 8), greedy(3));
  REQUIRE_FALSE(no_pages);
  CHECK(no_pages.error().code == errc::context_full);
  CHECK(no_pages.error().where == "pages");
  REQUIRE(strict.add("", greedy(3)));   // the beginning-of-text token alone fits
  const auto no_place = strict.add("Once", greedy(3));
  REQUIRE_FALSE(no_place);
  CHECK(no_place.error().where == "sequences");
  REQUIRE(strict.step());
  CHECK(strict.statistics().n_waiting == 0);
  CHECK(run_all(strict).size() == 2);
  REQUIRE(strict.add(std::vector<token_id>(100, 8), greedy(3)));
  run_all(strict);
}

TEST_CASE("batch_engine: where it refuses, who is taken in runs at the next step") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  auto options = small(4);
  options.context_size = 64;
  options.cache_positions = 64;
  options.page_size = 16;
  options.when_full = when_full::refuse;
  generation_options o = greedy(30);
  o.ignore_eos = true;
  const auto check_full = [](const auto& added) {
    REQUIRE_FALSE(added);
    CHECK(added.error().code == errc::context_full);
    CHECK(added.error().where == "pages");
  };
  // Nothing runs yet, and who was there before takes three pages of four.
  auto engine = batch_engine::create(m, options).value();
  REQUIRE(engine.add(std::vector<token_id>(40, 7), o));
  check_full(engine.add(std::vector<token_id>(40, 8), o));
  REQUIRE(engine.add(std::vector<token_id>(8, 8), o));
  REQUIRE(engine.step());
  CHECK(engine.statistics().n_running == 2);
  CHECK(run_all(engine).size() == 2);
  // Two pages are free, of which the one that runs will soon want one.
  auto later = batch_engine::create(m, options).value();
  REQUIRE(later.add(std::vector<token_id>(20, 7), o));
  REQUIRE(later.step());
  check_full(later.add(std::vector<token_id>(20, 8), o));
  REQUIRE(later.add(std::vector<token_id>(8, 8), o));
  REQUIRE(later.step());
  CHECK(later.statistics().n_running == 2);
  // Alone it may have all.
  auto alone = batch_engine::create(m, options).value();
  REQUIRE(alone.add(std::vector<token_id>(64, 7), o));
  CHECK(run_all(alone).size() == 1);
}

TEST_CASE("batch_engine: a request that has no room, refused or waiting, costs no page that is kept for prompts to come") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  for (const auto rule : {when_full::refuse, when_full::wait}) {
    const bool refuses = rule == when_full::refuse;
    CAPTURE(refuses);
    batch_options options{.max_sequences = 4, .context_size = 256, .cache_positions = 256, .page_size = 16, .when_full = rule, .n_threads = 1};
    auto engine = batch_engine::create(m, options).value();
    generation_options o = greedy(20);
    o.ignore_eos = true;
    const std::vector<token_id> kept(96, 9);
    REQUIRE(engine.add(kept, greedy(1)));
    run_all(engine);
    REQUIRE(engine.add(std::vector<token_id>(100, 7), o));
    REQUIRE(engine.step());
    const std::size_t n_indexed = engine.statistics().n_indexed_pages;
    CHECK(n_indexed == 6 + 6);
    CHECK(engine.add(std::vector<token_id>(200, 8), greedy(1)).has_value() == !refuses);
    REQUIRE(engine.step());
    CHECK(engine.statistics().n_running == 1);
    CHECK(engine.statistics().n_indexed_pages == n_indexed);
    if (!refuses) continue;
    run_all(engine);
    REQUIRE(engine.add(kept, greedy(1)));
    CHECK(run_all(engine).begin()->second.n_reused == 95);
  }
}

TEST_CASE("batch_engine: what callbacks take is not in its times") {
  if (!has_data(stories)) return;
  using clock = std::chrono::steady_clock;
  auto engine = batch_engine::create(load_stories(), small(2)).value();
  generation_options o = greedy(8);
  o.ignore_eos = true;
  clock::duration in_callbacks{};
  const auto slow = [&](const token_event&) {
    const auto start = clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    in_callbacks += clock::now() - start;
  };
  const auto start = clock::now();
  for (int i = 0; i < 2; ++i) REQUIRE(engine.add("Once upon a time", o, slow));
  const auto done = run_all(engine);
  const double outside = std::chrono::duration<double>(clock::now() - start - in_callbacks).count();
  CHECK(in_callbacks >= std::chrono::milliseconds(2 * 8 * 3));
  CHECK(engine.statistics().busy_seconds > 0);
  CHECK(engine.statistics().busy_seconds < outside);
  for (const auto& [id, one] : done) {
    CHECK(one.timings.prompt_seconds > 0);
    CHECK(one.timings.decode_seconds > 0);
    CHECK(one.timings.prompt_seconds + one.timings.decode_seconds < outside);
  }
}

TEST_CASE("batch_engine: options and requests out of range are typed errors that name the field") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const auto refused = [&](const char* field, batch_options o) {
    o.n_threads = 1;
    const auto made = batch_engine::create(m, o);
    CAPTURE(field);
    REQUIRE_FALSE(made);
    CHECK(made.error().code == errc::bad_argument);
    CHECK(made.error().where == field);
  };
  constexpr std::size_t biggest = std::numeric_limits<std::size_t>::max();
  refused("max_sequences", {.max_sequences = 0});
  refused("max_sequences", {.max_sequences = biggest});
  refused("max_batch", {.max_batch = 0});
  refused("max_batch", {.max_batch = biggest});
  refused("prompt_share", {.prompt_share = 0});
  refused("max_waiting", {.max_waiting = 0});
  CHECK(batch_engine::create(m, {.max_sequences = 1, .context_size = 64, .max_waiting = 0, .when_full = when_full::refuse, .n_threads = 1}));
  refused("context_size", {.context_size = biggest});
  refused("cache_positions", {.cache_positions = biggest});
  refused("page_size", {.page_size = 0});
  refused("page_size", {.page_size = 40});
  refused("page_size", {.page_size = biggest});
  batch_options threads;
  threads.n_threads = biggest;
  CHECK(batch_engine::create(m, threads).error().where == "n_threads");
  CHECK(batch_engine::create(m, {.context_size = std::size_t{1} << 31, .n_threads = 1}).error().code == errc::out_of_memory);
  CHECK(batch_engine::create(m, {.context_size = std::size_t{1} << 31, .n_threads = 1}).error().where == "context_size");
  // So many pages that they have no numbers: said by what was asked for, not by the cache's own names.
  const auto pages = batch_engine::create(m, {.max_sequences = 4096, .context_size = std::size_t{1} << 30, .n_threads = 1}).error();
  CHECK(pages.to_string().starts_with("bad_argument: context_size: makes "));
  CHECK(batch_engine::create(m, {.cache_positions = std::size_t{1} << 31, .n_threads = 1}).error().where == "cache_positions");

  auto engine = batch_engine::create(m, small(2)).value();
  const auto where = [&](const std::vector<token_id>& prompt, const generation_options& o) { return engine.add(prompt, o).error().where; };
  CHECK(where({}, greedy(1)) == "prompt");
  CHECK(where({512}, greedy(1)) == "prompt");
  CHECK(where({-1}, greedy(1)) == "prompt");
  CHECK(where(std::vector<token_id>(129, 1), greedy(1)) == "prompt");
  generation_options o = greedy(1);
  o.stop_tokens = {512};
  CHECK(where({1}, o) == "stop_tokens");
  o = greedy(1);
  o.stop_strings = {""};
  CHECK(where({1}, o) == "stop_strings");
  o = greedy(1);
  o.sampling.top_p = -1;
  CHECK(where({1}, o) == "top_p");
  CHECK_FALSE(engine.has_work());
  CHECK(engine.step());   // nothing to do is no error
  CHECK_FALSE(engine.next_finished());
}

TEST_CASE("batch_engine: hundreds of requests that arrive, end and are cancelled at random each equal their solo run, and no page is lost") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const char* const asked = std::getenv("CRIA_SOAK_REQUESTS");
  const std::size_t n_requests = asked != nullptr ? static_cast<std::size_t>(std::atol(asked)) : 300;
  auto options = small(16);
  options.page_size = 16;
  options.cache_positions = 640;   // too few for all at their longest
  auto engine = batch_engine::create(m, options).value();
  auto alone = make_session(m, {.context_size = 128});
  std::mt19937 random(2024);
  std::map<batch_id, order> orders;
  std::set<batch_id> cancelled;
  std::size_t n_added = 0, n_ended = 0, n_wrong = 0;
  while (n_ended < n_requests) {
    while (n_added < n_requests && random() % 3 != 0) {
      order o = random_order(random, m);
      orders.emplace(engine.add(o.prompt, o.options).value(), std::move(o));
      ++n_added;
    }
    if (n_added > 0 && random() % 20 == 0) {
      const batch_id id = 1 + random() % n_added;
      if (engine.cancel(id)) cancelled.insert(id);
    }
    REQUIRE(engine.step());
    while (auto ended = engine.next_finished()) {
      ++n_ended;
      REQUIRE(ended->outcome);
      const generation& got = *ended->outcome;
      const order& o = orders.at(ended->id);
      alone.reset();
      const generation wanted = alone.generate(o.prompt, o.options).value();
      if (cancelled.count(ended->id) != 0) {
        n_wrong += !wanted.text.starts_with(got.text) || !std::equal(got.tokens.begin(), got.tokens.end(), wanted.tokens.begin());
      } else {
        n_wrong += got.tokens != wanted.tokens || got.text != wanted.text || got.reason != wanted.reason;
      }
      orders.erase(ended->id);
    }
  }
  CHECK(n_wrong == 0);
  const batch_statistics s = engine.statistics();
  CHECK(s.n_added == n_requests);
  CHECK(s.n_running + s.n_waiting == 0);
  CHECK(s.pages.n_used == s.n_indexed_pages);
  CHECK(s.pages.n_shared == 0);
  engine.forget_prefixes();
  CHECK(engine.statistics().pages.n_used == 0);
  MESSAGE(n_requests << " requests, " << s.n_generated_tokens << " tokens in " << s.n_passes << " passes, hit rate " << s.hit_rate() << ", preempted "
                     << s.n_preempted << ", cancelled " << cancelled.size() << ", pages at most " << s.pages.most_used << " of " << s.pages.n_pages << ", "
                     << s.busy_seconds << " s busy");
}

TEST_CASE("batch_engine: windowed layers keep their windows only, whatever is shared, preempted, cancelled and computed again") {
  for (const std::string& bytes : windowed_models()) {
    const model m = load_bytes(bytes).value();
    const std::size_t window = m.cache_shape().widest_window();
    REQUIRE(window > 0);
    batch_options options{.max_sequences = 4, .context_size = 1024, .page_size = 16, .max_batch = 32, .prompt_share = 8, .n_threads = 1};
    for (const std::size_t cache_positions : {0u, 1024u}) {   // room for all; so little that the youngest start over
      CAPTURE(cache_positions);
      options.cache_positions = cache_positions;
      auto engine = batch_engine::create(m, options).value();
      std::mt19937 random(9);
      std::map<batch_id, order> orders;
      std::set<batch_id> cancelled;
      std::size_t n_wrong = 0, n_ended = 0;
      constexpr std::size_t n_requests = 24;
      const auto add = [&](std::size_t i) {
        order o;
        o.prompt.resize(i % 3 == 0 ? 200 + random() % 300 : 1 + random() % 40);
        for (std::size_t n = 0; n < o.prompt.size(); ++n) o.prompt[n] = static_cast<token_id>((n < 100 + i % 2 * 60 ? n * n : n * i) % m.vocab_size());
        o.options = greedy(i % 2 == 0 ? 300 : 10);
        o.options.ignore_eos = true;
        orders.emplace(engine.add(o.prompt, o.options).value(), std::move(o));
      };
      auto alone = make_session(m, {.context_size = 1024});
      for (std::size_t n_added = 0; n_ended < n_requests;) {
        while (n_added < n_requests && random() % 10 == 0) add(n_added++);
        if (n_added > 4 && random() % 200 == 0 && engine.cancel(n_added - 2)) cancelled.insert(n_added - 2);
        REQUIRE(engine.step());
        while (auto ended = engine.next_finished()) {
          ++n_ended;
          REQUIRE_MESSAGE(ended->outcome, (ended->outcome ? "" : ended->outcome.error().to_string()));
          const order& o = orders.at(ended->id);
          alone.reset();
          const generation wanted = alone.generate(o.prompt, o.options).value();
          const auto& got = ended->outcome->tokens;
          n_wrong += cancelled.count(ended->id) != 0 ? !std::equal(got.begin(), got.end(), wanted.tokens.begin()) : got != wanted.tokens;
        }
      }
      CHECK(n_wrong == 0);
      batch_statistics s = engine.statistics();
      CHECK(s.pages.n_windowed_pages == windowed_pages(window, 16, 4, 32) + window / 16 + 2);
      CHECK(s.pages.n_windowed_pages < s.pages.n_pages);
      CHECK(s.pages.most_used > s.pages.n_windowed_pages);   // more than windows hold was there to be seen
      CHECK(s.pages.most_windowed_used <= s.pages.n_windowed_pages);
      CHECK(s.n_reused_tokens > 0);
      if (cache_positions != 0) CHECK(s.n_preempted > 0);
      engine.forget_prefixes();
      s = engine.statistics();
      CHECK(s.pages.n_used == 0);
      CHECK(s.pages.n_windowed_used == 0);
    }
  }
}
