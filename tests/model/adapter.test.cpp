// SPDX-License-Identifier: MIT
// Adapters against models whose weights were merged with them in double precision, against themselves in company, and with everything wrong in turn.
#include <cria/generate/session.hpp>
#include <cria/generate/speculative.hpp>
#include <cria/model/adapter.hpp>

#include <doctest/doctest.h>

#include <tests/support/adapter_parts.hpp>
#include <tests/support/family_models.hpp>
#include <tests/support/golden.hpp>
#include <tests/support/load_parts.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria_test;
using cria::errc;
using cria::kv_type;
using cria::tensor_type;
using cria::token_id;

/// Logits of all tokens with adapters, in passes of `batch`.
std::vector<float> adapted_logits(const cria::model& m, std::span<const token_id> tokens, std::span<const cria::nn::low_rank_use> uses, std::size_t batch = 64,
                                  std::size_t n_threads = 2) {
  using cache_type = cria::contiguous_kv_cache<kv_type::f32>;
  cria::thread_pool pool(n_threads);
  auto cache = *cache_type::create(m.cache_shape(), tokens.size());
  auto a = *cria::nn::activations::create(m.activation_shape(batch), m.precision(), n_threads, 1);
  const std::size_t stride = logits_stride(m);
  std::vector<float> padded(batch * stride), all;
  for (std::size_t at = 0; at < tokens.size(); at += batch) {
    const std::size_t n = std::min(batch, tokens.size() - at);
    cria::nn::sequence_slice<cache_type> slice{&cache, tokens.subspan(at, n), n};
    slice.adapters = uses;
    REQUIRE(m.forward<cache_type>(pool, a, {&slice, 1}, {padded.data(), stride, n, m.vocab_size()}).has_value());
    for (std::size_t t = 0; t < n; ++t) {
      all.insert(all.end(), padded.begin() + static_cast<std::ptrdiff_t>(t * stride),
                 padded.begin() + static_cast<std::ptrdiff_t>(t * stride + m.vocab_size()));
    }
  }
  return all;
}

double distance(const std::vector<float>& truth, const std::vector<float>& x) {
  return relative_error(std::span<const float>(truth), std::span<const float>(x));
}

const std::vector<std::string> some_of_llama = {"blk.0.attn_q.weight", "blk.1.attn_v.weight", "blk.0.attn_output.weight", "blk.1.ffn_gate.weight",
                                                "blk.1.ffn_up.weight", "blk.0.ffn_down.weight", "output.weight"};

}  // namespace

// Float weights: as far from the merged model as another order of its sums is, K 2^-24 of the terms. Quantised: 15-bit activations see the base only.
TEST_CASE("adapter: logits are those of the model merged with it, one adapter or two, of any rank, on floats and quantised weights") {
  struct sample {
    tensor_type type, a_type;
    std::size_t rank;
    double alpha, bar;
  };
  for (const sample& s : {sample{tensor_type::f32, tensor_type::f32, 4, 8, 2e-5}, sample{tensor_type::f32, tensor_type::f16, 200, 100, 2e-5},
                          sample{tensor_type::f32, tensor_type::f32, 1, 0, 2e-5}, sample{tensor_type::q4_0, tensor_type::q8_0, 8, 16, 5e-4}}) {
    CAPTURE(s.rank);
    model_parts base = tiny_model({.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .type = s.type, .biases = true});
    const adapter_parts first(base, some_of_llama, s.rank, s.alpha, 3, s.a_type), second(base, {"blk.0.attn_q.weight", "blk.0.ffn_gate.weight"}, 2, 1, 4);
    const cria::model m = model_of(base);
    const cria::adapter a = adapter_of(first.file, m), b = adapter_of(second.file, m);
    const std::vector<token_id> tokens = some_tokens(23, m.vocab_size());
    model_parts with_one = base;
    first.merge_into(with_one, 0.5);
    model_parts with_both = with_one;
    second.merge_into(with_both, -2);
    const std::vector<float> plain = adapted_logits(m, tokens, {});
    const cria::nn::low_rank_use one[] = {a.use(0.5f)}, both[] = {a.use(0.5f), b.use(-2)}, none[] = {a.use(0)};
    const std::vector<float> truth_of_one = logits_of<kv_type::f32>(model_of(with_one), tokens),
                             truth_of_both = logits_of<kv_type::f32>(model_of(with_both), tokens);
    CHECK(distance(truth_of_one, adapted_logits(m, tokens, one)) <= s.bar);
    CHECK(distance(truth_of_both, adapted_logits(m, tokens, both)) <= s.bar);
    CHECK(distance(truth_of_one, plain) > 1e-2);
    CHECK(distance(truth_of_both, truth_of_one) > 1e-2);
    CHECK(distance(plain, adapted_logits(m, tokens, none)) <= 1e-6);
    CHECK(adapted_logits(m, tokens, both, 1, 1) == adapted_logits(m, tokens, both));
    CHECK(adapted_logits(m, tokens, both, 7, 3) == adapted_logits(m, tokens, both));
  }
}

