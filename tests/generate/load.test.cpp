// SPDX-License-Identifier: MIT
#include <tests/generate/session_fixture.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <stop_token>
#include <string>

using namespace cria;
using namespace cria_test;

TEST_CASE("load: a model from a path, from bytes in memory and from an open file is the same model") {
  if (!has_data(stories)) return;
  const std::string bytes = read_data(stories);
  const auto path = data_root() / stories;
  const std::shared_ptr<const byte_source> memory = memory_source(std::as_bytes(std::span(bytes)));
  const auto text = [](const model& m) { return make_session(m).generate("Once upon a time", greedy(20)).value().text; };
  const std::string expected = text(load_model(path).value());
  CHECK(expected.size() > 20);
  CHECK(text(load_model(memory).value()) == expected);
  CHECK(text(load_model(gguf::file::open(path).value()).value()) == expected);
}

TEST_CASE("load: progress rises to all bytes, and can cancel; so can a stop token") {
  if (!has_data(stories)) return;
  load_options options;
  std::uint64_t last = 0, total = 0;
  options.progress = [&](const load_progress& p) {
    CHECK(p.done_bytes >= last);
    last = p.done_bytes;
    total = p.total_bytes;
    return true;
  };
  REQUIRE(load_model(data_root() / stories, options));
  CHECK(total > 0);
  CHECK(last == total);
  int calls = 0;
  options.progress = [&](const load_progress&) { return ++calls < 3; };
  CHECK(load_model(data_root() / stories, options).error().code == errc::cancelled);
  CHECK(calls == 3);
  std::stop_source source;
  source.request_stop();
  options.progress = {};
  options.stop = source.get_token();
  CHECK(load_model(data_root() / stories, options).error().code == errc::cancelled);
}

TEST_CASE("load: what is not there or not a model is a typed error") {
  const auto absent = load_model("no/such/model.gguf");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code == errc::io);
  CHECK(absent.error().where == "no/such/model.gguf");
  CHECK(load_model(std::shared_ptr<const byte_source>{}).error().code == errc::bad_argument);
  const std::string junk(100, 'x');
  CHECK(load_model(memory_source(std::as_bytes(std::span(junk)))).error().code == errc::bad_magic);
}

TEST_CASE("load: the estimate from metadata is what loading and a session take, within a page for each tensor") {
  for (const std::string name : {"stories260K", "fixture-256.F32", "fixture-256.Q4_0", "fixture-256.Q6_K", "arch/llama-odd.Q4_0"}) {
    if (!has_data("models/" + name + ".gguf")) continue;
    CAPTURE(name);
    const auto file = gguf::file::open(data_root() / ("models/" + name + ".gguf")).value();
    const model m = load_model(file).value();
    const auto check = [&]<kv_type Type>(std::integral_constant<kv_type, Type>, std::size_t context) {
      const session_options options{.context_size = context};
      const memory_estimate e = estimate_memory(file, options, Type).value();
      const auto s = make_session<basic_session<contiguous_kv_cache<Type>>>(m, options);
      CHECK(e.context == s.capacity());
      CHECK(e.cache == s.cache().bytes());
      const auto a = nn::activations::create(m.activation_shape(s.max_batch()), m.precision(), 1, 1).value();
      const std::size_t floats = a.h.memory.size() + a.normed.memory.size() + a.q.memory.size() + a.mixed.memory.size() + a.k.memory.size() +
                                 a.v.memory.size() + a.gate.memory.size() + a.up.memory.size() + a.rope.memory.size() + a.low_rank.size();
      const std::size_t words = a.quantised.size() + a.mixed_quantised.size() + a.gate_quantised.size();
      CHECK(e.activations == 4 * (floats + words + s.logits_stride()));
      CHECK(e.total() == e.weights + e.cache + e.activations);
      CHECK(static_cast<double>(e.weights) >= static_cast<double>(m.weight_bytes()));
      CHECK(static_cast<double>(e.weights) <= static_cast<double>(m.weight_bytes()) * 1.05 + 4096.0 * static_cast<double>(file.tensors().size()));   // pages
    };
    check(std::integral_constant<kv_type, kv_type::f16>{}, 0);
    check(std::integral_constant<kv_type, kv_type::f32>{}, 100);
    check(std::integral_constant<kv_type, kv_type::q8_0>{}, 33);
    check(std::integral_constant<kv_type, kv_type::bf16>{}, 100);
  }
}

TEST_CASE("load: the estimate follows a session where the model or its windows allow less than is asked for, and refuses what a session refuses") {
  for (const std::string name : {"arch/gpt2.F32", "arch/gemma2.F32"}) {
    if (!has_data("models/" + name + ".gguf")) continue;
    CAPTURE(name);
    const auto file = gguf::file::open(data_root() / ("models/" + name + ".gguf")).value();
    const model m = load_model(file).value();
    for (const std::size_t context : {1'000u, 20'000u}) {
      const session_options options{.context_size = context, .max_batch = 20'000};
      const memory_estimate e = estimate_memory(file, options).value();
      const session s = make_session(m, options);
      CHECK(e.context == s.capacity());
      CHECK(e.trained_context == m.config().context_length);
      CHECK(e.cache == s.cache().bytes());
      CHECK(e.activations == estimate_memory(file, {.context_size = context, .max_batch = s.max_batch()}).value().activations);
    }
    CHECK(estimate_memory(file, {.max_batch = 0}).error().where == "max_batch");
    CHECK(estimate_memory(file, {.context_size = session_options::max_context + 1}).error().where == "context_size");
  }
}

TEST_CASE("load: the estimate knows that windowed layers keep their windows only") {
  if (!has_data("models/arch/gemma3.F32.gguf")) return;
  model_parts parts = parts_of(read_data("models/arch/gemma3.F32.gguf"));
  parts.set("gemma3.attention.sliding_window", std::uint32_t{20});
  const std::string bytes = parts.build();
  const auto file = open_bytes(bytes).value();
  const model m = load_model(file).value();
  std::uint64_t before = 0;
  for (const std::size_t context : {1000u, 1072u, 1073u, 5000u}) {
    const session_options options{.context_size = context};
    const std::uint64_t cache = estimate_memory(file, options).value().cache;
    CHECK(cache == make_session(m, options).cache().bytes());
    CHECK(cache > before);
    before = cache;
  }
}

TEST_CASE("load: a cache that no machine has room for is an error of the estimate, not a small number") {
  auto parts = tiny_model();
  for (const char* key : {"block_count", "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"}) {
    parts.set(std::string("llama.") + key, 65'536u);
  }
  parts.set("llama.context_length", 0x80000000u);
  const std::string bytes = parts.build();
  const auto estimate = estimate_memory(open_bytes(bytes).value(), {.context_size = std::size_t{1} << 31});
  REQUIRE_FALSE(estimate);
  CHECK(estimate.error().to_string() == "limit_exceeded: cache: would take more than 2^64 bytes");
}

TEST_CASE("load: an estimate for a file without a model is an error") {
  if (!has_data("tokenizer/ggml-vocab-gpt-2.gguf")) return;
  const auto file = gguf::file::open(data_root() / "tokenizer/ggml-vocab-gpt-2.gguf").value();
  CHECK_FALSE(estimate_memory(file));
}
