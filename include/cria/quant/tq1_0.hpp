// SPDX-License-Identifier: MIT
// quant/tq1_0.hpp - 256 values of -1, 0 and 1, five in a byte, with one scale: value = d (q - 1).
//
//   byte  0             48           52
//         | qs[0..47]   | qh[0..3]   | d |        54 bytes, 1.6875 bits a value
//                                      f16
//   Values 0 to 159:    32 n + m is digit n < 5 of qs[m], m < 32
//   Values 160 to 239:  160 + 16 n + m is digit n < 5 of qs[32 + m], m < 16
//   Values 240 to 255:  240 + 4 n + m is digit n < 4 of qh[m]
//   A byte b is a fraction: b / 256 = 0.q0 q1 q2 q3 q4 to the base 3, rounded up. So digit n is the integral part of 3 f, where f is the fractional part of
//   3^n b / 256.
//
// Ensures   see octet_block.hpp
// Source    ggml's block_tq1_0 (August 2026)
#pragma once

#include <cria/quant/octet_block.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

struct tq1_0 {
  std::uint8_t qs[48];   ///< five digits a byte
  std::uint8_t qh[4];    ///< four digits a byte
  f16 d;                 ///< scale

  static constexpr tensor_type type = tensor_type::tq1_0;
  static constexpr std::size_t block_size = 256;
  static constexpr std::string_view name = "tq1_0";

  [[nodiscard]] CRIA_ALWAYS_INLINE f16 scales_unit() const noexcept { return d; }
  [[nodiscard]] CRIA_ALWAYS_INLINE unsigned scale(std::size_t, std::size_t) const noexcept { return 8; }
  [[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t octet(std::size_t g, std::size_t l) const noexcept {
    if (g < 5) return codes(word<std::uint64_t>(qs + 8 * l), g);
    if (g < 7 || l < 2) return codes(word<std::uint64_t>(qs + 32 + 8 * (l % 2)), 2 * (g - 5) + l / 2);
    const std::uint64_t bytes = word<std::uint32_t>(qh);
    return (codes(bytes, 2 * l - 4) & 0xffffffff) | codes(bytes, 2 * l - 3) << 32;
  }

  static void dequantize(const tq1_0& block, std::span<float, block_size> out) noexcept { detail::dequantize_octets(block, out); }

 private:
  template <class Word>
  static CRIA_ALWAYS_INLINE Word word(const std::uint8_t* bytes) noexcept {
    Word w;
    std::memcpy(&w, bytes, sizeof w);
    return w;
  }
  /// Returns the codes of digit n of eight bytes. Each second byte has 16 bits to multiply in.
  static CRIA_ALWAYS_INLINE std::uint64_t codes(std::uint64_t bytes, std::size_t n) noexcept {
    constexpr std::uint8_t powers[] = {1, 3, 9, 27, 81};
    constexpr std::uint64_t second = 0x00ff00ff00ff00ff;
    const std::uint64_t even = (bytes & second) * powers[n] & second, odd = (bytes >> 8 & second) * powers[n] & second;
    return ((3 * even >> 8 & second) | (3 * odd & ~second)) + (detail::octet_zero - 1) * grids::repeated;
  }
};

static_assert(quant_block<tq1_0> && octet_block<tq1_0> && sizeof(tq1_0) == 54 && alignof(tq1_0) == 2 && offsetof(tq1_0, qh) == 48 && offsetof(tq1_0, d) == 52);

}  // namespace cria::inline v0_1_0
