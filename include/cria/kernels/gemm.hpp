// SPDX-License-Identifier: MIT
// kernels/gemm.hpp - Y[M,N] (+)= X[M,K] W[N,K]^T (+ bias) for quantised W in panels; the product with one token is the same loop.
//
// Shapes    W: panels (panel.hpp) of N rows; X: quantised activations (activations.hpp) of M tokens; Y row-major, ldy >= N rounded up to 16
// Requires  K a multiple of the format's block; a panel range inside W
// Ensures   Lane r of panel p owns Y[., 16 p + r]. Its terms are added in the order of k, with one fma for each group and scale. So the bits do not depend on
//           the tile, the number of tokens, the split over threads or (with FMA) the instruction set.
// Errors    none (noexcept)
// Threads   re-entrant; writes only the columns of its panel range
//
// The loop. For each group of 32 values, the codes are unpacked to unsigned bytes once. For each token, the integer sum starts at -zero * sum(q), and 8 dot
// steps add the products with the token's word, broadcast to every lane; then come one conversion, one product of the scales, and one fma. With `exact` the
// steps go over plane h, the sum is shifted left by 7, and the steps go over plane l; with a single token, both planes are summed side by side and joined at
// the end. A token takes two registers, an integer and a float accumulator. With two weights and one broadcast, 12 tokens fit AVX-512 (27 of 32 zmm) and 4
// fit AVX2 (half a panel at a time).
//
// Where bytes have no direct product (AVX2, AVX-512 without VNNI, SSE4.2), several tokens are multiplied by columns that are unpacked once for all of them
// (gemm_unpacked.hpp), and the activations of a single token become pairs of int16 if codes are above 63.
//
// Measured, and why it is so (Zen 4 unless said otherwise; GMAC/s: 10^9 multiply-adds per second):
//   Order       Steps outside, tokens inside. The other order has 0.74 of the speed on a Cascade Lake and the same on a Zen 4.
//   Tile        16 rows x 12 tokens, 32 x 6 and 16 x 8: 179, 181 and 177 GMAC/s on one core, 357, 361 and 304 on two. One panel in a tile keeps tails simple.
//               16 tokens with accumulators in memory: 1.01 of 12 + 4 at 16 tokens, 0.95 at 24.
//   Prefetch    A tile of several tokens works on a line of weights for longer than the processor looks ahead, so it fetches what comes 4 KB later. From
//               memory, one core, without and with: exact 66 and 89 GMAC/s at 4 tokens, 75 and 88 at 8, 94 and 100 at 12, 94 and 97 at 16; fast 146 and 180
//               at 12, 154 and 179 at 16. 1 KB ahead is too little for the second-level cache. With fewer than 4 multiply-adds per byte the processor alone
//               is better: 108 instead of 84 for q8_0, fast, 4 tokens.
//   One token   is bound by memory, which wants one long stream: changing to another place costs half a microsecond, and where each piece of 17 KB lies
//               elsewhere 0.59 of the speed is left. Many activations do not stay in the first-level cache, so they are fetched from the second 128 bytes
//               before their use. From memory, one core, K = 5,632, exact and fast: q4_0 1.16 and 1.09, q6_k 1.23 and 1.27, q4_k 1.07 and 1.02, q8_0 1.04 and
//               1.02; AVX2 1.02 to 1.19. The distance matters: 64 bytes 0.98 to 1.07, 96 0.84 to 0.99 of 128, 192 0.93 to 1.0, 256 0.86 to 0.98.
// Tried and rejected, for one token:
//   - fetching biases and scales ahead as well: q4_0 0.98 to 1.0, q6_k 0.89 to 0.97, q8_0 0.95 to 1.09
//   - two panels side by side: half of the speed
//   - prefetching weights 0.5 to 16 KB ahead, into any cache: 0.72 to 1.0; only the first one to eight lines of the next page, once per page: 0.75 to 0.96
//     (AVX2, two threads); the first two to six, one thread, AVX-512: q4_0 0.99 to 1.03, q8_0 1.02 to 1.06, q6_k 0.88 to 0.91
//   - two or four accumulators for each plane: 1.05 from the cache, nothing from memory
//   - a part of K for several panels in turn, so that its activations stay in the first-level cache: 0.59; with the next part fetched ahead as a whole: 0.98
//   - broadcasting the activations by vpdpbusd itself (inline assembly, a quarter fewer instructions): exact 1.01 to 1.17 from the cache, 0.98 to 1.01 from
//     memory, on one and two threads (both versions in one process in turns, beside other load)
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/types.hpp>
#include <cria/kernels/activations.hpp>
#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/gemm_unpacked.hpp>
#include <cria/kernels/int8_dot.hpp>
#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/octet_rows.hpp>
#include <cria/kernels/panel.octets.hpp>
#include <cria/kernels/panel.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cria::inline v0_1_0::kernels {

