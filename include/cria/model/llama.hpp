// SPDX-License-Identifier: MIT
// model/llama.hpp - the LLaMA decoder: one line per equation.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels (2i, 2i+1) are a pair in these files
//   h      += attn_output softmax(q K^T / sqrt(d)) V         H / G query heads share a kv head
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)                only for the rows that are asked for
//
// Shapes    h[T,D]  q[T,H d]  k,v[T,G d]  gate,up[T,F]  logits[rows,V]
// Requires  activations for at least T tokens; caches of the model's shape
// Ensures   the same logits bits for any split of a prompt into passes, any threads, any company in the pass
// Errors    bad_argument (token out of range, nothing to do, too many), context_full, cancelled: caches are as before
// Threads   the model is immutable; a pass uses its own activations and caches
// Source    LLaMA arXiv 2302.13971; RMSNorm 1910.07467; RoPE 2104.09864; SwiGLU 2002.05202; GQA 2305.13245. Tensor names: GGUF.
//           A wrong pairing of rope channels gives fluent nonsense: the converter permutes q and k rows of llama files to neighbours.
#pragma once

#include <cria/model/llama_weights.hpp>
#include <cria/nn/layer.hpp>

#include <array>
#include <cmath>
#include <span>
#include <stop_token>
#include <string>

namespace cria::inline v0 {

class llama {
 public:
  llama(llama_config config, llama_weights weights) : config_(config), weights_(std::move(weights)) {}

  [[nodiscard]] const llama_config& config() const noexcept { return config_; }
  [[nodiscard]] const llama_weights& weights() const noexcept { return weights_; }
  [[nodiscard]] kv_shape cache_shape() const noexcept { return {config_.n_layers, config_.n_kv_heads, config_.head_dim}; }
  [[nodiscard]] nn::activation_shape activation_shape(std::size_t max_tokens) const noexcept {
    const llama_config& c = config_;
    return {max_tokens, c.dim, c.n_heads, c.n_kv_heads, c.head_dim, c.ffn_dim, c.rope.rope_dim};
  }

  /// Runs the slices' tokens and writes the asked logits, rows one after another in the order of the slices. Caches advance on success only.
  template <kv_cache Cache>
  result<void> forward(const nn::compute& c, nn::activations& a, std::span<nn::sequence_slice<Cache>> slices, nn::rows_view logits, const std::stop_token& stop) const {
    CRIA_TRY(const std::size_t n_tokens, nn::begin_pass(a, config_.vocab_size, slices));
    nn::embed(c, a, slices, [&](token_id token, std::span<float> row) { weights_.embed(c.kernels, token, row); });
    nn::rope_tables(c, a, weights_.rope, slices);

    for (std::size_t i = 0; i < config_.n_layers; ++i) {
      if (stop.stop_requested()) return nn::cancel_pass(slices);
      const llama_layer& layer = weights_.layers[i];
      nn::normed_products(c, a, n_tokens, layer.attn_norm, config_.norm_eps, qkv(layer, a));
      nn::rotate_and_append(c, a, weights_.rope, q_scale_, i, slices);
      nn::attend(c, a, {}, i, slices);
      nn::add_product(c, a, a.mixed.view(n_tokens), layer.attn_output);
      nn::gated(c, a, n_tokens, layer.ffn_norm, config_.norm_eps, layer.ffn_gate, layer.ffn_up);
      nn::add_product(c, a, a.gate.view(n_tokens), layer.ffn_down);
    }

    nn::head(c, a, slices, weights_.output_norm, config_.norm_eps, weights_.output, logits);
    nn::commit(slices);
    return {};
  }

 private:
  static std::array<nn::product, 3> qkv(const llama_layer& layer, nn::activations& a) noexcept {
    return {{{&layer.attn_q, a.q.memory.data(), a.q.stride()},
             {&layer.attn_k, a.k.memory.data(), a.k.stride()},
             {&layer.attn_v, a.v.memory.data(), a.v.stride()}}};
  }

  llama_config config_;
  llama_weights weights_;
  float q_scale_ = 1 / std::sqrt(static_cast<float>(config_.head_dim));
};

}  // namespace cria::inline v0
