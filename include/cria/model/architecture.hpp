// SPDX-License-Identifier: MIT
// model/architecture.hpp - the table of architectures: one row each, with its tensors by their GGUF names.
//
// Shapes    W[rows, columns]; GGUF lists the fast dimension first: token_embd.weight is [D, V], a row is one token. A tensor of several pieces holds
//           them one below the other (attn_qkv: q, k, v). Every matrix may have a bias, "<name>.bias".
// Source    GGUF specification, "Standardized tensor names"; per architecture: the header of its model/<name>.hpp
#pragma once

#include <cria/kernels/kernel_table.hpp>
#include <cria/nn/weight.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0 {

/// The tensors of one layer; an architecture has some of them.
struct decoder_layer {
  std::span<const float> attn_norm, attn_norm_bias, attn_post_norm;   ///< [D]
  std::span<const float> attn_q_norm, attn_k_norm;                    ///< [d], or of all heads together: [H d], [G d]
  std::span<const float> attn_sinks;                                  ///< [H]
  nn::weight attn_q;                                                  ///< [H d, D]
  nn::weight attn_k, attn_v;                                          ///< [G d, D]
  nn::weight attn_output;                                             ///< [D, H d]
  std::span<const float> ffn_norm, ffn_norm_bias, ffn_post_norm;      ///< [D]
  nn::weight ffn_gate, ffn_up;                                        ///< [F, D]
  nn::weight ffn_down;                                                ///< [D, F]
  nn::weight ffn_gate_inp;                                            ///< [E, D] router
  std::vector<nn::weight> ffn_gate_exps, ffn_up_exps;                 ///< E x [F, D]
  std::vector<nn::weight> ffn_down_exps;                              ///< E x [D, F]

  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t n = 0;
    for (const nn::weight* w : {&attn_q, &attn_k, &attn_v, &attn_output, &ffn_gate, &ffn_up, &ffn_down, &ffn_gate_inp}) n += w->bytes();
    for (const std::vector<nn::weight>* experts : {&ffn_gate_exps, &ffn_up_exps, &ffn_down_exps}) {
      for (const nn::weight& w : *experts) n += w.bytes();
    }
    return n;
  }
};

/// A dimension by what it means.
enum class extent : std::uint8_t { none, dim, queries, keys, head, heads, ffn, experts };

/// One tensor of a layer: a vector, a matrix of one or more pieces, or a matrix for each expert.
struct layer_tensor {
  struct piece {
    nn::weight decoder_layer::*to = nullptr;
    extent rows = extent::none;
  };
  std::string_view name;                                  ///< behind "blk.<n>."; matrices without ".weight"
  extent columns;
  std::span<const float> decoder_layer::*vector = nullptr;
  std::array<piece, 3> pieces = {};
  std::vector<nn::weight> decoder_layer::*experts = nullptr;
  extent expert_rows = extent::none;
};

