// SPDX-License-Identifier: MIT
// nn/weight.hpp - a packed matrix: W[N,K] of any block format in panels of 16 rows, with an optional bias.
//
// Shapes    N rows (outputs), K columns, both >= 1; memory as in kernels/panel.hpp
// Ensures   immutable once loaded; row(n) gives row n's dequantised values
// Threads   shared freely
// Lifetime  Panels and bias lie in memory that somebody else owns: all weights of a model in one piece. Only whole stretches of 2 MiB get huge pages, so if
//           each had memory of its own, its last part, or all of a small one, would lie in small pages: one thread decoded 0.95 (TinyLlama Q4_0), 0.92 (Q8_0),
//           and 0.83 (SmolLM2-135M) of the tokens.
#pragma once

#include <cria/kernels/layout.hpp>
#include <cria/kernels/pack.hpp>

#include <cstddef>
#include <span>

namespace cria::inline v0_1_0::nn {

struct weight {
  tensor_type type = tensor_type::f32;
  std::size_t format = 0;            ///< format_index of type
  std::size_t rows = 0;              ///< N
  std::size_t columns = 0;           ///< K
  std::span<const std::byte> panels;
  std::span<const float> bias;       ///< [N], or empty; zeros follow up to a multiple of panel_rows

  [[nodiscard]] std::size_t n_panels() const noexcept { return (rows + kernels::panel_rows - 1) / kernels::panel_rows; }
  [[nodiscard]] std::size_t packed_bytes() const noexcept { return n_panels() * kernels::panel_rows * row_bytes(type, columns); }
  [[nodiscard]] bool is_quantised() const noexcept { return find_tensor_type(type)->block_size > 1; }
  [[nodiscard]] bool empty() const noexcept { return rows == 0; }
  [[nodiscard]] std::size_t bytes() const noexcept { return panels.size() + bias.size() * sizeof(float); }

  /// Writes row `n`, `columns` values. Requires n < rows.
  void row(std::size_t n, std::span<float> out) const noexcept {
    CRIA_ASSERT(n < rows && out.size() >= columns);
    kernels::packed_row(type, panels.data(), columns, n, out);
  }
};

}  // namespace cria::inline v0_1_0::nn
