// SPDX-License-Identifier: MIT
// kernels/panel.hpp - how sixteen rows of a weight lie side by side, so that one lane owns one row. The formats are in panel.<format>.hpp.
//
// A panel has 16 rows of W[N,K], one column of blocks after another. A panel block holds the 16 rows' blocks of one column: exactly the bytes that they have
// in the file, rearranged. For each group of 32 values it has the codes (codes.hpp), interleaved in units of 4 consecutive k, which are called steps (a
// vector of 64 bytes has 16 rows x 4 k; the bytes of row r begin at 4 r), and the scales and mins of the 16 rows side by side.
//
//   panel 0: | block column 0 | block column 1 | ...     panel 1: | ...
//   group:   | step 0: r0 k0..3, r1 k0..3, ... r15 k0..3 | ... | 16 scales | 16 mins |
//
// panel<Format> has
//   groups             the number of groups of 32 in a block
//   w_max, zero        the largest code, and the code that stands for 0: value = scale (code - zero) + min
//   subs, has_min      the number of scales of a group (each of 32 / subs consecutive values); whether there are mins
//   pack(rows, out)    packs 16 blocks into a panel block            row(block, r) returns the block of row r again
//   unpack<Isa>        decode(block, sc): once per block, decodes the scales and mins into decoded_bytes at `sc`, where a format needs that
//                      codes<Step>(block, g, r): step Step of group g, as bytes, for vec<Isa>::lanes rows from r on
//                      scale(block, sc, g, r, sub), min(block, sc, g, r, sub): their scales and mins as floats
//
// Panels of floats (f32, f16, bf16) have 16 numbers for each k; panel.float.hpp.
#pragma once

#include <cria/core/float16.hpp>
#include <cria/isa/vec.hpp>
#include <cria/kernels/codes.hpp>
#include <cria/kernels/layout.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

template <class Format>
struct panel;

/// Writes N bytes of row r among those of 16 rows side by side: byte 16 n + r is byte n of row r. get_bytes reads them.
template <std::size_t N>
CRIA_ALWAYS_INLINE void put_bytes(std::byte* out, std::size_t r, const std::uint8_t (&bytes)[N]) noexcept {
  for (std::size_t n = 0; n < N; ++n) out[16 * n + r] = static_cast<std::byte>(bytes[n]);
}
template <std::size_t N>
CRIA_ALWAYS_INLINE void get_bytes(const std::byte* in, std::size_t r, std::uint8_t (&bytes)[N]) noexcept {
  for (std::size_t n = 0; n < N; ++n) bytes[n] = std::to_integer<std::uint8_t>(in[16 * n + r]);
}

/// Memory for what Unpack::decode() writes.
template <class Unpack>
struct decoded_scales {
  alignas(64) std::byte bytes[Unpack::decoded_bytes == 0 ? 1 : Unpack::decoded_bytes];
};

/// For formats whose scales need no decoding; `sc` is not used.
struct no_decoding {
  static constexpr std::size_t decoded_bytes = 0;
  static CRIA_ALWAYS_INLINE void decode(const std::byte*, std::byte*) noexcept {}
};

/// Operations on the packed scales of a block, 64 bytes at a time: 4 bytes of each of 16 rows.
template <class Isa>
struct scale_bytes {
  using op = isa::vec<Isa>;
  using i = typename op::i;

  /// Calls fn(n) for each vector of the 64 bytes, which begins at byte n.
  template <class F>
  static CRIA_ALWAYS_INLINE void each(F fn) noexcept {
    for (std::size_t n = 0; n < 64; n += 4 * op::lanes) fn(n);
  }
  /// Returns bits [From, From + N) of each byte, moved to bit To.
  template <int From, int N, int To = 0>
  static CRIA_ALWAYS_INLINE i bits(i x) noexcept {
    const i kept = op::set_i(static_cast<std::int32_t>(0x01010101U * (((1U << N) - 1) << To)));
    if constexpr (From >= To) {
      return op::template shr<From - To>(x) & kept;
    } else {
      return op::template shl<To - From>(x) & kept;
    }
  }
  /// Returns x - Bias in each byte, x < 128 and 0 < Bias <= 128.
  template <int Bias>
  static CRIA_ALWAYS_INLINE i minus(i x) noexcept {
    return ((x | sign()) - op::set_i(0x01010101 * Bias)) ^ sign();
  }
  /// Returns -x in each byte, x < 128.
  static CRIA_ALWAYS_INLINE i negative(i x) noexcept { return (sign() - x) ^ sign(); }

 private:
  static CRIA_ALWAYS_INLINE i sign() noexcept { return op::set_i(static_cast<std::int32_t>(0x80808080U)); }
};

/// Decodes the scales and mins of q4_k and q5_k from their 12 bytes (quant/k_scales.hpp), which lie as put_bytes writes them, into the 16 rows' scales of each
/// group, and then their mins, negated because the format subtracts them.
template <class Isa>
struct k_scales {
  using op = isa::vec<Isa>;
  static constexpr std::size_t decoded_bytes = 256, mins = 128;

  static CRIA_ALWAYS_INLINE void decode(const std::byte* bytes, std::byte* sc) noexcept {
    using b = scale_bytes<Isa>;
    b::each([&](std::size_t n) CRIA_LAMBDA_INLINE {
      const auto scale = op::load_i(bytes + n), min = op::load_i(bytes + 64 + n), both = op::load_i(bytes + 128 + n);
      op::store_i(sc + n, b::template bits<0, 6>(scale));
      op::store_i(sc + 64 + n, b::template bits<0, 4>(both) | b::template bits<6, 2, 4>(scale));
      op::store_i(sc + mins + n, b::negative(b::template bits<0, 6>(min)));
      op::store_i(sc + mins + 64 + n, b::negative(b::template bits<4, 4>(both) | b::template bits<6, 2, 4>(min)));
    });
  }
};

/// The 16 levels of a format as codes: level + zero.
struct code_table {
  std::uint8_t codes[16];

  consteval code_table(const std::int8_t (&levels)[16], int zero) noexcept : codes{} {
    for (std::size_t n = 0; n < 16; ++n) codes[n] = static_cast<std::uint8_t>(levels[n] + zero);
  }
};

}  // namespace cria::inline v0_1_0::kernels
