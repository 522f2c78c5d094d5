// SPDX-License-Identifier: MIT
// kernels/panel.mxfp4.hpp - sixteen mxfp4 rows side by side.
//
//   byte  0                                  256                    272
//         | code_plane<4> (codes.hpp)        | 16 exponents e       |
//
// A code becomes its doubled value + 16 by a byte shuffle: at most 28, so that sums of several stay within 16 bits where a set needs that.
#pragma once

#include <cria/kernels/panel.hpp>
#include <cria/quant/mxfp4.hpp>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<mxfp4> {
  static constexpr std::size_t groups = 1;
  static constexpr int w_max = 28, zero = 16;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = false;

  static CRIA_ALWAYS_INLINE void pack(const mxfp4 (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      put_nibbles(out, r, rows[r].qs);
      put(out + 256, r, rows[r].e);
    }
  }
  static CRIA_ALWAYS_INLINE mxfp4 row(const std::byte* block, std::size_t r) noexcept {
    mxfp4 b{get<std::uint8_t>(block + 256, r), {}};
    get_nibbles(block, r, b.qs);
    return b;
  }

  template <class Isa>
  struct unpack : no_decoding {
    using op = isa::vec<Isa>;
    static constexpr code_table levels{mxfp4::codebook, zero};

    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* block, std::size_t, std::size_t r) noexcept {
      return op::lookup(levels.codes, code_plane<4>::step<Isa, Step>(block, r));
    }
    /// 2^(e - 128) by its bits: exponent e - 1, and below that the subnormals 2^-128 and 2^-127, which (e + 1) << 21 gives and only there exceeds.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* block, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      const auto e = op::load_u8(block + 256 + r);
      return op::as_float(op::max_i(op::template shl<23>(e - op::set_i(1)), op::template shl<21>(e + op::set_i(1))));
    }
  };
};

}  // namespace cria::inline v0_1_0::kernels
