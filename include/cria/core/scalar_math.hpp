// SPDX-License-Identifier: MIT
// core/scalar_math.hpp - exp, log, pow, sin, cos, log_sum_exp in double with the same bits on every platform and under every compiler flag.
//
// Requires  IEEE 754 double, round to nearest; not -ffast-math. -ffp-contract, -mfma and the optimisation level do not matter:
//           fusing a*b + c changes the result only if a*b is inexact, and below every product that meets an addition is either exact
//           (its factors' bits fit 53) or in an explicit fma; no function returns a product that a caller's addition could fuse with.
//           Arguments may be products: they are rounded first.
// Ensures   exp: relative error < 8e-16; underflows to 0 below -708.39 (no subnormal results)
//           log: relative error < 5e-16      pow: relative error < 4e-16 (2 + |y ln x|)
//           sin, cos: absolute error < 3e-16 for |x| <= 1e9, NaN beyond
// Errors    none (noexcept); NaN in, NaN out
// Threads   pure
// Source    argument reduction with a constant split in parts: W. Cody, W. Waite, Software Manual for the Elementary Functions (1980);
//           table-driven exp: P. Tang, ACM TOMS 15 (1989). Constants computed with 300 bits (mpmath), rounded to nearest.
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/config.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

/// Elementary functions; a namespace of their own, so that `using namespace cria` leaves the C library's exp unambiguous.
namespace cria::inline v0_1_0::math {

/// Returns a * b + c, rounded once.
CRIA_ALWAYS_INLINE double fused(double a, double b, double c) noexcept {
#if defined(__GNUC__)
  return __builtin_fma(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

/// Returns a * b rounded to double, whatever is added to it.
CRIA_ALWAYS_INLINE double rounded_product(double a, double b) noexcept { return fused(a, b, 0.0); }

namespace detail {

/// Returns x; a product that the caller passes is rounded here, not fused with the first addition of the function.
CRIA_ALWAYS_INLINE double rounded(double x) noexcept {
#if defined(__GNUC__)
  auto bits = bit_cast<std::int64_t>(x);
  __asm__("" : "+r"(bits));  // no instruction: the compiler may not look through it
  return bit_cast<double>(bits);
#else
  return x;  // MSVC fuses only under /fp:contract
#endif
}

// 2^(i/64), 2^(i/4096), 2^(i/262144) for i in [0, 64): six bits of the exponent each.
inline constexpr double exp2_coarse[64] = {
    0x1p0, 0x1.02c9a3e778061p0, 0x1.059b0d3158574p0, 0x1.0874518759bc8p0, 0x1.0b5586cf9890fp0, 0x1.0e3ec32d3d1a2p0,
    0x1.11301d0125b51p0, 0x1.1429aaea92de0p0, 0x1.172b83c7d517bp0, 0x1.1a35beb6fcb75p0, 0x1.1d4873168b9aap0, 0x1.2063b88628cd6p0,
    0x1.2387a6e756238p0, 0x1.26b4565e27cddp0, 0x1.29e9df51fdee1p0, 0x1.2d285a6e4030bp0, 0x1.306fe0a31b715p0, 0x1.33c08b26416ffp0,
    0x1.371a7373aa9cbp0, 0x1.3a7db34e59ff7p0, 0x1.3dea64c123422p0, 0x1.4160a21f72e2ap0, 0x1.44e086061892dp0, 0x1.486a2b5c13cd0p0,
    0x1.4bfdad5362a27p0, 0x1.4f9b2769d2ca7p0, 0x1.5342b569d4f82p0, 0x1.56f4736b527dap0, 0x1.5ab07dd485429p0, 0x1.5e76f15ad2148p0,
    0x1.6247eb03a5585p0, 0x1.6623882552225p0, 0x1.6a09e667f3bcdp0, 0x1.6dfb23c651a2fp0, 0x1.71f75e8ec5f74p0, 0x1.75feb564267c9p0,
    0x1.7a11473eb0187p0, 0x1.7e2f336cf4e62p0, 0x1.82589994cce13p0, 0x1.868d99b4492edp0, 0x1.8ace5422aa0dbp0, 0x1.8f1ae99157736p0,
    0x1.93737b0cdc5e5p0, 0x1.97d829fde4e50p0, 0x1.9c49182a3f090p0, 0x1.a0c667b5de565p0, 0x1.a5503b23e255dp0, 0x1.a9e6b5579fdbfp0,
    0x1.ae89f995ad3adp0, 0x1.b33a2b84f15fbp0, 0x1.b7f76f2fb5e47p0, 0x1.bcc1e904bc1d2p0, 0x1.c199bdd85529cp0, 0x1.c67f12e57d14bp0,
    0x1.cb720dcef9069p0, 0x1.d072d4a07897cp0, 0x1.d5818dcfba487p0, 0x1.da9e603db3285p0, 0x1.dfc97337b9b5fp0, 0x1.e502ee78b3ff6p0,
    0x1.ea4afa2a490dap0, 0x1.efa1bee615a27p0, 0x1.f50765b6e4540p0, 0x1.fa7c1819e90d8p0,
};
inline constexpr double exp2_middle[64] = {
    0x1p0, 0x1.000b175effdc7p0, 0x1.00162f3904052p0, 0x1.0021478e11ce6p0, 0x1.002c605e2e8cfp0, 0x1.003779a95f959p0,
    0x1.0042936faa3d8p0, 0x1.004dadb113da0p0, 0x1.0058c86da1c0ap0, 0x1.0063e3a559473p0, 0x1.006eff583fc3dp0, 0x1.007a1b865a8cap0,
    0x1.0085382faef83p0, 0x1.00905554425d4p0, 0x1.009b72f41a12bp0, 0x1.00a6910f3b6fdp0, 0x1.00b1afa5abcbfp0, 0x1.00bcceb7707ecp0,
    0x1.00c7ee448ee02p0, 0x1.00d30e4d0c483p0, 0x1.00de2ed0ee0f5p0, 0x1.00e94fd0398e0p0, 0x1.00f4714af41d3p0, 0x1.00ff93412315cp0,
    0x1.010ab5b2cbd11p0, 0x1.0115d89ff3a8bp0, 0x1.0120fc089ff63p0, 0x1.012c1fecd613bp0, 0x1.0137444c9b5b5p0, 0x1.01426927f5278p0,
    0x1.014d8e7ee8d2fp0, 0x1.0158b4517bb88p0, 0x1.0163da9fb3335p0, 0x1.016f0169949edp0, 0x1.017a28af25567p0, 0x1.018550706ab62p0,
    0x1.019078ad6a19fp0, 0x1.019ba16628de2p0, 0x1.01a6ca9aac5f3p0, 0x1.01b1f44af9f9ep0, 0x1.01bd1e77170b4p0, 0x1.01c8491f08f08p0,
    0x1.01d37442d5070p0, 0x1.01de9fe280ac8p0, 0x1.01e9cbfe113efp0, 0x1.01f4f8958c1c6p0, 0x1.020025a8f6a35p0, 0x1.020b533856324p0,
    0x1.02168143b0281p0, 0x1.0221afcb09e3ep0, 0x1.022cdece68c4fp0, 0x1.02380e4dd22adp0, 0x1.02433e494b755p0, 0x1.024e6ec0da046p0,
    0x1.02599fb483385p0, 0x1.0264d1244c719p0, 0x1.027003103b10ep0, 0x1.027b357854772p0, 0x1.0286685c9e059p0, 0x1.02919bbd1d1d8p0,
    0x1.029ccf99d720ap0, 0x1.02a803f2d170dp0, 0x1.02b338c811703p0, 0x1.02be6e199c811p0,
};
inline constexpr double exp2_fine[64] = {
    0x1p0, 0x1.00002c5c89d5fp0, 0x1.000058b91b5bdp0, 0x1.00008515b491ap0, 0x1.0000b17255776p0, 0x1.0000ddcefe0d1p0,
    0x1.00010a2bae52cp0, 0x1.0001368866486p0, 0x1.000162e525ee0p0, 0x1.00018f41ed43ap0, 0x1.0001bb9ebc493p0, 0x1.0001e7fb92fecp0,
    0x1.0002145871645p0, 0x1.000240b55779ep0, 0x1.00026d12453f7p0, 0x1.0002996f3ab50p0, 0x1.0002c5cc37da9p0, 0x1.0002f2293cb03p0,
    0x1.00031e864935dp0, 0x1.00034ae35d6b7p0, 0x1.0003774079512p0, 0x1.0003a39d9ce6ep0, 0x1.0003cffac82cap0, 0x1.0003fc57fb227p0,
    0x1.000428b535c85p0, 0x1.00045512781e4p0, 0x1.0004816fc2245p0, 0x1.0004adcd13da6p0, 0x1.0004da2a6d408p0, 0x1.00050687ce56cp0,
    0x1.000532e5371d1p0, 0x1.00055f42a7937p0, 0x1.00058ba01fba0p0, 0x1.0005b7fd9f909p0, 0x1.0005e45b27175p0, 0x1.000610b8b64e2p0,
    0x1.00063d164d351p0, 0x1.00066973ebcc2p0, 0x1.000695d192135p0, 0x1.0006c22f400abp0, 0x1.0006ee8cf5b22p0, 0x1.00071aeab309cp0,
    0x1.0007474878118p0, 0x1.000773a644c97p0, 0x1.0007a00419318p0, 0x1.0007cc61f549cp0, 0x1.0007f8bfd9122p0, 0x1.0008251dc48acp0,
    0x1.0008517bb7b38p0, 0x1.00087dd9b28c7p0, 0x1.0008aa37b5159p0, 0x1.0008d695bf4efp0, 0x1.000902f3d1387p0, 0x1.00092f51ead23p0,
    0x1.00095bb00c1c2p0, 0x1.0009880e35165p0, 0x1.0009b46c65c0bp0, 0x1.0009e0ca9e1b5p0, 0x1.000a0d28de263p0, 0x1.000a398725e14p0,
    0x1.000a65e5754cap0, 0x1.000a9243cc683p0, 0x1.000abea22b340p0, 0x1.000aeb0091b02p0,
};

}  // namespace detail

/// Returns e^x. About 3 ns without any fma: usable on a whole vocabulary per token.
///
/// x = k ln2/2^18 + r with |r| < 2.65e-6, e^x = 2^(k >> 18) T[k's upper, middle, lower six bits] (1 + r + r^2/2); r^3/6 < 3.2e-18.
CRIA_ALWAYS_INLINE double exp(double x) noexcept {
  x = detail::rounded(x);
  if (!(x >= -0x1.6232bdd7abcd2p9)) return x != x ? x : 0.0;  // ln of the smallest normal number
  if (x > 0x1.62e42fefa39efp9) return std::numeric_limits<double>::infinity();  // ln of the largest
  const auto k = static_cast<std::int64_t>(x * 0x1.71547652b82fep18);  // 29 bits; the parts of ln2/2^18 have 24: products are exact
  const auto kd = static_cast<double>(k);
  const double r = ((x - kd * 0x1.62e42ep-19) - kd * 0x1.efa39ep-43) - kd * 0x1.e6af26p-68;
  const auto head = static_cast<double>(static_cast<float>(r));  // 24 bits: its square is exact
  const double scaled = detail::exp2_coarse[(k >> 12) & 63] * detail::exp2_middle[(k >> 6) & 63] * detail::exp2_fine[k & 63] *
                        (1.0 + (r + 0.5 * head * head));
  return bit_cast<double>(bit_cast<std::int64_t>(scaled) + (k >> 18) * (std::int64_t{1} << 52));
}

/// Returns the natural logarithm; -inf for 0, NaN for negative x.
///
/// x = 2^e m with m in [sqrt(1/2), sqrt(2)), s = (m-1)/(m+1), ln m = 2 atanh s = 2s + 2s (s^2/3 + s^4/5 + ...), |s| < 0.1716.
CRIA_ALWAYS_INLINE double log(double x) noexcept {
  if (!(x > 0.0)) {
    return x == 0.0 ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  if (x == std::numeric_limits<double>::infinity()) return x;
  std::int64_t e = 0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    e = -54;
  }
  constexpr std::int64_t sqrt_half = 0x3fe6a09e667f3bcd;
  const std::int64_t steps = (bit_cast<std::int64_t>(x) - sqrt_half) >> 52;
  const double m = bit_cast<double>(bit_cast<std::int64_t>(x) - steps * (std::int64_t{1} << 52));
  const auto ed = static_cast<double>(e + steps);
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = rounded_product(s, s);
  double q = 1.0 / 21;  // the first term left out is below 0.0295^10 / 23
  q = fused(q, z, 1.0 / 19);
  q = fused(q, z, 1.0 / 17);
  q = fused(q, z, 1.0 / 15);
  q = fused(q, z, 1.0 / 13);
  q = fused(q, z, 1.0 / 11);
  q = fused(q, z, 1.0 / 9);
  q = fused(q, z, 1.0 / 7);
  q = fused(q, z, 1.0 / 5);
  q = fused(q, z, 1.0 / 3);
  const double tail = fused(rounded_product(2.0 * s, z), q, rounded_product(ed, 0x1.ef35793c76730p-45));
  return ed * 0x1.62e42fefa3800p-1 + (2.0 * s + tail);  // ln2's upper part has 42 bits: exact product
}

/// Returns x^y for x >= 0; NaN for negative x; pow(x, 0) = 1.
CRIA_ALWAYS_INLINE double pow(double x, double y) noexcept {
  if (y == 0.0 || x == 1.0) return 1.0;
  return exp(rounded_product(y, log(x)));
}

/// The two functions of one angle.
struct sine_cosine {
  double sine;
  double cosine;
};

/// Returns sin(x) and cos(x) of x radians.
///
/// x = k pi/2 + r with |r| <= pi/4; pi/2 in four parts of 23 bits, so that k (30 bits) times a part is exact; Taylor to r^17 and r^18.
CRIA_ALWAYS_INLINE sine_cosine sin_cos(double x) noexcept {
  x = detail::rounded(x);
  if (!(x >= -1e9 && x <= 1e9)) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  const auto k = static_cast<std::int64_t>(fused(x, 0x1.45f306dc9c883p-1, x < 0.0 ? -0.5 : 0.5));
  const auto kd = static_cast<double>(k);
  const double reduced = (x - kd * 0x1.921fb4p0) - kd * 0x1.4442dp-24;
  const double r = reduced - (kd * 0x1.846988p-48 + kd * 0x1.8cc514p-72);
  const double z = rounded_product(r, r);
  double p = 1.0 / 355687428096000;
  p = fused(p, z, -1.0 / 1307674368000);
  p = fused(p, z, 1.0 / 6227020800);
  p = fused(p, z, -1.0 / 39916800);
  p = fused(p, z, 1.0 / 362880);
  p = fused(p, z, -1.0 / 5040);
  p = fused(p, z, 1.0 / 120);
  p = fused(p, z, -1.0 / 6);
  const double sine = fused(rounded_product(r, z), p, r);
  double q = -1.0 / 6402373705728000;
  q = fused(q, z, 1.0 / 20922789888000);
  q = fused(q, z, -1.0 / 87178291200);
  q = fused(q, z, 1.0 / 479001600);
  q = fused(q, z, -1.0 / 3628800);
  q = fused(q, z, 1.0 / 40320);
  q = fused(q, z, -1.0 / 720);
  q = fused(q, z, 1.0 / 24);
  q = fused(q, z, -1.0 / 2);
  const double cosine = fused(q, z, 1.0);
  switch (k & 3) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

/// Returns sin(x).
CRIA_ALWAYS_INLINE double sin(double x) noexcept { return sin_cos(x).sine; }

/// Returns cos(x).
CRIA_ALWAYS_INLINE double cos(double x) noexcept { return sin_cos(x).cosine; }

/// Returns the logarithm of the sum of e^x; NaN if one is NaN or infinity, or all are -infinity. Requires at least one.
[[nodiscard]] inline double log_sum_exp(std::span<const float> numbers) noexcept {
  const auto highest = static_cast<double>(*std::max_element(numbers.begin(), numbers.end()));
  double sum = 0;
  for (const float x : numbers) sum += exp(static_cast<double>(x) - highest);   // in double: divergences are as small as 1e-7
  return highest + log(sum);
}

}  // namespace cria::inline v0_1_0::math
