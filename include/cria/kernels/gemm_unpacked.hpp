// SPDX-License-Identifier: MIT
// kernels/gemm_unpacked.hpp - the product of gemm.hpp with several tokens, for sets without a direct product of bytes (AVX2, AVX-512 without VNNI, SSE4.2): 512
// columns of a panel are unpacked once (unpacked.hpp), then multiplied by one tile of tokens after another.
//
// Shapes, Requires, Ensures, Errors, Threads   as gemm.hpp; some 40 KB of stack
//
// Why. Without a direct product, a step costs more, and tiles are short of registers, so they are narrow, and tiles that unpack for themselves do it often.
// AVX2 has 16 registers, enough for 8 rows and 4 tokens in that way, but for 16 rows and 4 tokens if the float sums are in the first-level cache and nothing
// has to be unpacked. With `exact`, and for codes above 63, weights and activations are pairs of int16: one madd and one add for two values, where bytes take
// two planes and are widened every few steps.
//
// Measured on one Zen 4 core with AVX2, against tiles that unpack 8 rows for 4 tokens at a time:
//   64 tokens, GMAC/s    q4_0 53 -> 64, q4_k 47 -> 59, q6_k 40 -> 57, q8_0 36 -> 50, iq4_nl 47 -> 63, q3_k 42 -> 58 (exact);
//                        89 -> 106, 77 -> 96, 51 -> 71, 39 -> 56, 39 -> 56, 61 -> 83 (fast)
//   4 and 8 tokens       0.86 to 1.03 of the speed (there is nothing to share), and the same
//   from memory          4, 8, 12, 24, 64 tokens of q4_0, exact: 0.90, 1.03, 1.07, 1.14, 1.19
// Two tokens, one after the other (gemm.hpp), are 1.3 to 1.9 times as fast as a tile with two empty places. Three are 1.1 to 1.2 times as fast from the
// cache, but have 0.8 to 0.9 of the speed from memory, where prefetching the next panel during the last token changes nothing. 128 columns at once, or more,
// are alike; more tokens at once than a second-level cache of 512 KB holds: 1.00.
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/kernels/activations.hpp>
#include <cria/kernels/gemm_parts.hpp>
#include <cria/kernels/unpacked.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cria::inline v0_1_0::kernels {

/// sums[W,16] += X[W,K] U[16,K]^T, where U are the unpacked columns, with codes of Kind. W tokens.
template <class Isa, class Kind, std::size_t W>
struct gemm_unpacked_tile {
  using op = isa::vec<Isa>;
  using dot = int8_dot<Isa>;
  using f = typename op::f;
  using i = typename op::i;

  /// How many vectors of rows are computed at once; they share the broadcast activations.
  static constexpr std::size_t V = op::lanes == panel_rows ? 1 : 2;
  /// Whether the float sums stay in registers beside the integer ones: 32 registers suffice.
  static constexpr bool keeps_sums = op::lanes == panel_rows;

  /// x: the activations of the tile, from the first of the n_groups groups on.
  static CRIA_KERNEL void run(const unpacked_columns& w, std::size_t n_groups, const std::int32_t* x, precision p, float* sums) noexcept {
    for (std::size_t r = 0; r < panel_rows; r += V * op::lanes) rows(w, r, n_groups, x, p, sums + r);
  }

 private:
  template <std::size_t Sub>
  static constexpr std::size_t which = Kind::subs == 1 ? 0 : Sub + 1;

