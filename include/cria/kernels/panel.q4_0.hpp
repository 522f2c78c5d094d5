// SPDX-License-Identifier: MIT
// kernels/panel.q4_0.hpp - sixteen q4_0 rows side by side.
//
//   byte  0                                  256                    288
//         | code_plane<4> (codes.hpp)        | 16 scales d, f16     |
//
// The nibbles' order is the file's own: low nibbles are values 0..15, high nibbles values 16..31.
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q4_0.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q4_0> {
  static constexpr std::size_t groups = 1;
  static constexpr int w_max = 15, zero = 8;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = false;

  static CRIA_ALWAYS_INLINE void pack(const q4_0 (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      put_nibbles(out, r, rows[r].qs);
      put(out + 256, r, rows[r].d);
    }
  }
  static CRIA_ALWAYS_INLINE q4_0 row(const std::byte* block, std::size_t r) noexcept {
    q4_0 b{get<f16>(block + 256, r), {}};
    get_nibbles(block, r, b.qs);
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t, std::size_t r) noexcept {
      return code_plane<4>::step<Isa, Step>(block, r);
    }
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + 256 + 2 * r);
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
