// SPDX-License-Identifier: MIT
// model/glm4.hpp - the GLM 4 decoder: norms on both sides of each block, gate and up in one tensor, and rotation of half of each head.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm) + bias
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels are a pair; those beyond rope.dimension_count stay
//   h      += rms_norm(attn_output softmax(q K^T / sqrt(d)) V, post_attention_norm)
//   h      += rms_norm(ffn_down (silu(gate) * up), post_ffw_norm)        gate above up = ffn_up rms_norm(h, ffn_norm), split when it is loaded
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    ChatGLM arXiv 2406.12793; GLM-4-0414 (Z.ai, 2025) for the norms behind the blocks
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct glm4 : rotary_decoder {
  static result<glm4> from_metadata(const detail::config_reader&, const model_config& c) { return glm4{rotary_decoder(c)}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn(p, m)});
    p.add_mixed(w.attn_output, m.rms_norm(w.attn_post_norm));
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu, m.rms_norm(w.ffn_post_norm));
  }
};

}  // namespace cria::inline v0_1_0
