// SPDX-License-Identifier: MIT
// kernels/panel.octets.hpp - sixteen rows of a format whose values are points of a grid (quant/octet_block.hpp), and their columns decoded for the products.
//
//   byte  0                    16 * row_bytes        + 64 * scales       + 32
//         | indices and signs  | nibbles of scales   | 16 scales d, f16  |
//         | of row 0, row 1 ...| [half][g % 4][row]  | (not iq1_m)       |
//
//   Row       the indices, index_bits each, one after another; then
//             seven, eight: sign bytes, of which bit g belongs to group g: value j of octet l is byte 7 l + j (j < 7) or 8 l + j
//             octet_shift: a nibble for each group, bit l is the shift of octet l
//   Nibbles   the low one belongs to group g < 4, the high one to group g >= 4. Beside a shift, a scale has three bits. The fourth one is the group's shift,
//             or, for iq1_m, bit 4 half + g % 4 of d, of its low byte in the low nibble and of its high byte in the high one.
//
// Points of a grid are looked up in a table, one by one, and no product should repeat it. So for several tokens, a block is decoded once into bytes, and the
// product reads those: the panel of decoded_octets. All these formats share that product; each compiles its decoder. One token has a product of its own where a
// set has octet_rows (octet_rows.hpp).
//
//   decoded, byte  0                                  4096                            4352
//                  | 8 groups of 4 octets             | scales, [half][group][row]    | 16 scales d, f16 |
//   An octet has the eight codes of row r at octet_slot(r), so that even and odd lanes of two vectors are the codes of two steps, in the order of rows. (Words
//   of four codes, a stride of 128 bytes apart, took twice as long.)
#pragma once

#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/panel.hpp>
#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace cria::inline v0_1_0::kernels {

/// A block of a panel of any such format, decoded.
struct decoded_octets {
  static constexpr std::size_t scales = 4096, units = 4352, bytes = 4384;
};

/// What the products of decoded_octets have to know of the format.
struct octet_kernels {
  std::size_t block_bytes;
  void (*decode)(const std::byte* block, std::byte* decoded) noexcept;
  void (*one_token)(const gemm_args&, std::size_t p, std::size_t t) noexcept;   ///< or nullptr
};

template <octet_block Format>
struct panel<Format> {
  static constexpr octet_traits traits = Format::octets;
  static constexpr bool has_group_shifts = traits.signs == octet_signs::group_shift, has_octet_shifts = traits.signs == octet_signs::octet_shift;
  static constexpr std::size_t groups = 8, group_points = 32 / cria::detail::point_values<Format>;
  static constexpr std::size_t index_bytes = groups * group_points * traits.index_bits / 8;
  static constexpr std::size_t octet_sign_bytes = traits.has_shift() ? 0 : traits.signs == octet_signs::seven ? 7 : 8;
  static constexpr std::size_t row_bytes = index_bytes + (has_octet_shifts ? 4 : 4 * octet_sign_bytes);
  static constexpr std::size_t scales = panel_rows * row_bytes, units = scales + 64 * traits.scales;
  static constexpr int scale_bits = traits.has_shift() ? 3 : 4;
  static_assert(units + (has_octet_shifts ? 0 : 2 * panel_rows) == panel_rows * sizeof(Format));