template <class Format, class Isa>
struct gemm {
  using op = isa::vec<Isa>;
  using dot = int8_dot<Isa>;
  using layout = panel<Format>;
  using unpack = typename layout::template unpack<Isa>;
  using blocks = panel_blocks<Format, Isa>;
  using f = typename op::f;
  using i = typename op::i;

  /// Loops over panels outside and over tiles of tokens inside, so that a panel is read from memory once for all tokens whose activations fit the cache.
  static void run(const gemm_args& a) noexcept {
    const std::size_t step = tokens_at_once(a.k, a.activations_precision, tiles_of<Isa>);
    for (std::size_t begin = 0; begin < a.n_tokens; begin += step) {
      const std::size_t end = begin + step < a.n_tokens ? begin + step : a.n_tokens;
      if constexpr (dot::is_direct) {
        for (std::size_t p = a.panel_begin; p < a.panel_end; ++p) {
          for (std::size_t t = begin; t < end;) t += tile(a, p, t);
        }
      } else {
        static constexpr auto exact = unpacked<true>(), fast = unpacked<false>();
        gemm_unpacked<Isa>::run(a, begin, end, a.activations_precision == precision::exact ? exact : fast);
      }
    }
  }

 private:
  // Codes above 127, where weight bytes are signed: they are read as code - 128, which moves the zero.
  static constexpr bool is_flipped = dot::signed_weights && layout::w_max > 127;
  static constexpr int zero = is_flipped ? layout::zero - 128 : layout::zero;
  // Codes too large for 16-bit sums of byte products: weights and activations are multiplied as pairs of int16.
  static constexpr bool has_large_codes = layout::w_max > dot::max_weight && !is_flipped;
  static constexpr std::size_t narrow_steps = dot::max_steps(layout::w_max);

  /// How gemm_unpacked unpacks the codes: as pairs if they are too large as bytes or if activations have 15 bits.
  template <bool Exact>
  using unpacked_kind = code_kind<layout::subs, layout::has_min, Exact || has_large_codes ? 0 : zero, Exact || has_large_codes ? 0 : narrow_steps>;
  template <bool Exact>
  static constexpr typename gemm_unpacked<Isa>::parts unpacked() noexcept {
    return gemm_unpacked<Isa>::template parts_of<Format, unpacked_kind<Exact>>(&row_tile<Exact>);
  }

  /// How many vectors of rows a tile of several tokens processes at once: two if vectors are short and there are 32 of them.
  static constexpr std::size_t row_vectors = op::lanes == 4 && CRIA_HAS_NEON64 ? 2 : 1;
  /// How many vectors of rows of a single token take each step in turn, so that the token's word is broadcast once for them. One Zen 4 core, in the cache, GB/s
  /// with one vector and with all of a panel:
  ///   AVX2     q4_0 exact 22.9 and 26.9, fast 37.9 and 40.6; q4_k 20.1 and 23.7, 30.8 and 33.8; q6_k 23.7 and 25.0, 34.5 and 35.7; q8_0 29.1 and 36.9, 31.1
  ///            and 38.8
  ///   SSE4.2   q4_0 4.8 and 6.3, 7.2 and 7.9; q4_k 3.4 and 4.9, 4.7 and 13.0
  ///   NEON     by counting instructions: more spills, and no fewer instructions
  static constexpr std::size_t row_vectors_in_turn = CRIA_HAS_NEON64 ? 1 : panel_rows / op::lanes;
  /// Whether one loop serves both precisions of a single token: `fast` is then computed as `exact` with zeros in plane h.
  static constexpr bool is_row_tile_shared = CRIA_IS_SMALL && dot::is_direct;
  /// Which of the three biases and ds of an activation group (activations.hpp) belong to scale group Sub.
  template <std::size_t Sub>
  static constexpr std::size_t which = layout::subs == 1 ? 0 : Sub + 1;
  static constexpr std::int32_t no_bias[16] = {};

