// SPDX-License-Identifier: MIT
// The llama decoder against golden logits, against a plain llama in double precision, and against itself in every split of the work.
//
// Bars: shared data, golden/README.md (llama.cpp d32676d, August 2026, float32 cache): mean KL of exact <= 2e-5 with the default cache and <= 3e-6
// with a float32 cache; of fast <= 1.5 times what llama.cpp loses on the same file, copied below.
#include <cria/model/model.hpp>

#include <doctest/doctest.h>

#include <tests/kernels/kernel_test.hpp>
#include <tests/support/golden.hpp>
#include <tests/support/reference_llama.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/sanitized.hpp>
#include <tests/support/tiny_model.hpp>

#include <cmath>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <limits>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace {

using namespace cria_test;
using cria::kv_type;
using cria::precision;
using cria::token_id;
using cria::errc;

constexpr double exact_bar = 2e-5, exact_f32_bar = 3e-6, least_margin = 0.02;

struct quantised_file {
  std::string name;
  double peer_kl;   // mean KL of llama.cpp; 0: no row, the exact bar counts
};

const std::vector<quantised_file>& quantised_files() {
  static const std::vector<quantised_file> files = {
      {"fixture-256.F32", 0},         {"fixture-256.F16", 6.7e-6},    {"fixture-256.BF16", 4.1e-4},   {"fixture-256.Q4_0", 5.8e-3},
      {"fixture-256.Q4_1", 6.8e-3},   {"fixture-256.Q5_0", 6.0e-3},   {"fixture-256.Q5_1", 5.4e-3},   {"fixture-256.Q8_0", 6.1e-3},
      {"fixture-256.Q2_K", 1.9e-2},   {"fixture-256.Q3_K_M", 1.5e-2}, {"fixture-256.Q4_K_M", 1.5e-2}, {"fixture-256.Q5_K_M", 1.6e-2},
      {"fixture-256.Q6_K", 1.6e-2},   {"fixture-256.IQ4_NL", 8.7e-3}, {"fixture-256.IQ4_XS", 1.7e-2}, {"arch/llama-rope3.F32", 0},
      {"arch/llama-yarn.F32", 0},     {"arch/llama-linear.F32", 0},   {"arch/llama-bias.F32", 0},     {"arch/llama-odd.F32", 0},
      {"arch/llama-rope3.Q4_0", 4.0e-3}, {"arch/llama-yarn.Q4_0", 7.7e-3}, {"arch/llama-linear.Q4_0", 4.0e-3}, {"arch/llama-bias.Q4_0", 2.9e-3},
      {"arch/llama-odd.Q4_0", 1.5e-3}};
  return files;
}

cria::load_options with(precision p, std::optional<cria::isa::id> set = {}) {
  cria::load_options o;
  o.precision = p;
  o.instruction_set = set;
  return o;
}

std::span<const float> row(const std::vector<float>& logits, std::size_t n_vocab, std::size_t t) { return std::span(logits).subspan(t * n_vocab, n_vocab); }

/// Mean KL from the golden logits over all prompts.
template <kv_type Type>
divergence_sum divergence_from(const golden& g, const cria::model& m) {
  divergence_sum sum;
  for (const golden_case& c : g.cases) {
    const std::vector<float> logits = logits_of<Type>(m, c.tokens);
    for (std::size_t t = 0; t < c.tokens.size(); ++t) sum.add(divergence(row(c.logits, g.n_vocab, t), row(logits, g.n_vocab, t)));
  }
  return sum;
}

/// Runs prompt and greedy tokens in one pass: each greedy token must be the best one where the golden margin says that it is clear.
template <kv_type Type>
void check_greedy(const golden& g, const cria::model& m) {
  std::size_t n_compared = 0;
  for (const golden_case& c : g.cases) {
    std::vector<token_id> tokens = c.tokens;
    tokens.insert(tokens.end(), c.greedy.begin(), c.greedy.end() - 1);
    const std::vector<float> logits = logits_of<Type>(m, tokens);
    for (std::size_t i = 0; i < c.greedy.size(); ++i) {
      if (c.greedy_margin[i] <= least_margin) continue;
      CAPTURE(c.prompt);
      CAPTURE(i);
      CHECK(best(row(logits, g.n_vocab, c.tokens.size() - 1 + i)) == static_cast<std::size_t>(c.greedy[i]));
      ++n_compared;
    }
  }
  CHECK(n_compared > 10);
}

