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

namespace cria::inline v0_1_0::detail {

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

}  // namespace cria::inline v0_1_0::detail
