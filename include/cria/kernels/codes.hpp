// SPDX-License-Identifier: MIT
// kernels/codes.hpp - where the bits of a group's 32 codes are in a panel: codes of n bits take n vectors of 64 bytes.
//
// Shapes    byte 4 r + b of a vector belongs to row r, and holds bits of codes 4 step + b, step = 0..7
// Ensures   as many bits as the codes have, each in a place of its own
// Errors    none (noexcept)
//
// Each byte holds as many whole codes as fit, from its low bits up: step s < whole is in vector s % Bits, field s / Bits. The remaining bits of the bytes
// hold the other steps in pieces. So most steps take a shift and a mask. One plane for each bit would take two of each, and a third operation to join them.
//
//   4 bits   | 4 4 | 4 4 | ...          vector j: steps j and j + 4
//   2 bits   | 2 2 2 2 | 2 2 2 2 |      vector v: steps v, v + 2, v + 4, v + 6
//   3 bits   | 3 3 : 2 | 3 3 : 2 | 3 3 : 1 1 |                      two steps (6, 7) in pieces
//   5 bits   | 5 : 3 | 5 : 3 | 5 : 3 | 5 : 2 1 | 5 : 1 2 |          three (5, 6, 7)
//   6 bits   | 6 : 2 | 6 : 2 | 6 : 2 | 6 : 2 | 6 : 2 | 6 : 2 |      two (6, 7)
#pragma once

#include <cria/isa/vec.hpp>
#include <cria/kernels/layout.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace cria::inline v0_1_0::kernels {

inline constexpr std::size_t group_steps = 8;

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

/// The 32 codes of one row's group, a byte each; word s is step s.
struct group_codes {
  std::uint32_t steps[group_steps] = {};

  /// Returns bits [bit, bit + N) of each of 32 bytes.
  template <int N>
  [[nodiscard]] static CRIA_ALWAYS_INLINE group_codes fields(const std::uint8_t* bytes, std::size_t bit) noexcept {
    group_codes c;
    CRIA_UNROLL
    for (std::size_t s = 0; s < group_steps; ++s) c.steps[s] = word(bytes, s) >> bit & mask<N>;
    return c;
  }
  /// Returns the nibbles of 16 bytes, the low ones first.
  [[nodiscard]] static CRIA_ALWAYS_INLINE group_codes nibbles(const std::uint8_t* bytes) noexcept {
    group_codes c;
    CRIA_UNROLL
    for (std::size_t j = 0; j < 4; ++j) c.steps[j] = word(bytes, j) & mask<4>;
    CRIA_UNROLL
    for (std::size_t j = 0; j < 4; ++j) c.steps[j + 4] = word(bytes, j) >> 4 & mask<4>;
    return c;
  }
  /// Returns the bits of 4 bytes.
  [[nodiscard]] static CRIA_ALWAYS_INLINE group_codes bits(const std::uint8_t* bytes) noexcept {
    group_codes c;
    const std::uint32_t all = word(bytes, 0);
    CRIA_UNROLL
    for (std::size_t s = 0; s < group_steps; ++s) c.steps[s] = (all >> 4 * s & 15) * 0x00204081U & mask<1>;
    return c;
  }

  /// The other way: adds the low N bits of each code to what the bytes hold.
  template <int N>
  CRIA_ALWAYS_INLINE void to_fields(std::uint8_t* bytes, std::size_t bit) const noexcept {
    CRIA_UNROLL
    for (std::size_t s = 0; s < group_steps; ++s) put_word(bytes, s, word(bytes, s) | (steps[s] & mask<N>) << bit);
  }
  CRIA_ALWAYS_INLINE void to_nibbles(std::uint8_t* bytes) const noexcept {
    CRIA_UNROLL
    for (std::size_t j = 0; j < 4; ++j) put_word(bytes, j, (steps[j] & mask<4>) | (steps[j + 4] & mask<4>) << 4);
  }
  CRIA_ALWAYS_INLINE void to_bits(std::uint8_t* bytes) const noexcept {
    std::uint32_t all = 0;
    CRIA_UNROLL
    for (std::size_t s = 0; s < group_steps; ++s) all |= ((steps[s] & mask<1>) * 0x01020408U >> 24) << 4 * s;
    put_word(bytes, 0, all);
  }

  friend CRIA_ALWAYS_INLINE group_codes operator|(group_codes a, const group_codes& b) noexcept {
    CRIA_UNROLL
    for (std::size_t s = 0; s < group_steps; ++s) a.steps[s] |= b.steps[s];
    return a;
  }
  /// Codes times 2^n, which must fit their bytes; and divided by it.
  friend CRIA_ALWAYS_INLINE group_codes operator<<(group_codes a, int n) noexcept {
    CRIA_UNROLL
    for (std::uint32_t& s : a.steps) s <<= n;
    return a;
  }
  friend CRIA_ALWAYS_INLINE group_codes operator>>(group_codes a, int n) noexcept {
    const std::uint32_t kept = 0x01010101U * (255U >> n);
    CRIA_UNROLL
    for (std::uint32_t& s : a.steps) s = s >> n & kept;
    return a;
  }

 private:
  template <int N>
  static constexpr std::uint32_t mask = 0x01010101U * ((1U << N) - 1);

  static CRIA_ALWAYS_INLINE std::uint32_t word(const std::uint8_t* bytes, std::size_t n) noexcept {
    std::uint32_t value;
    std::memcpy(&value, bytes + 4 * n, 4);
    return value;
  }
  static CRIA_ALWAYS_INLINE void put_word(std::uint8_t* bytes, std::size_t n, std::uint32_t value) noexcept { std::memcpy(bytes + 4 * n, &value, 4); }
};

