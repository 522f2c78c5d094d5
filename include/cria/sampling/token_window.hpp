// SPDX-License-Identifier: MIT
// sampling/token_window.hpp - the last n tokens of a sequence, always as one contiguous span.
//
// Ensures   push is O(1) on average and never allocates: the storage holds 2 n tokens and is moved down every n pushes
// Errors    none (noexcept), but for memory at construction
// Threads   one user at a time
#pragma once

#include <cria/core/types.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cria::inline v0_1_0 {

class token_window {
 public:
  explicit token_window(std::size_t capacity) : capacity_(capacity), tokens_(2 * capacity) {}

  void push(token_id token) noexcept {
    if (capacity_ == 0) return;
    if (end_ == tokens_.size()) {
      std::copy_n(tokens_.begin() + static_cast<std::ptrdiff_t>(capacity_), capacity_, tokens_.begin());
      end_ = capacity_;
    }
    tokens_[end_++] = token;
  }

  void clear() noexcept { end_ = 0; }

  /// Returns the last tokens, oldest first; valid until the next push.
  [[nodiscard]] std::span<const token_id> tokens() const noexcept {
    const std::size_t n = std::min(end_, capacity_);
    return {tokens_.data() + (end_ - n), n};
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// Writes the count and the tokens.
  void save(sampler_state& out) const {
    out.push_back(tokens().size());
    for (const token_id token : tokens()) out.push_back(static_cast<std::uint32_t>(token));
  }

  /// Takes what save wrote off the front of `in`; returns false for anything else, or a token outside the vocabulary.
  [[nodiscard]] bool restore(std::span<const std::uint64_t>& in, std::size_t vocab_size) noexcept {
    if (in.empty() || in[0] > capacity_ || in[0] > in.size() - 1) return false;
    const auto n = static_cast<std::size_t>(in[0]);
    for (std::size_t i = 1; i <= n; ++i) {
      if (in[i] >= vocab_size) return false;
    }
    clear();
    for (std::size_t i = 1; i <= n; ++i) push(static_cast<token_id>(in[i]));
    in = in.subspan(n + 1);
    return true;
  }

 private:
  std::size_t capacity_;
  std::size_t end_ = 0;
  std::vector<token_id> tokens_;
};

namespace detail {

/// Returns whether a token can index a table of the vocabulary.
[[nodiscard]] constexpr bool is_in_vocabulary(token_id token, std::size_t vocab_size) noexcept {
  return token >= 0 && static_cast<std::size_t>(token) < vocab_size;
}

/// Returns the entry of `token` in a table of the vocabulary; 0 outside.
template <class T>
[[nodiscard]] T entry_of(const std::vector<T>& table, token_id token) noexcept {
  return is_in_vocabulary(token, table.size()) ? table[static_cast<std::size_t>(token)] : T{0};
}

/// Returns the candidate of `token` where the candidates still stand in id order, as a chain's first filters find them; else null.
[[nodiscard]] inline candidate* find_in_place(std::span<candidate> c, token_id token) noexcept {
  if (!is_in_vocabulary(token, c.size())) return nullptr;
  candidate& one = c[static_cast<std::size_t>(token)];
  return one.id == token ? &one : nullptr;
}

}  // namespace detail

/// Sets runs[back] to how many tokens before the position `back` from the end equal those at the end, for back in [1, tokens.size()): in linear time, by
/// the Z-function of the reversed tokens (D. Gusfield, Algorithms on Strings, 1997, section 1.3).
inline void find_runs(std::span<const token_id> tokens, std::span<std::uint32_t> runs) noexcept {
  const std::size_t n = tokens.size();
  const auto reversed = [tokens, n](std::size_t i) { return tokens[n - 1 - i]; };
  std::size_t left = 0;
  std::size_t right = 0;  // [left, right): the match found so far that reaches furthest
  for (std::size_t i = 1; i < n; ++i) {
    std::size_t length = i < right ? std::min<std::size_t>(right - i, runs[i - left]) : 0;
    while (i + length < n && reversed(length) == reversed(i + length)) ++length;
    runs[i] = static_cast<std::uint32_t>(length);
    if (i + length > right) {
      left = i;
      right = i + length;
    }
  }
}

}  // namespace cria::inline v0_1_0
