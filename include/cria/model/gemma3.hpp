// SPDX-License-Identifier: MIT
// model/gemma3.hpp - the text decoder of Gemma 3: Gemma 2 with norms of queries and keys in the place of caps, most layers with a window.
//
//   h       = sqrt(D) token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(rms_norm(q, attn_q_norm), pos), rope(rms_norm(k, attn_k_norm), pos)     i and i + d/2 are a pair
//   h      += rms_norm(attn_output softmax(s q K^T) V, post_attention_norm)
//   h      += rms_norm(ffn_down (gelu(ffn_gate b) * ffn_up b), post_ffw_norm)              b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)                                              capped where the file says so
//
// Of 6 layers the last sees all positions and turns by the file's angles; the others see their window and turn by angles of another base.
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    Gemma 3 arXiv 2503.19786 (section 2: 5 local layers to 1, bases 10 k and 1 M); s as in model/gemma2.hpp, the exception has 62 layers
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cmath>
#include <cstddef>

namespace cria::inline v0_1_0 {

struct gemma3 : rotary_decoder {
  float logit_cap;       ///< 0: none
  nn::rope window_rope;

  static result<gemma3> from_metadata(const detail::config_reader& read, const model_config& c) {
    constexpr std::size_t layers_of_27b = 62;
    gemma3 g{rotary_decoder(c), 0, {}};
    if (c.n_layers == layers_of_27b) g.q_scale = 1 / std::sqrt(static_cast<float>(c.dim / c.n_heads));
    CRIA_TRY(g.logit_cap, read.positive_or_none("final_logit_softcapping", 0));
    CRIA_TRY(const double base, read.positive("rope.freq_base_swa", 10000));
    g.window_rope = nn::make_rope({.rope_dim = c.rope.rope_dim, .base = base, .pairing = c.rope.pairing}, {});
    return g;
  }

  void begin(const nn::pass& p, const loaded_decoder& m) const {
    rotary_decoder::begin(p, m, std::sqrt(static_cast<float>(m.config.dim)));
    nn::rope_table(p.compute(), p.activations(), p.n_tokens(), window_rope, p.activations().rope_of_windows);
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    const std::size_t window = m.config.window_of(i);
    nn::rotation turn = rotary_decoder::turn(p, m).with_norms(w.attn_q_norm, w.attn_k_norm, m.config.norm_eps);
    if (window != 0) turn = turn.by(window_rope, p.activations().rope_of_windows);
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn, .seen = {.window = window}});
    p.add_mixed(w.attn_output, m.rms_norm(w.attn_post_norm));
    p.gated_feed_forward(m.rms_norm(w.ffn_norm), w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::gelu, m.rms_norm(w.ffn_post_norm));
  }

  void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) const {
    p.head(m.rms_norm(m.weights.output_norm), m.weights.output, logits, {.cap = logit_cap});
  }
};

}  // namespace cria::inline v0_1_0
