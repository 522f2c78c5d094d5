// SPDX-License-Identifier: MIT
// Products of the norm and additions to the residual stream against plain loops in double precision.
#include <cria/nn/residual_stream.hpp>

#include <doctest/doctest.h>

#include <tests/nn/activation_samples.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace {

using namespace cria_test;
using namespace cria;

}  // namespace

TEST_CASE("residual_stream: normed_products are the products of the norm, whose integers they share") {
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
    nn::normed_products(c, a, 6, {norm.span(), 1e-5f}, products);
    for (std::size_t t = 0; t < 6; ++t) {
      const auto in = norm_of(row_of(a.h, t), norm_values, eps);
      CHECK(worst_of(in, a.normed.row(t)) < 1e-6);
      CHECK(worst_of(product_of(w[0], in), a.q.row(t)) < 1e-4);
      CHECK(worst_of(product_of(w[1], in), a.k.row(t)) < 1e-4);
    }
  }
}

TEST_CASE("residual_stream: add_product adds to the residual stream") {
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

TEST_CASE("residual_stream: output_head computes logits for the rows that want them, and writes nothing else") {
  serial_executor serial;
  const nn::compute c{best_table(), serial, precision::exact};
  auto a = *nn::activations::create(shape, precision::exact, 1, 1);
  fill(a.h, 1);
  const auto norm_values = random_floats(64, 4);
  const sample_weight w = make_weight(tensor_type::q8_0, 40, 64, 3);
  for (const std::size_t row : {1u, 4u, 5u}) a.rows[row].has_logits = true;
  std::vector<float> logits(4 * 48, -5.0f);
  const array_buffer<float> norm = buffer_of(norm_values);
  CHECK(nn::output_head(c, a, 6, {norm.span(), 1e-5f}, w.packed, {logits.data(), 48, 3, 40}) == 3);
  std::size_t n = 0;
  for (const std::size_t row : {1u, 4u, 5u}) CHECK(worst_of(product_of(w, norm_of(row_of(a.h, row), norm_values, eps)), logits.data() + 48 * n++) < 1e-4);
  CHECK(std::all_of(logits.begin() + 3 * 48, logits.end(), [](float x) { return x == -5.0f; }));
}
