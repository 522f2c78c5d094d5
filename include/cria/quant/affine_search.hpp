// SPDX-License-Identifier: MIT
// quant/affine_search.hpp - the search for scales and minima that the quantisers of q2_k, q4_k and q5_k share: x ~ scale q - min.
//
// As in scale_search.hpp, with a second number to fit: for given codes, scale and minimum follow from two linear equations; min is kept
// at 0 or above because the formats cannot hold less. The sub-blocks' scales share one half-precision unit and their minima another; each
// sub-block takes the pair of multiples of least error among the neighbours of its own best.
//
// Requires  finite values for a useful result
// Ensures   Any floats give codes inside their range. Small units as in scale_search.hpp.
// Errors    none (noexcept)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/scale_search.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace cria::inline v0_1_0::detail {

/// A scale and a minimum, and how fast the error grows with the square of the distance from each.
struct affine_fit {
  float scale = 0, min = 0, scale_curvature = 0, min_curvature = 0;
};

/// Sums over a sub-block of n values: of the codes q, q q, x and x q.
struct affine_sums {
  float n, q, qq, x, xq;
};

/// Returns the scale and minimum of least squared error for codes with these sums; a scale that is not above 0 is no fit.
[[nodiscard]] inline affine_fit solve_affine(const affine_sums& s) noexcept {
  const float determinant = s.n * s.qq - s.q * s.q;
  const affine_fit fit{(s.n * s.xq - s.x * s.q) / determinant, (s.q * s.xq - s.qq * s.x) / determinant, determinant / s.n, s.n};
  return determinant > 0 && fit.min > 0 ? fit : affine_fit{s.xq / s.qq, 0, s.qq, s.n};
}

/// Returns the scale and minimum of least squared error for codes 0 to Top, both at least 0.
template <int Top, std::size_t N>
[[nodiscard]] affine_fit fit_affine(std::span<const float, N> x) noexcept {
  float terms[N];
  std::copy(x.begin(), x.end(), terms);
  affine_sums sums{static_cast<float>(N), 0, 0, sum_of(terms), 0};
  affine_fit best{0, sums.x < 0 ? -sums.x / sums.n : 0, 0, sums.n};   // of all codes 0
  float best_gain = best.min * -sums.x;                                  // by how much the error is below the one of value 0
  const auto consider = [&](float inverse, float min) CRIA_LAMBDA_INLINE {
    float q[N], qq[N], xq[N];
    for (std::size_t i = 0; i < N; ++i) {
      q[i] = integer_codes<0, Top>::nearest((x[i] + min) * inverse);
      qq[i] = q[i] * q[i];
      xq[i] = x[i] * q[i];
    }
    sums.q = sum_of(q);
    sums.qq = sum_of(qq);
    sums.xq = sum_of(xq);
    const affine_fit fit = solve_affine(sums);
    const float gain = fit.scale * (2 * sums.xq + 2 * fit.min * sums.q - fit.scale * sums.qq) - fit.min * (2 * sums.x + fit.min * sums.n);
    if (!(gain > best_gain && fit.scale > 0)) return;
    best_gain = gain;
    best = fit;
  };
  const value_range range = range_of(x);
  const float min = range.min < 0 ? -range.min : 0, width = range.max + min;
  if (!(width > 0)) return best;
  if (!(width <= largest_fitted)) return {width, min, 1, sums.n};
  // The widest candidate leaves a tenth of a code unused, the narrowest cuts both ends by half a code.
  for (int k = 0; k < 9; ++k) consider((static_cast<float>(Top) - 0.9f + 0.22f * static_cast<float>(k)) / width, min);
  for (int k = 0; k < 2 && best.scale > 0; ++k) consider(1 / best.scale, best.min);
  return best;
}

/// Returns the squared error of the codes nearest to (x + min) / scale.
template <int Top, std::size_t N>
[[nodiscard]] CRIA_ALWAYS_INLINE float affine_error(std::span<const float, N> x, float scale, float min) noexcept {
  const float inverse = reciprocal_or_zero(scale);
  float errors[N];
  for (std::size_t i = 0; i < N; ++i) {
    const float difference = scale * integer_codes<0, Top>::nearest((x[i] + min) * inverse) - min - x[i];
    errors[i] = difference * difference;
  }
  return sum_of(errors);
}

