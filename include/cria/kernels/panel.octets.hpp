// SPDX-License-Identifier: MIT
// kernels/panel.octets.hpp - sixteen rows of a format whose values come eight at a time (quant/octet_block.hpp), and their columns decoded for the products.
//
//   A panel block has the 16 rows' blocks as they are in the file, one after another.
//
// The points of a grid are looked up in a table, which vectors do not do well and which no product should repeat. So a block is decoded once into bytes, for
// one token as for a tile of many, and the product reads those: the panel of decoded_octets. All these formats share that product; each compiles its decoder.
//
// Measured on a Zen 4 core with AVX2 beside other load, 2048 x 256 weights in the cache, ns a weight: one token iq1_s 0.15, iq2_xxs 0.16, iq3_xxs 0.19,
// iq3_s 0.25, tq1_0 0.26 (q4_0 0.02; llama.cpp 0.08, 0.08, 0.11, 0.13, 0.04), of which the product takes 0.03; 64 tokens as fast as q2_k. The decoder has some
// 10 instructions an octet, four of them for its signs, and runs 4 a cycle. Codes of words, a stride of 128 bytes away, took twice as long as octets that the
// product takes apart. To be tried: signs of a whole vector at once, from bytes that stand side by side in the panel; a sign byte with the parity in a table
// of 256.
//
//   decoded, byte  0                                  4096                            4352
//                  | 8 groups of 4 octets             | scales, [group][half][row]    | 16 units, f16 |
//   An octet has the eight codes of row r at octet_slot(r), so that even and odd lanes of two vectors are the codes of two steps, in the order of rows.
#pragma once

#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/panel.hpp>
#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

/// A block of a panel of any such format, decoded.
struct decoded_octets {
  static constexpr std::size_t scales = 4096, units = 4352, bytes = 4384;
};

template <octet_block Format>
struct panel<Format> {
  static constexpr std::size_t groups = 8;

  static CRIA_ALWAYS_INLINE void pack(const Format (&rows)[panel_rows], std::byte* out) noexcept { std::memcpy(out, rows, sizeof rows); }
  static CRIA_ALWAYS_INLINE Format row(const std::byte* block, std::size_t r) noexcept {
    // Neither a default constructor nor std::bit_cast: at -O0 they are functions without the name of the set (kernels/instantiate.hpp).
    struct {
      std::byte bytes[sizeof(Format)];
    } b;
    std::memcpy(b.bytes, block + r * sizeof(Format), sizeof b);
    return __builtin_bit_cast(Format, b);
  }
};

/// Returns where row r's codes are among those of 16 rows, for vectors of this many lanes: row 4 n + m of a vector is in its first half if m < 2.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t octet_slot(std::size_t r, std::size_t lanes) noexcept {
  return r / lanes * lanes + r % 4 / 2 * (lanes / 2) + r % lanes / 4 * 2 + r % 2;
}

/// Decodes a block of a panel.
template <octet_block Format, class Isa>
struct decode_octets {
  static CRIA_KERNEL void run(const std::byte* block, std::byte* out) noexcept {
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const Format b = panel<Format>::row(block, r);
      std::byte* codes = out + 8 * octet_slot(r, isa::vec<Isa>::lanes);
      std::byte* scales = out + decoded_octets::scales + r;
      for (std::size_t g = 0; g < 8; ++g) {
        each<4>([&]<std::size_t L>() CRIA_PART_LAMBDA { put(codes + 512 * g + 128 * L, 0, b.octet(g, L)); });
        put(scales + 32 * g, 0, static_cast<std::uint8_t>(b.scale(g, 0)));
        put(scales + 32 * g + 16, 0, static_cast<std::uint8_t>(b.scale(g, 1)));
      }
      put(out + decoded_octets::units, r, b.scales_unit());
    }
  }
};

template <>
struct panel<decoded_octets> {
  static constexpr std::size_t groups = 8;
  static constexpr int w_max = 2 * cria::detail::octet_zero - 1, zero = cria::detail::octet_zero;
  static constexpr std::size_t subs = 2;
  static constexpr bool has_min = false;

  template <class Isa>
  struct unpack {
    using op = isa::vec<Isa>;
    static constexpr std::size_t decoded_bytes = decoded_octets::bytes;

    template <std::size_t Step>
    static CRIA_ALWAYS_INLINE typename op::i codes(const std::byte* decoded, std::size_t g, std::size_t r) noexcept {
      const std::byte* octet = decoded + 512 * g + 128 * (Step / 2) + 8 * r;
      const auto first = op::load_i(octet), second = op::load_i(octet + 4 * op::lanes);
      return Step % 2 == 0 ? op::even_lanes(first, second) : op::odd_lanes(first, second);
    }
    /// A half times eight bits: exact.
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* decoded, const std::byte*, std::size_t g, std::size_t r, std::size_t sub) noexcept {
      const auto unit = op::load_f16(decoded + decoded_octets::units + 2 * r) * op::set(cria::detail::octet_unit);
      return unit * op::to_float(op::load_u8(decoded + decoded_octets::scales + 32 * g + 16 * sub + r));
    }
  };
};

/// How a product walks over the blocks of a panel of Format, whose columns it reads at the address that decode() returns.
template <class Format, class Isa>
struct panel_blocks {
  using unpack = typename panel<Format>::template unpack<Isa>;

  static CRIA_PART std::size_t bytes(const gemm_args&) noexcept { return panel_rows * sizeof(Format); }
  static CRIA_PART const std::byte* decode(const gemm_args&, const std::byte* block, std::byte* sc) noexcept {
    unpack::decode(block, sc);
    return block;
  }
};

template <class Isa>
struct panel_blocks<decoded_octets, Isa> {
  static CRIA_PART std::size_t bytes(const gemm_args& a) noexcept { return a.octet_block_bytes; }
  static CRIA_PART const std::byte* decode(const gemm_args& a, const std::byte* block, std::byte* sc) noexcept {
    a.decode_octets(block, sc);
    return sc;
  }
};

}  // namespace cria::inline v0_1_0::kernels
