// SPDX-License-Identifier: MIT
// The inner activations of a feed-forward layer against plain loops in double precision, and their integers.
#include <cria/nn/feed_forward.hpp>

#include <doctest/doctest.h>

#include <cria/core/thread_pool.hpp>

#include <tests/nn/activation_samples.hpp>

#include <algorithm>
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
        nn::gated_inner(c, a, 6, {norm.span(), 1e-5f}, gate.packed, up.packed, nn::gate_function::silu);
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

TEST_CASE("feed_forward: more tokens than a product takes at once have the bits that each has alone") {
  constexpr std::size_t n_tokens = 2 * kernels::most_tokens_at_once + 21, dim = 2048, width = 96;
  nn::activation_shape s = shape;
  s.max_tokens = n_tokens;
  s.dim = dim;
  s.ffn_dim = width;
  const auto norm_values = random_floats(dim, 4);
  const array_buffer<float> norm = buffer_of(norm_values);
  thread_pool pool(2);
  for (const precision p : {precision::exact, precision::fast}) {
    const nn::compute c{best_table(), pool, p};
    REQUIRE(kernels::tokens_at_once(dim, p, c.kernels.tiles) < n_tokens / 2);
    for (const tensor_type type : {tensor_type::q8_0, tensor_type::f32}) {   // of which a thread takes two units, and one, at a time
      const sample_weight gate = make_weight(type, width, dim, 5, true), up = make_weight(type, width, dim, 6);
      for (const bool is_gated : {true, false}) {
        CAPTURE(is_gated);
        const auto run = [&](nn::activations& a, std::size_t n) {
          if (is_gated) return nn::gated_inner(c, a, n, {norm.span(), 1e-5f}, gate.packed, up.packed, nn::gate_function::silu);
          nn::gelu_inner(c, a, n, {norm.span(), 1e-5f}, up.packed);
        };
        auto all = *nn::activations::create(s, p, 2, 1), alone = *nn::activations::create(s, p, 2, 1);
        fill(all.h, 1, 3);
        run(all, n_tokens);
        check_integers(c, all.gate_input(n_tokens), true);
        for (std::size_t t = 0; t < n_tokens; t += 1 + t % 11) {
          CAPTURE(t);
          std::copy_n(all.h.row(t), dim, alone.h.row(0));
          run(alone, 1);
          CHECK(std::equal(all.gate.row(t), all.gate.row(t) + width, alone.gate.row(0)));
        }
      }
    }
  }
}