  static void pack(const Format (&rows)[panel_rows], std::byte* out) noexcept {
    std::memset(out, 0, panel_rows * sizeof(Format));
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const octet_fields f = rows[r].fields();
      std::byte *row = out + row_bytes * r, *signs = row + index_bytes;
      for (std::size_t n = 0; n < groups * group_points; n += 8) put_indices(row + traits.index_bits * n / 8, f.index + n);
      if constexpr (has_octet_shifts) {
        for (std::size_t o = 0; o < 32; ++o) signs[o / 8] |= static_cast<std::byte>(f.signs[o] << o % 8);
      } else if constexpr (!traits.has_shift()) {
        for (std::size_t l = 0; l < 4; ++l) {
          std::uint64_t groups_of_values = 0;
          for (std::size_t g = 0; g < groups; ++g) groups_of_values |= std::uint64_t{f.signs[4 * g + l]} << 8 * g;
          const std::uint64_t values = transposed(groups_of_values);
          for (std::size_t j = 0; j < octet_sign_bytes; ++j) put(signs, octet_sign_bytes * l + j, static_cast<std::uint8_t>(values >> 8 * j));
        }
      }
      each_nibbles(f, [&](std::size_t n, unsigned nibbles) { put(out + scales, 16 * n + r, static_cast<std::uint8_t>(nibbles)); });
      if constexpr (!has_octet_shifts) put(out + units, r, f.d);
    }
  }

  static Format row(const std::byte* block, std::size_t r) noexcept {
    octet_fields f{};
    const std::byte *row = block + row_bytes * r, *signs = row + index_bytes;
    for (std::size_t n = 0; n < groups * group_points; n += 8) get_indices(row + traits.index_bits * n / 8, f.index + n);
    if constexpr (has_octet_shifts) {
      for (std::size_t o = 0; o < 32; ++o) f.signs[o] = std::to_integer<std::uint8_t>(signs[o / 8] >> o % 8 & std::byte{1});
    } else if constexpr (!traits.has_shift()) {
      for (std::size_t l = 0; l < 4; ++l) {
        std::uint64_t values = 0;
        for (std::size_t j = 0; j < octet_sign_bytes; ++j) values |= std::uint64_t{get<std::uint8_t>(signs, octet_sign_bytes * l + j)} << 8 * j;
        const std::uint64_t groups_of_values = transposed(values);
        for (std::size_t g = 0; g < groups; ++g) f.signs[4 * g + l] = static_cast<std::uint8_t>(groups_of_values >> 8 * g);
      }
    }
    if constexpr (!has_octet_shifts) f.d = get<f16>(block + units, r);
    for (std::size_t n = 0; n < 4 * traits.scales; ++n) take_nibbles(get<std::uint8_t>(block + scales, 16 * n + r), n, f);
    return Format::of(f);
  }

 private:
  static constexpr std::uint64_t index_mask = (std::uint64_t{1} << traits.index_bits) - 1;
  static constexpr unsigned scale_mask = (1U << scale_bits) - 1;

  /// Byte n of the nibbles has those of scales low(n) and low(n) + 4.
  static constexpr std::size_t low(std::size_t n) noexcept { return n / 4 * 8 + n % 4; }

  template <class F>
  static void each_nibbles(const octet_fields& f, F fn) noexcept {
    for (std::size_t n = 0; n < 4 * traits.scales; ++n) {
      unsigned nibbles = unsigned{f.scales[low(n)]} | unsigned{f.scales[low(n) + 4]} << 4;
      if constexpr (has_group_shifts) nibbles |= unsigned{f.signs[4 * n]} << 3 | unsigned{f.signs[4 * n + 16]} << 7;
      if constexpr (has_octet_shifts) nibbles |= (unsigned{f.d.bits} >> n & 1) << 3 | (unsigned{f.d.bits} >> (8 + n) & 1) << 7;
      fn(n, nibbles);
    }
  }
  static void take_nibbles(unsigned nibbles, std::size_t n, octet_fields& f) noexcept {
    const unsigned first = nibbles >> 3 & 1, second = nibbles >> 7;
    f.scales[low(n)] = static_cast<std::uint8_t>(nibbles & scale_mask);
    f.scales[low(n) + 4] = static_cast<std::uint8_t>(nibbles >> 4 & scale_mask);
    for (std::size_t l = 0; has_group_shifts && l < 4; ++l) {
      f.signs[4 * n + l] = static_cast<std::uint8_t>(first);
      f.signs[4 * n + 16 + l] = static_cast<std::uint8_t>(second);
    }
    if constexpr (has_octet_shifts) f.d.bits = static_cast<std::uint16_t>(f.d.bits | first << n | second << (8 + n));
  }

  /// Writes eight indices as index_bits bytes. get_indices reads them.
  static void put_indices(std::byte* out, const std::uint16_t* index) noexcept {
    constexpr std::size_t four = 4 * traits.index_bits;
    std::uint64_t first = 0, second = 0;
    for (std::size_t n = 0; n < 4; ++n) {
      first |= std::uint64_t{index[n]} << traits.index_bits * n;
      second |= std::uint64_t{index[4 + n]} << traits.index_bits * n;
    }
    put(out, 0, first | second << four);
    if constexpr (four > 32) {
      for (std::size_t n = 8; n < traits.index_bits; ++n) put(out, n, static_cast<std::uint8_t>(second >> (8 * n - four)));
    }
  }
  static void get_indices(const std::byte* in, std::uint16_t* index) noexcept {
    constexpr std::size_t four = 4 * traits.index_bits;
    const auto word = get<std::uint64_t>(in, 0);
    std::uint64_t second = word >> four;
    if constexpr (four > 32) {
      for (std::size_t n = 8; n < traits.index_bits; ++n) second |= std::uint64_t{get<std::uint8_t>(in, n)} << (8 * n - four);
    }
    for (std::size_t n = 0; n < 4; ++n) {
      index[n] = static_cast<std::uint16_t>(word >> traits.index_bits * n & index_mask);
      index[4 + n] = static_cast<std::uint16_t>(second >> traits.index_bits * n & index_mask);
    }
  }
  /// Returns the word whose bit 8 a + b is bit 8 b + a of x.
  static std::uint64_t transposed(std::uint64_t x) noexcept {
    for (const auto& [distance, kept] : {std::pair{7, std::uint64_t{0x00aa00aa00aa00aa}}, {14, 0x0000cccc0000cccc}, {28, 0x00000000f0f0f0f0}}) {
      const std::uint64_t swapped = (x ^ x >> distance) & kept;
      x ^= swapped ^ swapped << distance;
    }
    return x;
  }
};

