// SPDX-License-Identifier: MIT
// quant/scale_search.hpp - the search for scales that the quantisers of iq4_nl and of formats with nested scales share: x ~ scale q.
//
// A sub-block of N values is to become codes q out of a fixed set. For given codes the best scale is a least-squares fit; for a given scale
// the best codes are the nearest ones. The search tries inverse scales that put the value of largest magnitude at chosen places near the
// ends of the code range, fits each and keeps the best. Sub-blocks share a half-precision unit, of which their scales are small multiples:
// the unit is found by the same fit over the sub-blocks' scales, weighted by how fast each one's error grows when its scale is moved, and
// each sub-block takes the multiple of least error.
//
// All values' errors count the same. Weights that favour large values make the model's text worse: SmolLM2-135M with all its matrices as
// Q3_K has a mean KL from itself of 1.01 with equal weights, 1.09 with RMS + |x|, 1.26 with x^2, and 1.28 from ggml's quantiser, which uses
// x^2 (1,024 tokens of prose, August 2026).
//
// Requires  finite values for a useful result
// Ensures   Any floats give codes inside their range. Values that no scale of half precision reaches get a scale that is inf there, not 0. A block whose
//           unit is a small multiple of the least half is as good as that allows, and never worse than zeros.
// Errors    none (noexcept)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::inline v0_1_0::detail {

/// The integers from Low to High as codes; the index of code Low is 0.
template <int Low, int High>
struct integer_codes {
  /// Returns the index of the code nearest to `v`; 0 for NaN.
  [[nodiscard]] static CRIA_ALWAYS_INLINE int index(float v) noexcept { return nearest_code(v, Low, High); }
  /// Returns the code nearest to `v`.
  [[nodiscard]] static CRIA_ALWAYS_INLINE float nearest(float v) noexcept { return static_cast<float>(index(v) + Low); }
};

/// Places for the value of largest magnitude on the code axis: `count` of them from `first` in steps of `step`.
struct search_grid {
  float first, step;
  int count;
};

/// For fit_scale: every value's error counts the same.
struct equal_weights {
  constexpr float operator[](std::size_t) const noexcept { return 1; }
};

/// A scale, and how fast the error grows with the square of the distance from it.
struct scale_fit {
  float scale = 0, curvature = 0;
};

/// Beyond this the squares of errors may overflow; no scale of half precision reaches a millionth of it.
inline constexpr float largest_fitted = 1e15f;

/// Returns the scale of least weighted squared error; 0 when no code is better than value 0.
template <class Codes, std::size_t N, class Weights = equal_weights>
[[nodiscard]] scale_fit fit_scale(std::span<const float, N> x, std::span<const search_grid> grids, const Weights& weights = {}) noexcept {
  scale_fit best;
  float best_gain = 0;   // by how much the error is below the one of scale 0
  const auto consider = [&](float inverse) CRIA_LAMBDA_INLINE {
    float xq[N], qq[N];
    for (std::size_t i = 0; i < N; ++i) {
      const float q = Codes::nearest(x[i] * inverse), weighted = weights[i] * q;
      xq[i] = weighted * x[i];
      qq[i] = weighted * q;
    }
    const float sum_xq = sum_of(xq), sum_qq = sum_of(qq), scale = sum_xq / sum_qq, gain = scale * sum_xq;
    if (!(gain > best_gain)) return;
    best_gain = gain;
    best = {scale, sum_qq};
  };
  const float extreme = largest_by_magnitude(x);
  if (extreme == 0) return best;
  if (!(std::fabs(extreme) <= largest_fitted)) return {extreme, 1};
  for (const search_grid& grid : grids) {
    for (int k = 0; k < grid.count; ++k) consider((grid.first + grid.step * static_cast<float>(k)) / extreme);
  }
  if (best.scale != 0) consider(1 / best.scale);
  return best;
}

/// Returns the squared error of the codes nearest to x / scale.
template <class Codes, std::size_t N>
[[nodiscard]] CRIA_ALWAYS_INLINE float scale_error(std::span<const float, N> x, float scale) noexcept {
  const float inverse = reciprocal_or_zero(scale);
  float errors[N];
  for (std::size_t i = 0; i < N; ++i) {
    const float difference = scale * Codes::nearest(x[i] * inverse) - x[i];
    errors[i] = difference * difference;
  }
  return sum_of(errors);
}

