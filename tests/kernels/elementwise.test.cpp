// SPDX-License-Identifier: MIT
#include "kernel_test.hpp"

#include <cfloat>
#include <limits>

using namespace cria_test;
using cria::kernels::rope_pairing;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// The distance between neighbouring floats where `x` is.
double ulp_at(double x) {
  const double size = std::max(std::abs(x), 0x1p-126);
  return std::ldexp(1.0, std::ilogb(size) - 23);
}

}  // namespace

// n / 16 additions a lane and 4 in the tree, two roundings each at most, halved by the root; then mean, eps, root, reciprocal and two products.
TEST_CASE("elementwise.rms_norm: x / sqrt(mean(x^2) + eps) * weight within the roundings of its sum, the same bits on every set with FMA") {
  table_hashes hashes("rms_norm");
  for (const std::size_t n : sizes{1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 576, 2048, 4100}) {
    for (const float eps : {1e-5f, 1e-6f, 0.5f}) {
      for (const float size : {1.0f, 1e-6f, 1e6f}) {
        numbers random(static_cast<std::uint32_t>(n));
        const std::vector<float> x = random.normals(n, size), weight = random.normals(n);
        double squares = 0;
        for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
        const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(eps));
        const double allowed = (std::ceil(static_cast<double>(n) / 16) + 4 + 7) * unit;
        std::vector<float> reference(n);
        reference_table().rms_norm(x.data(), weight.data(), eps, n, reference.data());
        for (std::size_t t = 0; t < tables().size(); ++t) {
          const kernel_table& table = *tables()[t];
          CAPTURE(name(table));
          CAPTURE(n);
          std::vector<float> out(n + 2, 5.0f);
          table.rms_norm(x.data(), weight.data(), eps, n, out.data() + 1);
          CHECK(out.front() == 5.0f);
          CHECK(out.back() == 5.0f);
          const std::span<const float> got = std::span(out).subspan(1, n);
          hashes[t].add(got);
          if (is_fused(table)) CHECK(same_bits(got, reference));
          worst_case worst;
          for (std::size_t k = 0; k < n; ++k) {
            const double expected = static_cast<double>(x[k]) * scale * static_cast<double>(weight[k]);
            worst.see(static_cast<double>(got[k]), expected, std::abs(expected) * allowed + 0x1p-148, std::to_string(k));
          }
          worst.check("rms_norm");
        }
      }
    }
  }
  hashes.check();
}

TEST_CASE("elementwise.rms_norm: zeros stay zeros, inf and NaN do not become numbers") {
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    std::vector<float> x(40, 0.0f), weight(40, 2.0f), out(40, 1.0f);
    table->rms_norm(x.data(), weight.data(), 1e-5f, 40, out.data());
    CHECK(std::all_of(out.begin(), out.end(), [](float v) { return v == 0; }));
    x[39] = std::numeric_limits<float>::quiet_NaN();
    table->rms_norm(x.data(), weight.data(), 1e-5f, 40, out.data());
    CHECK(std::all_of(out.begin(), out.end(), [](float v) { return std::isnan(v); }));
    x[39] = infinity;
    table->rms_norm(x.data(), weight.data(), 1e-5f, 40, out.data());
    CHECK(std::isnan(out[39]));
  }
}

TEST_CASE("elementwise.silu_mul: within 4 ulp of gate / (1 + e^-gate) from -88.3 up, 4.5e-39 |gate| below, the same bits on every set with FMA") {
  table_hashes hashes("silu_mul");
  std::vector<float> gates;
  // Every 10,007th float on either side: all signs and exponents, fractions in no pattern.
  for (std::uint64_t bits = 0; bits <= 0xffffffffu; bits += 10007) {
    const float gate = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(gate)) gates.push_back(gate);
  }
  for (float gate = -110; gate < 110; gate += 0.0137f) gates.push_back(gate);
  const std::vector<float> ones(gates.size(), 1.0f);
  std::vector<float> reference(gates.size());
  reference_table().silu_mul(gates.data(), ones.data(), gates.size(), reference.data());
  for (std::size_t t = 0; t < tables().size(); ++t) {
    const kernel_table& table = *tables()[t];
    CAPTURE(name(table));
    std::vector<float> out(gates.size());
    table.silu_mul(gates.data(), ones.data(), gates.size(), out.data());
    hashes[t].add(out);
    if (is_fused(table)) CHECK(same_bits(out, reference));
    worst_case worst, behind;
    for (std::size_t n = 0; n < gates.size(); ++n) {
      const double gate = static_cast<double>(gates[n]), expected = gate / (1 + std::exp(-gate));
      if (gate >= -88.3) {
        worst.see(static_cast<double>(out[n]), expected, 4 * ulp_at(expected), std::to_string(gate));
      } else {  // exp ends at 88.3 (f32x16.hpp): the result is up to gate / e^88.3 instead of nearly 0
        behind.see(static_cast<double>(out[n]), expected, -gate * 4.5e-39, std::to_string(gate));
      }
    }
    worst.check("silu");
    behind.check("silu below -88.3");
    MESSAGE("silu_mul " << name(table) << ": at most " << 4 * worst.ratio << " ulp");
  }
  hashes.check();
}

