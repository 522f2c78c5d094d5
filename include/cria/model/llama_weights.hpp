// SPDX-License-Identifier: MIT
// model/llama_weights.hpp - the tensors of a llama model by their GGUF names, packed, with their shapes checked.
//
// Shapes    as in model/llama.hpp; GGUF lists the fast dimension first: token_embd.weight is [D, V], a row is one token
// Errors    as model/weight_loader.hpp
// Threads   immutable once loaded
#pragma once

#include <cria/model/llama_config.hpp>
#include <cria/model/weight_loader.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace cria::inline v0 {

struct llama_layer {
  array_buffer<float> attn_norm, ffn_norm;                 ///< [D]
  nn::weight attn_q;                                       ///< [H d, D]
  nn::weight attn_k, attn_v;                               ///< [G d, D]
  nn::weight attn_output;                                  ///< [D, H d]
  nn::weight ffn_gate, ffn_up;                             ///< [F, D]
  nn::weight ffn_down;                                     ///< [D, F]
};

struct llama_weights {
  std::vector<llama_layer> layers;
  array_buffer<float> output_norm;                         ///< [D]
  nn::weight output;                                       ///< [V, D]; when tied, token_embd packed
  aligned_buffer token_embd;                               ///< rows as in the file; empty when tied
  tensor_type token_embd_type = tensor_type::f32;
  nn::rope rope;

  [[nodiscard]] bool is_tied() const noexcept { return token_embd.size() == 0; }

  /// Writes the embedding of `token`, D floats. Requires token in range.
  void embed(const kernels::kernel_table& kernels, token_id token, std::span<float> out) const noexcept {
    const auto row = static_cast<std::size_t>(token);
    if (is_tied()) return output.row(kernels, row, out);
    static_cast<void>(dequantize_row(token_embd_type, token_embd.data() + row * row_bytes(token_embd_type, out.size()), out));
  }

  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t n = output.bytes() + token_embd.size();
    for (const llama_layer& l : layers) {
      for (const nn::weight* w : {&l.attn_q, &l.attn_k, &l.attn_v, &l.attn_output, &l.ffn_gate, &l.ffn_up, &l.ffn_down}) n += w->bytes();
    }
    return n;
  }

  static result<llama_weights> load(const llama_config& c, weight_loader& from) {
    llama_weights w;
    w.layers.reserve(std::min(c.n_layers, from.n_tensors()));
    for (std::size_t i = 0; i < c.n_layers; ++i) {
      CRIA_TRY(llama_layer layer, load_layer(c, from, "blk." + std::to_string(i) + "."));
      w.layers.push_back(std::move(layer));
    }
    CRIA_TRY(w.output_norm, from.vector("output_norm.weight", c.dim));
    const std::string output = from.find("output.weight") != nullptr ? "output" : "token_embd";
    CRIA_TRY(w.output, from.matrix(output, c.vocab_size, c.dim, values_check::finite));
    if (output == "output") {
      CRIA_TRY(w.token_embd, from.raw_rows("token_embd.weight", c.vocab_size, c.dim, w.token_embd_type));
    }
    array_buffer<float> divisors;
    if (from.find("rope_freqs.weight") != nullptr) {
      CRIA_TRY(divisors, from.vector("rope_freqs.weight", c.rope.rope_dim / 2, values_check::positive));
    }
    w.rope = nn::make_rope(c.rope, divisors.span());
    return w;
  }

 private:
  static result<llama_layer> load_layer(const llama_config& c, weight_loader& from, const std::string& blk) {
    const std::size_t q_dim = c.n_heads * c.head_dim, kv_dim = c.n_kv_heads * c.head_dim;
    llama_layer l;
    CRIA_TRY(l.attn_norm, from.vector(blk + "attn_norm.weight", c.dim));
    CRIA_TRY(l.attn_q, from.matrix(blk + "attn_q", q_dim, c.dim));
    CRIA_TRY(l.attn_k, from.matrix(blk + "attn_k", kv_dim, c.dim));
    CRIA_TRY(l.attn_v, from.matrix(blk + "attn_v", kv_dim, c.dim));
    CRIA_TRY(l.attn_output, from.matrix(blk + "attn_output", c.dim, q_dim));
    CRIA_TRY(l.ffn_norm, from.vector(blk + "ffn_norm.weight", c.dim));
    CRIA_TRY(l.ffn_gate, from.matrix(blk + "ffn_gate", c.ffn_dim, c.dim));
    CRIA_TRY(l.ffn_up, from.matrix(blk + "ffn_up", c.ffn_dim, c.dim));
    CRIA_TRY(l.ffn_down, from.matrix(blk + "ffn_down", c.dim, c.ffn_dim));
    return l;
  }
};

}  // namespace cria::inline v0
