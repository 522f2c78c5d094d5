// SPDX-License-Identifier: MIT
// kernels/elementwise.hpp - the small operations of a layer: norms, gates, rotary positions.
//
//   rms_norm   out = x / sqrt(mean(x^2) + eps) * weight
//   layer_norm out = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias
//   silu_mul   out = gate / (1 + e^-gate) * up
//   gelu       out = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3): x (1 + tanh u) / 2        gelu_mul   out = gelu(gate) * up
//   soft_cap   out = cap tanh(x / cap)
//   rope       out[c] = x[c] cos(pos f) + partner(x, c) sin(pos f) (- for the first of a pair)
//
// Shapes    n any number; sums go over 16 lanes with zeros behind the end
// Requires  out is x (gate, up) or does not overlap it
// Ensures   the same bits on every set with FMA; silu(gate) within 4 ulp of the formula from -88.3 up; gelu within 8 roundings of its size and
//           16 |u| / (1 + e^2u) more from 2u = -88 up; below, where the formulas are nearly 0 and exp is at its end, they are off by up to
//           4.5e-39 |gate| and 6.1e-39 |x|; soft_cap within 6 roundings of the cap; angles are reduced in double precision
// Errors    none (noexcept)
// Threads   re-entrant; write their outputs only
// Source    RMSNorm arXiv 1910.07467; LayerNorm 1607.06450; SiLU 1702.03118, GELU 1606.08415 (the tanh form), GLU variants 2002.05202; RoPE 2104.09864
#pragma once

#include <cria/core/scalar_math.hpp>
#include <cria/isa/f32x16.hpp>
#include <cria/kernels/kernel_table.hpp>

#include <cmath>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

template <class Isa>
struct elementwise {
  using v = isa::f32x16<Isa>;
  using op = isa::vec<Isa>;

  static void rms_norm(const float* x, const float* weight, float eps, std::size_t n, float* out) noexcept {
    v squares = v::set(0);
    for (std::size_t k = 0; k < n; k += 16) {
      const v piece = load(x + k, n - k);
      squares = v::fma(piece, piece, squares);
    }
    const v scale = v::set(1.0f / std::sqrt(squares.sum() / static_cast<float>(n) + eps));
    for (std::size_t k = 0; k < n; k += 16) store(load(x + k, n - k) * scale * load(weight + k, n - k), out + k, n - k);
  }

  static void silu_mul(const float* gate, const float* up, std::size_t n, float* out) noexcept {
    for (std::size_t k = 0; k < n; k += 16) {
      const v g = load(gate + k, n - k);
      store(g / (v::set(1) + isa::exp<Isa>(v::set(0) - g)) * load(up + k, n - k), out + k, n - k);
    }
  }

  static void layer_norm(const float* x, const float* weight, const float* bias, float eps, std::size_t n, float* out) noexcept {
    v total = v::set(0), squares = v::set(0);
    for (std::size_t k = 0; k < n; k += 16) total = total + load(x + k, n - k);
    const v mean = v::set(total.sum() / static_cast<float>(n));
    for (std::size_t k = 0; k < n; k += 16) {
      const v piece = first_of(load(x + k, n - k) - mean, n - k);
      squares = v::fma(piece, piece, squares);
    }
    const v scale = v::set(1.0f / std::sqrt(squares.sum() / static_cast<float>(n) + eps));
    for (std::size_t k = 0; k < n; k += 16) {
      store(v::fma((load(x + k, n - k) - mean) * scale, load(weight + k, n - k), load(bias + k, n - k)), out + k, n - k);
    }
  }

  static void gelu_mul(const float* gate, const float* up, std::size_t n, float* out) noexcept {
    for (std::size_t k = 0; k < n; k += 16) store(gelu_of(load(gate + k, n - k)) * load(up + k, n - k), out + k, n - k);
  }

  static void gelu(const float* x, std::size_t n, float* out) noexcept {
    for (std::size_t k = 0; k < n; k += 16) store(gelu_of(load(x + k, n - k)), out + k, n - k);
  }

