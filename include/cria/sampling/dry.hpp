// SPDX-License-Identifier: MIT
// sampling/dry.hpp - "don't repeat yourself": penalises the tokens that would continue a repetition, the more the longer it is.
//
//   logit -= multiplier * base^(length - allowed_length)     length = the longest run of tokens that ends the sequence, stands earlier
//                                                            in it too, and was followed there by this token; if >= allowed_length
// Requires  accept() sees the tokens of the sequence in order; ids outside the vocabulary are ignored
// Ensures   time is linear in the window, and for each breaker in its length; a run never reaches back over a breaker; a token that is a breaker by itself is
//           not penalised
// Errors    none (noexcept), but for memory at construction
// Threads   one user at a time; copies are independent
// Source    github.com/oobabooga/text-generation-webui pull request 5677
#pragma once

#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/penalties.hpp>
#include <cria/sampling/sampler.hpp>
#include <cria/sampling/token_window.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

class dry {
 public:
  struct options {
    float multiplier = 0.0f;  ///< 0 is off
    float base = 1.75f;       ///< >= 1
    std::size_t allowed_length = 2;
    std::size_t last_n = 4096;
    std::vector<std::vector<token_id>> breakers = {};  ///< token sequences, such as those of "\n" and ":"; empty ones are ignored
  };

  dry(options o, std::size_t vocab_size)
      : options_(std::move(o)), window_(options_.last_n), runs_(options_.last_n), longest_(vocab_size), is_breaker_(vocab_size) {
    std::erase_if(options_.breakers, [](const auto& breaker) { return breaker.empty(); });
    for (const auto& breaker : options_.breakers) {
      if (breaker.size() == 1 && detail::is_in_vocabulary(breaker[0], vocab_size)) is_breaker_[static_cast<std::size_t>(breaker[0])] = 1;
    }
    found_.reserve(options_.last_n);
  }

  std::span<candidate> operator()(std::span<candidate> c) noexcept {
    if (!(options_.multiplier > 0.0f)) return c;
    gather();
    const auto length_of = [this](token_id id) { return detail::entry_of(longest_, id); };
    detail::for_each_listed(c, found_, [&](token_id id) { return length_of(id) != 0; },
                            [&](candidate& one) { one.logit = penalised(one.logit, length_of(one.id) - 1); });
    for (const token_id token : found_) longest_[static_cast<std::size_t>(token)] = 0;
    return c;
  }

  void accept(token_id token) noexcept {
    if (detail::is_in_vocabulary(token, longest_.size())) window_.push(token);
  }

  void reset() noexcept { window_.clear(); }
  void save(sampler_state& out) const { window_.save(out); }
  [[nodiscard]] bool restore(std::span<const std::uint64_t>& in) noexcept { return window_.restore(in, longest_.size()); }

 private:
  // Fills found_ with the tokens to penalise and longest_ with 1 + the length of the run that each would continue.
  void gather() noexcept {
    found_.clear();
    const auto tokens = window_.tokens();
    const std::size_t limit = since_breaker(tokens);
    if (limit < options_.allowed_length) return;
    find_runs(tokens, runs_);
    for (std::size_t back = 1; back < tokens.size(); ++back) {
      const std::size_t length = std::min<std::size_t>(runs_[back], limit);
      if (length < options_.allowed_length) continue;
      const token_id next = tokens[tokens.size() - back];
      const auto at = static_cast<std::size_t>(next);
      if (is_breaker_[at] != 0) continue;
      if (longest_[at] == 0) found_.push_back(next);
      longest_[at] = std::max(longest_[at], static_cast<std::uint32_t>(length + 1));
    }
  }

  // Returns how many tokens follow the breaker that ends last.
  [[nodiscard]] std::size_t since_breaker(std::span<const token_id> tokens) const noexcept {
    for (std::size_t end = tokens.size(); end > 0; --end) {
      for (const auto& breaker : options_.breakers) {
        if (breaker.size() <= end && std::equal(breaker.rbegin(), breaker.rend(), tokens.first(end).rbegin())) return tokens.size() - end;
      }
    }
    return tokens.size();
  }

  [[nodiscard]] float penalised(float logit, std::size_t length) const noexcept {
    if (logit == detail::banned) return logit;
    const double power = math::pow(static_cast<double>(options_.base), static_cast<double>(length - options_.allowed_length));
    return to_logit(math::fused(-static_cast<double>(options_.multiplier), power, static_cast<double>(logit)));
  }

  options options_;
  token_window window_;
  std::vector<std::uint32_t> runs_;       // [last_n]
  std::vector<std::uint32_t> longest_;    // [vocab], all 0 between calls
  std::vector<std::uint8_t> is_breaker_;  // [vocab]
  std::vector<token_id> found_;
};

static_assert(logit_filter<dry>);

}  // namespace cria::inline v0_1_0
