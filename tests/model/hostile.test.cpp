// SPDX-License-Identifier: MIT
// Files that lie: every key and tensor of a small model wrong in turn, files cut and flipped at every place, sources that fail. Each costs the host
// one typed error that names what is wrong; what is accepted runs.
#include <cria/generate/load.hpp>
#include <cria/model/model.hpp>

#include <doctest/doctest.h>

#include <tests/support/run_model.hpp>
#include <tests/support/sanitized.hpp>
#include <tests/support/tiny_model.hpp>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace cria_test;
using cria::errc;

#if CRIA_TEST_SANITIZED
constexpr std::size_t stride_of_sweeps = 7;   // slow builds try every 7th place
#else
constexpr std::size_t stride_of_sweeps = 1;
#endif

/// Runs three tokens; whatever a file that loads holds, this must end.
void run_briefly(const cria::model& m) {
  const std::vector<cria::token_id> tokens = {0, static_cast<cria::token_id>(m.vocab_size() - 1), 0};
  CHECK(logits_of(m, tokens).size() == 3 * m.vocab_size());
}

/// Loads the file and returns the error's text, "" where there is none.
std::string outcome(const std::string& bytes) {
  const auto m = load_bytes(bytes);
  if (m) {
    run_briefly(*m);
    return {};
  }
  CHECK_FALSE(m.error().where.empty());
  for (const char c : m.error().to_string()) {
    if (c < 0x20 || c > 0x7e) FAIL_CHECK("not printable: " << m.error().to_string());
  }
  return m.error().to_string();
}

void check_refused(const std::string& bytes, errc code, const std::string& where) {
  const auto m = load_bytes(bytes);
  REQUIRE_FALSE(m.has_value());
  CAPTURE(m.error().to_string());
  CHECK(m.error().code == code);
  CHECK(m.error().where == where);
}

/// Every number of a kind that a key may hold but should not, with the stored type and bytes.
struct stored {
  const char* what;
  std::uint32_t type;
  std::string bytes;
};

std::vector<stored> wrong_types_for_numbers() {
  return {{"bool", gguf_id::boolean, std::string(1, '\1')},
          {"text", gguf_id::string, raw_string("32")},
          {"empty text", gguf_id::string, raw_string("")},
          {"empty array", gguf_id::array, raw(gguf_id::u32) + raw<std::uint64_t>(0)},
          {"array of text", gguf_id::array, raw(gguf_id::string) + raw<std::uint64_t>(1) + raw_string("32")},
          {"array of bool", gguf_id::array, raw(gguf_id::boolean) + raw<std::uint64_t>(1) + std::string(1, '\1')}};
}

std::vector<stored> bad_counts() {
  std::vector<stored> all = wrong_types_for_numbers();
  all.push_back({"0", gguf_id::u32, raw<std::uint32_t>(0)});
  all.push_back({"-1", gguf_id::i32, raw<std::int32_t>(-1)});
  all.push_back({"least i64", gguf_id::i64, raw(std::numeric_limits<std::int64_t>::min())});
  all.push_back({"2^31 + 1", gguf_id::u32, raw<std::uint32_t>(0x80000001u)});
  all.push_back({"2^32 - 1", gguf_id::u32, raw<std::uint32_t>(0xffffffffu)});
  all.push_back({"2^32 + 32", gguf_id::u64, raw<std::uint64_t>((std::uint64_t{1} << 32) + 32)});
  all.push_back({"2^63", gguf_id::u64, raw<std::uint64_t>(std::uint64_t{1} << 63)});
  all.push_back({"2^64 - 1", gguf_id::u64, raw<std::uint64_t>(~std::uint64_t{0})});
  all.push_back({"32.5", gguf_id::f32, raw(32.5f)});
  all.push_back({"NaN", gguf_id::f32, raw(std::numeric_limits<float>::quiet_NaN())});
  all.push_back({"array of different counts", gguf_id::array, raw(gguf_id::u32) + raw<std::uint64_t>(2) + raw<std::uint32_t>(1) + raw<std::uint32_t>(2)});
  all.push_back({"array of -1", gguf_id::array, raw(gguf_id::i32) + raw<std::uint64_t>(1) + raw<std::int32_t>(-1)});
  all.push_back({"array of 0", gguf_id::array, raw(gguf_id::i32) + raw<std::uint64_t>(1) + raw<std::int32_t>(0)});
  return all;
}

std::vector<stored> bad_reals() {
  std::vector<stored> all = wrong_types_for_numbers();
  for (const double x : {0.0, -0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), HUGE_VAL, -HUGE_VAL}) {
    all.push_back({"f64", gguf_id::f64, raw(x)});
    all.push_back({"f32", gguf_id::f32, raw(static_cast<float>(x))});
  }
  all.push_back({"0", gguf_id::u32, raw<std::uint32_t>(0)});
  all.push_back({"-1", gguf_id::i32, raw<std::int32_t>(-1)});
  return all;
}

}  // namespace