  /// How far ahead a tile of several tokens prefetches weights.
  static constexpr std::size_t bytes_ahead = 4096;
  /// How far ahead a single token's activations are prefetched, and from how many on: a panel that streams through the first-level cache pushes them out.
  static constexpr std::size_t words_ahead = 32, many_words = 1024;

  /// Computes the tile of panel p that begins at token t; returns its width.
  static CRIA_ALWAYS_INLINE std::size_t tile(const gemm_args& a, std::size_t p, std::size_t t) noexcept {
    const std::size_t width = tile_width(a.n_tokens - t, tiles_of<Isa>);
    if (width == 1) {
      if (is_row_tile_shared || a.activations_precision == precision::exact) {
        row_tile<true>(a, p, t);
      } else {
        row_tile<false>(a, p, t);
      }
    } else if (width == 4) {
      for (std::size_t r = 0; r < panel_rows; r += row_vectors * op::lanes) wide_tile<4>(a, p, r, t);
    } else {
      if constexpr (Isa::tile_tokens > 4) wide_tile<Isa::tile_tokens>(a, p, 0, t);
    }
    return width;
  }

  static CRIA_ALWAYS_INLINE const std::int32_t* activations_of(const gemm_args& a, std::size_t t) noexcept {
    return a.activations + t * a.n_groups * activation_words(a.activations_precision);
  }

  /// A single token and a whole panel. Both planes of a step use the same unpacked codes, and their sums do not wait for each other.
  template <bool Exact>
  static CRIA_KERNEL void row_tile(const gemm_args& a, std::size_t p, std::size_t t) noexcept {
    if constexpr (std::is_same_v<Format, decoded_octets>) {
      if (a.octets->one_token != nullptr) return a.octets->one_token(a, p, t);
    }
    constexpr std::size_t V = panel_rows / op::lanes, S = row_vectors_in_turn, P = Exact ? 2 : 1;   // vectors of rows, those in turn, planes
    const std::size_t n_planes = is_row_tile_shared && a.activations_precision == precision::fast ? 1 : P;
    const row_fields at(a.n_groups);
    const std::size_t block_bytes = blocks::bytes(a);
    const std::byte* block = a.weights + p * (a.n_groups / layout::groups) * block_bytes;
    const std::int32_t* x = activations_of(a, t);
    const std::int32_t* fields = x + a.n_groups * n_planes * group_steps;
    const bool asks_ahead = a.n_groups * n_planes * group_steps >= many_words;
    f acc[V / S][S];
    CRIA_UNROLL
    for (std::size_t n = 0; n < V; ++n) acc[n / S][n % S] = op::set(0);
    decoded_scales<unpack> sc;
    group_pairs<Isa, 1, has_large_codes> pairs;
    std::int32_t both[is_row_tile_shared ? 2 * group_steps : 1] = {};
    for (std::size_t b = 0; b < a.n_groups / layout::groups; ++b, block += block_bytes) {
      const std::byte* columns = blocks::decode(a, block, sc.bytes);
      for (std::size_t g = 0; g < layout::groups; ++g, x += n_planes * group_steps, ++fields) {
        const std::int32_t* words = x;
        if (asks_ahead) CRIA_PREFETCH_NEAR(x + words_ahead);
        if constexpr (has_large_codes) words = pairs.template make<P>(x);
        if constexpr (is_row_tile_shared) {
          if (n_planes == 1) {
            std::memcpy(both + group_steps, x, group_steps * sizeof *x);
            words = both;
          }
        }
        each<layout::subs>([&]<std::size_t Sub>() CRIA_PART_LAMBDA {
          each<V / S>([&]<std::size_t Part>() CRIA_PART_LAMBDA {
            constexpr std::size_t r = Part * S * op::lanes;
            i sum[S];
            row_sums<P, Sub>(columns, g, r, words, sum_start<Isa, zero>(fields[at.bias + which<Sub> * at.step]), sum);
            scale_and_add<1, Sub>(columns, sc.bytes, g, r, fields, at, sum, acc[Part]);
          });
        });
      }
    }
    for (std::size_t part = 0; part < V / S; ++part) store<S, 1>(a, p * panel_rows + part * S * op::lanes, t, acc[part]);
  }

