// SPDX-License-Identifier: MIT
// kernels/panel.q3_k.hpp - sixteen q3_k rows side by side.
//
//   byte  0                  32                              224                   1760
//         | 16 scales d, f16 | 12 bytes of scales each       | codes 0 | ... | codes 7 |
//   scales  byte 16 n + r is byte n of row r (quant/q3_k.hpp)
//   codes   code_plane<3> (codes.hpp) of a group, 192 bytes
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q3_k.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q3_k> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 7, zero = 4;
  static constexpr std::size_t subs = 2;
  static constexpr bool has_min = false;
  static constexpr std::size_t d = 0, scales = 32, qs = 224, group_bytes = code_plane<3>::bytes;

  static CRIA_ALWAYS_INLINE void pack(const q3_k (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const q3_k& b = rows[r];
      put(out + d, r, b.d);
      put_bytes(out + scales, r, b.scales);
      for (std::size_t g = 0; g < groups; ++g) {
        const group_codes low = group_codes::fields<2>(b.qs + 32 * (g / 4), 2 * (g % 4)), high = group_codes::fields<1>(b.hmask, g);
        code_plane<3>::put(out + qs + group_bytes * g, r, low | high << 2);
      }
    }
  }
  static CRIA_ALWAYS_INLINE q3_k row(const std::byte* block, std::size_t r) noexcept {
    q3_k b{{}, {}, {}, get<f16>(block + d, r)};
    get_bytes(block + scales, r, b.scales);
    for (std::size_t g = 0; g < groups; ++g) {
      const group_codes codes = code_plane<3>::get(block + qs + group_bytes * g, r);
      codes.to_fields<2>(b.qs + 32 * (g / 4), 2 * (g % 4));
      (codes >> 2).to_fields<1>(b.hmask, g);
    }
    return b;
  }

  template <class Isa>
  struct unpack {
    using op = isa::vec<Isa>;
    static constexpr std::size_t decoded_bytes = 256;

    /// Scale n = 4 m + j: its low bits are in byte 4 (m % 2) + j, its high bits in byte 8 + j. Decoded: 16 rows' int8 scales, n after n.
    static CRIA_ALWAYS_INLINE void decode(const std::byte* block, std::byte* sc) noexcept {
      using b = scale_bytes<Isa>;
      b::each([&](std::size_t n) CRIA_LAMBDA_INLINE {
        const auto even = op::load_i(block + scales + n), odd = op::load_i(block + scales + 64 + n), high = op::load_i(block + scales + 128 + n);
        op::store_i(sc + n, b::template minus<32>(b::template bits<0, 4>(even) | b::template bits<0, 2, 4>(high)));
        op::store_i(sc + 64 + n, b::template minus<32>(b::template bits<0, 4>(odd) | b::template bits<2, 2, 4>(high)));
        op::store_i(sc + 128 + n, b::template minus<32>(b::template bits<4, 4>(even) | b::template bits<4, 2, 4>(high)));
        op::store_i(sc + 192 + n, b::template minus<32>(b::template bits<4, 4>(odd) | b::template bits<6, 2, 4>(high)));
      });
    }
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      return code_plane<3>::step<Isa, Step>(block + qs + group_bytes * g, r);
    }
    /// d times six bits: exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte* sc, std::size_t g, std::size_t r, std::size_t sub) noexcept {
      return op::load_f16(block + d + 2 * r) * op::to_float(op::load_s8(sc + 32 * g + 16 * sub + r));
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
