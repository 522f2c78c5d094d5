// SPDX-License-Identifier: MIT
// isa/vec.hpp - vec<Isa>: the register operations that kernels are written in, one struct of static functions per instruction set.
//
// Shapes    vec<Isa>::f holds `lanes` floats, vec<Isa>::i as many int32 (also read as 4 bytes each); vec<scalar> has 16 lanes of plain C++ and
//           is the reference that the others must equal bit for bit
// Ensures   fma is one rounding; to_int rounds to nearest even; max, min, hmax are exact; nothing is re-associated
// Errors    none (noexcept)
// Threads   pure functions
//
// The xsimd half is here; what xsimd lacks (fused multiply-add on AVX-512 before 11.0, half precision, byte loads) is in vec.<isa>.hpp.
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/config.hpp>
#include <cria/core/float16.hpp>
#include <cria/isa/tags.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cria::inline v0_1_0::isa {

template <class Isa>
struct vec;

/// Sixteen plain values with the operators of an xsimd batch: integers wrap. Each operation is a call, which costs little beside sixteen lanes and keeps
/// kernels small.
template <class T>
struct scalar_lanes {
  using wrapping = std::conditional_t<std::is_integral_v<T>, std::uint32_t, T>;
  T v[16];

  template <class F>
  static CRIA_ALWAYS_INLINE scalar_lanes make(F f) noexcept {
    scalar_lanes r;
    for (std::size_t n = 0; n < 16; ++n) r.v[n] = static_cast<T>(f(n));
    return r;
  }
  friend CRIA_NOINLINE scalar_lanes operator+(const scalar_lanes& a, const scalar_lanes& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return static_cast<wrapping>(a.v[n]) + static_cast<wrapping>(b.v[n]); });
  }
  friend CRIA_NOINLINE scalar_lanes operator-(const scalar_lanes& a, const scalar_lanes& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return static_cast<wrapping>(a.v[n]) - static_cast<wrapping>(b.v[n]); });
  }
  friend CRIA_NOINLINE scalar_lanes operator*(const scalar_lanes& a, const scalar_lanes& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return static_cast<wrapping>(a.v[n]) * static_cast<wrapping>(b.v[n]); });
  }
  friend CRIA_NOINLINE scalar_lanes operator/(const scalar_lanes& a, const scalar_lanes& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] / b.v[n]; });
  }
  friend CRIA_NOINLINE scalar_lanes operator&(const scalar_lanes& a, const scalar_lanes& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] & b.v[n]; });
  }
  friend CRIA_NOINLINE scalar_lanes operator|(const scalar_lanes& a, const scalar_lanes& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] | b.v[n]; });
  }
  friend CRIA_NOINLINE scalar_lanes operator^(const scalar_lanes& a, const scalar_lanes& b) noexcept {
    return make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] ^ b.v[n]; });
  }
};

/// Plain C++; fused multiply-adds through std::fma, so that its bits are those of every set with FMA.
template <>
struct vec<scalar> {
  using f = scalar_lanes<float>;
  using i = scalar_lanes<std::int32_t>;
  static constexpr std::size_t lanes = 16;