TEST_CASE("adapter: in every architecture logits are those of the model merged with it") {
  for (const member& f : family()) {
    CAPTURE(f.name);
    model_parts parts = f.parts;
    std::vector<std::string> names = {"blk.0.attn_q.weight", "blk.1.attn_output.weight"};
    for (const std::string name : {"blk.2.ffn_up.weight", "blk.3.ffn_down.weight"}) {
      if (std::any_of(parts.tensors.begin(), parts.tensors.end(), [&](const model_parts::tensor& t) { return t.name == name; })) names.push_back(name);
    }
    const adapter_parts added(parts, names, 3, 6, 5);
    const cria::model m = model_of(parts);
    const cria::adapter a = adapter_of(added.file, m);
    const std::vector<token_id> tokens = some_tokens(23, m.vocab_size());
    const cria::nn::low_rank_use use[] = {a.use(0.5f)};
    const std::vector<float> got = adapted_logits(m, tokens, use), plain = adapted_logits(m, tokens, {});
    added.merge_into(parts, 0.5);
    const std::vector<float> truth = logits_of<kv_type::f32>(model_of(parts), tokens);
    CHECK(distance(truth, got) <= 1e-4);
    CHECK(distance(truth, plain) > 1e-2);
  }
}

TEST_CASE("adapter: q, k and v are adapted together or each on its own, however the model's file has them") {
  model_parts parted = tiny_model(), joined = parted;
  for (const std::string blk : {"blk.0.", "blk.1."}) {
    model_parts::tensor all = parted.at(blk + "attn_q.weight");
    all.name = blk + "attn_qkv.weight";
    for (const char* const part : {"attn_k.weight", "attn_v.weight"}) {
      all.data += parted.at(blk + part).data;
      all.shape.back() += parted.at(blk + part).shape.back();
    }
    for (const char* const part : {"attn_q.weight", "attn_k.weight", "attn_v.weight"}) joined.erase_tensor(blk + part);
    joined.tensors.push_back(std::move(all));
  }
  const std::vector<token_id> tokens = some_tokens(9, model_of(parted).vocab_size());
  const adapter_parts of_parts(parted, {"blk.0.attn_q.weight", "blk.1.attn_v.weight"}, 3, 6, 5), of_all(joined, {"blk.1.attn_qkv.weight"}, 3, 6, 5);
  for (const adapter_parts* each : {&of_parts, &of_all}) {
    model_parts merged = each == &of_parts ? parted : joined;
    each->merge_into(merged, 0.5);
    const std::vector<float> truth = logits_of<kv_type::f32>(model_of(merged), tokens);
    for (const model_parts& base : {parted, joined}) {
      const cria::model m = model_of(base);
      const cria::adapter a = adapter_of(each->file, m);
      const cria::nn::low_rank_use use[] = {a.use(0.5f)};
      CHECK(distance(truth, adapted_logits(m, tokens, use)) <= 1e-4);
      CHECK(distance(truth, adapted_logits(m, tokens, {})) > 1e-3);
    }
  }
}

