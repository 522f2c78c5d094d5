// SPDX-License-Identifier: MIT
// The architectures that are LLaMA but for a scale, a norm or a rotation, and gpt-oss, against logits of llama.cpp, and the keys that only they have.
//
// Goldens: llama.cpp d32676d (August 2026), float32 cache, no flash attention, of the files that `family` builds, made by llama_decode of the 40 tokens of
// `tokens` in one batch on 2026-11-23; logits at positions 17 and 39. Its GELU goes through a half-precision table: gemma agrees to 2e-3.
#include <cria/model/model.hpp>

#include <doctest/doctest.h>

#include <tests/support/golden.hpp>
#include <tests/support/load_parts.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria_test;
using cria::errc;
using cria::kv_type;
using cria::token_id;

/// A model of this architecture with random weights: heads of 16 channels, five layers.
model_parts model_named(const std::string& architecture, bool has_biases = false) {
  model_parts m = tiny_model({.dim = 64, .n_layers = 5, .n_heads = 4, .n_kv_heads = 2, .ffn_dim = 96, .tied = architecture == "gemma", .biases = has_biases});
  for (model_parts::key& k : m.keys) {
    if (k.name.starts_with("llama.")) k.name = architecture + k.name.substr(5);
  }
  m.set("general.architecture", architecture);
  m.set(architecture + ".rope.dimension_count", std::uint32_t{16});
  return m;
}