TEST_CASE("hostile: the small model itself loads and runs") {
  CHECK(outcome(tiny_model().build()).empty());
  CHECK(outcome(tiny_model({.tied = true, .biases = true}).build()).empty());
}

TEST_CASE("hostile: a missing tensor is named, whichever it is") {
  for (const auto& t : tiny_model().tensors) {
    auto parts = tiny_model();
    parts.erase_tensor(t.name);
    CAPTURE(t.name);
    if (t.name == "output.weight") {
      CHECK(outcome(parts.build()).empty());   // tied
    } else {
      check_refused(parts.build(), errc::missing_tensor, t.name);
    }
  }
  auto none = tiny_model();
  none.tensors.clear();
  CHECK(outcome(none.build()).starts_with("missing_tensor: "));
}

TEST_CASE("hostile: a tensor that the equations do not know is named") {
  // It changes what the model computes (norms of q and k, a scale, more layers than declared), so running without it would give other text.
  for (const char* name : {"blk.0.attn_q_norm.weight", "blk.1.attn_q.scale", "blk.2.attn_norm.weight", "blk.0.ffn_gate_exps.weight", "output_norm.bias",
                           "token_embd.bias", "position_embd.weight", "blk.0.attn_q.weight2", "x"}) {
    auto parts = tiny_model();
    parts.tensors.push_back({name, cria::tensor_type::f32, {32}, {}});
    CAPTURE(name);
    check_refused(parts.build(), errc::bad_value, name);
  }
  auto angles = tiny_model();   // old converters wrote the angles of the rotation, which follow from the base
  angles.tensors.push_back({"blk.0.attn_rot_embd.weight", cria::tensor_type::f32, {8}, {}});
  CHECK(outcome(angles.build()).empty());
}

TEST_CASE("hostile: a tensor of another shape is named, for each tensor and dimension") {
  for (const bool biases : {false, true}) {
    for (const auto& t : tiny_model({.biases = biases}).tensors) {
      for (std::size_t d = 0; d < t.shape.size(); ++d) {
        for (const std::uint64_t n : {t.shape[d] - 1, t.shape[d] + 1, t.shape[d] * 2, t.shape[d] / 2, std::uint64_t{1}}) {
          auto parts = tiny_model({.biases = biases});
          parts.at(t.name).shape[d] = n;
          CAPTURE(t.name);
          CAPTURE(d);
          CAPTURE(n);
          check_refused(parts.build(), errc::bad_shape, t.name);
        }
        for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1} << 31, std::uint64_t{1} << 32, std::uint64_t{1} << 62, std::uint64_t{1} << 63,
                                      ~std::uint64_t{0}, (std::uint64_t{1} << 59) + 1}) {
          auto parts = tiny_model({.biases = biases});
          parts.at(t.name).shape[d] = n;
          CAPTURE(t.name);
          CAPTURE(n);
          CHECK(outcome(parts.build()).find(t.name) != std::string::npos);
        }
      }
      auto longer = tiny_model({.biases = biases});   // another dimension behind
      longer.at(t.name).shape.push_back(2);
      check_refused(longer.build(), errc::bad_shape, t.name);
      auto deeper = tiny_model({.biases = biases});   // of size 1: the same tensor
      deeper.at(t.name).shape.push_back(1);
      CHECK(outcome(deeper.build()).empty());
      if (t.shape.size() == 2 && t.shape[0] != t.shape[1]) {
        auto turned = tiny_model({.biases = biases});
        std::swap(turned.at(t.name).shape[0], turned.at(t.name).shape[1]);
        check_refused(turned.build(), errc::bad_shape, t.name);
      }
    }
  }
}

TEST_CASE("hostile: dimensions whose product wraps to the right size are refused") {
  for (const auto& shape : {std::vector<std::uint64_t>{std::uint64_t{1} << 32, std::uint64_t{1} << 32},
                            {std::uint64_t{1} << 32, std::uint64_t{1} << 32, 1, 1},
                            {(std::uint64_t{1} << 63) + 16, 2},
                            {32, 19, std::uint64_t{1} << 59, std::uint64_t{1} << 5},
                            {~std::uint64_t{0}, ~std::uint64_t{0}}}) {
    for (const auto type : {cria::tensor_type::f32, cria::tensor_type::q4_0, cria::tensor_type::q6_k}) {
      auto parts = tiny_model();
      parts.at("token_embd.weight").shape = shape;
      parts.at("token_embd.weight").type = type;
      CHECK(outcome(parts.build()).find("token_embd.weight") != std::string::npos);
    }
  }
}

