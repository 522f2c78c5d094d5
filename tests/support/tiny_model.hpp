// SPDX-License-Identifier: MIT
// tests/support/tiny_model.hpp - llama files of a few kilobytes in memory, valid until a test changes a key or a tensor.
//
//   auto parts = cria_test::tiny_model({.tied = true});
//   parts.set("llama.context_length", 0u);
//   const std::string bytes = parts.build();
#pragma once

#include <cria/core/byte_source.hpp>
#include <cria/gguf/file.hpp>
#include <cria/model/model.hpp>
#include <cria/quant/format.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria_test {

/// A GGUF file in parts.
struct model_parts {
  struct key {
    std::string name;
    std::uint32_t type;
    std::string bytes;
  };
  struct tensor {
    std::string name;
    cria::tensor_type type;
    std::vector<std::uint64_t> shape;   ///< fastest dimension first
    std::string data;
  };
  std::vector<key> keys;
  std::vector<tensor> tensors;

  /// Sets a key to raw bytes of a type, adding it where it is absent.
  void set_raw(std::string_view name, std::uint32_t type, std::string bytes) {
    erase_key(name);
    keys.push_back({std::string(name), type, std::move(bytes)});
  }
  template <class T>
  void set(std::string_view name, const T& v) {
    if constexpr (std::is_arithmetic_v<T>) set_raw(name, gguf_id::of<T>(), raw(v));
    else set_raw(name, gguf_id::string, raw_string(v));
  }
  template <class T>
  void set_array(std::string_view name, const std::vector<T>& values) {
    std::string bytes = raw(gguf_id::of<T>()) + raw<std::uint64_t>(values.size());
    for (const auto& v : values) {
      if constexpr (std::is_arithmetic_v<T>) bytes += raw<T>(v);
      else bytes += raw_string(v);
    }
    set_raw(name, gguf_id::array, std::move(bytes));
  }
  void erase_key(std::string_view name) {
    std::erase_if(keys, [&](const key& k) { return k.name == name; });
  }
  void erase_tensor(std::string_view name) {
    std::erase_if(tensors, [&](const tensor& t) { return t.name == name; });
  }
  [[nodiscard]] tensor& at(std::string_view name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const tensor& t) { return t.name == name; });
    REQUIRE_MESSAGE(found != tensors.end(), name);
    return *found;
  }

  /// Returns the file. A tensor whose shape asks for more than 16 million elements is declared without its data.
  [[nodiscard]] std::string build() const {
    gguf_builder b;
    for (const key& k : keys) b.raw_key(k.name, k.type, k.bytes);
    for (const tensor& t : tensors) {
      constexpr std::uint64_t most = 1 << 24;
      std::uint64_t elements = 1;
      for (const std::uint64_t n : t.shape) elements = n > most ? most + 1 : std::min(elements * n, most + 1);
      if (elements > most || t.shape.empty()) {
        b.raw_tensor(raw_string(t.name), static_cast<std::uint32_t>(t.shape.size()), t.shape, static_cast<std::uint32_t>(t.type), 0);
      } else {
        b.tensor(t.name, t.type, t.shape, t.data);
      }
    }
    return b.build();
  }
};

struct tiny_shape {
  std::size_t dim = 32, n_layers = 2, n_heads = 2, n_kv_heads = 1, head_dim = 16, ffn_dim = 64, vocab_size = 19;
  std::size_t rope_dim = 0;                                  ///< 0: the whole head, and no key
  cria::tensor_type type = cria::tensor_type::f32;           ///< of matrices in layers
  cria::tensor_type output_type = cria::tensor_type::f32;
  cria::tensor_type embedding_type = cria::tensor_type::f32;
  bool tied = false, biases = false;
  bool blank = false;                                        ///< zeros, written when the file is built: for large shapes
  std::uint32_t seed = 1;
};

/// Returns the blocks of these values.
inline std::string blocks_of(cria::tensor_type type, std::span<const float> values) {
  std::string bytes(cria::row_bytes(type, values.size()), '\0');
  REQUIRE(cria::quantize_row(type, values, reinterpret_cast<std::byte*>(bytes.data())));
  return bytes;
}