/// gpt-oss with four experts, two of them in use, and a window of 8 positions in even layers.
model_parts gpt_oss_model(cria::tensor_type type = cria::tensor_type::f32) {
  const std::size_t dim = 64, ffn_dim = 96, n_experts = 4, n_heads = 4;
  model_parts m = model_named("gpt-oss", true);
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
    std::size_t n = 1;
    for (const std::uint64_t extent : shape) n *= extent;
    std::vector<float> values(n);
    for (float& x : values) x = static_cast<float>(spread * (static_cast<double>(random()) / 2147483648.0 - 1));
    m.tensors.push_back({name, t, shape, blocks_of(t, values)});
  };
  for (std::size_t i = 0; i < 5; ++i) {
    const std::string blk = "blk." + std::to_string(i) + ".";
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

struct member {
  std::string name;
  model_parts parts;
};

std::vector<member> family() {
  std::vector<member> all;
  for (const char* const name : {"internlm2", "ernie4_5", "exaone", "smollm3", "gemma"}) all.push_back({name, model_named(name)});
  for (const std::string name : {"granite", "minicpm"}) {
    model_parts m = model_named(name);
    m.set(name + ".embedding_scale", 3.0f);
    m.set(name + ".residual_scale", 0.5f);
    m.set(name + ".logit_scale", 2.0f);
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
  return all;
}
struct golden_rows {
  const char* name;
  float at_17[19], at_39[19];
};

constexpr golden_rows goldens[] = {
    {"internlm2",
     {0.479811f, 0.809576f, -0.0509615f, -0.619173f, 0.321737f, -2.66441f, -1.2116f, 2.97017f, -0.571894f, -1.14842f, 1.41191f, -2.95604f, -0.447069f,
      -0.831653f, 1.27116f, 0.859256f, 1.94514f, -1.37615f, -1.55923f},
     {1.98848f, -1.17279f, 2.42808f, 2.32019f, 1.73867f, -3.28249f, -0.212623f, 2.24139f, 0.318476f, -1.60497f, 0.489857f, -0.0352949f, 0.0896591f,
      -1.54159f, -0.745343f, -1.43758f, -0.86274f, -0.982379f, -0.604328f}},
    {"ernie4_5",
     {0.479811f, 0.809576f, -0.0509615f, -0.619173f, 0.321737f, -2.66441f, -1.2116f, 2.97017f, -0.571894f, -1.14842f, 1.41191f, -2.95604f, -0.447069f,
      -0.831653f, 1.27116f, 0.859256f, 1.94514f, -1.37615f, -1.55923f},
     {1.98848f, -1.17279f, 2.42808f, 2.32019f, 1.73867f, -3.28249f, -0.212623f, 2.24139f, 0.318476f, -1.60497f, 0.489857f, -0.0352949f, 0.0896591f,
      -1.54159f, -0.745343f, -1.43758f, -0.86274f, -0.982379f, -0.604328f}},
    {"exaone",
     {0.973419f, 0.193705f, -0.550561f, 0.244928f, 1.31923f, -2.08275f, -0.846887f, 4.11054f, -1.23555f, -0.206586f, 1.481f, -2.23264f, 1.88354f, -0.774009f,
      -1.54427f, 0.642832f, -0.220005f, -1.52872f, -1.42898f},
     {1.94233f, -0.330979f, 2.24625f, 3.83064f, 0.546154f, -3.95681f, -1.13463f, 3.09913f, -0.369906f, -1.16836f, -1.12805f, -0.967374f, 1.90891f, -2.52111f,
      0.20196f, -0.627054f, -0.588467f, -1.6916f, 0.267828f}},
    {"smollm3",
     {0.313017f, 1.13413f, -0.252992f, -0.58847f, 0.541615f, -2.83205f, -1.29113f, 3.25259f, -0.599205f, -0.938039f, 1.61947f, -2.89498f, -0.326191f,
      -0.85322f, 1.1051f, 0.605323f, 1.40902f, -1.29507f, -1.58652f},
     {2.14821f, -0.800078f, 2.23611f, 2.36859f, 1.98625f, -3.10973f, -0.435157f, 2.25083f, 0.241924f, -1.28732f, 0.495443f, 0.128587f, -0.0709146f,
      -1.39023f, -0.938656f, -1.94602f, -1.17224f, -0.834941f, -0.786549f}},
    {"gemma",
     {-3.47161f, -1.406f, 1.97246f, 4.77469f, 2.52809f, -9.24269f, 0.757966f, 6.69201f, 5.42071f, 33.5848f, -2.79287f, 0.754882f, -1.06439f, -1.46387f,
      -2.56019f, -7.1862f, 1.30707f, 2.71324f, 2.16845f},
     {-1.87375f, -1.05151f, -1.15727f, 4.72509f, -0.683346f, -6.5126f, 11.1317f, 4.01933f, 33.0403f, 0.633194f, 4.17896f, -3.75997f, -0.320584f, -7.64965f,
      -2.61411f, -1.5974f, 2.06196f, -0.601096f, 4.43055f}},
    {"granite",
     {-0.421658f, -0.622665f, -1.06948f, -0.827122f, 1.11572f, -1.11725f, -0.665519f, -0.285584f, -0.801914f, -0.995026f, 0.50965f, -0.218418f, -0.245207f,
      0.936081f, 0.82428f, -0.24392f, 1.54376f, 0.314315f, 1.47001f},
     {1.73464f, -0.0827798f, 1.25733f, 2.18386f, 0.677921f, -0.772844f, -0.256834f, 0.0555968f, 0.304426f, -1.00293f, -0.354454f, -0.239411f, 0.541969f,
      -0.390543f, -0.199122f, -0.281412f, 1.1247f, -0.316296f, -0.00586975f}},
    {"minicpm",
     {-0.329038f, -0.530126f, -1.03131f, -0.708004f, 1.16028f, -1.03746f, -0.724257f, -0.304829f, -0.852555f, -1.1335f, 0.480635f, -0.448853f, -0.318846f,
      0.820464f, 0.858154f, -0.171457f, 1.56594f, -0.00640815f, 1.30691f},
     {1.8574f, -0.0139977f, 1.24224f, 2.05178f, 0.685978f, -0.699819f, -0.287973f, -0.0626612f, 0.307102f, -1.0287f, -0.375822f, -0.251374f, 0.401465f,
      -0.318599f, -0.2827f, -0.338455f, 0.924673f, -0.321261f, -0.0784422f}},
    {"granite, unturned",
     {-0.465865f, -0.657777f, -1.08724f, -0.796249f, 1.06565f, -1.10226f, -0.742434f, -0.284121f, -0.811288f, -1.04524f, 0.53342f, -0.225699f, -0.283707f,
      0.917597f, 0.850347f, -0.27118f, 1.54192f, 0.286623f, 1.47191f},
     {1.73121f, -0.10524f, 1.31014f, 2.18416f, 0.604852f, -0.818735f, -0.278218f, 0.101273f, 0.32126f, -1.05447f, -0.362463f, -0.291552f, 0.581778f,
      -0.456689f, -0.183008f, -0.298914f, 1.12632f, -0.318558f, -0.0408392f}},
    {"mistral3",
     {1.55048f, 1.41482f, 1.12801f, 0.0727585f, -0.360585f, -1.5011f, -0.0525636f, 2.55431f, -2.06764f, 0.0301763f, 0.414743f, -2.31573f, 0.152064f,
      -1.90943f, 1.36684f, 0.753535f, 1.36336f, -2.22185f, -2.5425f},
     {0.0744435f, -1.30019f, 3.25244f, 2.25641f, -0.686544f, -1.72263f, 0.174533f, 2.34313f, -0.759595f, -2.00057f, -0.0422162f, -0.60846f, 0.393673f,
      -3.6951f, -1.48234f, 1.86616f, 2.02988f, -3.71276f, 0.485694f}},
    {"gpt-oss",
     {-1.40982f, -1.0541f, 1.40464f, 0.522412f, -3.25601f, 4.95408f, 0.39835f, 2.1839f, 0.0456332f, -1.34711f, 1.57742f, -0.0938091f, -0.343304f, 2.45646f,
      1.12111f, 0.996487f, -1.70779f, -0.3429f, 0.906579f},
     {0.783852f, 0.832049f, -1.21371f, -4.68019f, -0.579459f, -0.035971f, -3.36576f, 0.88519f, 0.0655365f, -1.10523f, 0.849265f, 1.9809f, 1.21354f,
      0.852158f, 0.220749f, 3.49459f, -0.162755f, -2.21246f, 3.07655f}},
};

std::vector<token_id> tokens() {
  std::vector<token_id> out(40);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<token_id>((i * i + 7 * i) % 19);
  return out;
}

}  // namespace

TEST_CASE("architecture family: logits are those of llama.cpp") {
  const std::vector<member> all = family();
  REQUIRE(all.size() == std::size(goldens));
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(all[i].name);
    REQUIRE(all[i].name == goldens[i].name);
    const std::vector<float> logits = logits_of<kv_type::f32>(model_of(all[i].parts), tokens());
    const double bound = all[i].name == "gemma" ? 2e-3 : 1e-4;
    CHECK(relative_error(std::span<const float>(goldens[i].at_17), std::span(logits).subspan(std::size_t{17} * 19, 19)) <= bound);
    CHECK(relative_error(std::span<const float>(goldens[i].at_39), std::span(logits).subspan(std::size_t{39} * 19, 19)) <= bound);
  }
}

