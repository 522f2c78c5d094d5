// SPDX-License-Identifier: MIT
// generate/scoring.hpp - how likely a model finds given texts after a prompt: to classify, to rank, to choose among answers.
//
//   auto scores = cria::score_continuations(session, "The capital of France is", {" Rome", " Paris"});
//   if (scores) show((*scores)[1].total() > (*scores)[0].total());
//
// Tokens are those of prompt and continuation as one text, which may join the end of the one with the beginning of the other. All continuations are scored from
// the first token on in which any of them departs from the prompt alone, so that their totals can be compared.
// Units     natural logarithms of probabilities, by the model's logits alone: no sampling, penalties or temperature
// Ensures   The prompt is processed once, and only what the session does not hold. The same bits for any number of threads, any batch size, any order of the
//           continuations, and whatever the session held before. Afterwards it holds what was processed last.
// Errors    bad_argument (nothing before the first token, an empty continuation, a token that is none of the model's), context_full, cancelled, non_finite,
//           out_of_memory
// Threads   those of the session
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/scalar_math.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/core/types.hpp>
#include <cria/generate/prompt.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// How texts are scored.
struct scoring_options {
  encode_options encode = {};   ///< how prompt and continuation become tokens; EOS is never added
  stop_token stop = {};         ///< takes effect within one layer: cancelled
};

/// What a model thinks of one continuation.
struct continuation_score {
  std::vector<token_id> tokens;
  std::vector<double> log_probabilities;   ///< of each token, after all before it

  /// Returns the logarithm of the continuation's probability.
  [[nodiscard]] double total() const noexcept { return std::accumulate(log_probabilities.begin(), log_probabilities.end(), 0.0); }
  /// Returns the mean over the tokens, which compares continuations of different lengths.
  [[nodiscard]] double mean() const noexcept { return total() / static_cast<double>(log_probabilities.size()); }
};

namespace detail {

/// Returns how many tokens two sequences have in common before they differ.
[[nodiscard]] inline std::size_t common_length(std::span<const token_id> a, std::span<const token_id> b) noexcept {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

[[nodiscard]] inline error no_continuation(std::size_t i) {
  return error{errc::bad_argument, "continuations", "number " + std::to_string(i + 1) + " is empty"};
}

/// A prompt and what may follow it, in tokens.
struct scored_tokens {
  std::vector<token_id> prompt;
  std::vector<std::vector<token_id>> continuations;

  /// Tokenises each continuation together with the prompt.
  [[nodiscard]] static result<scored_tokens> from_text(const tokenizer& t, std::string_view prompt, std::span<const std::string_view> continuations,
                                                       encode_options options, std::size_t capacity);
};

/// Scores continuations of one prompt with a session.
template <class Session>
class continuation_scorer {
 public:
  continuation_scorer(Session& runner, std::span<const token_id> prompt, const stop_token& stop) : runner_(runner), prompt_(prompt), stop_(stop) {}

  /// Processes the prompt and keeps the logits after it.
  [[nodiscard]] result<void> begin() {
    if (prompt_.empty()) return error{errc::bad_argument, "prompt", "is empty: the first token follows nothing"};
    CRIA_CHECK(go_to_prompt(prompt_.size() - 1));
    first_.assign(runner_.logits().begin(), runner_.logits().end());
    return {};
  }

  [[nodiscard]] result<continuation_score> score(std::span<const token_id> tokens) {
    constexpr std::size_t most_floats = std::size_t{1} << 22;   // 16 MiB of logits at once
    continuation_score out{{tokens.begin(), tokens.end()}, {}};
    out.log_probabilities.reserve(tokens.size());
    CRIA_CHECK(add(first_, tokens.front(), out));
    if (tokens.size() == 1) return out;
    CRIA_CHECK(go_to_prompt(prompt_.size()));
    const std::size_t stride = runner_.logits_stride();
    const std::size_t piece = std::min({runner_.max_batch(), tokens.size() - 1, std::max<std::size_t>(16, most_floats / stride)});
    rows_.resize(std::max(rows_.size(), piece * stride));
    for (std::size_t done = 1; done < tokens.size();) {
      const std::size_t n = std::min(piece, tokens.size() - done);
      CRIA_CHECK(runner_.evaluate(tokens.subspan(done - 1, n), rows_, stop_));
      for (std::size_t i = 0; i < n; ++i, ++done) {
        CRIA_CHECK(add(std::span<const float>(rows_).subspan(i * stride, first_.size()), tokens[done], out));
      }
    }
    return out;
  }

 private:
  /// Makes the session hold the prompt and nothing else, and processes at least what follows its first `most` tokens.
  [[nodiscard]] result<void> go_to_prompt(std::size_t most) {
    const std::size_t kept = runner_.keepable(std::min(most, common_length(runner_.tokens(), prompt_)));
    if (kept < runner_.length()) CRIA_CHECK(runner_.truncate(kept));
    return kept < prompt_.size() ? runner_.evaluate(prompt_.subspan(kept), stop_) : result<void>{};
  }

  [[nodiscard]] static result<void> add(std::span<const float> logits, token_id token, continuation_score& out) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) {
      return error{errc::bad_argument, "continuations", "token " + std::to_string(token) + " is not in the vocabulary of " + std::to_string(logits.size())};
    }
    const double sum = math::log_sum_exp(logits);
    if (!std::isfinite(sum)) return error{errc::non_finite, "logits", "the model gave inf or NaN"};
    out.log_probabilities.push_back(static_cast<double>(logits[static_cast<std::size_t>(token)]) - sum);
    return {};
  }