  /// W tokens and rows [r, r + row_vectors * lanes) of the panel.
  template <std::size_t W>
  static CRIA_KERNEL void wide_tile(const gemm_args& a, std::size_t p, std::size_t first_row, std::size_t t) noexcept {
    constexpr std::size_t V = row_vectors;
    const std::size_t r = V * op::lanes == panel_rows ? 0 : first_row;
    const std::size_t n_planes = a.activations_precision == precision::exact ? 2 : 1, block_bytes = blocks::bytes(a);
    const activation_group<W> at(n_planes);
    const bool asks_ahead = r == 0 && n_planes * W * 32 * panel_rows >= 4 * block_bytes / layout::groups;
    const std::byte* block = a.weights + p * (a.n_groups / layout::groups) * block_bytes;
    const std::int32_t* x = activations_of(a, t);
    f acc[V * W];
    CRIA_UNROLL
    for (std::size_t n = 0; n < V * W; ++n) acc[n] = op::set(0);
    decoded_scales<unpack> sc;
    for (std::size_t b = 0; b < a.n_groups / layout::groups; ++b, block += block_bytes) {
      const std::byte* columns = blocks::decode(a, block, sc.bytes);
      for (std::size_t n = 0; asks_ahead && n < block_bytes; n += 64) CRIA_PREFETCH(block + bytes_ahead + n);
      for (std::size_t g = 0; g < layout::groups; ++g, x += at.words) {
        each<layout::subs>([&]<std::size_t Sub>() CRIA_PART_LAMBDA {
          i sum[row_vectors * W];
          plane_sums<W, Sub>(columns, g, r, x, n_planes, x + at.bias + which<Sub> * W, sum);
          // Reload the tokens' scales: they must not occupy registers until the other scale group.
          const std::int32_t* fields = x;
          if constexpr (layout::subs > 1) CRIA_FORGET(fields);
          scale_and_add<W, Sub>(columns, sc.bytes, g, r, fields, at, sum, acc);
        });
      }
    }
    store<V, W>(a, p * panel_rows + r, t, acc);
  }

  /// Computes the sums of a single token over scale group Sub, bias included, for S vectors of rows from r on. P: planes.
  template <std::size_t P, std::size_t Sub, std::size_t S>
  static CRIA_PART void row_sums(const std::byte* block, std::size_t g, std::size_t r, const std::int32_t* words, i bias, i (&sum)[S]) noexcept {
    if constexpr (has_large_codes) {
      CRIA_UNROLL
      for (std::size_t n = 0; n < S; ++n) sum[n] = bias;
      pair_steps<S, Sub>(block, g, r, words, sum);
    } else {
      i plane[S * P];
      CRIA_UNROLL
      for (std::size_t n = 0; n < S * P; ++n) plane[n] = n % P == P - 1 ? bias : op::set_i(0);
      steps<S, P, Sub, true>(block, g, r, words, plane);
      CRIA_UNROLL
      for (std::size_t n = 0; n < S; ++n) sum[n] = P == 2 ? op::template shl<7>(plane[2 * n]) + plane[2 * n + 1] : plane[n];
    }
  }

