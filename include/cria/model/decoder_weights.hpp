// SPDX-License-Identifier: MIT
// model/decoder_weights.hpp - the tensors of a model by the names in its architecture's row, packed, with their shapes checked.
//
// Shapes    as in model/architecture.hpp
// Errors    as model/weight_loader.hpp
// Threads   immutable once loaded
#pragma once

#include <cria/model/architecture.hpp>
#include <cria/model/model_config.hpp>
#include <cria/model/weight_loader.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Rows as in the file, read one at a time.
struct row_table {
  std::span<const std::byte> bytes;
  tensor_type type = tensor_type::f32;

  /// Writes row n, as many values as `out` has. Requires a row of the table.
  void row(std::size_t n, std::span<float> out) const noexcept { static_cast<void>(dequantize_row(type, bytes.data() + n * row_bytes(type, out.size()), out)); }
};

struct decoder_weights {
  aligned_buffer memory;                                   ///< where all of the following lie
  std::vector<decoder_layer> layers;
  std::span<const float> output_norm;                      ///< [D]
  std::span<const float> output_norm_bias;                 ///< [D], where the norms are LayerNorms; zeros where those have no biases
  nn::weight output;                                       ///< [V, D]; when tied, token_embd packed, with output's bias
  row_table token_embd;                                    ///< [V, D]; empty when tied
  row_table position_embd;                                 ///< [context, D], where positions are learned
  nn::rope rope;

  [[nodiscard]] bool is_tied() const noexcept { return token_embd.bytes.empty(); }

  /// Writes the embedding of `token`, D floats. Requires token in range.
  void embed(token_id token, std::span<float> out) const noexcept {
    const auto row = static_cast<std::size_t>(token);
    if (is_tied()) return output.row(row, out);
    token_embd.row(row, out);
  }

  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t n = output.bytes() + token_embd.bytes.size() + position_embd.bytes.size();
    for (const decoder_layer& l : layers) n += l.bytes();
    return n;
  }

  /// Nothing is read before the whole model is checked.
  static result<decoder_weights> load(const model_config& c, weight_loader& from) {
    CRIA_CHECK(ask_for_all(c, from));
    CRIA_CHECK(from.check_all_used());
    CRIA_CHECK(from.start_reading());
    CRIA_TRY(decoder_weights w, ask_for_all(c, from));
    w.memory = from.take_memory();
    return w;
  }

  /// Returns what a dimension of the table is in this model.
  [[nodiscard]] static std::size_t size_of(const model_config& c, extent e) noexcept {
    switch (e) {
      case extent::none: break;
      case extent::dim: return c.dim;
      case extent::queries: return c.n_heads * c.head_dim;
      case extent::keys: return c.n_kv_heads * c.head_dim;
      case extent::head: return c.head_dim;
      case extent::heads: return c.n_heads;
      case extent::ffn: return c.ffn_dim;
      case extent::experts: return c.n_experts;
    }
    return 0;
  }

 private:
  static result<decoder_weights> ask_for_all(const model_config& c, weight_loader& from) {
    const struct architecture& row = *c.architecture;
    decoder_weights w;
    w.layers.reserve(std::min(c.n_layers, from.n_tensors()));
    for (std::size_t i = 0; i < c.n_layers; ++i) {
      CRIA_TRY(decoder_layer layer, load_layer(row, c, from, "blk." + std::to_string(i) + "."));
      w.layers.push_back(std::move(layer));
    }
    CRIA_TRY(w.output_norm, from.vector("output_norm.weight", c.dim));
    if (row.norms == norm_kind::layer) {
      CRIA_TRY(w.output_norm_bias, from.vector("output_norm.bias", c.dim));
    } else if (row.norms == norm_kind::layer_unbiased) {
      w.output_norm_bias = from.zeros(c.dim);
    }
    const bool is_tied = from.find("output.weight") == nullptr;
    CRIA_TRY(w.output, from.matrix(is_tied ? "token_embd" : "output", "output.bias", c.vocab_size, c.dim, values_check::finite));
    if (!is_tied) {
      CRIA_TRY(w.token_embd.bytes, from.raw_rows("token_embd.weight", c.vocab_size, c.dim, w.token_embd.type));
    }
    if (c.has_learned_positions) {
      CRIA_TRY(w.position_embd.bytes, from.raw_rows("position_embd.weight", c.context_length, c.dim, w.position_embd.type));
    }
    std::span<const float> divisors;
    if (from.find("rope_freqs.weight") != nullptr && c.rope.rope_dim != 0) {
      CRIA_TRY(divisors, from.vector("rope_freqs.weight", c.rope.rope_dim / 2, values_check::positive));
    }
    w.rope = nn::make_rope(c.rope, divisors);
    if (from.find("rope_factors_long.weight") != nullptr || from.find("rope_factors_short.weight") != nullptr) CRIA_CHECK(load_factors(c, from, w.rope));
    return w;
  }

  /// Factors for sequences that stay within the original context, and for those that may go beyond it.
  static result<void> load_factors(const model_config& c, weight_loader& from, nn::rope& out) {
    CRIA_TRY(const auto shorter, from.vector("rope_factors_short.weight", c.rope.rope_dim / 2, values_check::positive));
    CRIA_TRY(const auto longer, from.vector("rope_factors_long.weight", c.rope.rope_dim / 2, values_check::positive));
    out = nn::make_rope(c.rope, shorter);
    out.long_frequencies = nn::make_rope(c.rope, longer).frequencies;
    return {};
  }

  static result<decoder_layer> load_layer(const struct architecture& row, const model_config& c, weight_loader& from, const std::string& blk) {
    decoder_layer l;
    const auto has = [&](const layer_tensor& t) { return from.find(blk + std::string(t.name) + ".weight") != nullptr; };
    // Files may join or part q, k and v otherwise than those of their architecture usually do.
    const bool is_joined = has(tensor::attn_qkv) && !has(tensor::attn_q), is_parted = !has(tensor::attn_qkv) && has(tensor::attn_q);
    const auto load_matrix = [&](const layer_tensor& t) {
      weight_loader::part parts[3];
      std::size_t n = 0;
      for (const layer_tensor::piece& p : t.pieces) {
        if (p.to != nullptr) parts[n++] = {&(l.*(p.to)), size_of(c, p.rows)};
      }
      return from.parts(blk + std::string(t.name), size_of(c, t.columns), std::span(parts, n));
    };
    for (const layer_tensor* t : row.layer) {
      if (t == nullptr) break;
      const std::string name = blk + std::string(t->name);
      const std::size_t columns = size_of(c, t->columns);
      if (t->vector != nullptr) {
        CRIA_TRY(l.*(t->vector), from.vector(name, columns));
        continue;
      }
      if (t->experts != nullptr) {
        CRIA_TRY(l.*(t->experts), from.experts(name, c.n_experts, size_of(c, t->expert_rows), columns));
        continue;
      }
      if (t == &tensor::attn_qkv && is_parted) {
        for (const layer_tensor* part : {&tensor::attn_q, &tensor::attn_k, &tensor::attn_v}) CRIA_CHECK(load_matrix(*part));
      } else if (is_joined && (t == &tensor::attn_k || t == &tensor::attn_v)) {
        continue;   // loaded with attn_q
      } else {
        CRIA_CHECK(load_matrix(is_joined && t == &tensor::attn_q ? tensor::attn_qkv : *t));
      }
    }
    return l;
  }
};

}  // namespace cria::inline v0_1_0
