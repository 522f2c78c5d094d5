// SPDX-License-Identifier: MIT
// kernels/panel.q5_k.hpp - sixteen q5_k rows side by side.
//
//   byte  0                  32                  64                              256                  2816
//         | 16 scales d, f16 | 16 of dmin, f16   | 12 bytes of scales each        | codes 0 | ... | codes 7 |
//   scales  byte 16 n + r is byte n of row r (quant/k_scales.hpp)
//   codes   code_plane<5> (codes.hpp) of a group, 320 bytes; vectors of codes lie on cache lines
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q5_k.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q5_k> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 31, zero = 0;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = true;
  static constexpr std::size_t d = 0, dmin = 32, scales = 64, qs = 256, group_bytes = code_plane<5>::bytes;

  static CRIA_ALWAYS_INLINE void pack(const q5_k (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const q5_k& b = rows[r];
      put(out + d, r, b.d);
      put(out + dmin, r, b.dmin);
      put_bytes(out + scales, r, b.scales);
      for (std::size_t g = 0; g < groups; ++g) {
        const group_codes low = group_codes::fields<4>(b.qs + 32 * (g / 2), 4 * (g % 2)), high = group_codes::fields<1>(b.qh, g);
        code_plane<5>::put(out + qs + group_bytes * g, r, low | high << 4);
      }
    }
  }
  static CRIA_ALWAYS_INLINE q5_k row(const std::byte* block, std::size_t r) noexcept {
    q5_k b{get<f16>(block + d, r), get<f16>(block + dmin, r), {}, {}, {}};
    get_bytes(block + scales, r, b.scales);
    for (std::size_t g = 0; g < groups; ++g) {
      const group_codes codes = code_plane<5>::get(block + qs + group_bytes * g, r);
      codes.to_fields<4>(b.qs + 32 * (g / 2), 4 * (g % 2));
      (codes >> 4).to_fields<1>(b.qh, g);
    }
    return b;
  }

  template <class Isa>
  struct unpack : k_scales<Isa> {
    using op = isa::vec<Isa>;
    static CRIA_ALWAYS_INLINE void decode(const std::byte* block, std::byte* sc) noexcept { k_scales<Isa>::decode(block + scales, sc); }
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      return code_plane<5>::step<Isa, Step>(block + qs + group_bytes * g, r);
    }
    /// d times six bits: exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte* sc, std::size_t g, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + d + 2 * r) * op::to_float(op::load_s8(sc + 16 * g + r));
    }
    static CRIA_ALWAYS_INLINE typename op::f min(const std::byte* block, const std::byte* sc, std::size_t g, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + dmin + 2 * r) * op::to_float(op::load_s8(sc + k_scales<Isa>::mins + 16 * g + r));
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
