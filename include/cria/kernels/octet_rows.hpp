// SPDX-License-Identifier: MIT
// kernels/octet_rows.hpp - the product of a format of octets (panel.octets.hpp) with one token, row by row: 32 columns of a row are looked up as a vector, get
// their signs and are multiplied, and the sums of eight rows are brought side by side.
//
// Shapes, Requires, Ensures, Errors, Threads   as gemm.hpp: the same sums, and so the same bits as the product of the decoded block
//
// Why. Decoding into memory for the product of panels takes four stores of eight bytes for 32 columns, a cycle each, and signs octet by octet. A vector of a
// row needs neither. Measured on one Zen 4 core with AVX2, weights in the cache, ns a weight, decoded into memory and row by row, `exact`:
//   iq2_xxs 0.157 -> 0.073, iq2_xs 0.18 -> 0.078, iq2_s 0.18 -> 0.073, iq3_xxs 0.19 -> 0.10, iq3_s 0.26 -> 0.11, iq1_s 0.155 -> 0.083, iq1_m 0.225 -> 0.079
//   (`fast` 0.007 to 0.01 less). With two threads, tokens a second of a model of 1.1 billion parameters, before, now, and llama.cpp: iq2_xxs 11.5, 24.2, 20.3;
//   iq3_s 6.6, 15.0, 13.6.
// Of its cycles, half go to the lookups: four or eight indices to extract, and as many loads to join to a vector. vpgatherdq took 1.8 times as long as those.
// A loop over the vectors of rows instead of each<V> is 21 KB smaller on AVX2, as fast with GCC 12, and 0.85 as fast with clang 14.
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/kernels/activations.hpp>
#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/panel.octets.hpp>

#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0::kernels {

/// For each nibble: 1 in the eight bytes of a bit that is 0, and -1 where it is 1.
struct octet_shift_table {
  alignas(32) std::int8_t bytes[16][32] = {};

  consteval octet_shift_table() noexcept {
    for (std::size_t nibble = 0; nibble < 16; ++nibble) {
      for (std::size_t n = 0; n < 32; ++n) bytes[nibble][n] = nibble >> n / 8 & 1 ? -1 : 1;
    }
  }
};
inline constexpr octet_shift_table octet_shifts{};

/// Vectors of 32 codes and their products, where Isa has them (octet_vectors.avx2.hpp, octet_vectors.neon64.hpp).
template <class Isa>
struct octet_vectors {
  static constexpr bool exist = false;
};

template <octet_block Format, class Isa>
struct octet_rows {
  using op = isa::vec<Isa>;
  using vectors = octet_vectors<Isa>;
  using parts = octet_parts<Format, Isa>;
  using layout = panel<Format>;

  static void run(const gemm_args& a, std::size_t p, std::size_t t) noexcept {
    if (a.activations_precision == precision::exact) {
      product<2>(a, p, t);
    } else {
      product<1>(a, p, t);
    }
  }

 private:
  template <std::size_t Planes>
  static CRIA_KERNEL void product(const gemm_args& a, std::size_t p, std::size_t t) noexcept {
    constexpr std::size_t V = panel_rows / op::lanes;
    const row_fields at(a.n_groups);
    const std::byte* block = a.weights + p * (a.n_groups / layout::groups) * panel_rows * sizeof(Format);
    const std::int32_t* x = a.activations + t * a.n_groups * activation_words(a.activations_precision);
    const std::int32_t* fields = x + a.n_groups * Planes * group_steps;
    typename op::f acc[V];
    CRIA_UNROLL
    for (std::size_t v = 0; v < V; ++v) acc[v] = op::set(0);
    alignas(64) std::byte scales[parts::scales_bytes];
    alignas(64) std::byte signs[layout::octet_sign_bytes == 7 ? 32 * panel_rows : 1];
    for (std::size_t b = 0; b < a.n_groups / layout::groups; ++b, block += panel_rows * sizeof(Format)) {
      parts::decode_scales(block, scales);
      if constexpr (layout::octet_sign_bytes == 7) {
        for (std::size_t r = 0; r < panel_rows; ++r) vectors::put_eighth_signs(block + layout::row_bytes * r + layout::index_bytes, signs + 32 * r);
      }
      for (std::size_t g = 0; g < layout::groups; ++g, x += Planes * group_steps, ++fields) {
        const typename vectors::template activations<Planes> values(x);
        const auto d = op::set(bit_cast<float>(fields[at.d]));
        const std::byte* columns = block;
        if constexpr (layout::octet_sign_bytes == 8) CRIA_FORGET(columns);   // GCC would copy the signs of all rows to the stack before the loop
        each<V>([&]<std::size_t Part>() CRIA_PART_LAMBDA {
          constexpr std::size_t r = Part * op::lanes;
          typename op::i first, second;   // sums over the halves of the group
          vectors::sums([&](std::size_t n) CRIA_PART_LAMBDA { return values.dot(codes(columns, signs, g, r + n)); }, first, second);
          first = first + sum_start<Isa, cria::detail::octet_zero>(fields[at.bias + at.step]);
          second = second + sum_start<Isa, cria::detail::octet_zero>(fields[at.bias + 2 * at.step]);
          acc[Part] = op::fma(op::to_float(first), octet_scale<Isa>(scales, g, r, 0) * d, acc[Part]);
          acc[Part] = op::fma(op::to_float(second), octet_scale<Isa>(scales, g, r, 1) * d, acc[Part]);
        });
      }
    }
    CRIA_UNROLL
    for (std::size_t v = 0; v < V; ++v) put_products<Isa>(a, t, p * panel_rows + v * op::lanes, acc[v]);
  }

  /// Returns the 32 codes of row r's group g.
  static CRIA_PART typename vectors::bytes codes(const std::byte* block, const std::byte* signs, std::size_t g, std::size_t r) noexcept {
    const std::byte* row = block + layout::row_bytes * r;
    const std::uint64_t indices = parts::four_indices(row, layout::group_points * g);
    typename vectors::bytes points;
    if constexpr (layout::group_points == 4) {
      points = vectors::join(parts::template point<0>(indices), parts::template point<1>(indices), parts::template point<2>(indices),
                             parts::template point<3>(indices));
    } else {
      const std::uint64_t others = parts::four_indices(row, 8 * g + 4);
      points = vectors::join(parts::template point<0>(indices), parts::template point<1>(indices), parts::template point<2>(indices),
                             parts::template point<3>(indices), parts::template point<0>(others), parts::template point<1>(others),
                             parts::template point<2>(others), parts::template point<3>(others));
    }
    if constexpr (layout::has_octet_shifts) {
      return vectors::shifted(points, parts::shifts(block, g, r));
    } else if constexpr (layout::has_group_shifts) {
      return vectors::shifted(points, 15 * parts::shifts(block, g, r));
    } else {
      return vectors::with_signs(points, layout::octet_sign_bytes == 7 ? signs + 32 * r : row + layout::index_bytes, g);
    }
  }
};

}  // namespace cria::inline v0_1_0::kernels

#include <cria/kernels/octet_vectors.avx2.hpp>
#include <cria/kernels/octet_vectors.neon64.hpp>
