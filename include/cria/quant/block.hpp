// SPDX-License-Identifier: MIT
// quant/block.hpp - what a block format is: the concept quant_block, and block_traits, the one way to ask about a format.
//
// A format is a struct whose bytes are the block as the file holds it, with its meaning beside it:
//   type, name, block_size                 its id and name in GGUF, elements in a block
//   dequantize(block, out)                 the definition of the values
//   quantize(values) -> block              the definition of the way back; formats that are only read have none
//
// Ensures   Every dequantised value is the exact product (and difference) of the block's numbers, rounded once to float: the
//           integers and half-precision scales are so short that all products are exact. So it is the same value with or without
//           fused multiply-add, in any order of the factors, and it is the value that ggml computes.
//           Any bytes are a valid block: scales of inf or NaN give inf or NaN, nothing else happens.
//           quantize, where there is one, accepts any floats; a NaN counts as the lowest code.
// Errors    none (noexcept)
// Threads   pure functions
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/float16.hpp>
#include <cria/quant/tensor_type.hpp>

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

namespace cria::inline v0_1_0 {

static_assert(std::endian::native == std::endian::little, "a block's half-precision scales are read as they lie in the file");

/// A format's properties. Blocks that are plain numbers of core/ and so cannot carry them have a specialisation.
template <class Block>
struct block_traits;

template <class Block>
  requires requires(const Block& block, std::span<float, Block::block_size> out) {
    { Block::type } -> std::convertible_to<tensor_type>;
    { Block::name } -> std::convertible_to<std::string_view>;
    { Block::dequantize(block, out) } noexcept -> std::same_as<void>;
  }
struct block_traits<Block> {
  static constexpr tensor_type type = Block::type;
  static constexpr std::string_view name = Block::name;
  static constexpr std::size_t block_size = Block::block_size;

  static void dequantize(const Block& block, std::span<float, block_size> out) noexcept { Block::dequantize(block, out); }
  [[nodiscard]] static Block quantize(std::span<const float, block_size> values) noexcept
    requires requires { { Block::quantize(values) } noexcept -> std::same_as<Block>; }
  {
    return Block::quantize(values);
  }
};

namespace detail {
// By value: GCC with -fsanitize=undefined cannot compare the pointer of find_tensor_type in a constant expression.
[[nodiscard]] constexpr bool is_in_tensor_types(tensor_type type, std::size_t block_size, std::size_t block_bytes) noexcept {
  for (const tensor_type_info& info : tensor_types) {
    if (info.type == type) return info.block_size == block_size && info.block_bytes == block_bytes;
  }
  return false;
}
}  // namespace detail

/// A block format of GGUF files that cria computes with. Axioms: dequantize writes all of `out`; a block of zeros dequantises to zeros.
template <class Block>
concept quant_block = std::is_trivially_copyable_v<Block> && std::is_standard_layout_v<Block> &&
                      requires(const Block& block, std::span<float, block_traits<Block>::block_size> out) {
                        { block_traits<Block>::dequantize(block, out) } noexcept -> std::same_as<void>;
                        requires detail::is_in_tensor_types(block_traits<Block>::type, block_traits<Block>::block_size, sizeof(Block));
                      };

/// One that cria writes, too. Axiom: dequantize(quantize(x)) is within the format's error bound of x.
template <class Block>
concept writable_block = quant_block<Block> && requires(std::span<const float, block_traits<Block>::block_size> values) {
  { block_traits<Block>::quantize(values) } noexcept -> std::same_as<Block>;
};

namespace detail {

/// Returns `condition ? a : b` without a branch; see select in core/float16.hpp.
[[nodiscard]] CRIA_ALWAYS_INLINE float select(bool condition, float a, float b) noexcept {
  return bit_cast<float>(select(condition, bit_cast<std::uint32_t>(a), bit_cast<std::uint32_t>(b)));
}

/// Returns `value` moved into [low, high]; low for NaN.
[[nodiscard]] CRIA_ALWAYS_INLINE float keep_within(float value, float low, float high) noexcept {
  const float not_below = select(value > low, value, low);
  return select(not_below < high, not_below, high);
}

/// Returns by how much the integer in [low, high] that is nearest to `value` is above low; 0 for NaN. Halves go up. The selection
/// keeps compilers from fusing the addition with a product that makes `value`, so the code never depends on how they contract.
[[nodiscard]] CRIA_ALWAYS_INLINE int nearest_code(float value, int low, int high) noexcept {
  return static_cast<int>(keep_within(value, static_cast<float>(low), static_cast<float>(high)) + (0.5f - static_cast<float>(low)));
}

/// Returns the integer in [-127, 127] nearest to `value`, halves away from zero; -127 for NaN.
[[nodiscard]] CRIA_ALWAYS_INLINE std::int8_t round_to_int8(float value) noexcept {
  // The float below one half: adding one half itself would lift 0.49999997 to 1.
  constexpr float almost_half = 0x1.fffffep-2f;
  const float within = keep_within(value, -127.0f, 127.0f);
  return static_cast<std::int8_t>(static_cast<int>(within + std::copysign(almost_half, within)));
}

struct value_range {
  float min, max;
};

/// Returns the value whose magnitude is largest, the first of equals; NaN is passed over.
[[nodiscard]] inline float largest_by_magnitude(std::span<const float> values) noexcept {
  float magnitude = 0, largest = 0;
  for (const float v : values) {
    const bool is_larger = magnitude < std::fabs(v);
    magnitude = is_larger ? std::fabs(v) : magnitude;
    largest = is_larger ? v : largest;
  }
  return largest;
}

/// Returns the least and the greatest value; NaN is passed over.
[[nodiscard]] inline value_range range_of(std::span<const float> values) noexcept {
  value_range r{0x1.fffffep127f, -0x1.fffffep127f};
  for (const float v : values) {
    r.min = v < r.min ? v : r.min;
    r.max = v > r.max ? v : r.max;
  }
  return r;
}

/// Returns the sum of `terms`, halves added to halves: a fixed order that vectorises.
template <std::size_t N>
  requires(std::has_single_bit(N))
[[nodiscard]] CRIA_ALWAYS_INLINE float sum_of(const float (&terms)[N]) noexcept {
  if constexpr (N == 1) {
    return terms[0];
  } else {
    float halves[N / 2];
    for (std::size_t i = 0; i < N / 2; ++i) halves[i] = terms[i] + terms[i + N / 2];
    return sum_of(halves);
  }
}

/// Returns 1/d, 0 for 0.
[[nodiscard]] CRIA_ALWAYS_INLINE float reciprocal_or_zero(float d) noexcept { return d != 0 ? 1.0f / d : 0.0f; }

}  // namespace detail

}  // namespace cria::inline v0_1_0
