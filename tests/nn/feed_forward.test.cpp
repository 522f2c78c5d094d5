// SPDX-License-Identifier: MIT
// The inner activations of a feed-forward layer against plain loops in double precision, and their integers.
#include <cria/nn/feed_forward.hpp>

#include <doctest/doctest.h>

#include <cria/core/thread_pool.hpp>

#include <tests/nn/activation_samples.hpp>

#include <cmath>
#include <cstddef>
#include <vector>

namespace {

using namespace cria_test;
using namespace cria;

}  // namespace

TEST_CASE("feed_forward: gated_inner is silu of one product times the other, for formats that differ and widths with a tail") {
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
        nn::gated_inner(c, a, 6, {&norm, 1e-5f}, gate.packed, up.packed, nn::gate_function::silu);
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
