// SPDX-License-Identifier: MIT
// model/smollm3.hpp - the SmolLM3 decoder: LLaMA, but every fourth layer does not turn its queries and keys.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels are a pair; not in layers 3, 7, 11, ...
//   h      += attn_output softmax(q K^T / sqrt(d)) V
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    SmolLM3 (Hugging Face, 2025), no_rope_layer_interval; NoPE in some layers after arXiv 2501.18795
#pragma once

#include <cria/model/llama.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct smollm3 : llama {
  static constexpr std::size_t period = 4;   ///< no key of the files: the published models' own

  static result<smollm3> from_metadata(const detail::config_reader&, const model_config& c) { return smollm3{llama{rotary_decoder(c)}}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    llama::layer(p, m, i, (i + 1) % period == 0 ? nn::rotation{.q_scale = q_scale} : turn(p, m));
  }
};

}  // namespace cria::inline v0_1_0
