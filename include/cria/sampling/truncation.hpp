// SPDX-License-Identifier: MIT
// sampling/truncation.hpp - filters that drop unlikely candidates: top_k, top_p, min_p, top_n_sigma; and two that drop likely ones too:
// typical, xtc.
//
// Ensures   at least max(1, min_keep) candidates stay (all, where there are fewer); the first-ranked one always, except under typical and
//           xtc, whose point is to drop it. Probabilities are those among the candidates that arrive, so order in a chain matters.
//           top_k, where it drops any, leaves rank order; the others keep the order of candidates that come ranked.
// Errors    none (noexcept); parameters that keep everything are named in each
// Threads   pure; xtc holds a generator
#pragma once

#include <cria/core/random.hpp>
#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace cria::inline v0_1_0 {

namespace detail {

/// Keeps, in place and order, the candidates for which `keep` holds; if they are fewer than `min_keep`, the `min_keep` best instead.
template <class Keep>
[[nodiscard]] std::span<candidate> keep_if(std::span<candidate> c, std::size_t min_keep, Keep keep) noexcept {
  const auto n = static_cast<std::size_t>(std::count_if(c.begin(), c.end(), keep));
  min_keep = std::min(std::max<std::size_t>(min_keep, 1), c.size());
  if (n < min_keep) {
    select_best(c, min_keep);
    return c.first(min_keep);
  }
  const auto kept = std::remove_if(c.begin(), c.end(), [&keep](const candidate& one) { return !keep(one); });
  return {c.begin(), kept};
}

/// Moves the candidates for which `is_wanted` holds to the front and returns their number. Their order stays; that of the others is
/// this loop's, not the standard library's, so that sums over them are the same everywhere.
template <class IsWanted>
[[nodiscard]] std::size_t move_to_front(std::span<candidate> c, IsWanted is_wanted) noexcept {
  std::size_t front = 0;
  for (candidate& one : c) {
    if (is_wanted(one)) std::swap(c[front++], one);
  }
  return front;
}

/// Keeps the shortest prefix, in the order of distance(candidate) >= 0 and rank among equals, that holds `mass` of the probability.
///
/// No sort of all: one pass adds up the mass per bucket of distance, and only the bucket in which the sum crosses is sorted.
template <class Distance>
[[nodiscard]] std::span<candidate> keep_nearest(std::span<candidate> c, double mass, std::size_t min_keep, Distance distance) noexcept {
  const auto before = [&distance](const candidate& a, const candidate& b) {
    const double distance_a = distance(a);
    const double distance_b = distance(b);
    return distance_a < distance_b || (distance_a == distance_b && ranks_before(a, b));
  };
  constexpr std::size_t n_buckets = 256;  // an eighth wide: up to a distance of 32, beyond which little mass can be
  const auto bucket_of = [&distance](const candidate& one) { return static_cast<std::size_t>(std::min(8.0 * distance(one), n_buckets - 1.0)); };
  std::array<double, n_buckets> mass_of{};
  const float highest = c[argmax_index(c)].logit;
  if (highest == -std::numeric_limits<float>::infinity()) return c;
  for (const candidate& one : c) mass_of[bucket_of(one)] += relative_weight(one.logit, highest);
  double total = 0.0;
  for (const double m : mass_of) total += m;
  const double target = mass * total;
  std::size_t crossing = 0;
  double sum = 0.0;
  while (crossing + 1 < n_buckets && sum + mass_of[crossing] < target) sum += mass_of[crossing++];

  const std::size_t end = move_to_front(c, [&](const candidate& one) { return bucket_of(one) <= crossing; });
  std::size_t kept = move_to_front(c.first(end), [&](const candidate& one) { return bucket_of(one) < crossing; });
  std::sort(c.begin() + static_cast<std::ptrdiff_t>(kept), c.begin() + static_cast<std::ptrdiff_t>(end), before);
  while (kept < end && sum < target) sum += relative_weight(c[kept++].logit, highest);
  min_keep = std::min(std::max<std::size_t>(min_keep, 1), c.size());
  if (kept >= min_keep) return c.first(kept);
  std::sort(c.begin(), c.end(), before);
  return c.first(min_keep);
}

}  // namespace detail

/// Keeps the k first-ranked; 0 keeps all. Source: A. Fan et al., arXiv 1805.04833.
struct top_k {
  std::size_t k = 40;

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    if (k == 0 || k >= c.size()) return c;
    select_best(c, k);
    return c.first(k);
  }
};

/// Keeps the first-ranked until they hold p of the probability; 1 keeps all. Source: A. Holtzman et al., arXiv 1904.09751.
struct top_p {
  float p = 0.9f;
  std::size_t min_keep = 1;

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    if (!(p < 1.0f) || c.empty()) return c;
    const double highest = static_cast<double>(c[argmax_index(c)].logit);
    return detail::keep_nearest(c, static_cast<double>(p), min_keep,
                                [=](const candidate& one) { return highest - static_cast<double>(one.logit); });
  }
};

