// SPDX-License-Identifier: MIT
#include "kernel_test.hpp"

#include <limits>

using namespace cria_test;
using cria::precision;

namespace {

constexpr precision both[] = {precision::exact, precision::fast};

template <class Format>
constexpr bool has_min = requires(Format b) {
  b.m;
}
|| requires(Format b) { b.dmin; };

// Scales and mins that a group of 32 values meets, each one fused multiply-add.
template <class Format>
constexpr std::size_t terms_per_group =
    (std::is_same_v<Format, cria::q2_k> || std::is_same_v<Format, cria::q3_k> || std::is_same_v<Format, cria::q6_k> || cria::octet_block<Format> ? 2 : 1) *
    (has_min<Format> ? 2 : 1);

// A weight in the file, in panels, and as numbers: values, and the mins among them (values with all codes 0).
template <class Format>
struct weight {
  file_rows<Format> file;
  std::vector<float> values, mins;

  explicit weight(file_rows<Format> rows) : file(std::move(rows)), values(file.values()), mins(values.size(), 0.0f) {
    if constexpr (has_min<Format>) {
      file_rows<Format> codeless = file;
      for (Format& block : codeless.blocks) {
        std::memset(block.qs, 0, sizeof block.qs);
        if constexpr (requires { block.qh; }) std::memset(block.qh, 0, sizeof block.qh);
      }
      mins = codeless.values();
    }
  }
};

struct output {
  std::size_t ld;
  std::vector<float> y;
  [[nodiscard]] std::span<const float> token(std::size_t t) const { return std::span(y).subspan(t * ld, ld); }
};

struct options {
  std::size_t panel_begin = 0, panel_end = 0;  // 0, 0: all
  const float* bias = nullptr;
  bool accumulate = false;
  float before = 3.5f;  // what Y held
};

template <class Format>
output multiply(const kernel_table& table, const std::vector<std::byte>& panels, const weight<Format>& w, const activations& x,
                const options& o = {}) {
  const std::size_t n_panels = (w.file.n + 15) / 16;
  output out{16 * n_panels, {}};
  out.y.assign(x.n_tokens * out.ld, o.before);
  cria::kernels::gemm_args args{};
  args.weights = panels.data();
  args.k = w.file.k;
  args.n_groups = w.file.k / 32;
  args.panel_begin = o.panel_begin;
  args.panel_end = o.panel_end == 0 ? n_panels : o.panel_end;
  args.activations = x.words.data();
  args.activations_precision = x.precision;
  args.n_tokens = x.n_tokens;
  args.y = out.y.data();
  args.ldy = out.ld;
  args.bias = o.bias;
  args.accumulate = o.accumulate;
  table.gemm[cria::format_index<Format>](args);
  return out;
}

// Sum over k of w x in double precision for every row and token, and what the kernel's roundings may add to it.
//   A term is scale (sum of code x), or min (sum of x). Its factors carry up to 3 roundings (sum to float, product of scales), the fused multiply-add
//   one of the running sum each, without FMA one more; the dequantised weight itself one. Every term is below the sum S of |scale code x| and |min
//   x|, so is every running sum: (terms + 7) 2^-24 S. Where a product of scales is subnormal it is off by 2^-150 times the integer sum, below 2^27.
template <class Format>
void check_against_double(const weight<Format>& w, const std::vector<double>& x, std::size_t n_tokens, const output& got, worst_case& worst,
                          const options& o = {}, std::size_t groups_that_count = 0) {
  const std::size_t k = w.file.k, groups = groups_that_count == 0 ? k / 32 : groups_that_count;
  const auto terms = static_cast<double>(groups * terms_per_group<Format>);
  for (std::size_t t = 0; t < n_tokens; ++t) {
    for (std::size_t r = 0; r < w.file.n; ++r) {
      double sum = 0, size = 0;
      for (std::size_t n = 0; n < k; ++n) {
        const double value = static_cast<double>(w.values[r * k + n]), min = static_cast<double>(w.mins[r * k + n]), at = x[t * k + n];
        sum += value * at;
        size += (std::abs(value - min) + std::abs(min)) * std::abs(at);
      }
      double allowed = (terms + 7) * unit * size + terms * 0x1p-123;
      const double bias = o.bias == nullptr ? 0 : static_cast<double>(o.bias[r]), before = o.accumulate ? static_cast<double>(o.before) : 0;
      allowed += 2 * unit * (std::abs(sum) + std::abs(bias) + std::abs(before));
      worst.see(static_cast<double>(got.y[t * got.ld + r]), sum + bias + before, allowed,
                "row " + std::to_string(r) + ", token " + std::to_string(t));
    }
  }
}

std::vector<float> first_tokens(const std::vector<float>& x, std::size_t n_tokens, std::size_t k) {
  return {x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n_tokens * k)};
}