TEST_CASE("elementwise.silu_mul: multiplies by up, for every length, and writes no more") {
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    for (std::size_t n = 0; n <= 40; ++n) {
      numbers random(static_cast<std::uint32_t>(n));
      const std::vector<float> gate = random.normals(n, 3), up = random.normals(n, 2), ones(n, 1.0f);
      std::vector<float> silu(n + 1, 8.0f), out(n + 1, 8.0f);
      table->silu_mul(gate.data(), ones.data(), n, silu.data());
      table->silu_mul(gate.data(), up.data(), n, out.data());
      bool is_right = out[n] == 8.0f;
      for (std::size_t k = 0; k < n; ++k) is_right = is_right && out[k] == silu[k] * up[k];
      CHECK(is_right);
    }
    const float bad[] = {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity};
    const float ones[] = {1, 1, 1};
    float out[3];
    table->silu_mul(bad, ones, 3, out);
    CHECK(std::isnan(out[0]));
    CHECK(!std::isfinite(out[1]));
    CHECK(!std::isfinite(out[2]));
  }
}

// The sums as in rms_norm; a mean that is off by its roundings moves every value by as much, seen against the deviation.
TEST_CASE("elementwise.layer_norm: (x - mean) / deviation * weight + bias within the roundings of its sums, the same bits on every set with FMA") {
  table_hashes hashes("layer_norm");
  for (const std::size_t n : sizes{1, 2, 15, 16, 17, 31, 33, 64, 100, 768, 2048}) {
    for (const float offset : {0.0f, 3.0f}) {
      numbers random(static_cast<std::uint32_t>(n));
      std::vector<float> x = random.normals(n);
      const std::vector<float> weight = random.normals(n), bias = random.normals(n);
      for (float& v : x) v += offset;
      double mean = 0, squares = 0, largest = 0;
      for (const float v : x) mean += static_cast<double>(v) / static_cast<double>(n);
      for (const float v : x) squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
      for (const float v : x) largest = std::max(largest, std::abs(static_cast<double>(v)));
      const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      const double steps = std::ceil(static_cast<double>(n) / 16) + 11;
      std::vector<float> reference(n);
      reference_table().layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, n, reference.data());
      for (std::size_t t = 0; t < tables().size(); ++t) {
        const kernel_table& table = *tables()[t];
        CAPTURE(name(table));
        CAPTURE(n);
        std::vector<float> out(n + 2, 5.0f), in_place = x;
        table.layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, n, out.data() + 1);
        table.layer_norm(in_place.data(), weight.data(), bias.data(), 1e-5f, n, in_place.data());
        CHECK(out.front() == 5.0f);
        CHECK(out.back() == 5.0f);
        const std::span<const float> got = std::span(out).subspan(1, n);
        CHECK(same_bits(got, in_place));
        hashes[t].add(got);
        if (is_fused(table)) CHECK(same_bits(got, reference));
        worst_case worst;
        for (std::size_t k = 0; k < n; ++k) {
          const double normed = (static_cast<double>(x[k]) - mean) * scale;
          const double expected = normed * static_cast<double>(weight[k]) + static_cast<double>(bias[k]);
          const double allowed = (std::abs(normed) + largest * scale) * steps * unit * std::abs(static_cast<double>(weight[k])) + std::abs(expected) * unit;
          worst.see(static_cast<double>(got[k]), expected, allowed, std::to_string(k));
        }
        worst.check("layer_norm");
      }
    }
  }
  hashes.check();
}

