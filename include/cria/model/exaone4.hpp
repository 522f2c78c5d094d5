// SPDX-License-Identifier: MIT
// model/exaone4.hpp - the EXAONE 4 decoder: norms behind the blocks, norms of each head's query and key, and in large models layers without positions.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} h
//   q, k    = rope(rms_norm(q, attn_q_norm), pos), rope(rms_norm(k, attn_k_norm), pos)     per head; i and i + d/2 are a pair
//   h      += rms_norm(attn_output softmax(q K^T / sqrt(d)) V, post_attention_norm)
//   h      += rms_norm(ffn_down (silu(ffn_gate h) * ffn_up h), post_ffw_norm)
//   logits  = output rms_norm(h, output_norm)
//
// Where the file has a window, of 4 layers the last sees all positions and does not turn its queries and keys.
//
// Shapes    as model/llama.hpp; norms of heads [d]
// Errors    from_metadata: those of config_reader::check_window_base
// Threads   as model/llama.hpp
// Source    EXAONE 4.0 arXiv 2507.11407 (section 2.1)
#pragma once

#include <cria/model/post_norm_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct exaone4 : post_norm_decoder {
  static result<exaone4> from_metadata(const detail::config_reader& read, const model_config& c) {
    if (c.windows != nullptr) CRIA_CHECK(read.check_window_base(c.rope.base));
    return exaone4{post_norm_decoder{rotary_decoder(c)}};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    const bool turns = m.config.windows == nullptr || m.config.window_of(i) != 0;
    const nn::rotation turned = turns ? turn(p, m) : nn::rotation{.q_scale = q_scale};
    post_norm_decoder::layer(p, m, i, turned.with_norms(w.attn_q_norm, w.attn_k_norm, m.config.norm_eps));
  }
};

}  // namespace cria::inline v0_1_0
