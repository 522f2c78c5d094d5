// SPDX-License-Identifier: MIT
#include "kernel_test.hpp"

#include <limits>

using namespace cria_test;

namespace {

template <class Format>
Format number_of(float x) {
  if constexpr (std::is_same_v<Format, cria::f32>) {
    return cria::block_traits<cria::f32>::quantize(std::span<const float, 1>(&x, 1));
  } else if constexpr (std::is_same_v<Format, cria::f16>) {
    return cria::to_f16(x);
  } else {
    return cria::to_bf16(x);
  }
}

template <class Format>
file_rows<Format> normal_rows(std::size_t n, std::size_t k, numbers& random) {
  file_rows<Format> rows(n, k);
  for (Format& x : rows.blocks) x = number_of<Format>(random.normal() * std::ldexp(1.0f, -static_cast<int>(random.below(18))));
  return rows;
}

struct options {
  std::size_t panel_begin = 0, panel_end = 0;
  const float* bias = nullptr;
  bool accumulate = false;
  std::size_t ldx = 0;  // 0: k
};

constexpr float before = -7.75f;

template <class Format>
std::vector<float> multiply(const kernel_table& table, const file_rows<Format>& w, const std::vector<float>& x, std::size_t n_tokens,
                            const options& o = {}) {
  const std::size_t n_panels = (w.n + 15) / 16;
  const std::vector<std::byte> panels = w.packed();
  std::vector<float> y(n_tokens * 16 * n_panels, before);
  cria::kernels::gemm_args args{};
  args.weights = panels.data();
  args.k = w.k;
  args.panel_begin = o.panel_begin;
  args.panel_end = o.panel_end == 0 ? n_panels : o.panel_end;
  args.x = x.data();
  args.ldx = o.ldx == 0 ? w.k : o.ldx;
  args.n_tokens = n_tokens;
  args.y = y.data();
  args.ldy = 16 * n_panels;
  args.bias = o.bias;
  args.accumulate = o.accumulate;
  table.gemm[cria::format_index<Format>](args);
  return y;
}

// k fused multiply-adds, one rounding each (two without FMA) of at most S = sum |w x|; products below 2^-149 are lost where they are not fused.
template <class Format>
void check_against_double(const file_rows<Format>& w, const std::vector<float>& x, std::size_t n_tokens, const std::vector<float>& y,
                          worst_case& worst) {
  const std::vector<float> values = w.values();
  for (std::size_t t = 0; t < n_tokens; ++t) {
    for (std::size_t r = 0; r < w.n; ++r) {
      double sum = 0, size = 0;
      for (std::size_t n = 0; n < w.k; ++n) {
        const double term = static_cast<double>(values[r * w.k + n]) * static_cast<double>(x[t * w.k + n]);
        sum += term;
        size += std::abs(term);
      }
      const auto k = static_cast<double>(w.k);
      worst.see(static_cast<double>(y[t * ((w.n + 15) / 16 * 16) + r]), sum, (k + 1) * unit * size + k * 0x1p-149,
                "row " + std::to_string(r) + ", token " + std::to_string(t));
    }
  }
}

}  // namespace

TEST_CASE("gemm_float: within the derived bound of a double-precision product, the same bits on every set with FMA and for any number of tokens") {
  table_hashes hashes("gemm_float");
  each_format(number_formats{}, [&]<class Format>(std::type_identity<Format>) {
    for (const std::size_t k : sizes{1, 3, 32, 77, 300}) {
      numbers random(static_cast<std::uint32_t>(k));
      const file_rows<Format> w = normal_rows<Format>(37, k, random);
      const std::vector<float> x = random.normals(30 * k);
      const std::vector<float> reference = multiply(reference_table(), w, x, 30);
      worst_case worst;
      for (std::size_t n = 0; n < tables().size(); ++n) {
        const kernel_table& table = *tables()[n];
        CAPTURE(std::string(cria::block_traits<Format>::name));
        CAPTURE(k);
        CAPTURE(name(table));
        const std::vector<float> all = multiply(table, w, x, 30);
        hashes[n].add(all);
        if (is_fused(table)) CHECK(same_bits(all, reference));
        check_against_double(w, x, 30, all, worst);
        bool is_same = true;
        for (std::size_t n_tokens = 1; n_tokens < 30; ++n_tokens) {
          const std::vector<float> some = multiply(table, w, x, n_tokens);
          is_same = is_same && same_bits(some, std::span(all).first(some.size()));
        }
        CHECK(is_same);
      }
      worst.check(std::string(cria::block_traits<Format>::name));
    }
  });
  hashes.check();
}