TEST_CASE("adapter: one without an alpha is scaled by what the user says alone, as with an alpha of its rank") {
  model_parts base = tiny_model();
  const cria::model m = model_of(base);
  model_parts parts = adapter_parts(base, some_of_llama, 4, 4, 3).file;
  const std::vector<token_id> tokens = some_tokens(9, m.vocab_size());
  const auto logits = [&] {
    const cria::adapter a = adapter_of(parts, m);
    const cria::nn::low_rank_use use[] = {a.use(0.5f)};
    return adapted_logits(m, tokens, use);
  };
  const std::vector<float> want = logits();
  parts.erase_key("adapter.lora.alpha");
  CHECK(logits() == want);
  parts.set("adapter.lora.alpha", 8.0f);
  CHECK(logits() != want);
}

TEST_CASE("adapter: tensors that are split, normed behind or plain are adapted as the merged model's") {
  struct sample {
    const char* name;
    std::vector<std::string> tensors;
  };
  for (const sample& s :
       {sample{"gpt2", {"blk.0.attn_qkv.weight", "blk.1.attn_output.weight", "blk.2.ffn_up.weight", "blk.3.ffn_down.weight"}},
        sample{"phi3", {"blk.0.attn_qkv.weight", "blk.1.attn_output.weight", "blk.2.ffn_up.weight", "blk.3.ffn_down.weight", "output.weight"}},
        sample{"gemma3", {"blk.0.attn_q.weight", "blk.1.attn_output.weight", "blk.2.ffn_gate.weight", "blk.3.ffn_down.weight"}},
        sample{"qwen3moe", {"blk.0.attn_k.weight", "blk.1.attn_output.weight"}}}) {
    const std::string path = std::string("models/arch/") + s.name + ".F32.gguf";
    if (!has_data(path)) continue;
    CAPTURE(s.name);
    model_parts base = parts_of(read_data(path));
    const adapter_parts parts(base, s.tensors, 6, 12, 9);
    const cria::model m = model_of(base);
    const cria::adapter a = adapter_of(parts.file, m);
    model_parts merged = base;
    parts.merge_into(merged, 0.7);
    const std::vector<token_id> tokens = some_tokens(30, m.vocab_size());
    const cria::nn::low_rank_use use[] = {a.use(0.7f)};
    const std::vector<float> truth = logits_of<kv_type::f32>(model_of(merged), tokens);
    CHECK(distance(truth, adapted_logits(m, tokens, use)) <= 5e-5);
    CHECK(distance(truth, adapted_logits(m, tokens, {})) > 1e-3);
  }
}

TEST_CASE("adapter: each sequence of a pass has its own, and the bits that it has alone") {
  using cache_type = cria::contiguous_kv_cache<kv_type::f32>;
  model_parts base = tiny_model({.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .type = tensor_type::q4_0});
  const adapter_parts first(base, some_of_llama, 4, 8, 3), second(base, {"blk.0.attn_k.weight", "output.weight"}, 3, 3, 4);
  const cria::model m = model_of(base);
  const cria::adapter a = adapter_of(first.file, m), b = adapter_of(second.file, m);
  const cria::nn::low_rank_use one[] = {a.use()}, two[] = {b.use(0.25f), a.use(2)};
  const std::vector<std::span<const cria::nn::low_rank_use>> uses = {{}, one, two, {}, one};
  const std::size_t lengths[] = {5, 9, 1, 12, 3}, asked[] = {5, 2, 1, 0, 3}, stride = logits_stride(m);
  std::vector<std::vector<token_id>> tokens;
  std::vector<cache_type> caches;
  std::vector<cria::nn::sequence_slice<cache_type>> slices;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    tokens.push_back(some_tokens(lengths[i], m.vocab_size(), static_cast<std::uint32_t>(i)));
    caches.push_back(*cache_type::create(m.cache_shape(), 16));
  }
  for (std::size_t i = 0; i < uses.size(); ++i) {
    slices.push_back({&caches[i], tokens[i], asked[i]});
    slices.back().adapters = uses[i];
  }
  cria::thread_pool pool(2);
  auto acts = *cria::nn::activations::create(m.activation_shape(30), m.precision(), 2, 1);
  std::vector<float> logits(11 * stride);
  REQUIRE(m.forward<cache_type>(pool, acts, slices, {logits.data(), stride, 11, m.vocab_size()}).has_value());
  std::size_t at = 0;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    CAPTURE(i);
    const std::vector<float> alone = adapted_logits(m, tokens[i], uses[i]);
    for (std::size_t t = lengths[i] - asked[i]; t < lengths[i]; ++t, ++at) {
      const auto want = std::span(alone).subspan(t * m.vocab_size(), m.vocab_size());
      CHECK(std::equal(want.begin(), want.end(), logits.begin() + static_cast<std::ptrdiff_t>(at * stride)));
    }
  }
}