/// Bits [bit, bit + n) of a code: they lie in a vector's bytes from bit `at` on.
struct code_piece {
  int vector, at, bit, n;
};
struct code_place {
  code_piece pieces[3];
  int n_pieces;
};
struct code_places {
  code_place steps[group_steps];
};

/// Returns where the codes lie (see above).
template <int Bits>
consteval code_places make_code_places() {
  constexpr int steps = static_cast<int>(group_steps), whole = Bits * (8 / Bits);
  code_places out{};
  for (int s = 0; s < whole; ++s) out.steps[s] = {{{s % Bits, s / Bits * Bits, 0, Bits}}, 1};
  for (int v = 0; whole < steps && v < Bits; ++v) {
    int step = whole + v % (steps - whole);
    for (int at = 8 / Bits * Bits; at < 8;) {
      code_place& place = out.steps[step];
      int filled = 0;
      for (int p = 0; p < place.n_pieces; ++p) filled += place.pieces[p].n;
      const int n = Bits - filled < 8 - at ? Bits - filled : 8 - at;
      if (n > 0) place.pieces[place.n_pieces++] = {v, at, filled, n};
      at += n;
      step = step + 1 < steps ? step + 1 : whole;
    }
  }
  return out;
}

/// A group's plane: `bytes` at an address of any alignment.
template <int Bits>
struct code_plane {
  static constexpr std::size_t bytes = 64 * Bits;
  static constexpr code_places places = make_code_places<Bits>();

  /// Puts row r's codes into the plane.
  static CRIA_ALWAYS_INLINE void put(std::byte* plane, std::size_t r, const group_codes& codes) noexcept {
    std::uint32_t vectors[std::size_t{Bits}] = {};
    each_piece([&]<std::size_t Step, int Piece>() CRIA_LAMBDA_INLINE {
      constexpr code_piece p = places.steps[Step].pieces[Piece];
      const std::uint32_t bits = p.n == Bits ? codes.steps[Step] : codes.steps[Step] >> p.bit & field<p.n>;
      vectors[p.vector] |= bits << p.at;
    });
    for (std::size_t v = 0; v < Bits; ++v) kernels::put(plane + 64 * v, r, vectors[v]);
  }
  static CRIA_ALWAYS_INLINE group_codes get(const std::byte* plane, std::size_t r) noexcept {
    std::uint32_t vectors[std::size_t{Bits}];
    for (std::size_t v = 0; v < Bits; ++v) vectors[v] = kernels::get<std::uint32_t>(plane + 64 * v, r);
    group_codes codes;
    each_piece([&]<std::size_t Step, int Piece>() CRIA_LAMBDA_INLINE {
      constexpr code_piece p = places.steps[Step].pieces[Piece];
      codes.steps[Step] |= (vectors[p.vector] >> p.at & field<p.n>) << p.bit;
    });
    return codes;
  }

  /// Returns the codes of step Step for vec<Isa>::lanes rows from r on, as bytes.
  template <class Isa, std::size_t Step>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::i step(const std::byte* plane, std::size_t r) noexcept {
    constexpr int n = places.steps[Step].n_pieces;
    auto codes = piece<Isa, Step, 0>(plane, r);
    if constexpr (n > 1) codes = codes | piece<Isa, Step, 1>(plane, r);
    if constexpr (n > 2) codes = codes | piece<Isa, Step, 2>(plane, r);
    return codes;
  }

 private:
  template <int N>
  static constexpr std::uint32_t field = 0x01010101U * ((1U << N) - 1);

  /// Calls fn<Step, Piece>() for all pieces.
  template <class F>
  static CRIA_ALWAYS_INLINE void each_piece(F fn) noexcept {
    [&]<std::size_t... Step>(std::index_sequence<Step...>) CRIA_LAMBDA_INLINE { (each_piece_of<Step>(fn), ...); }(std::make_index_sequence<group_steps>{});
  }
  template <std::size_t Step, class F>
  static CRIA_ALWAYS_INLINE void each_piece_of(F& fn) noexcept {
    constexpr int n = places.steps[Step].n_pieces;
    fn.template operator()<Step, 0>();
    if constexpr (n > 1) fn.template operator()<Step, 1>();
    if constexpr (n > 2) fn.template operator()<Step, 2>();
  }

  template <class Isa, std::size_t Step, int Piece>
  static CRIA_ALWAYS_INLINE typename isa::vec<Isa>::i piece(const std::byte* plane, std::size_t r) noexcept {
    using op = isa::vec<Isa>;
    constexpr code_piece p = places.steps[Step].pieces[Piece];
    const auto x = op::load_i(plane + 64 * p.vector + 4 * r);
    const auto bits = op::set_i(static_cast<std::int32_t>(field<p.n> << p.bit));
    if constexpr (p.at >= p.bit) {
      return op::template shr<p.at - p.bit>(x) & bits;
    } else {
      return op::template shl<p.bit - p.at>(x) & bits;
    }
  }
};

/// The same for 16 bytes of nibbles and code_plane<4>, which holds them as they are.
CRIA_ALWAYS_INLINE void put_nibbles(std::byte* plane, std::size_t r, const std::uint8_t* nibbles) noexcept {
  for (std::size_t j = 0; j < 4; ++j) std::memcpy(plane + 64 * j + 4 * r, nibbles + 4 * j, 4);
}
CRIA_ALWAYS_INLINE void get_nibbles(const std::byte* plane, std::size_t r, std::uint8_t* nibbles) noexcept {
  for (std::size_t j = 0; j < 4; ++j) std::memcpy(nibbles + 4 * j, plane + 64 * j + 4 * r, 4);
}

}  // namespace cria::inline v0_1_0::kernels