/// Prompt tokens of a golden file, all cases one after another.
std::vector<token_id> all_tokens(const golden& g, std::size_t most) {
  std::vector<token_id> tokens;
  for (const golden_case& c : g.cases) tokens.insert(tokens.end(), c.tokens.begin(), c.tokens.end());
  tokens.resize(std::min(most, tokens.size()));
  return tokens;
}

#if CRIA_TEST_SANITIZED || defined(CRIA_TEST_EMULATED)
constexpr bool is_slow_build = true;   // fewer repetitions of the same thing
#else
constexpr bool is_slow_build = false;
#endif

}  // namespace

TEST_CASE("reference_llama: agrees with the golden floats of stories260K") {
  if (!has_data("models/stories260K.gguf")) return;
  const golden g = read_golden("stories260K");
  const reference_llama reference(*cria::gguf::file::open(data_root() / "models/stories260K.gguf"));
  const reference_llama confused(*cria::gguf::file::open(data_root() / "models/stories260K.gguf"), reference_pairing::halves);
  const golden_case& c = g.cases[0];
  const auto logits = reference.logits(c.tokens), wrong = confused.logits(c.tokens);
  for (std::size_t t = 0; t < c.tokens.size(); ++t) {
    CAPTURE(t);
    CHECK(relative_error(row(c.logits, g.n_vocab, t), std::span<const double>(logits[t])) < 2e-5);   // float32 sums of the golden run
  }
  // The reference can tell the pairings apart: at position 0 both agree, later they do not.
  CHECK(relative_error(row(c.logits, g.n_vocab, 0), std::span<const double>(wrong[0])) < 2e-5);
  CHECK(relative_error(row(c.logits, g.n_vocab, c.tokens.size() - 1), std::span<const double>(wrong.back())) > 1e-2);
}

TEST_CASE("llama: logits of stories260K are within 1e-4 of the golden floats and its greedy text is the golden text") {
  if (!has_data("models/stories260K.gguf")) return;
  const golden g = read_golden("stories260K");
  for (const precision p : {precision::exact, precision::fast}) {
    const cria::model m = load_data("models/stories260K.gguf", with(p));
    REQUIRE(m.vocab_size() == g.n_vocab);
    double worst = 0;
    for (const golden_case& c : g.cases) {
      const std::vector<float> logits = logits_of<kv_type::f32>(m, c.tokens);
      for (std::size_t t = 0; t < c.tokens.size(); ++t) {
        worst = std::max(worst, relative_error(row(c.logits, g.n_vocab, t), row(logits, g.n_vocab, t)));
      }
    }
    CAPTURE(name(p));
    CHECK(worst <= 1e-4);
    for (const golden_case& c : g.cases) {   // token by token, as a program would, with the default cache
      cria::serial_executor serial;
      sequence<> s(m, serial, c.tokens.size(), c.tokens.size() + c.greedy.size());
      std::vector<float> logits = s.logits(c.tokens, c.tokens.size());
      std::vector<token_id> text;
      while (text.size() < c.greedy.size()) {
        text.push_back(static_cast<token_id>(best(std::span<const float>(logits).last(g.n_vocab))));
        logits = s.logits({&text.back(), 1}, 1);
      }
      CHECK(text == c.greedy);
      std::string bytes;
      for (const token_id t : text) bytes += m.tokenizer().piece(t);
      CHECK(bytes == c.greedy_bytes);
    }
  }
}