  Session& runner_;
  std::span<const token_id> prompt_;
  stop_token stop_;
  std::vector<float> first_, rows_;
};

}  // namespace detail

/// Scores continuations of a prompt, each on its own, in their order; all in tokens.
template <class Session>
[[nodiscard]] result<std::vector<continuation_score>> score_continuations(Session& runner, std::span<const token_id> prompt,
                                                                          std::span<const std::vector<token_id>> continuations, const stop_token& stop = {}) {
  return catch_bad_alloc([&]() -> result<std::vector<continuation_score>> {
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      if (continuations[i].empty()) return detail::no_continuation(i);
    }
    detail::continuation_scorer<Session> scorer(runner, prompt, stop);
    CRIA_CHECK(scorer.begin());
    std::vector<continuation_score> out;
    for (const std::vector<token_id>& tokens : continuations) {
      CRIA_TRY(continuation_score score, scorer.score(tokens));
      out.push_back(std::move(score));
    }
    return out;
  }, "scoring");
}

/// As above, in text.
template <class Session>
[[nodiscard]] result<std::vector<continuation_score>> score_continuations(Session& runner, std::string_view prompt,
                                                                          std::span<const std::string_view> continuations,
                                                                          const scoring_options& options = {}) {
  CRIA_TRY(const auto tokens, detail::scored_tokens::from_text(runner.model().tokenizer(), prompt, continuations, options.encode, runner.capacity()));
  return score_continuations(runner, std::span<const token_id>(tokens.prompt), std::span<const std::vector<token_id>>(tokens.continuations), options.stop);
}
template <class Session>
[[nodiscard]] result<std::vector<continuation_score>> score_continuations(Session& runner, std::string_view prompt,
                                                                          std::initializer_list<std::string_view> continuations,
                                                                          const scoring_options& options = {}) {
  return score_continuations(runner, prompt, std::span<const std::string_view>(continuations.begin(), continuations.size()), options);
}

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<detail::scored_tokens> detail::scored_tokens::from_text(const tokenizer& t, std::string_view prompt,
                                                                           std::span<const std::string_view> continuations, encode_options options,
                                                                           std::size_t capacity) {
  return catch_bad_alloc([&]() -> result<scored_tokens> {
    options.add_eos = false;
    scored_tokens out;
    CRIA_TRY(out.prompt, tokens_of(t, prompt, options, capacity));
    std::size_t shared = out.prompt.size();
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      if (continuations[i].empty()) return no_continuation(i);
      CRIA_TRY(auto tokens, tokens_of(t, std::string(prompt).append(continuations[i]), options, capacity));
      shared = std::min(shared, common_length(out.prompt, tokens));
      out.continuations.push_back(std::move(tokens));
    }
    out.prompt.resize(shared);
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      std::vector<token_id>& tokens = out.continuations[i];
      if (tokens.size() == shared) return no_continuation(i);
      tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(shared));
    }
    return out;
  }, "scoring");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
