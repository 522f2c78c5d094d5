// SPDX-License-Identifier: MIT
// sampling/grammar/rules.hpp - a grammar as it was written: rules of alternatives of repeated symbols. Between the parser and the compiler.
//
// Units    offsets are bytes of the text
#pragma once

#include <cria/sampling/grammar/char_set.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace cria::inline v0 {

/// What a grammar may take. Beyond: errc::limit_exceeded.
struct grammar_limits {
  std::size_t max_bytes = std::size_t{1} << 20;        ///< of the text
  std::size_t max_rules = 20'000;                      ///< groups and repeated parts count too
  std::size_t max_nesting = 200;                       ///< parentheses inside each other
  std::size_t max_repeat = 10'000;                     ///< the numbers of {m,n}
  std::size_t max_positions = std::size_t{1} << 18;    ///< places in rules, every repetition of {m,n} counted
  std::size_t max_edges = std::size_t{1} << 20;        ///< ways from one place to the next
};

}  // namespace cria::inline v0

namespace cria::inline v0::detail {

/// One symbol, `min` to `max` times.
struct grammar_item {
  static constexpr std::uint32_t no_end = std::numeric_limits<std::uint32_t>::max();

  bool is_rule;          // else a set of characters
  std::uint32_t index;   // in rules or sets
  std::uint32_t min = 1, max = 1;
};

struct grammar_rule {
  std::string name;          // empty: a group
  std::size_t offset = 0;    // where it is defined, or used first
  bool is_defined = false;
  std::vector<std::vector<grammar_item>> alternatives = {};
};

struct grammar_rules {
  std::vector<grammar_rule> rules = {};
  std::vector<char_set> sets = {};
  std::uint32_t root = 0;
};

}  // namespace cria::inline v0::detail
