// SPDX-License-Identifier: MIT
// quant/format.hpp - the list of block formats that cria computes with, and from a type id to a format.
//
// Everything that exists once per format (kernels, tests, benchmarks, dispatch) follows from all_formats; a new format is its header
// and one line here.
//
// Units     n in elements, row_bytes in bytes
// Errors    none (noexcept); a type without a format gives an empty optional or false
// Threads   pure functions
#pragma once

#include <cria/quant/float.hpp>
#include <cria/quant/iq1_m.hpp>
#include <cria/quant/iq1_s.hpp>
#include <cria/quant/iq2_s.hpp>
#include <cria/quant/iq2_xs.hpp>
#include <cria/quant/iq2_xxs.hpp>
#include <cria/quant/iq3_s.hpp>
#include <cria/quant/iq3_xxs.hpp>
#include <cria/quant/iq4_nl.hpp>
#include <cria/quant/iq4_xs.hpp>
#include <cria/quant/mxfp4.hpp>
#include <cria/quant/q2_k.hpp>
#include <cria/quant/q3_k.hpp>
#include <cria/quant/q4_0.hpp>
#include <cria/quant/q4_1.hpp>
#include <cria/quant/q4_k.hpp>
#include <cria/quant/q5_0.hpp>
#include <cria/quant/q5_1.hpp>
#include <cria/quant/q5_k.hpp>
#include <cria/quant/q6_k.hpp>
#include <cria/quant/q8_0.hpp>
#include <cria/quant/tq1_0.hpp>
#include <cria/quant/tq2_0.hpp>

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace cria::inline v0_1_0 {

/// A list of types, such as the formats that something is done for.
template <class... Types>
struct type_list {
  static constexpr std::size_t size = sizeof...(Types);
};

using all_formats = type_list<f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s,
                              iq4_nl, iq4_xs, tq1_0, tq2_0, mxfp4>;

inline constexpr std::size_t n_formats = all_formats::size;

namespace detail {

template <class Block, class... Blocks>
constexpr std::size_t index_in(type_list<Blocks...>) noexcept {
  std::size_t index = 0;
  static_cast<void>(((std::is_same_v<Block, Blocks> || (++index, false)) || ...));
  return index;
}

/// Calls f(index, std::type_identity<Block>) for each format until one call returns true; returns whether one did.
template <class F, class... Blocks>
constexpr bool any_format(type_list<Blocks...>, F&& f) {
  std::size_t index = 0;
  return (f(index++, std::type_identity<Blocks>{}) || ...);
}

}  // namespace detail

/// The position of Block in all_formats.
template <quant_block Block>
  requires(detail::index_in<Block>(all_formats{}) < n_formats)
inline constexpr std::size_t format_index = detail::index_in<Block>(all_formats{});

/// Returns the position in all_formats of the format for `type`, nothing when cria does not compute with it.
[[nodiscard]] constexpr std::optional<std::size_t> format_index_of(tensor_type type) noexcept {
  std::optional<std::size_t> found;
  detail::any_format(all_formats{}, [&]<class Block>(std::size_t index, std::type_identity<Block>) {
    if (block_traits<Block>::type == type) found = index;
    return found.has_value();
  });
  return found;
}

/// Returns whether cria makes blocks of `type` from values.
[[nodiscard]] constexpr bool is_writable(tensor_type type) noexcept {
  bool found = false;
  detail::any_format(all_formats{}, [&]<class Block>(std::size_t, std::type_identity<Block>) {
    found = block_traits<Block>::type == type && writable_block<Block>;
    return found;
  });
  return found;
}

/// Calls `f(std::type_identity<Block>{})` for the format of `type`. Returns whether there is one; with an `f` that returns a value, an
/// optional with that value.
template <class F>
constexpr auto visit_format(tensor_type type, F&& f) {
  using value_type = std::invoke_result_t<F&, std::type_identity<f32>>;
  if constexpr (std::is_void_v<value_type>) {
    return detail::any_format(all_formats{}, [&]<class Block>(std::size_t, std::type_identity<Block> block) {
      if (block_traits<Block>::type != type) return false;
      f(block);
      return true;
    });
  } else {
    std::optional<value_type> value;
    detail::any_format(all_formats{}, [&]<class Block>(std::size_t, std::type_identity<Block> block) {
      if (block_traits<Block>::type != type) return false;
      value.emplace(f(block));
      return true;
    });
    return value;
  }
}

/// Returns the bytes of a row of `n` elements; 0 for an id that GGUF does not define. Requires n a multiple of the type's block size.
[[nodiscard]] constexpr std::size_t row_bytes(tensor_type type, std::size_t n) noexcept {
  const tensor_type_info* info = find_tensor_type(type);
  if (info == nullptr) return 0;
  CRIA_ASSERT(n % info->block_size == 0);
  return n / info->block_size * info->block_bytes;
}

/// Writes the values of the row's blocks at `row`, which needs no alignment. Requires values.size() a multiple of the block size.
template <quant_block Block>
void dequantize_row(const std::byte* row, std::span<float> values) noexcept {
  constexpr std::size_t block_size = block_traits<Block>::block_size;
  CRIA_ASSERT(values.size() % block_size == 0);
  for (std::size_t i = 0; i + block_size <= values.size(); i += block_size, row += sizeof(Block)) {
    Block block;
    std::memcpy(&block, row, sizeof(Block));
    block_traits<Block>::dequantize(block, std::span<float, block_size>(values.data() + i, block_size));
  }
}

/// Writes the blocks of `values` to `row`, which needs no alignment. Requires values.size() a multiple of the block size.
template <writable_block Block>
void quantize_row(std::span<const float> values, std::byte* row) noexcept {
  constexpr std::size_t block_size = block_traits<Block>::block_size;
  CRIA_ASSERT(values.size() % block_size == 0);
  for (std::size_t i = 0; i + block_size <= values.size(); i += block_size, row += sizeof(Block)) {
    const Block block = block_traits<Block>::quantize(std::span<const float, block_size>(values.data() + i, block_size));
    std::memcpy(row, &block, sizeof(Block));
  }
}

/// As dequantize_row<Block> for the format of `type`; returns false and does nothing when there is none.
[[nodiscard]] inline bool dequantize_row(tensor_type type, const std::byte* row, std::span<float> values) noexcept {
  return visit_format(type, [&]<class Block>(std::type_identity<Block>) { dequantize_row<Block>(row, values); });
}

/// As quantize_row<Block> for the format of `type`; returns false and does nothing when there is none or it is only read.
[[nodiscard]] inline bool quantize_row(tensor_type type, std::span<const float> values, std::byte* row) noexcept {
  bool is_written = false;
  visit_format(type, [&]<class Block>(std::type_identity<Block>) {
    if constexpr (writable_block<Block>) {
      quantize_row<Block>(values, row);
      is_written = true;
    }
  });
  return is_written;
}

}  // namespace cria::inline v0_1_0
