// SPDX-License-Identifier: MIT
// model/llama.hpp - the LLaMA decoder: one line per equation.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels (2i, 2i+1) are a pair in these files
//   h      += attn_output softmax(q K^T / sqrt(d)) V         H / G query heads share a kv head
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)                only for the rows that are asked for
//
// internlm2 and ernie4_5 are the same equations under other names, exaone those of qwen2.
//
// Shapes    h[T,D]  q[T,H d]  k,v[T,G d]  gate,up[T,F]  logits[rows,V]
// Threads   the equations are immutable; a pass uses its own activations and caches
// Source    LLaMA arXiv 2302.13971; RMSNorm 1910.07467; RoPE 2104.09864; SwiGLU 2002.05202; GQA 2305.13245. Tensor names: GGUF.
//           A wrong pairing of rope channels gives fluent nonsense: the converter permutes q and k rows of llama files to neighbours.
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct llama : rotary_decoder {
  static result<llama> from_metadata(const detail::config_reader&, const model_config& c) { return llama{rotary_decoder(c)}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const { layer(p, m, i, turn(p, m)); }

 protected:
  static void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i, const nn::rotation& turned) {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turned, .seen = {.window = m.config.window_of(i)}});
    p.add_mixed(w.attn_output);
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu);
  }
};

}  // namespace cria::inline v0_1_0
