// SPDX-License-Identifier: MIT
// What loading takes: memory beside the weights, reads, and what is read.
#include <cria/model/weight_loader.hpp>

#include <doctest/doctest.h>

#include <tests/support/family_models.hpp>
#include <tests/support/load_parts.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/sanitized.hpp>
#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria_test;

/// Counts how often each byte of the tensor data is read.
class counting_source final : public cria::byte_source {
 public:
  explicit counting_source(const std::string& bytes) : reads(bytes.size()), bytes_(bytes) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] std::string name() const override { return "counting"; }
  [[nodiscard]] cria::result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    const std::scoped_lock lock(mutex_);
    REQUIRE(offset + out.size() <= bytes_.size());
    for (std::size_t i = 0; i < out.size(); ++i) ++reads[offset + i];
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

  mutable std::vector<int> reads;

 private:
  const std::string& bytes_;
  mutable std::mutex mutex_;
};

#if defined(__linux__)
/// Returns a line of /proc/self/status in bytes. Sanitizers have memory of their own.
[[maybe_unused]] std::size_t memory_of(const std::string& field) {
  std::ifstream in("/proc/self/status");
  std::string line;
  while (std::getline(in, line)) {
    if (line.starts_with(field + ":")) return std::stoull(line.substr(field.size() + 1)) * 1024;
  }
  return 0;
}
#endif

}  // namespace

TEST_CASE("weight_loader: each byte of each tensor is read once, and nothing else but the samples of the fingerprint") {
  for (const std::size_t n_threads : {1u, 2u, 5u}) {
    const auto parts = tiny_model({.dim = 64, .head_dim = 32, .vocab_size = 100, .type = cria::tensor_type::q4_0, .biases = true});
    const std::string bytes = parts.build();
    const auto source = std::make_shared<counting_source>(bytes);
    const auto file = cria::gguf::file::open(source);
    REQUIRE(file.has_value());
    std::fill(source->reads.begin(), source->reads.end(), 0);
    REQUIRE(cria::fingerprint_of(*file).has_value());
    std::vector<int> want = source->reads;   // a load samples the file once more for its fingerprint
    std::fill(source->reads.begin(), source->reads.end(), 0);
    cria::load_options options;
    options.n_threads = n_threads;
    REQUIRE(cria::model::load(*file, options).has_value());
    for (const auto& t : file->tensors()) {
      for (std::size_t i = 0; i < t.size_bytes; ++i) ++want[static_cast<std::size_t>(t.offset) + i];
    }
    CHECK(source->reads == want);
  }
}

TEST_CASE("weight_loader: all weights lie one after another in one piece of memory, also experts, vectors, biases, and what shares a tensor") {
  for (const member& each : family()) {
    CAPTURE(each.name);
    const cria::model m = model_of(each.parts);
    const cria::decoder_weights& w = m.weights();
    const auto memory = w.memory.span();
    std::vector<std::span<const std::byte>> all;
    const auto add_bytes = [&](std::span<const std::byte> bytes) {
      if (!bytes.empty()) all.push_back(bytes);
    };
    const auto add_floats = [&](std::span<const float> floats) {
      const std::size_t padded = cria::round_up(floats.size(), 16);
      add_bytes(std::as_bytes(std::span(floats.data(), padded)));
      CHECK(std::all_of(floats.data() + floats.size(), floats.data() + padded, [](float x) { return x == 0; }));
    };
    const auto add = [&](const cria::nn::weight& matrix) {
      add_bytes(matrix.panels);
      add_floats(matrix.bias);
      CHECK(matrix.panels.size() == matrix.packed_bytes());
    };
    for (const cria::decoder_layer& l : w.layers) {
      for (const auto* vector : {&l.attn_norm, &l.attn_norm_bias, &l.attn_post_norm, &l.attn_q_norm, &l.attn_k_norm, &l.attn_sinks, &l.ffn_norm,
                                 &l.ffn_norm_bias, &l.ffn_post_norm}) {
        add_floats(*vector);
      }
      for (const auto* matrix : {&l.attn_q, &l.attn_k, &l.attn_v, &l.attn_output, &l.ffn_gate, &l.ffn_up, &l.ffn_down, &l.ffn_gate_inp}) add(*matrix);
      for (const auto* experts : {&l.ffn_gate_exps, &l.ffn_up_exps, &l.ffn_down_exps}) {
        for (const cria::nn::weight& matrix : *experts) add(matrix);
      }
    }
    add(w.output);
    for (const auto* vector : {&w.output_norm, &w.output_norm_bias}) add_floats(*vector);
    for (const auto* rows : {&w.token_embd, &w.position_embd}) add_bytes(rows->bytes);
    std::sort(all.begin(), all.end(), [](auto a, auto b) { return std::less<>{}(a.data(), b.data()); });
    const std::byte* next = memory.data();
    std::size_t gaps = 0, estimate = 0, divisors = 0, unpadded = 0;
    for (const auto weight : all) {
      REQUIRE(weight.data() >= next);
      gaps += static_cast<std::size_t>(weight.data() - next);
      next = weight.data() + cria::round_up(weight.size(), cria::weight_alignment);
    }
    REQUIRE(next <= memory.data() + memory.size());
    gaps += static_cast<std::size_t>(memory.data() + memory.size() - next);
    const std::string bytes = each.parts.build();
    const cria::gguf::file file = open_bytes(bytes).value();
    for (const auto& t : file.tensors()) {
      const auto loaded = static_cast<std::size_t>(cria::loaded_bytes(t).value());
      estimate += loaded;
      if (t.name.starts_with("rope_")) divisors += loaded;   // which become frequencies
      const bool is_table = (t.name == "token_embd.weight" && !w.is_tied()) || t.name == "position_embd.weight";
      if (is_table) unpadded += loaded - cria::round_up(static_cast<std::size_t>(t.size_bytes), cria::weight_alignment);
    }
    CHECK(gaps == divisors);
    CHECK(all.size() >= 5 * w.layers.size() + 2);
    const bool has_zeros = !w.output_norm_bias.empty() && file.find_tensor("output_norm.bias") == nullptr;
    CHECK(estimate + (has_zeros ? w.output_norm_bias.size_bytes() : 0) == memory.size() + unpadded);
  }
}

