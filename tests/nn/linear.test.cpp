// SPDX-License-Identifier: MIT
// Products of one input with several weights of different formats against plain loops in double precision, and against themselves in any split.
#include <cria/nn/linear.hpp>

#include <doctest/doctest.h>

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/kernels/activation_size.hpp>

#include <tests/nn/weights.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <thread>
#include <vector>

namespace {

using namespace cria_test;
using namespace cria;
using enum tensor_type;

constexpr float untouched = -777.0f;

struct rows {
  std::vector<float> x;
  std::size_t n_tokens, k, stride;
  rows(std::size_t n_tokens_, std::size_t k_, std::uint32_t seed) : x(n_tokens_ * (k_ + 5)), n_tokens(n_tokens_), k(k_), stride(k_ + 5) {
    const auto values = random_floats(x.size(), seed, 3);
    x = values;
  }
  [[nodiscard]] nn::rows_view view() { return {x.data(), stride, n_tokens, k}; }
  [[nodiscard]] std::vector<double> row(std::size_t t) const {
    return {x.begin() + static_cast<std::ptrdiff_t>(t * stride), x.begin() + static_cast<std::ptrdiff_t>(t * stride + k)};
  }
};

/// Multiplies all weights in one call; returns the outputs, [weight][T * ldy].
std::vector<std::vector<float>> multiply_all(const kernel_table& table, executor_ref executor, precision p, rows& x, const std::vector<sample_weight>& weights,
                                             bool accumulate = false) {
  const nn::compute c{table, executor, p};
  auto words = *array_buffer<std::int32_t>::allocate(kernels::activation_capacity(x.n_tokens, x.k, p));
  bool is_quantised = false;
  std::vector<std::vector<float>> y;
  for (const sample_weight& w : weights) {
    is_quantised = is_quantised || w.packed.is_quantised();
    y.emplace_back(x.n_tokens * (w.packed.n_panels() * 16 + 16), untouched);
  }
  std::vector<nn::product> products;
  for (std::size_t i = 0; i < weights.size(); ++i) products.push_back({&weights[i].packed, y[i].data(), weights[i].packed.n_panels() * 16 + 16, accumulate});
  nn::multiply(c, nn::prepare(c, x.view(), is_quantised, words.span()), products);
  return y;
}

const kernel_table& best_table() { return *tables().back(); }

std::vector<sample_weight> mixed_weights(std::size_t k) {
  std::vector<sample_weight> w;
  w.push_back(make_weight(q4_0, 40, k, 1));
  w.push_back(make_weight(f32, 3, k, 2, true));
  w.push_back(make_weight(q6_k, 33, k, 3, true));
  w.push_back(make_weight(bf16, 16, k, 4));
  w.push_back(make_weight(q8_0, 1, k, 5));
  w.push_back(make_weight(q4_k, 100, k, 6));
  return w;
}

}  // namespace

TEST_CASE("linear: several weights of different formats in one call are each within their bound of the plain product") {
  serial_executor serial;
  for (const kernel_table* table : tables()) {
    const auto weights = mixed_weights(512);
    for (const precision p : {precision::exact, precision::fast}) {
      for (const std::size_t n_tokens : {1u, 2u, 5u, 13u}) {
        rows x(n_tokens, 512, 50 + static_cast<std::uint32_t>(n_tokens));
        const auto y = multiply_all(*table, serial, p, x, weights);
        double worst = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) {
          const std::size_t n_rows = weights[i].packed.rows, padded = weights[i].packed.n_panels() * 16, ldy = padded + 16;
          for (std::size_t t = 0; t < n_tokens; ++t) {
            const auto in = x.row(t);
            const auto want = product_of(weights[i], in), bound = product_bound(weights[i], in, p);
            for (std::size_t n = 0; n < n_rows; ++n) worst = std::max(worst, std::fabs(static_cast<double>(y[i][t * ldy + n]) - want[n]) / bound[n]);
            for (std::size_t n = n_rows; n < padded; ++n) CHECK(y[i][t * ldy + n] == 0);   // rows that do not exist: zero blocks, no bias
            for (std::size_t n = padded; n < ldy; ++n) CHECK(y[i][t * ldy + n] == untouched);
          }
        }
        CAPTURE(name(*table));
        CAPTURE(cria::name(p));
        CAPTURE(n_tokens);
        CAPTURE(worst);
        CHECK(worst <= 1);
        CHECK(worst > 1e-6);   // the bound is of the errors' kind
      }
    }
  }
}

TEST_CASE("linear: every format alone, for widths that are not multiples of a vector where the format allows") {
  serial_executor serial;
  for (const tensor_type_info& info : tensor_types) {
    if (!format_index_of(info.type)) continue;
    for (const std::size_t k : {info.block_size, 3 * info.block_size, std::size_t{256} * 2}) {
      std::vector<sample_weight> w;
      w.push_back(make_weight(info.type, 21, k, 9, true));
      rows x(3, k, 10);
      const auto y = multiply_all(best_table(), serial, precision::exact, x, w);
      for (std::size_t t = 0; t < 3; ++t) {
        const auto want = product_of(w[0], x.row(t)), bound = product_bound(w[0], x.row(t), precision::exact);
        for (std::size_t n = 0; n < 21; ++n) {
          CAPTURE(info.name);
          CAPTURE(k);
          CHECK(std::fabs(static_cast<double>(y[0][t * 48 + n]) - want[n]) <= bound[n]);
        }
      }
    }
  }
}

