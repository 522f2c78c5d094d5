// SPDX-License-Identifier: MIT
// model/model_config.hpp - the hyperparameters that all architectures have, read from GGUF metadata and checked once.
//
// Ensures   every divisor is positive, n_heads is a multiple of n_kv_heads, rope_dim is even and at most head_dim, dimensions are small enough
//           that no product of two of them wraps
// Errors    missing_key, wrong_type, bad_value (with the key), unsupported_architecture
// Source    GGUF specification; keys are "<architecture>.<name>"
#pragma once

#include <cria/core/result.hpp>
#include <cria/gguf/file.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/model/architecture.hpp>
#include <cria/nn/activations.hpp>
#include <cria/nn/rope.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

struct model_config {
  const struct architecture* architecture = nullptr;   ///< a row of model/architecture.hpp
  std::size_t dim = 0;             ///< D, residual stream
  std::size_t n_layers = 0;
  std::size_t n_heads = 0;         ///< H
  std::size_t n_kv_heads = 0;      ///< G
  std::size_t head_dim = 0;        ///< d
  std::size_t ffn_dim = 0;         ///< F; with experts, that of one expert
  std::size_t n_experts = 0;       ///< E
  std::size_t n_experts_used = 1;  ///< U, by each token
  std::size_t vocab_size = 0;
  std::size_t context_length = 0;  ///< of the training
  bool has_learned_positions = false;  ///< a sequence cannot be longer than context_length
  bool has_two_angles = false;     ///< windowed layers have angles of their own
  layer_windows windows;           ///< for each layer, how many positions a query sees, its own included, 0: all; nullptr: all layers see all
  float norm_eps = 0;
  nn::rope_parameters rope;        ///< rope_dim 0: none

  static result<model_config> from_metadata(const gguf::metadata& metadata, std::size_t vocab_size);

  [[nodiscard]] kv_shape cache_shape() const noexcept { return {n_layers, n_kv_heads, head_dim, windows}; }
  [[nodiscard]] std::size_t window_of(std::size_t layer) const noexcept { return windows == nullptr ? 0 : (*windows)[layer]; }
  [[nodiscard]] nn::activation_shape activation_shape(std::size_t max_tokens) const noexcept {
    return {max_tokens, dim,           n_heads, n_kv_heads, head_dim, ffn_dim, rope.rope_dim, has_two_angles ? std::size_t{2} : std::size_t{1},
            n_experts,  n_experts_used};
  }
};

namespace detail {

/// Reads "<architecture>.<name>" keys and checks their ranges.
class config_reader {
 public:
  config_reader(const gguf::metadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix)) {}

  [[nodiscard]] std::string key(std::string_view name) const { return prefix_ + "." + std::string(name); }
  [[nodiscard]] bool contains(std::string_view name) const { return metadata_.find(key(name)) != nullptr; }

  /// A count in [1, limit]; `fallback` where the key is absent, an error where there is none. An array of equal counts is that count.
  result<std::size_t> count(std::string_view name, std::size_t limit, std::size_t fallback = 0) const {
    const std::string k = key(name);
    const gguf::value* found = metadata_.find(k);
    if (found == nullptr) {
      if (fallback != 0) return fallback;
      return error{errc::missing_key, k};
    }
    std::uint64_t n = 0;
    if (found->type() == gguf::value_type::array) {
      CRIA_TRY(const gguf::array_view array, metadata_.get<gguf::array_view>(k));
      for (std::size_t i = 0; i < array.size(); ++i) {
        auto element = array.at<std::uint64_t>(i);
        if (!element) return error{element.error().code, k, "element " + std::to_string(i) + " " + element.error().message, metadata_.offset_of(*found)};
        if (i != 0 && *element != n) return error{errc::bad_value, k, "layers of different sizes are not supported"};
        n = *element;
      }
    } else {
      CRIA_TRY(n, metadata_.get<std::uint64_t>(k));
    }
    if (n < 1 || n > limit) return error{errc::bad_value, k, std::to_string(n) + " is not in 1 to " + std::to_string(limit)};
    return static_cast<std::size_t>(n);
  }

  /// As count, and 0 where the key is absent or 0.
  result<std::size_t> count_or_none(std::string_view name, std::size_t limit) const {
    if (!contains(name)) return std::size_t{0};
    const auto stored = metadata_.get<std::uint64_t>(key(name));
    if (stored && *stored == 0) return std::size_t{0};
    return count(name, limit);
  }

