// SPDX-License-Identifier: MIT
// quant/mxfp4.hpp - 32 values as 4-bit floats with a power-of-two scale: value = 2^(e - 128) codebook[q].
//
//   byte  0   1                                    17
//         | e | qs[0] | qs[1] | ...       | qs[15] |        17 bytes, 4.25 bits a value
//   qs[j]   low nibble: value j    high nibble: value j + 16
//   A code is sign, two bits of exponent, one of fraction (E2M1): 0 0.5 1 1.5 2 3 4 6 and their negatives; the codebook holds the
//   doubles of these, the scale is half of 2^(e - 127). e = 0 and 1 give the subnormal floats 2^-128 and 2^-127.
//
// Ensures   quantize tries the three exponents that can be best and keeps the one of least squared error: relative error at most 1/4
//           for normal codes, 2^(e-127) / 4 absolute below. Beyond the top code of the largest scale values are cut.
// Source    OCP Microscaling Formats (MX) v1.0, section 5.3 (E2M1) and 5.4 (E8M0); ggml's block_mxfp4 (July 2026)
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/quant/block.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct mxfp4 {
  std::uint8_t e;        ///< exponent of the scale, biased by 127
  std::uint8_t qs[16];   ///< codes, two a byte

  static constexpr tensor_type type = tensor_type::mxfp4;
  static constexpr std::size_t block_size = 32;
  static constexpr std::string_view name = "mxfp4";
  static constexpr std::int8_t codebook[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

  /// Returns 2^(e - 128).
  [[nodiscard]] static constexpr float scale(std::uint8_t e) noexcept {
    return bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23);
  }

  static void dequantize(const mxfp4& block, std::span<float, block_size> out) noexcept {
    const float d = scale(block.e);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = static_cast<float>(codebook[block.qs[j] & 15]) * d;
      out[j + 16] = static_cast<float>(codebook[block.qs[j] >> 4]) * d;
    }
  }

  [[nodiscard]] static mxfp4 quantize(std::span<const float, block_size> values) noexcept {
    // Scales 2^(e - 128) that put the largest value between 16 and 32, 8 and 16, or 4 and 8 on the codebook's axis, whose top is 12.
    const int exponent = static_cast<int>(bit_cast<std::uint32_t>(std::fabs(detail::largest_by_magnitude(values))) >> 23);
    const float unit =
        bit_cast<float>((254u - static_cast<std::uint32_t>(std::clamp(exponent, 1, 253))) << 23);  // 1 / 2^(exponent - 127): squares of errors stay in range
    std::uint8_t best = 0;
    float best_error = std::numeric_limits<float>::infinity();
    for (int e = exponent - 3; e < exponent; ++e) {
      const auto candidate = static_cast<std::uint8_t>(std::clamp(e, 2, 254));   // 1 / scale is finite and normal
      const float error = squared_error(values, scale(candidate), unit);
      if (error < best_error) {
        best_error = error;
        best = candidate;
      }
    }
    mxfp4 block{best, {}};
    const float inverse = 1 / scale(best);
    for (std::size_t j = 0; j < 16; ++j) block.qs[j] = static_cast<std::uint8_t>(index(values[j] * inverse) | index(values[j + 16] * inverse) << 4);
    return block;
  }

 private:
  static constexpr float borders[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};   // half-way between levels

  static CRIA_ALWAYS_INLINE int index(float v) noexcept {
    int q = 0;
    for (const float border : borders) q += std::fabs(v) > border ? 1 : 0;
    return q == 0 ? 0 : q | (v < 0 ? 8 : 0);   // no code for -0
  }

  static float squared_error(std::span<const float, block_size> values, float scale, float unit) noexcept {
    float errors[block_size];
    for (std::size_t j = 0; j < block_size; ++j) {
      const float magnitude = std::fabs(values[j]), v = magnitude * (1 / scale);
      float level = 0;
      for (std::size_t i = 0; i < 7; ++i) level += detail::select(v > borders[i], static_cast<float>(codebook[i + 1] - codebook[i]), 0.0f);
      const float error = (level * scale - magnitude) * unit;
      errors[j] = error * error;
    }
    return detail::sum_of(errors);
  }
};

static_assert(quant_block<mxfp4> && sizeof(mxfp4) == 17 && alignof(mxfp4) == 1 && offsetof(mxfp4, qs) == 1);

}  // namespace cria::inline v0_1_0