TEST_CASE("adapter: files that are no adapter of this model are refused by name") {
  model_parts base = tiny_model();
  const cria::model m = model_of(base);
  const model_parts good = adapter_parts(base, {"blk.0.attn_q.weight", "blk.1.ffn_down.weight"}, 4, 8, 3).file;
  const auto check = [&](const model_parts& parts, errc code, const std::string& where) {
    const std::string bytes = parts.build();
    const auto a = cria::adapter::load(*open_bytes(bytes), m);
    CAPTURE(where);
    REQUIRE_FALSE(a.has_value());
    CAPTURE(a.error().to_string());
    CHECK(a.error().code == code);
    CHECK(a.error().where == where);
  };
  const auto with = [&](auto&& change) {
    model_parts parts = good;
    change(parts);
    return parts;
  };
  CHECK(adapter_of(good, m).bytes() > 0);
  for (const char* key : {"general.type", "adapter.type", "general.architecture"}) check(with([&](auto& p) { p.erase_key(key); }), errc::missing_key, key);
  check(with([](auto& p) { p.set("general.type", "model"); }), errc::bad_value, "general.type");
  check(with([](auto& p) { p.set("adapter.type", "control_vector"); }), errc::bad_value, "adapter.type");
  check(with([](auto& p) { p.set("general.architecture", "qwen2"); }), errc::unsupported_architecture, "general.architecture");
  check(with([](auto& p) { p.set("adapter.lora.alpha", "8"); }), errc::wrong_type, "adapter.lora.alpha");
  check(with([](auto& p) { p.set("adapter.lora.alpha", std::numeric_limits<float>::quiet_NaN()); }), errc::bad_value, "adapter.lora.alpha");
  check(with([](auto& p) { p.erase_tensor("blk.0.attn_q.weight.lora_b"); }), errc::missing_tensor, "blk.0.attn_q.weight.lora_b");
  check(with([](auto& p) { p.erase_tensor("blk.1.ffn_down.weight.lora_a"); }), errc::bad_value, "blk.1.ffn_down.weight.lora_b");
  for (const char* name : {"blk.2.attn_q.weight", "blk.0.attn_norm.weight", "token_embd.weight", "blk.00.attn_q.weight", "blk.-1.attn_q.weight",
                           "blk..attn_q.weight", "blk.99999999999999999999.attn_q.weight", "blk.0.attn_q"}) {
    check(with([&](auto& p) {
            p.tensors[0].name = std::string(name) + ".lora_a";
            p.tensors[1].name = std::string(name) + ".lora_b";
          }),
          errc::missing_tensor, name);
  }
  check(with([](auto& p) { p.set("adapter.lora.alpha", 1e300); }), errc::non_finite, "blk.0.attn_q.weight.lora_b");   // B alpha / rank does not fit a float
  check(with([](auto& p) { p.tensors[0].name = "stray"; }), errc::bad_value, "stray");
  const std::vector<float> zeros(4 * 48);
  check(with([&](auto& p) { p.tensors[0] = {"blk.0.attn_q.weight.lora_a", tensor_type::f32, {48, 4}, blocks_of(tensor_type::f32, zeros)}; }), errc::bad_shape,
        "blk.0.attn_q.weight.lora_a");
  check(with([&](auto& p) { p.tensors[1] = {"blk.0.attn_q.weight.lora_b", tensor_type::f32, {4, 48}, blocks_of(tensor_type::f32, zeros)}; }), errc::bad_shape,
        "blk.0.attn_q.weight.lora_b");
  check(with([&](auto& p) { p.tensors[1] = {"blk.0.attn_q.weight.lora_b", tensor_type::f32, {6, 32}, blocks_of(tensor_type::f32, zeros)}; }), errc::bad_shape,
        "blk.0.attn_q.weight.lora_b");
  check(with([](auto& p) { p.tensors[1].data.replace(8, 4, raw(std::numeric_limits<float>::infinity())); }), errc::non_finite, "blk.0.attn_q.weight.lora_b");
}