namespace tensor {
inline constexpr layer_tensor attn_norm{"attn_norm.weight", extent::dim, &decoder_layer::attn_norm};
inline constexpr layer_tensor attn_norm_bias{"attn_norm.bias", extent::dim, &decoder_layer::attn_norm_bias};
inline constexpr layer_tensor attn_q{"attn_q", extent::dim, nullptr, {{{&decoder_layer::attn_q, extent::queries}}}};
inline constexpr layer_tensor attn_k{"attn_k", extent::dim, nullptr, {{{&decoder_layer::attn_k, extent::keys}}}};
inline constexpr layer_tensor attn_v{"attn_v", extent::dim, nullptr, {{{&decoder_layer::attn_v, extent::keys}}}};
inline constexpr layer_tensor attn_qkv{
    "attn_qkv", extent::dim, nullptr,
    {{{&decoder_layer::attn_q, extent::queries}, {&decoder_layer::attn_k, extent::keys}, {&decoder_layer::attn_v, extent::keys}}}};
inline constexpr layer_tensor attn_q_norm{"attn_q_norm.weight", extent::head, &decoder_layer::attn_q_norm};
inline constexpr layer_tensor attn_k_norm{"attn_k_norm.weight", extent::head, &decoder_layer::attn_k_norm};
inline constexpr layer_tensor attn_q_row_norm{"attn_q_norm.weight", extent::queries, &decoder_layer::attn_q_norm};
inline constexpr layer_tensor attn_k_row_norm{"attn_k_norm.weight", extent::keys, &decoder_layer::attn_k_norm};
inline constexpr layer_tensor attn_output{"attn_output", extent::queries, nullptr, {{{&decoder_layer::attn_output, extent::dim}}}};
inline constexpr layer_tensor attn_post_norm{"post_attention_norm.weight", extent::dim, &decoder_layer::attn_post_norm};
inline constexpr layer_tensor attn_sinks{"attn_sinks.weight", extent::heads, &decoder_layer::attn_sinks};
inline constexpr layer_tensor ffn_norm{"ffn_norm.weight", extent::dim, &decoder_layer::ffn_norm};
inline constexpr layer_tensor ffn_norm_bias{"ffn_norm.bias", extent::dim, &decoder_layer::ffn_norm_bias};
inline constexpr layer_tensor ffn_norm_after_attention{"post_attention_norm.weight", extent::dim, &decoder_layer::ffn_norm};
inline constexpr layer_tensor ffn_gate{"ffn_gate", extent::dim, nullptr, {{{&decoder_layer::ffn_gate, extent::ffn}}}};
inline constexpr layer_tensor ffn_up{"ffn_up", extent::dim, nullptr, {{{&decoder_layer::ffn_up, extent::ffn}}}};
inline constexpr layer_tensor ffn_gate_and_up{
    "ffn_up", extent::dim, nullptr, {{{&decoder_layer::ffn_gate, extent::ffn}, {&decoder_layer::ffn_up, extent::ffn}}}};
inline constexpr layer_tensor ffn_down{"ffn_down", extent::ffn, nullptr, {{{&decoder_layer::ffn_down, extent::dim}}}};
inline constexpr layer_tensor ffn_post_norm{"post_ffw_norm.weight", extent::dim, &decoder_layer::ffn_post_norm};
inline constexpr layer_tensor ffn_gate_inp{"ffn_gate_inp", extent::dim, nullptr, {{{&decoder_layer::ffn_gate_inp, extent::experts}}}};
inline constexpr layer_tensor ffn_gate_exps{"ffn_gate_exps", extent::dim, nullptr, {}, &decoder_layer::ffn_gate_exps, extent::ffn};
inline constexpr layer_tensor ffn_up_exps{"ffn_up_exps", extent::dim, nullptr, {}, &decoder_layer::ffn_up_exps, extent::ffn};
inline constexpr layer_tensor ffn_down_exps{"ffn_down_exps", extent::ffn, nullptr, {}, &decoder_layer::ffn_down_exps, extent::dim};
}  // namespace tensor

/// Where a model gets positions from.
enum class position_kind : std::uint8_t { rotated_neighbours, rotated_halves, learned };

/// How a model normalises.
enum class norm_kind : std::uint8_t {
  rms,
  layer,           ///< with means and biases
  layer_unbiased,
};

/// Whose equations: several architectures may have the same.
enum class architecture_id : std::uint8_t {
  llama, llama_experts, smollm3, granite, minicpm, mistral3, gpt2, qwen2, qwen3, qwen3moe, gemma, gemma2, gemma3, phi3, gpt_oss, olmo2, exaone4, glm4,
  hunyuan_dense, granite_experts, olmoe, starcoder2, stablelm, command_r
};

/// Layers that see only the positions before them that are near.
struct window_rule {
  std::size_t size;     ///< where the file does not say; 0: no window, also where the file says so
  std::size_t period;   ///< of so many layers the last sees all; 0: none does
};

struct architecture {
  architecture_id id;
  std::string_view name;                        ///< general.architecture, and the prefix of its keys
  position_kind positions;
  norm_kind norms;
  bool has_experts;                             ///< <name>.expert_count is not 0
  std::array<const layer_tensor*, 16> layer;    ///< ends with the first nullptr
  std::optional<window_rule> windows = {};      ///< none: all layers see all positions, whatever the file says
};