/// Returns where row r's codes are among those of 16 rows, for vectors of this many lanes: row 4 n + m of a vector is in its first half if m < 2.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t octet_slot(std::size_t r, std::size_t lanes) noexcept {
  return r / lanes * lanes + r % 4 / 2 * (lanes / 2) + r % lanes / 4 * 2 + r % 2;
}

/// Returns the decoded scales of vec<Isa>::lanes rows from r on: a half times eight bits, exact.
template <class Isa>
CRIA_PART typename isa::vec<Isa>::f octet_scale(const std::byte* scales, std::size_t g, std::size_t r, std::size_t half) noexcept {
  using op = isa::vec<Isa>;
  const auto unit = op::load_f16(scales + 256 + 2 * r) * op::set(cria::detail::octet_unit);
  return unit * op::to_float(op::load_u8(scales + 128 * half + 16 * g + r));
}

/// What the kernels of Isa read of a block of a panel.
template <octet_block Format, class Isa>
struct octet_parts {
  using op = isa::vec<Isa>;
  using layout = panel<Format>;
  static constexpr std::size_t index_bits = layout::traits.index_bits, group_points = layout::group_points, scales_bytes = 288;
  static constexpr const auto* grid = Format::grid.data();

  /// Writes the scales, [half][group][row], and after them the 16 scales of the block.
  static CRIA_PART void decode_scales(const std::byte* block, std::byte* out) noexcept {
    using b = scale_bytes<Isa>;
    constexpr int to = 1 + static_cast<int>(layout::traits.scale_shift);
    const auto one = op::set_i(0x01010101 << layout::traits.scale_shift);
    for (std::size_t half = 0; half < 2; ++half) {
      const std::byte* nibbles = block + layout::scales + (layout::traits.scales == 2 ? 64 * half : 0);
      for (std::size_t n = 0; n < 64; n += 4 * op::lanes) {
        const auto x = op::load_i(nibbles + n);
        op::store_i(out + 128 * half + n, b::template bits<0, layout::scale_bits, to>(x) | one);
        op::store_i(out + 128 * half + 64 + n, b::template bits<4, layout::scale_bits, to>(x) | one);
      }
    }
    if constexpr (layout::has_octet_shifts) {
      for (std::size_t r = 0; r < panel_rows; r += 8) collect_units(block + layout::scales + r, out + 256 + 2 * r);
    } else {
      std::memcpy(out + 256, block + layout::units, 2 * panel_rows);
    }
  }

  /// Returns a word whose bits index_bits * n, n < 4, are the index of point n of four, from point number `first` of the row on.
  static CRIA_PART std::uint64_t four_indices(const std::byte* row, std::size_t first) noexcept {
    const std::size_t at = index_bits * first;
    if constexpr (index_bits == 8) {
      return get<std::uint32_t>(row + first, 0);
    } else {
      return get<std::uint64_t>(row + at / 8, 0) >> at % 8;
    }
  }
  template <std::size_t N>
  static CRIA_PART auto point(std::uint64_t indices) noexcept {
    return grid[indices >> index_bits * N & ((std::uint64_t{1} << index_bits) - 1)];
  }

