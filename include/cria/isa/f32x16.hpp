// SPDX-License-Identifier: MIT
// isa/f32x16.hpp - sixteen floats, whatever the register width: the unit in which reductions and elementary functions are defined.
//
// Ensures   sum() adds lane n to lane n + 8, then n + 4, n + 2, n + 1: the same tree on every set, so the same bits
//           exp(): error below 1 ulp on [-87.3, 88.3], arguments outside are clamped to it, NaN stays NaN; the same bits on every set with FMA
// Errors    none (noexcept)
// Source    exp: reduction by ln 2 in two parts (Cody & Waite 1980) and the degree 6 polynomial 1 + r + ... of least greatest relative error
//           on |r| <= ln(2) / 2 (3.1e-9, a 20th of a rounding); tests/isa/f32x16.test.cpp measures the error over the whole range
#pragma once

#include <cria/isa/vec.hpp>

#include <cstddef>

namespace cria::inline v0_1_0::isa {

template <class Isa>
struct f32x16 {
  using op = vec<Isa>;
  static constexpr std::size_t parts = 16 / op::lanes;
  typename op::f v[parts];

  template <class F>
  static CRIA_ALWAYS_INLINE f32x16 make(F f) noexcept {
    f32x16 r;
    CRIA_UNROLL
    for (std::size_t n = 0; n < parts; ++n) r.v[n] = f(n);
    return r;
  }
  static CRIA_ALWAYS_INLINE f32x16 set(float x) noexcept {
    return make([=](std::size_t) CRIA_LAMBDA_INLINE { return op::set(x); });
  }
  static CRIA_ALWAYS_INLINE f32x16 load(const float* p) noexcept {
    return make([=](std::size_t n) CRIA_LAMBDA_INLINE { return op::load(p + n * op::lanes); });
  }
  static CRIA_ALWAYS_INLINE f32x16 load_f16(const f16* p) noexcept {
    return make([=](std::size_t n) CRIA_LAMBDA_INLINE { return op::load_f16(p + n * op::lanes); });
  }
  CRIA_ALWAYS_INLINE void store(float* p) const noexcept {
    CRIA_UNROLL
    for (std::size_t n = 0; n < parts; ++n) op::store(p + n * op::lanes, v[n]);
  }
  CRIA_ALWAYS_INLINE void store_f16(f16* p) const noexcept {
    CRIA_UNROLL
    for (std::size_t n = 0; n < parts; ++n) op::store_f16(p + n * op::lanes, v[n]);
  }

  friend CRIA_ALWAYS_INLINE f32x16 operator+(const f32x16& a, const f32x16& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] + b.v[n]; });
  }
  friend CRIA_ALWAYS_INLINE f32x16 operator-(const f32x16& a, const f32x16& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] - b.v[n]; });
  }
  friend CRIA_ALWAYS_INLINE f32x16 operator*(const f32x16& a, const f32x16& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] * b.v[n]; });
  }
  friend CRIA_ALWAYS_INLINE f32x16 operator/(const f32x16& a, const f32x16& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return op::div(a.v[n], b.v[n]); });
  }
  static CRIA_ALWAYS_INLINE f32x16 fma(const f32x16& a, const f32x16& b, const f32x16& c) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return op::fma(a.v[n], b.v[n], c.v[n]); });
  }
  static CRIA_ALWAYS_INLINE f32x16 max(const f32x16& a, const f32x16& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return op::max(a.v[n], b.v[n]); });
  }
  static CRIA_ALWAYS_INLINE f32x16 min(const f32x16& a, const f32x16& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return op::min(a.v[n], b.v[n]); });
  }
  static CRIA_ALWAYS_INLINE f32x16 abs(const f32x16& a) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return op::abs(a.v[n]); });
  }

  /// Returns the largest lane.
  CRIA_ALWAYS_INLINE float hmax() const noexcept {
    auto m = v[0];
    CRIA_UNROLL
    for (std::size_t n = 1; n < parts; ++n) m = op::max(m, v[n]);
    return op::hmax(m);
  }

  /// Returns the bits of the largest |lane| of both; those of NaN when a lane is NaN, which are above infinity's.
  static CRIA_ALWAYS_INLINE std::int32_t hmax_abs_bits(const f32x16& a, const f32x16& b) noexcept {
    const auto magnitude = op::set_i(0x7fffffff);
    auto m = op::as_int(a.v[0]) & magnitude;
    CRIA_UNROLL
    for (std::size_t n = 1; n < 2 * parts; ++n) m = op::max_i(m, op::as_int(n < parts ? a.v[n] : b.v[n - parts]) & magnitude);
    return op::hmax_i(m);
  }

  /// Returns the sum of the lanes by the fixed tree.
  CRIA_ALWAYS_INLINE float sum() const noexcept {
    float x[16];
    store(x);
    CRIA_UNROLL
    for (std::size_t half = 8; half > 0; half /= 2) {
      for (std::size_t n = 0; n < half; ++n) x[n] = x[n] + x[n + half];
    }
    return x[0];
  }
};

/// Returns e^x in each lane.
template <class Isa>
CRIA_ALWAYS_INLINE f32x16<Isa> exp(f32x16<Isa> x) noexcept {
  using v = f32x16<Isa>;
  using op = vec<Isa>;
  x = v::max(v::set(-87.3f), v::min(v::set(88.3f), x));  // in this order NaN passes: min and max give their second argument
  return v::make([&](std::size_t n) CRIA_LAMBDA_INLINE {
    const auto k = op::to_int(x.v[n] * op::set(1.44269504f));
    const auto kf = op::to_float(k);
    const auto r = op::fma(kf, op::set(-1.42860677e-6f), op::fma(kf, op::set(-0.693145752f), x.v[n]));  // ln 2 in two parts
    auto p = op::set(0.00138145813f);
    p = op::fma(p, r, op::set(0.00836872496f));
    p = op::fma(p, r, op::set(0.041668389f));
    p = op::fma(p, r, op::set(0.166665211f));
    p = op::fma(p, r, op::set(0.49999994f));
    p = op::fma(p, r, op::set(1.0f));
    p = op::fma(p, r, op::set(1.0f));
    return p * op::as_float(op::template shl<23>(k + op::set_i(127)));
  });
}

}  // namespace cria::inline v0_1_0::isa