/// Keeps those at least p times as likely as the likeliest; 0 keeps all. Source: M. Nguyen et al., arXiv 2407.01082.
struct min_p {
  float p = 0.05f;
  std::size_t min_keep = 1;

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    if (!(p > 0.0f) || c.empty()) return c;
    const double highest = static_cast<double>(c[argmax_index(c)].logit);
    const double lowest_gap = math::log(static_cast<double>(p));
    return detail::keep_if(c, min_keep, [=](const candidate& one) { return static_cast<double>(one.logit) - highest >= lowest_gap; });
  }
};

/// Keeps those within n standard deviations of the logits below the highest; 0 keeps all. Source: C. Tang et al., arXiv 2411.07641.
struct top_n_sigma {
  float n = 1.0f;
  std::size_t min_keep = 1;

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    if (!(n > 0.0f) || c.size() < 2) return c;
    const double highest = static_cast<double>(c[argmax_index(c)].logit);
    const double gap = math::rounded_product(static_cast<double>(n), deviation(c));
    return detail::keep_if(c, min_keep, [=](const candidate& one) { return highest - static_cast<double>(one.logit) <= gap; });
  }

  /// Returns the standard deviation (of a population) of the logits above -inf.
  [[nodiscard]] static double deviation(std::span<const candidate> c) noexcept {
    double count = 0.0;
    double sum = 0.0;
    for (const candidate& one : c) {
      if (!(one.logit > -std::numeric_limits<float>::infinity())) continue;
      count += 1.0;
      sum += static_cast<double>(one.logit);
    }
    if (count == 0.0) return 0.0;
    const double mean = sum / count;
    double squares = 0.0;
    for (const candidate& one : c) {
      if (!(one.logit > -std::numeric_limits<float>::infinity())) continue;
      const double difference = static_cast<double>(one.logit) - mean;
      squares = math::fused(difference, difference, squares);
    }
    return std::sqrt(squares / count);
  }
};

/// Keeps those whose surprise -ln p is nearest to the entropy until they hold p of the probability; 1 keeps all.
/// Source: C. Meister et al., arXiv 2202.00666.
///
/// surprise - entropy = expected logit - logit, so nearness is the distance of the logit from its expectation.
struct typical {
  float p = 0.95f;
  std::size_t min_keep = 1;

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    if (!(p < 1.0f) || c.empty()) return c;
    const softmax_scale scale = softmax_over(c);
    if (!(scale.total > 0.0)) return c;
    const double highest = static_cast<double>(scale.highest);
    double weighted = 0.0;
    for (const candidate& one : c) {
      const double weight = relative_weight(one.logit, scale.highest);
      if (weight > 0.0) weighted = math::fused(weight, static_cast<double>(one.logit) - highest, weighted);
    }
    const double expected = weighted / scale.total;
    return detail::keep_nearest(c, static_cast<double>(p), min_keep, [=](const candidate& one) {
      return std::abs((static_cast<double>(one.logit) - highest) - expected);
    });
  }
};

/// With a given probability per token, drops every candidate of at least `threshold` but the least likely of them ("exclude top choices").
/// Source: github.com/oobabooga/text-generation-webui pull request 6335. Off at probability 0 or a threshold above 0.5.
class xtc {
 public:
  struct options {
    float probability = 0.5f;
    float threshold = 0.1f;
    std::size_t min_keep = 1;
    std::uint64_t seed = 0;
  };

  explicit xtc(const options& o) noexcept : options_(o), random_(o.seed, stream) {}

  std::span<candidate> operator()(std::span<candidate> c) noexcept {
    if (!(options_.probability > 0.0f) || options_.threshold > 0.5f) return c;
    if (random_.uniform() >= static_cast<double>(options_.probability) || c.size() < 2) return c;
    const softmax_scale scale = softmax_over(c);
    const double bar = static_cast<double>(options_.threshold) * scale.total;
    const candidate* least = nullptr;
    std::size_t likely = 0;
    for (const candidate& one : c) {
      const double weight = relative_weight(one.logit, scale.highest);
      if (weight < bar || weight == 0.0) continue;
      ++likely;
      if (least == nullptr || ranks_before(*least, one)) least = &one;
    }
    if (likely < 2 || c.size() - (likely - 1) < options_.min_keep) return c;
    const candidate last = *least;
    return detail::keep_if(c, 1, [last](const candidate& one) { return !ranks_before(one, last); });
  }

  void reset() noexcept { random_ = random_generator(options_.seed, stream); }
  void save(sampler_state& out) const { out.insert(out.end(), random_.state().begin(), random_.state().end()); }
  [[nodiscard]] bool restore(std::span<const std::uint64_t>& in) noexcept { return multinomial::restore_generator(random_, in); }

 private:
  static constexpr std::uint64_t stream = 1;  // other numbers than the picker's

  options options_;
  random_generator random_;
};

static_assert(logit_filter<top_k> && logit_filter<top_p> && logit_filter<min_p>);
static_assert(logit_filter<top_n_sigma> && logit_filter<typical> && logit_filter<xtc>);

}  // namespace cria::inline v0_1_0
