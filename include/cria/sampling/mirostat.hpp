// SPDX-License-Identifier: MIT
// sampling/mirostat.hpp - pickers that steer the surprise of the text, -log2 p per token, towards a target: mirostat 1 and 2.
//
//   cut the distribution by the bound mu; pick from what is left; mu -= eta (surprise of the pick - tau)
// Ensures   the first-ranked candidate is never cut; draws exactly one number per token; mu starts at 2 tau
// Errors    none (noexcept)
// Threads   one user at a time
// Source    S. Basu et al., arXiv 2007.14966, and its authors' code github.com/basusourya/mirostat: a pick's surprise is that of the
//           whole distribution (llama.cpp takes the one after the cut)
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/random.hpp>
#include <cria/core/scalar_math.hpp>
#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/sampler.hpp>
#include <cria/sampling/truncation.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>

namespace cria::inline v0_1_0 {

/// What both versions of mirostat aim at.
struct mirostat_options {
  float tau = 5.0f;  ///< target surprise in bits
  float eta = 0.1f;  ///< learning rate
  std::uint64_t seed = 0;
};

namespace detail {

/// The part that both versions share: mu and the random numbers.
class surprise_control {
 public:
  explicit surprise_control(const mirostat_options& o) noexcept : options_(o) { reset(); }

  /// Returns the bound on surprise, in bits.
  [[nodiscard]] double mu() const noexcept { return mu_; }

  void reset() noexcept {
    mu_ = 2.0 * static_cast<double>(options_.tau);
    random_ = random_generator(options_.seed);
  }
  void save(sampler_state& out) const {
    out.push_back(bit_cast<std::uint64_t>(mu_));
    out.insert(out.end(), random_.state().begin(), random_.state().end());
  }
  [[nodiscard]] bool restore(std::span<const std::uint64_t>& in) noexcept {
    if (in.empty() || !std::isfinite(bit_cast<double>(in[0]))) return false;
    mu_ = bit_cast<double>(in[0]);
    in = in.subspan(1);
    return multinomial::restore_generator(random_, in);
  }

  /// Returns -log2 of a probability of the distribution with this scale.
  [[nodiscard]] static double surprise(float logit, const softmax_scale& scale) noexcept {
    return (math::log(scale.total) - (static_cast<double>(logit) - static_cast<double>(scale.highest))) / std::numbers::ln2;
  }

 protected:
  /// Picks from what is left of a distribution and learns from the pick.
  [[nodiscard]] token_id pick(std::span<const candidate> left, const softmax_scale& whole) noexcept {
    const candidate picked = left[multinomial::draw(left, random_.uniform())];
    if (picked.logit > -std::numeric_limits<float>::infinity()) {
      const double error = surprise(picked.logit, whole) - static_cast<double>(options_.tau);
      mu_ = math::fused(-static_cast<double>(options_.eta), error, mu_);
    }
    return picked.id;
  }

 private:
  mirostat_options options_;
  double mu_ = 0.0;
  random_generator random_;
};

}  // namespace detail

/// Keeps the k best, with k such that a Zipf distribution fitted to the candidates has mu bits of cross-entropy.
class mirostat_v1 : public detail::surprise_control {
 public:
  explicit mirostat_v1(const mirostat_options& o = {}) noexcept : surprise_control(o) {}

  token_id operator()(std::span<candidate> c) noexcept {
    const softmax_scale whole = softmax_over(c);
    select_best(c, pairs + 1);
    const std::size_t k = cut(zipf_exponent(c.first(std::min(c.size(), pairs + 1))), mu(), c.size());
    if (k > pairs + 1) select_best(c, k);
    return pick(c.first(k), whole);
  }

  /// Returns s of p(rank) ~ rank^-s, by least squares over neighbours. Requires rank order.
  [[nodiscard]] static double zipf_exponent(std::span<const candidate> ranked) noexcept {
    double products = 0.0;
    double squares = 0.0;
    for (std::size_t i = 0; i + 1 < ranked.size(); ++i) {
      if (!(ranked[i + 1].logit > -std::numeric_limits<float>::infinity())) break;
      const double rank_ratio = math::log(static_cast<double>(i + 2) / static_cast<double>(i + 1));
      const double odds_ratio = static_cast<double>(ranked[i].logit) - static_cast<double>(ranked[i + 1].logit);
      products = math::fused(rank_ratio, odds_ratio, products);
      squares = math::fused(rank_ratio, rank_ratio, squares);
    }
    return squares > 0.0 ? products / squares : std::numeric_limits<double>::infinity();
  }

  /// Returns round((e 2^mu / (1 - n^-e))^(1/s)) + 1 with e = s - 1, from 1 to n.
  [[nodiscard]] static std::size_t cut(double s, double mu, std::size_t n) noexcept {
    if (n < 2 || s == std::numeric_limits<double>::infinity()) return 1;
    const double log_n = math::log(static_cast<double>(n));
    const double e = s - 1.0;
    const double ratio = std::abs(e) < 1e-9 ? 1.0 / log_n : e / (1.0 - math::exp(math::rounded_product(-e, log_n)));
    const double log_power = math::fused(mu, std::numbers::ln2, math::log(ratio));  // ln k = log_power / s
    if (s <= 0.0) return log_power > 0.0 ? n : 1;
    const double log_k = log_power / s;
    if (log_k >= log_n) return n;
    return std::min(n, static_cast<std::size_t>(std::llround(math::exp(log_k))) + 1);
  }

 private:
  static constexpr std::size_t pairs = 100;  // neighbours that the fit looks at, as in the authors' code
};

/// Keeps the candidates whose surprise is at most mu.
class mirostat_v2 : public detail::surprise_control {
 public:
  explicit mirostat_v2(const mirostat_options& o = {}) noexcept : surprise_control(o) {}

  token_id operator()(std::span<candidate> c) noexcept {
    const softmax_scale whole = softmax_over(c);
    const double lowest_gap = math::fused(-mu(), std::numbers::ln2, math::log(whole.total));  // surprise <= mu, said of the logit
    const double highest = static_cast<double>(whole.highest);
    return pick(detail::keep_if(c, 1, [=](const candidate& one) { return static_cast<double>(one.logit) - highest >= lowest_gap; }), whole);
  }
};

static_assert(token_picker<mirostat_v1> && token_picker<mirostat_v2>);

}  // namespace cria::inline v0_1_0
