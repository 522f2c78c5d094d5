// SPDX-License-Identifier: MIT
// gguf/tensor_info.hpp - what a GGUF file says of a tensor, and what it may ask for.
//
// Units     bytes, elements
// Lifetime  names view the bytes of their file
#pragma once

#include <cria/core/config.hpp>
#include <cria/quant/tensor_type.hpp>

#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace cria::inline v0_1_0::gguf {

/// What a file may ask for before it is refused with errc::limit_exceeded. The defaults hold every public model with room to spare.
struct limits {
  std::uint64_t metadata_bytes = std::uint64_t{256} << 20;   ///< everything before the tensor data; 4 GiB at most
  std::uint64_t keys = 65'536;
  std::uint64_t tensors = 1'048'576;                         ///< of all parts of a split file together
  std::uint64_t array_elements = 16'777'216;
  std::uint64_t string_bytes = std::uint64_t{64} << 20;
  std::uint64_t key_bytes = 65'535;
  std::uint64_t tensor_name_bytes = 64;
  std::uint64_t min_alignment = 8;
  std::uint64_t max_alignment = std::uint64_t{1} << 20;
};

/// One tensor of a file: what it is and where its bytes are.
struct tensor_info {
  std::string_view name;
  tensor_type type;                                      ///< defined in tensor_type.hpp; not every one can be computed with
  std::array<std::uint64_t, 4> shape = {1, 1, 1, 1};     ///< fastest dimension first, unused ones 1
  std::uint32_t rank = 0;                                ///< 1 to 4
  std::uint64_t elements = 0;
  std::uint64_t offset = 0;                              ///< bytes, from the start of its file
  std::uint64_t size_bytes = 0;
  std::uint32_t part = 0;                                ///< which file of a split
};

/// Returns N of a name "blk.N....", -1 of other names.
[[nodiscard]] inline std::int64_t layer_of(std::string_view name) noexcept {
  constexpr std::string_view prefix = "blk.";
  std::int64_t layer = -1;
  if (!name.starts_with(prefix)) return -1;
  const auto [end, failure] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
  return failure == std::errc{} ? layer : -1;
}

inline constexpr std::uint32_t default_alignment = 32;
inline constexpr std::string_view alignment_key = "general.alignment";

}  // namespace cria::inline v0_1_0::gguf
