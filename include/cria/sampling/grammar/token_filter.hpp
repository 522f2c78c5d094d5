// SPDX-License-Identifier: MIT
// sampling/grammar/token_filter.hpp - which tokens of a vocabulary may follow, as a filter before a sampler's others.
//
//   auto filter = cria::token_filter::create(g, vocabulary);
//   loop:  filter->prepare();   token = sampler.sample(logits, *filter);   filter->accept(token);
// A mask is found by walking the tree of the vocabulary through the grammar's states, skipping branches that do not fit. It is kept for the state, so that
// within a string or a number, or at a place where a text has been before, it is only looked up; and it is kept with the grammar, for later filters.
// Shapes    mask[V] bits
// Ensures   What is accepted is always the beginning of a text of the grammar. End tokens are allowed where the text is complete, and only they once nothing
//           more fits. A token costs at most one visit of each node of the tree and max_work steps, counted in statistics().
// Errors    prepare: mismatch (no token of the vocabulary fits), limit_exceeded, out_of_memory; accept: bad_argument, those of prepare; restore: mismatch
// Threads   one at a time; copies are independent; grammar and vocabulary are shared
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/grammar/grammar.hpp>
#include <cria/sampling/grammar/limits.hpp>
#include <cria/sampling/grammar/matcher.hpp>
#include <cria/sampling/grammar/token_trie.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

class token_filter {
 public:
  [[nodiscard]] static result<token_filter> create(cria::grammar g, std::shared_ptr<const token_trie> vocabulary, const grammar_matcher_limits& limits = {});

  /// Finds the tokens that may follow. The filter can then be used until the next accept(), reset() or restore().
  [[nodiscard]] result<void> prepare();

  /// Returns a bit per token, [id / 64] >> id % 64. Requires a prepare() that succeeded.
  [[nodiscard]] std::span<const std::uint64_t> mask() const noexcept { return std::span(masks_).subspan(mask_at_, n_words()); }
  /// Returns whether a token may follow. Requires as mask().
  [[nodiscard]] bool allows(token_id token) const noexcept {
    return vocabulary_->has(token) && (mask()[static_cast<std::size_t>(token) / 64] >> (static_cast<std::size_t>(token) % 64) & 1) != 0;
  }

  /// Keeps the candidates that may follow. Requires all tokens in the order of ids. If prepare() fails, keeps none, so that nothing is sampled.
  std::span<candidate> operator()(std::span<candidate> c) noexcept {
    if (c.size() != vocabulary_->vocab_size() || !prepare()) return c.first(0);
    std::size_t n = 0;
    for (std::size_t w = 0; w < n_words(); ++w) {
      for (std::uint64_t bits = masks_[mask_at_ + w]; bits != 0; bits &= bits - 1) c[n++] = c[w * 64 + static_cast<std::size_t>(std::countr_zero(bits))];
    }
    return c.first(n);
  }

  /// Takes the next token. One that may not follow is bad_argument and changes nothing.
  [[nodiscard]] result<void> accept(token_id token);

  /// Returns whether the text is complete and cannot go on: only end tokens may follow.
  [[nodiscard]] bool is_complete() const noexcept { return has_ended_ || (matcher_.accepts() && !matcher_.goes_on()); }
  /// Returns whether the text may end here.
  [[nodiscard]] bool accepts() const noexcept { return matcher_.accepts(); }

  /// Goes back to the empty text; masks are kept.
  [[nodiscard]] result<void> reset();

  /// Returns a state from which a filter of the same grammar and vocabulary continues as this one would.
  [[nodiscard]] sampler_state save() const;

  /// Continues from a state that save() returned. Anything else is an error and changes nothing.
  [[nodiscard]] result<void> restore(std::span<const std::uint64_t> words);

  [[nodiscard]] const cria::grammar& grammar() const noexcept { return matcher_.grammar(); }
  [[nodiscard]] const token_trie& vocabulary() const noexcept { return *vocabulary_; }
  [[nodiscard]] const grammar_statistics& statistics() const noexcept { return statistics_; }