  /// tanh(y) = 1 - 2 / (e^2y + 1).
  static void soft_cap(const float* x, float cap, std::size_t n, float* out) noexcept {
    const v steepness = v::set(2.0f / cap), limit = v::set(cap);
    for (std::size_t k = 0; k < n; k += 16) {
      const v e = isa::exp<Isa>(load(x + k, n - k) * steepness);
      store(limit * (v::set(1) - v::set(2) / (e + v::set(1))), out + k, n - k);
    }
  }

  static void add_scaled(const float* x, float scale, std::size_t n, float* out) noexcept {
    const v factor = v::set(scale);
    for (std::size_t k = 0; k < n; k += 16) store(v::fma(load(x + k, n - k), factor, load(out + k, n - k)), out + k, n - k);
  }

  static void rope_table(const rope_table_args& a) noexcept {
    const std::size_t half = a.rope_dim / 2;
    for (std::size_t n = 0; n < half; ++n) {
      const math::sine_cosine angle = math::sin_cos(math::rounded_product(a.frequencies[n], static_cast<double>(a.pos)));
      const float c = static_cast<float>(angle.cosine * a.magnitude), s = static_cast<float>(angle.sine * a.magnitude);
      const std::size_t first = a.pairing == rope_pairing::adjacent ? 2 * n : n;
      const std::size_t second = a.pairing == rope_pairing::adjacent ? 2 * n + 1 : n + half;
      a.table[first] = c;
      a.table[second] = c;
      a.table[a.rope_dim + first] = -s;
      a.table[a.rope_dim + second] = s;
    }
  }

  /// x[c] cos[c] + partner sin[c]; the partner of a channel is its neighbour (adjacent) or half a head away (halves).
  static void rope(const rope_args& a) noexcept {
    const float* cosines = a.table;
    const float* sines = a.table + a.rope_dim;
    for (std::size_t head = 0; head < a.n_heads; ++head) {
      float* x = a.x + head * a.head_stride;
      if (a.pairing == rope_pairing::adjacent) {
        for (std::size_t c = 0; c < a.rope_dim; c += 16) {
          const std::size_t left = a.rope_dim - c;
          const v value = load(x + c, left);
          const v partner = v::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return op::swap_pairs(value.v[n]); });
          store(v::fma(value, load(cosines + c, left), partner * load(sines + c, left)), x + c, left);
        }
      } else {
        const std::size_t half = a.rope_dim / 2;
        for (std::size_t c = 0; c < half; c += 16) {
          const std::size_t left = half - c;
          const v first = load(x + c, left), second = load(x + half + c, left);
          store(v::fma(first, load(cosines + c, left), second * load(sines + c, left)), x + c, left);
          store(v::fma(second, load(cosines + half + c, left), first * load(sines + half + c, left)), x + half + c, left);
        }
      }
    }
  }

 private:
  static CRIA_ALWAYS_INLINE v gelu_of(const v& x) noexcept {
    const v cubic = v::fma(x * x, x * v::set(0.044715f), x);
    return x / (v::set(1) + isa::exp<Isa>(cubic * v::set(-1.59576912f)));   // 2 sqrt(2 / pi)
  }
  /// The first `left` lanes, zeros behind.
  static CRIA_ALWAYS_INLINE v first_of(const v& x, std::size_t left) noexcept {
    if (left >= 16) return x;
    float staged[16];
    x.store(staged);
    return load(staged, left);
  }
  /// Sixteen values, zeros from `left` on.
  static CRIA_ALWAYS_INLINE v load(const float* p, std::size_t left) noexcept {
    if (left >= 16) return v::load(p);
    float staged[16] = {};
    std::memcpy(staged, p, left * sizeof(float));
    return v::load(staged);
  }
  static CRIA_ALWAYS_INLINE void store(const v& x, float* p, std::size_t left) noexcept {
    if (left >= 16) return x.store(p);
    float staged[16];
    x.store(staged);
    std::memcpy(p, staged, left * sizeof(float));
  }
};

}  // namespace cria::inline v0_1_0::kernels
