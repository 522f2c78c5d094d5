// SPDX-License-Identifier: MIT
// sampling/grammar/grammar.hpp - what a generated text must look like: rules in GBNF notation, compiled once and shared.
//
//   auto answer = cria::grammar::parse("root ::= \"yes\" | \"no\" | [0-9]{1,3}");      result<grammar>
//   session.generate(prompt, {.grammar = *answer}, callback);
// Ensures   Time and memory of parse() are bounded by the limits, whatever the text says. What a grammar matches is UTF-8.
// Errors    parse: syntax, bad_value (left recursion, or rules that match nothing), limit_exceeded, out_of_memory; `where` is line and column
// Threads   immutable, shared freely; copies share the tables and, under a lock, the masks that are found while texts are generated
// Source    notation: gbnf_parser.hpp
#pragma once

#include <cria/core/result.hpp>
#include <cria/sampling/grammar/compiled_grammar.hpp>
#include <cria/sampling/grammar/gbnf_parser.hpp>
#include <cria/sampling/grammar/limits.hpp>
#include <cria/sampling/grammar/mask_store.hpp>
#include <cria/sampling/grammar/rules.hpp>

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0 {

class grammar {
 public:
  /// Compiles a grammar, whose rule `root` describes the whole text.
  [[nodiscard]] static result<grammar> parse(std::string_view gbnf, const grammar_limits& limits = {});

  /// Returns the compiled size: the number of places in rules, with every repetition counted.
  [[nodiscard]] std::size_t n_positions() const noexcept { return compiled_->places.size(); }
  [[nodiscard]] const detail::compiled_grammar& compiled() const noexcept { return *compiled_; }
  /// Returns the masks that filters of this grammar have found so far.
  [[nodiscard]] detail::mask_store& masks() const noexcept { return *masks_; }

  /// Returns whether both are copies of one compiled grammar.
  friend bool operator==(const grammar&, const grammar&) = default;

 private:
  grammar(std::shared_ptr<const detail::compiled_grammar> compiled, std::shared_ptr<detail::mask_store> masks) noexcept
      : compiled_(std::move(compiled)), masks_(std::move(masks)) {}

  std::shared_ptr<const detail::compiled_grammar> compiled_;
  std::shared_ptr<detail::mask_store> masks_;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<grammar> grammar::parse(std::string_view gbnf, const grammar_limits& limits) {
  return catch_bad_alloc([&]() -> result<grammar> {
    CRIA_TRY(const detail::grammar_rules rules, detail::gbnf_parser(gbnf, limits).parse());
    CRIA_TRY(detail::compiled_grammar compiled, detail::grammar_compiler(rules, gbnf, limits).compile());
    return grammar(std::make_shared<const detail::compiled_grammar>(std::move(compiled)), std::make_shared<detail::mask_store>());
  }, "grammar");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