  /// Computes the sums of W tokens over scale group Sub, where bytes are multiplied directly. Plane h counts 128 times, so with two planes the bias is added
  /// after it. The codes are unpacked again for plane l: kept, they would need the accumulators' registers.
  template <std::size_t W, std::size_t Sub, std::size_t N>
  static CRIA_PART void plane_sums(const std::byte* block, std::size_t g, std::size_t r, const std::int32_t* words, std::size_t n_planes,
                                   const std::int32_t* bias, i (&sum)[N]) noexcept {
    const std::int32_t* first = n_planes == 1 ? bias : no_bias;
    CRIA_FORGET(first);   // GCC 12 would load the biases into general registers and broadcast from there
    CRIA_UNROLL
    for (std::size_t n = 0; n < N; ++n) sum[n] = sum_start<Isa, zero>(first[n % W]);
    for (std::size_t plane = 1;; ++plane, words += W * group_steps) {
      const std::byte* codes = block;
      CRIA_FORGET(codes);
      steps<N / W, W, Sub>(codes, g, r, words, sum);
      if (plane == n_planes) break;
      CRIA_UNROLL
      for (std::size_t n = 0; n < N; ++n) sum[n] = op::template shl<7>(sum[n]) + sum_start<Isa, zero>(bias[n % W]);
    }
  }

  /// Returns where a field of W tokens lies. GCC 12 must not know that this is x plus something: it would add that for each token, out of a register or off
  /// the stack (fast: q4_0 0.97 of the speed, q6_k 0.91).
  template <std::size_t W>
  static CRIA_PART const std::int32_t* field_of(const std::int32_t* x, std::size_t field) noexcept {
    const std::int32_t* first = x + field;
    if constexpr (W > 1) CRIA_FORGET(first);
    return first;
  }

  /// acc[vector][token] += scale d sum (+ min ds), for vectors of rows from r on.
  template <std::size_t W, std::size_t Sub, std::size_t N, class Fields>
  static CRIA_PART void scale_and_add(const std::byte* block, const std::byte* sc, std::size_t g, std::size_t r, const std::int32_t* x,
                                      const Fields& at, const i (&sum)[N], f (&acc)[N]) noexcept {
    each<N / W>([&]<std::size_t Vector>() CRIA_PART_LAMBDA {
      const std::size_t row = r + Vector * op::lanes;
      const f scale = unpack::scale(block, sc, g, row, Sub);
      const std::int32_t* d_of = field_of<W>(x, at.d);
      CRIA_UNROLL
      for (std::size_t n = 0; n < W; ++n) {
        const f d = op::set(bit_cast<float>(d_of[n]));
        acc[Vector * W + n] = op::fma(op::to_float(sum[Vector * W + n]), scale * d, acc[Vector * W + n]);
      }
      if constexpr (layout::has_min) {
        const f min = unpack::min(block, sc, g, row, Sub);
        const std::int32_t* ds_of = field_of<W>(x, at.ds + which<Sub> * at.step);
        CRIA_UNROLL
        for (std::size_t n = 0; n < W; ++n) {
          acc[Vector * W + n] = op::fma(min, op::set(bit_cast<float>(ds_of[n])), acc[Vector * W + n]);
        }
      }
    });
  }

  /// Adds the dot products of scale group Sub, for V vectors of rows, to the sums of W tokens over one plane, or, with Planes, of one token over W planes.
  template <std::size_t V, std::size_t W, std::size_t Sub, bool Planes = false>
  static CRIA_PART void steps(const std::byte* block, std::size_t g, std::size_t r, const std::int32_t* words, i (&sum)[V * W]) noexcept {
    constexpr std::size_t n_steps = group_steps / layout::subs;
    if constexpr (dot::is_direct) {
      run_steps<V, W, Sub, Planes, 0, n_steps>(block, g, r, words, sum);
    } else {
      add_widened<dot, narrow_steps, 0, n_steps>(sum, [&]<std::size_t First, std::size_t Count>(i (&narrow)[V * W]) CRIA_PART_LAMBDA {
        run_steps<V, W, Sub, Planes, First, Count>(block, g, r, words, narrow);
      });
    }
  }

