// SPDX-License-Identifier: MIT
// kernels/panel.q5_1.hpp - sixteen q5_1 rows side by side.
//
//   byte  0                                  320                352              384
//         | code_plane<5> (codes.hpp)        | 16 scales d, f16 | 16 mins m, f16 |
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q5_1.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q5_1> {
  static constexpr std::size_t groups = 1;
  static constexpr int w_max = 31, zero = 0;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = true;
  static constexpr std::size_t d = code_plane<5>::bytes, m = d + 32;

  static CRIA_ALWAYS_INLINE void pack(const q5_1 (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      code_plane<5>::put(out, r, group_codes::nibbles(rows[r].qs) | group_codes::bits(rows[r].qh) << 4);
      put(out + d, r, rows[r].d);
      put(out + m, r, rows[r].m);
    }
  }
  static CRIA_ALWAYS_INLINE q5_1 row(const std::byte* block, std::size_t r) noexcept {
    q5_1 b{get<f16>(block + d, r), get<f16>(block + m, r), {}, {}};
    const group_codes codes = code_plane<5>::get(block, r);
    codes.to_nibbles(b.qs);
    (codes >> 4).to_bits(b.qh);
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t, std::size_t r) noexcept {
      return code_plane<5>::step<Isa, Step>(block, r);
    }
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + d + 2 * r);
    }
    static CRIA_ALWAYS_INLINE typename op::f min(const std::byte* block, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + m + 2 * r);
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
