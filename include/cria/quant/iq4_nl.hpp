// SPDX-License-Identifier: MIT
// quant/iq4_nl.hpp - 32 values as 4-bit indices into a fixed uneven codebook, with one scale: value = d codebook[q].
//
//   byte  0      2                                    18
//         | d    | qs[0] | qs[1] | ...       | qs[15] |        18 bytes, 4.5 bits a value
//           f16
//   qs[j]   low nibble: value j    high nibble: value j + 16
//
// Ensures   quantize minimises the squared error (scale_search.hpp); smaller than that of ggml's quantiser on the average.
// Source    ggml's block_iq4_nl and its codebook (July 2026)
#pragma once

#include <cria/core/float16.hpp>
#include <cria/quant/block.hpp>
#include <cria/quant/scale_search.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

/// The levels of iq4_nl and iq4_xs, ascending.
inline constexpr std::int8_t iq4_codebook[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

namespace detail {

/// The codebook's levels as codes for the scale search.
struct iq4_codes {
  /// Returns the index of the level nearest to `v`; 0 for NaN.
  [[nodiscard]] static CRIA_ALWAYS_INLINE int index(float v) noexcept {
    int q = 0;
    for (std::size_t i = 1; i < 16; ++i) q += v > border(i) ? 1 : 0;
    return q;
  }
  /// Returns the level nearest to `v`; the lowest for NaN.
  [[nodiscard]] static CRIA_ALWAYS_INLINE float nearest(float v) noexcept {
    float level = iq4_codebook[0];
    for (std::size_t i = 1; i < 16; ++i) level += select(v > border(i), static_cast<float>(iq4_codebook[i] - iq4_codebook[i - 1]), 0.0f);
    return level;
  }

 private:
  static constexpr float border(std::size_t i) noexcept { return static_cast<float>(iq4_codebook[i] + iq4_codebook[i - 1]) / 2; }
};

inline constexpr search_grid iq4_grid[] = {{-134.0f, 4.0f, 7}, {100.0f, 5.0f, 5}};

}  // namespace detail

struct iq4_nl {
  f16 d;                 ///< scale
  std::uint8_t qs[16];   ///< indices, two a byte

  static constexpr tensor_type type = tensor_type::iq4_nl;
  static constexpr std::size_t block_size = 32;
  static constexpr std::string_view name = "iq4_nl";

  static void dequantize(const iq4_nl& block, std::span<float, block_size> out) noexcept {
    const float d = to_float(block.d);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(iq4_codebook[block.qs[j] & 15]);
      out[j + 16] = d * static_cast<float>(iq4_codebook[block.qs[j] >> 4]);
    }
  }

  [[nodiscard]] static iq4_nl quantize(std::span<const float, block_size> values) noexcept {
    iq4_nl block;
    block.d = to_f16(detail::fit_scale<detail::iq4_codes>(values, detail::iq4_grid).scale);
    const float inverse = detail::reciprocal_or_zero(to_float(block.d));
    for (std::size_t j = 0; j < 16; ++j) {
      const int low = detail::iq4_codes::index(values[j] * inverse), high = detail::iq4_codes::index(values[j + 16] * inverse);
      block.qs[j] = static_cast<std::uint8_t>(low | high << 4);
    }
    return block;
  }
};

static_assert(quant_block<iq4_nl> && sizeof(iq4_nl) == 18 && alignof(iq4_nl) == 2 && offsetof(iq4_nl, qs) == 2);

}  // namespace cria::inline v0_1_0
