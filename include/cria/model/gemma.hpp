// SPDX-License-Identifier: MIT
// model/gemma.hpp - the decoder of the first Gemma: LLaMA with scaled embeddings, GELU, and rotation by halves.
//
//   h       = sqrt(D) token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     channels i and i + d/2 are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V         d is a key of the file, not D / H
//   h      += ffn_down (gelu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)                output is token_embd
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    Gemma arXiv 2403.08295; GELU in its tanh form. The files' norm weights have the 1 that Gemma adds.
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cmath>
#include <cstddef>

namespace cria::inline v0_1_0 {

struct gemma : rotary_decoder {
  static result<gemma> from_metadata(const detail::config_reader&, const model_config& c) { return gemma{rotary_decoder(c)}; }

  static void begin(const nn::pass& p, const loaded_decoder& m) { rotary_decoder::begin(p, m, std::sqrt(static_cast<float>(m.config.dim))); }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn(p, m)});
    p.add_mixed(w.attn_output);
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::gelu);
  }
};

}  // namespace cria::inline v0_1_0