// The last one takes more columns than are unpacked at once (unpacked.hpp), and not a multiple of them.
template <class Format>
std::vector<std::size_t> lengths() {
  if constexpr (Format::block_size == 32) return {32, 64, 160, 544};
  return {256, 768};
}

}  // namespace

TEST_CASE("gemm: within the derived bound of a double-precision product, the same bits on every set with FMA and for any number of tokens") {
  table_hashes hashes("gemm");
  each_format(block_formats{}, [&]<class Format>(std::type_identity<Format>) {
    for (const std::size_t k : lengths<Format>()) {
      for (const precision p : both) {
        numbers random(static_cast<std::uint32_t>(k) + static_cast<std::uint32_t>(Format::type));
        const weight<Format> w(random_rows<Format>(37, k, random));
        const std::vector<float> x = random.normals(30 * k);
        const output reference = multiply(reference_table(), w.file.packed(), w, quantize(reference_table(), x, 30, k, p));
        worst_case worst;
        for (std::size_t n = 0; n < tables().size(); ++n) {
          const kernel_table& table = *tables()[n];
          CAPTURE(std::string(Format::name));
          CAPTURE(k);
          CAPTURE(name(table));
          CAPTURE(std::string(cria::name(p)));
          const std::vector<std::byte> panels = w.file.packed();
          const activations a = quantize(table, x, 30, k, p);
          const output all = multiply(table, panels, w, a);
          hashes[n].add(all.y);
          if (is_fused(table)) CHECK(same_bits(all.y, reference.y));
          check_against_double(w, values_of(table, a), 30, all, worst);
          bool is_same = true;
          for (std::size_t n_tokens = 1; n_tokens < 30; ++n_tokens) {
            const output some = multiply(table, panels, w, quantize(table, first_tokens(x, n_tokens, k), n_tokens, k, p));
            is_same = is_same && same_bits(some.y, std::span(all.y).first(some.y.size()));
          }
          CHECK(is_same);
        }
        worst.check(std::string(Format::name));
      }
    }
  });
  hashes.check();
}

TEST_CASE("gemm: bias and accumulation are added after the product, columns outside the panel range stay") {
  each_format(block_formats{}, [&]<class Format>(std::type_identity<Format>) {
    const std::size_t k = Format::block_size, n_tokens = 5;
    numbers random(17);
    const weight<Format> w(random_rows<Format>(70, k, random));  // 5 panels
    const std::vector<float> x = random.normals(n_tokens * k), bias = random.normals(80, 10);
    for (const kernel_table* table : tables()) {
      const std::vector<std::byte> panels = w.file.packed();
      for (const precision p : both) {
        CAPTURE(std::string(Format::name));
        CAPTURE(name(*table));
        const activations a = quantize(*table, x, n_tokens, k, p);
        const std::vector<double> x_values = values_of(*table, a);
        const output plain = multiply(*table, panels, w, a);
        for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, 5}, {1, 2}, {1, 4}, {4, 5}, {3, 3}}) {
          for (const bool with_bias : {false, true}) {
            for (const bool accumulate : {false, true}) {
              const options o{begin, end, with_bias ? bias.data() : nullptr, accumulate, -1.25f};
              const output got = multiply(*table, panels, w, a, o);
              bool is_right = true;
              for (std::size_t t = 0; t < n_tokens; ++t) {
                for (std::size_t r = 0; r < got.ld; ++r) {
                  float expected = plain.y[t * got.ld + r];
                  if (with_bias) expected = expected + bias[r];
                  if (accumulate) expected = o.before + expected;
                  if (r / 16 < begin || r / 16 >= end) expected = o.before;
                  is_right = is_right && got.y[t * got.ld + r] == expected;
                }
              }
              CHECK(is_right);
              if (begin == 0) {
                worst_case worst;
                check_against_double(w, x_values, n_tokens, got, worst, o);
                worst.check("bias " + std::to_string(with_bias) + ", accumulate " + std::to_string(accumulate));
              }
            }
          }
        }
      }
    }
  });
}

