// SPDX-License-Identifier: MIT
// kernels/panel.q6_k.hpp - sixteen q6_k rows side by side.
//
//   group g at 416 g:  | four-bit plane, 256 | two-bit plane, 128 | 16 scales of values 0..15, int8 | 16 scales of values 16..31 |
//   byte 3328:         | 16 scales of scales d, f16 |                                                            3360 bytes in all
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q6_k.hpp>

namespace cria::inline v0::kernels {

template <>
struct panel<q6_k> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 63, zero = 32;
  static constexpr std::size_t subs = 2;
  static constexpr bool has_min = false;
  static constexpr std::size_t group_bytes = 416, high = 256, scales = 384, d = groups * group_bytes;

  static CRIA_ALWAYS_INLINE void pack(const q6_k (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const q6_k& b = rows[r];
      for (std::size_t half = 0; half < 2; ++half) {
        std::byte* four = out + group_bytes * 4 * half;  // the half's four groups
        for (std::size_t n = 0; n < 2; ++n) {
          code_planes::put_two_groups(four + group_bytes * n, four + group_bytes * (n + 2), r, b.ql + 64 * half + 32 * n);
        }
        code_planes::put_four_groups(four + high, group_bytes, r, b.qh + 32 * half);
      }
      for (std::size_t n = 0; n < 16; ++n) put(out + group_bytes * (n / 2) + scales + 16 * (n % 2), r, b.scales[n]);
      put(out + d, r, b.d);
    }
  }
  static CRIA_ALWAYS_INLINE q6_k row(const std::byte* block, std::size_t r) noexcept {
    q6_k b{};
    for (std::size_t half = 0; half < 2; ++half) {
      const std::byte* four = block + group_bytes * 4 * half;
      for (std::size_t n = 0; n < 2; ++n) {
        code_planes::get_two_groups(four + group_bytes * n, four + group_bytes * (n + 2), r, b.ql + 64 * half + 32 * n);
      }
      code_planes::get_four_groups(four + high, group_bytes, r, b.qh + 32 * half);
    }
    for (std::size_t n = 0; n < 16; ++n) b.scales[n] = get<std::int8_t>(block + group_bytes * (n / 2) + scales + 16 * (n % 2), r);
    b.d = get<f16>(block + d, r);
    return b;
  }

  template <class Isa>
  struct unpack {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t g, std::size_t r) noexcept {
      const std::byte* group = block + group_bytes * g;
      return code_planes::four_bits<Isa, Step>(group, r) | code_planes::two_bits<Isa, Step, 4>(group + high, r);
    }
    /// d times the sub-scale: 11 bits by 8, exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, std::size_t g, std::size_t r, std::size_t sub) noexcept {
      return op::load_f16(block + d + 2 * r) * op::to_float(op::load_s8(block + group_bytes * g + scales + 16 * sub + r));
    }
  };
};

}  // namespace cria::inline v0::kernels
