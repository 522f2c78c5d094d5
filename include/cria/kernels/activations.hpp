// SPDX-License-Identifier: MIT
// kernels/activations.hpp - activations quantised to integers, as the matrix products read them.
//
// Shapes    X[T,K], K a multiple of 32. Tokens go in tiles of a width that suits the registers: as many full tiles as fit, then one
//           narrower tile for the rest, padded with zero tokens where no width fits. A tile is its groups of 32 k one after another:
//
//             group: | plane h: word[step][token] | plane l: word[step][token] | d[token] | bias[3][token] | ds[3][token] |
//
//           A tile of one token has the words of all groups first, then d of all groups, then each bias and each ds of all: a product reads the
//           few fields that it needs, which share the first-level cache with the weights that stream through it (16 KB as one record a group,
//           13 KB so, for 5,632 values at exact).
//           word = int8 x 4 consecutive k, so that one token's word is one broadcast load and a step's loads are consecutive.
//           x = d (128 h + l) at precision::exact, x = d h at precision::fast (no plane l).
//           Where bytes have no direct product (int8_dot.hpp), `exact` tiles of several tokens hold pairs of int16 in the place of the planes: of a step's
//           four numbers q = 128 h + l the first and third, in the place of plane l the second and fourth.
//           bias = -8 sum q, ds = d sum q: [0] of the whole group, [1] of its first 16 values, [2] of the others.
// Units     words of 32 bits; floats are stored by their bits
// Ensures   |q| <= 16256 (exact) or 127 (fast); |h| <= 127, -64 <= l < 64; the largest |x| of a group is met exactly
//           up to rounding; a group of zeros has d = 0. inf or NaN in a group make its d, and so every output it meets, non-finite.
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/types.hpp>
#include <cria/isa/f32x16.hpp>
#include <cria/kernels/activation_size.hpp>
#include <cria/kernels/int8_dot.hpp>
#include <cria/kernels/panel.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cria::inline v0::kernels {

/// Where the fields of one group of a tile of W > 1 tokens lie, in words; plane h is at 0, plane l at `plane`. Of bias and ds each next one is `step` on.
template <std::size_t W>
struct activation_group {
  static constexpr std::size_t plane = group_steps * W, step = W;
  std::size_t d, bias, ds, words;

  explicit CRIA_ALWAYS_INLINE constexpr activation_group(std::size_t n_planes) noexcept
      : d(n_planes * plane), bias(d + W), ds(bias + 3 * W), words(ds + 3 * W) {}
};

/// The same for a tile of one token, from where the group's d lies.
struct row_fields {
  static constexpr std::size_t d = 0;
  std::size_t bias, ds, step;

  explicit CRIA_ALWAYS_INLINE constexpr row_fields(std::size_t n_groups) noexcept : bias(n_groups), ds(4 * n_groups), step(n_groups) {}
};

/// Activations as pairs of int16, for sets without a direct product of bytes.
template <class Isa>
struct activation_pairs {
  using op = isa::vec<Isa>;
  using dot = int8_dot<Isa>;

  /// Words that `make` may write: two for each of a plane's, and as many more as a vector may be longer than they are.
  template <std::size_t W>
  static constexpr std::size_t room = (2 * W * group_steps) + op::lanes;

  /// Takes the words of a group of W tokens, plane h and with Planes == 2 plane l behind it. May read up to `lanes` words behind them.
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
  /// Adds to each number of 16 bits one of two bytes of x times a factor: the dot step with that factor and 0 as weights.
  template <std::uint32_t Weights>
  static CRIA_ALWAYS_INLINE typename op::i byte(typename op::i sum, typename op::i x) noexcept {
    return dot::step(sum, op::set_i(static_cast<std::int32_t>(Weights * 0x00010001U)), x);
  }
};

template <class Isa>
struct quantize_activations {
  using v = isa::f32x16<Isa>;
  using op = isa::vec<Isa>;

  /// Quantises group `g` of token `t`, whose 32 values are at `x`, into the tile that it belongs to. `out` is the whole buffer.
  static void group(const float* x, std::size_t t, std::size_t g, std::size_t n_tokens, std::size_t n_groups, precision p, std::int32_t* out) noexcept {
    const auto [first, width] = tile_of(t, n_tokens, Isa::tile_tokens);
    const std::size_t n_words = (p == precision::exact ? 2 : 1) * group_steps;
    std::int32_t* tile = out + first * n_groups * activation_words(p);
    if (width == 1) return quantize(x, tile + g * n_words, 1, tile + n_groups * n_words + g, n_groups, p);
    tile += g * width * activation_words(p);
    quantize(x, tile + (t - first), width, tile + n_words * width + (t - first), width, p);
    if (t + 1 == n_tokens) {
      for (std::size_t pad = t - first + 1; pad < width; ++pad) clear(tile, width, pad, p);
    }
  }

