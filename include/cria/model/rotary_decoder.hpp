// SPDX-License-Identifier: MIT
// model/rotary_decoder.hpp - what decoders with rotary positions begin and end with.
//
//   h       = token_embd[token], or times a scale            begin, with the angles of each position
//   logits  = output rms_norm(h, output_norm)                head, only for the rows that are asked for
//
// Threads   run on the executor of the pass
// Lifetime  loaded_decoder refers to the state of a model
#pragma once

#include <cria/model/decoder_weights.hpp>
#include <cria/nn/pass.hpp>

#include <cmath>
#include <cstddef>
#include <span>

namespace cria::inline v0_1_0 {

/// What equations compute with.
struct loaded_decoder {
  const model_config& config;
  const decoder_weights& weights;
  float norm_eps = config.norm_eps;

  /// RMSNorm with one of the model's weights.
  [[nodiscard]] nn::norm rms_norm(std::span<const float> weight) const noexcept { return {weight, norm_eps}; }
  /// LayerNorm with one of the model's weights and biases.
  [[nodiscard]] nn::norm layer_norm(std::span<const float> weight, std::span<const float> bias) const noexcept { return {weight, norm_eps, bias}; }
  /// The experts of a layer.
  [[nodiscard]] nn::expert_weights experts(const decoder_layer& w, float scale, nn::expert_shares shares = nn::expert_shares::of_chosen) const noexcept {
    return {w.ffn_gate_inp, w.ffn_gate_exps, w.ffn_up_exps, w.ffn_down_exps, config.n_experts_used, scale, shares};
  }
};

struct rotary_decoder {
  float q_scale;

  explicit rotary_decoder(const model_config& c) noexcept : q_scale(1 / std::sqrt(static_cast<float>(c.head_dim))) {}

  static void begin(const nn::pass& p, const loaded_decoder& m) {
    nn::activations& a = p.activations();
    nn::embed(p.compute(), a, p.n_tokens(), [&](const nn::pass_row& row, std::span<float> h) { m.weights.embed(row.token, h); });
    nn::rope_table(p.compute(), a, p.n_tokens(), m.weights.rope, a.rope);
  }
  /// As begin, with embeddings times a scale.
  static void begin(const nn::pass& p, const loaded_decoder& m, float scale) {
    nn::activations& a = p.activations();
    nn::embed(p.compute(), a, p.n_tokens(), [&](const nn::pass_row& row, std::span<float> h) {
      m.weights.embed(row.token, h);
      for (float& x : h) x *= scale;
    });
    nn::rope_table(p.compute(), a, p.n_tokens(), m.weights.rope, a.rope);
  }
  static void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) { p.head(m.rms_norm(m.weights.output_norm), m.weights.output, logits); }

  /// The model's own angles.
  [[nodiscard]] nn::rotation turn(const nn::pass& p, const loaded_decoder& m) const noexcept {
    return {.angles = &m.weights.rope, .table = &p.activations().rope, .q_scale = q_scale};
  }
};

}  // namespace cria::inline v0_1_0