TEST_CASE("gemm: a single activation picks its column of the weight") {
  each_format(block_formats{}, [&]<class Format>(std::type_identity<Format>) {
    const std::size_t k = std::max<std::size_t>(64, Format::block_size);
    numbers random(23);
    const weight<Format> w(random_rows<Format>(16, k, random));
    std::vector<float> x(k * k, 0.0f);
    for (const kernel_table* table : tables()) {
      const std::vector<std::byte> panels = w.file.packed();
      for (const precision p : both) {
        CAPTURE(std::string(Format::name));
        CAPTURE(name(*table));
        for (std::size_t n = 0; n < k; ++n) x[n * k + n] = (n % 2 == 0 ? 1.0f : -1.0f) * (p == precision::exact ? 16256.0f : 127.0f);  // d = 1
        const activations a = quantize(*table, x, k, k, p);
        worst_case worst;
        check_against_double(w, std::vector<double>(x.begin(), x.end()), k, multiply(*table, panels, w, a), worst, {}, 1);
        worst.check("column");
      }
    }
  });
}

// Every byte value as the codes of all rows and columns, activations at the ends of both planes with the signs that add up: a sum that is too narrow
// somewhere saturates or wraps here.
TEST_CASE("gemm: the largest sums that codes and activations can make are exact") {
  each_format(block_formats{}, [&]<class Format>(std::type_identity<Format>) {
    constexpr std::size_t k = 256;
    constexpr float ends[] = {16256, -16256, 16192, -16256 + 63, 16191, -16191 - 64};  // h, l = 127, 0; -127, 0; 127, -64; -127, 63; 126, 63; -127, 1
    std::vector<float> x(12 * k);
    for (std::size_t t = 0; t < 12; ++t) {
      for (std::size_t n = 0; n < k; ++n) x[t * k + n] = t < 6 ? ends[t] : n % (t - 4) == 0 ? ends[t % 6] : ends[(t + 3) % 6];
      for (std::size_t n = 0; n < k; n += 32) x[t * k + n] = t % 2 == 0 ? 16256.0f : -16256.0f;  // fixes d at 1
    }
    for (const precision p : both) {
      std::vector<activations> quantised;
      std::vector<std::vector<double>> x_values;
      for (const kernel_table* table : tables()) {
        quantised.push_back(quantize(*table, x, 12, k, p));
        x_values.push_back(values_of(*table, quantised.back()));
      }
      for (unsigned fill = 0; fill < 256; ++fill) {
        file_rows<Format> rows(16, k);
        numbers random(fill);
        for (Format& block : rows.blocks) {
          std::memset(static_cast<void*>(&block), static_cast<int>(fill), sizeof block);
          set_scales(block, random);
        }
        const weight<Format> w(std::move(rows));
        const std::vector<std::byte> panels = w.file.packed();
        const output reference = multiply(reference_table(), panels, w, quantize(reference_table(), x, 12, k, p));
        worst_case worst;
        bool is_same = true;
        for (std::size_t n = 0; n < tables().size(); ++n) {
          const output got = multiply(*tables()[n], panels, w, quantised[n]);
          if (is_fused(*tables()[n])) is_same = is_same && same_bits(got.y, reference.y);
          if (tables()[n] == &reference_table() || !is_fused(*tables()[n])) check_against_double(w, x_values[n], 12, got, worst);
        }
        if (!is_same || !(worst.ratio <= 1)) {
          CAPTURE(fill);
          CHECK(is_same);
          worst.check(std::string(Format::name));
        }
      }
    }
  });
}

