// SPDX-License-Identifier: MIT
// model/olmoe.hpp - the OLMoE decoder: experts whose shares do not add up to 1, and norms of whole queries and keys.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(rms_norm(q, attn_q_norm), pos), rope(rms_norm(k, attn_k_norm), pos)     all heads are one norm; i and i + d/2 are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V
//   p       = softmax over all of ffn_gate_inp b             b = rms_norm(h, ffn_norm)
//   h      += sum p_e ffn_down_e (silu(ffn_gate_e b) * ffn_up_e b)     over the U largest
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp; nn/experts.hpp; norms of q and k [H d], [G d]
// Errors    as model/llama_experts.hpp
// Threads   as model/llama.hpp
// Source    OLMoE arXiv 2409.02060
#pragma once

#include <cria/model/llama_experts.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct olmoe : llama_experts {
  static result<olmoe> from_metadata(const detail::config_reader& read, const model_config& c) {
    CRIA_TRY(const auto experts, llama_experts::from_metadata(read, c, nn::expert_shares::of_all));
    return olmoe{experts};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    llama_experts::layer(p, m, i, turn(p, m).with_norms(w.attn_q_norm, w.attn_k_norm, m.config.norm_eps, nn::norm_place::rows));
  }
};

}  // namespace cria::inline v0_1_0
