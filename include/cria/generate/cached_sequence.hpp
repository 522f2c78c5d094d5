// SPDX-License-Identifier: MIT
// generate/cached_sequence.hpp - a cache together with the tokens at its positions, so that the beginning of a prompt can be reused.
//
// Ensures   tokens().size() == the cache's length(), whatever fails
// Errors    make_room: out_of_memory; replace: out_of_memory, what the cache's reserve returns
// Threads   one at a time
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/kv/kv_cache.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

template <kv_cache Cache>
class cached_sequence {
 public:
  /// Takes a cache, and forgets what it holds.
  explicit cached_sequence(Cache cache) : cache_(std::move(cache)) { cache_.truncate(0); }

  [[nodiscard]] Cache& cache() noexcept { return cache_; }
  [[nodiscard]] const Cache& cache() const noexcept { return cache_; }
  [[nodiscard]] std::span<const token_id> tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::size_t length() const noexcept { return tokens_.size(); }

  /// Reserves room for n tokens in all, so that committing them allocates nothing.
  [[nodiscard]] result<void> make_room(std::size_t n) {
    if (n <= tokens_.capacity()) return {};
    return catch_bad_alloc([&]() -> result<void> {
      tokens_.reserve(std::max(n, 2 * tokens_.capacity()));
      return {};
    }, "tokens");
  }

  /// Adds the tokens that a pass has just put into the cache. Requires room for them.
  void commit(std::span<const token_id> tokens) { tokens_.insert(tokens_.end(), tokens.begin(), tokens.end()); }

  /// Returns the largest length up to n that truncate() accepts. That is n, unless windowed layers no longer hold what length n needs.
  [[nodiscard]] std::size_t keepable(std::size_t n) const noexcept {
    if constexpr (requires { { cache_.keepable(n) } noexcept; }) {
      return cache_.keepable(n);
    } else {
      return n;
    }
  }

  /// Forgets all positions from n on. Requires n <= length(), keepable(n) == n.
  void truncate(std::size_t n) noexcept {
    cache_.truncate(n);
    tokens_.resize(n);
  }

  /// Truncates the cache to the beginning that it shares with `prompt`, at most all but the prompt's last token, whose logits must be computed. Returns its
  /// length.
  std::size_t keep_common(std::span<const token_id> prompt) noexcept {
    const std::size_t limit = std::min(tokens_.size(), prompt.empty() ? 0 : prompt.size() - 1);
    const auto kept = std::mismatch(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(limit), tokens_.begin()).first;
    const auto n = keepable(static_cast<std::size_t>(kept - prompt.begin()));
    truncate(n);
    return n;
  }

  /// Replaces the contents by `tokens` with their exported positions, [layer][kv head][position]. If there is no room for them, nothing changes.
  [[nodiscard]] result<void> replace(std::span<const token_id> tokens, std::span<const std::byte> positions)
    requires saved_kv_cache<Cache>
  {
    CRIA_CHECK(make_room(tokens.size()));
    if constexpr (requires { cache_.check_replace(tokens.size()); }) {
      CRIA_CHECK(cache_.check_replace(tokens.size()));
    } else if (tokens.size() > length()) {
      CRIA_CHECK(cache_.reserve(tokens.size() - length()));
    }
    truncate(0);
    if (tokens.empty()) return {};
    CRIA_CHECK(cache_.reserve(tokens.size()));   // there is room: what it held is gone
    const kv_shape shape = cache_.shape();
    const std::size_t head_bytes = tokens.size() * cache_.position_bytes();
    for (std::size_t i = 0; i < shape.n_layers * shape.n_kv_heads; ++i) {
      cache_.import_positions({{i / shape.n_kv_heads, i % shape.n_kv_heads}, 0, tokens.size()}, positions.subspan(i * head_bytes, head_bytes));
    }
    cache_.commit(tokens.size());
    commit(tokens);
    return {};
  }

 private:
  Cache cache_;
  std::vector<token_id> tokens_;
};

}  // namespace cria::inline v0_1_0::detail
