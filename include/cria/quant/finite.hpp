// SPDX-License-Identifier: MIT
// quant/finite.hpp - finding blocks that dequantise to inf or NaN.
//
// Ensures   exact: where scales and mins are halves, a block is finite when they are (half precision times small integers cannot overflow)
// Errors    none (noexcept)
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/quant/format.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>

namespace cria::inline v0_1_0 {

namespace detail {
[[nodiscard]] constexpr bool is_finite(f16 x) noexcept { return (x.bits & 0x7c00) != 0x7c00; }
}  // namespace detail

/// Returns whether every value of the block is finite.
template <quant_block Block>
[[nodiscard]] bool is_finite(const Block& block) noexcept {
  if constexpr (std::is_same_v<Block, f16>) {
    return detail::is_finite(block);
  } else if constexpr (std::is_same_v<Block, bf16>) {
    return (block.bits & 0x7f80) != 0x7f80;
  } else if constexpr (std::is_same_v<Block, f32>) {
    return (bit_cast<std::uint32_t>(block.value) & 0x7f800000) != 0x7f800000;
  } else if constexpr (requires { block.dmin; }) {
    return detail::is_finite(block.d) && detail::is_finite(block.dmin);
  } else if constexpr (requires { block.m; }) {
    return detail::is_finite(block.d) && detail::is_finite(block.m);
  } else if constexpr (requires { block.d; }) {
    return detail::is_finite(block.d);
  } else if constexpr (requires { block.fields(); }) {
    return detail::is_finite(block.fields().d);
  } else {
    // mxfp4: 2^(e - 128) times a code of at most 12 is finite below e = 253; the specification calls e = 255 no number
    const auto is_too_large = [&](int q) {
      return !(static_cast<float>(std::abs(int{Block::codebook[q]})) * Block::scale(block.e) <= std::numeric_limits<float>::max());
    };
    return block.e < 253 ||
           (block.e < 255 && std::none_of(std::begin(block.qs), std::end(block.qs), [&](int q) { return is_too_large(q & 15) || is_too_large(q >> 4); }));
  }
}

/// Returns the index of the first of `n_blocks` blocks at `blocks` that is not finite. Requires a type with a format.
[[nodiscard]] inline std::optional<std::size_t> first_non_finite(tensor_type type, const std::byte* blocks, std::size_t n_blocks) noexcept {
  std::optional<std::size_t> found;
  visit_format(type, [&]<class Block>(std::type_identity<Block>) {
    for (std::size_t i = 0; i < n_blocks && !found; ++i) {
      Block block;
      std::memcpy(&block, blocks + i * sizeof(Block), sizeof(Block));
      if (!is_finite(block)) found = i;
    }
  });
  return found;
}

}  // namespace cria::inline v0_1_0
