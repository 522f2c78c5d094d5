// SPDX-License-Identifier: MIT
// generate/batch_options.hpp - the options of a batch engine, its statistics, and the result of a request.
//
// Units     positions, tokens, pages; seconds of wall-clock time
// Errors    none here; basic_batch_engine::create() checks every field (bad_argument, `where` is the name of the field)
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

namespace cria::inline v0_1_0 {

/// A request's number in its engine, counted from 1.
using batch_id = std::uint64_t;

/// What add() does with a request that cannot start immediately.
enum class when_full : std::uint8_t {
  wait,    ///< keep it until there is room; requests wait in the order of arrival
  refuse,  ///< return context_full, with `where` "sequences" or "pages"
};

struct batch_options {
  static constexpr std::size_t most_sequences = 4096;
  static constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

  std::size_t max_sequences = 16;       ///< how many requests run at once
  std::size_t context_size = 0;         ///< positions of one sequence; 0: the model's training context, 4,096 at most
  std::size_t cache_positions = 0;      ///< of all sequences together; 0: room for max_sequences full contexts
  std::size_t page_size = page_pool_options{}.page_size;
  std::size_t max_batch = 264;          ///< tokens in one pass; best a multiple of 12
  std::size_t prompt_share = 64;        ///< prompt tokens in a pass with running requests: fewer keep their text flowing, more let new ones start sooner
  std::size_t max_waiting = no_limit;   ///< requests that wait for a place while all are taken, at least 1; one more is refused with limit_exceeded
  cria::when_full when_full = cria::when_full::wait;
  bool shares_prefixes = true;          ///< prompts that begin alike share pages, even with requests that have ended; false: each is computed in full
  std::size_t n_threads = 0;            ///< 0: the physical cores that the process may use
  std::optional<executor_ref> executor = {};
};

/// The counts of an engine. Totals are since its creation.
struct batch_statistics {
  std::size_t n_running = 0, n_waiting = 0;
  std::uint64_t n_added = 0;
  std::uint64_t n_refused = 0;                   ///< by add()
  std::array<std::uint64_t, 6> n_finished{};     ///< [finish_reason]
  std::uint64_t n_failed = 0;                    ///< ended by an error
  std::uint64_t n_preempted = 0;                 ///< how often a sequence had to give its pages back and start over
  std::uint64_t n_prompt_tokens = 0;             ///< of requests that were started
  std::uint64_t n_reused_tokens = 0;             ///< prompt tokens that were found in pages of other requests
  std::uint64_t n_evaluated_tokens = 0;          ///< all tokens that were computed, some of them again after a preemption
  std::uint64_t n_generated_tokens = 0;
  std::uint64_t n_passes = 0;
  double busy_seconds = 0;                       ///< spent in passes and sampling, not in callbacks
  double first_token_seconds = 0;                ///< from add() to the first token, summed over requests
  std::uint64_t n_first_tokens = 0;
  page_pool_statistics pages;
  std::size_t n_indexed_pages = 0;               ///< pages kept for later prompts

  /// Returns the share of prompt tokens that were found in pages of other requests; 0 if there were no prompt tokens.
  [[nodiscard]] double hit_rate() const noexcept {
    return n_prompt_tokens > 0 ? static_cast<double>(n_reused_tokens) / static_cast<double>(n_prompt_tokens) : 0;
  }
};

/// A request that has ended.
struct batch_result {
  batch_id id = 0;
  result<generation> outcome;
};

}  // namespace cria::inline v0_1_0