#if defined(__linux__)
TEST_CASE("weight_loader: a model of 100 MB takes 1.1 times its size while it is loaded") {
#if CRIA_TEST_SANITIZED
  std::cerr << "SKIPPED: memory of a load, which a sanitizer multiplies\n";
#else
  // A sparse file of zeros, which take no disk but are read into memory like any others.
  for (const auto type : {cria::tensor_type::q4_0, cria::tensor_type::f16, cria::tensor_type::q6_k}) {
    const std::size_t n_layers = type == cria::tensor_type::q4_0 ? 30 : type == cria::tensor_type::f16 ? 8 : 20;
    auto parts = tiny_model({.dim = 768,
                             .n_layers = n_layers,
                             .n_heads = 12,
                             .n_kv_heads = 4,
                             .head_dim = 64,
                             .ffn_dim = 2048,
                             .vocab_size = 2000,
                             .type = type,
                             .output_type = cria::tensor_type::q8_0,
                             .embedding_type = type,
                             .blank = true});
    gguf_builder head;
    for (const auto& k : parts.keys) head.raw_key(k.name, k.type, k.bytes);
    std::uint64_t offset = 0;
    for (const auto& t : parts.tensors) {
      head.raw_tensor(raw_string(t.name), static_cast<std::uint32_t>(t.shape.size()), t.shape, static_cast<std::uint32_t>(t.type), offset);
      offset += (cria::row_bytes(t.type, t.shape[0]) * (t.shape.size() == 2 ? t.shape[1] : 1) + 31) / 32 * 32;
    }
    parts = {};
    const auto path = std::filesystem::temp_directory_path() / "cria-weight_loader.gguf";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << head.head();
    std::filesystem::resize_file(path, head.head().size() / 32 * 32 + 32 + offset);
    const auto file_size = static_cast<double>(std::filesystem::file_size(path));

    for (const std::size_t n_threads : {1u, 2u}) {
      std::ofstream("/proc/self/clear_refs") << 5;   // the peak starts over
      const std::size_t before = memory_of("VmRSS");
      {
        const auto file = cria::gguf::file::open(path);
        REQUIRE(file.has_value());
        cria::load_options options;
        options.n_threads = n_threads;
        const auto m = cria::model::load(*file, options);
        REQUIRE_MESSAGE(m.has_value(), (m ? "" : m.error().to_string()));
        const double peak = static_cast<double>(memory_of("VmHWM")) - static_cast<double>(before);
        std::cout << cria::name(type) << ", " << n_threads << " threads: " << file_size / 1e6 << " MB file, peak " << peak / 1e6 << " MB above the start\n";
        CHECK(peak <= 1.1 * file_size + 4e6);   // stacks, buffers of 1 MiB a thread
        CHECK(peak >= 0.9 * file_size);         // the measurement measures
      }
      CHECK(static_cast<double>(memory_of("VmRSS")) - static_cast<double>(before) < 4e6);   // all of it is given back
    }
    std::filesystem::remove(path);
  }
#endif
}
#endif