TEST_CASE("adapter: a pass refuses adapters of another model and scales that are no numbers, and its cache is as before") {
  model_parts base = tiny_model();
  const cria::model m = model_of(base), other = model_of(base);
  const adapter_parts parts(base, {"blk.0.attn_q.weight"}, 4, 8, 3);
  const cria::adapter mine = adapter_of(parts.file, m), others = adapter_of(parts.file, other);
  using cache_type = cria::contiguous_kv_cache<kv_type::f32>;
  cria::serial_executor serial;
  auto cache = *cache_type::create(m.cache_shape(), 8);
  auto a = *cria::nn::activations::create(m.activation_shape(4), m.precision(), 1, 1);
  std::vector<float> logits(logits_stride(m));
  const std::vector<token_id> tokens = {1, 2, 3};
  const auto run = [&](cria::nn::low_rank_use use) {
    cria::nn::sequence_slice<cache_type> slice{&cache, tokens};
    slice.adapters = {&use, 1};
    return m.forward<cache_type>(serial, a, {&slice, 1}, {logits.data(), logits.size(), 1, m.vocab_size()});
  };
  for (const cria::nn::low_rank_use& use : {others.use(), mine.use(std::numeric_limits<float>::infinity())}) {
    const auto refused = run(use);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == errc::bad_argument);
    CHECK(refused.error().where == "adapters");
    CHECK(cache.length() == 0);
  }
  CHECK(run(mine.use()).has_value());
  CHECK(cache.length() == 3);
}

TEST_CASE("adapter: a session swaps adapters at run time, forgets what it computed without them, and says apart what it holds") {
  model_parts base = tiny_model({.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .type = tensor_type::q4_0});
  const cria::model m = model_of(base), other = model_of(base);
  const adapter_parts parts(base, some_of_llama, 4, 8, 3);
  const cria::adapter a = adapter_of(parts.file, m);
  auto s = cria::basic_session<cria::contiguous_kv_cache<kv_type::f32>>::create(m, {.context_size = 32, .n_threads = 1, .max_batch = 4});
  REQUIRE(s.has_value());
  const std::vector<token_id> tokens = some_tokens(9, m.vocab_size());
  const auto last = [&](std::span<const cria::adapter_choice> choices) {
    REQUIRE(s->set_adapters(choices).has_value());
    CHECK(s->length() == 0);
    REQUIRE(s->evaluate(tokens).has_value());
    return std::vector<float>(s->logits().begin(), s->logits().end());
  };
  const auto want = [&](std::span<const cria::nn::low_rank_use> uses) {
    const std::vector<float> all = adapted_logits(m, tokens, uses);
    return std::vector<float>(all.end() - static_cast<std::ptrdiff_t>(m.vocab_size()), all.end());
  };
  const cria::adapter_choice one[] = {{a, 1}}, weak[] = {{a, 0.5f}};
  const cria::nn::low_rank_use use_one[] = {a.use()}, use_weak[] = {a.use(0.5f)};
  const std::uint64_t plain = s->fingerprint();
  CHECK(plain == m.fingerprint());
  CHECK(last({}) == want({}));
  CHECK(last(one) == want(use_one));
  const std::uint64_t adapted = s->fingerprint();
  CHECK(last(weak) == want(use_weak));
  CHECK(s->fingerprint() != adapted);
  CHECK(adapted != plain);
  model_parts louder = parts.file;
  louder.set("adapter.lora.alpha", 9.0f);   // the same tensors, with another weight
  const cria::adapter_choice loud[] = {{adapter_of(louder, m), 1}};
  REQUIRE(s->set_adapters(loud).has_value());
  CHECK(s->fingerprint() != adapted);
  REQUIRE(s->set_adapters({}).has_value());
  const cria::adapter_choice foreign[] = {{adapter_of(parts.file, other), 1}};
  const auto refused = s->set_adapters(foreign);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == errc::bad_argument);
  CHECK(s->length() == 0);
  CHECK(last({}) == want({}));
  CHECK(s->fingerprint() == plain);
}

