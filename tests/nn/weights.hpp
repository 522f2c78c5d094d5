// SPDX-License-Identifier: MIT
// tests/nn/weights.hpp - packed weights from floats, with the values that are left of them, and products in double precision.
#pragma once

#include <cria/nn/compute.hpp>
#include <cria/nn/weight.hpp>
#include <cria/quant/format.hpp>

#include <doctest/doctest.h>

#include <bench/synthetic_model.hpp>
#include <tests/kernels/kernel_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <span>
#include <vector>

namespace cria_test {

inline std::vector<float> random_floats(std::size_t n, std::uint32_t seed, double spread = 1) {
  std::mt19937 random(seed);
  std::vector<float> out(n);
  for (float& x : out) x = static_cast<float>(spread * (static_cast<double>(random()) / 2147483648.0 - 1));
  return out;
}

/// A weight and its dequantised values, [rows][columns]; random codes where cria makes none of values.
struct sample_weight {
  cria::aligned_buffer memory;   // of the panels
  cria::array_buffer<float> bias;
  cria::nn::weight packed;
  std::vector<float> values;
};

inline sample_weight make_weight(cria::tensor_type type, std::size_t rows, std::size_t columns, std::uint32_t seed, bool has_bias = false) {
  sample_weight w;
  w.values = random_floats(rows * columns, seed, 1.7 / std::sqrt(static_cast<double>(columns)));
  std::vector<std::byte> blocks(cria::row_bytes(type, rows * columns));
  if (cria::is_writable(type)) {
    REQUIRE(cria::quantize_row(type, w.values, blocks.data()));
  } else {
    const std::vector<std::byte> pattern = cria_bench::random_blocks(type);
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = pattern[i % pattern.size()];
  }
  REQUIRE(cria::dequantize_row(type, blocks.data(), w.values));
  w.packed.type = type;
  w.packed.format = *cria::format_index_of(type);
  w.packed.rows = rows;
  w.packed.columns = columns;
  w.memory = *cria::aligned_buffer::allocate(w.packed.packed_bytes());
  w.packed.panels = w.memory.span();
  cria::kernels::pack(w.packed.format, {.rows = blocks.data(), .n_rows = rows, .k = columns, .n_panels = w.packed.n_panels(), .panels = w.memory.data()});
  if (has_bias) {
    w.bias = *cria::array_buffer<float>::allocate(cria::round_up(rows, 16));
    const auto bias = random_floats(rows, seed + 1000);
    std::copy(bias.begin(), bias.end(), w.bias.data());
    w.packed.bias = w.bias.span().first(rows);
  }
  return w;
}

/// y = W x + b in double precision.
inline std::vector<double> product_of(const sample_weight& w, std::span<const double> x) {
  std::vector<double> y(w.packed.rows);
  for (std::size_t n = 0; n < y.size(); ++n) {
    y[n] = w.packed.bias.size() == 0 ? 0 : static_cast<double>(w.packed.bias[n]);
    for (std::size_t k = 0; k < x.size(); ++k) y[n] += static_cast<double>(w.values[n * x.size() + k]) * x[k];
  }
  return y;
}

/// Returns what each y may be off by: half a quantisation step of each x (none for float weights), and one rounding of each term's magnitude per
/// addition.
inline std::vector<double> product_bound(const sample_weight& w, std::span<const double> x, cria::precision p) {
  std::vector<double> steps(x.size());
  if (w.packed.is_quantised()) {
    for (std::size_t first = 0; first < x.size(); first += 32) {
      double largest = 0;
      for (std::size_t k = first; k < std::min(x.size(), first + 32); ++k) largest = std::max(largest, std::fabs(x[k]));
      std::fill_n(steps.begin() + static_cast<std::ptrdiff_t>(first), std::min<std::size_t>(32, x.size() - first),
                  largest / (p == cria::precision::exact ? 16256 : 127));
    }
  }
  std::vector<double> bound(w.packed.rows);
  for (std::size_t n = 0; n < bound.size(); ++n) {
    double magnitude = w.packed.bias.size() == 0 ? 0 : std::fabs(static_cast<double>(w.packed.bias[n]));
    for (std::size_t k = 0; k < x.size(); ++k) {
      const double weight = std::fabs(static_cast<double>(w.values[n * x.size() + k]));
      bound[n] += weight * steps[k] * 0.502;   // and the rounding of the step itself
      magnitude += weight * (std::fabs(x[k]) + steps[k]);
    }
    // Offsets of formats (8 d in Q4_0, mins in Q4_K) cancel in floats: terms are up to 16 times what is left of them.
    bound[n] += (static_cast<double>(x.size()) + 16) * unit * magnitude * (w.packed.is_quantised() ? 16 : 1) + 1e-30;
  }
  return bound;
}

}  // namespace cria_test
