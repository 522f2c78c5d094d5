// SPDX-License-Identifier: MIT
// kernels/panel.q5_k.hpp - sixteen q5_k rows side by side.
//
//   byte  0                  32                  64                              256                  2816
//         | 16 scales d, f16 | 16 of dmin, f16   | 12 bytes of scales each        | codes 0 | ... | codes 7 |
//   scales  byte 16 n + r is byte n of row r (quant/k_scales.hpp)
//   codes   four-bit plane (panel.hpp), 256 bytes, and one-bit plane with bit 4, 64 bytes, of a group; vectors of codes lie on cache lines
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q5_k.hpp>

namespace cria::inline v0::kernels {

template <>
struct panel<q5_k> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 31, zero = 0;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = true;
  static constexpr std::size_t d = 0, dmin = 32, scales = 64, qs = 256, group_bytes = 320, high = 256;

  static CRIA_ALWAYS_INLINE void pack(const q5_k (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const q5_k& b = rows[r];
      put(out + d, r, b.d);
      put(out + dmin, r, b.dmin);
      put_bytes(out + scales, r, b.scales);
      for (std::size_t g = 0; g < groups; g += 2) {
        std::byte* group = out + qs + group_bytes * g;
        code_planes::put_two_groups(group, group + group_bytes, r, b.qs + 16 * g);
      }
      code_planes::put_eight_groups(out + qs + high, group_bytes, r, b.qh);
    }
  }
  static CRIA_ALWAYS_INLINE q5_k row(const std::byte* block, std::size_t r) noexcept {
    q5_k b{get<f16>(block + d, r), get<f16>(block + dmin, r), {}, {}, {}};
    get_bytes(block + scales, r, b.scales);
    for (std::size_t g = 0; g < groups; g += 2) {
      const std::byte* group = block + qs + group_bytes * g;
      code_planes::get_two_groups(group, group + group_bytes, r, b.qs + 16 * g);
    }
    code_planes::get_eight_groups(block + qs + high, group_bytes, r, b.qh);
    return b;
  }

  template <class Isa>
  struct unpack {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      const std::byte* group = block + qs + group_bytes * g;
      return code_planes::four_bits<Isa, Step>(group, r) | code_planes::one_bit<Isa, Step, 4>(group + high, r);
    }
    /// d times six bits: exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, std::size_t g, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + d + 2 * r) * op::to_float(k_scale_bytes<Isa>::scale(block + scales, g, r));
    }
    static CRIA_ALWAYS_INLINE typename op::f min(const std::byte* block, std::size_t g, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + dmin + 2 * r) * op::to_float(op::set_i(0) - k_scale_bytes<Isa>::min(block + scales, g, r));
    }
  };
};

}  // namespace cria::inline v0::kernels