TEST_CASE("linear: accumulating adds the product to what is there") {
  serial_executor serial;
  const auto weights = mixed_weights(256);
  rows x(4, 256, 3);
  const auto plain = multiply_all(best_table(), serial, precision::exact, x, weights),
             added = multiply_all(best_table(), serial, precision::exact, x, weights, true);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::size_t ldy = weights[i].packed.n_panels() * 16 + 16;
    for (std::size_t t = 0; t < 4; ++t) {
      for (std::size_t n = 0; n < weights[i].packed.rows; ++n) CHECK(added[i][t * ldy + n] == untouched + plain[i][t * ldy + n]);
    }
  }
}

TEST_CASE("linear: the same bits for any threads, any company of weights and any company of tokens") {
  for (const precision p : {precision::exact, precision::fast}) {
    serial_executor serial;
    const auto weights = mixed_weights(512);
    rows x(19, 512, 8);
    const auto together = multiply_all(best_table(), serial, p, x, weights);
    for (const std::size_t n_threads : {2u, 3u, 8u}) {
      thread_pool pool(n_threads);
      for (int again = 0; again < 3; ++again) CHECK(multiply_all(best_table(), pool, p, x, weights) == together);
    }
    for (std::size_t i = 0; i < weights.size(); ++i) {
      std::vector<sample_weight> alone;
      alone.push_back(make_weight(weights[i].packed.type, weights[i].packed.rows, 512, static_cast<std::uint32_t>(i + 1), weights[i].packed.bias.size() != 0));
      CHECK(multiply_all(best_table(), serial, p, x, alone)[0] == together[i]);
    }
    for (std::size_t t = 0; t < x.n_tokens; ++t) {
      rows one(1, 512, 0);
      std::copy_n(x.x.begin() + static_cast<std::ptrdiff_t>(t * x.stride), 512, one.x.begin());
      const auto y = multiply_all(best_table(), serial, p, one, weights);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const std::size_t ldy = y[i].size();
        CHECK(std::equal(y[i].begin(), y[i].end(), together[i].begin() + static_cast<std::ptrdiff_t>(t * ldy)));
      }
    }
  }
}

TEST_CASE("linear: for_each_token calls each token once, one token on the calling thread") {
  thread_pool pool(3);
  const nn::compute c{best_table(), pool, precision::exact};
  for (const std::size_t n : {0u, 1u, 2u, 100u}) {
    std::vector<std::atomic<int>> calls(n);
    nn::for_each_token(c, n, [&](std::size_t t) { ++calls[t]; });
    CHECK(std::all_of(calls.begin(), calls.end(), [](const auto& k) { return k == 1; }));
  }
  const auto here = std::this_thread::get_id();
  nn::for_each_token(c, 1, [&](std::size_t) { CHECK(std::this_thread::get_id() == here); });
}

TEST_CASE("weight: row() gives the row's values in every format") {
  for (const tensor_type_info& info : tensor_types) {
    if (!format_index_of(info.type)) continue;
    const sample_weight w = make_weight(info.type, 37, 256, 4);
    std::vector<float> got(256);
    for (std::size_t n = 0; n < 37; ++n) {
      w.packed.row(n, got);
      CHECK(std::equal(got.begin(), got.end(), w.values.begin() + static_cast<std::ptrdiff_t>(n * 256)));
    }
    CHECK(w.packed.bytes() == 48 * cria::row_bytes(info.type, 256));
  }
}

TEST_CASE("linear: groups quantised one by one in any order are what prepare gives") {
  serial_executor serial;
  for (const kernel_table* table : tables()) {
    for (const precision p : {precision::exact, precision::fast}) {
      const nn::compute c{*table, serial, p};
      for (const std::size_t n_tokens : {1u, 2u, 4u, 5u, 8u, 9u, 12u, 13u, 15u, 25u}) {
        CAPTURE(name(*table));
        CAPTURE(n_tokens);
        rows x(n_tokens, 96, 11);
        const std::size_t size = kernels::activation_capacity(n_tokens, 96, p);
        std::vector<std::int32_t> whole(size, 0x55555555), parts = whole;
        nn::prepare(c, x.view(), true, whole);
        for (const std::size_t g : {1u, 2u, 0u}) {
          for (std::size_t t = n_tokens; t-- > 0;) nn::quantize_groups(c, x.view(), t, g, g + 1, parts.data());
        }
        CHECK(parts == whole);
      }
    }
  }
}

TEST_CASE("linear: integers that are there are not made again") {
  serial_executor serial;
  const nn::compute c{best_table(), serial, precision::exact};
  rows x(3, 64, 12);
  const std::int32_t there = 0;
  std::vector<std::int32_t> words(kernels::activation_capacity(3, 64, precision::exact), 7);
  CHECK(nn::prepare(c, {x.view(), &there}, true, words).quantised == &there);
  CHECK(nn::prepare(c, x.view(), false, words).quantised == nullptr);
  CHECK(std::all_of(words.begin(), words.end(), [](std::int32_t w) { return w == 7; }));
  CHECK(nn::prepare(c, x.view(), true, words).quantised == words.data());
}