 private:
  using automaton = detail::grammar_automaton;
  static constexpr std::uint32_t ended = automaton::too_much;   // stands for a state in mask_of_: the text has ended

  token_filter(grammar_matcher matcher, std::shared_ptr<const token_trie> vocabulary)
      : matcher_(std::move(matcher)), vocabulary_(std::move(vocabulary)), path_(vocabulary_->depth() + 1) {}

  [[nodiscard]] std::size_t n_words() const noexcept { return (vocabulary_->vocab_size() + 63) / 64; }

  [[nodiscard]] error refuse(token_id token, std::string_view why) const {
    return {errc::bad_argument, "grammar", "token " + std::to_string(token) + " " + std::string(why)};
  }

  void forget_masks() noexcept {
    masks_.clear();
    mask_of_.clear();
    generation_ = matcher_.automaton().generation();
  }

  [[nodiscard]] std::size_t add_mask() {
    const std::size_t at = masks_.size();
    masks_.resize(at + n_words(), 0);
    return at;
  }
  void allow(std::size_t at, token_id token) noexcept {
    const auto bit = static_cast<std::size_t>(token);
    masks_[at + bit / 64] |= std::uint64_t{1} << (bit % 64);
  }

  [[nodiscard]] result<std::size_t> end_mask() {
    if (const auto known = mask_of_.find(ended); known != mask_of_.end()) return known->second;
    if (vocabulary_->end_tokens().empty()) return error{errc::mismatch, "grammar", "the text has ended, and the vocabulary has no end token"};
    const std::size_t at = add_mask();
    for (const token_id end : vocabulary_->end_tokens()) allow(at, end);
    mask_of_.emplace(ended, at);
    return at;
  }

  [[nodiscard]] result<std::size_t> mask_of_state() {
    if (const auto known = mask_of_.find(matcher_.state()); known != mask_of_.end()) return known->second;
    automaton& a = matcher_.automaton();
    // What is remembered is forgotten as a whole, so that a walk has the room that it would have had alone.
    if (a.bytes() + masks_.size() * sizeof(std::uint64_t) > a.limits().max_memory_bytes / 2) forget_all();
    make_key();
    const std::size_t known_at = add_mask();
    if (grammar().masks().find(key_, std::span(masks_).subspan(known_at))) {
      mask_of_.emplace(matcher_.state(), known_at);
      return known_at;
    }
    masks_.resize(known_at);
    if (!walk(a)) {
      if (a.is_out_of_work()) return matcher_.refuse();
      forget_all();
      if (!walk(a)) return matcher_.refuse();
    }
    const std::size_t at = add_mask();
    for (const token_id token : found_) allow(at, token);
    if (matcher_.accepts()) {
      for (const token_id end : vocabulary_->end_tokens()) allow(at, end);
    }
    if (found_.empty() && (!matcher_.accepts() || vocabulary_->end_tokens().empty())) {
      masks_.resize(at);
      if (a.is_cut()) {
        return error{errc::limit_exceeded, "grammar", "rules are more than " + std::to_string(a.limits().max_depth) + " deep inside each other"};
      }
      return error{errc::mismatch, "grammar", matcher_.accepts() ? "the text is whole, and the vocabulary has no end token"
                                                                : "no token of the vocabulary can go on with the text"};
    }
    mask_of_.emplace(matcher_.state(), at);
    if (!a.is_cut()) grammar().masks().keep(key_, std::span(masks_).subspan(at));
    return at;
  }

  /// Makes what the mask depends on: vocabulary, depth and state.
  void make_key() {
    key_.assign({vocabulary_->fingerprint(), matcher_.automaton().limits().max_depth});
    matcher_.automaton().save(matcher_.state(), key_);
  }

  void forget_all() {
    matcher_.forget();
    forget_masks();
  }