  static CRIA_NOINLINE f set(float x) noexcept { return f::make([=](std::size_t) CRIA_LAMBDA_INLINE { return x; }); }
  static CRIA_NOINLINE i set_i(std::int32_t x) noexcept { return i::make([=](std::size_t) CRIA_LAMBDA_INLINE { return x; }); }
  static CRIA_NOINLINE f load(const float* p) noexcept { return f::make([=](std::size_t n) CRIA_LAMBDA_INLINE { return p[n]; }); }
  static CRIA_NOINLINE void store(float* p, const f& x) noexcept { std::memcpy(p, x.v, sizeof x.v); }
  static CRIA_NOINLINE i load_i(const void* p) noexcept {
    i r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static CRIA_NOINLINE void store_i(void* p, const i& x) noexcept { std::memcpy(p, x.v, sizeof x.v); }
  static CRIA_NOINLINE f fma(const f& a, const f& b, const f& c) noexcept {
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return std::fma(a.v[n], b.v[n], c.v[n]); });
  }
  static CRIA_NOINLINE f max(const f& a, const f& b) noexcept {
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] > b.v[n] ? a.v[n] : b.v[n]; });
  }
  static CRIA_NOINLINE f min(const f& a, const f& b) noexcept {
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] < b.v[n] ? a.v[n] : b.v[n]; });
  }
  static CRIA_NOINLINE f abs(const f& a) noexcept {
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return std::fabs(a.v[n]); });
  }
  static CRIA_NOINLINE f div(const f& a, const f& b) noexcept { return a / b; }
  /// Exchanges lanes 2n and 2n + 1.
  static CRIA_NOINLINE f swap_pairs(const f& a) noexcept {
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n ^ 1]; });
  }
  static CRIA_NOINLINE float hmax(const f& a) noexcept {
    float m = a.v[0];
    for (const float x : a.v) m = x > m ? x : m;
    return m;
  }
  static CRIA_NOINLINE std::int32_t hsum_i(const i& a) noexcept {
    std::int32_t s = 0;
    for (const std::int32_t x : a.v) s += x;
    return s;
  }
  template <int N>
  static CRIA_NOINLINE i shl(const i& a) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.v[n]) << N); });
  }
  template <int N>
  static CRIA_NOINLINE i shr(const i& a) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.v[n]) >> N); });
  }
  static CRIA_NOINLINE i shr_by(const i& a, int count) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.v[n]) >> count); });
  }
  template <int N>
  static CRIA_NOINLINE i sra(const i& a) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] >> N; });
  }
  static CRIA_NOINLINE f to_float(const i& a) noexcept {
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return static_cast<float>(a.v[n]); });
  }
  static CRIA_NOINLINE i to_int(const f& a) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE {
      const float r = std::nearbyint(a.v[n]);
      return r >= -2147483648.0f && r < 2147483648.0f ? static_cast<std::int32_t>(r) : INT32_MIN;
    });
  }
  static CRIA_NOINLINE i max_i(const i& a, const i& b) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return a.v[n] > b.v[n] ? a.v[n] : b.v[n]; });
  }
  static CRIA_NOINLINE std::int32_t hmax_i(const i& a) noexcept {
    std::int32_t m = a.v[0];
    for (const std::int32_t x : a.v) m = x > m ? x : m;
    return m;
  }
  static CRIA_NOINLINE i as_int(const f& a) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return bit_cast<std::int32_t>(a.v[n]); });
  }
  static CRIA_NOINLINE f as_float(const i& a) noexcept {
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return bit_cast<float>(a.v[n]); });
  }
  static CRIA_NOINLINE f load_f16(const void* p) noexcept {
    f16 h[16];
    std::memcpy(h, p, sizeof h);
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return cria::to_float(h[n]); });
  }
  /// Returns the one half at p in every lane.
  static CRIA_NOINLINE f set_f16(const void* p) noexcept {
    f16 h;
    std::memcpy(&h, p, sizeof h);
    return set(cria::to_float(h));
  }
  static CRIA_NOINLINE void store_f16(void* p, const f& x) noexcept {
    f16 h[16];
    for (std::size_t n = 0; n < 16; ++n) h[n] = to_f16(x.v[n]);
    std::memcpy(p, h, sizeof h);
  }
  static CRIA_NOINLINE f load_bf16(const void* p) noexcept {
    std::uint16_t h[16];
    std::memcpy(h, p, sizeof h);
    return f::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return bit_cast<float>(std::uint32_t{h[n]} << 16); });
  }
  static CRIA_NOINLINE i load_u8(const void* p) noexcept {
    std::uint8_t b[16];
    std::memcpy(b, p, sizeof b);
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return b[n]; });
  }
  static CRIA_NOINLINE i load_s8(const void* p) noexcept {
    std::int8_t b[16];
    std::memcpy(b, p, sizeof b);
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return b[n]; });
  }
  /// Stores each lane's low byte.
  static CRIA_NOINLINE void store_s8(void* p, const i& a) noexcept {
    std::uint8_t b[16];
    for (std::size_t n = 0; n < 16; ++n) b[n] = static_cast<std::uint8_t>(a.v[n]);
    std::memcpy(p, b, sizeof b);
  }
  /// Returns the even lanes of a and b: within each four lanes, two of a, then two of b.
  static CRIA_NOINLINE i even_lanes(const i& a, const i& b) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return (n % 4 < 2 ? a : b).v[n / 4 * 4 + n % 2 * 2]; });
  }
  static CRIA_NOINLINE i odd_lanes(const i& a, const i& b) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE { return (n % 4 < 2 ? a : b).v[n / 4 * 4 + n % 2 * 2 + 1]; });
  }
  /// Returns table[byte & 15] for every byte of `a`.
  static CRIA_NOINLINE i lookup(const std::uint8_t (&table)[16], const i& a) noexcept {
    return i::make([&](std::size_t n) CRIA_LAMBDA_INLINE {
      std::uint32_t r = 0;
      for (int b = 0; b < 32; b += 8) r |= std::uint32_t{table[(static_cast<std::uint32_t>(a.v[n]) >> b) & 15]} << b;
      return static_cast<std::int32_t>(r);
    });
  }
};