  static CRIA_PART void rows(const unpacked_columns& w, std::size_t r, std::size_t n_groups, const std::int32_t* x, precision p, float* sums) noexcept {
    const activation_group<W> at(p == precision::exact ? 2 : 1);
    const std::byte* codes = w.codes + 4 * r;
    const float *scales = w.scales + r, *mins = w.mins + r;
    group_pairs<Isa, W, Kind::is_pairs> pairs;
    f kept[V * W];
    if constexpr (keeps_sums) {
      CRIA_UNROLL
      for (std::size_t n = 0; n < V * W; ++n) kept[n] = op::load(sums + place(n));
    }
    for (std::size_t g = 0; g < n_groups; ++g, x += at.words, codes += Kind::group_bytes) {
      const std::int32_t* words = x;
      if constexpr (Kind::is_pairs) {
        if (p == precision::fast) words = pairs.template make<1>(x);
      }
      each<Kind::subs>([&]<std::size_t Sub>() CRIA_PART_LAMBDA {
        i sum[V * W];
        integer_sums<Sub>(codes, words, x + at.bias + which<Sub> * W, sum);
        // Reload the tokens' scales and the float sums: they must not occupy registers until the next scale group.
        const std::int32_t* fields = x;
        float* in_memory = sums;
        CRIA_FORGET(fields);
        CRIA_FORGET(in_memory);
        CRIA_UNROLL
        for (std::size_t n = 0; n < V * W; ++n) {
          const std::size_t token = n / V, row = n % V * op::lanes;
          f to = keeps_sums ? kept[n] : op::load(in_memory + place(n));
          to = op::fma(op::to_float(sum[n]), op::load(scales + row) * op::set(bit_cast<float>(fields[at.d + token])), to);
          if constexpr (Kind::has_min) {
            to = op::fma(op::load(mins + row), op::set(bit_cast<float>(fields[at.ds + which<Sub> * at.step + token])), to);
          }
          if constexpr (keeps_sums) {
            kept[n] = to;
          } else {
            op::store(in_memory + place(n), to);
          }
        }
        scales += panel_rows;
        mins += panel_rows;
      });
    }
    if constexpr (keeps_sums) {
      CRIA_UNROLL
      for (std::size_t n = 0; n < V * W; ++n) op::store(sums + place(n), kept[n]);
    }
  }

  /// Returns where sum number n, that of vector n % V and token n / V, lies in a tile's sums.
  static constexpr std::size_t place(std::size_t n) noexcept { return n / V * panel_rows + n % V * op::lanes; }

  /// Computes the integer sums of scale group Sub.
  template <std::size_t Sub>
  static CRIA_PART void integer_sums(const std::byte* codes, const std::int32_t* words, const std::int32_t* bias, i (&sum)[V * W]) noexcept {
    constexpr std::size_t n_steps = group_steps / Kind::subs, first = Sub * n_steps;
    CRIA_UNROLL
    for (std::size_t n = 0; n < V * W; ++n) sum[n] = Kind::zero == 0 ? op::set_i(0) : sum_start<Isa, Kind::zero>(bias[n / V]);
    if constexpr (Kind::is_pairs) {
      each<2 * n_steps>([&]<std::size_t N>() CRIA_PART_LAMBDA {
        constexpr std::size_t step = first + N / 2, half = N % 2;
        add<pair_step>(codes + 128 * step + 64 * half, words + (half * group_steps + step) * W, sum);
      });
    } else {
      add_widened<dot, Kind::narrow_steps, first, n_steps>(sum, [&]<std::size_t First, std::size_t Count>(i (&narrow)[V * W]) CRIA_PART_LAMBDA {
        each<Count>([&]<std::size_t N>() CRIA_PART_LAMBDA { add<byte_step>(codes + 64 * (First + N), words + (First + N) * W, narrow); });
      });
    }
  }

  struct pair_step {
    static CRIA_PART i add(i sum, i w, i x) noexcept { return dot::pairs(sum, w, x); }
  };
  struct byte_step {
    static CRIA_PART i add(i sum, i w, i x) noexcept { return dot::step(sum, w, x); }
  };

  /// Adds the products of a step's weights and each token's word.
  template <class Step>
  static CRIA_PART void add(const std::byte* weights, const std::int32_t* words, i (&sum)[V * W]) noexcept {
    i w[V];
    CRIA_UNROLL
    for (std::size_t v = 0; v < V; ++v) w[v] = op::load_i(weights + 4 * v * op::lanes);
    CRIA_UNROLL
    for (std::size_t n = 0; n < V * W; ++n) sum[n] = Step::add(sum[n], w[n % V], op::set_i(words[n / V]));
  }
};

