// SPDX-License-Identifier: MIT
// tests/support/run_model.hpp - runs tokens through a model in any split and on any threads, and hashes what comes out.
#pragma once

#include <cria/core/thread_pool.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/model/model.hpp>

#include <doctest/doctest.h>

#include <tests/support/test_data.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cria_test {

/// What a logits row takes in a buffer.
inline std::size_t logits_stride(const cria::model& m) { return cria::round_up(m.vocab_size(), 16); }

/// A sequence with its cache and activations.
template <cria::kv_type Type = cria::kv_type::f16>
class sequence {
 public:
  using cache_type = cria::contiguous_kv_cache<Type>;

  sequence(const cria::model& m, cria::executor_ref executor, std::size_t max_tokens, std::size_t capacity = 256)
      : model_(m),
        executor_(executor),
        cache_(make(cache_type::create(m.cache_shape(), capacity))),
        activations_(make(cria::nn::activations::create(m.activation_shape(max_tokens), m.precision(), executor.concurrency(), cache_.max_segments()))) {}

  [[nodiscard]] cache_type& cache() { return cache_; }
  [[nodiscard]] cria::nn::activations& activations() { return activations_; }

  /// Runs the tokens in one pass; `logits` has room for n_logits rows of logits_stride.
  cria::result<void> run(std::span<const cria::token_id> tokens, std::size_t n_logits, std::span<float> logits, const std::stop_token& stop = {}) {
    cria::nn::sequence_slice<cache_type> slice{&cache_, tokens, n_logits};
    return model_.forward<cache_type>(executor_, activations_, {&slice, 1}, {logits.data(), logits_stride(model_), n_logits, model_.vocab_size()}, stop);
  }

  /// Runs the tokens in passes of `batch` and returns all their logits, [tokens][vocabulary].
  std::vector<float> logits(std::span<const cria::token_id> tokens, std::size_t batch) {
    const std::size_t stride = logits_stride(model_), n_vocab = model_.vocab_size();
    std::vector<float> padded(batch * stride), all;
    all.reserve(tokens.size() * n_vocab);
    for (std::size_t at = 0; at < tokens.size(); at += batch) {
      const auto part = tokens.subspan(at, std::min(batch, tokens.size() - at));
      const auto done = run(part, part.size(), padded);
      REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().to_string()));
      for (std::size_t t = 0; t < part.size(); ++t) all.insert(all.end(), padded.begin() + static_cast<std::ptrdiff_t>(t * stride),
                                                               padded.begin() + static_cast<std::ptrdiff_t>(t * stride + n_vocab));
    }
    return all;
  }

 private:
  template <class T>
  static T make(cria::result<T> r) {
    REQUIRE_MESSAGE(r.has_value(), (r ? "" : r.error().to_string()));
    return *std::move(r);
  }

  const cria::model& model_;
  cria::executor_ref executor_;
  cache_type cache_;
  cria::nn::activations activations_;
};

/// Returns all logits of the tokens from an empty cache; batch 0: one pass.
template <cria::kv_type Type = cria::kv_type::f16>
std::vector<float> logits_of(const cria::model& m, std::span<const cria::token_id> tokens, std::size_t batch = 0, std::size_t n_threads = 1) {
  if (batch == 0) batch = tokens.size();
  cria::thread_pool pool(n_threads);
  return sequence<Type>(m, pool, batch, tokens.size()).logits(tokens, batch);
}

/// Returns any tokens of a vocabulary, the same ones each time.
inline std::vector<cria::token_id> some_tokens(std::size_t n, std::size_t n_vocab, std::uint32_t seed = 7) {
  std::mt19937 random(seed);
  std::vector<cria::token_id> tokens(n);
  for (cria::token_id& t : tokens) t = static_cast<cria::token_id>(random() % n_vocab);
  return tokens;
}

/// Loads a model of the reference data.
inline cria::model load_data(const std::string& relative, cria::load_options options = {}) {
  if (options.n_threads == 0) options.n_threads = 1;
  auto file = cria::gguf::file::open(data_root() / relative);
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
  auto m = cria::model::load(*file, options);
  REQUIRE_MESSAGE(m.has_value(), (m ? "" : m.error().to_string()));
  return *std::move(m);
}

/// FNV-1a over the bits of floats.
inline std::uint64_t hash_of(std::span<const float> values) {
  std::uint64_t hash = 14695981039346656037u;
  for (const float x : values) {
    for (int b = 0; b < 32; b += 8) hash = (hash ^ (std::bit_cast<std::uint32_t>(x) >> b & 255)) * 1099511628211u;
  }
  return hash;
}

}  // namespace cria_test
