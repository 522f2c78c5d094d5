// SPDX-License-Identifier: MIT
// model/llama_experts.hpp - LLaMA with a feed-forward layer of experts (Mixtral).
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V
//   p       = softmax over the U largest of ffn_gate_inp b   b = rms_norm(h, ffn_norm); or over all
//   h      += s sum p_e ffn_down_e (silu(ffn_gate_e b) * ffn_up_e b)     s = expert_weights_scale; 1 where the file says none, or 0
//   logits  = output rms_norm(h, output_norm)
//
// The softmax is over all where expert_weights_norm is false and expert_gating_func is not 3, which says that it is over the chosen ones.
//
// Shapes    as model/llama.hpp; nn/experts.hpp
// Errors    from_metadata: wrong_type, bad_value (with the key)
// Threads   as model/llama.hpp
// Source    Mixtral arXiv 2401.04088
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct llama_experts : rotary_decoder {
  float expert_scale;
  nn::expert_shares shares;

  /// `otherwise` is what a file means that does not say expert_weights_norm.
  static result<llama_experts> from_metadata(const detail::config_reader& read, const model_config& c,
                                             nn::expert_shares otherwise = nn::expert_shares::of_chosen) {
    CRIA_TRY(const float scale, read.positive_or_none("expert_weights_scale", 1));
    CRIA_TRY(const bool is_of_chosen, read.has_softmax_of_chosen());
    CRIA_TRY(const bool is_normed, read.flag("expert_weights_norm", otherwise == nn::expert_shares::of_chosen));
    return llama_experts{rotary_decoder(c), scale == 0 ? 1 : scale, is_of_chosen || is_normed ? nn::expert_shares::of_chosen : nn::expert_shares::of_all};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const { layer(p, m, i, turn(p, m)); }
  /// The same with another rotation.
  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i, const nn::rotation& turned) const {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.rms_norm(w.attn_norm), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turned, .seen = {.window = m.config.window_of(i)}});
    p.add_mixed(w.attn_output);
    p.expert_feed_forward(m.rms_norm(w.ffn_norm), m.experts(w, expert_scale, shares), nn::gate_function::silu);
  }
};

}  // namespace cria::inline v0_1_0
