// SPDX-License-Identifier: MIT
// kernels/unpacked.hpp - some columns of a panel, unpacked for many tokens: codes as the dot step takes them, scales and mins as floats.
//
// Shapes    16 rows and at most max_groups groups of 32 columns. Each group has 8 steps (panel.hpp), one after another. A step is 64 bytes, or, as pairs of
//           int16, 64 bytes of the first and third numbers of each row and 64 of the second and fourth, all less the code that stands for 0.
//           Scales and mins: [group][sub][row].
// Ensures   Exact. Formats with the same code_kind look alike here: code that reads them is compiled for each kind, not for each format.
// Errors    none (noexcept)
#pragma once

#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/int8_dot.hpp>
#include <cria/kernels/panel.hpp>

#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0::kernels {

/// What the product has to know of unpacked codes: `Zero` is the code that stands for 0, and each group has Subs scales. Codes are bytes, of which NarrowSteps
/// dot steps may be added before the sums are widened, or, if NarrowSteps is 0, pairs.
template <std::size_t Subs, bool HasMin, int Zero, std::size_t NarrowSteps>
struct code_kind {
  static constexpr std::size_t subs = Subs, narrow_steps = NarrowSteps;
  static constexpr bool has_min = HasMin, is_pairs = NarrowSteps == 0;
  static constexpr int zero = Zero;
  static constexpr std::size_t step_bytes = is_pairs ? 128 : 64, group_bytes = group_steps * step_bytes;
};

/// Unpacked columns. Pairs of 16 groups take 16 KB, so that they share the first-level cache with the activations of a tile.
struct unpacked_columns {
  static constexpr std::size_t max_groups = 16;

  alignas(64) std::byte codes[max_groups * group_steps * 128];
  alignas(64) float scales[max_groups * 2 * panel_rows];
  alignas(64) float mins[max_groups * 2 * panel_rows];
};

/// Unpacks blocks of Format for sets without a direct product of bytes.
template <class Format, class Isa>
struct unpack_columns {
  using op = isa::vec<Isa>;
  using dot = int8_dot<Isa>;
  using layout = panel<Format>;
  using unpack = typename layout::template unpack<Isa>;
  using blocks = panel_blocks<Format, Isa>;

  /// Unpacks n_blocks blocks from `block` on as Kind, and prefetches as many bytes after them.
  template <class Kind>
  static CRIA_KERNEL void run(const gemm_args& a, const std::byte* block, std::size_t n_blocks, unpacked_columns& out) noexcept {
    const std::size_t block_bytes = blocks::bytes(a);
    decoded_scales<unpack> sc;
    std::byte* codes = out.codes;
    float *scales = out.scales, *mins = out.mins;
    const std::byte *end = block + n_blocks * block_bytes, *ahead = end;
    for (; block != end; block += block_bytes, ahead += block_bytes) {
      for (std::size_t n = 0; n < block_bytes; n += 64) CRIA_PREFETCH(ahead + n);
      const std::byte* columns = blocks::decode(a, block, sc.bytes);
      for (std::size_t g = 0; g < layout::groups; ++g, codes += Kind::group_bytes) {
        for (std::size_t r = 0; r < panel_rows; r += op::lanes) {
          each<group_steps>([&]<std::size_t Step>() CRIA_PART_LAMBDA {
            put<Kind>(unpack::template codes<Step>(columns, g, r), codes + Step * Kind::step_bytes + 4 * r);
          });
          CRIA_UNROLL
          for (std::size_t sub = 0; sub < layout::subs; ++sub) {
            op::store(scales + sub * panel_rows + r, unpack::scale(columns, sc.bytes, g, r, sub));
            if constexpr (layout::has_min) op::store(mins + sub * panel_rows + r, unpack::min(columns, sc.bytes, g, r, sub));
          }
        }
        scales += layout::subs * panel_rows;
        mins += layout::subs * panel_rows;
      }
    }
  }

 private:
  template <class Kind>
  static CRIA_PART void put(typename op::i w, std::byte* out) noexcept {
    if constexpr (Kind::is_pairs) {
      const auto zeros = op::set_i(layout::zero * 0x00010001);
      op::store_i(out, dot::minus(dot::even(w), zeros));
      op::store_i(out + 64, dot::minus(dot::odd(w), zeros));
    } else {
      op::store_i(out, w);
    }
  }
};

}  // namespace cria::inline v0_1_0::kernels
