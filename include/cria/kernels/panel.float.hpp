// SPDX-License-Identifier: MIT
// kernels/panel.float.hpp - sixteen rows of f32, f16 or bf16 side by side: for each k, 16 numbers.
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/float.hpp>

namespace cria::inline v0_1_0::kernels {

template <class Format>
struct float_panel {
  static constexpr std::size_t groups = 0;  ///< not in groups: K may be any number

  static CRIA_ALWAYS_INLINE void pack(const Format (&rows)[panel_rows], std::byte* out) noexcept { std::memcpy(out, rows, sizeof rows); }
  static CRIA_ALWAYS_INLINE Format row(const std::byte* block, std::size_t r) noexcept { return get<Format>(block, r); }
};

template <>
struct panel<f32> : float_panel<f32> {
  template <class Isa>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::f load(const std::byte* block, std::size_t r) noexcept {
    using op = isa::vec<Isa>;
    return op::as_float(op::load_i(block + 4 * r));
  }
};

template <>
struct panel<f16> : float_panel<f16> {
  template <class Isa>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::f load(const std::byte* block, std::size_t r) noexcept {
    return isa::vec<Isa>::load_f16(block + 2 * r);
  }
};

template <>
struct panel<bf16> : float_panel<bf16> {
  template <class Isa>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::f load(const std::byte* block, std::size_t r) noexcept {
    return isa::vec<Isa>::load_bf16(block + 2 * r);
  }
};

}  // namespace cria::inline v0_1_0::kernels
