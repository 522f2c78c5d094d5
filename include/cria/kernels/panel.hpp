// SPDX-License-Identifier: MIT
// kernels/panel.hpp - how sixteen rows of a weight lie side by side, so that one lane owns one row; per format in panel.<format>.hpp.
//
// A panel is 16 rows of W[N,K], block column after block column. A panel block holds the 16 rows' blocks of one column, as many bytes as
// they have in the file, without loss. Inside, per group of 32 values: code bytes interleaved in units of 4 consecutive k ("steps": a
// 64-byte vector is 16 rows x 4 k, row r's bytes at 4 r), then scales and mins, 16 side by side.
//
//   panel 0: | block column 0 | block column 1 | ...     panel 1: | ...
//   group:   | step 0: r0 k0..3, r1 k0..3, ... r15 k0..3 | ... | 16 scales | 16 mins |
//
// panel<Format> has
//   groups             groups of 32 in a block
//   w_max, zero        the largest code and the code that stands for 0: value = scale (code - zero) + min
//   subs, has_min      scales per group (of 32 / subs consecutive values); whether there are mins
//   pack(rows, out)    16 blocks -> one panel block            row(block, r) -> the block again
//   unpack<Isa>        codes<Step>(block, g, r): step Step of group g, for vec<Isa>::lanes rows from r, as bytes
//                      scale(block, g, r, sub), min(block, g, r, sub): their scales and mins as floats
//
// Float formats (f32, f16, bf16) are panels of 16 numbers per k; panel.float.hpp.
#pragma once

#include <cria/core/float16.hpp>
#include <cria/isa/vec.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cria::inline v0::kernels {

inline constexpr std::size_t panel_rows = 16;
inline constexpr std::size_t group_size = 32;
inline constexpr std::size_t group_steps = 8;

template <class Format>
struct panel;

/// A plane of codes of one group: the low four bits of each, the next two, or one more.
///   four_bits  256 bytes: byte 64 j + 4 r + b = code 4 j + b | code 16 + 4 j + b << 4        (j = 0..3: steps j and j + 4)
///   two_bits   128 bytes: byte 64 v + 4 r + b holds steps v, v + 2, v + 4, v + 6 from its low bits up
///   one_bit     64 bytes: byte 4 r + b holds step s in bit s
struct code_planes {
  static constexpr std::size_t four_bits_bytes = 256, two_bits_bytes = 128, one_bit_bytes = 64;

  /// Adds row r's 32 codes, bits [Shift, Shift + bits of the plane) of each, to zeroed planes.
  template <int Shift = 0>
  static CRIA_ALWAYS_INLINE void put_four_bits(std::byte* plane, std::size_t r, const std::uint8_t (&codes)[32]) noexcept {
    for (std::size_t j = 0; j < 4; ++j) {
      for (std::size_t b = 0; b < 4; ++b) {
        const unsigned low = static_cast<unsigned>(codes[4 * j + b] >> Shift) & 15, high = static_cast<unsigned>(codes[16 + 4 * j + b] >> Shift) & 15;
        plane[64 * j + 4 * r + b] = static_cast<std::byte>(low | high << 4);
      }
    }
  }
  template <int Shift>
  static CRIA_ALWAYS_INLINE void put_two_bits(std::byte* plane, std::size_t r, const std::uint8_t (&codes)[32]) noexcept {
    for (std::size_t v = 0; v < 2; ++v) {
      for (std::size_t b = 0; b < 4; ++b) {
        unsigned byte = 0;
        for (std::size_t field = 0; field < 4; ++field) byte |= (static_cast<unsigned>(codes[4 * (v + 2 * field) + b] >> Shift) & 3) << 2 * field;
        plane[64 * v + 4 * r + b] = static_cast<std::byte>(byte);
      }
    }
  }
  template <int Shift>
  static CRIA_ALWAYS_INLINE void put_one_bit(std::byte* plane, std::size_t r, const std::uint8_t (&codes)[32]) noexcept {
    for (std::size_t b = 0; b < 4; ++b) {
      unsigned byte = 0;
      for (std::size_t step = 0; step < 8; ++step) byte |= (static_cast<unsigned>(codes[4 * step + b] >> Shift) & 1) << step;
      plane[4 * r + b] = static_cast<std::byte>(byte);
    }
  }

