// SPDX-License-Identifier: MIT
// The phases of a layer against plain loops in double precision, and each against itself on other threads and in other company.
#include <cria/nn/layer.hpp>

#include <doctest/doctest.h>

#include <cria/core/thread_pool.hpp>
#include <cria/kv/contiguous.hpp>

#include <tests/nn/weights.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria_test;
using namespace cria;

template <kv_type Type>
using cache_of = contiguous_kv_cache<Type>;

const kernel_table& best_table() { return *tables().back(); }

std::vector<double> row_of(nn::float_rows& r, std::size_t t) { return {r.row(t), r.row(t) + r.width}; }

void fill(nn::float_rows& r, std::uint32_t seed, double spread = 1) {
  const auto values = random_floats(r.memory.size(), seed, spread);
  std::copy(values.begin(), values.end(), r.memory.data());
}

array_buffer<float> buffer_of(const std::vector<float>& values) {
  auto b = *array_buffer<float>::allocate(round_up(values.size(), 16));
  std::copy(values.begin(), values.end(), b.data());
  return b;
}

std::vector<double> norm_of(std::span<const double> x, std::span<const float> weight, double eps) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + eps) * static_cast<double>(weight[i]);
  return out;
}

/// Largest |got - want| over the largest |want|.
double worst_of(std::span<const double> want, const float* got) {
  double worst = 0, scale = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - want[i]));
    scale = std::max(scale, std::fabs(want[i]));
  }
  return worst / scale;
}

template <class Cache, std::size_t N>
std::span<nn::sequence_slice<Cache>> all(nn::sequence_slice<Cache> (&slices)[N]) {
  return slices;
}

constexpr nn::activation_shape shape{6, 64, 6, 2, 32, 96, 32};
constexpr double eps = 1e-5f;

}  // namespace

TEST_CASE("layer: begin_pass counts tokens, places the slices and makes room") {
  const kv_shape kv{1, 2, 32};
  auto first = *cache_of<kv_type::f16>::create(kv, 8), second = *cache_of<kv_type::f16>::create(kv, 8);
  REQUIRE(first.reserve(3).has_value());
  first.commit(3);
  auto a = *nn::activations::create(shape, precision::exact, 1, 1);
  const token_id tokens[] = {0, 9, 5, 1};
  nn::sequence_slice<cache_of<kv_type::f16>> slices[] = {{&first, std::span(tokens).first(2)}, {&second, tokens, 4}};
  const auto n = nn::begin_pass(a, 10, all(slices));
  REQUIRE(n.has_value());
  CHECK(*n == 6);
  CHECK(slices[0].first_row == 0);
  CHECK(slices[0].start_pos == 3);
  CHECK(slices[1].first_row == 2);
  CHECK(slices[1].start_pos == 0);
  kv_segment s[1];
  first.segments({0, 0}, s);
  CHECK(s[0].length == 5);
  nn::commit(all(slices));
  CHECK(first.length() == 5);
  CHECK(second.length() == 4);
  nn::roll_back(all(slices));
  CHECK(first.length() == 3);
  CHECK(second.length() == 0);
}

TEST_CASE("layer: normed_products are the products of the norm, whose integers they share") {
  serial_executor serial;
  const nn::compute c{best_table(), serial, precision::exact};
  const auto norm_values = random_floats(64, 4);
  const array_buffer<float> norm = buffer_of(norm_values);
  for (const bool with_float : {false, true}) {
    auto a = *nn::activations::create(shape, precision::exact, 1, 1);
    fill(a.h, 1, 5);
    std::vector<sample_weight> w;
    w.push_back(make_weight(tensor_type::q8_0, 192, 64, 2, true));
    w.push_back(make_weight(with_float ? tensor_type::f16 : tensor_type::q4_1, 64, 64, 3));
    const nn::product products[] = {{&w[0].packed, a.q.memory.data(), a.q.stride()}, {&w[1].packed, a.k.memory.data(), a.k.stride()}};
    nn::normed_products(c, a, 6, {norm, 1e-5f}, products);
    for (std::size_t t = 0; t < 6; ++t) {
      const auto in = norm_of(row_of(a.h, t), norm_values, eps);
      CHECK(worst_of(in, a.normed.row(t)) < 1e-6);
      CHECK(worst_of(product_of(w[0], in), a.q.row(t)) < 1e-4);
      CHECK(worst_of(product_of(w[1], in), a.k.row(t)) < 1e-4);
    }
  }
}

namespace {

/// The integers that a phase has made with its output are those that prepare makes from it.
void check_integers(const nn::compute& c, const nn::prepared_input& made, bool is_made) {
  REQUIRE((made.quantised != nullptr) == is_made);
  if (!is_made) return;
  // As many words as are certainly written: the rest of the room is for other sets' tiles.
  std::vector<std::int32_t> words(made.quantised, made.quantised + made.x.n_tokens * made.x.k / 32 * kernels::activation_words(c.precision));
  std::vector<std::int32_t> again(kernels::activation_capacity(made.x.n_tokens, made.x.k, c.precision));
  nn::prepare(c, made.x, true, again);
  again.resize(words.size());
  CHECK(words == again);
}

}  // namespace

