// SPDX-License-Identifier: MIT
// quant/scale_search.hpp - the search for scales (and minima) that the quantisers of formats with nested scales share.
//
// A sub-block of N values x with weights w is to become integer codes q with x ~ scale q (or scale q - min). For given codes the best
// scale is a weighted least-squares fit; for a given scale the best codes are the nearest ones. The search tries inverse scales that put
// the extreme value at chosen places near the end of the code range, fits each, keeps the best and then alternates the two steps.
// The super-block's half-precision scale is found by the same search over the sub-blocks' scales, weighted by how much their error grows
// when they are moved.
//
// Requires  N a multiple of 8 (values), any N for the scales of a super-block; finite values for a useful result
// Ensures   Any floats give some codes inside the range; NaN never reaches a conversion to integer.
// Errors    none (noexcept)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::inline v0::detail {

/// The integers from Low to High as codes.
template <int Low, int High>
struct integer_codes {
  static constexpr float lowest = Low, highest = High;

  /// Returns the code nearest to `v`; the lowest for NaN.
  [[nodiscard]] static CRIA_ALWAYS_INLINE float nearest(float v) noexcept {
    const float from_below = v > lowest ? v : lowest;
    const float within = from_below < highest ? from_below : highest;
    return static_cast<float>(static_cast<int>(within + (0.5f - lowest)) + Low);
  }
};

/// Places for the extreme value on the code axis: first, first + step, ... (count of them).
struct search_grid {
  float first, step;
  int count;
};

/// Sums kept in lanes, so that compilers may vectorise them without reordering additions.
struct lane_sum {
  static constexpr std::size_t lanes = 8;
  float lane[lanes] = {};

  [[nodiscard]] CRIA_ALWAYS_INLINE float total() const noexcept {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  }
};

/// A scale with the weighted sum of squared codes that it was fitted to: the curvature of the error at it.
struct scale_fit {
  float scale = 0, curvature = 0;
};

struct code_sums {
  float xq, qq;
};

/// Returns the weighted sums of x q and q q for the codes nearest to x * inverse.
template <class Codes, std::size_t N>
[[nodiscard]] CRIA_ALWAYS_INLINE code_sums sums_at(std::span<const float, N> x, std::span<const float, N> w, float inverse) noexcept {
  constexpr std::size_t lanes = N % lane_sum::lanes == 0 ? lane_sum::lanes : 1;
  lane_sum xq, qq;
  for (std::size_t i = 0; i < N; i += lanes) {
    for (std::size_t l = 0; l < lanes; ++l) {
      const float q = Codes::nearest(x[i + l] * inverse), wq = w[i + l] * q;
      xq.lane[l] += wq * x[i + l];
      qq.lane[l] += wq * q;
    }
  }
  return {xq.total(), qq.total()};
}

/// Returns the scale of least weighted error for x ~ scale q, zero when no code fits better than 0.
template <class Codes, std::size_t N>
[[nodiscard]] scale_fit fit_scale(std::span<const float, N> x, std::span<const float, N> w, std::span<const search_grid> grids) noexcept {
  const float extreme = largest_by_magnitude(x);
  scale_fit best;
  float best_gain = 0;   // how much smaller than the sum of w x^2 the error is
  const auto consider = [&](float inverse) CRIA_LAMBDA_INLINE {
    const code_sums s = sums_at<Codes, N>(x, w, inverse);
    const float gain = s.xq / s.qq * s.xq;
    if (s.qq > 0 && gain > best_gain) {
      best_gain = gain;
      best = {s.xq / s.qq, s.qq};
      return true;
    }
    return false;
  };
  if (!(extreme != 0)) return best;
  for (const search_grid& grid : grids) {
    for (int k = 0; k < grid.count; ++k) consider((grid.first + grid.step * static_cast<float>(k)) / extreme);
  }
  for (int k = 0; k < 4 && best.scale != 0; ++k) {
    if (!consider(1 / best.scale)) break;
  }
  return best;
}

/// Returns the weighted squared error of the codes nearest to x / scale.
template <class Codes, std::size_t N>
[[nodiscard]] CRIA_ALWAYS_INLINE float scale_error(std::span<const float, N> x, std::span<const float, N> w, float scale) noexcept {
  const float inverse = reciprocal_or_zero(scale);
  lane_sum error;
  for (std::size_t i = 0; i < N; i += lane_sum::lanes) {
    for (std::size_t l = 0; l < lane_sum::lanes; ++l) {
      const float difference = scale * Codes::nearest(x[i + l] * inverse) - x[i + l];
      error.lane[l] += w[i + l] * difference * difference;
    }
  }
  return error.total();
}

/// A super-block's scale and its sub-blocks' scales in units of it.
template <std::size_t Count>
struct nested_scales {
  f16 d;
  int code[Count] = {};
};

/// Returns the scales for Count sub-blocks that together minimise the squared error: each sub-block's best scale, then the unit that suits
/// them all, then for each sub-block the best of the neighbouring multiples of the unit as rounded to a half.
template <class Codes, class ScaleCodes, std::size_t Count, std::size_t Size>
[[nodiscard]] nested_scales<Count> fit_nested_scales(std::span<const float, Count * Size> values, std::span<const search_grid> grids) noexcept {
  float weights[Size], scale[Count], curvature[Count];
  for (float& w : weights) w = 1;
  const std::span<const float, Size> w(weights);
  for (std::size_t b = 0; b < Count; ++b) {
    const scale_fit fit = fit_scale<Codes, Size>(values.subspan(b * Size).template first<Size>(), w, grids);
    scale[b] = fit.scale;
    curvature[b] = fit.curvature;
  }
  static constexpr search_grid unit_grid[] = {{1.02f * ScaleCodes::lowest, -0.01f * ScaleCodes::lowest, 10}};
  nested_scales<Count> result;
  const float unit = fit_scale<ScaleCodes, Count>(std::span<const float, Count>(scale), std::span<const float, Count>(curvature), unit_grid).scale;
  result.d = to_f16(unit);
  const float d = to_float(result.d), inverse = reciprocal_or_zero(d);
  for (std::size_t b = 0; b < Count; ++b) {
    const std::span<const float, Size> x = values.subspan(b * Size).template first<Size>();
    const float middle = ScaleCodes::nearest(scale[b] * inverse);
    float best_error = scale_error<Codes, Size>(x, w, d * middle), best = middle;
    for (const float step : {-1.0f, 1.0f}) {
      const float code = ScaleCodes::nearest(middle + step), error = scale_error<Codes, Size>(x, w, d * code);
      if (error < best_error) {
        best_error = error;
        best = code;
      }
    }
    result.code[b] = static_cast<int>(best);
  }
  return result;
}

}  // namespace cria::inline v0::detail
