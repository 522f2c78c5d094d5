// SPDX-License-Identifier: MIT
// sampling/grammar/limits.hpp - what a grammar may take, when it is compiled and when it is followed, and what it has taken.
//
// Units    bytes, counts; a step is one look at a place, an edge or a stack
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

/// What a grammar may take. Beyond: errc::limit_exceeded.
struct grammar_limits {
  std::size_t max_bytes = std::size_t{1} << 20;        ///< of the text
  std::size_t max_rules = 20'000;                      ///< groups and repeated parts count too
  std::size_t max_nesting = 200;                       ///< parentheses inside each other
  std::size_t max_repeat = 10'000;                     ///< the numbers of {m,n}
  std::size_t max_positions = std::size_t{1} << 18;    ///< places in rules, every repetition of {m,n} counted
  std::size_t max_edges = std::size_t{1} << 20;        ///< ways from one place to the next
};

/// What following a grammar may take.
struct grammar_matcher_limits {
  std::size_t max_depth = 500;                          ///< rules inside each other; what could only end deeper is not allowed by the mask
  std::size_t max_memory_bytes = std::size_t{24} << 20; ///< for states and masks remembered; forgotten and made again beyond
  std::size_t max_work = std::size_t{1} << 23;          ///< elementary steps for one token; beyond: errc::limit_exceeded
};

/// What a filter has done so far.
struct grammar_statistics {
  std::size_t n_tokens = 0;          ///< masks asked for
  std::size_t n_masks_built = 0;     ///< the others were remembered
  std::size_t n_nodes_visited = 0;   ///< of the vocabulary's tree, in all
  std::size_t most_nodes = 0;        ///< and for one token; the tree's size bounds it
  std::size_t n_steps = 0;           ///< elementary steps on stacks
  std::size_t most_steps = 0;        ///< and for one token; max_work bounds it
};

}  // namespace cria::inline v0_1_0
