// SPDX-License-Identifier: MIT
// kernels/packed_row.hpp - the values of one row of a packed tensor.
//
// Ensures   the values that dequantising the file's row gives, bit for bit; nothing is allocated
// Errors    none (noexcept)
// Threads   re-entrant
#pragma once

#include <cria/kernels/kernel_table.hpp>
#include <cria/quant/format.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace cria::inline v0::kernels {

/// Writes the k values of row `row`. Requires a type with a format, out.size() >= k.
inline void packed_row(const kernel_table& table, tensor_type type, const std::byte* panels, std::size_t k, std::size_t row, std::span<float> out) noexcept {
  const tensor_type_info& info = *find_tensor_type(type);
  std::array<std::byte, 4096> blocks;
  const std::size_t n_blocks = k / info.block_size, step = blocks.size() / info.block_bytes;
  for (std::size_t begin = 0; begin < n_blocks; begin += step) {
    const std::size_t end = std::min(n_blocks, begin + step);
    table.blocks[*format_index_of(type)](panels, k, row, begin, end, blocks.data());
    static_cast<void>(dequantize_row(type, blocks.data(), out.subspan(begin * info.block_size, (end - begin) * info.block_size)));
  }
}

}  // namespace cria::inline v0::kernels
