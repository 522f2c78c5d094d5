// SPDX-License-Identifier: MIT
// core/types.hpp - the few words that every layer shares.
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cria::inline v0_1_0 {

/// A token's index in the vocabulary.
using token_id = std::int32_t;
inline constexpr token_id no_token = -1;

/// How activations are quantised before they meet quantised weights; chosen when a model is opened.
enum class precision : std::uint8_t {
  exact,  ///< 15 bits in two int8 planes: the model's own text
  fast,   ///< 8 bits: what other engines do; faster prompts, other text near ties
};

[[nodiscard]] constexpr std::string_view name(precision p) noexcept { return p == precision::exact ? "exact" : "fast"; }

/// What a cache stores keys and values as.
enum class kv_type : std::uint8_t { f16, f32, q8_0, bf16 };

[[nodiscard]] constexpr std::string_view name(kv_type t) noexcept {
  constexpr std::string_view names[] = {"f16", "f32", "q8_0", "bf16"};
  return names[static_cast<std::size_t>(t)];
}

/// Positions whose keys lie side by side in a cache, one in each lane of attention.
inline constexpr std::size_t kv_panel = 16;

/// A run of positions of one kv head in a cache. Keys lie in panels of kv_panel positions, [panel][head_dim][16]; values one position after
/// another. With q8_0 both go in groups of 32 channels: [16 positions x 32 int8, 16 scales] and [32 int8, scale].
/// With bf16 a key panel goes by pairs of channels, [head_dim / 2][16][2], the last one of an odd head_dim filled up with zeros.
struct kv_segment {
  const std::byte* k;
  const std::byte* v;
  std::size_t first_pos;  ///< a multiple of kv_panel
  std::size_t length;     ///< positions
};

/// Returns `n` rounded up to a multiple of `step`.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t round_up(std::size_t n, std::size_t step) noexcept { return (n + step - 1) / step * step; }

}  // namespace cria::inline v0_1_0
