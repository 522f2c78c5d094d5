// SPDX-License-Identifier: MIT
// model/quantize_plan.hpp - what quantising a file would do to each of its tensors; reads no weights.
//
// Which tensors   matrices whose name ends in "weight", but for norms, routers of experts, positions and small ones of other architectures; all
//                 others stay as they are
// Which type      the choice of the file type (model/file_type.hpp) by kind of tensor and layer; the output head, or the embeddings where there is
//                 no head, gets Q6_K at least; a row that is no multiple of the type's block gets the next type that fits, F16 at worst
// Errors          unsupported_type (a tensor that cria cannot read the values of, or a type that it cannot write), bad_argument, out_of_memory
// Threads         pure functions
// Source          llama.cpp's llama-quant.cpp without an importance matrix (August 2026), which has no types for rows that are no multiple of 32
#pragma once

#include <cria/core/executor.hpp>
#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/gguf/file.hpp>
#include <cria/model/file_type.hpp>
#include <cria/quant/format.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// The progress of quantising.
struct quantize_progress {
  std::string_view tensor;      ///< the one that is being written
  std::size_t n_tensors_done;
  std::size_t n_tensors;
  std::uint64_t done_bytes;     ///< of the source's tensors
  std::uint64_t total_bytes;
};

/// Called on the calling thread, several times for a large tensor; false cancels.
using quantize_callback = std::function<bool(const quantize_progress&)>;

/// Which types the tensors get, and with which threads.
struct quantize_options {
  file_type type = file_type::q4_k_m;
  std::optional<tensor_type> output_type = {};     ///< of output.weight, or of token_embd.weight where that is both
  std::optional<tensor_type> embedding_type = {};  ///< of token_embd.weight
  bool is_pure = false;                            ///< the file type's own type for all matrices, no better one for any
  std::size_t n_threads = 0;                       ///< 0: the physical cores that the process may use
  std::optional<executor_ref> executor = {};       ///< the host's own threads instead of a pool
  quantize_callback progress = {};
  stop_token stop = {};
  gguf::limits limits = {};
};

/// What quantising does to a tensor.
struct planned_tensor {
  std::string name;
  tensor_type from, to;
  tensor_type wanted;            ///< differs from `to` if the rows do not fit its blocks
  std::uint64_t columns, elements, from_bytes, to_bytes;

  [[nodiscard]] bool is_fallback() const noexcept { return wanted != to; }
  /// Returns whether rounded values are rounded again.
  [[nodiscard]] bool is_requantized() const noexcept {
    return from != to && find_tensor_type(from)->block_size > 1 && find_tensor_type(to)->block_size > 1;
  }
};

