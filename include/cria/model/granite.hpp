// SPDX-License-Identifier: MIT
// model/granite.hpp - the Granite 3 decoder: LLaMA with four scales that the file says.
//
//   h       = e token_embd[token]                            e = embedding_scale
//   q, k, v = attn_{q,k,v} rms_norm(h, attn_norm)
//   q, k    = rope(q, pos), rope(k, pos)                     neighbouring channels are a pair
//   h      += r attn_output softmax(s q K^T) V               r = residual_scale, s = attention.scale
//   h      += r ffn_down (silu(ffn_gate b) * ffn_up b)       b = rms_norm(h, ffn_norm)
//   logits  = output rms_norm(h, output_norm) / l            l = logit_scale
//
// What is kept is h / r: it begins with e / r and is added to without a scale, and rms_norm(h, eps) = rms_norm(h / r, eps / r^2).
//
// Shapes    as model/llama.hpp
// Errors    from_metadata: missing_key, wrong_type, bad_value (with the key)
// Threads   as model/llama.hpp
// Source    Granite 3.0 Language Models (IBM, 2024), the multipliers after muP arXiv 2203.03466
#pragma once

#include <cria/model/llama.hpp>

#include <cmath>
#include <cstddef>

namespace cria::inline v0_1_0 {

struct granite : llama {
  /// What a file means that does not say a scale; 0: it must.
  struct defaults {
    float embedding, residual, logits;
  };

  float embedding_scale, norm_eps, logit_scale;
  bool has_positions;

  static result<granite> from_metadata(const detail::config_reader& read, const model_config& c) { return from_metadata(read, c, {1, 1, 0}); }

  void begin(const nn::pass& p, const loaded_decoder& m) const { rotary_decoder::begin(p, m, embedding_scale); }

  void layer(const nn::pass& p, const loaded_decoder& m, std::size_t i) const {
    llama::layer(p, of_kept(m), i, turned(p, m));
  }

  void head(const nn::pass& p, const loaded_decoder& m, nn::rows_view logits) const {
    p.head(nn::norm{m.weights.output_norm, norm_eps}, m.weights.output, logits, {.scale = logit_scale});
  }

 protected:
  /// The model with the norms of what is kept.
  [[nodiscard]] loaded_decoder of_kept(const loaded_decoder& m) const noexcept { return {m.config, m.weights, norm_eps}; }

  [[nodiscard]] nn::rotation turned(const nn::pass& p, const loaded_decoder& m) const noexcept {
    return has_positions ? turn(p, m) : nn::rotation{.q_scale = q_scale};
  }

  static result<granite> from_metadata(const detail::config_reader& read, const model_config& c, const defaults& otherwise) {
    CRIA_TRY(const double embedding, read.positive_or_default("embedding_scale", static_cast<double>(otherwise.embedding)));
    CRIA_TRY(const double residual, read.positive_or_default("residual_scale", static_cast<double>(otherwise.residual)));
    CRIA_TRY(const double logits, read.positive("logit_scale", static_cast<double>(otherwise.logits)));
    CRIA_TRY(const float scores, read.positive_or_none("attention.scale", 0));
    CRIA_TRY(const bool has_positions, read.flag("rope.scaling.finetuned", true));
    granite g{llama{rotary_decoder(c)}, static_cast<float>(embedding / residual), static_cast<float>(static_cast<double>(c.norm_eps) / (residual * residual)),
              static_cast<float>(1 / logits), has_positions};
    if (scores != 0) g.q_scale = scores;
    if (!is_scale(g.embedding_scale)) return error{errc::bad_value, read.key("embedding_scale"), "is too small or too large for the residual scale"};
    if (!is_scale(g.norm_eps)) return error{errc::bad_value, read.key("residual_scale"), "is too small or too large"};
    if (!is_scale(g.logit_scale)) return error{errc::bad_value, read.key("logit_scale"), "is too small or too large"};
    return g;
  }

 private:
  static bool is_scale(float x) noexcept { return x > 0 && std::isfinite(x); }
};

}  // namespace cria::inline v0_1_0
