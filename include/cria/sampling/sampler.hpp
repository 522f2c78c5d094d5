// SPDX-License-Identifier: MIT
// sampling/sampler.hpp - from logits to a token: the concepts, the two basic pickers, and the compile-time chain.
//
//   sampler_chain chain(vocab_size, multinomial(seed), top_k{40}, top_p{0.9f}, temperature{0.8f});
//   token = chain.sample(logits);   chain.accept(*token);
//
// The order matters: filters run from left to right, and temperature before top_p keeps other tokens than temperature after it (llama.cpp's default puts it
// last, llama2.c and candle first).
// Requires  sample() gets the logits of the whole vocabulary; accept() gets each token that a filter may look back on, including the prompt
// Ensures   The token depends only on logits, accepted tokens, parameters and seed: the same bits everywhere. Nothing is allocated after construction.
// Errors    non_finite: NaN or +inf among the logits, or all of them -inf; mismatch: another number of logits
// Threads   one user at a time; copies are independent
#pragma once

#include <cria/core/random.hpp>
#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Turns the logits of a position into a token. sample() may return a token_id or a result of it. accept() is told each token of the sequence in order,
/// including those of the prompt.
template <class S>
concept sampler = requires(S& s, std::span<const float> logits, token_id token) {
  { s.sample(logits) } -> std::convertible_to<result<token_id>>;
  s.accept(token);
};

/// A step over the candidates. It may change logits, and reorder and drop candidates. It must not add candidates, make a NaN or +inf, or drop all of them.
/// A filter that looks back also has accept(token_id) and reset().
template <class F>
concept logit_filter = requires(F& f, std::span<candidate> candidates) {
  { f(candidates) } noexcept -> std::same_as<std::span<candidate>>;
};

/// Chooses one of at least one candidate. It may reorder them.
template <class P>
concept token_picker = requires(P& p, std::span<candidate> candidates) {
  { p(candidates) } noexcept -> std::same_as<token_id>;
};

/// The state of a sampler, in a form that can be saved.
using sampler_state = std::vector<std::uint64_t>;

/// Picks the first-ranked candidate: greedy.
struct argmax {
  token_id operator()(std::span<const candidate> candidates) const noexcept { return candidates[argmax_index(candidates)].id; }
};

/// Picks by softmax probability. It draws exactly one random number for each token, so the n-th token depends on the n-th number.
class multinomial {
 public:
  explicit multinomial(std::uint64_t seed = 0) noexcept : seed_(seed), random_(seed) {}

  token_id operator()(std::span<const candidate> candidates) noexcept { return candidates[draw(candidates, random_.uniform())].id; }
  void reset() noexcept { random_ = random_generator(seed_); }
  void save(sampler_state& out) const { out.insert(out.end(), random_.state().begin(), random_.state().end()); }
  [[nodiscard]] bool restore(std::span<const std::uint64_t>& in) noexcept { return restore_generator(random_, in); }

  /// Returns the position i with cdf(i-1) <= u < cdf(i), where cdf adds in the order of the candidates. Requires !candidates.empty(), u in [0, 1).
  ///
  /// exp is computed for all candidates once: the running total is noted every few candidates, and only the stretch that contains u is added up again, in the
  /// same order. u <= 1 - 2^-53 keeps the target below the total, so a candidate of weight 0 is never reached.
  [[nodiscard]] static std::size_t draw(std::span<const candidate> candidates, double u) noexcept {
    constexpr std::size_t marks = 256;
    std::array<double, marks> total_at;
    const std::size_t stride = (candidates.size() + marks - 1) / marks;
    const float highest = candidates[argmax_index(candidates)].logit;
    if (!(highest > -std::numeric_limits<float>::infinity())) return 0;
    double total = 0.0;
    for (std::size_t i = 0, mark = 0; i < candidates.size(); ++i) {
      if (i == mark * stride) total_at[mark++] = total;
      total += relative_weight(candidates[i].logit, highest);
    }
    const double target = u * total;
    std::size_t mark = (candidates.size() - 1) / stride;
    while (mark > 0 && total_at[mark] > target) --mark;
    double sum = total_at[mark];
    std::size_t i = mark * stride;
    while (i + 1 < candidates.size() && (sum += relative_weight(candidates[i].logit, highest)) <= target) ++i;
    return i;
  }