namespace detail {

/// What the choice of types depends on beside names.
struct model_outline {
  std::uint64_t n_layers = 0, n_experts = 0, group_size = 0;
  std::size_t n_attn_v = 0;
  bool is_tied = true;   // no output.weight
  bool is_70b = false;   // 80 layers with grouped heads: attn_v is small there and gets more bits
};

/// Returns a number of the metadata, of an array (one per layer) the first, `fallback` where there is none.
[[nodiscard]] inline std::uint64_t number_or(const gguf::metadata& keys, const std::string& key, std::uint64_t fallback) {
  const gguf::value* v = keys.find(key);
  if (v == nullptr) return fallback;
  if (const auto list = v->as<gguf::array_view>()) return list->at<std::uint64_t>(0).value_or(fallback);
  return v->as<std::uint64_t>().value_or(fallback);
}

[[nodiscard]] inline bool contains(std::string_view name, std::string_view part) noexcept { return name.find(part) != name.npos; }

[[nodiscard]] inline bool is_embedding(std::string_view name) noexcept { return name == "token_embd.weight" || name == "per_layer_token_embd.weight"; }
[[nodiscard]] inline bool is_attn_v(std::string_view name) noexcept {
  return contains(name, "attn_qkv.weight") || contains(name, "attn_kv_b.weight") || contains(name, "attn_v.weight");
}

/// Returns whether a tensor is quantised at all.
[[nodiscard]] inline bool is_quantizable(const gguf::tensor_info& t) noexcept {
  constexpr std::string_view kept[] = {
      "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "position_embd", "token_types.weight", "altup", "laurel", "per_layer_model_proj",
      "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight", "time_mix_first.weight",
      "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
      "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight",
      "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight"};
  if (t.shape[1] * t.shape[2] * t.shape[3] == 1 || !t.name.ends_with("weight")) return false;
  return std::none_of(std::begin(kept), std::end(kept), [&](std::string_view part) { return contains(t.name, part); });
}

[[nodiscard]] inline model_outline outline_of(const gguf::file& file) {
  const gguf::metadata& keys = file.metadata();
  const std::string family = keys.get<std::string>("general.architecture").value_or("");
  model_outline m;
  m.n_layers = number_or(keys, family + ".block_count", 0);
  m.n_experts = number_or(keys, family + ".expert_count", 0);
  const std::uint64_t n_heads = number_or(keys, family + ".attention.head_count", 0);
  const std::uint64_t n_kv_heads = number_or(keys, family + ".attention.head_count_kv", n_heads);
  m.group_size = n_kv_heads == 0 ? 0 : n_heads / n_kv_heads;
  m.is_70b = m.n_layers == 80 && (family == "qwen2" || (family == "llama" && n_heads != n_kv_heads));
  for (const gguf::tensor_info& t : file.tensors()) {
    m.n_attn_v += is_attn_v(t.name);
    if (t.name == "output.weight") m.is_tied = false;
  }
  return m;
}

/// Returns the type that a row of `columns` can have in place of `wanted`.
[[nodiscard]] constexpr tensor_type fit_row(tensor_type wanted, std::uint64_t columns) noexcept {
  const auto fits = [&](tensor_type t) { return columns % find_tensor_type(t)->block_size == 0; };
  const auto shorter = [&] {
    switch (wanted) {
      case tensor_type::iq4_xs: return tensor_type::iq4_nl;
      case tensor_type::q2_k: case tensor_type::q3_k: return tensor_type::q4_0;
      case tensor_type::q4_k: return tensor_type::q5_0;
      case tensor_type::q5_k: return tensor_type::q5_1;
      case tensor_type::q6_k: return tensor_type::q8_0;
      default: return tensor_type::f16;
    }
  };
  if (fits(wanted)) return wanted;
  return fits(shorter()) ? shorter() : tensor_type::f16;
}

/// Gives each tensor its type. Tensors are shown to it in the order of layers: some rules count.
class type_chooser {
 public:
  type_chooser(const quantize_options& options, const file_type_rules& rules, const model_outline& model) noexcept
      : options_(options), rules_(rules), model_(model) {}

  [[nodiscard]] tensor_type choose(const gguf::tensor_info& t) noexcept {
    if (!is_quantizable(t)) return t.type;
    if (options_.embedding_type && is_embedding(t.name)) return *options_.embedding_type;
    if (options_.output_type && t.name == "output.weight") return *options_.output_type;
    if (options_.is_pure || find_tensor_type(rules_.base)->block_size == 1) return rules_.base;
    return mixed(t);
  }

 private:
  [[nodiscard]] tensor_type mixed(const gguf::tensor_info& t) noexcept {
    const bool is_moe_type = rules_.type == file_type::mxfp4_moe;
    if (t.name == "output.weight" || (model_.is_tied && is_embedding(t.name))) {
      if (options_.output_type) return *options_.output_type;
      return is_moe_type || rules_.base == tensor_type::q8_0 ? tensor_type::q8_0 : tensor_type::q6_k;
    }
    if (is_moe_type) return t.shape[2] > 1 ? tensor_type::mxfp4 : tensor_type::q8_0;
    if (is_embedding(t.name)) return rules_.base;
    if (is_attn_v(t.name)) return attn_v();
    if (contains(t.name, "attn_k.weight")) return model_.n_experts == 8 ? tensor_type::q8_0 : rules_.base;
    if (contains(t.name, "attn_output.weight")) return model_.n_experts == 8 ? rules_.attn_output_of_eight : rules_.attn_output;
    if (contains(t.name, "ffn_down")) return ffn_down(t.name);
    return rules_.base;
  }