  /// A finite number above zero; `fallback` where the key is absent, an error where that is 0.
  result<double> positive(std::string_view name, double fallback = 0) const {
    const std::string k = key(name);
    if (metadata_.find(k) == nullptr) {
      if (fallback > 0) return fallback;
      return error{errc::missing_key, k};
    }
    CRIA_TRY(const double value, number(k));
    if (!(value > 0) || !std::isfinite(value)) return error{errc::bad_value, k, "must be positive and finite"};
    return value;
  }

  /// As positive, but the fallback also where the file says 0, as files do where there is nothing to say.
  result<double> positive_or_default(std::string_view name, double fallback) const {
    const auto stored = contains(name) ? number(key(name)) : result<double>(0.0);
    return stored && *stored == 0 ? result<double>(fallback) : positive(name, fallback);
  }

  /// As positive, as a float.
  result<float> positive_float(std::string_view name, double fallback = 0) const {
    CRIA_TRY(const double value, positive(name, fallback));
    const auto rounded = static_cast<float>(value);
    if (!(rounded > 0) || !std::isfinite(rounded)) return error{errc::bad_value, key(name), "does not fit a float"};
    return rounded;
  }

  /// As positive_float, but 0 stays 0, as files have it where there is none.
  result<float> positive_or_none(std::string_view name, float fallback) const {
    const auto stored = contains(name) ? number(key(name)) : result<double>(static_cast<double>(fallback));
    return stored && *stored == 0 ? result<float>(0.0f) : positive_float(name, static_cast<double>(fallback));
  }

  /// A truth value; `fallback` where the key is absent.
  result<bool> flag(std::string_view name, bool fallback) const { return metadata_.get_or(key(name), fallback); }

  /// A number, which some files store as an integer.
  result<double> number(const std::string& k) const {
    auto real = metadata_.get<double>(k);
    if (real || real.error().code != errc::wrong_type) return real;
    auto whole = metadata_.get<std::uint64_t>(k);
    if (!whole) return real;
    return static_cast<double>(*whole);
  }

  /// The width of the feed-forward layer, or of one expert. Where a file of qwen3moe says none for experts, those that a token uses share the other.
  result<std::size_t> ffn_width(const struct architecture& row, std::size_t n_experts_used, std::size_t widest) const {
    CRIA_TRY(const std::size_t of_expert, row.has_experts ? count_or_none("expert_feed_forward_length", widest) : result<std::size_t>(std::size_t{0}));
    if (of_expert != 0) return of_expert;
    CRIA_TRY(const std::size_t width, count("feed_forward_length", widest));
    if (row.id != architecture_id::qwen3moe) return width;
    if (width < n_experts_used) return error{errc::bad_value, key("feed_forward_length"), "is less than the experts that a token uses"};
    return width / n_experts_used;
  }

  /// Fails where the file chooses groups of experts before experts: the choice over all of them is another one.
  result<void> check_expert_groups() const {
    CRIA_TRY(const std::size_t n_groups, count_or_none("expert_group_count", nn::most_experts));
    CRIA_TRY(const std::size_t n_used, count_or_none("expert_group_used_count", nn::most_experts));
    if (n_groups <= 1 || n_used == n_groups) return {};
    return error{errc::unsupported_architecture, key("expert_group_count"), "experts are chosen by groups"};
  }

  /// Returns whether the shares of experts come from a softmax over those that are chosen, as the file says it; over all otherwise. Fails where they come from
  /// no softmax.
  result<bool> has_softmax_of_chosen() const {
    CRIA_TRY(const std::uint64_t function, metadata_.get_or(key("expert_gating_func"), std::uint64_t{1}));
    constexpr std::uint64_t unsaid = 0, softmax = 1, softmax_of_chosen = 3;   // 2: sigmoid
    if (function == unsaid || function == softmax || function == softmax_of_chosen) return function == softmax_of_chosen;
    return error{errc::unsupported_architecture, key("expert_gating_func"), std::to_string(function) + " is not a softmax"};
  }

  /// Fails where a position is more than one number, as in images, or the base of the angles is not what the file says.
  result<void> check_rope_kind() const {
    constexpr std::string_view sections = "rope.dimension_sections", growth = "rope.scaling.alpha";
    if (contains(sections)) {
      CRIA_TRY(const gguf::array_view array, metadata_.get<gguf::array_view>(key(sections)));
      for (std::size_t i = 0; i < array.size(); ++i) {
        CRIA_TRY(const std::int64_t channels, array.at<std::int64_t>(i));
        if (channels != 0) return error{errc::unsupported_architecture, key(sections), "positions of several dimensions"};
      }
    }
    CRIA_TRY(const float alpha, positive_or_none(growth, 0));
    if (alpha == 0) return {};
    return error{errc::unsupported_architecture, key(growth), "the base grows with it"};
  }