TEST_CASE("gemm: inf or NaN in a token makes all its outputs non-finite and no other token's") {
  each_format(block_formats{}, [&]<class Format>(std::type_identity<Format>) {
    const std::size_t k = 256;
    numbers random(31);
    const weight<Format> w(random_rows<Format>(16, k, random));
    const std::vector<float> clean = random.normals(14 * k);
    for (const kernel_table* table : tables()) {
      const std::vector<std::byte> panels = w.file.packed();
      for (const precision p : both) {
        CAPTURE(std::string(Format::name));
        CAPTURE(name(*table));
        const output expected = multiply(*table, panels, w, quantize(*table, clean, 14, k, p));
        for (const float bad :
             {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
          std::vector<float> x = clean;
          x[3 * k + 77] = bad;
          x[13 * k + 200] = bad;
          const output got = multiply(*table, panels, w, quantize(*table, x, 14, k, p));
          bool is_right = true;
          for (std::size_t t = 0; t < 14; ++t) {
            if (t == 3 || t == 13) {
              for (const float y : got.token(t)) is_right = is_right && !std::isfinite(y);
            } else {
              is_right = is_right && same_bits(got.token(t), expected.token(t));
            }
          }
          CHECK(is_right);
        }
      }
    }
  });
}

TEST_CASE("gemm: weights of any bytes give the same on every set with FMA, NaN for NaN") {
  each_format(block_formats{}, [&]<class Format>(std::type_identity<Format>) {
    numbers random(37);
    file_rows<Format> rows(160, 256);
    for (Format& block : rows.blocks) {
      std::byte bytes[sizeof(Format)];
      for (std::byte& b : bytes) b = static_cast<std::byte>(random.bits() >> 24);
      std::memcpy(&block, bytes, sizeof bytes);
    }
    const weight<Format> w(std::move(rows));
    const std::vector<float> x = random.normals(3 * 256);
    const std::vector<std::byte> panels = w.file.packed();
    for (const precision p : both) {
      const output expected = multiply(reference_table(), panels, w, quantize(reference_table(), x, 3, 256, p));
      for (const kernel_table* table : tables()) {
        CAPTURE(std::string(Format::name));
        CAPTURE(name(*table));
        if (is_fused(*table)) CHECK(same_bits(multiply(*table, panels, w, quantize(*table, x, 3, 256, p)).y, expected.y));
      }
    }
  });
}

TEST_CASE("gemm: more tokens than the cache holds at once give the bits of a few") {
  // At most 512 KiB of activations a pass (gemm.hpp), or 128 tokens (gemm_unpacked.hpp): 2048 values of 23 words a group and 300 tokens are three passes.
  const std::size_t k = 2048, n_tokens = 300;
  numbers random(41);
  const weight<cria::q4_0> w(random_rows<cria::q4_0>(16, k, random));
  const std::vector<float> x = random.normals(n_tokens * k);
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    const std::vector<std::byte> panels = w.file.packed();
    const output all = multiply(*table, panels, w, quantize(*table, x, n_tokens, k, precision::exact));
    for (const std::size_t t : sizes{0, 100, 150, 298, 299}) {
      const std::vector<float> one(x.begin() + static_cast<std::ptrdiff_t>(t * k), x.begin() + static_cast<std::ptrdiff_t>((t + 1) * k));
      CHECK(same_bits(multiply(*table, panels, w, quantize(*table, one, 1, k, precision::exact)).y, all.token(t)));
    }
  }
}
