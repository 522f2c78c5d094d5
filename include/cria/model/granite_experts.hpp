// SPDX-License-Identifier: MIT
// model/granite_experts.hpp - the Granite 3 decoder with a feed-forward layer of experts: Granite's scales around the layers of llama_experts.
//
//   h       = e token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels are a pair
//   h      += r attn_output softmax(s q K^T) V               e, r, s and l as in model/granite.hpp; h / r is kept
//   p       = softmax over the U largest of ffn_gate_inp b   b = rms_norm(h, ffn_norm)
//   h      += r sum p_e ffn_down_e (silu(ffn_gate_e b) * ffn_up_e b)
//   logits  = output rms_norm(h, output_norm) / l
//
// Shapes    as model/llama.hpp; nn/experts.hpp
// Errors    as model/granite.hpp
// Threads   as model/llama.hpp
// Source    Granite 3.0 Language Models (IBM, 2024), the models A400M and A800M. Those with a shared expert have tensors that are refused.
#pragma once

#include <cria/model/granite.hpp>
#include <cria/model/llama_experts.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct granite_experts : granite {
  llama_experts blocks;

  static result<granite_experts> from_metadata(const detail::config_reader& read, const model_config& c) {
    CRIA_TRY(const granite scaled, granite::from_metadata(read, c));
    CRIA_TRY(const llama_experts blocks, llama_experts::from_metadata(read, c));
    return granite_experts{scaled, blocks};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const { blocks.layer(p, of_kept(m), i, turned(p, m)); }
};

}  // namespace cria::inline v0_1_0
