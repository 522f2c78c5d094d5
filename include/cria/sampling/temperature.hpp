// SPDX-License-Identifier: MIT
// sampling/temperature.hpp - filters that flatten or sharpen the distribution: logit / t.
//
// Ensures   the ranking stays; t = 0, and a t so small that the quotients leave float's range, keep the first-ranked candidate alone
// Errors    none (noexcept)
// Threads   pure
// Source    temperature: D. Ackley, G. Hinton, T. Sejnowski, Cognitive Science 9 (1985); dynamic: github.com/kalomaze "entropy sampling",
//           llama.cpp pull request 4972
#pragma once

#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>

namespace cria::inline v0_1_0 {

/// Divides the logits by `t` >= 0; 0 is greedy.
struct temperature {
  float t = 1.0f;

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    if (t == 1.0f || c.empty()) return c;
    constexpr auto largest = static_cast<double>(std::numeric_limits<float>::max());
    const std::size_t best = argmax_index(c);
    if (!(t > 0.0f) || !(std::abs(static_cast<double>(c[best].logit) / static_cast<double>(t)) < largest)) {
      std::swap(c[0], c[best]);
      return c.first(1);
    }
    const double inverse = 1.0 / static_cast<double>(t);
    for (candidate& one : c) {
      if (one.logit == -std::numeric_limits<float>::infinity()) continue;   // banned, also where t is inf
      const double scaled = static_cast<double>(one.logit) * inverse;
      one.logit = scaled < -largest ? -std::numeric_limits<float>::infinity() : static_cast<float>(scaled);
    }
    return c;
  }
};

/// Divides by a temperature between base - range and base + range (at least 0): low where the model is sure, high where it is not.
///
/// t = low + (high - low) (H / ln n)^exponent, with H the entropy of the n candidates that are left and not banned.
struct dynamic_temperature {
  float base = 1.0f;
  float range = 0.0f;
  float exponent = 1.0f;

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    return c.empty() ? c : temperature{chosen(c)}(c);
  }

  /// Returns the temperature that these candidates get; `base` for fewer than two. Requires !c.empty().
  [[nodiscard]] float chosen(std::span<const candidate> c) const noexcept {
    const softmax_scale scale = softmax_over(c);
    double weighted = 0.0;
    double n = 0.0;
    for (const candidate& one : c) {
      if (!(one.logit > -std::numeric_limits<float>::infinity())) continue;
      n += 1.0;
      const double weight = relative_weight(one.logit, scale.highest);
      weighted = math::fused(weight, static_cast<double>(one.logit) - static_cast<double>(scale.highest), weighted);
    }
    if (n < 2.0) return base;
    const double entropy = math::log(scale.total) - weighted / scale.total;
    const double spread = std::clamp(entropy / math::log(n), 0.0, 1.0);
    const double low = std::max(0.0, static_cast<double>(base) - static_cast<double>(range));
    const double high = static_cast<double>(base) + static_cast<double>(range);
    const double t = math::fused(high - low, math::pow(spread, static_cast<double>(exponent)), low);
    return static_cast<float>(std::min(t, static_cast<double>(std::numeric_limits<float>::max())));
  }
};

static_assert(logit_filter<temperature> && logit_filter<dynamic_temperature>);

}  // namespace cria::inline v0_1_0
