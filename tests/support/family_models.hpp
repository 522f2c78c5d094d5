// SPDX-License-Identifier: MIT
// tests/support/family_models.hpp - small models with random weights of the architectures that have no file in the reference data.
//
//   for (const cria_test::member& f : cria_test::family()) check(f.name, cria_test::model_of(f.parts));
#pragma once

#include <cria/quant/format.hpp>

#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace cria_test {

inline constexpr tiny_shape usual_shape{.dim = 64, .n_layers = 5, .n_heads = 4, .n_kv_heads = 2, .ffn_dim = 96};

/// A model of this architecture with random weights: heads of 16 channels, five layers if no other shape is given.
inline model_parts model_named(const std::string& architecture, tiny_shape shape = usual_shape) {
  shape.tied = architecture == "gemma" || architecture == "command-r" || architecture == "cohere2";
  model_parts m = tiny_model(shape);
  for (model_parts::key& k : m.keys) {
    if (k.name.starts_with("llama.")) k.name = architecture + k.name.substr(5);
  }
  m.set("general.architecture", architecture);
  m.set(architecture + ".rope.dimension_count", std::uint32_t{16});
  return m;
}

inline tiny_shape with_biases() {
  tiny_shape s = usual_shape;
  s.biases = true;
  return s;
}

inline std::string layer_name(std::size_t layer, const std::string& name) { return "blk." + std::to_string(layer) + "." + name; }

inline std::size_t n_layers_of(const model_parts& m) {
  return static_cast<std::size_t>(std::count_if(m.tensors.begin(), m.tensors.end(), [](const auto& t) { return t.name.ends_with(".attn_q.weight"); }));
}

/// Adds a tensor of random values from middle - spread to middle + spread.
inline void add_random(model_parts& m, std::mt19937& random, const std::string& name, const std::vector<std::uint64_t>& shape, double middle, double spread,
                cria::tensor_type type = cria::tensor_type::f32) {
  std::size_t n = 1;
  for (const std::uint64_t extent : shape) n *= extent;
  std::vector<float> values(n);
  for (float& x : values) x = static_cast<float>(middle + spread * (static_cast<double>(random()) / 2147483648.0 - 1));
  m.tensors.push_back({name, type, shape, blocks_of(type, values)});
}

/// Adds norms of queries and keys to each layer, of so many values.
inline void add_query_norms(model_parts& m, std::size_t of_queries, std::size_t of_keys) {
  std::mt19937 random(11);
  for (std::size_t i = 0; i < n_layers_of(m); ++i) {
    add_random(m, random, layer_name(i, "attn_q_norm.weight"), {of_queries}, 1, 0.3);
    add_random(m, random, layer_name(i, "attn_k_norm.weight"), {of_keys}, 1, 0.3);
  }
}

/// Makes the norms before attention and feed-forward layers norms behind them.
inline void put_norms_behind(model_parts& m) {
  for (std::size_t i = 0; i < n_layers_of(m); ++i) {
    m.at(layer_name(i, "attn_norm.weight")).name = layer_name(i, "post_attention_norm.weight");
    m.at(layer_name(i, "ffn_norm.weight")).name = layer_name(i, "post_ffw_norm.weight");
  }
}

