// SPDX-License-Identifier: MIT
// model/mistral3.hpp - the decoder of Ministral 3: LLaMA whose queries grow with their position, so that far attention stays sharp.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = g rope(q, pos), rope(k, pos)                   neighbouring channels are a pair; g = 1 + t ln(1 + floor(pos / original context))
//   h      += attn_output softmax(q K^T / sqrt(d)) V         t = attention.temperature_scale; 0 where the file says none
//   h      += ffn_down (silu(ffn_gate b) * ffn_up b)         b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm)
//
// Shapes    as model/llama.hpp
// Errors    from_metadata: wrong_type, bad_value (with the key)
// Threads   as model/llama.hpp
// Source    Ministral 3 arXiv 2601.08584; Scalable-Softmax arXiv 2501.19399
#pragma once

#include <cria/model/llama.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct mistral3 : llama {
  nn::query_growth growth;

  static result<mistral3> from_metadata(const detail::config_reader& read, const model_config& c) {
    CRIA_TRY(const float rate, read.positive_or_none("attention.temperature_scale", 0));
    return mistral3{llama{rotary_decoder(c)}, {.rate = static_cast<double>(rate), .span = c.rope.original_context}};
  }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    nn::rotation turned = turn(p, m);
    turned.growth = growth;
    llama::layer(p, m, i, turned);
  }
};

}  // namespace cria::inline v0_1_0