TEST_CASE("architecture family: the same bits for any threads and any split of the prompt") {
  for (const member& f : family()) {
    CAPTURE(f.name);
    const cria::model m = model_of(f.parts);
    const std::vector<float> whole = logits_of(m, tokens());
    for (const std::size_t batch : {std::size_t{1}, std::size_t{7}}) {
      CHECK(logits_of(m, tokens(), batch, 1) == whole);
      CHECK(logits_of(m, tokens(), batch, 3) == whole);
    }
  }
}

TEST_CASE("architecture family: granite's scales are 1 where the file says none or 0, but the logits', which it must say") {
  model_parts silent = model_named("granite"), zero = silent, one = silent;
  check_refused(silent, errc::missing_key, "granite.logit_scale");
  for (model_parts* m : {&silent, &zero, &one}) m->set("granite.logit_scale", 2.0f);
  for (const char* const key : {"granite.embedding_scale", "granite.residual_scale", "granite.attention.scale"}) zero.set(key, 0.0f);
  one.set("granite.embedding_scale", 1.0f);
  one.set("granite.residual_scale", 1.0f);
  one.set("granite.attention.scale", 0.25f);   // 1 / sqrt(16)
  const std::vector<float> want = logits_of(model_of(silent), tokens());
  CHECK(logits_of(model_of(zero), tokens()) == want);
  CHECK(logits_of(model_of(one), tokens()) == want);
}

TEST_CASE("architecture family: minicpm's scales are those of its paper where the file says none") {
  const model_parts silent = model_named("minicpm");
  model_parts said = silent;
  said.set("minicpm.embedding_scale", 12.0f);
  said.set("minicpm.residual_scale", 1.4f / std::sqrt(5.0f));
  said.set("minicpm.logit_scale", 64.0f / 256);
  CHECK(logits_of(model_of(silent), tokens()) == logits_of(model_of(said), tokens()));
}

