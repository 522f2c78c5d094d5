// SPDX-License-Identifier: MIT
// generate/speculative_length.hpp - decides how many tokens to guess next: as many as pay off by what was measured, and seldom one if guesses fail.
//
//   tokens(k) = 1 + a + ... + a^k        a: how often a guess was right, lately          the k with the best tokens(k) / seconds(k) is taken
//   seconds(k) = plain + k extra         of a pass with k guesses, including the time to make them
//
// Ensures   after five failures, one token is guessed in every 32 passes or fewer, whatever the clock says. Nothing here changes a text, only its speed.
// Errors    none (noexcept)
// Threads   a value
// Source    the geometric estimate: Y. Leviathan, M. Kalman, Y. Matias, arXiv 2211.17192, section 3
#pragma once

#include <cria/core/config.hpp>

#include <algorithm>
#include <cstddef>

namespace cria::inline v0_1_0::detail {

class speculative_length {
 public:
  /// most: the most guesses in one pass.
  explicit speculative_length(std::size_t most) noexcept : most_(most) {}

  /// Returns how many guesses the next pass is worth.
  [[nodiscard]] std::size_t next() noexcept {
    if (most_ == 0) return 0;
    if (!has_extra_) return has_plain_ ? 1 : 0;   // a first pass without a guess and one with a guess show what each costs
    const std::size_t best = best_length();
    if (best > 0) return best;
    if (++n_skipped_ < interval_) return 0;
    n_skipped_ = 0;
    return 1;
  }

  /// Notes a pass: it had n guesses, the first n_right of which were right, and took `seconds` in all.
  void note(std::size_t n, std::size_t n_right, double seconds) noexcept {
    if (n == 0) {
      plain_ = has_plain_ ? blend(plain_, seconds) : seconds;
      has_plain_ = true;
      return;
    }
    const double extra = std::max(0.0, (seconds - plain_) / static_cast<double>(n));
    extra_ = has_extra_ ? blend(extra_, extra) : extra;
    has_extra_ = true;
    const double keeps = (n_right > 0 ? 0.8 : 0.5) * std::min(1.0, most_tried / tried_);   // failures are believed sooner
    right_ = keeps * right_ + static_cast<double>(n_right);
    tried_ = keeps * tried_ + static_cast<double>(n_right + (n_right < n ? 1 : 0));
    if (n_right > 0) {
      interval_ = shortest_interval;
    } else if (best_length() == 0) {
      interval_ = std::min(2 * interval_, longest_interval);
    }
  }

  /// Returns how often a guess was right in the latest passes.
  [[nodiscard]] double acceptance() const noexcept { return right_ / tried_; }

 private:
  static constexpr std::size_t shortest_interval = 4, longest_interval = 32;
  static constexpr double most_tried = 16;
  static constexpr double least_gain = 1.02;   // smaller gains are within the error of timing on a busy machine

  /// Moves an estimate towards a measurement. One slow pass on a busy machine changes it little.
  [[nodiscard]] static double blend(double old, double seen) noexcept { return old + 0.2 * (std::min(seen, 4 * old + 1e-9) - old); }

  [[nodiscard]] std::size_t best_length() const noexcept {
    const double a = acceptance();
    double tokens = 1, power = 1, best_rate = plain_ > 0 ? least_gain / plain_ : 0;
    std::size_t best = 0;
    for (std::size_t k = 1; k <= most_; ++k) {
      power *= a;
      tokens += power;
      const double rate = tokens / (plain_ + static_cast<double>(k) * extra_);
      if (rate > best_rate) {
        best_rate = rate;
        best = k;
      }
    }
    return best;
  }

  std::size_t most_;
  double plain_ = 0, extra_ = 0;       // seconds
  double right_ = 1, tried_ = 2;       // guesses, older ones weighted less
  bool has_plain_ = false, has_extra_ = false;
  std::size_t interval_ = shortest_interval, n_skipped_ = 0;
};

}  // namespace cria::inline v0_1_0::detail
