// SPDX-License-Identifier: MIT
// kernels/panel.tq2_0.hpp - sixteen tq2_0 rows side by side.
//
//   byte  0                  32                          1056
//         | 16 scales d, f16 | codes of group 0 | ... 7 |        code_plane<2> (codes.hpp), 128 bytes a group
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/tq2_0.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<tq2_0> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 3, zero = 1;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = false;
  static constexpr std::size_t d = 0, qs = 32, group_bytes = code_plane<2>::bytes;

  static CRIA_ALWAYS_INLINE void pack(const tq2_0 (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      put(out + d, r, rows[r].d);
      for (std::size_t g = 0; g < groups; ++g) {
        code_plane<2>::put(out + qs + group_bytes * g, r, group_codes::fields<2>(rows[r].qs + 32 * (g / 4), 2 * (g % 4)));
      }
    }
  }
  static CRIA_ALWAYS_INLINE tq2_0 row(const std::byte* block, std::size_t r) noexcept {
    tq2_0 b{{}, get<f16>(block + d, r)};
    for (std::size_t g = 0; g < groups; ++g) code_plane<2>::get(block + qs + group_bytes * g, r).to_fields<2>(b.qs + 32 * (g / 4), 2 * (g % 4));
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      return code_plane<2>::step<Isa, Step>(block + qs + group_bytes * g, r);
    }
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + d + 2 * r);
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
