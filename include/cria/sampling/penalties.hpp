// SPDX-License-Identifier: MIT
// sampling/penalties.hpp - filters that move or ban the logits of given tokens: logit_bias, penalties, no_repeat_ngram.
//
// Requires  accept() sees the tokens of the sequence in order; ids outside the vocabulary are ignored
// Ensures   the number and the order of the candidates stay; finite logits stay finite unless banned (-inf)
// Errors    none (noexcept), but for memory at construction
// Threads   one user at a time; copies are independent
#pragma once

#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/sampler.hpp>
#include <cria/sampling/token_window.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

namespace detail {

inline constexpr float banned = -std::numeric_limits<float>::infinity();

/// Calls change(candidate) for the candidates among `tokens`, which are distinct: by place where ids still index the candidates, else
/// by asking is_listed(id) of each.
template <class Tokens, class IsListed, class Change>
void for_each_listed(std::span<candidate> c, const Tokens& tokens, IsListed is_listed, Change change) noexcept {
  const bool in_place = std::all_of(tokens.begin(), tokens.end(), [c](token_id t) { return find_in_place(c, t) != nullptr; });
  if (in_place) {
    for (const token_id token : tokens) change(c[static_cast<std::size_t>(token)]);
    return;
  }
  for (candidate& one : c) {
    if (is_listed(one.id)) change(one);
  }
}

}  // namespace detail

/// Adds a bias to the logits of given tokens; -inf bans one. Several for one token add up.
class logit_bias {
 public:
  explicit logit_bias(std::span<const std::pair<token_id, float>> biases) {
    std::vector<std::pair<token_id, float>> sorted(biases.begin(), biases.end());
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [id, bias] : sorted) {
      if (ids_.empty() || ids_.back() != id) {
        ids_.push_back(id);
        sums_.push_back(0);
      }
      sums_.back() += static_cast<double>(bias);
    }
  }

  std::span<candidate> operator()(std::span<candidate> c) const noexcept {
    const auto is_listed = [this](token_id id) { return std::binary_search(ids_.begin(), ids_.end(), id); };
    detail::for_each_listed(c, ids_, is_listed, [this](candidate& one) {
      const auto i = static_cast<std::size_t>(std::lower_bound(ids_.begin(), ids_.end(), one.id) - ids_.begin());
      const double sum = static_cast<double>(one.logit) + sums_[i];
      one.logit = sum == static_cast<double>(detail::banned) ? detail::banned : to_logit(sum);
    });
    return c;
  }

 private:
  std::vector<token_id> ids_;  // sorted
  std::vector<double> sums_;
};

/// Makes the tokens of the last `last_n` less likely:
///   logit = (logit > 0 ? logit / repeat : logit * repeat) - (presence + count * frequency).
/// Source: repeat: N. Keskar et al., arXiv 1909.05858, with the multiplication for negative logits that all engines add; presence and
/// frequency: OpenAI API reference.
class penalties {
 public:
  struct options {
    float repeat = 1.0f;     ///< > 0; 1 is off
    float presence = 0.0f;   ///< 0 is off
    float frequency = 0.0f;  ///< 0 is off
    std::size_t last_n = 64;
  };

  penalties(const options& o, std::size_t vocab_size) : options_(o), window_(o.last_n), counts_(vocab_size) { distinct_.reserve(o.last_n); }

  std::span<candidate> operator()(std::span<candidate> c) noexcept {
    distinct_.clear();
    for (const token_id token : window_.tokens()) {
      std::uint32_t& count = counts_[static_cast<std::size_t>(token)];
      if ((count & listed) == 0) distinct_.push_back(token);
      count |= listed;
    }
    for (const token_id token : distinct_) counts_[static_cast<std::size_t>(token)] &= ~listed;
    const auto count_of = [this](token_id id) { return detail::entry_of(counts_, id); };
    detail::for_each_listed(c, distinct_, [&](token_id id) { return count_of(id) != 0; },
                            [&](candidate& one) { one.logit = penalised(one.logit, count_of(one.id)); });
    return c;
  }

  void accept(token_id token) noexcept {
    if (window_.capacity() == 0 || !detail::is_in_vocabulary(token, counts_.size())) return;
    const auto tokens = window_.tokens();
    if (tokens.size() == window_.capacity()) --counts_[static_cast<std::size_t>(tokens.front())];
    window_.push(token);
    ++counts_[static_cast<std::size_t>(token)];
  }

