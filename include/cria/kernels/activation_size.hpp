// SPDX-License-Identifier: MIT
// kernels/activation_size.hpp - how much room quantised activations take (their layout: activations.hpp), for units without SIMD.
//
// Units     words of 32 bits
#pragma once

#include <cria/core/types.hpp>

#include <cstddef>

namespace cria::inline v0::kernels {

/// Returns the 32-bit words that one token's group takes.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t activation_words(precision p) noexcept { return (p == precision::exact ? 16 : 8) + 7; }

/// Returns the width of the tile that begins with `remaining` tokens to go, on a set whose widest tile is `widest` (4, 8 or 12).
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t tile_width(std::size_t remaining, std::size_t widest) noexcept {
  if (remaining <= 1) return remaining;
  if (remaining <= 4) return 4;
  if (remaining <= 8 && widest > 4) return 8;
  return widest;
}

/// Returns the words that `n_tokens` of `k` values take at most, on any set.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t activation_capacity(std::size_t n_tokens, std::size_t k, precision p) noexcept {
  return (n_tokens + 11) * (k / 32) * activation_words(p);
}

}  // namespace cria::inline v0::kernels
