// SPDX-License-Identifier: MIT
// model/qwen3moe.hpp - Qwen 3 with a feed-forward layer of experts.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(rms_norm(q, attn_q_norm), pos), rope(rms_norm(k, attn_k_norm), pos)     per head; i and i + d/2 are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V
//   p       = softmax over the U largest of ffn_gate_inp b   b = rms_norm(h, ffn_norm)
//   h      += s sum p_e ffn_down_e (silu(ffn_gate_e b) * ffn_up_e b)     s as in model/llama_experts.hpp
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp; nn/experts.hpp
// Threads   as model/llama.hpp
// Source    Qwen3 arXiv 2505.09388
#pragma once

#include <cria/model/llama_experts.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

/// The layers of llama_experts, with other angles.
struct qwen3moe : llama_experts {
  static result<qwen3moe> from_metadata(const detail::config_reader& read, const model_config& c) {
    CRIA_TRY(const auto experts, llama_experts::from_metadata(read, c));
    return qwen3moe{experts};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    llama_experts::layer(p, m, i, turn(p, m).with_norms(w.attn_q_norm, w.attn_k_norm, m.config.norm_eps));
  }
};

}  // namespace cria::inline v0_1_0
