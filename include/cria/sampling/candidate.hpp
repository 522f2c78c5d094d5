// SPDX-License-Identifier: MIT
// sampling/candidate.hpp - a token with its score; the order among them; the best k of many without sorting all.
//
// Units     logits are natural-log odds up to a shared constant; -inf is a banned token
// Ensures   every result is a function of the numbers alone: ties go to the lowest id, sums run in a stated order (see math::)
// Errors    non_finite from top_candidates; else none (noexcept)
// Threads   pure
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/scalar_math.hpp>
#include <cria/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace cria::inline v0_1_0 {

struct candidate {
  token_id id;
  float logit;
};

/// The order of candidates: higher logit first, lower id among equals.
[[nodiscard]] constexpr bool ranks_before(const candidate& a, const candidate& b) noexcept {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

namespace detail {

/// Returns the position from `i` on, at most the size, before which no candidate has a logit of `floor` or more; skips eight at a time.
[[nodiscard]] inline std::size_t skip_below(std::span<const candidate> c, std::size_t i, float floor) noexcept {
  for (; i + 8 <= c.size(); i += 8) {
    const candidate* one = &c[i];
    const float a = std::max(std::max(one[0].logit, one[1].logit), std::max(one[2].logit, one[3].logit));
    const float b = std::max(std::max(one[4].logit, one[5].logit), std::max(one[6].logit, one[7].logit));
    if (std::max(a, b) >= floor) break;
  }
  return i;
}

}  // namespace detail

/// Returns the position of the first-ranked candidate. Requires !candidates.empty().
[[nodiscard]] inline std::size_t argmax_index(std::span<const candidate> candidates) noexcept {
  std::size_t best = 0;
  for (std::size_t i = 1; (i = detail::skip_below(candidates, i, candidates[best].logit)) < candidates.size(); ++i) {
    if (ranks_before(candidates[i], candidates[best])) best = i;
  }
  return best;
}

/// Moves the k first-ranked to the front in rank order; the rest follow in no stated order.
///
/// For k much smaller than n it is one pass: a candidate costs one comparison with the worst of the best k so far, and about
/// k ln(n / k) of random ones pass it.
inline void select_best(std::span<candidate> c, std::size_t k) noexcept {
  k = std::min(k, c.size());
  if (k == 0) return;
  const auto at = [c](std::size_t i) { return c.begin() + static_cast<std::ptrdiff_t>(i); };
  const std::size_t window = 4 * k + 32;  // contenders gathered before the threshold is raised
  if (window >= c.size()) {
    if (k < c.size()) std::nth_element(c.begin(), at(k), c.end(), ranks_before);
  } else {
    std::nth_element(c.begin(), at(k - 1), at(window), ranks_before);
    candidate threshold = c[k - 1];
    std::size_t filled = k;
    for (std::size_t i = window; (i = detail::skip_below(c, i, threshold.logit)) < c.size(); ++i) {
      if (!ranks_before(c[i], threshold)) continue;
      std::swap(c[filled++], c[i]);
      if (filled < window) continue;
      std::nth_element(c.begin(), at(k - 1), at(window), ranks_before);
      threshold = c[k - 1];
      filled = k;
    }
    if (filled > k) std::nth_element(c.begin(), at(k - 1), at(filled), ranks_before);
  }
  std::sort(c.begin(), at(k), ranks_before);
}

/// Returns exp(logit - highest): 1 for the best, 0 for -inf.
[[nodiscard]] CRIA_ALWAYS_INLINE double relative_weight(float logit, float highest) noexcept {
  return math::exp(static_cast<double>(logit) - static_cast<double>(highest));
}

/// What a softmax over the candidates needs: p(i) = relative_weight(logit_i, highest) / total.
struct softmax_scale {
  float highest;
  double total;  ///< added in the order of the candidates
};

/// Requires !candidates.empty(). All -inf (or NaN) gives a total of 0.
[[nodiscard]] inline softmax_scale softmax_over(std::span<const candidate> candidates) noexcept {
  softmax_scale scale{candidates[argmax_index(candidates)].logit, 0.0};
  if (!(scale.highest > -std::numeric_limits<float>::infinity())) return scale;
  for (const candidate& c : candidates) scale.total += relative_weight(c.logit, scale.highest);
  return scale;
}

/// Returns the float nearest to a score, at most the largest finite one in size: scores that filters make stay finite.
[[nodiscard]] inline float to_logit(double score) noexcept {
  constexpr auto largest = static_cast<double>(std::numeric_limits<float>::max());
  return static_cast<float>(std::clamp(score, -largest, largest));
}

/// A token and how likely it is.
struct token_probability {
  token_id id;
  float logit;
  float probability;  ///< of the softmax over all logits
};

/// Returns the k most likely tokens in rank order. NaN, +inf, or nothing but -inf is errc::non_finite.
[[nodiscard]] inline result<std::vector<token_probability>> top_candidates(std::span<const float> logits, std::size_t k) {
  std::vector<candidate> all(logits.size());
  bool any = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < std::numeric_limits<float>::infinity())) {
      return error{errc::non_finite, std::string("token ") + std::to_string(i), logits[i] > 0.0f ? "+inf" : "NaN"};
    }
    any |= logits[i] > -std::numeric_limits<float>::infinity();
    all[i] = {static_cast<token_id>(i), logits[i]};
  }
  if (!any) return error{errc::non_finite, "logits", "all -inf"};
  const softmax_scale scale = softmax_over(all);
  select_best(all, k);
  std::vector<token_probability> best;
  best.reserve(std::min(k, all.size()));
  for (std::size_t i = 0; i < std::min(k, all.size()); ++i) {
    const double weight = relative_weight(all[i].logit, scale.highest);
    best.push_back({all[i].id, all[i].logit, static_cast<float>(weight / scale.total)});
  }
  return best;
}

}  // namespace cria::inline v0_1_0