TEST_CASE("llama: each file is as near to its dequantised self as promised, at both precisions and with each cache") {
  for (const quantised_file& file : quantised_files()) {
    if (!has_data("models/" + file.name + ".gguf")) continue;
    const golden g = read_golden(file.name);
    const std::string path = "models/" + file.name + ".gguf";
    CAPTURE(file.name);
    const cria::model exact = load_data(path), fast = load_data(path, with(precision::fast));
    const auto exact_f16 = divergence_from<kv_type::f16>(g, exact), exact_f32 = divergence_from<kv_type::f32>(g, exact);
    const auto fast_f16 = divergence_from<kv_type::f16>(g, fast), fast_f32 = divergence_from<kv_type::f32>(g, fast);
    std::cout << std::setw(24) << file.name << "  mean KL exact " << std::scientific << std::setprecision(1) << exact_f16.mean() << " (f32 cache "
              << exact_f32.mean() << "), fast " << fast_f16.mean() << " (" << fast_f32.mean() << "), llama.cpp " << file.peer_kl << "\n";
    CHECK(exact_f16.mean() <= exact_bar);
    CHECK(exact_f32.mean() <= exact_f32_bar);
    // Products with float weights are float32 throughout: the distance is that of two orders of summation, about (2^-24)^2 K.
    if (file.name.ends_with("F32") || file.name.ends_with("F16")) CHECK(fast_f32.mean() <= 1e-9);
    const double fast_bar = std::max(1.5 * file.peer_kl, exact_bar), fast_f32_bar = std::max(1.5 * file.peer_kl, exact_f32_bar);
    CHECK(fast_f16.mean() <= fast_bar);
    CHECK(fast_f32.mean() <= fast_f32_bar);
    check_greedy<kv_type::f16>(g, exact);
    if (!is_slow_build) check_greedy<kv_type::f32>(g, exact);
  }
}

TEST_CASE("llama: a q8_0 cache costs less than 8-bit activations do") {
  // Keys and values in 8 bits lose about what activations in 8 bits lose in two of a layer's products; llama.cpp's loss on these files is the yardstick.
  for (const char* name : {"fixture-256.Q4_0", "fixture-256.Q8_0", "arch/llama-odd.Q4_0", "arch/llama-bias.Q4_0"}) {
    if (!has_data(std::string("models/") + name + ".gguf")) continue;
    const golden g = read_golden(name);
    const auto file = std::find_if(quantised_files().begin(), quantised_files().end(), [&](const auto& f) { return f.name == name; });
    const auto kl = divergence_from<kv_type::q8_0>(g, load_data(std::string("models/") + name + ".gguf"));
    CAPTURE(name);
    std::cout << std::setw(24) << name << "  mean KL exact, q8_0 cache " << std::scientific << std::setprecision(1) << kl.mean() << "\n";
    CHECK(kl.mean() <= file->peer_kl);
    CHECK(kl.mean() > 1e-7);   // it is in use
  }
}

TEST_CASE("llama: a bf16 cache costs less than 8-bit activations do") {
  for (const char* name : {"fixture-256.Q4_0", "arch/llama-odd.Q4_0"}) {
    if (!has_data(std::string("models/") + name + ".gguf")) continue;
    const golden g = read_golden(name);
    const auto file = std::find_if(quantised_files().begin(), quantised_files().end(), [&](const auto& f) { return f.name == name; });
    const auto kl = divergence_from<kv_type::bf16>(g, load_data(std::string("models/") + name + ".gguf"));
    CAPTURE(name);
    std::cout << std::setw(24) << name << "  mean KL exact, bf16 cache " << std::scientific << std::setprecision(1) << kl.mean() << "\n";
    CHECK(kl.mean() <= file->peer_kl);
    CHECK(kl.mean() > 1e-7);   // it is in use
  }
}

