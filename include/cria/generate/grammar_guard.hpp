// SPDX-License-Identifier: MIT
// generate/grammar_guard.hpp - applies the grammar of a generation, if it has one, between the logits and any sampler.
//
// Shapes    logits[V]
// Ensures   a token that the grammar does not allow is never sampled: if none is allowed, there is an error or the text ends
// Errors    create: bad_argument, mismatch, out_of_memory; sample: those of the sampler, mismatch (no token fits), limit_exceeded, out_of_memory
// Threads   one at a time
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/generate/options.hpp>
#include <cria/sampling/grammar/limits.hpp>
#include <cria/sampling/grammar/token_filter.hpp>
#include <cria/sampling/grammar/token_trie.hpp>
#include <cria/sampling/sampler.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Makes the tree of a model's vocabulary. `more_ends` are tokens that end a text beside the model's own. It takes 20 to 40 ms for 50,000 tokens: keep it.
[[nodiscard]] result<std::shared_ptr<const token_trie>> make_token_trie(const cria::tokenizer& tokenizer, std::span<const token_id> more_ends = {});

namespace detail {

/// The trees of one model's vocabulary, one for each set of tokens that end a text. Trees are made when they are first needed; the latest few are kept.
class vocabulary_trees {
 public:
  static constexpr std::size_t most_kept = 4;

  /// Returns make_token_trie(tokenizer, more_ends). Requires the same tokenizer each time.
  [[nodiscard]] result<std::shared_ptr<const token_trie>> of(const cria::tokenizer& tokenizer, std::span<const token_id> more_ends);

 private:
  std::vector<std::shared_ptr<const token_trie>> kept_;   // the latest last
};

class grammar_guard {
 public:
  /// Allows everything.
  grammar_guard() = default;

  /// vocabulary: make_token_trie() of the tokenizer and the options' stop tokens. If it is null or of other stop tokens, it is made here.
  [[nodiscard]] static result<grammar_guard> create(const cria::tokenizer& tokenizer, const generation_options& options,
                                                    std::shared_ptr<const token_trie> vocabulary);

  /// Returns whether the text is complete but the vocabulary has no token to end it with.
  [[nodiscard]] bool is_over() const noexcept { return filter_ && filter_->is_complete() && filter_->vocabulary().end_tokens().empty(); }

  /// Lets the sampler draw one of the allowed tokens.
  template <class Sampler>
    requires sampler<Sampler>
  [[nodiscard]] result<token_id> sample(Sampler& sampler, std::span<const float> logits) {
    if (!filter_) return sampler.sample(logits);
    CRIA_CHECK(filter_->prepare());
    if constexpr (requires { { sampler.sample(logits, *filter_) } -> std::convertible_to<result<token_id>>; }) {
      return sampler.sample(logits, *filter_);
    } else {
      CRIA_CHECK(mask(logits));
      result<token_id> sampled = sampler.sample(std::span<const float>(masked_));
      if (sampled && !filter_->allows(*sampled)) return error{errc::mismatch, "sampler", "took a token that the grammar does not allow"};
      return sampled;
    }
  }

  /// Advances the grammar by the token that was sampled.
  [[nodiscard]] result<void> accept(token_id token);

  [[nodiscard]] grammar_statistics statistics() const noexcept { return filter_ ? filter_->statistics() : grammar_statistics{}; }

 private:
  [[nodiscard]] result<void> mask(std::span<const float> logits);

  std::optional<token_filter> filter_;
  std::vector<float> masked_;   // for samplers whose sample() takes no filter
};

}  // namespace detail

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::shared_ptr<const token_trie>> make_token_trie(const cria::tokenizer& tokenizer, std::span<const token_id> more_ends) {
  return catch_bad_alloc([&]() -> result<std::shared_ptr<const token_trie>> {
    std::vector<std::string_view> pieces(tokenizer.vocab_size());
    for (std::size_t i = 0; i < pieces.size(); ++i) pieces[i] = tokenizer.piece(static_cast<token_id>(i));
    std::vector<token_id> ends(tokenizer.end_of_generation().begin(), tokenizer.end_of_generation().end());
    ends.insert(ends.end(), more_ends.begin(), more_ends.end());
    return token_trie::create(pieces, ends);
  }, "vocabulary");
}

CRIA_INLINE result<std::shared_ptr<const token_trie>> detail::vocabulary_trees::of(const cria::tokenizer& tokenizer, std::span<const token_id> more_ends) {
  return catch_bad_alloc([&]() -> result<std::shared_ptr<const token_trie>> {
    std::vector<token_id> wanted(tokenizer.end_of_generation().begin(), tokenizer.end_of_generation().end());
    wanted.insert(wanted.end(), more_ends.begin(), more_ends.end());
    std::sort(wanted.begin(), wanted.end());
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    const auto has_these = [&](const auto& tree) { return std::equal(wanted.begin(), wanted.end(), tree->end_tokens().begin(), tree->end_tokens().end()); };
    const auto found = std::find_if(kept_.begin(), kept_.end(), has_these);
    if (found != kept_.end()) {
      std::rotate(found, found + 1, kept_.end());
      return kept_.back();
    }
    CRIA_TRY(auto made, make_token_trie(tokenizer, more_ends));
    kept_.reserve(most_kept);
    if (kept_.size() == most_kept) kept_.erase(kept_.begin());
    kept_.push_back(std::move(made));
    return kept_.back();
  }, "vocabulary");
}

CRIA_INLINE result<detail::grammar_guard> detail::grammar_guard::create(const cria::tokenizer& tokenizer, const generation_options& options,
                                                  std::shared_ptr<const token_trie> vocabulary) {
  grammar_guard made;
  if (!options.grammar) return made;
  if (options.ignore_eos) return error{errc::bad_argument, "ignore_eos", "and a grammar, which says where the text ends"};
  const auto is_known_end = [&vocabulary](token_id id) { return vocabulary != nullptr && vocabulary->is_end(id); };
  if (vocabulary == nullptr || !std::all_of(options.stop_tokens.begin(), options.stop_tokens.end(), is_known_end)) {
    CRIA_TRY(vocabulary, make_token_trie(tokenizer, options.stop_tokens));
  }
  if (vocabulary->vocab_size() != tokenizer.vocab_size()) return error{errc::mismatch, "vocabulary", "is not the model's"};
  CRIA_TRY(made.filter_, token_filter::create(*options.grammar, std::move(vocabulary)));
  return made;
}

CRIA_INLINE result<void> detail::grammar_guard::accept(token_id token) {
  if (!filter_) return {};
  return filter_->accept(token);
}

CRIA_INLINE result<void> detail::grammar_guard::mask(std::span<const float> logits) {
  return catch_bad_alloc([&]() -> result<void> {
    if (logits.size() != filter_->vocabulary().vocab_size()) return error{errc::mismatch, "logits", "count"};
    masked_.assign(logits.begin(), logits.end());
    for (std::size_t i = 0; i < masked_.size(); ++i) {
      if (!filter_->allows(static_cast<token_id>(i))) masked_[i] = -std::numeric_limits<float>::infinity();
    }
    return {};
  }, "grammar");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