TEST_CASE("adapter: a generation may say which adapters it wants, also with guesses; what it does not say stays") {
  model_parts base = tiny_model({.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .type = tensor_type::q4_0});
  const cria::model m = model_of(base);
  const adapter_parts parts(base, some_of_llama, 4, 8, 3);
  const cria::adapter_choice one{adapter_of(parts.file, m), 1};
  auto s = cria::session::create(m, {.context_size = 64, .n_threads = 1}).value();
  const std::vector<token_id> prompt = some_tokens(9, m.vocab_size());
  cria::generation_options plain{.max_tokens = 20, .sampling = cria::sampler_config::greedy()}, adapted = plain;
  plain.ignore_eos = adapted.ignore_eos = true;
  adapted.adapters = {one};
  const auto text = s.generate(prompt, plain).value().tokens, other = s.generate(prompt, adapted).value().tokens;
  CHECK(text != other);
  const auto again = s.generate(prompt, plain).value();   // as the session was told last
  CHECK(again.tokens == other);
  CHECK(again.n_reused == prompt.size() - 1);
  cria::lookup_drafter drafter;
  plain.adapters.emplace();
  CHECK(cria::generate_speculatively(s, prompt, plain, drafter).value().tokens == text);
  CHECK(cria::generate_speculatively(s, prompt, adapted, drafter).value().tokens == other);
  auto stream = s.stream(prompt, plain);
  std::vector<token_id> streamed;
  for (const cria::token_event& event : stream) {
    if (event.token != cria::no_token) streamed.push_back(event.token);
  }
  CHECK(streamed == text);
}

// llama.cpp d32676d: llama-completion --lora-scaled FILE:SCALE --temp 0 -fa off -ctk f32 -ctv f32, with the file that these parts make.
TEST_CASE("adapter: greedy text of an adapted model is the text that llama.cpp writes with the same file, at any strength") {
  if (!has_data("models/stories260K.gguf")) return;
  model_parts base = parts_of(read_data("models/stories260K.gguf"));
  const adapter_parts parts(base, {"blk.0.attn_q.weight", "blk.2.attn_v.weight", "blk.1.attn_output.weight", "blk.3.ffn_gate.weight", "blk.4.ffn_down.weight"},
                            8, 24, 11);
  const cria::model m = model_of(base);
  const cria::adapter a = adapter_of(parts.file, m);
  auto s = cria::basic_session<cria::contiguous_kv_cache<kv_type::f32>>::create(m, {.n_threads = 1}).value();
  struct sample {
    float scale;
    std::string text;
  };
  for (const sample& want :
       {sample{1, " anciststerer care and shehteryyedhehenookenenedhehenookenenenideeey. anuisiindoulankileee"},
        sample{0.5f, ", a little boarldar went to a big house. Inel sharp bowarlagerite, she saw a big boarld. In the boarckeee, she saw a big"},
        sample{-0.25f,
               ", there was a little girl named Lily. She loved to play with her toys in the sunshine. One day, she saw a big box with a big box. "
               "She wanted to see what was ins"}}) {
    cria::generation_options o{.max_tokens = 60, .sampling = cria::sampler_config::greedy()};
    o.adapters = {{a, want.scale}};
    CHECK(s.generate(std::string_view("Once upon a time"), o).value().text.substr(0, want.text.size()) == want.text);
  }
}