// x / (1 + e^-2u): u has some roundings of its largest term, and what u errs by e^-2u errs by relatively; behind -88.3 exp ends.
TEST_CASE("elementwise.gelu: x (1 + tanh u) / 2 as double has it, the same bits on every set with FMA") {
  table_hashes hashes("gelu");
  std::vector<float> values;
  for (std::uint64_t bits = 0; bits <= 0xffffffffu; bits += 30011) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(x)) values.push_back(x);
  }
  for (float x = -12; x < 12; x += 0.00137f) values.push_back(x);
  std::vector<float> reference(values.size());
  reference_table().gelu(values.data(), values.size(), reference.data());
  for (std::size_t t = 0; t < tables().size(); ++t) {
    const kernel_table& table = *tables()[t];
    CAPTURE(name(table));
    std::vector<float> out(values.size());
    table.gelu(values.data(), values.size(), out.data());
    hashes[t].add(out);
    if (is_fused(table)) CHECK(same_bits(out, reference));
    worst_case worst, behind;
    for (std::size_t n = 0; n < values.size(); ++n) {
      const double x = static_cast<double>(values[n]), u = std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
      const double expected = x / (1 + std::exp(-2 * u));
      if (2 * u >= -88) {
        const double bound = std::abs(expected) * unit * (8 + 8 * std::abs(2 * u) / (1 + std::exp(2 * u))) + 0x1p-148;
        worst.see(static_cast<double>(out[n]), expected, bound, std::to_string(x));
      } else {
        behind.see(static_cast<double>(out[n]), expected, -x * 6.1e-39, std::to_string(x));
      }
    }
    worst.check("gelu");
    behind.check("gelu far below 0");
  }
  hashes.check();
}

TEST_CASE("elementwise.gelu_mul: is gelu times up, for every length, and writes no more") {
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    for (std::size_t n = 0; n <= 40; ++n) {
      numbers random(static_cast<std::uint32_t>(n));
      const std::vector<float> gate = random.normals(n, 3), up = random.normals(n, 2);
      std::vector<float> gelu(n + 1, 8.0f), out(n + 1, 8.0f);
      table->gelu(gate.data(), n, gelu.data());
      table->gelu_mul(gate.data(), up.data(), n, out.data());
      bool is_right = out[n] == 8.0f && gelu[n] == 8.0f;
      for (std::size_t k = 0; k < n; ++k) is_right = is_right && out[k] == gelu[k] * up[k];
      CHECK(is_right);
    }
    const float bad[] = {std::numeric_limits<float>::quiet_NaN(), infinity};
    float out[2];
    table->gelu(bad, 2, out);
    CHECK(std::isnan(out[0]));
    CHECK(!std::isfinite(out[1]));
  }
}

TEST_CASE("elementwise.soft_cap: cap tanh(x / cap), never beyond the cap, the same bits on every set with FMA") {
  table_hashes hashes("soft_cap");
  for (const float cap : {30.0f, 50.0f, 1.0f}) {
    std::vector<float> values = {infinity, -infinity, std::numeric_limits<float>::max(), 0.0f};
    for (float x = -10; x < 10; x += 0.0113f) values.push_back(x * cap);
    std::vector<float> reference(values.size());
    reference_table().soft_cap(values.data(), cap, values.size(), reference.data());
    for (std::size_t t = 0; t < tables().size(); ++t) {
      CAPTURE(name(*tables()[t]));
      std::vector<float> out(values.size() + 1, 7.0f);
      tables()[t]->soft_cap(values.data(), cap, values.size(), out.data());
      CHECK(out.back() == 7.0f);
      hashes[t].add(out);
      if (is_fused(*tables()[t])) CHECK(same_bits(std::span(out).first(values.size()), reference));
      worst_case worst;
      // 1 - 2 / (e^2y + 1): e errs by 2^-22 of itself at |2y| <= 2, where 2e / (e + 1)^2 <= 1/2; three more roundings of at most 1.
      for (std::size_t n = 0; n < values.size(); ++n) {
        const auto expected = static_cast<double>(cap) * std::tanh(static_cast<double>(values[n]) / static_cast<double>(cap));
        worst.see(static_cast<double>(out[n]), expected, static_cast<double>(cap) * 6 * unit, std::to_string(values[n]));
        CHECK(std::abs(out[n]) <= cap);
      }
      worst.check("soft_cap");
    }
  }
  hashes.check();
}

TEST_CASE("elementwise.add_scaled: adds with one rounding, for every length, and writes no more") {
  for (const kernel_table* table : tables()) {
    if (!is_fused(*table)) continue;
    CAPTURE(name(*table));
    for (std::size_t n = 0; n <= 40; ++n) {
      numbers random(static_cast<std::uint32_t>(n));
      const std::vector<float> x = random.normals(n), before = random.normals(n + 1);
      std::vector<float> out = before;
      table->add_scaled(x.data(), 0.3f, n, out.data());
      bool is_right = out[n] == before[n];
      for (std::size_t k = 0; k < n; ++k) is_right = is_right && out[k] == std::fma(x[k], 0.3f, before[k]);
      CHECK(is_right);
    }
  }
}

