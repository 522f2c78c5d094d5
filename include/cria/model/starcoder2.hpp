// SPDX-License-Identifier: MIT
// model/starcoder2.hpp - the StarCoder 2 decoder: GPT-2 with rotated positions, and query heads that share keys and values.
//
//   h       = token_embd[token]
//   q, k, v = attn_{q,k,v} layer_norm(h, attn_norm) + bias
//   q, k    = rope(q, pos), rope(k, pos)                     channels i and i + d/2 are a pair
//   h      += attn_output softmax(q K^T / sqrt(d)) V + bias
//   h      += ffn_down gelu(ffn_up b + bias) + bias          b = layer_norm(h, ffn_norm)
//   logits  = output layer_norm(h, output_norm)
//
// Shapes    as model/llama.hpp
// Threads   as model/llama.hpp
// Source    StarCoder 2 arXiv 2402.19173 (section 6); GELU in its tanh form
#pragma once

#include <cria/model/gpt2.hpp>
#include <cria/model/rotary_decoder.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

struct starcoder2 : rotary_decoder {
  static result<starcoder2> from_metadata(const detail::config_reader&, const model_config& c) { return starcoder2{rotary_decoder(c)}; }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const { gpt2::layer(p, m, i, turn(p, m)); }

  static void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) { gpt2::head(p, m, logits); }
};

}  // namespace cria::inline v0_1_0
