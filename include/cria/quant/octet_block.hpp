// SPDX-License-Identifier: MIT
// quant/octet_block.hpp - what the formats of 1 to 3 bits have in common, whose values are points of a grid (grids.hpp): eight or two times four values share
// an index and have signs or a shift.
//
//   value 32 g + 8 l + j = d / 8 * scale * (byte j of the octet's codes - 64),   scale = (2 s + 1) 2^scale_shift,   g < 8, l < 4, j < 8
//   where s is the number scales[g], or scales[8 + g] for the second half of a group if it has one of its own.
//
// They are for reading only: who makes such a file weighs the errors by an importance matrix and searches a grid for each octet. So there is no quantize.
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

/// What a format keeps of the signs of an octet.
enum class octet_signs : std::uint8_t {
  seven,        ///< a bit for each value but the last, which makes the number of negative values even
  eight,        ///< a bit for each value
  octet_shift,  ///< one bit: whether the values are moved down or up by an eighth
  group_shift,  ///< the same for the four octets of a group
};

/// How a format differs from others of its kind.
struct octet_traits {
  std::size_t index_bits;    ///< of a point of the grid
  octet_signs signs;
  std::size_t scales;        ///< of a group: 1, or 2 for its halves
  unsigned scale_shift;

  [[nodiscard]] constexpr bool has_shift() const noexcept { return signs == octet_signs::octet_shift || signs == octet_signs::group_shift; }
};

namespace detail {

/// The code that stands for 0.
inline constexpr int octet_zero = 64;
/// Scales are eighths.
inline constexpr float octet_unit = 0.125f;

/// Returns eight signs, given the first seven: the number of bits is even.
[[nodiscard]] inline std::uint8_t even_signs(unsigned seven) noexcept {
  constexpr unsigned odd_nibbles = 0x6996;
  return static_cast<std::uint8_t>(seven | (odd_nibbles >> ((seven ^ seven >> 4) & 15) & 1) << 7);
}

[[nodiscard]] inline std::uint32_t little_endian(const std::uint8_t* bytes) noexcept {
  return bytes[0] | std::uint32_t{bytes[1]} << 8 | std::uint32_t{bytes[2]} << 16 | std::uint32_t{bytes[3]} << 24;
}
inline void put_little_endian(std::uint8_t* bytes, std::uint32_t word) noexcept {
  for (std::size_t n = 0; n < 4; ++n) bytes[n] = static_cast<std::uint8_t>(word >> 8 * n);
}

}  // namespace detail

/// The content of a block, the same for all these formats.
struct octet_fields {
  std::uint16_t index[64];   ///< of 32 octets, or of 64 times four values
  std::uint8_t signs[32];    ///< bit j: value j of the octet is negative; a shift: bit 0, whether it is down
  std::uint8_t scales[16];   ///< of the groups; then those of their second halves, if they have their own
  f16 d;

  /// Takes the seven signs of each octet of group g, and the scale above them.
  void set_seven_signs(std::size_t g, std::uint32_t word) noexcept {
    for (std::size_t l = 0; l < 4; ++l) signs[4 * g + l] = detail::even_signs(word >> 7 * l & 127);
    scales[g] = static_cast<std::uint8_t>(word >> 28);
  }
  [[nodiscard]] std::uint32_t seven_signs(std::size_t g) const noexcept {
    std::uint32_t word = std::uint32_t{scales[g]} << 28;
    for (std::size_t l = 0; l < 4; ++l) word |= (signs[4 * g + l] & 127U) << 7 * l;
    return word;
  }
  /// Takes a byte of each group: the scale of its first half in the low nibble, that of the second in the high one.
  void set_nibbles_of_groups(const std::uint8_t (&bytes)[8]) noexcept {
    for (std::size_t g = 0; g < 8; ++g) scales[g] = bytes[g] & 15, scales[8 + g] = bytes[g] >> 4;
  }
  void nibbles_of_groups(std::uint8_t (&bytes)[8]) const noexcept {
    for (std::size_t g = 0; g < 8; ++g) bytes[g] = static_cast<std::uint8_t>(scales[g] | scales[8 + g] << 4);
  }
};

/// Axioms: Block::of(block.fields()) is block; an index is below the number of points, a scale below 16, or below 8 beside a shift.
template <class Block>
concept octet_block = requires(const Block& block, const octet_fields& fields) {
  requires Block::block_size == 256;
  requires std::same_as<decltype(Block::octets), const octet_traits>;
  requires Block::grid.size() == std::size_t{1} << Block::octets.index_bits;
  { block.fields() } noexcept -> std::same_as<octet_fields>;
  { Block::of(fields) } noexcept -> std::same_as<Block>;
};

namespace detail {

/// How many values a point of Block's grid has: eight or four.
template <octet_block Block>
inline constexpr std::size_t point_values = sizeof(Block::grid[0]);

template <octet_block Block>
[[nodiscard]] std::uint64_t octet_codes(const octet_fields& f, std::size_t octet) noexcept {
  std::uint64_t point;
  if constexpr (point_values<Block> == 8) {
    point = Block::grid[f.index[octet]];
  } else {
    point = Block::grid[f.index[2 * octet]] | std::uint64_t{Block::grid[f.index[2 * octet + 1]]} << 32;
  }
  if constexpr (Block::octets.has_shift()) return grids::shifted(point, f.signs[octet]);
  return grids::with_signs(point, grids::sign_bytes(f.signs[octet]));
}

template <octet_block Block>
void dequantize_octets(const Block& block, std::span<float, 256> out) noexcept {
  const octet_fields f = block.fields();
  const float unit = to_float(f.d) * octet_unit;
  for (std::size_t octet = 0; octet < 32; ++octet) {
    const std::size_t half = octet / 2 % 2 * (Block::octets.scales - 1);
    const float scale = unit * static_cast<float>((2U * f.scales[8 * half + octet / 4] + 1) << Block::octets.scale_shift);
    const std::uint64_t codes = octet_codes<Block>(f, octet);
    for (std::size_t j = 0; j < 8; ++j) out[8 * octet + j] = scale * static_cast<float>(static_cast<int>(codes >> 8 * j & 255) - octet_zero);
  }
}

}  // namespace detail

}  // namespace cria::inline v0_1_0