TEST_CASE("elementwise.rope_table: cos and sin of pos x frequency as long double has them, rounded once") {
  table_hashes hashes("rope_table");
  for (const rope_pairing pairing : {rope_pairing::adjacent, rope_pairing::halves}) {
    for (const std::size_t rope_dim : sizes{2, 20, 64, 128}) {
      const std::size_t half = rope_dim / 2;
      std::vector<double> frequencies(half);
      for (std::size_t n = 0; n < half; ++n) frequencies[n] = std::pow(10000.0, -2.0 * static_cast<double>(n) / static_cast<double>(rope_dim));
      for (const std::uint32_t pos : {0u, 1u, 2u, 17u, 1000u, 4095u, 131071u, 1048575u}) {
        for (const double magnitude : {1.0, 1.3888}) {
          for (std::size_t t = 0; t < tables().size(); ++t) {
            CAPTURE(name(*tables()[t]));
            std::vector<float> table(2 * rope_dim);
            tables()[t]->rope_table({pos, frequencies.data(), magnitude, rope_dim, pairing, table.data()});
            hashes[t].add(table);
            worst_case worst;
            for (std::size_t n = 0; n < half; ++n) {
              const long double angle = static_cast<long double>(frequencies[n]) * pos;
              const auto c = static_cast<double>(std::cos(angle) * static_cast<long double>(magnitude));
              const auto s = static_cast<double>(std::sin(angle) * static_cast<long double>(magnitude));
              // One rounding to float; before it the angle is rounded to double, and sine, cosine and product are good to some 2^-51.
              const double angle_error = magnitude * (static_cast<double>(angle) * 0x1p-53 + 0x1p-50);
              const std::size_t first = pairing == rope_pairing::adjacent ? 2 * n : n,
                                second = pairing == rope_pairing::adjacent ? 2 * n + 1 : n + half;
              const std::string place = "pos " + std::to_string(pos) + ", pair " + std::to_string(n);
              worst.see(static_cast<double>(table[first]), c, std::abs(c) * unit + angle_error, place);
              worst.see(static_cast<double>(table[second]), c, std::abs(c) * unit + angle_error, place);
              worst.see(static_cast<double>(table[rope_dim + first]), -s, std::abs(s) * unit + angle_error, place);
              worst.see(static_cast<double>(table[rope_dim + second]), s, std::abs(s) * unit + angle_error, place);
            }
            worst.check("rope_table");
          }
        }
      }
    }
  }
  hashes.check();
}

TEST_CASE("elementwise.rope: rotates the pairs of each head, leaves the channels behind rope_dim, the same bits on every set with FMA") {
  table_hashes hashes("rope");
  for (const rope_pairing pairing : {rope_pairing::adjacent, rope_pairing::halves}) {
    for (const std::size_t rope_dim : sizes{2, 4, 8, 10, 16, 20, 32, 48, 64, 80, 96, 128}) {
      numbers random(static_cast<std::uint32_t>(rope_dim));
      const std::size_t half = rope_dim / 2, n_heads = 3, stride = rope_dim + 16;
      const std::vector<float> x = random.normals(n_heads * stride);
      std::vector<float> table(2 * rope_dim);
      std::vector<double> frequencies(half);
      for (std::size_t n = 0; n < half; ++n) frequencies[n] = std::pow(10000.0, -2.0 * static_cast<double>(n) / static_cast<double>(rope_dim));
      reference_table().rope_table({77, frequencies.data(), 1.0, rope_dim, pairing, table.data()});
      std::vector<float> reference = x;
      reference_table().rope({reference.data(), n_heads, stride, rope_dim, table.data(), pairing});
      for (std::size_t t = 0; t < tables().size(); ++t) {
        CAPTURE(name(*tables()[t]));
        CAPTURE(rope_dim);
        std::vector<float> y = x;
        tables()[t]->rope({y.data(), n_heads, stride, rope_dim, table.data(), pairing});
        hashes[t].add(y);
        if (is_fused(*tables()[t])) CHECK(same_bits(y, reference));
        worst_case worst;
        bool is_untouched = true;
        for (std::size_t head = 0; head < n_heads; ++head) {
          for (std::size_t n = 0; n < half; ++n) {
            const std::size_t first = head * stride + (pairing == rope_pairing::adjacent ? 2 * n : n);
            const std::size_t second = head * stride + (pairing == rope_pairing::adjacent ? 2 * n + 1 : n + half);
            const double a = static_cast<double>(x[first]), b = static_cast<double>(x[second]), angle = 77 * frequencies[n];
            const double c = std::cos(angle), s = std::sin(angle);
            // cos and sin are rounded to floats; two products, one sum.
            const double allowed = 4 * unit * (std::abs(a) + std::abs(b));
            worst.see(static_cast<double>(y[first]), a * c - b * s, allowed, "first of pair " + std::to_string(n));
            worst.see(static_cast<double>(y[second]), b * c + a * s, allowed, "second of pair " + std::to_string(n));
          }
          for (std::size_t n = rope_dim; n < stride; ++n) is_untouched = is_untouched && y[head * stride + n] == x[head * stride + n];
        }
        worst.check("rope");
        CHECK(is_untouched);
      }
    }
  }
  hashes.check();
}
