// SPDX-License-Identifier: MIT
// generate/generation_output.hpp - the output of a generation: follows the grammar, turns chosen tokens into events, and knows when the generation is over.
//
// Ensures   push() allocates nothing for up to as many tokens as create() was told
// Errors    create: bad_argument (a stop token that is not in the vocabulary, an empty stop string, ignore_eos with a grammar), out_of_memory; choose: those of
//           sampler and grammar; finish: out_of_memory
// Threads   one at a time
// Lifetime  refers to the tokenizer; an event is valid until the next step
#pragma once

#include <cria/core/result.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/grammar_guard.hpp>
#include <cria/generate/options.hpp>
#include <cria/generate/text_output.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

class generation_output {
 public:
  static constexpr std::size_t most_tokens_reserved = std::size_t{1} << 20;

  /// room: how many tokens fit the context beside the prompt, for reserving memory. trees: of the tokenizer's vocabulary, used with a grammar; if it is null, a
  /// tree is made here, which takes a while.
  [[nodiscard]] static result<generation_output> create(const cria::tokenizer& tokenizer, const generation_options& options, std::size_t room,
                                                        vocabulary_trees* trees = nullptr);

  /// Returns bad_argument if the token is not in the vocabulary.
  [[nodiscard]] static result<void> check_token(const cria::tokenizer& tokenizer, std::string_view where, token_id id);

  /// Lets the sampler draw one of the tokens that the grammar allows. The token must then be pushed.
  template <class Sampler>
  [[nodiscard]] result<token_id> choose(Sampler& sampler, std::span<const float> logits) {
    result<token_id> sampled = guard_.sample(sampler, logits);
    if (!sampled) return sampled;
    CRIA_CHECK(guard_.accept(*sampled));
    summary_.grammar = guard_.statistics();
    return sampled;
  }

  /// Returns whether the grammar is complete but the vocabulary has no token to end the text with: the caller ends it.
  [[nodiscard]] bool is_over() const noexcept { return guard_.is_over(); }

  /// Adds the token that was chosen; event() is then its event. Requires !is_done() and a token of the vocabulary.
  void push(token_id token);

  /// Ends without a token. Returns whether there is one more event, with text that was held back.
  bool end(finish_reason reason);

  /// Ends because the host's callback said so, unless it has ended by itself.
  void stop_by_callback() noexcept {
    if (!std::exchange(is_done_, true)) summary_.reason = finish_reason::stopped_by_callback;
  }

  [[nodiscard]] bool is_done() const noexcept { return is_done_; }
  /// Returns how many more tokens max_tokens allows.
  [[nodiscard]] std::size_t tokens_left() const noexcept { return max_tokens_ - summary_.tokens.size(); }
  /// Returns whether max_tokens is 0.
  [[nodiscard]] bool wants_none() const noexcept { return max_tokens_ == 0; }
  [[nodiscard]] const token_event& event() const noexcept { return event_; }
  /// Returns the summary so far: everything but the text, which finish() adds.
  [[nodiscard]] generation& summary() noexcept { return summary_; }
  [[nodiscard]] const generation& summary() const noexcept { return summary_; }

  /// Returns the summary. To be called once.
  [[nodiscard]] result<generation> finish();

 private:
  generation_output(const cria::tokenizer& tokenizer, const generation_options& options, text_output text, grammar_guard guard)
      : tokenizer_(&tokenizer),
        max_tokens_(options.max_tokens),
        stop_tokens_(options.stop_tokens),
        shown_tokens_(options.shown_tokens),
        ignores_eos_(options.ignore_eos),
        text_(std::move(text)),
        guard_(std::move(guard)) {}

  [[nodiscard]] bool is_end(token_id token) const noexcept {
    return (!ignores_eos_ && tokenizer_->is_end_of_generation(token)) || std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
  }

  [[nodiscard]] std::string_view piece(token_id token) const noexcept {
    const bool is_shown = std::find(shown_tokens_.begin(), shown_tokens_.end(), token) != shown_tokens_.end();
    return is_shown ? tokenizer_->token_text(token) : tokenizer_->piece(token);
  }