  template <std::size_t V, std::size_t W, std::size_t Sub, bool Planes, std::size_t First, std::size_t Count>
  static CRIA_PART void run_steps(const std::byte* block, std::size_t g, std::size_t r, const std::int32_t* words, i (&sum)[V * W]) noexcept {
    each_step<Sub, First, Count>([&]<std::size_t Step>() CRIA_PART_LAMBDA {
      each<V>([&]<std::size_t Vector>() CRIA_PART_LAMBDA {
        i w = unpack::template codes<Step>(block, g, r + Vector * op::lanes);
        if constexpr (is_flipped) w = w ^ op::set_i(static_cast<std::int32_t>(0x80808080U));
        CRIA_UNROLL
        for (std::size_t n = 0; n < W; ++n) {
          const std::size_t word = Planes ? n * group_steps + Step : Step * W + n;
          sum[Vector * W + n] = dot::step(sum[Vector * W + n], w, op::set_i(words[word]));
        }
      });
    });
  }

  /// Adds the dot products of scale group Sub to the sums of a single token whose activations are pairs of int16.
  template <std::size_t V, std::size_t Sub>
  static CRIA_PART void pair_steps(const std::byte* block, std::size_t g, std::size_t r, const std::int32_t* words, i (&sum)[V]) noexcept {
    each_step<Sub, 0, group_steps / layout::subs>([&]<std::size_t Step>() CRIA_PART_LAMBDA {
      each<V>([&]<std::size_t Vector>() CRIA_PART_LAMBDA {
        const i w = unpack::template codes<Step>(block, g, r + Vector * op::lanes);
        sum[Vector] = dot::pairs(sum[Vector], dot::even(w), op::set_i(words[Step]));
        sum[Vector] = dot::pairs(sum[Vector], dot::odd(w), op::set_i(words[group_steps + Step]));
      });
    });
  }

  /// Calls fn<Step>() for Count steps of scale group Sub, from the First one on. With one scale, steps s and s + 4 share their loads, so they follow each
  /// other. With two scales, the first has steps 0 to 3 and the second 4 to 7. Not always_inline, nor is `each`: that only moves GCC 12's spills. Inlining
  /// this gave q3_k's wide tile on avx512_vnni 4 instead of 6 in 96 steps, but one token of q8_0 on AVX2 26.6 instead of 36.7 GB/s; inlining `each` gave none
  /// in q3_k, and 108 in q4_k.
  template <std::size_t Sub, std::size_t First, std::size_t Count, class F>
  static CRIA_PART void each_step(F fn) noexcept {
    each<Count>([&]<std::size_t N>() CRIA_PART_LAMBDA {
      fn.template operator()<layout::subs == 1 ? (First + N) / 2 + (First + N) % 2 * 4 : Sub * 4 + First + N>();
    });
  }

  template <std::size_t V, std::size_t W>
  static CRIA_PART void store(const gemm_args& a, std::size_t first_row, std::size_t t, const f (&acc)[V * W]) noexcept {
    const std::size_t valid = a.n_tokens - t < W ? a.n_tokens - t : W;
    CRIA_UNROLL
    for (std::size_t n = 0; n < V * W; ++n) {
      if (n % W >= valid) continue;
      put_products<Isa>(a, t + n % W, first_row + n / W * op::lanes, acc[n]);
    }
  }
};

/// The product of a format whose values are points of a grid: that of its decoded blocks, with a product of its own for one token.
template <octet_block Format, class Isa>
struct gemm<Format, Isa> {
  static void run(const gemm_args& a) noexcept {
    gemm_args args = a;
    args.octets = &kernels;
    gemm<decoded_octets, Isa>::run(args);
  }

 private:
  static constexpr octet_kernels make_kernels() noexcept {
    octet_kernels k{panel_rows * sizeof(Format), &decode_octets<Format, Isa>::run, nullptr};
    if constexpr (octet_vectors<Isa>::exist) k.one_token = &octet_rows<Format, Isa>::run;
    return k;
  }
  static constexpr octet_kernels kernels = make_kernels();
};

}  // namespace cria::inline v0_1_0::kernels
