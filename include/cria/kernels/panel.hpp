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

  /// Puts row r's 16 bytes into a four-bit plane: low nibbles are values 0..15, high nibbles values 16..31.
  static CRIA_ALWAYS_INLINE void put_nibbles(std::byte* plane, std::size_t r, const std::uint8_t* nibbles) noexcept {
    for (std::size_t j = 0; j < 4; ++j) std::memcpy(plane + 64 * j + 4 * r, nibbles + 4 * j, 4);
  }
  static CRIA_ALWAYS_INLINE void get_nibbles(const std::byte* plane, std::size_t r, std::uint8_t* nibbles) noexcept {
    for (std::size_t j = 0; j < 4; ++j) std::memcpy(nibbles + 4 * j, plane + 64 * j + 4 * r, 4);
  }

  /// Puts row r's 32 bytes into the four-bit planes of two groups: the low nibbles are one group, the high nibbles the other.
  static CRIA_ALWAYS_INLINE void put_two_groups(std::byte* low, std::byte* high, std::size_t r, const std::uint8_t* nibbles) noexcept {
    constexpr std::uint32_t mask = 0x0f0f0f0f;
    for (std::size_t j = 0; j < 4; ++j) {
      const std::uint32_t x = word(nibbles, j), y = word(nibbles, j + 4);
      put_word(low + 64 * j, r, (x & mask) | (y & mask) << 4);
      put_word(high + 64 * j, r, (x >> 4 & mask) | (y & ~mask));
    }
  }
  static CRIA_ALWAYS_INLINE void get_two_groups(const std::byte* low, const std::byte* high, std::size_t r, std::uint8_t* nibbles) noexcept {
    constexpr std::uint32_t mask = 0x0f0f0f0f;
    for (std::size_t j = 0; j < 4; ++j) {
      const std::uint32_t x = word(low + 64 * j, r), y = word(high + 64 * j, r);
      put_word(nibbles, j, (x & mask) | (y & mask) << 4);
      put_word(nibbles, j + 4, (x >> 4 & mask) | (y & ~mask));
    }
  }

  /// Puts row r's 32 bytes into the two-bit planes, `stride` bytes apart, of four groups: bits 2 n and 2 n + 1 are group n.
  static CRIA_ALWAYS_INLINE void put_four_groups(std::byte* planes, std::size_t stride, std::size_t r, const std::uint8_t* bytes) noexcept {
    for (std::size_t v = 0; v < 2; ++v) {
      std::uint32_t x[4];
      for (std::size_t n = 0; n < 4; ++n) x[n] = word(bytes, v + 2 * n);
      transpose_two_bits(x);
      for (std::size_t n = 0; n < 4; ++n) put_word(planes + n * stride + 64 * v, r, x[n]);
    }
  }
  static CRIA_ALWAYS_INLINE void get_four_groups(const std::byte* planes, std::size_t stride, std::size_t r, std::uint8_t* bytes) noexcept {
    for (std::size_t v = 0; v < 2; ++v) {
      std::uint32_t x[4];
      for (std::size_t n = 0; n < 4; ++n) x[n] = word(planes + n * stride + 64 * v, r);
      transpose_two_bits(x);
      for (std::size_t n = 0; n < 4; ++n) put_word(bytes, v + 2 * n, x[n]);
    }
  }

  /// Puts row r's 32 bytes into the one-bit planes, `stride` bytes apart, of eight groups: bit n is group n.
  static CRIA_ALWAYS_INLINE void put_eight_groups(std::byte* planes, std::size_t stride, std::size_t r, const std::uint8_t* bytes) noexcept {
    std::uint32_t x[8];
    for (std::size_t n = 0; n < 8; ++n) x[n] = word(bytes, n);
    transpose_bits(x);
    for (std::size_t n = 0; n < 8; ++n) put_word(planes + n * stride, r, x[n]);
  }
  static CRIA_ALWAYS_INLINE void get_eight_groups(const std::byte* planes, std::size_t stride, std::size_t r, std::uint8_t* bytes) noexcept {
    std::uint32_t x[8];
    for (std::size_t n = 0; n < 8; ++n) x[n] = word(planes + n * stride, r);
    transpose_bits(x);
    for (std::size_t n = 0; n < 8; ++n) put_word(bytes, n, x[n]);
  }

  /// Puts row r's 4 bytes, bit n % 8 of byte n / 8 for value n, into the one-bit plane of one group.
  static CRIA_ALWAYS_INLINE void put_bits(std::byte* plane, std::size_t r, const std::uint8_t* bits) noexcept {
    // Bit 4 step + b goes to bit 8 b + step: the five digits of its number are rotated by two.
    put_word(plane, r, swap_digits<1, 0>(swap_digits<2, 1>(swap_digits<3, 0>(swap_digits<4, 1>(word(bits, 0))))));
  }
  static CRIA_ALWAYS_INLINE void get_bits(const std::byte* plane, std::size_t r, std::uint8_t* bits) noexcept {
    put_word(bits, 0, swap_digits<4, 1>(swap_digits<3, 0>(swap_digits<2, 1>(swap_digits<1, 0>(word(plane, r))))));
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
  static CRIA_ALWAYS_INLINE std::uint32_t word(const void* bytes, std::size_t n) noexcept {
    std::uint32_t value;
    std::memcpy(&value, static_cast<const std::byte*>(bytes) + 4 * n, 4);
    return value;
  }
  static CRIA_ALWAYS_INLINE void put_word(void* bytes, std::size_t n, std::uint32_t value) noexcept {
    std::memcpy(static_cast<std::byte*>(bytes) + 4 * n, &value, 4);
  }

  /// Exchanges the bits Mask << Shift of `a` with the bits Mask of `b`.
  template <int Shift, std::uint32_t Mask>
  static CRIA_ALWAYS_INLINE void exchange(std::uint32_t& a, std::uint32_t& b) noexcept {
    const std::uint32_t differing = ((a >> Shift) ^ b) & Mask;
    b ^= differing;
    a ^= differing << Shift;
  }
  /// In each byte: field n of word m <-> field m of word n, fields of two bits or one.
  static CRIA_ALWAYS_INLINE void transpose_two_bits(std::uint32_t (&x)[4]) noexcept {
    for (std::size_t n = 0; n < 2; ++n) exchange<4, 0x0f0f0f0f>(x[n], x[n + 2]);
    for (std::size_t n = 0; n < 4; n += 2) exchange<2, 0x33333333>(x[n], x[n + 1]);
  }
  static CRIA_ALWAYS_INLINE void transpose_bits(std::uint32_t (&x)[8]) noexcept {
    for (std::size_t n = 0; n < 4; ++n) exchange<4, 0x0f0f0f0f>(x[n], x[n + 4]);
    for (std::size_t n = 0; n < 4; ++n) exchange<2, 0x33333333>(x[n + n / 2 * 2], x[n + n / 2 * 2 + 2]);
    for (std::size_t n = 0; n < 8; n += 2) exchange<1, 0x55555555>(x[n], x[n + 1]);
  }

  /// The bits whose number has digit A clear and digit B set.
  static constexpr std::uint32_t numbers_with(int a, int b) {
    std::uint32_t mask = 0;
    for (int n = 0; n < 32; ++n) mask |= (n >> a & 1) == 0 && (n >> b & 1) != 0 ? 1u << n : 0u;
    return mask;
  }
  /// Moves each bit of `x` to the number with binary digits A and B exchanged; A > B.
  template <int A, int B>
  static CRIA_ALWAYS_INLINE std::uint32_t swap_digits(std::uint32_t x) noexcept {
    constexpr std::uint32_t mask = numbers_with(A, B);
    constexpr int distance = (1 << A) - (1 << B);
    const std::uint32_t differing = ((x >> distance) ^ x) & mask;
    return x ^ differing ^ differing << distance;
  }

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

/// N bytes of each row, 16 rows side by side: byte 16 n + r is byte n of row r.
template <std::size_t N>
CRIA_ALWAYS_INLINE void put_bytes(std::byte* out, std::size_t r, const std::uint8_t (&bytes)[N]) noexcept {
  for (std::size_t n = 0; n < N; ++n) out[16 * n + r] = static_cast<std::byte>(bytes[n]);
}
template <std::size_t N>
CRIA_ALWAYS_INLINE void get_bytes(const std::byte* in, std::size_t r, std::uint8_t (&bytes)[N]) noexcept {
  for (std::size_t n = 0; n < N; ++n) bytes[n] = std::to_integer<std::uint8_t>(in[16 * n + r]);
}

/// Scales and mins of q4_k and q5_k from their 12 bytes (quant/k_scales.hpp), which lie as put_bytes leaves them.
template <class Isa>
struct k_scale_bytes {
  using op = isa::vec<Isa>;

  static CRIA_ALWAYS_INLINE typename op::i scale(const std::byte* bytes, std::size_t g, std::size_t r) noexcept {
    if (g < 4) return op::load_u8(bytes + 16 * g + r) & op::set_i(63);
    return (op::load_u8(bytes + 16 * (g + 4) + r) & op::set_i(15)) | top(bytes + 16 * (g - 4) + r);
  }
  static CRIA_ALWAYS_INLINE typename op::i min(const std::byte* bytes, std::size_t g, std::size_t r) noexcept {
    if (g < 4) return op::load_u8(bytes + 16 * (g + 4) + r) & op::set_i(63);
    return op::template shr<4>(op::load_u8(bytes + 16 * (g + 4) + r)) | top(bytes + 16 * g + r);
  }

 private:
  static CRIA_ALWAYS_INLINE typename op::i top(const std::byte* bytes) noexcept {
    return op::template shl<4>(op::template shr<6>(op::load_u8(bytes)));
  }
};

/// A format's 16 levels as codes: level + zero.
struct code_table {
  std::uint8_t codes[16];

  consteval code_table(const std::int8_t (&levels)[16], int zero) noexcept : codes{} {
    for (std::size_t n = 0; n < 16; ++n) codes[n] = static_cast<std::uint8_t>(levels[n] + zero);
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