  /// Returns 1 if the values of group g of row r are moved down, or, with shifts of octets, a bit for each octet.
  static CRIA_PART unsigned shifts(const std::byte* block, std::size_t g, std::size_t r) noexcept {
    if constexpr (layout::has_octet_shifts) {
      return get<std::uint32_t>(block + layout::row_bytes * r + layout::index_bytes, 0) >> 4 * g & 15;
    } else {
      return std::to_integer<unsigned>(block[layout::scales + 16 * (g % 4) + r]) >> (4 * (g / 4) + 3) & 1;
    }
  }

 private:
  /// Collects the d of eight rows from the fourth bits of their nibbles.
  static CRIA_PART void collect_units(const std::byte* nibbles, std::byte* out) noexcept {
    std::uint64_t low = 0, high = 0;
    for (std::size_t n = 0; n < 8; ++n) {
      const auto x = get<std::uint64_t>(nibbles + 16 * n, 0);
      low |= (x >> 3 & grids::repeated) << n;
      high |= (x >> 7 & grids::repeated) << n;
    }
    for (std::size_t r = 0; r < 8; ++r) put(out, r, static_cast<std::uint16_t>((low >> 8 * r & 255) | (high >> 8 * r & 255) << 8));
  }
};

/// Decodes a block of a panel.
template <octet_block Format, class Isa>
struct decode_octets {
  using parts = octet_parts<Format, Isa>;
  using layout = panel<Format>;

  static CRIA_KERNEL void run(const std::byte* block, std::byte* out) noexcept {
    parts::decode_scales(block, out + decoded_octets::scales);
    for (std::size_t r = 0; r < panel_rows; ++r) {
      const std::byte* row = block + layout::row_bytes * r;
      std::byte* codes = out + 8 * octet_slot(r, isa::vec<Isa>::lanes);
      std::uint64_t signs[4] = {};
      if constexpr (!layout::traits.has_shift()) {
        for (std::size_t l = 0; l < 4; ++l) signs[l] = sign_bits(row + layout::index_bytes, l);
      }
      for (std::size_t g = 0; g < 8; ++g) {
        std::uint64_t indices = parts::four_indices(row, parts::group_points * g), second = 0;
        if constexpr (parts::group_points == 8) second = parts::four_indices(row, 8 * g + 4);
        unsigned shifts = 0;
        if constexpr (layout::traits.has_shift()) shifts = parts::shifts(block, g, r);
        each<4>([&]<std::size_t L>() CRIA_PART_LAMBDA {
          std::uint64_t points;
          if constexpr (parts::group_points == 4) {
            points = parts::template point<L>(indices);
          } else {
            const std::uint64_t four = L < 2 ? indices : second;
            points = parts::template point<2 * (L % 2)>(four) | std::uint64_t{parts::template point<2 * (L % 2) + 1>(four)} << 32;
          }
          if constexpr (layout::traits.has_shift()) {
            points = grids::shifted(points, layout::has_octet_shifts ? shifts >> L & 1 : shifts);
          } else {
            points = grids::with_signs(points, signs[L] >> g & grids::repeated);
          }
          put(codes + 512 * g + 128 * L, 0, points);
        });
      }
    }
  }

 private:
  /// Returns eight bytes, one for each value of octet l: bit g is its sign in group g.
  static CRIA_PART std::uint64_t sign_bits(const std::byte* signs, std::size_t l) noexcept {
    const auto bits = get<std::uint64_t>(signs + layout::octet_sign_bytes * l, 0);
    if constexpr (layout::octet_sign_bytes == 8) return bits;
    const std::uint64_t seven = bits & ~std::uint64_t{0} >> 8, odd = seven ^ seven >> 32, odd2 = odd ^ odd >> 16;
    return seven | (odd2 ^ odd2 >> 8) << 56;
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
    static CRIA_ALWAYS_INLINE typename op::f scale(const std::byte* decoded, const std::byte*, std::size_t g, std::size_t r, std::size_t half) noexcept {
      return octet_scale<Isa>(decoded + decoded_octets::scales, g, r, half);
    }
  };
};

template <class Isa>
struct panel_blocks<decoded_octets, Isa> {
  static CRIA_PART std::size_t bytes(const gemm_args& a) noexcept { return a.octets->block_bytes; }
  static CRIA_PART const std::byte* decode(const gemm_args& a, const std::byte* block, std::byte* decoded) noexcept {
    a.octets->decode(block, decoded);
    return decoded;
  }
};

}  // namespace cria::inline v0_1_0::kernels
