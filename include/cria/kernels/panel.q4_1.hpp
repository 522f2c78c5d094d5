// SPDX-License-Identifier: MIT
// kernels/panel.q4_1.hpp - sixteen q4_1 rows side by side.
//
//   byte  0                                  256                288              320
//         | code_plane<4> (codes.hpp)        | 16 scales d, f16 | 16 mins m, f16 |
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q4_1.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q4_1> {
  static constexpr std::size_t groups = 1;
  static constexpr int w_max = 15, zero = 0;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = true;

  static CRIA_ALWAYS_INLINE void pack(const q4_1 (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      put_nibbles(out, r, rows[r].qs);
      put(out + 256, r, rows[r].d);
      put(out + 288, r, rows[r].m);
    }
  }
  static CRIA_ALWAYS_INLINE q4_1 row(const std::byte* block, std::size_t r) noexcept {
    q4_1 b{get<f16>(block + 256, r), get<f16>(block + 288, r), {}};
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
    static CRIA_ALWAYS_INLINE typename op::f min(const std::byte* block, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + 288 + 2 * r);
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
