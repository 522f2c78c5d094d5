// SPDX-License-Identifier: MIT
// kernels/panel.tq1_0.hpp - sixteen tq1_0 rows side by side, and their digits as the products read them.
//
//   byte  0                  32                                  864
//         | 16 scales d, f16 | words 0 to 12 of the 16 rows      |        word w: bytes 4 w to 4 w + 3 of qs, the last one those of qh
//
//   Digit n of word w is step w of group n for w < 8, and step 4 (n % 2) + w - 8 of group 5 + n / 2 for w < 12; digit n of word 12 is step 4 + n of group 7.
//
// A digit depends on those before it, so a block is decoded once into codes of a byte, for one token as for a tile of many. Measured on one Zen 4 core with
// AVX2, one token from the cache, `exact`: 0.052 ns a weight (clang 14: 0.040), of which the product takes half; tq2_0 0.021. Bytes instead of pairs of 16
// bits, and the digit as an average of t and t / 2 (vpavgb), would take half of the instructions, but rounding up gives wrong digits for t = 85 and 170.
#pragma once

#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/panel.hpp>
#include <cria/quant/tq1_0.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

template <>
struct panel<tq1_0> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 2, zero = 1;
  static constexpr std::size_t subs = 1;
  static constexpr bool has_min = false;
  static constexpr std::size_t d = 0, words = 32, n_words = 13, step_bytes = 4 * panel_rows;

  static CRIA_ALWAYS_INLINE void pack(const tq1_0 (&rows)[panel_rows], std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      put(out + d, r, rows[r].d);
      for (std::size_t w = 0; w < n_words; ++w) std::memcpy(out + words + step_bytes * w + 4 * r, w < 12 ? rows[r].qs + 4 * w : rows[r].qh, 4);
    }
  }
  static CRIA_ALWAYS_INLINE tq1_0 row(const std::byte* block, std::size_t r) noexcept {
    tq1_0 b{{}, {}, get<f16>(block + d, r)};
    for (std::size_t w = 0; w < n_words; ++w) std::memcpy(w < 12 ? b.qs + 4 * w : b.qh, block + words + step_bytes * w + 4 * r, 4);
    return b;
  }

  template <class Isa>
  struct unpack {
    using op = isa::vec<Isa>;
    using i = typename op::i;
    static constexpr std::size_t units = groups * group_steps * step_bytes, decoded_bytes = units + words;

    static CRIA_ALWAYS_INLINE void decode(const std::byte* block, std::byte* decoded) noexcept {
      std::memcpy(decoded + units, block + d, words);
      for (std::size_t r = 0; r < step_bytes; r += 4 * op::lanes) {
        const std::byte* word = block + words + r;
        for (std::size_t w = 0; w < 8; ++w) digits<5>(word + step_bytes * w, decoded + step_bytes * w + r, group_steps * step_bytes);
        for (std::size_t w = 0; w < 4; ++w) digits<5>(word + step_bytes * (8 + w), decoded + step_bytes * (5 * group_steps + w) + r, 4 * step_bytes);
        digits<4>(word + step_bytes * 12, decoded + step_bytes * (7 * group_steps + 4) + r, step_bytes);
      }
    }
    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE i codes(const std::byte* decoded, std::size_t g, std::size_t r) noexcept {
      return op::load_i(decoded + step_bytes * (group_steps * g + Step) + 4 * r);
    }
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* decoded, const std::byte*, std::size_t, std::size_t r, std::size_t) noexcept {
      return op::load_f16(decoded + units + 2 * r);
    }

   private:
    /// Writes the first N digits of a vector of words, `stride` bytes apart. Each second byte of a word has 16 bits to multiply in.
    template <std::size_t N>
    static CRIA_ALWAYS_INLINE void digits(const std::byte* word, std::byte* out, std::size_t stride) noexcept {
      const i second = op::set_i(0x00ff00ff), x = op::load_i(word);
      i even = x & second, odd = op::template shr<8>(x) & second;
      CRIA_UNROLL
      for (std::size_t n = 0; n < N; ++n) {
        const i even3 = even + even + even, odd3 = odd + odd + odd;
        op::store_i(out + stride * n, (op::template shr<8>(even3) & second) | (odd3 ^ (odd3 & second)));
        even = even3 & second, odd = odd3 & second;
      }
    }
  };
};

template <class Isa>
struct panel_blocks<tq1_0, Isa> {
  static CRIA_PART std::size_t bytes(const gemm_args&) noexcept { return panel_rows * sizeof(tq1_0); }
  static CRIA_PART const std::byte* decode(const gemm_args&, const std::byte* block, std::byte* decoded) noexcept {
    panel<tq1_0>::unpack<Isa>::decode(block, decoded);
    return decoded;
  }
};

}  // namespace cria::inline v0_1_0::kernels
