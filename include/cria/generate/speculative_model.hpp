// SPDX-License-Identifier: MIT
// generate/speculative_model.hpp - guesses by a smaller model with the same vocabulary.
//
// It draws its guesses with a copy of the reply's own sampler, random numbers included. Where both models agree about what is likely, the same random number
// draws the same token from both, even at a high temperature.
// Errors    create: mismatch (another vocabulary), those of basic_session::create; draft: those of the session (cancelled: its first pass processes the whole
//           prompt) and of the sampler
// Threads   one at a time
// Source    one random number for both: M. Daliri, C. Musco, A. T. Suresh, Coupling without Communication and Drafter-Invariant Speculative Decoding,
//           arXiv 2408.07978
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/generate/session.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace cria::inline v0_1_0 {

/// A drafter that asks a smaller model.
template <kv_cache Cache = contiguous_kv_cache<kv_type::f16>>
class basic_model_drafter {
 public:
  /// Makes a drafter that uses the model `draft` for replies of `target`. Its context should be as long as that of the target's session, as there are no
  /// guesses beyond it.
  [[nodiscard]] static result<basic_model_drafter> create(cria::model draft, const cria::model& target, const session_options& options = {},
                                                          std::size_t max_guesses = 8) {
    CRIA_CHECK(check_same_vocabulary(draft.tokenizer(), target.tokenizer()));
    CRIA_TRY(auto guessing, basic_session<Cache>::create(std::move(draft), options));
    return basic_model_drafter(std::move(guessing), max_guesses);
  }

  [[nodiscard]] std::size_t max_guesses() const noexcept { return max_guesses_; }

  /// Writes guesses of what follows `context`, at most out.size(), and returns how many. `sampler` is the reply's sampler in its current state.
  template <class Sampler>
  [[nodiscard]] result<std::size_t> draft(std::span<const token_id> context, std::span<token_id> out, const Sampler& sampler, const stop_token& stop = {}) {
    if (context.size() + out.size() > session_.capacity()) return std::size_t{0};
    Sampler own = sampler;
    const auto known = session_.tokens();
    const std::size_t limit = std::min(known.size(), context.size() - 1);
    const auto differs = std::mismatch(context.begin(), context.begin() + static_cast<std::ptrdiff_t>(limit), known.begin()).first;
    CRIA_CHECK(session_.truncate(session_.keepable(static_cast<std::size_t>(differs - context.begin()))));
    CRIA_CHECK(session_.evaluate(context.subspan(session_.length()), stop));
    for (std::size_t n = 0; n < out.size(); ++n) {
      result<token_id> guessed = own.sample(session_.logits());
      if (!guessed) return std::move(guessed).error();
      out[n] = *guessed;
      if (n + 1 == out.size()) break;
      own.accept(*guessed);
      CRIA_CHECK(session_.evaluate(std::span<const token_id>(&out[n], 1), stop));
    }
    return out.size();
  }

 private:
  basic_model_drafter(basic_session<Cache> guessing, std::size_t max_guesses) : session_(std::move(guessing)), max_guesses_(max_guesses) {}

  [[nodiscard]] static result<void> check_same_vocabulary(const tokenizer& draft, const tokenizer& target) {
    const auto differ = [](std::string_view what) { return error{errc::mismatch, "vocabulary", what}; };
    if (draft.vocab_size() != target.vocab_size()) return differ(std::to_string(draft.vocab_size()) + " tokens, not " + std::to_string(target.vocab_size()));
    for (token_id id = 0; static_cast<std::size_t>(id) < target.vocab_size(); ++id) {
      if (draft.token_text(id) != target.token_text(id) || draft.kind(id) != target.kind(id)) return differ("token " + std::to_string(id) + " is another");
    }
    return {};
  }

  basic_session<Cache> session_;
  std::size_t max_guesses_;
};

using model_drafter = basic_model_drafter<>;

}  // namespace cria::inline v0_1_0
