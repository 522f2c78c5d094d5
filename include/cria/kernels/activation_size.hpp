// SPDX-License-Identifier: MIT
// kernels/activation_size.hpp - how much room quantised activations take (their layout: activations.hpp), for units without SIMD.
//
// Units     words of 32 bits
#pragma once

#include <cria/core/types.hpp>
#include <cria/kernels/layout.hpp>

#include <cstddef>

namespace cria::inline v0_1_0::kernels {

/// Returns the 32-bit words that one token's group takes.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t activation_words(precision p) noexcept { return (p == precision::exact ? 16 : 8) + 7; }

/// The tiles of an instruction set: `widest` tokens, a multiple of 4, or 4. Fewer than `fewest` (at most 4) go one by one.
struct token_tiles {
  std::size_t widest, fewest;
};

/// Returns the width of the next tile when `remaining` tokens are left: full tiles first, then a padded full one for more than 8, else tiles of 4 (the last
/// one padded), then single tokens.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t tile_width(std::size_t remaining, token_tiles tiles) noexcept {
  if (remaining >= tiles.widest || remaining > 8) return tiles.widest;
  return remaining < tiles.fewest ? 1 : 4;
}

/// A tile's first token and width.
struct token_tile {
  std::size_t first, width;
};

/// Returns the tile that token `t` of `n_tokens` belongs to.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr token_tile tile_of(std::size_t t, std::size_t n_tokens, token_tiles tiles) noexcept {
  token_tile tile{t - t % tiles.widest, 0};
  tile.width = tile_width(n_tokens - tile.first, tiles);
  while (tile.first + tile.width <= t) {
    tile.first += tile.width;
    tile.width = tile_width(n_tokens - tile.first, tiles);
  }
  return tile;
}

/// Zero tokens that the last tile is padded with at most: the widest tile of any set has 12 tokens.
inline constexpr std::size_t most_padding = 11;

/// Returns the words that `n_tokens` of `k` values take at most, on any set.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t activation_capacity(std::size_t n_tokens, std::size_t k, precision p) noexcept {
  return (n_tokens + most_padding) * (k / group_size) * activation_words(p);
}

/// The most tokens that a product takes at once.
inline constexpr std::size_t most_tokens_at_once = 128;

/// Returns how many tokens, in whole tiles, a product with `k` columns takes at once: those whose activations fit the second-level cache beside a panel.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t tokens_at_once(std::size_t k, precision p, token_tiles tiles) noexcept {
  constexpr std::size_t cached_words = 512 * 1024 / 4;
  const std::size_t fitting = cached_words / ((k < group_size ? 1 : k / group_size) * activation_words(p));
  const std::size_t most = fitting < most_tokens_at_once ? fitting : most_tokens_at_once;
  return most < tiles.widest ? tiles.widest : most / tiles.widest * tiles.widest;
}

}  // namespace cria::inline v0_1_0::kernels
