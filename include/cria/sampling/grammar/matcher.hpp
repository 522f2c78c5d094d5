// SPDX-License-Identifier: MIT
// sampling/grammar/matcher.hpp - follows a text through a grammar, byte by byte.
//
//   cria::grammar_matcher m = *cria::grammar_matcher::create(g);
//   m.advance("{\"a\": 1"), m.accepts(), m.goes_on();
// Ensures   bytes of unfinished characters are as good as others: a place may be within a character. A refused text changes nothing.
// Errors    create: bad_argument, limit_exceeded (no text of the grammar has its rules within max_depth); advance: limit_exceeded, out_of_memory;
//           restore: mismatch, out_of_memory
// Threads   one at a time; copies are independent (a copy takes what it remembers along: save() is the small form)
#pragma once

#include <cria/core/result.hpp>
#include <cria/sampling/grammar/automaton.hpp>
#include <cria/sampling/grammar/grammar.hpp>
#include <cria/sampling/sampler.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0 {

/// A place in the texts of a grammar, which goes on with every byte.
class grammar_matcher {
 public:
  static constexpr std::size_t most_depth = 1000;   ///< the highest max_depth: unions of stacks recurse as deep

  [[nodiscard]] static result<grammar_matcher> create(cria::grammar g, const grammar_matcher_limits& limits = {});

  /// Takes the bytes as the next ones of the text. Returns false, and stays where it was, where the grammar does not allow them.
  [[nodiscard]] result<bool> advance(std::string_view bytes);

  /// Returns whether the text so far is one that the grammar describes.
  [[nodiscard]] bool accepts() const noexcept { return automaton_.accepts(state_); }
  /// Returns whether the text may go on.
  [[nodiscard]] bool goes_on() const noexcept { return automaton_.goes_on(state_); }

  /// Goes back to the empty text.
  [[nodiscard]] result<void> reset();

  /// Returns a state from which a matcher of the same grammar continues as this one would.
  [[nodiscard]] sampler_state save() const;

  /// Continues from a state that save() returned. Anything else is an error and changes nothing.
  [[nodiscard]] result<void> restore(std::span<const std::uint64_t> words);

  [[nodiscard]] const cria::grammar& grammar() const noexcept { return automaton_.grammar(); }
  [[nodiscard]] detail::grammar_automaton& automaton() noexcept { return automaton_; }
  [[nodiscard]] const detail::grammar_automaton& automaton() const noexcept { return automaton_; }
  [[nodiscard]] std::uint32_t state() const noexcept { return state_; }

  /// Forgets every state but the one it is in, which gets another number.
  void forget() {
    sampler_state words;
    automaton_.save(state_, words);
    state_ = detail::grammar_automaton::dead;   // for where memory runs out
    automaton_.clear();
    std::span<const std::uint64_t> rest(words);
    state_ = automaton_.restore(rest);
  }

  /// Returns what is wrong where a step was `too_much`.
  [[nodiscard]] error refuse() const {
    const grammar_matcher_limits& l = automaton_.limits();
    const std::string what =
        automaton_.is_out_of_work() ? std::to_string(l.max_work) + " steps for one token" : std::to_string(l.max_memory_bytes) + " bytes of states";
    return {errc::limit_exceeded, "grammar", "takes more than " + what};
  }

 private:
  explicit grammar_matcher(cria::grammar g, const grammar_matcher_limits& limits) : automaton_(std::move(g), limits) {}

  /// Returns the state behind the bytes, `dead` where they do not fit.
  [[nodiscard]] result<std::uint32_t> follow(std::string_view bytes) {
    for (bool is_fresh = false;; is_fresh = true) {
      automaton_.begin_work();
      std::uint32_t at = state_;
      for (std::size_t i = 0; i < bytes.size() && at != detail::grammar_automaton::dead && at != detail::grammar_automaton::too_much; ++i) {
        at = automaton_.step(at, static_cast<unsigned char>(bytes[i]));
      }
      if (at != detail::grammar_automaton::too_much) return at;
      if (is_fresh || automaton_.is_out_of_work()) return refuse();
      forget();
    }
  }

  detail::grammar_automaton automaton_;
  std::uint32_t state_ = detail::grammar_automaton::dead;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<grammar_matcher> grammar_matcher::create(cria::grammar g, const grammar_matcher_limits& limits) {
  if (limits.max_depth == 0 || limits.max_depth > most_depth) return error{errc::bad_argument, "max_depth", "is not in 1 to 1000"};
  const auto& table = g.compiled();
  if (const std::size_t need = table.places[table.rules[table.root].start].need; need > limits.max_depth) {
    return error{errc::limit_exceeded, "grammar", "all its texts have rules inside each other " + std::to_string(need) + " deep or more, beyond max_depth of " +
                                                      std::to_string(limits.max_depth)};
  }
  return catch_bad_alloc([&]() -> result<grammar_matcher> {
    grammar_matcher made(std::move(g), limits);
    CRIA_CHECK(made.reset());
    return made;
  }, "grammar");
}

CRIA_INLINE result<bool> grammar_matcher::advance(std::string_view bytes) {
  return catch_bad_alloc([&]() -> result<bool> {
    CRIA_TRY(const auto after, follow(bytes));
    if (after == detail::grammar_automaton::dead) return false;
    state_ = after;
    return true;
  }, "grammar");
}

CRIA_INLINE result<void> grammar_matcher::reset() {
  return catch_bad_alloc([&]() -> result<void> {
    automaton_.begin_work();
    auto first = automaton_.start();
    if (first == detail::grammar_automaton::too_much && !automaton_.is_out_of_work()) {
      automaton_.clear();
      first = automaton_.start();
    }
    if (first == detail::grammar_automaton::too_much) return refuse();
    state_ = first;
    return {};
  }, "grammar");
}

CRIA_INLINE sampler_state grammar_matcher::save() const {
  sampler_state out{automaton_.table().fingerprint};
  automaton_.save(state_, out);
  return out;
}

CRIA_INLINE result<void> grammar_matcher::restore(std::span<const std::uint64_t> words) {
  return catch_bad_alloc([&]() -> result<void> {
    const error wrong{errc::mismatch, "grammar state", "is not of this grammar"};
    if (words.empty() || words[0] != automaton_.table().fingerprint) return wrong;
    words = words.subspan(1);
    const auto restored = automaton_.restore(words);
    if (restored == detail::grammar_automaton::too_much || !words.empty()) return wrong;
    state_ = restored;
    return {};
  }, "grammar");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
