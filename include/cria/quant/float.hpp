// SPDX-License-Identifier: MIT
// quant/float.hpp - f32, f16 and bf16 as block formats: blocks of one number.
//
//   f32  | 4 bytes, IEEE binary32 |      f16  | 2 bytes, IEEE binary16 |      bf16  | 2 bytes, upper half of a binary32 |
//
// Ensures   dequantize is exact; quantize rounds to nearest even, relative error at most 0 (f32), 2^-11 (f16 from 2^-14 to 65504), 2^-8 (bf16).
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>

#include <cstddef>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

/// A weight in float32, which is a block of one value.
struct f32 {
  float value = 0;

  static constexpr tensor_type type = tensor_type::f32;
  static constexpr std::size_t block_size = 1;
  static constexpr std::string_view name = "f32";

  static void dequantize(const f32& block, std::span<float, 1> out) noexcept { out[0] = block.value; }
  [[nodiscard]] static f32 quantize(std::span<const float, 1> values) noexcept { return {values[0]}; }
};

template <>
struct block_traits<f16> {
  static constexpr tensor_type type = tensor_type::f16;
  static constexpr std::size_t block_size = 1;
  static constexpr std::string_view name = "f16";

  static void dequantize(const f16& block, std::span<float, 1> out) noexcept { out[0] = to_float(block); }
  [[nodiscard]] static f16 quantize(std::span<const float, 1> values) noexcept { return to_f16(values[0]); }
};

template <>
struct block_traits<bf16> {
  static constexpr tensor_type type = tensor_type::bf16;
  static constexpr std::size_t block_size = 1;
  static constexpr std::string_view name = "bf16";

  static void dequantize(const bf16& block, std::span<float, 1> out) noexcept { out[0] = to_float(block); }
  [[nodiscard]] static bf16 quantize(std::span<const float, 1> values) noexcept { return to_bf16(values[0]); }
};

static_assert(quant_block<f32> && quant_block<f16> && quant_block<bf16>);

}  // namespace cria::inline v0_1_0