  void reset() noexcept {
    for (const token_id token : window_.tokens()) counts_[static_cast<std::size_t>(token)] = 0;
    window_.clear();
  }

  void save(sampler_state& out) const { window_.save(out); }
  [[nodiscard]] bool restore(std::span<const std::uint64_t>& in) noexcept {
    reset();
    if (!window_.restore(in, counts_.size())) return false;
    for (const token_id token : window_.tokens()) ++counts_[static_cast<std::size_t>(token)];
    return true;
  }

 private:
  static constexpr std::uint32_t listed = std::uint32_t{1} << 31;  // on a count while the distinct tokens are gathered

  // Products of two floats are exact in double, so the bits do not depend on what the compiler fuses.
  [[nodiscard]] float penalised(float logit, std::uint32_t count) const noexcept {
    if (logit == detail::banned) return logit;
    const auto repeat = static_cast<double>(options_.repeat);
    const double scaled = logit > 0.0f ? static_cast<double>(logit) / repeat : static_cast<double>(logit) * repeat;
    const double flat = math::fused(static_cast<double>(count), static_cast<double>(options_.frequency), static_cast<double>(options_.presence));
    return to_logit(scaled - flat);
  }

  options options_;
  token_window window_;
  std::vector<std::uint32_t> counts_;  // [vocab] occurrences in the window
  std::vector<token_id> distinct_;
};

/// Bans each token that would complete an n-gram which the last `last_n` tokens already hold; bans none where that would leave nothing.
/// Source: R. Paulus et al., arXiv 1705.04304, section 2.5.
class no_repeat_ngram {
 public:
  struct options {
    std::size_t n = 0;  ///< 0 is off
    std::size_t last_n = 4096;
  };

  no_repeat_ngram(const options& o, std::size_t vocab_size) : options_(o), window_(o.last_n), runs_(o.last_n), is_banned_(vocab_size) {
    found_.reserve(o.last_n);
  }

  std::span<candidate> operator()(std::span<candidate> c) noexcept {
    if (options_.n == 0) return c;
    gather();
    const auto is_listed = [this](token_id id) { return detail::entry_of(is_banned_, id) != 0; };
    const bool any_left = std::any_of(c.begin(), c.end(), [&](const candidate& one) { return one.logit > detail::banned && !is_listed(one.id); });
    if (any_left) detail::for_each_listed(c, found_, is_listed, [](candidate& one) { one.logit = detail::banned; });
    for (const token_id token : found_) is_banned_[static_cast<std::size_t>(token)] = 0;
    return c;
  }

  void accept(token_id token) noexcept {
    if (detail::is_in_vocabulary(token, is_banned_.size())) window_.push(token);
  }

  void reset() noexcept { window_.clear(); }
  void save(sampler_state& out) const { window_.save(out); }
  [[nodiscard]] bool restore(std::span<const std::uint64_t>& in) noexcept { return window_.restore(in, is_banned_.size()); }

 private:
  // Fills found_ and is_banned_ with the tokens that followed the last n - 1 tokens before.
  void gather() noexcept {
    found_.clear();
    const auto tokens = window_.tokens();
    const std::size_t prefix = options_.n - 1;
    if (tokens.size() < options_.n) return;
    const auto ban = [this](token_id next) {
      std::uint8_t& mark = is_banned_[static_cast<std::size_t>(next)];
      if (mark == 0) found_.push_back(next);
      mark = 1;
    };
    if (prefix == 0) ban(tokens.front());   // which nothing stands before
    find_runs(tokens, runs_);
    for (std::size_t back = 1; back < tokens.size(); ++back) {
      if (runs_[back] >= prefix) ban(tokens[tokens.size() - back]);
    }
  }

  options options_;
  token_window window_;
  std::vector<std::uint32_t> runs_;      // [last_n]
  std::vector<std::uint8_t> is_banned_;  // [vocab], all 0 between calls
  std::vector<token_id> found_;
};

static_assert(logit_filter<logit_bias> && logit_filter<penalties> && logit_filter<no_repeat_ngram>);

}  // namespace cria::inline v0_1_0