/// A block with a scale for each of Count sub-blocks of Size values: value = d scale q.
template <std::size_t Count, std::size_t Size>
struct nested_scales {
  f16 d;
  float error;                     ///< squared, of all values
  int scale[Count];                ///< in units of d
  std::uint8_t q[Count * Size];    ///< indices of codes
};

/// Below so many times the least half, rounding a unit costs more than 1/32 of it: whatever is rounded down no longer reaches its largest values.
inline constexpr int few_units = 16;

/// Whether the half is so small.
[[nodiscard]] constexpr bool is_coarse(f16 unit) noexcept { return (unit.bits & 0x7fffu) < few_units; }

/// Returns the half next to `nearest` and further from zero where that is so small and was rounded down to, else `nearest` itself.
[[nodiscard]] inline f16 not_rounded_down(f16 nearest, float unit) noexcept {
  const bool is_below = is_coarse(nearest) && std::fabs(to_float(nearest)) < std::fabs(unit);
  return {static_cast<std::uint16_t>(nearest.bits + (is_below ? 1 : 0))};
}

/// Returns the block of that d. Scales are looked for within `Reach` of the sub-block's own, scales[b].
template <class Codes, int ScaleLow, int ScaleHigh, int Reach, std::size_t Count, std::size_t Size>
[[nodiscard]] nested_scales<Count, Size> fit_scale_codes(std::span<const float, Count * Size> values, const float (&scales)[Count], f16 unit) noexcept {
  const auto sub_block = [&](std::size_t b) { return values.subspan(b * Size).template first<Size>(); };
  nested_scales<Count, Size> block;
  block.d = unit;
  block.error = 0;
  const float d = to_float(unit);
  for (std::size_t b = 0; b < Count; ++b) {
    const int middle = integer_codes<ScaleLow, ScaleHigh>::index(scales[b] * reciprocal_or_zero(d)) + ScaleLow;
    float best_error = scale_error<Codes>(sub_block(b), d * static_cast<float>(middle));
    block.scale[b] = middle;
    for (int s = std::max(middle - Reach, ScaleLow); s <= std::min(middle + Reach, ScaleHigh); ++s) {
      const float error = scale_error<Codes>(sub_block(b), d * static_cast<float>(s));
      if (error < best_error) {
        best_error = error;
        block.scale[b] = s;
      }
    }
    block.error += best_error;
    const float inverse = reciprocal_or_zero(d * static_cast<float>(block.scale[b]));
    for (std::size_t i = 0; i < Size; ++i) block.q[b * Size + i] = static_cast<std::uint8_t>(Codes::index(values[b * Size + i] * inverse));
  }
  return block;
}

/// Returns the block of least squared error.
template <class Codes, int ScaleLow, int ScaleHigh, int Reach, std::size_t Count, std::size_t Size>
[[nodiscard]] nested_scales<Count, Size> fit_nested_scales(std::span<const float, Count * Size> values,
                                                           std::span<const search_grid> grids) noexcept {
  static constexpr search_grid unit_grid[] = {{1.02f * ScaleLow, -0.01f * ScaleLow, 10}};   // most negative code for the largest scale
  float scales[Count], curvatures[Count];
  for (std::size_t b = 0; b < Count; ++b) {
    const scale_fit fit = fit_scale<Codes>(values.subspan(b * Size).template first<Size>(), grids);
    scales[b] = fit.scale;
    curvatures[b] = fit.curvature;
  }
  const float unit = fit_scale<integer_codes<ScaleLow, ScaleHigh>, Count>(scales, unit_grid, curvatures).scale;
  const f16 nearest = to_f16(unit), above = not_rounded_down(nearest, unit);
  const auto block = fit_scale_codes<Codes, ScaleLow, ScaleHigh, Reach, Count, Size>(values, scales, nearest);
  if (above == nearest) return block;
  const auto other = fit_scale_codes<Codes, ScaleLow, ScaleHigh, Reach, Count, Size>(values, scales, above);
  return other.error < block.error ? other : block;
}

}  // namespace cria::inline v0_1_0::detail
