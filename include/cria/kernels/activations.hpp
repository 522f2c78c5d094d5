// SPDX-License-Identifier: MIT
// kernels/activations.hpp - activations quantised to integers, laid out as the matrix products read them.
//
// Shapes    X[T,K], K a multiple of 32. Tokens form tiles of a width that suits the registers (activation_size.hpp). Where no width fits the last tokens, their
//           tile is padded with zero tokens. A tile consists of its groups of 32 k, one after another:
//
//             group: | plane h: word[step][token] | plane l: word[step][token] | d[token] | bias[3][token] | ds[3][token] |
//
//           A word is int8 x 4 consecutive k, so that a token's word is one broadcast load, and the loads of a step are adjacent.
//           A tile of one token has the words of all groups first, then d of all groups, then each bias and each ds of all groups. A product reads only the
//           fields that it needs, and these share the first-level cache with the weights that stream through it (for 5,632 values at `exact`, 13 KB
//           instead of the 16 KB that records by group would take).
// Values    x = d (128 h + l) at precision::exact; x = d h at precision::fast, which has no plane l.
//           If bytes have no direct product (int8_dot.hpp), `exact` tiles of several tokens have pairs of int16 instead of planes: of the four numbers
//           q = 128 h + l of a step, the first and third in the place of plane h, the second and fourth in the place of plane l.
//           bias = -8 sum q and ds = d sum q: [0] of the whole group, [1] of its first 16 values, [2] of the others.
// Units     words of 32 bits; floats are stored by their bits
// Ensures   |q| <= 16256 (exact) or 127 (fast); |h| <= 127, -64 <= l < 64. The largest |x| of a group is represented exactly, up to rounding. A group of zeros
//           has d = 0. inf or NaN in a group makes its d non-finite, and so every output that it contributes to.
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/types.hpp>
#include <cria/isa/f32x16.hpp>
#include <cria/kernels/activation_size.hpp>
#include <cria/kernels/int8_dot.hpp>
#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/panel.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

template <class Isa>
inline constexpr token_tiles tiles_of{Isa::tile_tokens, Isa::fewest_tile_tokens};

/// The places of the fields of a group, in words, in a tile of W > 1 tokens. Plane h is at 0 and plane l at `plane`; the biases, and the ds, are `step` apart.
template <std::size_t W>
struct activation_group {
  static constexpr std::size_t plane = group_steps * W, step = W;
  std::size_t d, bias, ds, words;

  explicit CRIA_ALWAYS_INLINE constexpr activation_group(std::size_t n_planes) noexcept
      : d(n_planes * plane), bias(d + W), ds(bias + 3 * W), words(ds + 3 * W) {}
};

/// The same for a tile of one token, relative to the group's d.
struct row_fields {
  static constexpr std::size_t d = 0;
  std::size_t bias, ds, step;

  explicit CRIA_ALWAYS_INLINE constexpr row_fields(std::size_t n_groups) noexcept : bias(n_groups), ds(4 * n_groups), step(n_groups) {}
};

/// Turns activations into pairs of int16, for sets without a direct product of bytes.
template <class Isa>
struct activation_pairs {
  using op = isa::vec<Isa>;
  using dot = int8_dot<Isa>;

  /// How many words `make` may write: two for each word of a plane, and what a vector may be longer than they are.
  template <std::size_t W>
  static constexpr std::size_t room = (2 * W * group_steps) + op::lanes;

  /// Takes the words of a group of W tokens: plane h, and with Planes == 2 plane l after it. May read up to `lanes` words beyond them.
  template <std::size_t Planes, std::size_t W>
  static CRIA_ALWAYS_INLINE void make(const void* words, std::int32_t* pairs) noexcept {
    constexpr std::size_t n_words = W * group_steps;
    const std::byte* x = static_cast<const std::byte*>(words);
    for (std::size_t n = 0; n < n_words; n += op::lanes) {
      const auto h = op::load_i(x + 4 * n);
      auto even = byte<0x00000001 * scale<Planes>>(op::set_i(0), h), odd = byte<0x00000100 * scale<Planes>>(op::set_i(0), h);
      if constexpr (Planes == 2) {
        const auto l = op::load_i(x + 4 * (n_words + n));
        even = byte<0x00000001>(even, l), odd = byte<0x00000100>(odd, l);
      }
      op::store_i(pairs + n, even);
      op::store_i(pairs + n_words + n, odd);
    }
  }