/// A block with a scale and a minimum for each of Count sub-blocks of Size values: value = d scale q - dmin min.
template <std::size_t Count, std::size_t Size>
struct nested_affine {
  f16 d, dmin;
  float error;                     ///< squared, of all values
  int scale[Count], min[Count];    ///< in units of d and dmin
  std::uint8_t q[Count * Size];    ///< codes
};

/// Returns the block of those units. Scales and minima are looked for next to the sub-block's own.
template <int Top, int ScaleTop, std::size_t Count, std::size_t Size>
[[nodiscard]] nested_affine<Count, Size> fit_affine_codes(std::span<const float, Count * Size> values, const float (&scales)[Count], const float (&mins)[Count],
                                                          f16 unit, f16 min_unit) noexcept {
  using scale_codes = integer_codes<0, ScaleTop>;
  nested_affine<Count, Size> block;
  block.d = unit;
  block.dmin = min_unit;
  block.error = 0;
  const float d = to_float(unit), dmin = to_float(min_unit);
  for (std::size_t b = 0; b < Count; ++b) {
    const int scale = scale_codes::index(scales[b] * reciprocal_or_zero(d)), min = scale_codes::index(mins[b] * reciprocal_or_zero(dmin));
    const auto error_of = [&](int s, int m) CRIA_LAMBDA_INLINE {
      return affine_error<Top>(values.subspan(b * Size).template first<Size>(), d * static_cast<float>(s), dmin * static_cast<float>(m));
    };
    float best_error = error_of(scale, min);
    block.scale[b] = scale;
    block.min[b] = min;
    for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, ScaleTop); ++s) {
      for (int m = std::max(min - 1, 0); m <= std::min(min + 1, ScaleTop); ++m) {
        const float error = error_of(s, m);
        if (error < best_error) {
          best_error = error;
          block.scale[b] = s;
          block.min[b] = m;
        }
      }
    }
    block.error += best_error;
    const float inverse = reciprocal_or_zero(d * static_cast<float>(block.scale[b])), offset = dmin * static_cast<float>(block.min[b]);
    for (std::size_t i = 0; i < Size; ++i) {
      block.q[b * Size + i] = static_cast<std::uint8_t>(integer_codes<0, Top>::index((values[b * Size + i] + offset) * inverse));
    }
  }
  return block;
}

/// Returns the block of least squared error with codes up to Top, scales and minima up to ScaleTop.
template <int Top, int ScaleTop, std::size_t Count, std::size_t Size>
[[nodiscard]] nested_affine<Count, Size> fit_nested_affine(std::span<const float, Count * Size> values) noexcept {
  using scale_codes = integer_codes<0, ScaleTop>;
  static constexpr search_grid unit_grid[] = {{1.02f * ScaleTop, -0.01f * ScaleTop, 10}};   // the largest gets the top code, or nearly
  float scales[Count], mins[Count], scale_curvatures[Count], min_curvatures[Count];
  for (std::size_t b = 0; b < Count; ++b) {
    const affine_fit fit = fit_affine<Top>(values.subspan(b * Size).template first<Size>());
    scales[b] = fit.scale;
    mins[b] = fit.min;
    scale_curvatures[b] = fit.scale_curvature;
    min_curvatures[b] = fit.min_curvature;
  }
  const float unit = fit_scale<scale_codes, Count>(scales, unit_grid, scale_curvatures).scale;
  const float min_unit = fit_scale<scale_codes, Count>(mins, unit_grid, min_curvatures).scale;
  const f16 d = to_f16(unit), dmin = to_f16(min_unit);
  auto best = fit_affine_codes<Top, ScaleTop, Count, Size>(values, scales, mins, d, dmin);
  if (!is_coarse(d)) return best;
  const f16 above = not_rounded_down(d, unit), min_above = not_rounded_down(dmin, min_unit);
  for (const auto& [other, other_min] : {std::pair{above, dmin}, {d, min_above}, {above, min_above}, {f16{}, f16{}}}) {
    const auto block = fit_affine_codes<Top, ScaleTop, Count, Size>(values, scales, mins, other, other_min);
    if (block.error < best.error) best = block;
  }
  return best;
}

}  // namespace cria::inline v0_1_0::detail