  /// Fails where layers with a window turn other channels than those without.
  result<void> check_window_rope(std::size_t head_dim, std::size_t rope_dim) const {
    CRIA_TRY(const std::size_t of_windows, count("rope.dimension_count_swa", head_dim, rope_dim));
    if (of_windows == rope_dim) return {};
    return error{errc::unsupported_architecture, key("rope.dimension_count_swa"), "differs from the " + std::to_string(rope_dim) + " of the other layers"};
  }

  /// Fails where layers with a window turn by another base than those without.
  result<void> check_window_base(double of_others) const {
    CRIA_TRY(const double of_windows, positive("rope.freq_base_swa", of_others));
    if (of_windows == of_others) return {};
    return error{errc::unsupported_architecture, key("rope.freq_base_swa"), "differs from the base of the other layers"};
  }

  /// The window of each layer. Of `period` layers the last sees all; 0: none does. The file may say another period, or for each layer whether it has a window.
  result<layer_windows> windows(const struct architecture& row, std::size_t n_layers) const {
    constexpr std::size_t widest = std::size_t{1} << 31;
    if (!row.windows) return layer_windows{};
    constexpr std::string_view size = "attention.sliding_window", pattern = "attention.sliding_window_pattern";
    CRIA_TRY(const std::size_t window, contains(size) ? count_or_none(size, widest) : result<std::size_t>(row.windows->size));
    CRIA_TRY(const std::vector<bool> is_windowed, flags(pattern, n_layers));
    const bool has_period = row.windows->period != 0 && is_windowed.empty();
    CRIA_TRY(const std::size_t period, has_period ? count(pattern, 65536, row.windows->period) : result<std::size_t>(std::size_t{0}));
    if (window == 0) return layer_windows{};
    std::vector<std::size_t> out(n_layers);
    for (std::size_t i = 0; i < n_layers; ++i) {
      const bool has_window = is_windowed.empty() ? period == 0 || i % period + 1 < period : is_windowed[i];
      out[i] = has_window ? window : 0;
    }
    return layer_windows(std::make_shared<const std::vector<std::size_t>>(std::move(out)));
  }

  /// Rotary parameters for heads of `head_dim` channels. A factor alone means linear scaling, as in files from before there were types.
  result<nn::rope_parameters> rope(std::size_t head_dim, std::size_t context_length, kernels::rope_pairing pairing) const {
    CRIA_CHECK(check_rope_kind());
    nn::rope_parameters r;
    r.pairing = pairing;
    CRIA_TRY(r.rope_dim, count("rope.dimension_count", head_dim, head_dim));
    if (r.rope_dim % 2 != 0) return error{errc::bad_value, key("rope.dimension_count"), "must be even"};
    CRIA_TRY(r.base, positive("rope.freq_base", 10000));
    CRIA_TRY(r.original_context, positive_or_default("rope.scaling.original_context_length", static_cast<double>(context_length)));
    CRIA_TRY(r.attention_factor, positive("rope.scaling.attn_factor", 1));
    const bool has_factor = contains("rope.scaling.factor"), has_old_factor = !has_factor && contains("rope.scale_linear");
    CRIA_TRY(const std::string_view scaling, metadata_.get_or<std::string_view>(key("rope.scaling.type"), has_factor || has_old_factor ? "linear" : "none"));
    if (scaling == "linear") {
      r.scaling = nn::rope_scaling::linear;
      CRIA_TRY(r.factor, positive_or_default(has_old_factor ? "rope.scale_linear" : "rope.scaling.factor", 1));
    } else if (scaling == "yarn") {
      r.scaling = nn::rope_scaling::yarn;
      if (r.base <= 1) return error{errc::bad_value, key("rope.freq_base"), "yarn needs a base above 1"};
      CRIA_TRY(r.factor, positive_or_default("rope.scaling.factor", 1));
      const bool blends = contains("rope.scaling.yarn_ext_factor");   // 0: every pair is divided
      CRIA_TRY(r.extrapolation, positive_or_default("rope.scaling.yarn_ext_factor", blends ? 0 : 1));
      CRIA_TRY(r.beta_fast, positive("rope.scaling.yarn_beta_fast", 32));
      CRIA_TRY(r.beta_slow, positive("rope.scaling.yarn_beta_slow", 1));
      CRIA_TRY(r.log_multiplier, positive_or_default("rope.scaling.yarn_log_multiplier", 0));
    } else if (scaling != "none" && scaling != "longrope") {   // whose factors are tensors
      return error{errc::bad_value, key("rope.scaling.type"), printable(scaling) + " is not none, linear, yarn or longrope"};
    }
    return r;
  }

