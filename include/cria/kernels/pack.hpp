// SPDX-License-Identifier: MIT
// kernels/pack.hpp - packs rows of blocks as they are in the file into panels of 16 rows, and returns a row's blocks or values. The same for every set.
//
// Ensures   Lossless: packed_blocks(pack(rows), r) are row r's blocks. The size is that in the file, plus zero blocks for rows that do not exist. Nothing is
//           allocated.
// Requires  formats as numbers: format_index (quant/format.hpp); k a multiple of the format's block
// Errors    none (noexcept)
// Threads   re-entrant; pack writes only the panels of its arguments
#pragma once

#include <cria/quant/format.hpp>

#include <cstddef>
#include <span>

#if CRIA_HAS_DEFINITIONS
#include <cria/kernels/panels.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#endif

namespace cria::inline v0_1_0::kernels {

struct pack_args {
  const std::byte* rows;  ///< rows as in the file, one after another; the first one is the first of a panel
  std::size_t n_rows;     ///< how many rows exist; the rest of the panels becomes zero blocks
  std::size_t k;          ///< values in a row
  std::size_t n_panels;
  std::byte* panels;      ///< where the first panel goes
};

/// Packs rows of a format.
void pack(std::size_t format, const pack_args& a) noexcept;

/// Writes blocks [begin, end) of row `row` of a packed tensor with `k` values a row, as they were in the file.
void packed_blocks(std::size_t format, const std::byte* panels, std::size_t k, std::size_t row, std::size_t begin, std::size_t end,
                   std::byte* out) noexcept;

/// Writes the k values of row `row` of a packed tensor: bit for bit those that dequantising the row of the file gives.
void packed_row(tensor_type type, const std::byte* panels, std::size_t k, std::size_t row, std::span<float> out) noexcept;

#if CRIA_HAS_DEFINITIONS

namespace detail {

template <class Format>
void pack_rows(const pack_args& a) noexcept {
  const std::size_t n_blocks = a.k / block_traits<Format>::block_size, row_bytes = n_blocks * sizeof(Format);
  std::byte* out = a.panels;
  for (std::size_t p = 0; p < a.n_panels; ++p) {
    const std::size_t first = p * panel_rows;
    const std::size_t valid = first >= a.n_rows ? 0 : std::min(a.n_rows - first, panel_rows);
    for (std::size_t b = 0; b < n_blocks; ++b, out += panel_rows * sizeof(Format)) {
      Format rows[panel_rows] = {};
      for (std::size_t r = 0; r < valid; ++r) std::memcpy(&rows[r], a.rows + (first + r) * row_bytes + b * sizeof(Format), sizeof(Format));
      panel<Format>::pack(rows, out);
    }
  }
}

template <class Format>
void copy_blocks(const std::byte* panels, std::size_t k, std::size_t row, std::size_t begin, std::size_t end, std::byte* out) noexcept {
  const std::byte* block = panels + (row / panel_rows * (k / block_traits<Format>::block_size) + begin) * panel_rows * sizeof(Format);
  for (std::size_t b = begin; b < end; ++b, block += panel_rows * sizeof(Format), out += sizeof(Format)) {
    const Format one = panel<Format>::row(block, row % panel_rows);
    std::memcpy(out, &one, sizeof(Format));
  }
}

/// Calls fn(std::type_identity<Format>{}) for the format of that index.
template <class F>
void with_format(std::size_t format, F&& fn) noexcept {
  cria::detail::any_format(all_formats{}, [&]<class Format>(std::size_t index, std::type_identity<Format> which) {
    if (index == format) fn(which);
    return index == format;
  });
}

}  // namespace detail

CRIA_INLINE void pack(std::size_t format, const pack_args& a) noexcept {
  detail::with_format(format, [&]<class Format>(std::type_identity<Format>) { detail::pack_rows<Format>(a); });
}

CRIA_INLINE void packed_blocks(std::size_t format, const std::byte* panels, std::size_t k, std::size_t row, std::size_t begin, std::size_t end,
                               std::byte* out) noexcept {
  detail::with_format(format, [&]<class Format>(std::type_identity<Format>) { detail::copy_blocks<Format>(panels, k, row, begin, end, out); });
}

CRIA_INLINE void packed_row(tensor_type type, const std::byte* panels, std::size_t k, std::size_t row, std::span<float> out) noexcept {
  const tensor_type_info& info = *find_tensor_type(type);
  std::array<std::byte, 4096> blocks;
  const std::size_t n_blocks = k / info.block_size, step = blocks.size() / info.block_bytes;
  for (std::size_t begin = 0; begin < n_blocks; begin += step) {
    const std::size_t end = std::min(n_blocks, begin + step);
    packed_blocks(*format_index_of(type), panels, k, row, begin, end, blocks.data());
    static_cast<void>(dequantize_row(type, blocks.data(), out.subspan(begin * info.block_size, (end - begin) * info.block_size)));
  }
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::kernels