/// A llama with random weights, and a vocabulary of letters.
inline model_parts tiny_model(const tiny_shape& s = {}) {
  using cria::tensor_type;
  model_parts m;
  m.set("general.architecture", "llama");
  m.set("llama.embedding_length", static_cast<std::uint32_t>(s.dim));
  m.set("llama.block_count", static_cast<std::uint32_t>(s.n_layers));
  m.set("llama.feed_forward_length", static_cast<std::uint32_t>(s.ffn_dim));
  m.set("llama.context_length", std::uint32_t{128});
  m.set("llama.attention.head_count", static_cast<std::uint32_t>(s.n_heads));
  m.set("llama.attention.head_count_kv", static_cast<std::uint32_t>(s.n_kv_heads));
  if (s.head_dim * s.n_heads != s.dim) {
    m.set("llama.attention.key_length", static_cast<std::uint32_t>(s.head_dim));
    m.set("llama.attention.value_length", static_cast<std::uint32_t>(s.head_dim));
  }
  m.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  if (s.rope_dim != 0) m.set("llama.rope.dimension_count", static_cast<std::uint32_t>(s.rope_dim));
  m.set("tokenizer.ggml.model", "llama");
  std::vector<std::string> texts = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> kinds = {2, 3, 3};
  while (texts.size() < s.vocab_size) {
    texts.push_back("t" + std::to_string(texts.size()));
    kinds.push_back(1);
  }
  texts.resize(s.vocab_size);
  kinds.resize(s.vocab_size);
  m.set_array("tokenizer.ggml.tokens", texts);
  m.set_array("tokenizer.ggml.scores", std::vector<float>(s.vocab_size));
  m.set_array("tokenizer.ggml.token_type", kinds);

  std::mt19937 random(s.seed);   // its numbers are specified; those of the distributions are not
  const auto values = [&](std::size_t n, double middle, double spread) {
    std::vector<float> out(n);
    for (float& x : out) x = static_cast<float>(middle + spread * (static_cast<double>(random()) / 2147483648.0 - 1));
    return out;
  };
  const auto matrix = [&](const std::string& name, tensor_type type, std::size_t rows, std::size_t columns, double spread) {
    m.tensors.push_back({name + ".weight", type, {columns, rows}, s.blank ? std::string{} : blocks_of(type, values(rows * columns, 0, spread))});
  };
  const auto projection = [&](const std::string& name, std::size_t rows, std::size_t columns) {
    matrix(name, s.type, rows, columns, 1.7 / std::sqrt(static_cast<double>(columns)));
    if (s.biases) m.tensors.push_back({name + ".bias", tensor_type::f32, {rows}, blocks_of(tensor_type::f32, values(rows, 0, 0.5))});
  };
  const auto norm = [&](const std::string& name) {
    m.tensors.push_back({name + ".weight", tensor_type::f32, {s.dim}, blocks_of(tensor_type::f32, values(s.dim, 1, 0.3))});
  };
  matrix("token_embd", s.embedding_type, s.vocab_size, s.dim, 1);
  for (std::size_t i = 0; i < s.n_layers; ++i) {
    const std::string blk = "blk." + std::to_string(i) + ".";
    norm(blk + "attn_norm");
    projection(blk + "attn_q", s.n_heads * s.head_dim, s.dim);
    projection(blk + "attn_k", s.n_kv_heads * s.head_dim, s.dim);
    projection(blk + "attn_v", s.n_kv_heads * s.head_dim, s.dim);
    projection(blk + "attn_output", s.dim, s.n_heads * s.head_dim);
    norm(blk + "ffn_norm");
    projection(blk + "ffn_gate", s.ffn_dim, s.dim);
    projection(blk + "ffn_up", s.ffn_dim, s.dim);
    projection(blk + "ffn_down", s.dim, s.ffn_dim);
  }
  norm("output_norm");
  if (!s.tied) matrix("output", s.output_type, s.vocab_size, s.dim, 3 / std::sqrt(static_cast<double>(s.dim)));
  return m;
}

/// Opens bytes, which must outlive the file.
inline cria::result<cria::gguf::file> open_bytes(const std::string& bytes) {
  return cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(bytes))));
}

/// Takes a file apart.
inline model_parts parts_of(const std::string& bytes) {
  const auto file = open_bytes(bytes);
  REQUIRE(file.has_value());
  model_parts m;
  for (const cria::gguf::entry& e : file->metadata()) {
    std::string stored(reinterpret_cast<const char*>(e.v.bytes().data()), e.v.bytes().size());
    if (e.v.type() == cria::gguf::value_type::string) stored = raw_string(stored);
    if (const auto array = e.v.as<cria::gguf::array_view>()) {
      stored = raw(static_cast<std::uint32_t>(array->element_type())) + raw<std::uint64_t>(array->size()) + stored;
    }
    m.set_raw(e.key, static_cast<std::uint32_t>(e.v.type()), stored);
  }
  for (const cria::gguf::tensor_info& t : file->tensors()) {
    std::string data(t.size_bytes, '\0');
    REQUIRE(file->read(t, 0, std::as_writable_bytes(std::span(data))).has_value());
    m.tensors.push_back({std::string(t.name), t.type, {t.shape.begin(), t.shape.begin() + static_cast<std::ptrdiff_t>(t.rank)}, data});
  }
  return m;
}

/// Opens and loads bytes; nothing of them is needed afterwards but while the model is alive for its metadata.
inline cria::result<cria::model> load_bytes(const std::string& bytes, cria::load_options options = {}) {
  if (options.n_threads == 0) options.n_threads = 1;
  auto file = open_bytes(bytes);
  if (!file) return std::move(file).error();
  return cria::model::load(*file, options);
}

}  // namespace cria_test