TEST_CASE("llama: shapes, formats, biases and tied output agree with the reference in double precision") {
  using enum cria::tensor_type;
  struct sample {
    tiny_shape shape;
    const char* what;
  };
  const std::vector<sample> samples = {
      {{}, "plain"},
      {{.n_heads = 4, .n_kv_heads = 4, .head_dim = 8}, "no groups"},
      {{.dim = 48, .n_heads = 3, .n_kv_heads = 1, .head_dim = 16, .ffn_dim = 80, .vocab_size = 33}, "three heads on one, widths that are no powers"},
      {{.dim = 32, .n_heads = 3, .n_kv_heads = 3, .head_dim = 24, .ffn_dim = 40}, "heads wider together than the model"},
      {{.dim = 20, .n_layers = 1, .n_heads = 5, .n_kv_heads = 5, .head_dim = 4, .ffn_dim = 7, .vocab_size = 5}, "everything below a vector"},
      {{.dim = 64, .n_heads = 20, .n_kv_heads = 1, .head_dim = 8}, "more heads in a group than attention takes at once"},
      {{.rope_dim = 8}, "half of each head turns"},
      {{.biases = true}, "biases"},
      {{.tied = true}, "tied"},
      {{.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .type = q4_0, .output_type = q8_0, .embedding_type = q4_1}, "32-blocks mixed"},
      {{.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .type = q5_1, .embedding_type = q5_0, .tied = true, .biases = true}, "tied and packed"},
      {{.dim = 256, .n_heads = 4, .head_dim = 64, .ffn_dim = 256, .type = q4_k, .output_type = q6_k, .embedding_type = q3_k}, "256-blocks"},
      {{.dim = 256, .n_heads = 4, .head_dim = 64, .ffn_dim = 256, .type = q2_k, .output_type = bf16, .embedding_type = q5_k}, "256-blocks and bf16"},
      {{.dim = 64, .n_heads = 2, .head_dim = 32, .ffn_dim = 96, .type = mxfp4, .output_type = f16, .embedding_type = iq4_nl}, "mxfp4 and f16"}};
  for (const sample& s : samples) {
    CAPTURE(s.what);
    const std::string bytes = tiny_model(s.shape).build();
    const auto m = load_bytes(bytes);
    REQUIRE_MESSAGE(m.has_value(), (m ? "" : m.error().to_string()));
    const std::vector<token_id> tokens = some_tokens(21, s.shape.vocab_size);
    const auto truth = reference_llama(*open_bytes(bytes)).logits(tokens);
    const bool is_float = s.shape.type == f32 && s.shape.output_type == f32;
    // Floats: a product of K terms errs by at most K 2^-24 of its terms' absolute sum; K <= 80 here and the layers are few. Quantised: 15 bits per
    // activation, 2^-15 of the largest in 32, and errors of products average out.
    const double bar = is_float ? 2e-5 : 5e-4;
    for (const std::size_t batch : {std::size_t{0}, std::size_t{1}, std::size_t{5}}) {
      const std::vector<float> logits = logits_of<kv_type::f32>(*m, tokens, batch, 2);
      double worst = 0;
      for (std::size_t t = 0; t < tokens.size(); ++t) {
        worst = std::max(worst, relative_error(std::span<const double>(truth[t]), row(logits, m->vocab_size(), t)));
      }
      CHECK(worst <= bar);
    }
  }
}

TEST_CASE("llama: the same bits for any threads and any split of the prompt, on every instruction set with FMA") {
  // The hashes are those of the first 20 tokens' logits with cria at the commit that added them, on x86-64 (AVX2, AVX-512) and on aarch64: they make
  // machines comparable that one run cannot have. Who changes the arithmetic of a kernel on purpose copies what the test prints, on every machine.
  constexpr std::size_t n_hashed = 20;
  struct sample {
    const char* file;
    std::size_t n_tokens;
    std::uint64_t exact_hash, fast_hash;
  };
  for (const sample& s : {sample{"fixture-256.Q4_0", 70, 0x569fc2adf38a9ceb, 0x055539d95887007d},
                          sample{"fixture-256.Q4_K_M", 70, 0x94e95c2b2aeb975d, 0x500382fc5e37f5ce},
                          sample{"arch/llama-odd.Q4_0", 70, 0x78306082617bb105, 0x98d1d6506a6f3bef},
                          sample{"stories260K", 40, 0x31c35c5d441683af, 0x31c35c5d441683af}}) {  // floats alone
    if (!has_data(std::string("models/") + s.file + ".gguf")) continue;
    const std::vector<token_id> tokens = all_tokens(read_golden(s.file), is_slow_build ? n_hashed : s.n_tokens);
    for (const precision p : {precision::exact, precision::fast}) {
      std::vector<float> agreed;
      for (const cria::kernels::kernel_table* table : tables()) {
        const cria::model m = load_data(std::string("models/") + s.file + ".gguf", with(p, table->set));
        const std::vector<float> whole = logits_of(m, tokens);
        const std::uint64_t hash = hash_of(whole), first_hash = hash_of(std::span(whole).first(n_hashed * m.vocab_size()));
        std::cout << std::setw(20) << s.file << " " << cria::name(p) << " " << std::setw(12) << name(*table) << "  " << std::hex << first_hash << std::dec
                  << "\n";
        CAPTURE(s.file);
        CAPTURE(name(*table));
        CAPTURE(cria::name(p));
        if (is_fused(*table)) {
          if (agreed.empty()) agreed = whole;
          CHECK(whole == agreed);
          CHECK(first_hash == (p == precision::exact ? s.exact_hash : s.fast_hash));
        }
        const bool is_best = table == tables().back();
        for (const std::size_t n_threads : {1u, 2u, 3u, 8u}) {
          for (const std::size_t batch : {std::size_t{1}, std::size_t{7}, std::size_t{64}, tokens.size()}) {
            if (!is_best && (n_threads != 3 || batch > 7)) continue;
            if (is_slow_build && (n_threads == 2 || batch == 64)) continue;
            CAPTURE(n_threads);
            CAPTURE(batch);
            CHECK(hash_of(logits_of(m, tokens, batch, n_threads)) == hash);
          }
        }
      }
      CHECK_FALSE(agreed.empty());
    }
  }
}

