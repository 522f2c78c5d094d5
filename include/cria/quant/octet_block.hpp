// SPDX-License-Identifier: MIT
// quant/octet_block.hpp - what the formats have in common whose values come eight at a time: points of a grid with signs (grids.hpp), or ternary digits.
//
//   value 32 g + 8 l + j = scales_unit() / 8 * scale(g, l / 2) * (byte j of octet(g, l) - 64),   g < 8, l < 4, j < 8
//
// They are for reading only: who makes such a file weighs the errors by an importance matrix and searches a grid for each octet, or trains with three values.
// So there is no quantize.
//
// Ensures   as block.hpp: exact products; a code is 1 to 126
// Errors    none (noexcept)
// Threads   pure functions
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/grids.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::inline v0_1_0 {

/// Axioms: scale(group, half) is 1 to 255; half is 0 for the first 16 values of a group and 1 for the others.
template <class Block>
concept octet_block = requires(const Block& block, std::size_t n) {
  requires Block::block_size == 256;
  { block.scales_unit() } noexcept -> std::same_as<f16>;
  { block.scale(n, n) } noexcept -> std::same_as<unsigned>;
  { block.octet(n, n) } noexcept -> std::same_as<std::uint64_t>;
};

namespace detail {

/// The code that stands for 0.
inline constexpr int octet_zero = 64;
/// Scales are eighths.
inline constexpr float octet_unit = 0.125f;

template <octet_block Block>
void dequantize_octets(const Block& block, std::span<float, 256> out) noexcept {
  const float d = to_float(block.scales_unit()) * octet_unit;
  for (std::size_t g = 0; g < 8; ++g) {
    for (std::size_t l = 0; l < 4; ++l) {
      const float scale = d * static_cast<float>(block.scale(g, l / 2));
      const std::uint64_t codes = block.octet(g, l);
      for (std::size_t j = 0; j < 8; ++j) out[32 * g + 8 * l + j] = scale * static_cast<float>(static_cast<int>(codes >> 8 * j & 255) - octet_zero);
    }
  }
}

/// Returns eight values from two points of four.
[[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t join(std::uint32_t low, std::uint32_t high) noexcept { return low | std::uint64_t{high} << 32; }

}  // namespace detail

}  // namespace cria::inline v0_1_0
