// SPDX-License-Identifier: MIT
// quant/tensor_type.hpp - the block formats' ids in GGUF files, with the size of a block of each.
//
// Units   block_size in elements, block_bytes in bytes
// Source  ggml's enum ggml_type and block structures (July 2026); the numbers are the file format
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cria::inline v0_1_0 {

enum class tensor_type : std::uint32_t {
  f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q5_0 = 6, q5_1 = 7, q8_0 = 8, q8_1 = 9,
  q2_k = 10, q3_k = 11, q4_k = 12, q5_k = 13, q6_k = 14, q8_k = 15,
  iq2_xxs = 16, iq2_xs = 17, iq3_xxs = 18, iq1_s = 19, iq4_nl = 20, iq3_s = 21, iq2_s = 22, iq4_xs = 23,
  i8 = 24, i16 = 25, i32 = 26, i64 = 27, f64 = 28, iq1_m = 29, bf16 = 30, tq1_0 = 34, tq2_0 = 35, mxfp4 = 39, nvfp4 = 40,
};

/// What a type is called and how large its blocks are.
struct tensor_type_info {
  tensor_type type;
  std::string_view name;     ///< as llama.cpp prints it
  std::size_t block_size;    ///< elements in a block
  std::size_t block_bytes;
};

inline constexpr tensor_type_info tensor_types[] = {
    {tensor_type::f32, "F32", 1, 4},         {tensor_type::f16, "F16", 1, 2},         {tensor_type::q4_0, "Q4_0", 32, 18},
    {tensor_type::q4_1, "Q4_1", 32, 20},     {tensor_type::q5_0, "Q5_0", 32, 22},     {tensor_type::q5_1, "Q5_1", 32, 24},
    {tensor_type::q8_0, "Q8_0", 32, 34},     {tensor_type::q8_1, "Q8_1", 32, 36},     {tensor_type::q2_k, "Q2_K", 256, 84},
    {tensor_type::q3_k, "Q3_K", 256, 110},   {tensor_type::q4_k, "Q4_K", 256, 144},   {tensor_type::q5_k, "Q5_K", 256, 176},
    {tensor_type::q6_k, "Q6_K", 256, 210},   {tensor_type::q8_k, "Q8_K", 256, 292},   {tensor_type::iq2_xxs, "IQ2_XXS", 256, 66},
    {tensor_type::iq2_xs, "IQ2_XS", 256, 74}, {tensor_type::iq3_xxs, "IQ3_XXS", 256, 98}, {tensor_type::iq1_s, "IQ1_S", 256, 50},
    {tensor_type::iq4_nl, "IQ4_NL", 32, 18}, {tensor_type::iq3_s, "IQ3_S", 256, 110}, {tensor_type::iq2_s, "IQ2_S", 256, 82},
    {tensor_type::iq4_xs, "IQ4_XS", 256, 136}, {tensor_type::i8, "I8", 1, 1},         {tensor_type::i16, "I16", 1, 2},
    {tensor_type::i32, "I32", 1, 4},         {tensor_type::i64, "I64", 1, 8},         {tensor_type::f64, "F64", 1, 8},
    {tensor_type::iq1_m, "IQ1_M", 256, 56},  {tensor_type::bf16, "BF16", 1, 2},       {tensor_type::tq1_0, "TQ1_0", 256, 54},
    {tensor_type::tq2_0, "TQ2_0", 256, 66},  {tensor_type::mxfp4, "MXFP4", 32, 17},   {tensor_type::nvfp4, "NVFP4", 64, 36},
};

/// Returns the row of `type`, or nullptr for an id that GGUF does not define.
[[nodiscard]] constexpr const tensor_type_info* find_tensor_type(tensor_type type) noexcept {
  for (const tensor_type_info& info : tensor_types) {
    if (info.type == type) return &info;
  }
  return nullptr;
}

/// Returns the row named `name` (upper case, as in tensor_type_info), or nullptr.
[[nodiscard]] constexpr const tensor_type_info* find_tensor_type(std::string_view name) noexcept {
  for (const tensor_type_info& info : tensor_types) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

/// Returns the type's name, "type ?" for an id that GGUF does not define.
[[nodiscard]] constexpr std::string_view name(tensor_type type) noexcept {
  const tensor_type_info* info = find_tensor_type(type);
  return info == nullptr ? std::string_view{"type ?"} : info->name;
}

}  // namespace cria::inline v0_1_0
