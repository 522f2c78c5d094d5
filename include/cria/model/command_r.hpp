// SPDX-License-Identifier: MIT
// model/command_r.hpp - the decoder of Command R, Command R7B and Aya: attention and feed-forward layer read the same norm, side by side.
//
//   h       = token_embd[token]
//   b       = layer_norm(h, attn_norm)                       without a bias
//   q, k, v = attn_{q,k,v} b
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V + ffn_down (silu(ffn_gate b) * ffn_up b)
//   logits  = l output layer_norm(h, output_norm)            l = logit_scale; output is token_embd
//
// Of cohere2's 4 layers the last sees all positions and does not turn its queries and keys; the others see their window.
//
// Shapes    as model/llama.hpp
// Errors    from_metadata: missing_key, wrong_type, bad_value (with the key); those of config_reader::check_window_base
// Threads   as model/llama.hpp
// Source    Command R (Cohere, 2024); Command A arXiv 2504.00698 (section 2.1). Command R+ has norms of queries and keys, tensors that are refused.
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct command_r : rotary_decoder {
  float logit_scale;

  static result<command_r> from_metadata(const detail::config_reader& read, const model_config& c) {
    if (c.architecture->windows) {
      if (c.windows == nullptr) return error{errc::missing_key, read.key("attention.sliding_window")};
      CRIA_CHECK(read.check_window_base(c.rope.base));
    }
    CRIA_TRY(const float scale, read.positive_float("logit_scale"));
    return command_r{rotary_decoder(c), scale};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    const decoder_layer& w = m.weights.layers[i];
    const std::size_t window = m.config.window_of(i);
    const nn::norm before = m.layer_norm(w.attn_norm, m.weights.output_norm_bias);   // zeros
    p.queries_keys_values(before, w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = m.config.windows == nullptr || window != 0 ? turn(p, m) : nn::rotation{.q_scale = q_scale}, .seen = {.window = window}});
    p.gated_feed_forward(before, w.ffn_gate, w.ffn_up, w.ffn_down, nn::gate_function::silu);   // reads h before attention is added
    p.add_mixed(w.attn_output);
  }

  void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) const {
    p.head(m.layer_norm(m.weights.output_norm, m.weights.output_norm_bias), m.weights.output, logits, {.scale = logit_scale});
  }
};

}  // namespace cria::inline v0_1_0
