// SPDX-License-Identifier: MIT
// kernels/panel.q8_0.hpp - sixteen q8_0 rows side by side.
//
//   byte  0                                                        512                    544
//         | 8 steps: byte 64 s + 4 r + b = value 4 s + b, + 128    | 16 scales d, f16     |
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/q8_0.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<q8_0> {
  static constexpr std::size_t groups = 1;
  static constexpr int w_max = 255, zero = 128;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = false;

  static CRIA_ALWAYS_INLINE void pack(const q8_0 (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      for (std::size_t s = 0; s < group_steps; ++s) {
        std::uint32_t word;
        std::memcpy(&word, rows[r].qs + 4 * s, 4);
        put(out + 64 * s, r, word ^ 0x80808080U);
      }
      put(out + 512, r, rows[r].d);
    }
  }
  static CRIA_ALWAYS_INLINE q8_0 row(const std::byte* block, std::size_t r) noexcept {
    q8_0 b{get<f16>(block + 512, r), {}};
    for (std::size_t s = 0; s < group_steps; ++s) {
      const std::uint32_t word = get<std::uint32_t>(block + 64 * s, r) ^ 0x80808080U;
      std::memcpy(b.qs + 4 * s, &word, 4);
    }
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t, std::size_t r) noexcept {
      return op::load_i(block + 64 * Step + 4 * r);
    }
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      return op::load_f16(block + 512 + 2 * r);
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