TEST_CASE("gemm_float: bias, accumulation, panel ranges and the stride of X do what they say") {
  each_format(number_formats{}, [&]<class Format>(std::type_identity<Format>) {
    const std::size_t k = 33, n_tokens = 14;
    numbers random(5);
    const file_rows<Format> w = normal_rows<Format>(50, k, random);
    const std::vector<float> x = random.normals(n_tokens * k), bias = random.normals(64, 3);
    std::vector<float> wide(n_tokens * 40, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t t = 0; t < n_tokens; ++t)
      std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(t * k), k, wide.begin() + static_cast<std::ptrdiff_t>(t * 40));
    for (const kernel_table* table : tables()) {
      CAPTURE(std::string(cria::block_traits<Format>::name));
      CAPTURE(name(*table));
      const std::vector<float> plain = multiply(*table, w, x, n_tokens);
      CHECK(same_bits(multiply(*table, w, wide, n_tokens, {.ldx = 40}), plain));
      for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, 4}, {1, 2}, {1, 4}, {2, 2}}) {
        for (const bool with_bias : {false, true}) {
          for (const bool accumulate : {false, true}) {
            const std::vector<float> got = multiply(*table, w, x, n_tokens, {begin, end, with_bias ? bias.data() : nullptr, accumulate, 0});
            bool is_right = true;
            for (std::size_t n = 0; n < got.size(); ++n) {
              const std::size_t row = n % 64;
              float expected = plain[n];
              if (with_bias) expected = expected + bias[row];
              if (accumulate) expected = before + expected;
              if (row / 16 < begin || row / 16 >= end) expected = before;
              is_right = is_right && got[n] == expected;
            }
            CHECK(is_right);
          }
        }
      }
    }
  });
}

TEST_CASE("gemm_float: every half and bfloat16 becomes the float that it stands for") {
  const auto check = [&]<class Format>(std::type_identity<Format>) {
    file_rows<Format> w(16, 4096);
    for (std::size_t n = 0; n < w.blocks.size(); ++n) w.blocks[n].bits = static_cast<std::uint16_t>(n);
    const std::vector<float> expected = w.values();
    for (const kernel_table* table : tables()) {
      CAPTURE(name(*table));
      // 1 x w + 0 for one k at a time: a row of W with one column.
      bool is_right = true;
      for (std::size_t k = 0; k < w.k; k += 1) {
        file_rows<Format> column(16, 1);
        for (std::size_t r = 0; r < 16; ++r) column.blocks[r] = w.blocks[r * w.k + k];
        const std::vector<float> y = multiply(*table, column, {1.0f}, 1);
        for (std::size_t r = 0; r < 16; ++r) {
          const float e = expected[r * w.k + k];
          is_right = is_right && (y[r] == e || (std::isnan(y[r]) && std::isnan(e)));
        }
      }
      CHECK(is_right);
    }
  };
  check(std::type_identity<cria::f16>{});
  check(std::type_identity<cria::bf16>{});
}

TEST_CASE("gemm_float: inf and NaN reach the outputs of their token and row only") {
  numbers random(6);
  file_rows<cria::f32> w = normal_rows<cria::f32>(16, 20, random);
  std::vector<float> x = random.normals(13 * 20);
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    const std::vector<float> clean = multiply(*table, w, x, 13);
    std::vector<float> bad_x = x;
    bad_x[5 * 20 + 7] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> y = multiply(*table, w, bad_x, 13);
    bool is_right = true;
    for (std::size_t n = 0; n < y.size(); ++n) is_right = is_right && (n / 16 == 5 ? std::isnan(y[n]) : y[n] == clean[n]);
    CHECK(is_right);
    file_rows<cria::f32> bad_w = w;
    bad_w.blocks[3 * 20 + 11] = number_of<cria::f32>(std::numeric_limits<float>::infinity());
    const std::vector<float> z = multiply(*table, bad_w, x, 13);
    bool is_right_row = true;
    for (std::size_t n = 0; n < z.size(); ++n) is_right_row = is_right_row && (n % 16 == 3 ? !std::isfinite(z[n]) : z[n] == clean[n]);
    CHECK(is_right_row);
  }
}
