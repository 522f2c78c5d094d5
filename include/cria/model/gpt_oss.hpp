// SPDX-License-Identifier: MIT
// model/gpt_oss.hpp - the gpt-oss decoder: experts, a window in every other layer, and heads that may look away.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)            with biases, as all matrices but the output
//   q, k    = rope(q, pos), rope(k, pos)                     channels i and i + d/2 are a pair
//   h      += attn_output softmax(q K^T / sqrt(d), sink) V   sink = attn_sinks[head], a score without a value; even layers see their window
//   p       = softmax over the U largest of ffn_gate_inp b   b = rms_norm(h, post_attention_norm)
//   h      += s sum p_e ffn_down_e (act(ffn_gate_e b, ffn_up_e b))     act = clamped_silu (nn/feed_forward.hpp); s as in model/llama_experts.hpp
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp; nn/experts.hpp; sinks [H]
// Threads   as model/llama.hpp
// Source    gpt-oss model card arXiv 2508.10925 (section 2)
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct gpt_oss : rotary_decoder {
  float expert_scale;

  static result<gpt_oss> from_metadata(const detail::config_reader& read, const model_config& c) {
    if (c.windows != nullptr) CRIA_CHECK(read.check_window_base(c.rope.base));
    CRIA_TRY(const float scale, read.positive_or_none("expert_weights_scale", 1));
    return gpt_oss{rotary_decoder(c), scale == 0 ? 1 : scale};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turn(p, m), .seen = {.window = m.config.window_of(i), .sinks = w.attn_sinks}});
    p.add_mixed(w.attn_output);
    p.expert_feed_forward(m.rms_norm(w.attn_post_norm), m.experts(w, expert_scale), nn::gate_function::clamped_silu);
  }
};

}  // namespace cria::inline v0_1_0
