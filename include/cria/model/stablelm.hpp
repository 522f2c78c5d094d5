// SPDX-License-Identifier: MIT
// model/stablelm.hpp - the StableLM decoder: LLaMA with LayerNorms, and rotation of a part of each head.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} layer_norm(h, attn_norm)          with biases in StableLM 2
//   q, k    = rope(q, pos), rope(k, pos)                     channels i and i + r/2 are a pair, r = rope.dimension_count; the others stay
//   h      += attn_output softmax(q K^T / sqrt(d)) V
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = layer_norm(h, ffn_norm)
//   logits  = output layer_norm(h, output_norm)
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    Stable LM 2 arXiv 2402.17834 (section 2). The model of 12 B has no ffn_norm and is refused: its feed-forward layer is beside attention.
#pragma once

#include <cria/model/gpt2.hpp>
#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct stablelm : rotary_decoder {
  static result<stablelm> from_metadata(const detail::config_reader&, const model_config& c) { return stablelm{rotary_decoder(c)}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.layer_norm(w.attn_norm, w.attn_norm_bias), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn(p, m)});
    p.add_mixed(w.attn_output);
    p.gated_feed_forward(m.layer_norm(w.ffn_norm, w.ffn_norm_bias), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu);
  }

  static void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) { gpt2::head(p, m, logits); }
};

}  // namespace cria::inline v0_1_0