TEST_CASE("llama: packing on many threads gives the weights that one thread gives") {
  if (!has_data("models/fixture-256.Q4_0.gguf")) return;
  const std::vector<token_id> tokens = some_tokens(5, 512);
  cria::load_options many;
  many.n_threads = 8;
  CHECK(logits_of(load_data("models/fixture-256.Q4_0.gguf", many), tokens) == logits_of(load_data("models/fixture-256.Q4_0.gguf"), tokens));
}

namespace {

/// Sequences of different lengths in one pass, each of which must get the bits that it gets alone.
template <kv_type Type>
void check_company(const cria::model& m, std::size_t n_threads) {
  using cache_type = cria::contiguous_kv_cache<Type>;
  const std::size_t n_vocab = m.vocab_size(), stride = logits_stride(m);
  cria::thread_pool pool(n_threads);
  std::vector<std::vector<token_id>> prompts = {some_tokens(17, n_vocab, 1), some_tokens(1, n_vocab, 2), some_tokens(40, n_vocab, 3),
                                                some_tokens(5, n_vocab, 4)};
  std::vector<std::vector<float>> alone;
  for (const auto& p : prompts) alone.push_back(logits_of<Type>(m, p, p.size()));

  std::vector<cache_type> caches;
  for (std::size_t i = 0; i < prompts.size(); ++i) caches.push_back(*cache_type::create(m.cache_shape(), 64));
  auto a = *cria::nn::activations::create(m.activation_shape(64), m.precision(), pool.concurrency(), 1);
  std::vector<std::size_t> at(prompts.size());
  std::vector<std::vector<float>> together(prompts.size());
  for (std::size_t step = 0;; ++step) {
    // Steps of 1, 2, 3 ... tokens: prompts and single tokens share passes.
    std::vector<cria::nn::sequence_slice<cache_type>> slices;
    std::vector<std::size_t> whose;
    std::size_t n_rows = 0;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const std::size_t n = std::min(prompts[i].size() - at[i], 1 + (step + i) % 4 * 3);
      if (n == 0) continue;
      slices.push_back({&caches[i], std::span(prompts[i]).subspan(at[i], n), n});
      whose.push_back(i);
      n_rows += n;
    }
    if (slices.empty()) break;
    std::vector<float> logits(n_rows * stride);
    REQUIRE(m.forward<cache_type>(pool, a, slices, {logits.data(), stride, n_rows, n_vocab}).has_value());
    const float* from = logits.data();
    for (std::size_t k = 0; k < slices.size(); ++k) {
      for (std::size_t t = 0; t < slices[k].tokens.size(); ++t, from += stride) together[whose[k]].insert(together[whose[k]].end(), from, from + n_vocab);
      at[whose[k]] += slices[k].tokens.size();
      CHECK(caches[whose[k]].length() == at[whose[k]]);
    }
  }
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    CAPTURE(i);
    CHECK(together[i] == alone[i]);
  }
}

}  // namespace

TEST_CASE("llama: a sequence gets the same bits alone and beside others") {
  if (!has_data("models/fixture-256.Q4_0.gguf")) return;
  for (const precision p : {precision::exact, precision::fast}) {
    const cria::model m = load_data("models/fixture-256.Q4_0.gguf", with(p));
    check_company<kv_type::f16>(m, 2);
    check_company<kv_type::q8_0>(m, 1);
  }
}