  /// Gathers the tokens that fit behind the state. Returns false where that takes too much.
  [[nodiscard]] bool walk(automaton& a) {
    const auto nodes = vocabulary_->nodes();
    std::size_t n_visited = 0;
    std::uint32_t to = automaton::dead;
    found_.clear();
    a.begin_work();
    path_[0] = matcher_.state();
    for (std::size_t i = 0; i < nodes.size() && to != automaton::too_much;) {
      ++n_visited;
      to = a.step(path_[nodes[i].depth - 1], nodes[i].byte);
      if (to == automaton::dead) {
        i = nodes[i].behind;
        continue;
      }
      path_[nodes[i].depth] = to;
      const auto tokens = vocabulary_->tokens_at(i++);
      found_.insert(found_.end(), tokens.begin(), tokens.end());
    }
    ++statistics_.n_masks_built;
    statistics_.n_nodes_visited += n_visited;
    statistics_.most_nodes = std::max(statistics_.most_nodes, n_visited);
    statistics_.n_steps += a.work();
    statistics_.most_steps = std::max(statistics_.most_steps, a.work());
    return to != automaton::too_much;
  }

  grammar_matcher matcher_;
  std::shared_ptr<const token_trie> vocabulary_;
  std::vector<std::uint64_t> masks_;                              // one after another
  std::unordered_map<std::uint32_t, std::size_t> mask_of_;        // by state: where its mask begins
  std::vector<std::uint32_t> path_;                               // of the walk: the state after so many bytes
  std::vector<token_id> found_;
  std::vector<std::uint64_t> key_;                                // of the state, in the store of the grammar
  std::size_t mask_at_ = 0, generation_ = 0;
  bool is_ready_ = false, has_ended_ = false;
  grammar_statistics statistics_;
};

static_assert(logit_filter<token_filter>);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<token_filter> token_filter::create(cria::grammar g, std::shared_ptr<const token_trie> vocabulary, const grammar_matcher_limits& limits) {
  if (vocabulary == nullptr) return error{errc::bad_argument, "vocabulary", "is null"};
  CRIA_TRY(grammar_matcher matcher, grammar_matcher::create(std::move(g), limits));
  return catch_bad_alloc([&]() -> result<token_filter> { return token_filter(std::move(matcher), std::move(vocabulary)); }, "grammar");
}

CRIA_INLINE result<void> token_filter::prepare() {
  if (is_ready_) return {};
  return catch_bad_alloc([&]() -> result<void> {
    ++statistics_.n_tokens;
    if (generation_ != matcher_.automaton().generation()) forget_masks();
    CRIA_TRY(mask_at_, has_ended_ ? end_mask() : mask_of_state());
    is_ready_ = true;
    return {};
  }, "grammar");
}

CRIA_INLINE result<void> token_filter::accept(token_id token) {
  if (!vocabulary_->has(token)) return refuse(token, "is not in the vocabulary");
  if (vocabulary_->is_end(token)) {
    if (!has_ended_ && !matcher_.accepts()) return refuse(token, "ends the text before the grammar does");
    is_ready_ = is_ready_ && has_ended_;
    has_ended_ = true;
    return {};
  }
  const std::string_view text = vocabulary_->piece(token);
  if (has_ended_ || text.empty()) return refuse(token, has_ended_ ? "follows the end" : "has no text");
  CRIA_TRY(const bool fits, matcher_.advance(text));
  if (!fits) return refuse(token, "does not fit the grammar");
  is_ready_ = false;
  return {};
}

CRIA_INLINE result<void> token_filter::reset() {
  CRIA_CHECK(matcher_.reset());
  has_ended_ = is_ready_ = false;
  return {};
}

CRIA_INLINE sampler_state token_filter::save() const {
  sampler_state out{vocabulary_->vocab_size(), std::uint64_t{has_ended_}};
  const sampler_state rest = matcher_.save();
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

CRIA_INLINE result<void> token_filter::restore(std::span<const std::uint64_t> words) {
  if (words.size() < 2 || words[0] != vocabulary_->vocab_size() || words[1] > 1) {
    return error{errc::mismatch, "grammar state", "is not of this grammar and vocabulary"};
  }
  CRIA_CHECK(matcher_.restore(words.subspan(2)));
  has_ended_ = words[1] == 1;
  is_ready_ = false;
  return {};
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
