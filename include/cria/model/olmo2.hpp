// SPDX-License-Identifier: MIT
// model/olmo2.hpp - the decoder of OLMo 2 and 3: LLaMA with norms behind its blocks instead of before them, and norms of whole queries and keys.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} h
//   q, k    = rope(rms_norm(q, attn_q_norm), pos), rope(rms_norm(k, attn_k_norm), pos)     all heads are one norm; i and i + d/2 are a pair
//   h      += rms_norm(attn_output softmax(q K^T / sqrt(d)) V, post_attention_norm)
//   h      += rms_norm(ffn_down (silu(ffn_gate h) * ffn_up h), post_ffw_norm)
//   logits  = output rms_norm(h, output_norm)
//
// Where the file has a window (OLMo 3), of 4 layers the last sees all positions; the others see their window and turn without the file's scaling.
//
// Shapes    as model/llama.hpp; norms of q and k [H d], [G d]
// Errors    from_metadata: those of config_reader::check_window_base
// Threads   as model/llama.hpp
// Source    OLMo 2 arXiv 2501.00656 (section 3.1); OLMo 3 arXiv 2512.13961 (YaRN only in layers that see all positions)
#pragma once

#include <cria/model/post_norm_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct olmo2 : post_norm_decoder {
  nn::rope window_rope;

  static result<olmo2> from_metadata(const detail::config_reader& read, const model_config& c) {
    if (c.windows != nullptr) CRIA_CHECK(read.check_window_base(c.rope.base));
    return olmo2{post_norm_decoder{rotary_decoder(c)}, nn::make_rope({.rope_dim = c.rope.rope_dim, .base = c.rope.base, .pairing = c.rope.pairing}, {})};
  }

  void begin(const nn::pass& p, const loaded_decoder& m) const {
    rotary_decoder::begin(p, m);
    if (m.config.has_two_angles) nn::rope_table(p.compute(), p.activations(), p.n_tokens(), window_rope, p.activations().rope_of_windows);
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    const nn::rotation turned = turn(p, m).with_norms(w.attn_q_norm, w.attn_k_norm, m.config.norm_eps, nn::norm_place::rows);
    post_norm_decoder::layer(p, m, i, m.config.window_of(i) == 0 ? turned : turned.by(window_rope, p.activations().rope_of_windows));
  }
};

}  // namespace cria::inline v0_1_0