/// The product of several tokens and panels of any format: compiled once for each set, it calls the functions that know the format through `parts`.
template <class Isa>
struct gemm_unpacked {
  static constexpr std::size_t widest = Isa::tile_tokens;

  /// The functions that know the format.
  struct parts {
    void (*unpack)(const gemm_args&, const std::byte* block, std::size_t n_blocks, unpacked_columns&) noexcept;
    void (*wide_tile)(const unpacked_columns&, std::size_t n_groups, const std::int32_t* x, precision, float* sums) noexcept;
    void (*tile_of_4)(const unpacked_columns&, std::size_t n_groups, const std::int32_t* x, precision, float* sums) noexcept;
    void (*one_token)(const gemm_args&, std::size_t p, std::size_t t) noexcept;
    std::size_t (*block_bytes)(const gemm_args&) noexcept;
    std::size_t block_groups;
  };

  /// Returns those of Format, whose columns are unpacked as Kind.
  template <class Format, class Kind>
  static constexpr parts parts_of(void (*one_token)(const gemm_args&, std::size_t, std::size_t) noexcept) noexcept {
    return {&unpack_columns<Format, Isa>::template run<Kind>, &gemm_unpacked_tile<Isa, Kind, widest>::run, &gemm_unpacked_tile<Isa, Kind, 4>::run,
            one_token, &panel_blocks<Format, Isa>::bytes, panel<Format>::groups};
  }

  /// Multiplies tokens [begin, end), at most most_tokens_at_once, which begin and end where tiles of all tokens do.
  static CRIA_NOINLINE void run(const gemm_args& a, std::size_t begin, std::size_t end, const parts& format) noexcept {
    const std::size_t tiles_end = end_of_tiles(a, begin, end);
    for (std::size_t p = a.panel_begin; p < a.panel_end; ++p) {
      if (begin < tiles_end) tiles(a, p, begin, tiles_end, format);
      for (std::size_t t = tiles_end; t < end; ++t) format.one_token(a, p, t);
    }
  }

 private:
  /// Returns the first token from `begin` on that is a tile of its own.
  static std::size_t end_of_tiles(const gemm_args& a, std::size_t begin, std::size_t end) noexcept {
    for (std::size_t t = begin; t < end;) {
      const std::size_t width = tile_width(a.n_tokens - t, tiles_of<Isa>);
      if (width == 1) return t;
      t += width;
    }
    return end;
  }

  static void tiles(const gemm_args& a, std::size_t p, std::size_t begin, std::size_t end, const parts& format) noexcept {
    using op = isa::vec<Isa>;
    unpacked_columns w;
    alignas(64) float sums[(most_tokens_at_once + widest) * panel_rows];
    std::memset(sums, 0, (end - begin + widest) * panel_rows * sizeof *sums);
    const std::size_t block_bytes = format.block_bytes(a);
    const std::byte* block = a.weights + p * (a.n_groups / format.block_groups) * block_bytes;
    for (std::size_t g = 0; g < a.n_groups; g += unpacked_columns::max_groups) {
      const std::size_t n_groups = a.n_groups - g < unpacked_columns::max_groups ? a.n_groups - g : unpacked_columns::max_groups;
      const std::size_t n_blocks = n_groups / format.block_groups;
      format.unpack(a, block, n_blocks, w);
      block += n_blocks * block_bytes;
      for (std::size_t t = begin; t < end;) {
        const std::size_t width = tile_width(a.n_tokens - t, tiles_of<Isa>);
        const std::int32_t* x = a.activations + (t * a.n_groups + g * width) * activation_words(a.activations_precision);
        (width == widest ? format.wide_tile : format.tile_of_4)(w, n_groups, x, a.activations_precision, sums + (t - begin) * panel_rows);
        t += width;
      }
    }
    for (std::size_t t = begin; t < end && t < a.n_tokens; ++t) {
      const float* sum = sums + (t - begin) * panel_rows;
      for (std::size_t r = 0; r < panel_rows; r += op::lanes) put_products<Isa>(a, t, p * panel_rows + r, op::load(sum + r));
    }
  }
};

}  // namespace cria::inline v0_1_0::kernels
