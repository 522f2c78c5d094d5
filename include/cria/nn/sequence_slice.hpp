// SPDX-License-Identifier: MIT
// nn/sequence_slice.hpp - the sequences of a forward pass: which tokens each of them adds, and how a pass begins and ends in their caches.
//
//   begin_pass    checks the slices, gives each its rows and positions, makes room in the caches
//   commit_pass   keeps what the pass has written                 cancel_pass, roll_back_pass   give it up
//
// Ensures   the caches advance together or not at all
// Errors    begin_pass: bad_argument, context_full; cancel_pass: cancelled
// Threads   used by the thread that runs the pass
// Lifetime  a slice refers to its cache, tokens and adapters
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/nn/activations.hpp>
#include <cria/nn/low_rank.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace cria::inline v0_1_0::nn {

/// One sequence's part of a pass: the tokens that follow those in its cache.
template <kv_cache Cache>
struct sequence_slice {
  Cache* cache;
  std::span<const token_id> tokens;
  std::size_t n_logits = 1;                      ///< how many of the last tokens want logits
  std::size_t first_row = 0;                     ///< of the activations; set by begin_pass
  std::size_t start_pos = 0;                     ///< position of the first token; set by begin_pass
  std::span<const low_rank_use> adapters = {};   ///< of the model that runs; the same for all positions of a cache
};

namespace detail {

/// Checks a slice by itself. Errors: bad_argument.
template <kv_cache Cache>
result<void> check_slice(const sequence_slice<Cache>& s, std::size_t vocab_size) {
  for (const token_id token : s.tokens) {
    if (token < 0 || static_cast<std::size_t>(token) >= vocab_size) {
      return error{errc::bad_argument, "token", std::to_string(token) + " is not in the vocabulary"};
    }
  }
  if constexpr (requires { s.cache->max_pass(); }) {
    if (s.tokens.size() > s.cache->max_pass()) {
      return error{errc::bad_argument, "tokens", "the windows of this cache take " + std::to_string(s.cache->max_pass()) + " tokens at once"};
    }
  }
  return {};
}

}  // namespace detail

/// Gives up what a pass has written.
template <kv_cache Cache>
void roll_back_pass(std::span<sequence_slice<Cache>> slices) noexcept {
  for (const sequence_slice<Cache>& s : slices) s.cache->truncate(s.start_pos);
}

/// Checks the slices, gives each its rows and positions, makes room in the caches; returns the number of tokens. On an error the caches are as before.
template <kv_cache Cache>
result<std::size_t> begin_pass(activations& a, std::size_t vocab_size, std::span<sequence_slice<Cache>> slices) {
  std::size_t n_tokens = 0;
  for (sequence_slice<Cache>& s : slices) {
    CRIA_CHECK(detail::check_slice(s, vocab_size));
    s.first_row = n_tokens;
    s.start_pos = s.cache->length();
    n_tokens += s.tokens.size();
    if (s.tokens.empty() || s.n_logits > s.tokens.size() || n_tokens > a.shape.max_tokens) {
      return error{errc::bad_argument, "tokens", "a pass takes 1 to " + std::to_string(a.shape.max_tokens) + " tokens"};
    }
  }
  if (slices.empty()) return error{errc::bad_argument, "tokens", "a pass takes at least one sequence"};
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (auto room = slices[i].cache->reserve(slices[i].tokens.size()); !room) {
      roll_back_pass(slices.first(i + 1));
      return std::move(room).error();
    }
  }
  a.adapted.clear();
  for (const sequence_slice<Cache>& s : slices) {
    const std::size_t n = s.tokens.size();
    if (!s.adapters.empty()) a.adapted.push_back({s.first_row, n, s.adapters});   // room for max_tokens is reserved
    for (std::size_t t = 0; t < n; ++t) a.rows[s.first_row + t] = {s.tokens[t], s.start_pos + t, t + s.n_logits >= n, s.cache->capacity()};
  }
  return n_tokens;
}

/// Gives up what a pass has written, and returns the error for a host that has asked to stop.
template <kv_cache Cache>
error cancel_pass(std::span<sequence_slice<Cache>> slices) {
  roll_back_pass(slices);
  return {errc::cancelled, "forward"};
}

/// Keeps what a pass has written.
template <kv_cache Cache>
void commit_pass(std::span<sequence_slice<Cache>> slices) noexcept {
  for (const sequence_slice<Cache>& s : slices) s.cache->commit(s.tokens.size());
}

}  // namespace cria::inline v0_1_0::nn