TEST_CASE("hostile: formats without kernels are refused by name, formats with kernels are not") {
  for (const auto& info : cria::tensor_types) {
    auto parts = tiny_model({.dim = 256, .head_dim = 128, .ffn_dim = 256});
    auto& t = parts.at("blk.1.ffn_down.weight");
    t.type = info.type;
    t.data.clear();
    CAPTURE(info.name);
    if (cria::format_index_of(info.type)) {
      CHECK(outcome(parts.build()).empty());
    } else {
      const auto m = load_bytes(parts.build());
      REQUIRE_FALSE(m.has_value());
      CHECK(m.error().code == errc::unsupported_type);
      CHECK(m.error().where == "blk.1.ffn_down.weight");
      CHECK(m.error().message.find(info.name) != std::string::npos);
    }
  }
  for (const std::uint32_t id : {4u, 5u, 31u, 36u, 41u, 255u, 0x80000000u, 0xffffffffu}) {   // never defined, or removed
    gguf_builder b;
    for (const auto& k : tiny_model().keys) b.raw_key(k.name, k.type, k.bytes);
    b.raw_tensor(raw_string("token_embd.weight"), 2, {32, 19}, id, 0).data(std::string(8192, '\0'));
    CHECK(outcome(b.build()).starts_with("unsupported_type: token_embd.weight"));
  }
}

TEST_CASE("hostile: a count that is no count is refused with its key") {
  for (const char* key :
       {"llama.embedding_length", "llama.block_count", "llama.attention.head_count", "llama.attention.head_count_kv", "llama.feed_forward_length",
        "llama.context_length", "llama.attention.key_length", "llama.attention.value_length", "llama.rope.dimension_count"}) {
    for (const stored& value : bad_counts()) {
      auto parts = tiny_model();
      parts.set_raw(key, value.type, value.bytes);
      CAPTURE(key);
      CAPTURE(value.what);
      const std::string text = outcome(parts.build());
      CHECK(text.find(key) != std::string::npos);
    }
  }
}

TEST_CASE("hostile: a real number that is not positive and finite is refused with its key") {
  for (const char* key :
       {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base", "llama.rope.scaling.factor", "llama.rope.scaling.original_context_length",
        "llama.rope.scaling.attn_factor", "llama.rope.scaling.yarn_ext_factor", "llama.rope.scaling.yarn_beta_fast", "llama.rope.scaling.yarn_beta_slow"}) {
    const std::string_view name = key;
    const bool may_be_zero = name.ends_with("scaling.factor") || name.ends_with("original_context_length") || name.ends_with("yarn_ext_factor");
    for (const stored& value : bad_reals()) {
      const bool is_number = value.type == gguf_id::f64 || value.type == gguf_id::f32 || value.type == gguf_id::u32;
      const bool is_zero = std::all_of(value.bytes.begin(), value.bytes.end() - 1, [](char c) { return c == 0; }) && (value.bytes.back() & 0x7f) == 0;
      if (may_be_zero && is_number && is_zero) continue;
      auto parts = tiny_model();
      parts.set("llama.rope.scaling.type", "yarn");
      parts.set_raw(key, value.type, value.bytes);
      CAPTURE(key);
      CAPTURE(value.what);
      CHECK(outcome(parts.build()).find(key) != std::string::npos);
    }
  }
  for (const double eps : {1e-300, 1e-50, 1e300}) {   // positive and finite, but not as a float
    auto parts = tiny_model();
    parts.set("llama.attention.layer_norm_rms_epsilon", eps);
    check_refused(parts.build(), errc::bad_value, "llama.attention.layer_norm_rms_epsilon");
  }
}

TEST_CASE("hostile: a factor without a type scales linearly, by its new name or its old one; with a type it is that type's") {
  const auto logits = [](const std::vector<std::pair<std::string, double>>& numbers, const char* type) {
    auto parts = tiny_model();
    if (type != nullptr) parts.set("llama.rope.scaling.type", type);
    for (const auto& [key, x] : numbers) parts.set("llama.rope." + key, static_cast<float>(x));
    const std::vector<cria::token_id> tokens = {3, 4, 5, 6, 7};
    return logits_of(load_bytes(parts.build()).value(), tokens);
  };
  const auto plain = logits({}, nullptr), scaled = logits({{"scaling.factor", 4}}, "linear");
  CHECK(plain != scaled);
  CHECK(logits({{"scaling.factor", 4}}, nullptr) == scaled);
  CHECK(logits({{"scale_linear", 4}}, nullptr) == scaled);
  CHECK(logits({{"scale_linear", 4}}, "linear") == scaled);
  CHECK(logits({{"scaling.factor", 4}, {"scale_linear", 2}}, nullptr) == scaled);
  CHECK(logits({{"scaling.factor", 4}}, "none") == plain);
  CHECK(logits({{"scale_linear", 4}}, "none") == plain);
}

