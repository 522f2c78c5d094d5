// SPDX-License-Identifier: MIT
// generate/batch_options.hpp - what a host chooses for a batch engine, and what the engine's counts say.
//
// Units     positions, tokens, pages; seconds of wall-clock time
// Errors    none here; basic_batch_engine::create() checks every field (bad_argument, `where` is the field)
// Lifetime  batch_options::executor refers to the host's executor, which must outlive the engine
#pragma once

#include <cria/core/executor.hpp>
#include <cria/core/result.hpp>
#include <cria/generate/generation.hpp>
#include <cria/kv/page_pool.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace cria::inline v0 {

/// A request's number in its engine, counted from 1.
using batch_id = std::uint64_t;

/// What add() does with a request that cannot start at once.
enum class when_full : std::uint8_t {
  wait,    ///< keeps it until there is room, in the order of arrival
  refuse,  ///< context_full, `where` is "sequences" or "pages"
};

struct batch_options {
  static constexpr std::size_t most_sequences = 4096;
  static constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

  std::size_t max_sequences = 16;       ///< that run at once
  std::size_t context_size = 0;         ///< positions of one sequence; 0: the model's training context, 4,096 at most
  std::size_t cache_positions = 0;      ///< of all sequences together; 0: room for max_sequences full contexts
  std::size_t page_size = page_pool_options{}.page_size;
  std::size_t max_batch = 264;          ///< tokens of one pass; best a multiple of 12
  std::size_t prompt_share = 64;        ///< prompt tokens of a pass in which others generate: fewer keep their text flowing, more start new ones sooner
  std::size_t max_waiting = no_limit;   ///< requests that wait, also for the next step only: 1 at least; one more is refused with limit_exceeded
  cria::when_full when_full = cria::when_full::wait;
  bool shares_prefixes = true;          ///< prompts that begin alike share pages, also with requests that ended; off: every prompt is computed in full
  std::size_t n_threads = 0;            ///< 0: the physical cores that the process may use
  std::optional<executor_ref> executor = {};
};

/// What the counts of an engine say. Totals are since it was made.
struct batch_statistics {
  std::size_t n_running = 0, n_waiting = 0;
  std::uint64_t n_added = 0;
  std::uint64_t n_refused = 0;                   ///< by add()
  std::array<std::uint64_t, 6> n_finished{};     ///< [finish_reason]
  std::uint64_t n_failed = 0;                    ///< ended by an error
  std::uint64_t n_preempted = 0;                 ///< times that a sequence had to give its pages back and start over
  std::uint64_t n_prompt_tokens = 0;             ///< of requests that were started
  std::uint64_t n_reused_tokens = 0;             ///< of these, found in pages of others
  std::uint64_t n_evaluated_tokens = 0;          ///< computed; more than prompts and texts where sequences were preempted
  std::uint64_t n_generated_tokens = 0;
  std::uint64_t n_passes = 0;
  double busy_seconds = 0;                       ///< in passes and sampling; what callbacks take is not counted
  double first_token_seconds = 0;                ///< sum over requests, from add() to the first token
  std::uint64_t n_first_tokens = 0;
  page_pool_statistics pages;
  std::size_t n_indexed_pages = 0;               ///< kept for prompts to come

  /// Returns the share of prompt tokens that was found in pages of others, 0 where there were none.
  [[nodiscard]] double hit_rate() const noexcept {
    return n_prompt_tokens > 0 ? static_cast<double>(n_reused_tokens) / static_cast<double>(n_prompt_tokens) : 0;
  }
};

/// A request that has ended.
struct batch_result {
  batch_id id = 0;
  result<generation> outcome;
};

}  // namespace cria::inline v0
