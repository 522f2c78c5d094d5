// SPDX-License-Identifier: MIT
// tests/nn/activation_samples.hpp - what the tests of nn/'s operations share: activations with random contents, norms in double precision, and comparisons.
#pragma once

#include <doctest/doctest.h>

#include <cria/kv/contiguous.hpp>
#include <cria/nn/activations.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/sequence_slice.hpp>

#include <tests/nn/weights.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cria_test {

template <cria::kv_type Type>
using cache_of = cria::contiguous_kv_cache<Type>;

inline const kernel_table& best_table() { return *tables().back(); }

inline std::vector<double> row_of(cria::nn::float_rows& r, std::size_t t) { return {r.row(t), r.row(t) + r.width}; }

inline void fill(cria::nn::float_rows& r, std::uint32_t seed, double spread = 1) {
  const auto values = random_floats(r.memory.size(), seed, spread);
  std::copy(values.begin(), values.end(), r.memory.data());
}

inline cria::array_buffer<float> buffer_of(const std::vector<float>& values) {
  auto b = *cria::array_buffer<float>::allocate(cria::round_up(values.size(), 16));
  std::copy(values.begin(), values.end(), b.data());
  return b;
}

inline std::vector<double> norm_of(std::span<const double> x, std::span<const float> weight, double eps) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + eps) * static_cast<double>(weight[i]);
  return out;
}

/// Largest |got - want| over the largest |want|.
inline double worst_of(std::span<const double> want, const float* got) {
  double worst = 0, scale = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - want[i]));
    scale = std::max(scale, std::fabs(want[i]));
  }
  return worst / scale;
}

template <class Cache, std::size_t N>
std::span<cria::nn::sequence_slice<Cache>> all(cria::nn::sequence_slice<Cache> (&slices)[N]) {
  return slices;
}

inline constexpr cria::nn::activation_shape shape{6, 64, 6, 2, 32, 96, 32};
inline constexpr double eps = 1e-5f;

/// Checks that the integers that an operation has made with its output are those that prepare() makes of it.
inline void check_integers(const cria::nn::compute& c, const cria::nn::prepared_input& made, bool is_made) {
  REQUIRE((made.quantised != nullptr) == is_made);
  if (!is_made) return;
  // Only the words that are written with every instruction set's tiles.
  std::vector<std::int32_t> words(made.quantised, made.quantised + made.x.n_tokens * made.x.k / 32 * cria::kernels::activation_words(c.precision));
  std::vector<std::int32_t> again(cria::kernels::activation_capacity(made.x.n_tokens, made.x.k, c.precision));
  cria::nn::prepare(c, made.x, true, again);
  again.resize(words.size());
  CHECK(words == again);
}

}  // namespace cria_test