TEST_CASE("hostile: a factor or original context of 0 is as none, and yarn's blend of 0 divides every pair") {
  const auto logits = [](const char* type, const std::vector<std::pair<std::string, float>>& numbers) {
    auto parts = tiny_model();
    if (type != nullptr) parts.set("llama.rope.scaling.type", type);
    for (const auto& [key, x] : numbers) parts.set("llama.rope.scaling." + key, x);
    const std::vector<cria::token_id> tokens = {3, 4, 5, 6, 7};
    return logits_of(load_bytes(parts.build()).value(), tokens);
  };
  CHECK(logits(nullptr, {{"factor", 0.0f}}) == logits(nullptr, {}));
  CHECK(logits(nullptr, {{"original_context_length", 0.0f}}) == logits(nullptr, {}));
  CHECK(logits("yarn", {{"factor", 4.0f}, {"original_context_length", 0.0f}}) == logits("yarn", {{"factor", 4.0f}}));
  CHECK(logits("yarn", {{"factor", 4.0f}, {"yarn_ext_factor", 0.0f}}) != logits("yarn", {{"factor", 4.0f}}));
}

TEST_CASE("hostile: a model that attends in both directions is refused") {
  auto parts = tiny_model();
  parts.set("llama.attention.causal", true);
  CHECK(outcome(parts.build()).empty());
  parts.set("llama.attention.causal", false);
  check_refused(parts.build(), errc::unsupported_architecture, "llama.attention.causal");
}

TEST_CASE("hostile: extreme but legal rotations load and run to an end") {
  for (const char* scaling : {"none", "linear", "yarn"}) {
    for (const char* key : {"llama.rope.freq_base", "llama.rope.scaling.factor", "llama.rope.scaling.original_context_length", "llama.rope.scaling.attn_factor",
                            "llama.rope.scaling.yarn_ext_factor", "llama.rope.scaling.yarn_beta_fast", "llama.rope.scaling.yarn_beta_slow"}) {
      for (const double x :
           {std::numeric_limits<double>::denorm_min(), 1e-300, 1e-9, 0.5, 1.0, std::nextafter(1.0, 2.0), 1e9, 1e300, std::numeric_limits<double>::max()}) {
        auto parts = tiny_model();
        parts.set("llama.rope.scaling.type", scaling);
        parts.set(key, x);
        CAPTURE(scaling);
        CAPTURE(key);
        CAPTURE(x);
        const std::string text = outcome(parts.build());
        if (!text.empty()) CHECK(text.starts_with("bad_value: llama.rope."));
      }
    }
  }
}

TEST_CASE("hostile: counts that contradict each other or the tensors are refused") {
  const auto with = [](const char* key, std::uint32_t n) {
    auto parts = tiny_model();
    parts.set(key, n);
    return parts.build();
  };
  check_refused(with("llama.attention.head_count", 3), errc::bad_value, "llama.attention.head_count");
  check_refused(with("llama.attention.head_count_kv", 3), errc::bad_value, "llama.attention.head_count_kv");
  check_refused(with("llama.attention.head_count_kv", 4), errc::bad_value, "llama.attention.head_count_kv");
  check_refused(with("llama.attention.head_count_kv", 2), errc::bad_shape, "blk.0.attn_k.weight");
  check_refused(with("llama.attention.head_count", 4), errc::bad_shape, "blk.0.attn_k.weight");
  check_refused(with("llama.attention.key_length", 8), errc::bad_shape, "blk.0.attn_q.weight");   // values are as long where nothing else is said
  check_refused(with("llama.attention.value_length", 8), errc::bad_value, "llama.attention.value_length");
  check_refused(with("llama.rope.dimension_count", 17), errc::bad_value, "llama.rope.dimension_count");
  check_refused(with("llama.rope.dimension_count", 15), errc::bad_value, "llama.rope.dimension_count");
  check_refused(with("llama.embedding_length", 64), errc::bad_shape, "blk.0.attn_norm.weight");
  check_refused(with("llama.embedding_length", 36), errc::bad_shape, "blk.0.attn_norm.weight");
  check_refused(with("llama.embedding_length", 31), errc::bad_value, "llama.attention.head_count");
  check_refused(with("llama.embedding_length", 30), errc::bad_value, "llama.rope.dimension_count");   // half of 30 is odd
  check_refused(with("llama.feed_forward_length", 65), errc::bad_shape, "blk.0.ffn_gate.weight");
  check_refused(with("llama.block_count", 1), errc::bad_value, "blk.1.attn_norm.weight");   // tensors of a layer that is not declared
  check_refused(with("llama.block_count", 3), errc::missing_tensor, "blk.2.attn_norm.weight");
  check_refused(with("llama.block_count", 65536), errc::missing_tensor, "blk.2.attn_norm.weight");
  check_refused(with("llama.block_count", 1'000'000), errc::bad_value, "llama.block_count");
  check_refused(with("llama.expert_count", 4), errc::missing_key, "llama.expert_used_count");
  check_refused(with("llama.expert_count", 0xffffffffu), errc::bad_value, "llama.expert_count");
  CHECK(outcome(with("llama.expert_count", 0)).empty());
}