TEST_CASE("llama: going back to any position and running on gives the same bits") {
  const std::string bytes = tiny_model({.dim = 64, .head_dim = 32, .type = cria::tensor_type::q4_0}).build();
  const auto m = load_bytes(bytes);
  REQUIRE(m.has_value());
  const std::vector<token_id> tokens = some_tokens(40, m->vocab_size());
  cria::serial_executor serial;
  sequence<> s(*m, serial, 40, 40);
  const std::vector<float> first = s.logits(tokens, 40);
  for (const std::size_t keep : {0u, 1u, 15u, 16u, 17u, 32u, 39u}) {
    CAPTURE(keep);
    s.cache().truncate(keep);
    s.logits(some_tokens(1, m->vocab_size(), 99), 1);   // something else in between
    s.cache().truncate(keep);
    CHECK(s.cache().length() == keep);
    const std::vector<float> again = s.logits(std::span(tokens).subspan(keep), 3);
    CHECK(again == std::vector<float>(first.begin() + static_cast<std::ptrdiff_t>(keep * m->vocab_size()), first.end()));
  }
}

TEST_CASE("llama: rows that do not ask get no logits") {
  const std::string bytes = tiny_model().build();
  const auto m = load_bytes(bytes);
  REQUIRE(m.has_value());
  const std::vector<token_id> tokens = some_tokens(9, m->vocab_size());
  const std::size_t stride = logits_stride(*m), n_vocab = m->vocab_size();
  const std::vector<float> all = logits_of(*m, tokens);
  constexpr float untouched = -12345;
  for (std::size_t n = 0; n <= tokens.size(); ++n) {
    cria::serial_executor serial;
    sequence<> s(*m, serial, tokens.size());
    std::vector<float> logits((n + 1) * stride, untouched);
    REQUIRE(s.run(tokens, n, logits).has_value());
    CAPTURE(n);
    for (std::size_t r = 0; r < n; ++r) {
      const auto want = row(all, n_vocab, tokens.size() - n + r);
      CHECK(std::equal(want.begin(), want.end(), logits.begin() + static_cast<std::ptrdiff_t>(r * stride)));
    }
    CHECK(std::all_of(logits.end() - static_cast<std::ptrdiff_t>(stride), logits.end(), [](float x) { return x == untouched; }));
    CHECK(s.cache().length() == tokens.size());
  }
}

TEST_CASE("llama: a pass that is refused or cancelled says why and leaves the cache as it was") {
  const std::string bytes = tiny_model().build();
  const auto m = load_bytes(bytes);
  REQUIRE(m.has_value());
  const std::size_t n_vocab = m->vocab_size();
  const std::vector<token_id> tokens = some_tokens(12, n_vocab);
  const std::vector<float> truth = logits_of(*m, tokens);
  cria::serial_executor serial;
  sequence<> s(*m, serial, 8, 12);
  std::vector<float> logits(16 * logits_stride(*m));
  s.logits(std::span(tokens).first(6), 6);

  const auto refused = [&](std::span<const token_id> wrong, std::size_t n_logits, errc code) {
    const auto done = s.run(wrong, n_logits, logits);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().code == code);
    CHECK_FALSE(done.error().where.empty());
    CHECK(s.cache().length() == 6);
  };
  refused({}, 0, errc::bad_argument);
  refused(std::span(tokens).first(2), 3, errc::bad_argument);
  refused(std::span(tokens).first(9), 1, errc::bad_argument);   // more than the activations hold
  refused(std::span(tokens).first(7), 1, errc::context_full);
  for (const token_id wrong : {-1, static_cast<int>(n_vocab), std::numeric_limits<token_id>::max(), std::numeric_limits<token_id>::min()}) {
    const token_id pair[] = {tokens[0], wrong};
    refused(pair, 1, errc::bad_argument);
  }
  const auto nothing = m->forward<cria::contiguous_kv_cache<kv_type::f16>>(serial, s.activations(), {}, {});
  CHECK_FALSE(nothing.has_value());

  std::stop_source stop;
  stop.request_stop();
  const auto stopped = s.run(std::span(tokens).subspan(6, 2), 1, logits, stop.get_token());
  REQUIRE_FALSE(stopped.has_value());
  CHECK(stopped.error().code == errc::cancelled);
  CHECK(s.cache().length() == 6);

  const std::vector<float> rest = s.logits(std::span(tokens).subspan(6), 4);
  CHECK(rest == std::vector<float>(truth.begin() + static_cast<std::ptrdiff_t>(6 * n_vocab), truth.end()));
}