#if CRIA_HAS_SSE4_2 || CRIA_HAS_NEON64
/// What xsimd's batches give every set alike.
template <class Arch>
struct batch_vec {
  using f = xsimd::batch<float, Arch>;
  using i = xsimd::batch<std::int32_t, Arch>;
  using u = xsimd::batch<std::uint32_t, Arch>;
  static constexpr std::size_t lanes = f::size;

  static CRIA_ALWAYS_INLINE f set(float x) noexcept { return f(x); }
  static CRIA_ALWAYS_INLINE i set_i(std::int32_t x) noexcept { return i(x); }
  static CRIA_ALWAYS_INLINE f load(const float* p) noexcept { return f::load_unaligned(p); }
  static CRIA_ALWAYS_INLINE void store(float* p, f x) noexcept { x.store_unaligned(p); }
  static CRIA_ALWAYS_INLINE i load_i(const void* p) noexcept { return i::load_unaligned(static_cast<const std::int32_t*>(p)); }
  static CRIA_ALWAYS_INLINE void store_i(void* p, i x) noexcept { x.store_unaligned(static_cast<std::int32_t*>(p)); }
  static CRIA_ALWAYS_INLINE f max(f a, f b) noexcept { return xsimd::max(a, b); }
  static CRIA_ALWAYS_INLINE f min(f a, f b) noexcept { return xsimd::min(a, b); }
  static CRIA_ALWAYS_INLINE i max_i(i a, i b) noexcept { return xsimd::max(a, b); }
  static CRIA_ALWAYS_INLINE f abs(f a) noexcept { return xsimd::abs(a); }
  static CRIA_ALWAYS_INLINE f div(f a, f b) noexcept { return a / b; }
  template <int N>
  static CRIA_ALWAYS_INLINE i shl(i a) noexcept {
    return a << N;
  }
  template <int N>
  static CRIA_ALWAYS_INLINE i sra(i a) noexcept {
    return a >> N;
  }
  template <int N>
  static CRIA_ALWAYS_INLINE i shr(i a) noexcept {
    if constexpr (N == 0) {
      return a;
    } else {
      return i(static_cast<typename i::register_type>(u(static_cast<typename i::register_type>(a)) >> N));
    }
  }
  static CRIA_ALWAYS_INLINE i shr_by(i a, int count) noexcept {
    return i(static_cast<typename i::register_type>(u(static_cast<typename i::register_type>(a)) >> count));
  }
  static CRIA_ALWAYS_INLINE f to_float(i a) noexcept { return xsimd::to_float(a); }
  static CRIA_ALWAYS_INLINE i to_int(f a) noexcept { return xsimd::nearbyint_as_int(a); }
};
#endif

}  // namespace cria::inline v0_1_0::isa

#include <cria/isa/vec.avx2.hpp>
#include <cria/isa/vec.avx512bw.hpp>
#include <cria/isa/vec.neon64.hpp>
#include <cria/isa/vec.sse4_2.hpp>