  /// Adds what the plane says to row r's 32 codes: the inverse of the above.
  template <int Shift = 0>
  static CRIA_ALWAYS_INLINE void get_four_bits(const std::byte* plane, std::size_t r, std::uint8_t (&codes)[32]) noexcept {
    for (std::size_t k = 0; k < 32; ++k) {
      const auto byte = std::to_integer<unsigned>(plane[64 * (k % 16 / 4) + 4 * r + k % 4]);
      codes[k] = static_cast<std::uint8_t>(codes[k] | (byte >> 4 * (k / 16) & 15) << Shift);
    }
  }
  template <int Shift>
  static CRIA_ALWAYS_INLINE void get_two_bits(const std::byte* plane, std::size_t r, std::uint8_t (&codes)[32]) noexcept {
    for (std::size_t k = 0; k < 32; ++k) {
      const std::size_t step = k / 4;
      const auto byte = std::to_integer<unsigned>(plane[64 * (step % 2) + 4 * r + k % 4]);
      codes[k] = static_cast<std::uint8_t>(codes[k] | (byte >> 2 * (step / 2) & 3) << Shift);
    }
  }
  template <int Shift>
  static CRIA_ALWAYS_INLINE void get_one_bit(const std::byte* plane, std::size_t r, std::uint8_t (&codes)[32]) noexcept {
    for (std::size_t k = 0; k < 32; ++k) {
      const auto byte = std::to_integer<unsigned>(plane[4 * r + k % 4]);
      codes[k] = static_cast<std::uint8_t>(codes[k] | (byte >> k / 4 & 1) << Shift);
    }
  }

  /// Returns step Step of the rows from r: four bits at bit 0 of each byte; two bits or one bit at bit Shift.
  template <class Isa, std::size_t Step>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::i four_bits(const std::byte* plane, std::size_t r) noexcept {
    using op = isa::vec<Isa>;
    const auto bytes = op::load_i(plane + 64 * (Step % 4) + 4 * r);
    return op::template shr<(Step < 4 ? 0 : 4)>(bytes) & op::set_i(0x0f0f0f0f);
  }
  template <class Isa, std::size_t Step, int Shift>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::i two_bits(const std::byte* plane, std::size_t r) noexcept {
    return field<Isa, Shift, static_cast<int>(2 * (Step / 2)), 0x03030303>(plane + 64 * (Step % 2) + 4 * r);
  }
  template <class Isa, std::size_t Step, int Shift>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::i one_bit(const std::byte* plane, std::size_t r) noexcept {
    return field<Isa, Shift, static_cast<int>(Step), 0x01010101>(plane + 4 * r);
  }

 private:
  template <class Isa, int To, int From, std::int32_t Mask>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::i field(const std::byte* bytes) noexcept {
    using op = isa::vec<Isa>;
    const auto x = op::load_i(bytes);
    if constexpr (From >= To) {
      return op::template shr<From - To>(x) & op::set_i(Mask << To);
    } else {
      return op::template shl<To - From>(x) & op::set_i(Mask << To);
    }
  }
};

/// Copies number n of an array that lies unaligned in `bytes`.
template <class T>
[[nodiscard]] CRIA_ALWAYS_INLINE T get(const std::byte* bytes, std::size_t n) noexcept {
  T value;
  std::memcpy(&value, bytes + n * sizeof(T), sizeof(T));
  return value;
}
template <class T>
CRIA_ALWAYS_INLINE void put(std::byte* bytes, std::size_t n, T value) noexcept {
  std::memcpy(bytes + n * sizeof(T), &value, sizeof(T));
}

}  // namespace cria::inline v0::kernels