inline constexpr auto architectures = [] {
  using enum position_kind;
  using enum norm_kind;
  using id = architecture_id;
  constexpr std::array<const layer_tensor*, 16> of_llama = {&tensor::attn_norm, &tensor::attn_q,   &tensor::attn_k, &tensor::attn_v, &tensor::attn_output,
                                                            &tensor::ffn_norm,  &tensor::ffn_gate, &tensor::ffn_up, &tensor::ffn_down};
  constexpr std::array<const layer_tensor*, 16> of_mixtral = {&tensor::attn_norm,   &tensor::attn_q,        &tensor::attn_k,        &tensor::attn_v,
                                                              &tensor::attn_output, &tensor::ffn_norm,      &tensor::ffn_gate_inp,  &tensor::ffn_gate_exps,
                                                              &tensor::ffn_up_exps, &tensor::ffn_down_exps};
  constexpr std::array<const layer_tensor*, 16> of_qwen3 = {&tensor::attn_norm,   &tensor::attn_q,   &tensor::attn_q_norm, &tensor::attn_k,
                                                            &tensor::attn_k_norm, &tensor::attn_v,   &tensor::attn_output, &tensor::ffn_norm,
                                                            &tensor::ffn_gate,    &tensor::ffn_up,   &tensor::ffn_down};
  constexpr std::array<const layer_tensor*, 16> of_command_r = {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v, &tensor::attn_output,
                                                                &tensor::ffn_gate,  &tensor::ffn_up, &tensor::ffn_down};
  return std::array{
      architecture{id::llama, "llama", rotated_neighbours, rms, false, of_llama, window_rule{0, 0}},
      architecture{id::llama_experts, "llama", rotated_neighbours, rms, true, of_mixtral, window_rule{0, 0}},
      architecture{id::llama, "internlm2", rotated_neighbours, rms, false, of_llama},
      architecture{id::llama, "ernie4_5", rotated_neighbours, rms, false, of_llama},
      architecture{id::smollm3, "smollm3", rotated_neighbours, rms, false, of_llama},
      architecture{id::granite, "granite", rotated_neighbours, rms, false, of_llama},
      architecture{id::minicpm, "minicpm", rotated_neighbours, rms, false, of_llama},
      architecture{id::mistral3, "mistral3", rotated_neighbours, rms, false, of_llama},
      architecture{id::gpt2, "gpt2", learned, layer, false,
                   {&tensor::attn_norm, &tensor::attn_norm_bias, &tensor::attn_qkv, &tensor::attn_output, &tensor::ffn_norm, &tensor::ffn_norm_bias,
                    &tensor::ffn_up, &tensor::ffn_down}},
      architecture{id::qwen2, "qwen2", rotated_halves, rms, false, of_llama},
      architecture{id::qwen2, "exaone", rotated_halves, rms, false, of_llama},
      architecture{id::qwen3, "qwen3", rotated_halves, rms, false, of_qwen3},
      architecture{id::qwen3moe, "qwen3moe", rotated_halves, rms, true,
                   {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_q_norm, &tensor::attn_k, &tensor::attn_k_norm, &tensor::attn_v, &tensor::attn_output,
                    &tensor::ffn_norm, &tensor::ffn_gate_inp, &tensor::ffn_gate_exps, &tensor::ffn_up_exps, &tensor::ffn_down_exps}},
      architecture{id::gemma, "gemma", rotated_halves, rms, false, of_llama},
      architecture{id::gemma2, "gemma2", rotated_halves, rms, false,
                   {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v, &tensor::attn_output, &tensor::attn_post_norm,
                    &tensor::ffn_norm, &tensor::ffn_gate, &tensor::ffn_up, &tensor::ffn_down, &tensor::ffn_post_norm}, window_rule{4096, 2}},
      architecture{id::gemma3, "gemma3", rotated_halves, rms, false,
                   {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_q_norm, &tensor::attn_k, &tensor::attn_k_norm, &tensor::attn_v,
                    &tensor::attn_output, &tensor::attn_post_norm, &tensor::ffn_norm, &tensor::ffn_gate, &tensor::ffn_up, &tensor::ffn_down,
                    &tensor::ffn_post_norm}, window_rule{0, 6}},
      architecture{id::phi3, "phi3", rotated_halves, rms, false,
                   {&tensor::attn_norm, &tensor::attn_qkv, &tensor::attn_output, &tensor::ffn_norm, &tensor::ffn_gate_and_up, &tensor::ffn_down},
                   window_rule{0, 0}},
      architecture{id::gpt_oss, "gpt-oss", rotated_halves, rms, true,
                   {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v, &tensor::attn_sinks, &tensor::attn_output,
                    &tensor::attn_post_norm, &tensor::ffn_gate_inp, &tensor::ffn_gate_exps, &tensor::ffn_up_exps, &tensor::ffn_down_exps},
                   window_rule{128, 2}},
      architecture{id::olmo2, "olmo2", rotated_halves, rms, false,
                   {&tensor::attn_q, &tensor::attn_q_row_norm, &tensor::attn_k, &tensor::attn_k_row_norm, &tensor::attn_v, &tensor::attn_output,
                    &tensor::attn_post_norm, &tensor::ffn_gate, &tensor::ffn_up, &tensor::ffn_down, &tensor::ffn_post_norm}, window_rule{0, 4}},
      architecture{id::exaone4, "exaone4", rotated_halves, rms, false,
                   {&tensor::attn_q, &tensor::attn_q_norm, &tensor::attn_k, &tensor::attn_k_norm, &tensor::attn_v, &tensor::attn_output,
                    &tensor::attn_post_norm, &tensor::ffn_gate, &tensor::ffn_up, &tensor::ffn_down, &tensor::ffn_post_norm}, window_rule{0, 4}},
      architecture{id::glm4, "glm4", rotated_neighbours, rms, false,
                   {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v, &tensor::attn_output, &tensor::attn_post_norm,
                    &tensor::ffn_norm, &tensor::ffn_gate_and_up, &tensor::ffn_down, &tensor::ffn_post_norm}},
      architecture{id::qwen2, "seed_oss", rotated_halves, rms, false,
                   {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v, &tensor::attn_output, &tensor::ffn_norm_after_attention,
                    &tensor::ffn_gate, &tensor::ffn_up, &tensor::ffn_down}},
      architecture{id::hunyuan_dense, "hunyuan-dense", rotated_halves, rms, false, of_qwen3},
      architecture{id::granite_experts, "granitemoe", rotated_neighbours, rms, true, of_mixtral},
      architecture{id::olmoe, "olmoe", rotated_halves, rms, true,
                   {&tensor::attn_norm, &tensor::attn_q, &tensor::attn_q_row_norm, &tensor::attn_k, &tensor::attn_k_row_norm, &tensor::attn_v,
                    &tensor::attn_output, &tensor::ffn_norm, &tensor::ffn_gate_inp, &tensor::ffn_gate_exps, &tensor::ffn_up_exps, &tensor::ffn_down_exps}},
      architecture{id::starcoder2, "starcoder2", rotated_halves, layer, false,
                   {&tensor::attn_norm, &tensor::attn_norm_bias, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v, &tensor::attn_output,
                    &tensor::ffn_norm, &tensor::ffn_norm_bias, &tensor::ffn_up, &tensor::ffn_down}},
      architecture{id::stablelm, "stablelm", rotated_halves, layer, false,
                   {&tensor::attn_norm, &tensor::attn_norm_bias, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v, &tensor::attn_output,
                    &tensor::ffn_norm, &tensor::ffn_norm_bias, &tensor::ffn_gate, &tensor::ffn_up, &tensor::ffn_down}},
      architecture{id::command_r, "command-r", rotated_neighbours, layer_unbiased, false, of_command_r},
      architecture{id::command_r, "cohere2", rotated_neighbours, layer_unbiased, false, of_command_r, window_rule{0, 4}},
  };
}();

/// Returns the row of an architecture, or nullptr.
[[nodiscard]] constexpr const architecture* find_architecture(std::string_view name, bool has_experts) noexcept {
  for (const architecture& a : architectures) {
    if (a.name == name && a.has_experts == has_experts) return &a;
  }
  return nullptr;
}

/// Returns the names of all architectures, separated by commas.
[[nodiscard]] inline std::string architecture_names() {
  std::string names;
  std::string_view last;
  for (const architecture& a : architectures) {
    if (a.name == last) continue;   // with and without experts
    if (!names.empty()) names += ", ";
    names += a.name;
    last = a.name;
  }
  return names;
}

}  // namespace cria::inline v0_1_0