TEST_CASE("layer: add_product adds to the residual stream") {
  serial_executor serial;
  const nn::compute c{best_table(), serial, precision::exact};
  auto a = *nn::activations::create(shape, precision::exact, 1, 1);
  fill(a.h, 1);
  fill(a.gate, 2);
  const sample_weight w = make_weight(tensor_type::q4_0, 64, 96, 3, true);
  std::vector<std::vector<double>> want;
  for (std::size_t t = 0; t < 6; ++t) {
    want.push_back(row_of(a.h, t));
    const auto y = product_of(w, row_of(a.gate, t));
    for (std::size_t i = 0; i < 64; ++i) want[t][i] += y[i];
  }
  nn::add_product(c, a, a.gate.view(6), w.packed);
  for (std::size_t t = 0; t < 6; ++t) CHECK(worst_of(want[t], a.h.row(t)) < 1e-4);
}

TEST_CASE("layer: gated is silu of one product times the other, for formats that differ and widths with a tail") {
  for (const std::size_t n_threads : {1u, 3u}) {
    thread_pool pool(n_threads);
    for (const precision p : {precision::exact, precision::fast}) {
      const nn::compute c{best_table(), pool, p};
      for (const std::size_t width : {7u, 16u, 96u, 100u}) {
        nn::activation_shape s = shape;
        s.ffn_dim = width;
        auto a = *nn::activations::create(s, p, n_threads, 1);
        fill(a.h, 1, 3);
        const auto norm_values = random_floats(64, 4);
        const sample_weight gate = make_weight(tensor_type::q8_0, width, 64, 5, true), up = make_weight(tensor_type::f32, width, 64, 6, true);
        const array_buffer<float> norm = buffer_of(norm_values);
        nn::gated(c, a, 6, {norm, 1e-5f}, gate.packed, up.packed, nn::gate_function::silu);
        for (std::size_t t = 0; t < 6; ++t) {
          const auto in = norm_of(row_of(a.h, t), norm_values, eps);
          std::vector<double> want = product_of(gate, in);
          const auto factor = product_of(up, in);
          for (std::size_t i = 0; i < width; ++i) want[i] *= factor[i] / (1 + std::exp(-want[i]));
          CAPTURE(width);
          CHECK(worst_of(want, a.gate.row(t)) < (p == precision::exact ? 2e-4 : 3e-2));
        }
        check_integers(c, a.gate_input(6), width % 32 == 0);
      }
    }
  }
}

TEST_CASE("layer: head reads the rows that ask") {
  serial_executor serial;
  const nn::compute c{best_table(), serial, precision::exact};
  auto a = *nn::activations::create(shape, precision::exact, 1, 1);
  fill(a.h, 1);
  const auto norm_values = random_floats(64, 4);
  const sample_weight w = make_weight(tensor_type::q8_0, 40, 64, 3);
  for (const std::size_t row : {1u, 4u, 5u}) a.rows[row].has_logits = true;
  std::vector<float> logits(4 * 48, -5.0f);
  const array_buffer<float> norm = buffer_of(norm_values);
  CHECK(nn::head(c, a, 6, {norm, 1e-5f}, w.packed, {logits.data(), 48, 3, 40}) == 3);
  std::size_t n = 0;
  for (const std::size_t row : {1u, 4u, 5u}) CHECK(worst_of(product_of(w, norm_of(row_of(a.h, row), norm_values, eps)), logits.data() + 48 * n++) < 1e-4);
  CHECK(std::all_of(logits.begin() + 3 * 48, logits.end(), [](float x) { return x == -5.0f; }));
}

namespace {

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
    nn::rope_tables(c, a, n_tokens, rope, a.rope);
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
          if (sample.parameters.soft_cap > 0) score = static_cast<double>(sample.parameters.soft_cap) * std::tanh(score / static_cast<double>(sample.parameters.soft_cap));
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
    nn::commit(std::span(&slice, 1));
  }
}

}  // namespace

TEST_CASE("layer: rotation, cache and attention give the plain formula, with groups, windows and soft caps") {
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

TEST_CASE("layer: attention gives the same bits for any threads and any split of the tokens") {
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
      nn::rope_tables(c, a, tokens.size(), rope, a.rope);
      nn::rotate_and_append(c, a, {.angles = &rope, .table = &a.rope, .q_scale = 0.2f}, 0, std::span(&slice, 1));
      nn::attend(c, a, {}, 0, std::span(&slice, 1));
      out.insert(out.end(), a.mixed.memory.data(), a.mixed.memory.data() + tokens.size() * 192);
      nn::commit(std::span(&slice, 1));
    }
    return out;
  };
  const auto truth = run(1, 64);
  for (const std::size_t n_threads : {1u, 2u, 3u, 8u}) {
    for (const std::size_t batch : {1u, 7u, 16u, 33u, 64u}) CHECK(run(n_threads, batch) == truth);
  }
}