/// Gives every layer four experts in the place of its feed-forward layer, two of them in use.
inline void put_experts(model_parts& m, const std::string& architecture) {
  m.set(architecture + ".expert_count", std::uint32_t{4});
  m.set(architecture + ".expert_used_count", std::uint32_t{2});
  std::mt19937 random(13);
  for (std::size_t i = 0; i < n_layers_of(m); ++i) {
    for (const char* const name : {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"}) m.erase_tensor(layer_name(i, name));
    add_random(m, random, layer_name(i, "ffn_gate_inp.weight"), {64, 4}, 0, 0.5);
    add_random(m, random, layer_name(i, "ffn_gate_exps.weight"), {64, 96, 4}, 0, 0.2);
    add_random(m, random, layer_name(i, "ffn_up_exps.weight"), {64, 96, 4}, 0, 0.2);
    add_random(m, random, layer_name(i, "ffn_down_exps.weight"), {96, 64, 4}, 0, 0.3);
  }
}

/// Windows of 8 positions. With YaRN, layers that see all positions turn otherwise.
inline void put_windows(model_parts& m, const std::string& architecture, bool has_yarn = false) {
  const std::size_t n_layers = n_layers_of(m);
  std::vector<bool> is_windowed(n_layers);
  for (std::size_t i = 0; i < n_layers; ++i) is_windowed[i] = i % 4 != 3;
  m.set(architecture + ".attention.sliding_window", std::uint32_t{8});
  m.set_array(architecture + ".attention.sliding_window_pattern", is_windowed);
  if (!has_yarn) return;
  m.set(architecture + ".rope.scaling.type", "yarn");
  m.set(architecture + ".rope.scaling.factor", 8.0f);
  m.set(architecture + ".rope.scaling.original_context_length", std::uint32_t{16});
}

inline model_parts olmo2_model() {
  model_parts m = model_named("olmo2");
  put_norms_behind(m);
  add_query_norms(m, 64, 32);
  return m;
}

inline model_parts exaone4_model(std::size_t n_layers = 5) {
  tiny_shape shape = usual_shape;
  shape.n_layers = n_layers;
  model_parts m = model_named("exaone4", shape);
  put_norms_behind(m);
  add_query_norms(m, 16, 16);
  return m;
}

/// Biases of q, k and v alone.
inline void erase_other_biases(model_parts& m) {
  std::erase_if(m.tensors, [](const model_parts::tensor& t) {
    return t.name.ends_with(".bias") && (t.name.find(".ffn_") != t.name.npos || t.name.find(".attn_output.") != t.name.npos);
  });
}

/// GLM 4: norms on both sides, half of each head turns, gate above up.
inline model_parts glm4_model() {
  model_parts m = model_named("glm4", with_biases());
  erase_other_biases(m);
  m.set("glm4.rope.dimension_count", std::uint32_t{8});
  std::mt19937 random(17);
  for (std::size_t i = 0; i < 5; ++i) {
    add_random(m, random, layer_name(i, "post_attention_norm.weight"), {64}, 1, 0.3);
    add_random(m, random, layer_name(i, "post_ffw_norm.weight"), {64}, 1, 0.3);
    model_parts::tensor& up = m.at(layer_name(i, "ffn_up.weight"));
    up.shape = {64, 192};
    up.data = m.at(layer_name(i, "ffn_gate.weight")).data + up.data;
    m.erase_tensor(layer_name(i, "ffn_gate.weight"));
  }
  return m;
}

inline model_parts seed_oss_model() {
  model_parts m = model_named("seed_oss", with_biases());
  erase_other_biases(m);
  for (std::size_t i = 0; i < 5; ++i) m.at(layer_name(i, "ffn_norm.weight")).name = layer_name(i, "post_attention_norm.weight");
  return m;
}

inline model_parts hunyuan_model() {
  model_parts m = model_named("hunyuan-dense");
  add_query_norms(m, 16, 16);
  return m;
}

inline model_parts olmoe_model() {
  tiny_shape shape = usual_shape;
  shape.n_kv_heads = 4;
  model_parts m = model_named("olmoe", shape);
  add_query_norms(m, 64, 64);
  put_experts(m, "olmoe");
  return m;
}

/// Makes all norms LayerNorms.
inline void put_layer_norms(model_parts& m, const std::string& architecture) {
  m.set(architecture + ".attention.layer_norm_epsilon", 1e-5f);
  std::mt19937 random(19);
  for (std::size_t i = 0; i < 5; ++i) {
    add_random(m, random, layer_name(i, "attn_norm.bias"), {64}, 0, 0.5);
    add_random(m, random, layer_name(i, "ffn_norm.bias"), {64}, 0, 0.5);
  }
  add_random(m, random, "output_norm.bias", {64}, 0, 0.5);
}

inline model_parts starcoder2_model() {
  model_parts m = model_named("starcoder2", with_biases());
  for (std::size_t i = 0; i < 5; ++i) {
    m.erase_tensor(layer_name(i, "ffn_gate.weight"));
    m.erase_tensor(layer_name(i, "ffn_gate.bias"));
  }
  put_layer_norms(m, "starcoder2");
  return m;
}

/// StableLM 2: a quarter of each head turns.
inline model_parts stablelm_model() {
  model_parts m = model_named("stablelm", with_biases());
  erase_other_biases(m);
  put_layer_norms(m, "stablelm");
  m.set("stablelm.rope.dimension_count", std::uint32_t{4});
  return m;
}

/// Command R and R7B: one norm for both halves of a layer, and one embedding for both ends.
inline model_parts command_r_model(const std::string& name) {
  model_parts m = model_named(name);
  m.set(name + ".attention.layer_norm_epsilon", 1e-5f);
  m.set(name + ".logit_scale", 0.25f);
  for (std::size_t i = 0; i < 5; ++i) m.erase_tensor(layer_name(i, "ffn_norm.weight"));
  return m;
}

/// gpt-oss with four experts, two of them in use, and a window of 8 positions in even layers.
inline model_parts gpt_oss_model(cria::tensor_type type = cria::tensor_type::f32) {
  const std::size_t dim = 64, ffn_dim = 96, n_experts = 4, n_heads = 4;
  model_parts m = model_named("gpt-oss", with_biases());
  m.set("gpt-oss.expert_count", std::uint32_t{4});
  m.set("gpt-oss.expert_used_count", std::uint32_t{2});
  m.set("gpt-oss.expert_feed_forward_length", std::uint32_t{96});
  m.set("gpt-oss.attention.sliding_window", std::uint32_t{8});
  m.set("gpt-oss.attention.key_length", std::uint32_t{16});
  m.set("gpt-oss.attention.value_length", std::uint32_t{16});
  m.set("gpt-oss.rope.scaling.type", "yarn");
  m.set("gpt-oss.rope.scaling.factor", 8.0f);
  m.set("gpt-oss.rope.scaling.original_context_length", std::uint32_t{16});
  std::mt19937 random(7);
  const auto add = [&](const std::string& name, cria::tensor_type t, const std::vector<std::uint64_t>& shape, double spread) {
    add_random(m, random, name, shape, 0, spread, t);
  };
  for (std::size_t i = 0; i < 5; ++i) {
    const std::string blk = layer_name(i, "");
    for (const char* const name : {"ffn_gate", "ffn_up", "ffn_down"}) {
      m.erase_tensor(blk + name + ".weight");
      m.erase_tensor(blk + name + ".bias");
    }
    m.at(blk + "ffn_norm.weight").name = blk + "post_attention_norm.weight";
    add(blk + "attn_sinks.weight", cria::tensor_type::f32, {n_heads}, 4);
    add(blk + "ffn_gate_inp.weight", cria::tensor_type::f32, {dim, n_experts}, 0.5);
    add(blk + "ffn_gate_inp.bias", cria::tensor_type::f32, {n_experts}, 0.5);
    for (const char* const name : {"ffn_gate_exps", "ffn_up_exps"}) {
      add(blk + name + ".weight", type, {dim, ffn_dim, n_experts}, 1);   // up to and beyond the clamps at 7
      add(blk + name + ".bias", cria::tensor_type::f32, {ffn_dim, n_experts}, 1);
    }
    add(blk + "ffn_down_exps.weight", type, {ffn_dim, dim, n_experts}, 0.1);
    add(blk + "ffn_down_exps.bias", cria::tensor_type::f32, {dim, n_experts}, 0.5);
  }
  return m;
}

/// An architecture, or a form of it.
struct member {
  std::string name;
  model_parts parts;
};

/// All of them.
inline std::vector<member> family() {
  std::vector<member> all;
  for (const char* const name : {"internlm2", "ernie4_5", "exaone", "smollm3", "gemma"}) all.push_back({name, model_named(name)});
  const auto set_scales = [](model_parts& m, const std::string& name) {
    m.set(name + ".embedding_scale", 3.0f);
    m.set(name + ".residual_scale", 0.5f);
    m.set(name + ".logit_scale", 2.0f);
  };
  for (const std::string name : {"granite", "minicpm"}) {
    model_parts m = model_named(name);
    set_scales(m, name);
    if (name == "granite") m.set(name + ".attention.scale", 0.0625f);
    all.push_back({name, m});
  }
  model_parts unturned = all[5].parts;
  unturned.set("granite.rope.scaling.finetuned", false);
  all.push_back({"granite, unturned", unturned});
  model_parts m = model_named("mistral3");
  m.set("mistral3.rope.freq_base", 1e6f);
  m.set("mistral3.rope.scaling.type", "yarn");
  m.set("mistral3.rope.scaling.factor", 16.0f);
  m.set("mistral3.rope.scaling.original_context_length", std::uint32_t{16});
  m.set("mistral3.rope.scaling.yarn_log_multiplier", 0.5f);
  m.set("mistral3.attention.temperature_scale", 0.5f);
  all.push_back({"mistral3", m});
  all.push_back({"gpt-oss", gpt_oss_model()});
  all.push_back({"olmo2", olmo2_model()});
  m = olmo2_model();
  put_windows(m, "olmo2", true);
  all.push_back({"olmo2, windows", m});
  all.push_back({"exaone4", exaone4_model()});
  m = exaone4_model(64);   // fewer layers have no windows in the reference
  put_windows(m, "exaone4");
  all.push_back({"exaone4, windows", m});
  all.push_back({"glm4", glm4_model()});
  all.push_back({"seed_oss", seed_oss_model()});
  all.push_back({"hunyuan-dense", hunyuan_model()});
  m = model_named("granitemoe");
  set_scales(m, "granitemoe");
  put_experts(m, "granitemoe");
  all.push_back({"granitemoe", m});
  all.push_back({"olmoe", olmoe_model()});
  all.push_back({"starcoder2", starcoder2_model()});
  all.push_back({"stablelm", stablelm_model()});
  all.push_back({"command-r", command_r_model("command-r")});
  m = command_r_model("cohere2");
  put_windows(m, "cohere2");
  all.push_back({"cohere2", m});
  return all;
}

}  // namespace cria_test
