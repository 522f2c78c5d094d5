// SPDX-License-Identifier: MIT
// kernels/panel.q2_k.hpp - sixteen q2_k rows side by side.
//
//   byte  0                  32                    64                                320                  1344
//         | 16 scales d, f16 | 16 of dmin, f16     | scales of group 0 | ... of 7    | codes of 0 | ... of 7 |
//   scales of a group: 16 bytes for values 0..15, then 16 for values 16..31; scale | min << 4
//   codes of a group:  code_plane<2> (codes.hpp), 128 bytes
//   The scales stand before the codes so that vectors of codes lie on cache lines and a block is read in order. Decoding them once a block: no gain.
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q2_k.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q2_k> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 3, zero = 0;
  static constexpr std::size_t subs = 2;
  static constexpr bool has_min = true;
  static constexpr std::size_t d = 0, dmin = 32, scales = 64, qs = 320, group_bytes = code_plane<2>::bytes;

  static CRIA_ALWAYS_INLINE void pack(const q2_k (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const q2_k& b = rows[r];
      put_bytes(out + scales, r, b.scales);
      for (std::size_t g = 0; g < groups; ++g) {
        code_plane<2>::put(out + qs + group_bytes * g, r, group_codes::fields<2>(b.qs + 32 * (g / 4), 2 * (g % 4)));
      }
      put(out + d, r, b.d);
      put(out + dmin, r, b.dmin);
    }
  }
  static CRIA_ALWAYS_INLINE q2_k row(const std::byte* block, std::size_t r) noexcept {
    q2_k b{{}, {}, get<f16>(block + d, r), get<f16>(block + dmin, r)};
    get_bytes(block + scales, r, b.scales);
    for (std::size_t g = 0; g < groups; ++g) {
      code_plane<2>::get(block + qs + group_bytes * g, r).to_fields<2>(b.qs + 32 * (g / 4), 2 * (g % 4));
    }
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      return code_plane<2>::step<Isa, Step>(block + qs + group_bytes * g, r);
    }
    /// d times four bits: exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t g, std::size_t r, std::size_t sub) noexcept {
      return op::load_f16(block + d + 2 * r) * op::to_float(op::load_u8(block + scales + 32 * g + 16 * sub + r) & op::set_i(15));
    }
    static CRIA_ALWAYS_INLINE typename op::f min(const std::byte* block, const std::byte*, std::size_t g, std::size_t r, std::size_t sub) noexcept {
      const auto code = op::template shr<4>(op::load_u8(block + scales + 32 * g + 16 * sub + r));
      return (op::set(0) - op::load_f16(block + dmin + 2 * r)) * op::to_float(code);
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
