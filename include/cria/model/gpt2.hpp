// SPDX-License-Identifier: MIT
// model/gpt2.hpp - the GPT-2 decoder.
//
//   h       = token_embd[token] + position_embd[pos]
//   q, k, v = attn_qkv layer_norm(h, attn_norm) + bias       one tensor, split by rows when it is loaded
//   h      += attn_output softmax(q K^T / sqrt(d)) V + bias
//   h      += ffn_down gelu(ffn_up b + bias) + bias          b = layer_norm(h, ffn_norm)
//   logits  = output layer_norm(h, output_norm)              output is token_embd where the file has none
//
// Shapes    as model/llama.hpp; position_embd [context, D]: a sequence cannot be longer
// Threads   as model/llama.hpp
// Source    A. Radford et al., Language Models are Unsupervised Multitask Learners (2019); GELU in its tanh form
#pragma once

#include <cria/model/rotary_decoder.hpp>

#include <cmath>
#include <cstddef>
#include <span>

namespace cria::inline v0_1_0 {

struct gpt2 {
  float q_scale;

  static result<gpt2> from_metadata(const detail::config_reader&, const model_config& c) { return gpt2{1 / std::sqrt(static_cast<float>(c.head_dim))}; }

  static void begin(const nn::pass& p, const loaded_decoder& m) {
    nn::activations& a = p.activations();
    nn::embed(p.compute(), a, p.n_tokens(), [&](const nn::pass_row& row, std::span<float> h) {
      m.weights.embed(row.token, h);
      const std::span position(a.normed.row(static_cast<std::size_t>(&row - a.rows.data())), h.size());   // not in use yet
      m.weights.position_embd.row(row.pos, position);
      for (std::size_t n = 0; n < h.size(); ++n) h[n] += position[n];
    });
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const { layer(p, m, i, {.q_scale = q_scale}); }
  /// The same with a rotation.
  static void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i, const nn::rotation& turned) {
    const decoder_layer& w = m.weights.layers[i];
    p.queries_keys_values(m.layer_norm(w.attn_norm, w.attn_norm_bias), w.attn_q, w.attn_k, w.attn_v);
    p.attend({.layer = i, .turn = turned});
    p.add_mixed(w.attn_output);
    p.plain_feed_forward(m.layer_norm(w.ffn_norm, w.ffn_norm_bias), w.ffn_up, w.ffn_down);
  }

  static void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) {
    p.head(m.layer_norm(m.weights.output_norm, m.weights.output_norm_bias), m.weights.output, logits);
  }
};

}  // namespace cria::inline v0_1_0
