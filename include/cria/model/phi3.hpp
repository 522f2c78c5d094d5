// SPDX-License-Identifier: MIT
// model/phi3.hpp - the Phi-3 decoder: LLaMA with q, k, v in one tensor, gate and up in another, and rotation by halves.
//
//   h       = token_embd[token]
//   q, k, v = attn_qkv rms_norm(h, attn_norm)                split by rows when it is loaded, as is ffn_up: gate above up
//   q, k    = rope(q, pos), rope(k, pos)                     channels i and i + d/2 are a pair; factors for short and for long contexts (nn/rope.hpp)
//   h      += attn_output softmax(q K^T / sqrt(d)) V         with a window where the file has one
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    Phi-3 arXiv 2404.14219; LongRoPE arXiv 2402.13753
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0 {

struct phi3 : rotary_decoder {
  static result<phi3> from_metadata(const detail::config_reader&, const model_config& c) { return phi3{rotary_decoder(c)}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn(p, m), .seen = {.window = m.config.window_of(i)}});
    p.add_mixed(w.attn_output);
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu);
  }
};

}  // namespace cria::inline v0_1_0
