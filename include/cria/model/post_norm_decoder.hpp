// SPDX-License-Identifier: MIT
// model/post_norm_decoder.hpp - the layer of decoders whose norms are behind its blocks instead of before them.
//
//   q, k, v = attn_{q,k,v} h
//   h      += rms_norm(attn_output softmax(q K^T / sqrt(d)) V, post_attention_norm)     q and k turned as the architecture says
//   h      += rms_norm(ffn_down (silu(ffn_gate h) * ffn_up h), post_ffw_norm)
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct post_norm_decoder : rotary_decoder {
 protected:
  static void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i, const nn::rotation& turned) {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(nn::no_norm, w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turned, .seen = {.window = m.config.window_of(i)}});
    p.add_mixed(w.attn_output, m.rms_norm(w.attn_post_norm));
    p.gated_feed_forward(nn::no_norm, w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu, m.rms_norm(w.ffn_post_norm));
  }
};

}  // namespace cria::inline v0_1_0
