// SPDX-License-Identifier: MIT
// kernels/kernel_table.hpp - the kernels of one instruction set behind function pointers: all that the rest of cria sees of them.
//
// It has plain types only, so that a unit that is compiled for one instruction set and a host that is compiled for another agree on every byte. Including it
// does not include xsimd.
//
// Shapes    M tokens, N rows of W, K shared; panels of 16 rows; positions in panels of 16
// Units     elements, except for *_bytes
// Errors    none: every function is noexcept, and its arguments are checked by its callers (nn/)
// Threads   the table is constant and its functions are re-entrant; each struct says what is written
#pragma once

#include <cria/core/types.hpp>
#include <cria/isa/isa.hpp>
#include <cria/kernels/activation_size.hpp>
#include <cria/quant/format.hpp>

#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0::kernels {

struct octet_kernels;

/// Y[., panel range] (+)= X W^T (+ bias): gemm.hpp for quantised weights, gemm_float.hpp for floats.
struct gemm_args {
  const std::byte* weights;                ///< panel 0 of the tensor
  std::size_t k;                           ///< values in a row
  std::size_t n_groups;                    ///< k / 32, for quantised weights
  std::size_t panel_begin, panel_end;
  const std::int32_t* activations;         ///< quantised X, for quantised weights
  precision activations_precision;
  const float* x;                          ///< X[M,K], for float weights
  std::size_t ldx;
  std::size_t n_tokens;
  float* y;                                ///< Y[M, ldy]
  std::size_t ldy;                         ///< at least N rounded up to 16
  const float* bias;                       ///< N rounded up to 16, or nullptr
  bool accumulate;                         ///< add to Y instead of writing it
  const octet_kernels* octets = nullptr;   ///< set by the product itself, for formats that share it (panel.octets.hpp)
};

/// X[n_tokens, 32 n_groups] in float32, and where its integers go; activations.hpp.
struct quantize_args {
  const float* x;
  std::size_t ldx;                         ///< from one token to the next
  std::size_t n_tokens;
  std::size_t n_groups;
  precision activations_precision;
  std::int32_t* out;                       ///< activation_capacity words
};

/// How RoPE pairs the channels of a head.
enum class rope_pairing : std::uint8_t {
  adjacent,  ///< (2 i, 2 i + 1): GGUF files of the llama architecture
  halves,    ///< (i, i + n / 2): gpt-neox style, qwen2 and others
};

/// cos and sin of one position for the first `rope_dim` channels of a head, laid out for `rope`.
struct rope_table_args {
  std::uint32_t pos;
  const double* frequencies;               ///< [rope_dim / 2] radians per position
  double magnitude;                        ///< factor on cos and sin (YaRN), usually 1
  std::size_t rope_dim;
  rope_pairing pairing;
  float* table;                            ///< [2][rope_dim]: cos, then sin with the sign of each channel's formula
};

/// Rotates n_heads heads of one token in place.
struct rope_args {
  float* x;                                ///< [n_heads][head_stride]
  std::size_t n_heads, head_stride, rope_dim;
  const float* table;
  rope_pairing pairing;
};

/// softmax(q K^T) V for query rows that share a kv head; attention.hpp.
struct attention_args {
  const kv_segment* runs;                  ///< in order of position
  std::size_t n_runs;
  std::size_t head_dim;
  std::size_t v_stride;                    ///< elements from a position's values to the next; a multiple of 16
  const float* const* q;                   ///< [n_rows] query vectors, already scaled
  const std::size_t* visible_begin;        ///< [n_rows] first position that row sees
  const std::size_t* visible_end;          ///< [n_rows] one past the last
  float* const* out;                       ///< [n_rows], head_dim each
  std::size_t n_rows;
  float* scratch;                          ///< attention_scratch(head_dim, n_rows at a time) floats
  float soft_cap;                          ///< scores become cap tanh(score / cap); 0: none
  const float* sinks = nullptr;            ///< [n_sinks] score of a position without a value, that row r and row r + n_sinks see; nullptr: none
  std::size_t n_sinks = 0;
};

/// Returns how many floats of scratch memory attention needs.
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr std::size_t attention_scratch(std::size_t head_dim) noexcept { return 8 * (256 + 3 * round_up(head_dim, 16)); }

struct kernel_table {
  isa::id set;
  token_tiles tiles;                                                  ///< of activations

  /// Quantises groups [begin, end) of token t. `out` is complete when all groups of all tokens have had their turn, in any order.
  void (*quantize)(const quantize_args& a, std::size_t t, std::size_t begin, std::size_t end) noexcept;
  /// out = x / sqrt(mean(x^2) + eps) * weight.
  void (*rms_norm)(const float* x, const float* weight, float eps, std::size_t n, float* out) noexcept;
  /// out = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, std::size_t n, float* out) noexcept;
  /// out = silu(gate) * up, all of `n` values.
  void (*silu_mul)(const float* gate, const float* up, std::size_t n, float* out) noexcept;
  /// out = gelu(gate) * up.
  void (*gelu_mul)(const float* gate, const float* up, std::size_t n, float* out) noexcept;
  /// out = gelu(x).
  void (*gelu)(const float* x, std::size_t n, float* out) noexcept;
  /// out = cap tanh(x / cap).
  void (*soft_cap)(const float* x, float cap, std::size_t n, float* out) noexcept;
  /// out += x * scale, rounded once.
  void (*add_scaled)(const float* x, float scale, std::size_t n, float* out) noexcept;
  void (*rope_table)(const rope_table_args&) noexcept;
  void (*rope)(const rope_args&) noexcept;
  void (*attention[4])(const attention_args&) noexcept;               ///< by kv_type
  /// Attention of bf16 with the processor's own dot products, to the same bits; nullptr if not compiled. Requires has_bf16_dot (registry.hpp).
  void (*attention_bf16_dot)(const attention_args&) noexcept;
  void (*gemm[n_formats])(const gemm_args&) noexcept;                 ///< by format_index
};

}  // namespace cria::inline v0_1_0::kernels
