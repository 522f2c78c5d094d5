// SPDX-License-Identifier: MIT
// tests/quant/block_layout.hpp - checks a format against its byte drawing, bit by bit, and its values against exact arithmetic.
#pragma once

#include <cria/quant/block.hpp>

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace cria_test {

/// Where an integer's bits are in a block: `n_bits` from bit `bit` of byte `byte` on.
struct bit_field {
  std::size_t byte;
  std::size_t bit;
  std::size_t n_bits;
};

/// Sets an integer whose bits are in `fields`, lowest first.
template <class Block>
void put_bits(Block& block, std::span<const bit_field> fields, unsigned value) {
  unsigned char bytes[sizeof(Block)];
  std::memcpy(bytes, &block, sizeof(Block));
  for (const bit_field& f : fields) {
    const unsigned mask = (1u << f.n_bits) - 1;
    REQUIRE(f.byte < sizeof(Block));
    bytes[f.byte] = static_cast<unsigned char>((bytes[f.byte] & ~(mask << f.bit)) | (value & mask) << f.bit);
    value >>= f.n_bits;
  }
  REQUIRE(value == 0);
  std::memcpy(&block, bytes, sizeof(Block));
}

/// Sets a half at a byte.
template <class Block>
void put_half(Block& block, std::size_t byte, float value) {
  const cria::f16 half = cria::to_f16(value);
  REQUIRE(cria::to_float(half) == value);
  put_bits(block, std::array{bit_field{byte, 0, 8}, bit_field{byte + 1, 0, 8}}, half.bits);
}

template <class Block>
std::vector<float> values_of(const Block& block) {
  constexpr std::size_t n = cria::block_traits<Block>::block_size;
  std::vector<float> values(n, std::nanf(""));
  cria::block_traits<Block>::dequantize(block, std::span<float, n>(values.data(), n));
  return values;
}

template <class Block>
Block block_of(const std::vector<float>& values) {
  constexpr std::size_t n = cria::block_traits<Block>::block_size;
  REQUIRE(values.size() == n);
  return cria::block_traits<Block>::quantize(std::span<const float, n>(values.data(), n));
}

/// Sets one code after the other, in a block whose other codes are 0, to each of its values: the value is `value(i, code)` and no other
/// value moves.
template <class Block, class Fields, class Value>
void check_codes(Block block, unsigned n_codes, Fields fields, Value value) {
  constexpr std::size_t n = cria::block_traits<Block>::block_size;
  int failures = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (unsigned code = n_codes; code-- > 0;) {   // ends with the code back at 0
      put_bits(block, fields(i), code);
      const std::vector<float> values = values_of(block);
      for (std::size_t j = 0; j < n; ++j) {
        const double expected = value(j, i == j ? code : 0);
        const bool ok = static_cast<double>(values[j]) == expected;
        if (!ok && ++failures < 5) MESSAGE("code " << code << " at " << i << ": value " << j << " is " << values[j] << ", not " << expected);
      }
    }
  }
  CHECK(failures == 0);
}

/// Halves to try as scales: ordinary, subnormal, least, largest, negative.
inline constexpr std::array<float, 7> scales_to_try{1.0f, -0.25f, 0x1.554p-3f, 0x1.23p-9f, 0x1p-24f, 0x1.8p-16f, 65504.0f};

/// Blocks of values: bell-shaped, with outliers, one-sided, small enough for subnormal scales, and alternating.
inline std::vector<std::vector<float>> blocks_to_try(std::size_t block_size) {
  std::mt19937 random(5);
  const auto uniform = [&random] { return static_cast<float>(random()) * 0x1p-32f; };
  const auto bell = [&uniform] { return uniform() + uniform() + uniform() + uniform() - 2; };
  std::vector<std::vector<float>> blocks;
  for (int round = 0; round < 400; ++round) {
    std::vector<float> x(block_size);
    for (std::size_t i = 0; i < block_size; ++i) {
      const float v = bell();
      switch (round % 5) {
        case 0: x[i] = v; break;
        case 1: x[i] = v * v * v * 10; break;
        case 2: x[i] = std::fabs(v) + 0.1f; break;
        case 3: x[i] = v * 0x1p-13f; break;
        case 4: x[i] = i % 2 == 0 ? 1.0f + v * 0x1p-10f : -0.7f; break;
      }
    }
    blocks.push_back(x);
  }
  return blocks;
}

/// The most that a half differs from a float v that it was rounded from, |v| at most 65504.
inline double half_rounding(double v) { return std::fmax(std::fabs(v) * 0x1p-11, 0x1p-25); }

/// Checks that every value comes back within `bound(x)`, which is the same for the whole block.
template <class Block, class Bound>
void check_round_trip(Bound bound) {
  double worst = 0;
  for (const std::vector<float>& x : blocks_to_try(cria::block_traits<Block>::block_size)) {
    const std::vector<float> back = values_of(block_of<Block>(x));
    const double limit = bound(x) * (1 + 0x1p-20);   // the float arithmetic of the quantiser itself
    for (std::size_t i = 0; i < x.size(); ++i) worst = std::fmax(worst, std::fabs(static_cast<double>(back[i]) - x[i]) / limit);
  }
  CAPTURE(worst);
  CHECK(worst <= 1);
  CHECK(worst > 0.5);   // else the bound says little
}

inline double max_abs(const std::vector<float>& x) {
  double m = 0;
  for (const float v : x) m = std::fmax(m, std::fabs(v));
  return m;
}

/// Greatest minus least value.
inline double width_of(const std::vector<float>& x) {
  double low = x[0], high = x[0];
  for (const float v : x) low = std::fmin(low, v), high = std::fmax(high, v);
  return high - low;
}

}  // namespace cria_test