  /// Takes a generator's four words off the front of `in`; returns false if they are not there.
  [[nodiscard]] static bool restore_generator(random_generator& random, std::span<const std::uint64_t>& in) noexcept {
    random_generator::state_type words{};
    if (in.size() < words.size()) return false;
    std::copy_n(in.begin(), words.size(), words.begin());
    in = in.subspan(words.size());
    return random.restore(words);
  }

 private:
  std::uint64_t seed_;
  random_generator random_;
};

namespace detail {

/// Copies logits into `storage` as candidates in id order. Error texts stay below the size that strings allocate for.
[[nodiscard]] inline result<std::span<candidate>> load_candidates(std::span<const float> logits, std::span<candidate> storage) noexcept {
  if (logits.size() != storage.size() || logits.empty()) return error{errc::mismatch, "logits", "count"};
  bool bad = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    storage[i] = {static_cast<token_id>(i), logits[i]};
    bad |= !(logits[i] < std::numeric_limits<float>::infinity());
  }
  for (std::size_t i = 0; bad && i < logits.size(); ++i) {
    if (logits[i] < std::numeric_limits<float>::infinity()) continue;
    return error{errc::non_finite, std::string("token ") + std::to_string(i), logits[i] > 0.0f ? "+inf" : "NaN"};
  }
  return storage;
}

/// Returns the candidates, or errc::non_finite if none of them can be picked.
[[nodiscard]] inline result<std::span<candidate>> pickable(std::span<candidate> candidates) noexcept {
  for (const candidate& c : candidates) {
    if (c.logit > -std::numeric_limits<float>::infinity()) return candidates;
  }
  return error{errc::non_finite, "logits", "all -inf"};
}

template <class Part>
void accept_if_can(Part& part, token_id token) noexcept {
  if constexpr (requires { part.accept(token); }) part.accept(token);
}

template <class Part>
void reset_if_can(Part& part) noexcept {
  if constexpr (requires { part.reset(); }) part.reset();
}

}  // namespace detail

/// Runs the filters from left to right, then the picker. Takes 8 bytes for each token of the vocabulary.
template <token_picker Pick, logit_filter... Filters>
class sampler_chain {
 public:
  explicit sampler_chain(std::size_t vocab_size, Pick pick = Pick{}, Filters... filters)
      : storage_(vocab_size), pick_(std::move(pick)), filters_(std::move(filters)...) {}

  [[nodiscard]] result<token_id> sample(std::span<const float> logits) noexcept {
    return sample(logits, [](std::span<candidate> all) noexcept { return all; });
  }

  /// As sample(logits), with one more filter, such as a grammar's mask, before all others.
  template <class Mask>
    requires logit_filter<std::remove_reference_t<Mask>>
  [[nodiscard]] result<token_id> sample(std::span<const float> logits, Mask&& mask) noexcept {
    CRIA_TRY(std::span<candidate> left, detail::load_candidates(logits, storage_));
    CRIA_TRY(left, detail::pickable(mask(left)));
    std::apply([&left](auto&... filter) noexcept { ((left = filter(left)), ...); }, filters_);
    CRIA_TRY(left, detail::pickable(left));
    return pick_(left);
  }

  void accept(token_id token) noexcept {
    std::apply([token](auto&... filter) noexcept { (detail::accept_if_can(filter, token), ...); }, filters_);
    detail::accept_if_can(pick_, token);
  }

  /// Forgets accepted tokens, and starts the random numbers again from the seed.
  void reset() noexcept {
    std::apply([](auto&... filter) noexcept { (detail::reset_if_can(filter), ...); }, filters_);
    detail::reset_if_can(pick_);
  }

 private:
  std::vector<candidate> storage_;
  Pick pick_;
  std::tuple<Filters...> filters_;
};

static_assert(token_picker<argmax> && token_picker<multinomial>);
static_assert(sampler<sampler_chain<argmax>>);

}  // namespace cria::inline v0_1_0