  /// Quantises groups [begin, end) of token t, whose values are at `row`.
  static void groups(const float* row, std::size_t t, std::size_t begin, std::size_t end, std::size_t n_tokens, std::size_t n_groups, precision p,
                     std::int32_t* out) noexcept {
    for (std::size_t g = begin; g < end; ++g) group(row + g * group_size, t, g, n_tokens, n_groups, p, out);
  }

  /// Quantises tokens [begin, end) of X.
  static void rows(const float* x, std::size_t ldx, std::size_t begin, std::size_t end, std::size_t n_tokens, std::size_t n_groups, precision p,
                   std::int32_t* out) noexcept {
    for (std::size_t t = begin; t < end; ++t) groups(x + t * ldx, t, 0, n_groups, n_tokens, n_groups, p, out);
  }

 private:
  static CRIA_ALWAYS_INLINE void clear(std::int32_t* tile, std::size_t width, std::size_t t, precision p) noexcept {
    for (std::size_t n = 0; n < activation_words(p); ++n) tile[n * width + t] = 0;
  }

  /// Writes a token's words `width` apart and its fields `step` apart.
  static CRIA_ALWAYS_INLINE void quantize(const float* x, std::int32_t* word, std::size_t width, std::int32_t* field, std::size_t step, precision p) noexcept {
    v a = v::load(x), b = v::load(x + 16);
    const std::int32_t bits_a = a.hmax_abs_bits(), bits_b = b.hmax_abs_bits();
    float largest = bit_cast<float>(bits_a > bits_b ? bits_a : bits_b);
    const bool is_finite = largest <= 3.4028234664e38f;
    if (!is_finite) a = b = v::set(0);
    const float steps = p == precision::exact ? 16256.0f : 127.0f;
    const float d = largest / steps;
    // Below 2^-115 the reciprocal overflows: such a group counts as zeros.
    const float inverse = is_finite && largest > 2.4074124e-35f ? steps / largest : 0.0f;
    alignas(64) std::int8_t planes[64 + 64];  // h, l, and what a vector may read behind them
    const std::int32_t first = half(a, inverse, planes, planes + 32, p), second = half(b, inverse, planes + 16, planes + 48, p);
    if constexpr (!int8_dot<Isa>::is_direct) {
      if (p == precision::exact && width > 1) to_pairs(planes);
    }
    word = words(planes, word, width);
    if (p == precision::exact) words(planes + 32, word, width);
    const std::int32_t sums[3] = {first + second, first, second};
    *field = bit_cast<std::int32_t>(d);
    for (const std::int32_t s : sums) *(field += step) = -8 * s;
    for (const std::int32_t s : sums) *(field += step) = bit_cast<std::int32_t>(d * static_cast<float>(s));
  }

  /// Quantises 16 values to planes h and l and returns the sum of the integers.
  static CRIA_ALWAYS_INLINE std::int32_t half(const v& x, float inverse, std::int8_t* h, std::int8_t* l, precision p) noexcept {
    std::int32_t sum = 0;
    CRIA_UNROLL
    for (std::size_t n = 0; n < v::parts; ++n) {
      const auto q = op::to_int(x.v[n] * op::set(inverse));
      sum += op::hsum_i(q);
      if (p == precision::exact) {
        const auto high = op::template sra<7>(q + op::set_i(64));
        op::store_s8(h + n * op::lanes, high);
        op::store_s8(l + n * op::lanes, q - op::template shl<7>(high));
      } else {
        op::store_s8(h + n * op::lanes, q);
      }
    }
    return sum;
  }

  /// Makes pairs of int16 of planes h and l, in their place.
  static CRIA_ALWAYS_INLINE void to_pairs(std::int8_t (&planes)[128]) noexcept {
    std::int32_t pairs[activation_pairs<Isa>::template room<1>];
    activation_pairs<Isa>::template make<2, 1>(planes, pairs);
    std::memcpy(planes, pairs, 64);
  }

  /// Spreads 32 bytes over the 8 words of a token, `width` words apart; returns where the next plane begins.
  static CRIA_ALWAYS_INLINE std::int32_t* words(const std::int8_t* bytes, std::int32_t* word, std::size_t width) noexcept {
    for (std::size_t step = 0; step < group_steps; ++step, word += width) std::memcpy(word, bytes + 4 * step, 4);
    return word;
  }
};

}  // namespace cria::inline v0::kernels
