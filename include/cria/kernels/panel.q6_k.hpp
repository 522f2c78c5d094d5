// SPDX-License-Identifier: MIT
// kernels/panel.q6_k.hpp - sixteen q6_k rows side by side.
//
//   byte  0                  32                    288                   3360
//         | 16 scales d, f16 | 16 scales each      | codes 0 | ... | codes 7 |
//   scales  byte 16 n + r is the scale of row r's values 16 n to 16 n + 15, int8
//   codes   code_plane<6> (codes.hpp) of a group, 384 bytes; last, so that a block is read in order: with d behind them one Zen 4 core
//           read 25 GB/s of it from memory instead of 31
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q6_k.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q6_k> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 63, zero = 32;
  static constexpr std::size_t subs = 2;
  static constexpr bool has_min = false;
  static constexpr std::size_t d = 0, scales = 32, qs = 288, group_bytes = code_plane<6>::bytes;

  static CRIA_ALWAYS_INLINE void pack(const q6_k (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const q6_k& b = rows[r];
      put(out + d, r, b.d);
      for (std::size_t n = 0; n < 16; ++n) put(out + scales + 16 * n, r, b.scales[n]);
      for (std::size_t g = 0; g < groups; ++g) {
        const group_codes low = group_codes::fields<4>(b.ql + low_at(g), 4 * (g / 2 % 2)), high = group_codes::fields<2>(b.qh + 32 * (g / 4), 2 * (g % 4));
        code_plane<6>::put(out + qs + group_bytes * g, r, low | high << 4);
      }
    }
  }
  static CRIA_ALWAYS_INLINE q6_k row(const std::byte* block, std::size_t r) noexcept {
    q6_k b{};
    b.d = get<f16>(block + d, r);
    for (std::size_t n = 0; n < 16; ++n) b.scales[n] = get<std::int8_t>(block + scales + 16 * n, r);
    for (std::size_t g = 0; g < groups; ++g) {
      const group_codes codes = code_plane<6>::get(block + qs + group_bytes * g, r);
      codes.to_fields<4>(b.ql + low_at(g), 4 * (g / 2 % 2));
      (codes >> 4).to_fields<2>(b.qh + 32 * (g / 4), 2 * (g % 4));
    }
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      return code_plane<6>::step<Isa, Step>(block + qs + group_bytes * g, r);
    }
    /// d times the sub-scale: 11 bits by 8, exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t g, std::size_t r, std::size_t sub) noexcept {
      return op::load_f16(block + d + 2 * r) * op::to_float(op::load_s8(block + scales + 32 * g + 16 * sub + r));
    }
  };

 private:
  /// Group g's low four bits are in 32 bytes of ql from here on, in the low nibbles for the first two groups of four, else in the high ones.
  static constexpr std::size_t low_at(std::size_t g) noexcept { return 64 * (g / 4) + 32 * (g % 2); }
};

}  // namespace cria::inline v0_1_0::kernels