  [[nodiscard]] tensor_type attn_v() noexcept {
    const tensor_type chosen = apply(rules_.attn_v, n_attn_v_++, model_.n_attn_v);
    if (model_.n_experts == 8) return tensor_type::q8_0;
    return model_.is_70b && (chosen == tensor_type::q3_k || chosen == tensor_type::q4_k) ? tensor_type::q5_k : chosen;
  }

  [[nodiscard]] tensor_type ffn_down(std::string_view name) noexcept {
    const std::int64_t layer = gguf::layer_of(name);
    const std::uint64_t counted = n_ffn_down_++;   // experts of a layer may be many tensors
    return apply(rules_.ffn_down, model_.n_experts > 1 && layer >= 0 ? static_cast<std::uint64_t>(layer) : counted, model_.n_layers);
  }

  [[nodiscard]] tensor_type apply(const tensor_rule& rule, std::uint64_t i, std::uint64_t n) const noexcept {
    const auto is_better = [&] {
      switch (rule.where) {
        case layer_range::none: return false;
        case layer_range::first_two: return i < 2;
        case layer_range::first_four: return i < 4;
        case layer_range::first_sixteenth: return i < n / 16;
        case layer_range::first_eighth: return i < n / 8;
        case layer_range::outer_and_every_third: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
        case layer_range::grouped: return model_.group_size >= 4;
      }
      return false;
    };
    return is_better() ? rule.better : rule.type;
  }

  const quantize_options& options_;
  const file_type_rules& rules_;
  const model_outline& model_;
  std::uint64_t n_attn_v_ = 0, n_ffn_down_ = 0;
};

[[nodiscard]] inline result<planned_tensor> plan_tensor(const gguf::tensor_info& t, tensor_type wanted) {
  const tensor_type to = wanted == t.type ? wanted : fit_row(wanted, t.shape[0]);
  if (to != t.type && !format_index_of(t.type)) {
    return error{errc::unsupported_type, printable(t.name), "is " + std::string(name(t.type)) + ", whose values cria cannot read", t.offset};
  }
  const tensor_type_info& block = *find_tensor_type(to);
  return planned_tensor{std::string(t.name), t.type, to, wanted, t.shape[0], t.elements, t.size_bytes, t.elements / block.block_size * block.block_bytes};
}

}  // namespace detail

/// Returns what quantising the file would make of its tensors, in the file's order.
[[nodiscard]] result<std::vector<planned_tensor>> plan_quantization(const gguf::file& file, const quantize_options& options);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::vector<planned_tensor>> plan_quantization(const gguf::file& file, const quantize_options& options) {
  return catch_bad_alloc([&]() -> result<std::vector<planned_tensor>> {
    const detail::file_type_rules* rules = detail::find_rules(options.type);
    if (rules == nullptr) return error{errc::bad_argument, "type", "is no file type"};
    for (const auto& chosen : {options.output_type, options.embedding_type}) {
      if (chosen && !is_writable(*chosen)) return error{errc::unsupported_type, name(*chosen), "cria cannot write it"};
    }
    const auto tensors = file.tensors();
    std::vector<std::tuple<std::int64_t, std::string_view, std::size_t>> order;   // of layers, then names
    for (std::size_t i = 0; i < tensors.size(); ++i) order.emplace_back(gguf::layer_of(tensors[i].name), tensors[i].name, i);
    std::sort(order.begin(), order.end());
    const detail::model_outline model = detail::outline_of(file);
    detail::type_chooser chooser(options, *rules, model);
    std::vector<tensor_type> wanted(tensors.size());
    for (const auto& [layer, tensor, i] : order) wanted[i] = chooser.choose(tensors[i]);
    std::vector<planned_tensor> plan;
    plan.reserve(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CRIA_TRY(auto planned, detail::plan_tensor(tensors[i], wanted[i]));
      plan.push_back(std::move(planned));
    }
    return plan;
  }, "quantize");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