 private:
  /// An array of one truth value for each layer; empty where the key is absent or something else.
  result<std::vector<bool>> flags(std::string_view name, std::size_t n_layers) const {
    const std::string k = key(name);
    const gguf::value* found = metadata_.find(k);
    if (found == nullptr || found->type() != gguf::value_type::array) return std::vector<bool>{};
    CRIA_TRY(const gguf::array_view array, metadata_.get<gguf::array_view>(k));
    if (array.element_type() != gguf::value_type::boolean) return std::vector<bool>{};
    if (array.size() != n_layers) {
      return error{errc::bad_value, k, std::to_string(array.size()) + " flags for " + std::to_string(n_layers) + " layers", metadata_.offset_of(*found)};
    }
    std::vector<bool> out(n_layers);
    for (std::size_t i = 0; i < n_layers; ++i) {
      CRIA_TRY(out[i], array.at<bool>(i));
    }
    return out;
  }

  const gguf::metadata& metadata_;
  std::string prefix_;
};

}  // namespace detail

inline result<model_config> model_config::from_metadata(const gguf::metadata& metadata, std::size_t vocab_size) {
  constexpr std::size_t widest = std::size_t{1} << 20, longest = std::size_t{1} << 31;
  CRIA_TRY(const std::string_view name, metadata.get<std::string_view>("general.architecture"));
  const detail::config_reader read(metadata, std::string(name));
  if (find_architecture(name, false) == nullptr && find_architecture(name, true) == nullptr) {
    return error{errc::unsupported_architecture, "general.architecture", printable(name) + " is not one of " + architecture_names()};
  }
  model_config c;
  CRIA_TRY(c.n_experts, read.count_or_none("expert_count", nn::most_experts));
  if (c.n_experts == 1 && find_architecture(name, true) == nullptr) c.n_experts = 0;   // that one is the feed-forward layer
  const struct architecture* row = find_architecture(name, c.n_experts != 0);
  if (row == nullptr) {
    return error{errc::unsupported_architecture, read.key("expert_count"), c.n_experts == 0 ? "it has experts" : "it has no experts"};
  }
  CRIA_TRY(const bool is_causal, read.flag("attention.causal", true));
  if (!is_causal) return error{errc::unsupported_architecture, read.key("attention.causal"), "attention in both directions"};
  c.architecture = row;
  c.vocab_size = vocab_size;
  CRIA_TRY(c.dim, read.count("embedding_length", widest));
  CRIA_TRY(c.n_layers, read.count("block_count", 65536));
  CRIA_TRY(c.n_heads, read.count("attention.head_count", 65536));
  CRIA_TRY(c.n_kv_heads, read.count("attention.head_count_kv", 65536, c.n_heads));
  if (row->has_experts) {
    CRIA_CHECK(read.check_expert_groups());
    CRIA_CHECK(read.has_softmax_of_chosen());   // or does not compute a softmax
    CRIA_TRY(c.n_experts_used, read.count("expert_used_count", std::min(c.n_experts, nn::most_experts_used)));
  }
  CRIA_TRY(c.ffn_dim, read.ffn_width(*row, c.n_experts_used, widest));
  CRIA_TRY(c.context_length, read.count("context_length", longest));
  if (c.n_heads % c.n_kv_heads != 0) return error{errc::bad_value, read.key("attention.head_count_kv"), "does not divide the head count"};
  if (c.dim % c.n_heads != 0 && !read.contains("attention.key_length")) {
    return error{errc::bad_value, read.key("attention.head_count"), "does not divide the embedding length"};
  }
  CRIA_TRY(c.head_dim, read.count("attention.key_length", 65536, std::max<std::size_t>(c.dim / c.n_heads, 1)));
  CRIA_TRY(const std::size_t value_dim, read.count("attention.value_length", 65536, c.head_dim));
  if (value_dim != c.head_dim) return error{errc::bad_value, read.key("attention.value_length"), "differs from the key length"};
  CRIA_TRY(c.norm_eps, read.positive_float(row->norms == norm_kind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"));
  c.has_learned_positions = row->positions == position_kind::learned;
  if (!c.has_learned_positions) {
    const auto pairing = row->positions == position_kind::rotated_halves ? kernels::rope_pairing::halves : kernels::rope_pairing::adjacent;
    CRIA_TRY(c.rope, read.rope(c.head_dim, c.context_length, pairing));
  }
  CRIA_TRY(c.windows, read.windows(*row, c.n_layers));
  if (c.windows != nullptr) CRIA_CHECK(read.check_window_rope(c.head_dim, c.rope.rope_dim));
  c.has_two_angles = row->id == architecture_id::gemma3 || (row->id == architecture_id::olmo2 && c.windows != nullptr);
  return c;
}

}  // namespace cria::inline v0_1_0
