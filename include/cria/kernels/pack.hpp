// SPDX-License-Identifier: MIT
// kernels/pack.hpp - rows of blocks as in the file -> panels of 16 rows, and the blocks of a row back.
//
// Ensures   lossless: blocks(pack(rows), r) are row r's blocks, but for bits that no value depends on; rows that do not exist are zero blocks; bytes in = bytes out but for them
// Errors    none (noexcept)
// Threads   writes the panels of its arguments only
#pragma once

#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/panel.hpp>

#include <cstring>

namespace cria::inline v0::kernels {

template <class Format, class Isa>
struct pack {
  static constexpr std::size_t block_size = block_traits<Format>::block_size;

  static void run(const pack_args& a) noexcept {
    const std::size_t n_blocks = a.k / block_size, row_bytes = n_blocks * sizeof(Format);
    std::byte* out = a.panels;
    for (std::size_t p = 0; p < a.n_panels; ++p) {
      const std::size_t first = p * panel_rows;
      const std::size_t valid = first >= a.n_rows ? 0 : a.n_rows - first < panel_rows ? a.n_rows - first : panel_rows;
      for (std::size_t b = 0; b < n_blocks; ++b, out += panel_rows * sizeof(Format)) {
        Format rows[panel_rows] = {};
        for (std::size_t r = 0; r < valid; ++r) std::memcpy(&rows[r], a.rows + (first + r) * row_bytes + b * sizeof(Format), sizeof(Format));
        panel<Format>::pack(rows, out);
      }
    }
  }

  static void blocks(const std::byte* panels, std::size_t k, std::size_t row, std::size_t begin, std::size_t end, std::byte* out) noexcept {
    const std::byte* block = panels + (row / panel_rows * (k / block_size) + begin) * panel_rows * sizeof(Format);
    for (std::size_t b = begin; b < end; ++b, block += panel_rows * sizeof(Format), out += sizeof(Format)) {
      const Format one = panel<Format>::row(block, row % panel_rows);
      std::memcpy(out, &one, sizeof(Format));
    }
  }
};

}  // namespace cria::inline v0::kernels
