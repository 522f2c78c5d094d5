// SPDX-License-Identifier: MIT
// generate/speculative_lookup.hpp - guesses by looking up what followed the last few tokens where they occurred before, in the context or in another text.
//
// Good for replies that repeat: editing, summarising, code, answers from documents. A guess costs a pass over the tokens, and no model.
// Errors    add_text: out_of_memory
// Threads   one at a time
// Source    A. Saxena, Prompt Lookup Decoding (2023); J. Yang et al., Inference with Reference, arXiv 2304.04487
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace cria::inline v0_1_0 {

/// When a guess is made, and how long it is.
struct lookup_options {
  std::size_t min_match = 2;   ///< how many tokens must agree before a guess is made
  std::size_t max_match = 8;   ///< once so many agree, no better place is searched for
  std::size_t max_guesses = 16;
};

/// A drafter that copies what followed the same tokens before.
class lookup_drafter {
 public:
  explicit lookup_drafter(const lookup_options& options = {}) noexcept : options_(options) {}

  /// Adds a text that is not in the prompt but that the reply may repeat.
  [[nodiscard]] result<void> add_text(std::span<const token_id> tokens) {
    return catch_bad_alloc([&]() -> result<void> {
      texts_.emplace_back(tokens.begin(), tokens.end());
      return {};
    }, "text");
  }

  [[nodiscard]] std::size_t max_guesses() const noexcept { return options_.max_guesses; }

  /// Writes guesses of what follows `context`, at most out.size(), and returns how many.
  [[nodiscard]] std::size_t draft(std::span<const token_id> context, std::span<token_id> out) const noexcept {
    place best;
    if (!context.empty()) look(context, context.first(context.size() - 1), best);
    for (const auto& text : texts_) look(context, text, best);
    if (best.n_match < std::max<std::size_t>(1, options_.min_match)) return 0;
    const std::size_t n = std::min(out.size(), best.rest.size());
    std::copy_n(best.rest.begin(), n, out.begin());
    return n;
  }

 private:
  struct place {
    std::span<const token_id> rest = {};   ///< what follows there
    std::size_t n_match = 0;
  };

  /// Finds the last place in `text` (the beginning of the context, or another text) whose preceding tokens are those at the end of the context.
  void look(std::span<const token_id> context, std::span<const token_id> text, place& best) const noexcept {
    const token_id last = context.empty() ? no_token : context.back();
    const bool is_context = text.data() == context.data();
    for (std::size_t i = text.size(); i-- > 0 && best.n_match < options_.max_match;) {
      if (text[i] != last) continue;
      std::size_t n = 1;
      const std::size_t most = std::min({options_.max_match, i + 1, context.size()});
      while (n < most && text[i - n] == context[context.size() - 1 - n]) ++n;
      const auto rest = is_context ? context.subspan(i + 1) : text.subspan(i + 1);
      if (n > best.n_match && !rest.empty()) best = {rest, n};
    }
  }

  lookup_options options_;
  std::vector<std::vector<token_id>> texts_;
};

}  // namespace cria::inline v0_1_0
