// SPDX-License-Identifier: MIT
// model/qwen2.hpp - the Qwen 2 and 2.5 decoder: LLaMA with biases on q, k and v, and rotation by halves.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm) + bias
//   q, k    = rope(q, pos), rope(k, pos)                     channels i and i + d/2 are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)
//
// seed_oss is the same equations with its ffn_norm under the name post_attention_norm, exaone without the biases.
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    Qwen2 arXiv 2407.10671
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct qwen2 : rotary_decoder {
  static result<qwen2> from_metadata(const detail::config_reader&, const model_config& c) { return qwen2{rotary_decoder(c)}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);   // with their biases
    p.attend({.layer = i, .turn = turn(p, m)});
    p.add_mixed(w.attn_output);
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu);
  }
};

}  // namespace cria::inline v0_1_0