 private:
  template <std::size_t Planes>
  static constexpr std::uint32_t scale = Planes == 2 ? 128 : 1;
  /// Adds one of two bytes of x, times a factor, to each int16: the dot step, with that factor and 0 as weights.
  template <std::uint32_t Weights>
  static CRIA_ALWAYS_INLINE typename op::i byte(typename op::i sum, typename op::i x) noexcept {
    return dot::step(sum, op::set_i(static_cast<std::int32_t>(Weights * 0x00010001U)), x);
  }
};

/// Memory for the pairs of a group of W tokens; almost none if IsUsed is false.
template <class Isa, std::size_t W, bool IsUsed>
struct group_pairs {
  alignas(64) std::int32_t words[IsUsed ? activation_pairs<Isa>::template room<W> : 1];

  /// Makes pairs of a group's words. The caller must load them one by one; otherwise the compiler would shuffle them out of the registers that they were made
  /// in.
  template <std::size_t Planes>
  CRIA_ALWAYS_INLINE const std::int32_t* make(const std::int32_t* x) noexcept {
    activation_pairs<Isa>::template make<Planes, W>(x, words);
    const std::int32_t* made = words;
    CRIA_FORGET(made);
    return made;
  }
};

template <class Isa>
struct quantize_activations {
  using v = isa::f32x16<Isa>;
  using op = isa::vec<Isa>;

  /// Quantises groups [begin, end) of token t into the tile that it belongs to.
  static void run(const quantize_args& a, std::size_t t, std::size_t begin, std::size_t end) noexcept {
    const auto [first, width] = tile_of(t, a.n_tokens, tiles_of<Isa>);
    const place to{a.out + first * a.n_groups * activation_words(a.activations_precision), t - first, width, t + 1 == a.n_tokens, a.n_groups};
    const float* row = a.x + t * a.ldx;
    if (a.activations_precision == precision::exact) {
      range<2>(row, begin, end, to);
    } else {
      range<1>(row, begin, end, to);
    }
  }

 private:
  /// The place of a token's groups.
  struct place {
    std::int32_t* tile;
    std::size_t column, width;
    bool is_last;           ///< the last of all tokens: the tile's remaining columns are padded with zeros
    std::size_t n_groups;
  };

  /// A quantised group.
  struct quantised {
    static constexpr std::size_t parts = 2 * v::parts;
    typename op::i q[parts];
    std::int32_t first, second;   ///< sums of the halves
    float d;
  };

  template <std::size_t Planes>
  static void range(const float* row, std::size_t begin, std::size_t end, const place& to) noexcept {
    constexpr std::size_t n_words = Planes * group_steps, all_words = activation_words(Planes == 2 ? precision::exact : precision::fast);
    if (to.width == 1) {
      for (std::size_t g = begin; g < end; ++g) {
        const quantised r = quantize<Planes>(row + g * group_size);
        store_planes<Planes>(r, to.tile + g * n_words);
        store_fields(r, to.tile + to.n_groups * n_words + g, to.n_groups);
      }
      return;
    }
    for (std::size_t g = begin; g < end; ++g) {
      std::int32_t* group = to.tile + g * to.width * all_words;
      const quantised r = quantize<Planes>(row + g * group_size);
      if constexpr (Planes == 2 && !int8_dot<Isa>::is_direct) {
        spread_pairs(r, group + to.column, to.width);
      } else {
        spread_planes<Planes>(r, group + to.column, to.width);
      }
      store_fields(r, group + n_words * to.width + to.column, to.width);
      for (std::size_t pad = to.column + 1; to.is_last && pad < to.width; ++pad) {
        for (std::size_t n = 0; n < all_words; ++n) group[n * to.width + pad] = 0;
      }
    }
  }

