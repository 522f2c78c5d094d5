// SPDX-License-Identifier: MIT
// kernels/panel.q3_k.hpp - sixteen q3_k rows side by side.
//
//   byte  0                  32                              224                   1760
//         | 16 scales d, f16 | 12 bytes of scales each       | codes 0 | ... | codes 7 |
//   scales  byte 16 n + r is byte n of row r (quant/q3_k.hpp)
//   codes   two-bit plane (panel.hpp), 128 bytes, and one-bit plane with bit 2, 64 bytes, of a group
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q3_k.hpp>

namespace cria::inline v0::kernels {

template <>
struct panel<q3_k> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 7, zero = 4;
  static constexpr std::size_t subs = 2;
  static constexpr bool has_min = false;
  static constexpr std::size_t d = 0, scales = 32, qs = 224, group_bytes = 192, high = 128;

  static CRIA_ALWAYS_INLINE void pack(const q3_k (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const q3_k& b = rows[r];
      put(out + d, r, b.d);
      put_bytes(out + scales, r, b.scales);
      for (std::size_t half = 0; half < 2; ++half) {
        code_planes::put_four_groups(out + qs + 4 * half * group_bytes, group_bytes, r, b.qs + 32 * half);
      }
      code_planes::put_eight_groups(out + qs + high, group_bytes, r, b.hmask);
    }
  }
  static CRIA_ALWAYS_INLINE q3_k row(const std::byte* block, std::size_t r) noexcept {
    q3_k b{{}, {}, {}, get<f16>(block + d, r)};
    get_bytes(block + scales, r, b.scales);
    for (std::size_t half = 0; half < 2; ++half) {
      code_planes::get_four_groups(block + qs + 4 * half * group_bytes, group_bytes, r, b.qs + 32 * half);
    }
    code_planes::get_eight_groups(block + qs + high, group_bytes, r, b.hmask);
    return b;
  }

  template <class Isa>
  struct unpack {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      const std::byte* group = block + qs + group_bytes * g;
      return code_planes::two_bits<Isa, Step, 0>(group, r) | code_planes::one_bit<Isa, Step, 2>(group + high, r);
    }
    /// d times six bits: exact. The scale of sub-block n = 2 g + sub is in bytes n % 8 and 8 + n % 4.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, std::size_t g, std::size_t r, std::size_t sub) noexcept {
      const auto low_bits = op::load_u8(block + scales + 16 * (2 * (g % 4) + sub) + r);
      const auto high_bits = op::load_u8(block + scales + 16 * (8 + 2 * (g % 2) + sub) + r);
      const auto bits = op::shr_by(low_bits, static_cast<int>(4 * (g / 4))) & op::set_i(15);
      const auto top = op::shr_by(high_bits, static_cast<int>(2 * (g / 2))) & op::set_i(3);
      return op::load_f16(block + d + 2 * r) * op::to_float((bits | op::template shl<4>(top)) - op::set_i(32));
    }
  };
};

}  // namespace cria::inline v0::kernels