TEST_CASE("hostile: a token uses as many experts as published models do, or some more, not all of a thousand") {
  auto parts = tiny_model();
  parts.set("general.architecture", "llama");
  parts.set("llama.expert_count", 1024u);
  for (const std::uint32_t n : {65u, 1024u}) {
    parts.set("llama.expert_used_count", n);
    check_refused(parts.build(), errc::bad_value, "llama.expert_used_count");
  }
  parts.set("llama.expert_used_count", 64u);
  check_refused(parts.build(), errc::missing_tensor, "blk.0.ffn_gate_inp.weight");   // the next thing that it lacks
}

TEST_CASE("hostile: a small file whose padding would fill the memory is refused before anything is read, and the estimate says how much") {
  auto parts = tiny_model();
  parts.tensors.push_back({"many", cria::tensor_type::f32, {32, 1, 60'000}, {}});   // rows of 128 bytes, each padded to 16 of them
  const std::string bytes = parts.build();
  check_refused(bytes, errc::limit_exceeded, "tensors");
  const auto file = open_bytes(bytes).value();
  CHECK(cria::estimate_memory(file).value().weights >= std::uint64_t{60'000} * 16 * 128);

  parts.tensors.back() = {"blk.0.ffn_up_exps.bias", cria::tensor_type::f32, {1, 400'000}, {}};   // a bias for each expert, of 16 floats
  const std::string biases = parts.build();
  check_refused(biases, errc::limit_exceeded, "tensors");
  CHECK(cria::estimate_memory(open_bytes(biases).value()).value().weights >= std::uint64_t{400'000} * 16 * sizeof(float));

  // The shape [n, 1] may be a vector's or that of a matrix of one row, which is padded to 16. What is loaded is counted before it is allocated.
  const auto of_rows = [](std::size_t n_layers, std::size_t ffn_dim) {
    return tiny_model({.dim = 65'536, .n_layers = n_layers, .n_heads = 1, .head_dim = 2, .ffn_dim = ffn_dim, .blank = true}).build();
  };
  check_refused(of_rows(8, 1), errc::limit_exceeded, "tensors");
  CHECK(cria::check_loaded_bytes(open_bytes(of_rows(8, 1)).value()).has_value());
  CHECK(outcome(of_rows(1, 1)).empty());
}

TEST_CASE("hostile: thousands of vectors and small biases take no page each") {
  // As vectors may be written, too: with a second dimension of 1.
  auto parts = tiny_model({.n_layers = 1'000, .biases = true});
  for (auto& t : parts.tensors) {
    if (t.shape.size() == 1) t.shape.push_back(1);
  }
  const std::string bytes = parts.build();
  const cria::model m = load_bytes(bytes).value();
  CHECK(m.weights().memory.size() <= 4 * bytes.size());
  CHECK(cria::estimate_memory(open_bytes(bytes).value()).value().weights >= m.weights().memory.size());
}

TEST_CASE("hostile: a missing key is named where the model needs it") {
  for (const auto& k : tiny_model().keys) {
    auto parts = tiny_model();
    parts.erase_key(k.name);
    CAPTURE(k.name);
    const std::string text = outcome(parts.build());
    const bool has_default = k.name == "llama.attention.head_count_kv" || k.name == "tokenizer.ggml.token_type";
    if (k.name == "llama.attention.head_count_kv") {
      CHECK(text.starts_with("bad_shape: blk.0.attn_k.weight"));   // then there are as many as heads
    } else if (has_default) {
      CHECK(text.empty());
    } else {
      CHECK(text.starts_with("missing_key: " + k.name));
    }
  }
}

TEST_CASE("hostile: architectures and scalings that are not known are refused, whatever their names hold") {
  for (const std::string& name :
       {std::string("qwen9"), std::string(), std::string("llama\0x", 7), std::string("LLAMA"), std::string("\x1b[31mllama"), std::string(100'000, 'x')}) {
    auto parts = tiny_model();
    parts.set("general.architecture", name);
    check_refused(parts.build(), errc::unsupported_architecture, "general.architecture");
  }
  auto unknown = tiny_model();
  unknown.set("general.architecture", "qwen9");
  const auto refused = load_bytes(unknown.build());
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.starts_with("qwen9 is not one of llama, internlm2, "));
  for (const cria::architecture& a : cria::architectures) {
    CHECK((refused.error().message + ", ").find(" " + std::string(a.name) + ", ") != std::string::npos);
  }
  for (const std::string& name : {std::string("dynamic"), std::string(), std::string("none\0", 5), std::string("\xff\xfe"), std::string(100'000, 'x')}) {
    auto parts = tiny_model();
    parts.set("llama.rope.scaling.type", name);
    check_refused(parts.build(), errc::bad_value, "llama.rope.scaling.type");
  }
  for (const char* key : {"general.architecture", "llama.rope.scaling.type", "tokenizer.ggml.model"}) {
    auto parts = tiny_model();
    parts.set(key, 7u);
    check_refused(parts.build(), errc::wrong_type, key);
  }
}

TEST_CASE("hostile: a vocabulary of another size than the embeddings is refused") {
  for (const std::size_t n : {1u, 3u, 18u, 20u, 1000u}) {
    auto parts = tiny_model();
    parts.set_array("tokenizer.ggml.tokens", std::vector<std::string>(n, "x"));
    parts.set_array("tokenizer.ggml.scores", std::vector<float>(n));
    parts.set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>(n, 1));
    CAPTURE(n);
    const std::string text = outcome(parts.build());
    CHECK((text.starts_with("bad_shape: token_embd.weight") || text.starts_with("bad_shape: output.weight")));
  }
}

TEST_CASE("hostile: divisors of the angles must be positive and finite") {
  for (const float bad : {0.0f, -1.0f, HUGE_VALF, std::numeric_limits<float>::quiet_NaN()}) {
    auto parts = tiny_model();
    std::vector<float> divisors(8, 1.0f);
    divisors[5] = bad;
    parts.tensors.push_back({"rope_freqs.weight", cria::tensor_type::f32, {8}, blocks_of(cria::tensor_type::f32, divisors)});
    const auto m = load_bytes(parts.build());
    REQUIRE_FALSE(m.has_value());
    CHECK(m.error().where == "rope_freqs.weight");
    CHECK(m.error().code == (std::isfinite(bad) ? errc::bad_value : errc::non_finite));
    CHECK(m.error().message.find('5') != std::string::npos);
  }
  auto parts = tiny_model();
  parts.tensors.push_back({"rope_freqs.weight", cria::tensor_type::f32, {7}, {}});
  check_refused(parts.build(), errc::bad_shape, "rope_freqs.weight");
}

TEST_CASE("hostile: every prefix of a file is refused") {
  const std::string whole = tiny_model({.n_layers = 1}).build();
  std::string cut;
  for (std::size_t n = 0; n < whole.size(); n += n < 4096 ? 1 : stride_of_sweeps * 3) {
    cut.assign(whole, 0, n);
    const auto m = load_bytes(cut);
    if (m) FAIL_CHECK("loaded " << n << " of " << whole.size() << " bytes");
    else if (m.error().where.empty()) FAIL_CHECK(m.error().to_string());
  }
}

TEST_CASE("hostile: no flipped bit before the tensor data does harm") {
  const auto parts = tiny_model({.n_layers = 1});
  const std::string whole = parts.build();
  std::size_t n_loaded = 0, n_refused = 0;
  const std::size_t n_bits = 8 * (whole.size() - 32 * 19 * 4);   // metadata, tensor table and the first tensors
  for (std::size_t bit = 0; bit < std::min<std::size_t>(n_bits, 8 * 2200); bit += stride_of_sweeps) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto m = load_bytes(flipped);
    if (m) {
      ++n_loaded;
      cria::serial_executor serial;
      const cria::token_id token = 1;
      sequence<> s(*m, serial, 1, 16);
      s.logits({&token, 1}, 1);
    } else {
      ++n_refused;
    }
  }
  CHECK(n_loaded > 100);
  CHECK(n_refused > 1000);
}

TEST_CASE("hostile: refusals are quick, and look at the tensor table before the first tensor is read") {
  // All right but for the last tensor.
  auto parts =
      tiny_model({.dim = 512, .n_layers = 4, .n_heads = 8, .n_kv_heads = 8, .head_dim = 64, .ffn_dim = 512, .type = cria::tensor_type::q8_0, .blank = true});
  parts.erase_tensor("output_norm.weight");
  const std::string bytes = parts.build();

  class watched final : public cria::byte_source {
   public:
    explicit watched(const std::string& b) : bytes_(b) {}
    [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
    [[nodiscard]] std::string name() const override { return "watched"; }
    [[nodiscard]] cria::result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
      n_read += out.size();
      std::memcpy(out.data(), bytes_.data() + offset, out.size());
      return {};
    }
    mutable std::atomic<std::uint64_t> n_read{0};

   private:
    const std::string& bytes_;
  };
  const auto source = std::make_shared<watched>(bytes);
  const auto file = cria::gguf::file::open(source);
  REQUIRE(file.has_value());
  const std::uint64_t before = source->n_read;
  const auto m = cria::model::load(*file);
  REQUIRE_FALSE(m.has_value());
  CHECK(m.error().where == "output_norm.weight");
  CHECK(source->n_read == before);
}

namespace {

/// Bytes whose n-th read fails, or which end at a byte that size() does not admit.
class failing_source final : public cria::byte_source {
 public:
  explicit failing_source(const std::string& bytes) : bytes_(bytes) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] std::string name() const override { return "failing"; }
  [[nodiscard]] cria::result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    const long long number = n_reads++;
    if (number == fail_at || offset + out.size() > end) return cria::error{errc::io, "failing", "read " + std::to_string(number) + " failed (5)", offset};
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

  mutable std::atomic<long long> n_reads{0};
  long long fail_at = -1;
  std::uint64_t end = ~std::uint64_t{0};

 private:
  const std::string& bytes_;
};

}  // namespace

TEST_CASE("hostile: a source that fails at any read is errc::io with its words, and the next attempt works") {
  const std::string bytes = tiny_model({.tied = true, .biases = true}).build();
  for (const std::size_t n_threads : {1u, 3u}) {
    const auto source = std::make_shared<failing_source>(bytes);
    cria::load_options options;
    options.n_threads = n_threads;
    std::size_t n_failed = 0;
    for (long long n = 0;; ++n) {
      source->fail_at = n;
      source->n_reads = 0;
      const auto file = cria::gguf::file::open(source);
      if (!file) {
        CHECK(file.error().code == errc::io);
        ++n_failed;
        continue;
      }
      const auto m = cria::model::load(*file, options);
      if (m) {
        CHECK(source->n_reads <= n);
        break;
      }
      ++n_failed;
      CHECK(m.error().code == errc::io);
      CHECK(m.error().where == "failing");
      CHECK(m.error().message == "read " + std::to_string(n) + " failed (5)");
      source->fail_at = -1;
      const auto again = cria::model::load(*file, options);
      REQUIRE(again.has_value());
    }
    CHECK(n_failed > tiny_model({.tied = true, .biases = true}).tensors.size());
  }
}

TEST_CASE("hostile: a source that shrinks after it was opened is errc::io") {
  const std::string bytes = tiny_model().build();
  const auto source = std::make_shared<failing_source>(bytes);
  const auto file = cria::gguf::file::open(source);
  REQUIRE(file.has_value());
  for (std::uint64_t end = 0; end < bytes.size() - 128; end += 997) {
    source->end = end;
    const auto m = cria::model::load(*file);
    REQUIRE_FALSE(m.has_value());
    CHECK(m.error().code == errc::io);
  }
}

TEST_CASE("hostile: a file that is cut, overwritten or deleted costs an error at most, and a loaded model nothing") {
  const auto path = std::filesystem::temp_directory_path() / "cria-hostile.gguf";
  const std::string bytes = tiny_model().build();
  const auto write = [&](const std::string& b) { std::ofstream(path, std::ios::binary | std::ios::trunc) << b; };
  write(bytes);
  cria::load_options options;
  options.n_threads = 1;
  auto file = cria::gguf::file::open(path);
  REQUIRE(file.has_value());
  const auto m = cria::model::load(*file, options);
  REQUIRE(m.has_value());
  const std::vector<cria::token_id> tokens = {1, 2, 3, 4, 5};
  const std::vector<float> before = logits_of(*m, tokens);

  std::filesystem::resize_file(path, bytes.size() / 2);
  CHECK(logits_of(*m, tokens) == before);
  const auto cut = cria::model::load(*file, options);
  REQUIRE_FALSE(cut.has_value());
  CHECK(cut.error().code == errc::io);

  write(std::string(bytes.size(), '\xff'));   // tensors become NaN, and the output says so
  CHECK(logits_of(*m, tokens) == before);
  const auto overwritten = cria::model::load(*file, options);
  REQUIRE_FALSE(overwritten.has_value());
  CHECK(overwritten.error().code == errc::non_finite);

  file = cria::error{};
  std::filesystem::remove(path);
  CHECK(logits_of(*m, tokens) == before);
  const auto gone = cria::gguf::file::open(path);
  REQUIRE_FALSE(gone.has_value());
  CHECK(gone.error().code == errc::io);
}

TEST_CASE("hostile: cancelling at any progress call ends the load there") {
  const std::string bytes = tiny_model({.biases = true}).build();
  const auto file = open_bytes(bytes);
  REQUIRE(file.has_value());
  std::size_t n_total = 0;
  cria::load_options counting;
  std::uint64_t done_before = 0, last_total = 0;
  counting.progress = [&](const cria::load_progress& p) {
    CHECK(p.done_bytes > done_before);
    CHECK(p.done_bytes <= p.total_bytes);
    done_before = p.done_bytes;
    last_total = p.total_bytes;
    return ++n_total, true;
  };
  REQUIRE(cria::model::load(*file, counting).has_value());
  CHECK(n_total == file->tensors().size());
  CHECK(done_before == last_total);
  auto old = tiny_model({.biases = true});   // with angles that nothing reads
  old.tensors.push_back({"blk.0.attn_rot_embd.weight", cria::tensor_type::f32, {8}, {}});
  const std::string old_bytes = old.build();
  const std::size_t n_read = n_total;
  done_before = 0;
  REQUIRE(cria::model::load(*open_bytes(old_bytes), counting).has_value());
  CHECK(done_before == last_total);
  n_total = n_read;
  for (std::size_t k = 1; k <= n_total; ++k) {
    for (const bool by_token : {false, true}) {
      std::stop_source stop;
      std::size_t n = 0;
      cria::load_options options;
      options.n_threads = 1 + k % 2;
      options.stop = stop.get_token();
      options.progress = [&](const cria::load_progress&) {
        if (++n != k) return true;
        if (by_token) stop.request_stop();
        return by_token;
      };
      const auto m = cria::model::load(*file, options);
      if (by_token && k == n_total) {
        CHECK(m.has_value());   // nothing was left to stop
        continue;
      }
      REQUIRE_FALSE(m.has_value());
      CHECK(m.error().code == errc::cancelled);
      CHECK(n == k);
    }
  }
}

TEST_CASE("hostile: a load is cancelled from another thread") {
  const auto parts = tiny_model({.dim = 512, .n_layers = 8, .n_heads = 8, .n_kv_heads = 8, .head_dim = 64, .ffn_dim = 512, .blank = true});
  const std::string bytes = parts.build();   // 60 MB of zeros
  const auto file = open_bytes(bytes);
  REQUIRE(file.has_value());
  std::stop_source stop;
  std::atomic<bool> has_begun{false};
  cria::load_options options;
  options.n_threads = 2;
  options.stop = stop.get_token();
  std::size_t n = 0;
  options.progress = [&](const cria::load_progress&) {
    has_begun = true;
    if (++n == 3) {
      while (!stop.stop_requested()) std::this_thread::yield();   // the other thread is late on a busy machine
    }
    return true;
  };
  std::thread other([&] {
    while (!has_begun) std::this_thread::yield();
    stop.request_stop();
  });
  const auto m = cria::model::load(*file, options);
  other.join();
  REQUIRE_FALSE(m.has_value());
  CHECK(m.error().code == errc::cancelled);
  CHECK(n <= 3);
}

#if CRIA_HAS_EXCEPTIONS
TEST_CASE("hostile: what a progress callback throws reaches the caller") {
  const std::string bytes = tiny_model().build();
  const auto file = open_bytes(bytes);
  REQUIRE(file.has_value());
  for (std::size_t k = 1; k <= file->tensors().size(); ++k) {
    std::size_t n = 0;
    cria::load_options options;
    options.n_threads = 2;
    options.progress = [&](const cria::load_progress&) {
      if (++n == k) throw std::runtime_error("mine");
      return true;
    };
    CHECK_THROWS_WITH_AS(static_cast<void>(cria::model::load(*file, options)), "mine", std::runtime_error);
  }
  REQUIRE(cria::model::load(*file).has_value());
}
#endif

TEST_CASE("hostile: instruction sets that are not there are typed errors") {
  const std::string bytes = tiny_model().build();
  std::size_t n_running = 0;
  for (const cria::isa::id set : cria::isa::all_ids) {
    cria::load_options options;
    options.instruction_set = set;
    const auto m = load_bytes(bytes, options);
    if (m) {
      CHECK(m->kernels().set == set);
      ++n_running;
    } else {
      CHECK((m.error().code == errc::unsupported_cpu || m.error().code == errc::bad_argument));
      CHECK(m.error().where == cria::isa::name(set));
    }
  }
  CHECK(n_running >= 1);
}
