// SPDX-License-Identifier: MIT
// The buffers of a pass: room for what the operations write, from the start, and a typed error where there is no memory.
#include <cria/nn/activations.hpp>

#include <doctest/doctest.h>

#include <tests/support/sanitized.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

using namespace cria;

constexpr nn::activation_shape small{5, 33, 6, 2, 9, 70, 8};

void check_rows(nn::float_rows& r, std::size_t n_tokens, std::size_t width) {
  CHECK(r.width == width);
  CHECK(r.stride() % 16 == 0);
  CHECK(r.stride() >= width);
  CHECK(r.stride() < width + 16);
  CHECK(r.memory.size() == n_tokens * r.stride());
  CHECK(reinterpret_cast<std::uintptr_t>(r.memory.data()) % 64 == 0);
  CHECK(r.row(n_tokens - 1) == r.memory.data() + (n_tokens - 1) * r.stride());
  const nn::rows_view view = r.view(n_tokens);
  CHECK(view.k == width);
  CHECK(view.stride == r.stride());
  CHECK(view.n_tokens == n_tokens);
  CHECK(view.row(1) == r.row(1));
}

}  // namespace

TEST_CASE("activations: each buffer has the width of its rows, rounded up to whole vectors") {
  for (const precision p : {precision::exact, precision::fast}) {
    auto a = *nn::activations::create(small, p, 3, 2);
    check_rows(a.h, 5, 33);
    check_rows(a.normed, 5, 33);
    check_rows(a.q, 5, 54);
    check_rows(a.mixed, 5, 54);
    check_rows(a.k, 5, 18);
    check_rows(a.v, 5, 18);
    check_rows(a.gate, 5, 70);
    check_rows(a.up, 5, 70);
    check_rows(a.rope, 5, 16);
    for (const std::size_t width : {33u, 54u, 70u}) CHECK(a.quantised.size() >= kernels::activation_capacity(5, width, p));
  }
}

TEST_CASE("activations: rows are whole panels, and never a multiple of 4 KB apart") {
  for (std::size_t width = 1; width < 20'000; width += width < 4'200 ? 1 : 61) {
    const std::size_t stride = nn::row_stride(width);
    REQUIRE(stride >= width);
    REQUIRE(stride < width + 32);
    REQUIRE(stride % 16 == 0);
    REQUIRE(stride * sizeof(float) % 4096 != 0);
  }
  CHECK(nn::row_stride(0) == 0);
  CHECK(nn::row_stride(2000) == 2000);
  CHECK(nn::row_stride(2048) == 2064);
  CHECK(nn::row_stride(2033) == 2064);
}

TEST_CASE("activations: exact needs more room for integers than fast") {
  CHECK(nn::activations::create(small, precision::exact, 1, 1)->quantised.size() > nn::activations::create(small, precision::fast, 1, 1)->quantised.size());
}

TEST_CASE("activations: every worker has room for the largest attention item and the cache's segments") {
  for (const auto& [n_heads, n_kv_heads] : {std::pair<std::size_t, std::size_t>{6, 2}, {32, 1}, {1, 1}, {71, 1}, {16, 16}}) {
    nn::activation_shape s = small;
    s.n_heads = n_heads;
    s.n_kv_heads = n_kv_heads;
    const auto a = *nn::activations::create(s, precision::exact, 4, 7);
    CHECK(a.workers.size() == 4);
    CHECK(nn::activations::item_rows(s) >= n_heads / n_kv_heads);
    for (const auto& w : a.workers) {
      CHECK(w.segments.size() == 7);
      CHECK(w.scratch.size() >= kernels::attention_scratch(s.head_dim));
      for (const std::size_t n : {w.q_rows.size(), w.out_rows.size(), w.visible_begin.size(), w.visible_end.size()}) CHECK(n >= nn::activations::item_rows(s));
    }
  }
}

TEST_CASE("activations: a pass that no memory can hold is out_of_memory") {
  for (const std::size_t n : {std::size_t{1} << 44, std::size_t{1} << 50, std::size_t{1} << 56}) {
    nn::activation_shape s = small;
    s.max_tokens = n;
    const auto a = nn::activations::create(s, precision::exact, 1, 1);
    REQUIRE_FALSE(a.has_value());
    CHECK(a.error().code == errc::out_of_memory);
    CHECK_FALSE(a.error().where.empty());
  }
#if CRIA_HAS_EXCEPTIONS && !CRIA_TEST_SANITIZED   // whose operator new ends the program instead
  for (const std::size_t n : {~std::size_t{0}, ~std::size_t{0} / 2, std::size_t{1} << 48}) {
    const auto workers = nn::activations::create(small, precision::exact, n, 1);
    REQUIRE_FALSE(workers.has_value());
    CHECK(workers.error().code == errc::out_of_memory);
    const auto segments = nn::activations::create(small, precision::exact, 1, n);
    REQUIRE_FALSE(segments.has_value());
    CHECK(segments.error().code == errc::out_of_memory);
  }
#endif
}
