// SPDX-License-Identifier: MIT
// tests/sampling/reference.hpp - the slow and obvious way: sort everything, add in long double; shared by the sampler tests.
#pragma once

#include <cria/core/random.hpp>
#include <cria/sampling/candidate.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace cria_test {

inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Returns candidates 0, 1, ... with these logits.
inline std::vector<cria::candidate> candidates_of(std::span<const float> logits) {
  std::vector<cria::candidate> all;
  for (std::size_t i = 0; i < logits.size(); ++i) all.push_back({static_cast<cria::token_id>(i), logits[i]});
  return all;
}

/// Returns candidates 0, 1, ... with these probabilities, whatever their sum.
inline std::vector<cria::candidate> with_probabilities(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return candidates_of(logits);
}

/// Returns n bell-shaped logits; a granularity above 0 rounds them to multiples of it, which makes ties.
inline std::vector<float> random_logits(std::size_t n, std::uint64_t seed, double deviation = 3.0, double granularity = 0.0) {
  cria::random_generator random(seed);
  std::vector<float> logits(n);
  for (float& logit : logits) {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += random.uniform();
    sum *= deviation;
    if (granularity > 0.0) sum = std::round(sum / granularity) * granularity;
    logit = static_cast<float>(sum);
  }
  return logits;
}

inline std::vector<cria::token_id> ids_of(std::span<const cria::candidate> candidates) {
  std::vector<cria::token_id> ids;
  for (const cria::candidate& c : candidates) ids.push_back(c.id);
  return ids;
}

inline std::vector<cria::token_id> sorted_ids_of(std::span<const cria::candidate> candidates) {
  auto ids = ids_of(candidates);
  std::sort(ids.begin(), ids.end());
  return ids;
}

/// Returns the softmax, in the order given.
inline std::vector<long double> softmax(std::span<const cria::candidate> candidates) {
  long double highest = candidates[0].logit;
  for (const cria::candidate& c : candidates) highest = std::max(highest, static_cast<long double>(c.logit));
  std::vector<long double> p;
  for (const cria::candidate& c : candidates) p.push_back(std::exp(static_cast<long double>(c.logit) - highest));
  const long double total = std::accumulate(p.begin(), p.end(), 0.0L);
  for (long double& one : p) one /= total;
  return p;
}

/// Returns all candidates sorted by logit, higher first, then by id.
inline std::vector<cria::candidate> ranked(std::span<const cria::candidate> candidates) {
  std::vector<cria::candidate> all(candidates.begin(), candidates.end());
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; });
  return all;
}

/// Returns Pearson's statistic in units of standard deviations of a normal variable (Wilson and Hilferty, 1931): below 5 in all but
/// 3 of 10^7 samplings that follow the probabilities. Cells expected less than 8 times are put together.
inline double chi_square_score(const std::vector<std::size_t>& counts, const std::vector<long double>& probabilities) {
  const auto n = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::size_t{0}));
  double statistic = 0.0;
  double cells = 0.0;
  double rest_seen = 0.0;
  double rest_expected = 0.0;
  const auto add = [&](double seen, double expected) {
    statistic += (seen - expected) * (seen - expected) / expected;
    cells += 1.0;
  };
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = n * static_cast<double>(probabilities[i]);
    if (expected >= 8.0) {
      add(static_cast<double>(counts[i]), expected);
    } else {
      rest_seen += static_cast<double>(counts[i]);
      rest_expected += expected;
    }
  }
  if (rest_expected > 0.0) add(rest_seen, std::max(rest_expected, 1e-9));
  const double freedom = cells - 1.0;
  const double spread = 2.0 / (9.0 * freedom);
  return (std::cbrt(statistic / freedom) - (1.0 - spread)) / std::sqrt(spread);
}

}  // namespace cria_test
