// SPDX-License-Identifier: MIT
// model/gemma2.hpp - the Gemma 2 decoder: norms on both sides of each block, soft caps, every other layer with a window.
//
//   h       = sqrt(D) token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     channels i and i + d/2 are a pair
//   h      += rms_norm(attn_output softmax(cap(s q K^T)) V, post_attention_norm)     even layers see their window
//   h      += rms_norm(ffn_down (gelu(ffn_gate b) * ffn_up b), post_ffw_norm)        b = rms_norm(h, ffn_norm)
//   logits  = cap(output rms_norm(h, output_norm))           cap(x) = c tanh(x / c), c of its own; x where the file has 0
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    Gemma 2 arXiv 2408.00118; s = 1 / sqrt(d), but 1 / sqrt(D / H) in the model of 46 layers (its table 1). The files' norm weights have
//           the 1 that Gemma adds.
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cmath>
#include <cstddef>

namespace cria::inline v0_1_0 {

struct gemma2 : rotary_decoder {
  float score_cap, logit_cap;   ///< 0: none

  static result<gemma2> from_metadata(const detail::config_reader& read, const model_config& c) {
    constexpr std::size_t layers_of_27b = 46;
    gemma2 g{rotary_decoder(c), 0, 0};
    if (c.n_layers == layers_of_27b) g.q_scale = 1 / std::sqrt(static_cast<float>(c.dim / c.n_heads));
    if (c.windows != nullptr) CRIA_CHECK(read.check_window_base(c.rope.base));
    CRIA_TRY(g.score_cap, read.positive_or_none("attn_logit_softcapping", 50));
    CRIA_TRY(g.logit_cap, read.positive_or_none("final_logit_softcapping", 30));
    return g;
  }

  static void begin(const nn::pass& p, const loaded_decoder& m) { rotary_decoder::begin(p, m, std::sqrt(static_cast<float>(m.config.dim))); }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn(p, m), .seen = {.soft_cap = score_cap, .window = m.config.window_of(i)}});
    p.add_mixed(w.attn_output, m.rms_norm(w.attn_post_norm));
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::gelu, m.rms_norm(w.ffn_post_norm));
  }

  void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) const {
    p.head(m.rms_norm(m.weights.output_norm), m.weights.output, logits, {.cap = logit_cap});
  }
};

}  // namespace cria::inline v0_1_0
