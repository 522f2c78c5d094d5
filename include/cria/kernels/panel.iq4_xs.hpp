// SPDX-License-Identifier: MIT
// kernels/panel.iq4_xs.hpp - sixteen iq4_xs rows side by side.
//
//   byte  0                  32                    96                    128                  2176
//         | 16 scales d, f16 | low bits of scales  | high bits of them   | codes 0 | ... | codes 7 |
//   low     byte 16 (g / 2) + r: low four bits of group g's scale + 32, high nibble for odd g
//   high    byte 16 (g / 4) + r: high two bits of group g's, from bit 2 (g % 4)
//   codes   code_plane<4> (codes.hpp) of a group, 256 bytes; an index becomes its level + 128 by a byte shuffle
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/iq4_xs.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<iq4_xs> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = iq4_codebook[15] + 128, zero = 128;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = false;
  static constexpr std::size_t d = 0, low = 32, high = 96, qs = 128;

  static CRIA_ALWAYS_INLINE void pack(const iq4_xs (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const iq4_xs& b = rows[r];
      put(out + d, r, b.d);
      put_bytes(out + low, r, b.scales_l);
      for (std::size_t n = 0; n < 2; ++n) put(out + high + 16 * n, r, static_cast<std::uint8_t>(b.scales_h >> 8 * n));
      for (std::size_t g = 0; g < groups; ++g) put_nibbles(out + qs + 256 * g, r, b.qs + 16 * g);
    }
  }
  static CRIA_ALWAYS_INLINE iq4_xs row(const std::byte* block, std::size_t r) noexcept {
    iq4_xs b{get<f16>(block + d, r), 0, {}, {}};
    get_bytes(block + low, r, b.scales_l);
    for (std::size_t n = 0; n < 2; ++n) b.scales_h = static_cast<std::uint16_t>(b.scales_h | get<std::uint8_t>(block + high + 16 * n, r) << 8 * n);
    for (std::size_t g = 0; g < groups; ++g) get_nibbles(block + qs + 256 * g, r, b.qs + 16 * g);
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    static constexpr code_table levels{iq4_codebook, zero};

    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      return op::lookup(levels.codes, code_plane<4>::step<Isa, Step>(block + qs + 256 * g, r));
    }
    /// d times six bits: exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t g, std::size_t r, std::size_t) noexcept {
      const auto bits = op::shr_by(op::load_u8(block + low + 16 * (g / 2) + r), static_cast<int>(4 * (g % 2))) & op::set_i(15);
      const auto top = op::shr_by(op::load_u8(block + high + 16 * (g / 4) + r), static_cast<int>(2 * (g % 4))) & op::set_i(3);
      return op::load_f16(block + d + 2 * r) * op::to_float((bits | op::template shl<4>(top)) - op::set_i(32));
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
