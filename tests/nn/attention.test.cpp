// SPDX-License-Identifier: MIT
// Rotation, cache and attention against plain loops in double precision, and against themselves with other threads and batches.
#include <cria/nn/attention.hpp>

#include <doctest/doctest.h>

#include <cria/core/thread_pool.hpp>
#include <cria/kv/contiguous.hpp>

#include <tests/nn/activation_samples.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace {

using namespace cria_test;
using namespace cria;

struct attention_sample {
  std::size_t n_heads, n_kv_heads, head_dim, rope_dim;
  nn::attention_parameters parameters;
  kernels::rope_pairing pairing;
};

/// Appends two batches of tokens of one sequence to a cache and compares what attention mixes with plain loops over what was stored.
template <kv_type Type>
void check_attention(const attention_sample& sample, std::size_t n_threads, double bar) {
  const std::size_t d = sample.head_dim, group = sample.n_heads / sample.n_kv_heads;
  const nn::activation_shape s{40, 16, sample.n_heads, sample.n_kv_heads, d, 16, sample.rope_dim};
  thread_pool pool(n_threads);
  const nn::compute c{best_table(), pool, precision::exact};
  auto a = *nn::activations::create(s, precision::exact, n_threads, 1);
  auto cache = *cache_of<Type>::create({2, sample.n_kv_heads, d}, 80);
  const nn::rope rope = nn::make_rope({.rope_dim = sample.rope_dim, .base = 100, .pairing = sample.pairing}, {});
  const float q_scale = 1 / std::sqrt(static_cast<float>(d));
  const std::size_t layer = 1;

  std::vector<std::vector<double>> keys, values;   // [position][kv heads * d], rotated
  const auto rotated = [&](std::vector<double> x, std::size_t pos) {
    for (std::size_t head = 0; head < x.size(); head += d) {
      for (std::size_t i = 0; i < sample.rope_dim / 2; ++i) {
        const bool adjacent = sample.pairing == kernels::rope_pairing::adjacent;
        double &p = x[head + (adjacent ? 2 * i : i)], &q = x[head + (adjacent ? 2 * i + 1 : i + sample.rope_dim / 2)];
        const double angle = static_cast<double>(pos) * rope.frequencies[i], turned = p * std::cos(angle) - q * std::sin(angle);
        q = p * std::sin(angle) + q * std::cos(angle);
        p = turned;
      }
    }
    return x;
  };
  std::uint32_t seed = 1;
  for (const std::size_t n_tokens : {std::size_t{1}, std::size_t{37}, std::size_t{2}}) {
    fill(a.q, seed++, 2);
    fill(a.k, seed++, 2);
    fill(a.v, seed++, 2);
    const std::vector<token_id> tokens(n_tokens);
    nn::sequence_slice<cache_of<Type>> slice{&cache, tokens};
    REQUIRE(nn::begin_pass(a, 1, std::span(&slice, 1)).has_value());
    std::vector<std::vector<double>> queries;
    for (std::size_t t = 0; t < n_tokens; ++t) {
      queries.push_back(rotated(row_of(a.q, t), slice.start_pos + t));
      keys.push_back(rotated(row_of(a.k, t), slice.start_pos + t));
      values.push_back(row_of(a.v, t));
    }
    nn::rope_table(c, a, n_tokens, rope, a.rope);
    nn::rotate_and_append(c, a, {.angles = &rope, .table = &a.rope, .q_scale = q_scale}, layer, std::span(&slice, 1));
    nn::attend(c, a, sample.parameters, layer, std::span(&slice, 1));
    check_integers(c, a.mixed_input(n_tokens), group * d % 32 == 0);
    for (std::size_t t = 0; t < n_tokens; ++t) {
      const std::size_t pos = slice.start_pos + t;
      const std::size_t first = sample.parameters.window == 0 || pos < sample.parameters.window ? 0 : pos + 1 - sample.parameters.window;
      std::vector<double> want(sample.n_heads * d);
      for (std::size_t head = 0; head < sample.n_heads; ++head) {
        const std::size_t kv = head / group * d;
        std::vector<double> weight;
        double sum = 0;
        for (std::size_t p = first; p <= pos; ++p) {
          double score = 0;
          for (std::size_t n = 0; n < d; ++n) score += queries[t][head * d + n] * keys[p][kv + n];
          score /= std::sqrt(static_cast<double>(d));
          if (sample.parameters.soft_cap > 0) {
            score = static_cast<double>(sample.parameters.soft_cap) * std::tanh(score / static_cast<double>(sample.parameters.soft_cap));
          }
          weight.push_back(std::exp(score));
          sum += weight.back();
        }
        for (std::size_t p = first; p <= pos; ++p) {
          for (std::size_t n = 0; n < d; ++n) want[head * d + n] += weight[p - first] / sum * values[p][kv + n];
        }
      }
      CAPTURE(pos);
      CHECK(worst_of(want, a.mixed.row(t)) < bar);
    }
    nn::commit_pass(std::span(&slice, 1));
  }
}

}  // namespace