  template <std::size_t Planes>
  static CRIA_ALWAYS_INLINE quantised quantize(const float* x) noexcept {
    constexpr float steps = Planes == 2 ? 16256.0f : 127.0f;
    v a = v::load(x), b = v::load(x + 16);
    const float largest = bit_cast<float>(v::hmax_abs_bits(a, b));
    const bool is_finite = largest <= 3.4028234664e38f;
    if (!is_finite) a = b = v::set(0);
    // A group whose largest value is not above this counts as zeros, as steps / largest must be a finite float: 16256 / largest reaches 2^128 at 127 x 2^-121.
    constexpr float least = Planes == 2 ? 0x1.fcp-115f : 0x1p-115f;
    const float inverse = is_finite && largest > least ? steps / largest : 0.0f;
    quantised r;
    r.d = largest / steps;
    r.first = half(a, inverse, r.q);
    r.second = half(b, inverse, r.q + v::parts);
    return r;
  }

  /// Quantises 16 values and returns the sum of the integers.
  static CRIA_ALWAYS_INLINE std::int32_t half(const v& x, float inverse, typename op::i* q) noexcept {
    const auto scale = op::set(inverse);
    CRIA_UNROLL
    for (std::size_t n = 0; n < v::parts; ++n) q[n] = op::to_int(x.v[n] * scale);
    auto sum = q[0];
    CRIA_UNROLL
    for (std::size_t n = 1; n < v::parts; ++n) sum = sum + q[n];
    return op::hsum_i(sum);
  }

  /// Writes d, bias and ds `step` apart.
  static CRIA_ALWAYS_INLINE void store_fields(const quantised& r, std::int32_t* field, std::size_t step) noexcept {
    const std::int32_t whole = r.first + r.second;
    field[0] = bit_cast<std::int32_t>(r.d);
    field[step] = -8 * whole;
    field[2 * step] = -8 * r.first;
    field[3 * step] = -8 * r.second;
    field[4 * step] = bit_cast<std::int32_t>(r.d * static_cast<float>(whole));
    field[5 * step] = bit_cast<std::int32_t>(r.d * static_cast<float>(r.first));
    field[6 * step] = bit_cast<std::int32_t>(r.d * static_cast<float>(r.second));
  }

  /// Writes plane h, 32 bytes, and behind it plane l.
  template <std::size_t Planes>
  static CRIA_ALWAYS_INLINE void store_planes(const quantised& r, void* planes) noexcept {
    std::byte* h = static_cast<std::byte*>(planes);
    CRIA_UNROLL
    for (std::size_t n = 0; n < quantised::parts; ++n, h += op::lanes) {
      if constexpr (Planes == 2) {
        const auto high = op::template sra<7>(r.q[n] + op::set_i(64));
        op::store_s8(h, high);
        op::store_s8(h + group_size, r.q[n] - op::template shl<7>(high));
      } else {
        op::store_s8(h, r.q[n]);
      }
    }
  }

  // The words of several tokens are `width` apart, and get there by way of memory. Loads are never wider than the stores before them: a load that spans two
  // stores waits until both have reached the cache (loading 32 or 64 bytes over stores of 8 or 16, quantising took 1.4 to 1.9 times as long on AVX2).

  template <std::size_t Planes>
  static CRIA_ALWAYS_INLINE void spread_planes(const quantised& r, std::int32_t* word, std::size_t width) noexcept {
    alignas(64) std::byte planes[Planes * group_size];
    store_planes<Planes>(r, planes);
    for (std::size_t step = 0; step < Planes * group_steps; ++step) std::memcpy(word + step * width, planes + 4 * step, 4);
  }

  /// Writes the first and third number of each step as a pair, and the second and fourth as another.
  static CRIA_ALWAYS_INLINE void spread_pairs(const quantised& r, std::int32_t* word, std::size_t width) noexcept {
    alignas(64) std::int32_t q[group_size];
    CRIA_UNROLL
    for (std::size_t n = 0; n < quantised::parts; ++n) op::store_i(q + n * op::lanes, r.q[n]);
    const auto pair = [](std::int32_t low, std::int32_t high) { return (low & 0xffff) | static_cast<std::int32_t>(static_cast<std::uint32_t>(high) << 16); };
    for (std::size_t step = 0; step < group_steps; ++step, word += width) {
      word[0] = pair(q[4 * step], q[4 * step + 2]);
      word[group_steps * width] = pair(q[4 * step + 1], q[4 * step + 3]);
    }
  }
};

}  // namespace cria::inline v0_1_0::kernels