TEST_CASE("llama: a sequence without room is refused together with its company, which keeps its room") {
  const std::string bytes = tiny_model().build();
  const auto m = load_bytes(bytes);
  REQUIRE(m.has_value());
  using cache_type = cria::contiguous_kv_cache<kv_type::f16>;
  auto roomy = *cache_type::create(m->cache_shape(), 16), full = *cache_type::create(m->cache_shape(), 2);
  cria::serial_executor serial;
  auto a = *cria::nn::activations::create(m->activation_shape(8), m->precision(), 1, 1);
  const std::vector<token_id> tokens = some_tokens(3, m->vocab_size());
  std::vector<float> logits(2 * logits_stride(*m));
  cria::nn::sequence_slice<cache_type> slices[] = {{&roomy, tokens, 1}, {&full, tokens, 1}};
  const auto done = m->forward<cache_type>(serial, a, slices, {logits.data(), logits_stride(*m), 2, m->vocab_size()});
  REQUIRE_FALSE(done.has_value());
  CHECK(done.error().code == errc::context_full);
  CHECK(roomy.length() == 0);
  CHECK(full.length() == 0);
  CHECK(roomy.reserve(16).has_value());
}

#if CRIA_HAS_EXCEPTIONS
TEST_CASE("llama: an executor that throws at any run leaves the cache as it was") {
  struct throwing {
    std::size_t n_left;
    [[nodiscard]] std::size_t concurrency() const noexcept { return 1 + 1; }
    void run(std::size_t n, cria::task_ref task) {
      if (n_left-- == 0) throw std::runtime_error("no");
      for (std::size_t i = 0; i < n; ++i) task(i);
    }
  };
  const std::string bytes = tiny_model().build();
  const auto m = load_bytes(bytes);
  REQUIRE(m.has_value());
  const std::vector<token_id> tokens = some_tokens(8, m->vocab_size());
  const std::vector<float> truth = logits_of(*m, tokens);
  std::size_t n_thrown = 0;
  for (std::size_t n = 0;; ++n) {
    throwing executor{n};
    sequence<> s(*m, executor, 8, 8);
    std::vector<float> logits(8 * logits_stride(*m));
    bool threw = false;
    try {
      const auto done = s.run(tokens, 8, logits);
      CHECK(done.has_value());
    } catch (const std::runtime_error&) {
      threw = true;
    }
    if (!threw) break;
    ++n_thrown;
    CHECK(s.cache().length() == 0);
    executor.n_left = 1000000;
    CHECK(s.logits(tokens, 8) == truth);
  }
  CHECK(n_thrown > 5);
}
#endif

TEST_CASE("llama: NaN and inf in weights end as non-finite logits, nothing worse") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  std::vector<std::string> names;
  for (const auto& t : tiny_model({.biases = true}).tensors) names.push_back(t.name);
  for (const std::string& tensor : names) {
    for (const float bad : {nan, inf, -inf}) {
      auto parts = tiny_model({.biases = true});
      std::memcpy(parts.at(tensor).data.data() + 4, &bad, sizeof bad);
      CAPTURE(tensor);
      CAPTURE(bad);
      const std::string bytes = parts.build();
      const auto m = load_bytes(bytes);
      if (tensor == "output.weight") {
        REQUIRE_FALSE(m.has_value());
        continue;
      }
      REQUIRE(m.has_value());
      std::vector<token_id> tokens(m->vocab_size());
      for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<token_id>(i);
      for (const std::size_t batch : {std::size_t{0}, std::size_t{1}}) {
        const std::vector<float> logits = logits_of(*m, tokens, batch, 2);
        CHECK(std::any_of(logits.begin(), logits.end(), [](float x) { return !std::isfinite(x); }));
      }
    }
  }
}
