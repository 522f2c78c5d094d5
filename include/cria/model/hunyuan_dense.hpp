// SPDX-License-Identifier: MIT
// model/hunyuan_dense.hpp - the dense Hunyuan decoder: as Qwen 3, but each head's query and key are normalised when they have turned.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rms_norm(rope(q, pos), attn_q_norm), rms_norm(rope(k, pos), attn_k_norm)     per head; i and i + d/2 are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp; norms of heads [d]
// Threads   as model/llama.hpp
// Source    Hunyuan dense models of 0.5 B to 7 B (Tencent, 2025)
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct hunyuan_dense : rotary_decoder {
  static result<hunyuan_dense> from_metadata(const detail::config_reader&, const model_config& c) { return hunyuan_dense{rotary_decoder(c)}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn(p, m).with_norms(w.attn_q_norm, w.attn_k_norm, m.config.norm_eps, nn::norm_place::turned_heads)});
    p.add_mixed(w.attn_output);
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu);
  }
};

}  // namespace cria::inline v0_1_0