  const cria::tokenizer* tokenizer_;
  std::size_t max_tokens_;
  std::vector<token_id> stop_tokens_, shown_tokens_;
  bool ignores_eos_;
  text_output text_;
  grammar_guard guard_;
  token_event event_;
  generation summary_;
  bool is_done_ = false;
};

/// Returns the k likeliest tokens by these logits. Errors: bad_argument (there are none), non_finite, out_of_memory.
[[nodiscard]] result<std::vector<token_candidate>> top_logits(const tokenizer& t, std::span<const float> logits, std::size_t k);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::vector<token_candidate>> top_logits(const tokenizer& t, std::span<const float> logits, std::size_t k) {
  return catch_bad_alloc([&]() -> result<std::vector<token_candidate>> {
    if (logits.empty()) return error{errc::bad_argument, "top_logits", "nothing was evaluated"};
    CRIA_TRY(const auto best, top_candidates(logits, k));
    std::vector<token_candidate> out;
    out.reserve(best.size());
    for (const token_probability& c : best) out.push_back({c.id, c.logit, c.probability, t.piece(c.id).empty() ? t.token_text(c.id) : t.piece(c.id)});
    return out;
  }, "top_logits");
}

CRIA_INLINE result<generation_output> generation_output::create(const cria::tokenizer& tokenizer, const generation_options& options, std::size_t room,
                                                      vocabulary_trees* trees) {
  for (const token_id id : options.stop_tokens) CRIA_CHECK(check_token(tokenizer, "stop_tokens", id));
  std::size_t longest = tokenizer.longest_piece();
  for (const token_id id : options.shown_tokens) {
    CRIA_CHECK(check_token(tokenizer, "shown_tokens", id));
    longest = std::max(longest, tokenizer.token_text(id).size());
  }
  CRIA_TRY(auto text, text_output::create(options.stop_strings, longest));
  std::shared_ptr<const token_trie> vocabulary;
  if (options.grammar && trees != nullptr) {
    CRIA_TRY(vocabulary, trees->of(tokenizer, options.stop_tokens));
  }
  CRIA_TRY(auto guard, grammar_guard::create(tokenizer, options, std::move(vocabulary)));
  return catch_bad_alloc([&]() -> result<generation_output> {
    generation_output made(tokenizer, options, std::move(text), std::move(guard));
    made.summary_.tokens.reserve(std::min({options.max_tokens, room, most_tokens_reserved}));
    return made;
  }, "generation");
}

CRIA_INLINE result<void> generation_output::check_token(const cria::tokenizer& tokenizer, std::string_view where, token_id id) {
  if (id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size()) return {};
  return error{errc::bad_argument, where,
               "token " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(tokenizer.vocab_size())};
}

CRIA_INLINE void generation_output::push(token_id token) {
  summary_.tokens.push_back(token);
  const bool ends = is_end(token), is_last = ends || summary_.tokens.size() == max_tokens_;
  event_ = {token, text_.push(ends ? std::string_view{} : piece(token), is_last), summary_.tokens.size() - 1};
  if (!is_last && !text_.is_stopped()) return;
  is_done_ = true;
  summary_.reason = ends ? finish_reason::end_of_text : text_.is_stopped() ? finish_reason::stop_string : finish_reason::max_tokens;
}

CRIA_INLINE bool generation_output::end(finish_reason reason) {
  is_done_ = true;
  summary_.reason = reason;
  event_ = {no_token, text_.flush(), summary_.tokens.size()};
  return !event_.text.empty();
}

CRIA_INLINE result<generation> generation_output::finish() {
  return catch_bad_alloc([&]() -> result<generation> {
    // The text that was handed out is a prefix of the tokens' pieces: stop strings, and text that was held back, are cut off at the end.
    const std::size_t n = text_.released_bytes();
    summary_.text.reserve(n);
    for (const token_id token : summary_.tokens) {
      summary_.text.append(piece(token).substr(0, n - summary_.text.size()));
    }
    return std::move(summary_);
  }, "generation");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::detail