TEST_CASE("architecture family: scales that no model can have are refused by name") {
  const auto with = [](const std::string& architecture, const std::string& key, float value) {
    model_parts m = model_named(architecture);
    if (architecture == "granite") m.set("granite.logit_scale", 2.0f);
    m.set(architecture + "." + key, value);
    return m;
  };
  for (const char* const key : {"embedding_scale", "residual_scale", "logit_scale", "attention.scale"}) {
    for (const float value : {-1.0f, std::nanf(""), INFINITY}) check_refused(with("granite", key, value), errc::bad_value, "granite." + std::string(key));
  }
  check_refused(with("granite", "logit_scale", 0), errc::bad_value, "granite.logit_scale");
  check_refused(with("granite", "logit_scale", 1e-44f), errc::bad_value, "granite.logit_scale");
  check_refused(with("minicpm", "residual_scale", 1e-30f), errc::bad_value, "minicpm.residual_scale");
  check_refused(with("mistral3", "attention.temperature_scale", -1), errc::bad_value, "mistral3.attention.temperature_scale");
}

TEST_CASE("architecture family: gpt-oss with experts in MXFP4 is near what it is with the same experts in float32") {
  const model_parts packed = gpt_oss_model(cria::tensor_type::mxfp4);
  model_parts unpacked = packed;
  for (model_parts::tensor& t : unpacked.tensors) {
    if (t.type != cria::tensor_type::mxfp4) continue;
    std::vector<float> values(t.shape[0] * t.shape[1] * t.shape[2]);
    REQUIRE(cria::dequantize_row(t.type, reinterpret_cast<const std::byte*>(t.data.data()), values));
    t.type = cria::tensor_type::f32;
    t.data = blocks_of(t.type, values);
  }
  const std::vector<float> truth = logits_of<kv_type::f32>(model_of(unpacked), tokens()), got = logits_of<kv_type::f32>(model_of(packed), tokens());
  divergence_sum sum;
  for (std::size_t t = 0; t < tokens().size(); ++t) sum.add(divergence(std::span(truth).subspan(t * 19, 19), std::span(got).subspan(t * 19, 19)));
  CHECK(sum.mean() <= 3e-6);
}

TEST_CASE("architecture family: gpt-oss without a sink, with biases of another shape or windows of another base is refused by name, without biases it runs") {
  const model_parts parts = gpt_oss_model();
  const auto without = [&](const std::string& name) {
    model_parts m = parts;
    m.erase_tensor(name);
    return m;
  };
  const auto reshaped = [&](const std::string& name, const std::vector<std::uint64_t>& shape) {
    model_parts m = parts;
    m.at(name).shape = shape;
    m.at(name).data.clear();
    return m;
  };
  check_refused(without("blk.3.attn_sinks.weight"), errc::missing_tensor, "blk.3.attn_sinks.weight");
  check_refused(reshaped("blk.3.attn_sinks.weight", {5}), errc::bad_shape, "blk.3.attn_sinks.weight");
  check_refused(reshaped("blk.1.ffn_up_exps.bias", {96, 3}), errc::bad_shape, "blk.1.ffn_up_exps.bias");
  check_refused(reshaped("blk.1.ffn_down_exps.bias", {96, 4}), errc::bad_shape, "blk.1.ffn_down_exps.bias");
  model_parts turned = parts;
  turned.set("gpt-oss.rope.freq_base_swa", 500.0f);
  check_refused(turned, errc::unsupported_architecture, "gpt-oss.rope.freq_base_swa");
  const std::vector<float> biased = logits_of(model_of(parts), tokens());
  for (const char* const name : {"blk.1.ffn_gate_exps.bias", "blk.1.ffn_up_exps.bias", "blk.1.ffn_down_exps.bias", "blk.1.ffn_gate_inp.bias"}) {
    CHECK(logits_of(model_of(without(name)), tokens()) != biased);
  }
}

TEST_CASE("architecture family: gpt-oss takes gates and ups beyond the clamps as 7, and NaN stays NaN") {
  model_parts parts = gpt_oss_model(), larger = parts;
  for (const char* const name : {"blk.0.ffn_gate_exps.bias", "blk.0.ffn_up_exps.bias"}) {
    parts.at(name).data = blocks_of(cria::tensor_type::f32, std::vector<float>(96 * 4, 1e6f));
    larger.at(name).data = blocks_of(cria::tensor_type::f32, std::vector<float>(96 * 4, 1e30f));
  }
  CHECK(logits_of(model_of(parts), tokens()) == logits_of(model_of(larger), tokens()));
  parts.at("blk.0.ffn_up_exps.bias").data = blocks_of(cria::tensor_type::f32, std::vector<float>(96 * 4, std::nanf("")));
  const std::vector<float> spoilt = logits_of(model_of(parts), tokens());
  CHECK(std::all_of(spoilt.begin(), spoilt.end(), [](float x) { return std::isnan(x); }));
}
