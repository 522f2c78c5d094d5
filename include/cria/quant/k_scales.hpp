// SPDX-License-Identifier: MIT
// quant/k_scales.hpp - how q4_k and q5_k hold eight 6-bit scales and eight 6-bit minima in 12 bytes.
//
//   byte j < 4       low six bits: scale j        high two bits: bits 4 and 5 of scale j + 4
//   byte 4 + j       low six bits: minimum j      high two bits: bits 4 and 5 of minimum j + 4
//   byte 8 + j       low nibble: bits 0 to 3 of scale j + 4      high nibble: bits 0 to 3 of minimum j + 4
//
// Source    ggml's block_q4_K (July 2026)
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0 {

/// A sub-block's factors.
struct k_scale {
  int scale = 0, min = 0;   ///< 0 to 63
};

/// Returns the scale and the minimum of sub-block `j` < 8.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr k_scale unpack_k_scale(const std::uint8_t (&bytes)[12], std::size_t j) noexcept {
  if (j < 4) return {bytes[j] & 63, bytes[j + 4] & 63};
  return {(bytes[j + 4] & 15) | bytes[j - 4] >> 6 << 4, bytes[j + 4] >> 4 | bytes[j] >> 6 << 4};
}

/// Writes eight scales and eight minima.
constexpr void pack_k_scales(const int (&scales)[8], const int (&mins)[8], std::uint8_t (&bytes)[12]) noexcept {
  for (std::size_t j = 0; j < 4; ++j) {
    bytes[j] = static_cast<std::uint8_t>(scales[j] | scales[j + 4] >> 4 << 6);
    bytes[j + 4] = static_cast<std::uint8_t>(mins[j] | mins[j + 4] >> 4 << 6);
    bytes[j + 8] = static_cast<std::uint8_t>((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
  }
}

}  // namespace cria::inline v0_1_0