TEST_CASE("attention: rotation, cache and attention give the plain formula, with groups, windows and soft caps") {
  using kernels::rope_pairing;
  const attention_sample samples[] = {{6, 2, 32, 32, {}, rope_pairing::adjacent},         {4, 4, 16, 8, {}, rope_pairing::adjacent},
                                      {20, 1, 8, 8, {}, rope_pairing::adjacent},          {3, 1, 24, 24, {}, rope_pairing::halves},
                                      {6, 2, 32, 16, {}, rope_pairing::halves},           {6, 2, 32, 32, {0, 5}, rope_pairing::adjacent},
                                      {6, 2, 32, 32, {0, 1}, rope_pairing::adjacent},     {2, 1, 48, 48, {2.0f, 0}, rope_pairing::adjacent},
                                      {2, 2, 64, 64, {3.0f, 17}, rope_pairing::halves},   {1, 1, 6, 6, {}, rope_pairing::adjacent}};
  for (const attention_sample& s : samples) {
    CAPTURE(s.n_heads);
    CAPTURE(s.head_dim);
    CAPTURE(s.parameters.window);
    // Scores here reach some 10: an error of 2^-24 in each of d terms, times 10, ends in the weights. float16 keeps 2^-11 of keys of 2, summed over d.
    check_attention<kv_type::f32>(s, 1, 2e-5);
    check_attention<kv_type::f32>(s, 3, 2e-5);
    check_attention<kv_type::f16>(s, 2, 1e-2);
    check_attention<kv_type::q8_0>(s, 2, 1e-1);
    check_attention<kv_type::bf16>(s, 2, 8e-2);   // 2^-8 of keys and queries where float16 has 2^-11
  }
}

TEST_CASE("attention: attention gives the same bits for any threads and any split of the tokens") {
  const nn::activation_shape s{64, 16, 6, 2, 32, 16, 32};
  const auto run = [&](std::size_t n_threads, std::size_t batch) {
    thread_pool pool(n_threads);
    const nn::compute c{best_table(), pool, precision::exact};
    auto a = *nn::activations::create(s, precision::exact, n_threads, 1);
    auto cache = *cache_of<kv_type::f16>::create({1, 2, 32}, 64);
    const nn::rope rope = nn::make_rope({.rope_dim = 32}, {});
    const auto q = random_floats(64 * 192, 1), k = random_floats(64 * 64, 2), v = random_floats(64 * 64, 3);
    std::vector<float> out;
    for (std::size_t at = 0; at < 64; at += batch) {
      const std::vector<token_id> tokens(std::min(batch, 64 - at));
      std::copy_n(q.begin() + static_cast<std::ptrdiff_t>(at * 192), tokens.size() * 192, a.q.memory.data());
      std::copy_n(k.begin() + static_cast<std::ptrdiff_t>(at * 64), tokens.size() * 64, a.k.memory.data());
      std::copy_n(v.begin() + static_cast<std::ptrdiff_t>(at * 64), tokens.size() * 64, a.v.memory.data());
      nn::sequence_slice<cache_of<kv_type::f16>> slice{&cache, tokens};
      REQUIRE(nn::begin_pass(a, 1, std::span(&slice, 1)).has_value());
      nn::rope_table(c, a, tokens.size(), rope, a.rope);
      nn::rotate_and_append(c, a, {.angles = &rope, .table = &a.rope, .q_scale = 0.2f}, 0, std::span(&slice, 1));
      nn::attend(c, a, {}, 0, std::span(&slice, 1));
      out.insert(out.end(), a.mixed.memory.data(), a.mixed.memory.data() + tokens.size() * 192);
      nn::commit_pass(std::span(&slice, 1));
    }
    return out;
  };
  const auto truth = run(1, 64);
  for (const std::size_t n_threads : {1u, 2u, 3u, 8u}) {
    for (const std::size_t batch : {1u, 7u, 16u, 33u, 64u}) CHECK(run(n_threads, batch) == truth);
  }
}
