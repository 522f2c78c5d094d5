// SPDX-License-Identifier: MIT
// bench/synthetic_model.hpp - a random model in the shape of TinyLlama: a GGUF file that is made while it is read.
//
//   auto source = cria_bench::make_synthetic_model(*cria_bench::find_shape("tinyllama"), *cria_bench::find_mix("Q4_0"));
//   cria::load_model(*source);  cria_bench::save(**source, "tinyllama-q4_0.gguf");
//
// Ensures   the same bytes on every machine; a valid file that llama.cpp opens. Weights are normal numbers of standard deviation 0.08,
//           quantised as cria quantises them: with the norms' weights of 0.25 no activation, score or logit is far from 1, so nothing
//           underflows or overflows. A pattern of some 100,000 values repeats in each tensor, at a different place: memory stays small and
//           the speed is that of any weights.
// Errors    those of gguf::writer
// Threads   a source may be read by many threads at once
#pragma once

#include "synthetic_vocabulary.hpp"

#include <cria/core/byte_sink.hpp>
#include <cria/core/byte_source.hpp>
#include <cria/core/random.hpp>
#include <cria/core/result.hpp>
#include <cria/gguf/writer.hpp>
#include <cria/quant/format.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria_bench {

struct model_shape {
  std::string_view name;
  std::size_t dim, n_layers, n_heads, n_kv_heads, ffn_dim, vocab_size, context_length;
};

/// tiny is for tests: 1 MB in Q4_0.
inline constexpr model_shape model_shapes[] = {
    {"tinyllama", 2048, 22, 32, 4, 5632, 32000, 2048},
    {"tiny", 256, 2, 4, 2, 512, 1024, 2048},
};

/// Which layers' tensors get a type with more bits.
enum class layer_range : std::uint8_t { none, all, first_two, first_four, first_eighth, first_sixteenth, more_bits };

[[nodiscard]] constexpr bool contains(layer_range range, std::size_t i, std::size_t n) noexcept {
  switch (range) {
    case layer_range::none: return false;
    case layer_range::all: return true;
    case layer_range::first_two: return i < 2;
    case layer_range::first_four: return i < 4;
    case layer_range::first_eighth: return i < n / 8;
    case layer_range::first_sixteenth: return i < n / 16;
    case layer_range::more_bits: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
  }
  return false;
}

/// The tensor types of a file: what llama.cpp's quantiser gives a llama with four or more queries a kv head.
struct quant_mix {
  struct upgrade {
    cria::tensor_type type;
    layer_range layers;
  };
  std::string_view name;    ///< as users write it
  std::uint32_t file_type;  ///< general.file_type
  cria::tensor_type base;   ///< of all matrices that nothing else is said of
  cria::tensor_type output;
  cria::tensor_type attn_v, attn_output, ffn_down;
  upgrade more_attn_v = {cria::tensor_type::f32, layer_range::none};
  upgrade more_ffn_down = {cria::tensor_type::f32, layer_range::none};
};

namespace detail {
constexpr quant_mix pure(std::string_view name, std::uint32_t file_type, cria::tensor_type t, cria::tensor_type output) noexcept {
  return {name, file_type, t, output, t, t, t};
}
}  // namespace detail

// Source: llama.cpp's llama-quant.cpp and enum llama_ftype (August 2026).
inline constexpr auto quant_mixes = [] {
  using enum cria::tensor_type;
  using enum layer_range;
  using detail::pure;
  return std::array{
      pure("F32", 0, f32, f32),
      pure("F16", 1, f16, f16),
      pure("BF16", 32, bf16, bf16),
      pure("Q4_0", 2, q4_0, q6_k),
      pure("Q4_1", 3, q4_1, q6_k),
      pure("Q5_0", 8, q5_0, q6_k),
      pure("Q5_1", 9, q5_1, q6_k),
      pure("Q8_0", 7, q8_0, q8_0),
      quant_mix{"Q2_K", 10, q2_k, q6_k, q4_k, q3_k, q3_k},
      pure("Q3_K_S", 11, q3_k, q6_k),
      quant_mix{"Q3_K_M", 12, q3_k, q6_k, q4_k, q4_k, q4_k, {q5_k, first_two}, {q5_k, first_sixteenth}},
      quant_mix{"Q3_K_L", 13, q3_k, q6_k, q5_k, q5_k, q5_k},
      quant_mix{"Q4_K_S", 14, q4_k, q6_k, q4_k, q4_k, q4_k, {q5_k, first_four}, {q5_k, first_eighth}},
      quant_mix{"Q4_K_M", 15, q4_k, q6_k, q4_k, q4_k, q4_k, {q6_k, more_bits}, {q6_k, more_bits}},
      pure("Q5_K_S", 16, q5_k, q6_k),
      quant_mix{"Q5_K_M", 17, q5_k, q6_k, q5_k, q5_k, q5_k, {q6_k, more_bits}, {q6_k, more_bits}},
      pure("Q6_K", 18, q6_k, q6_k),
      quant_mix{"IQ4_NL", 25, iq4_nl, q6_k, q5_k, iq4_nl, iq4_nl, {}, {q5_k, first_eighth}},
      quant_mix{"IQ4_XS", 30, iq4_xs, q6_k, q5_k, iq4_xs, iq4_xs, {}, {q5_k, first_eighth}},
      pure("MXFP4", 38, mxfp4, q8_0),
  };
}();

[[nodiscard]] inline const model_shape* find_shape(std::string_view name) noexcept {
  const auto found = std::find_if(std::begin(model_shapes), std::end(model_shapes), [&](const model_shape& s) { return s.name == name; });
  return found == std::end(model_shapes) ? nullptr : found;
}

/// Returns the mix of that name in any case; Q3_K, Q4_K and Q5_K stand for the M variants. nullptr if there is none.
[[nodiscard]] inline const quant_mix* find_mix(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  for (const std::string& wanted : {upper, upper + "_M"}) {
    for (const quant_mix& m : quant_mixes) {
      if (m.name == wanted) return &m;
    }
  }
  return nullptr;
}

/// Returns blocks of `type` that hold random normal numbers; their count is a prime, so that rows differ.
inline std::vector<std::byte> random_blocks(cria::tensor_type type) {
  const std::size_t block_size = cria::find_tensor_type(type)->block_size;
  const std::size_t n_blocks = block_size == 1 ? 131'071 : block_size == 32 ? 4'093 : 509;
  cria::random_generator random(static_cast<std::uint64_t>(type) + 1);
  std::vector<float> values(n_blocks * block_size);
  for (float& x : values) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += random.uniform();  // nearly normal, without a function that differs between systems
    x = static_cast<float>(0.08 * sum);
  }
  std::vector<std::byte> bytes(cria::row_bytes(type, values.size()));
  static_cast<void>(cria::quantize_row(type, values, bytes.data()));
  return bytes;
}

namespace detail {

/// A tensor that is declared: its data is `bytes`, from `phase` on and again and again.
struct synthetic_tensor {
  std::string name;
  cria::tensor_type type;
  std::vector<std::uint64_t> shape;
  const std::vector<std::byte>* bytes;
  std::uint64_t offset = 0, size = 0, phase = 0;  // offset: from the start of the file
};

/// Takes what gguf::writer writes before the tensors.
class header_sink final : public cria::byte_sink {
 public:
  explicit header_sink(std::vector<std::byte>& out) : out_(out) {}
  cria::result<void> write(std::span<const std::byte> bytes) override {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return {};
  }
  cria::result<void> commit() override { return {}; }
  std::string name() const override { return "header"; }

 private:
  std::vector<std::byte>& out_;
};

class synthetic_source final : public cria::byte_source {
 public:
  static cria::result<std::shared_ptr<const cria::byte_source>> make(const model_shape& s, const quant_mix& m) {
    const auto source = std::make_shared<synthetic_source>(s, m);
    CRIA_CHECK(source->write_header(s, m));
    return std::shared_ptr<const cria::byte_source>(source);
  }

  synthetic_source(const model_shape& s, const quant_mix& m) : name_("synthetic " + std::string(s.name) + ":" + std::string(m.name)) {
    declare_tensors(s, m);
  }

  std::uint64_t size() const noexcept override { return size_; }
  std::string name() const override { return name_; }

  cria::result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size_ || out.size() > size_ - offset) return cria::error{cria::errc::io, name_, "the file ends before the bytes to read", offset};
    if (offset < header_.size() && !out.empty()) {
      const std::size_t n = std::min<std::size_t>(out.size(), header_.size() - offset);
      std::memcpy(out.data(), header_.data() + offset, n);
      out = out.subspan(n);
      offset += n;
    }
    const auto behind = [](std::uint64_t at, const synthetic_tensor& t) { return at < t.offset; };
    for (auto t = std::upper_bound(tensors_.begin(), tensors_.end(), offset, behind); !out.empty(); ++t) {
      const std::uint64_t end = t == tensors_.end() ? size_ : t->offset;
      const std::size_t n = std::min<std::size_t>(out.size(), end - offset);
      if (n > 0) fill(*std::prev(t), offset, out.first(n));
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }

 private:
  /// Writes the bytes from `offset` on, which lie in the tensor or the padding behind it.
  static void fill(const synthetic_tensor& t, std::uint64_t offset, std::span<std::byte> out) noexcept {
    for (std::uint64_t at = offset - t.offset; !out.empty();) {
      std::size_t n = out.size();
      if (at >= t.size) {
        std::memset(out.data(), 0, n);
      } else {
        const std::size_t from = static_cast<std::size_t>((at + t.phase) % t.bytes->size());
        n = std::min({n, t.bytes->size() - from, static_cast<std::size_t>(t.size - at)});
        std::memcpy(out.data(), t.bytes->data() + from, n);
      }
      out = out.subspan(n);
      at += n;
    }
  }

  void add(std::string name, cria::tensor_type type, std::vector<std::uint64_t> shape) {
    synthetic_tensor t{std::move(name), type, std::move(shape), nullptr};
    std::vector<std::byte>& bytes = patterns_[t.shape.size() == 1 ? std::nullopt : std::optional(type)];
    if (bytes.empty() && t.shape.size() == 1) {
      bytes.resize(4096);
      constexpr unsigned char quarter[] = {0, 0, 0x80, 0x3e};  // 0.25
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte{quarter[i % 4]};
    } else if (bytes.empty()) {
      bytes = random_blocks(type);
    }
    std::uint64_t rows = 1;
    for (std::size_t i = 1; i < t.shape.size(); ++i) rows *= t.shape[i];
    t.bytes = &bytes;
    t.size = cria::row_bytes(type, static_cast<std::size_t>(t.shape[0])) * rows;
    t.phase = tensors_.size() * 577 * cria::find_tensor_type(type)->block_bytes % bytes.size();
    tensors_.push_back(std::move(t));
  }

  void declare_tensors(const model_shape& s, const quant_mix& m) {
    const std::size_t kv_dim = s.dim / s.n_heads * s.n_kv_heads;
    add("token_embd.weight", m.base, {s.dim, s.vocab_size});
    add("output_norm.weight", cria::tensor_type::f32, {s.dim});
    add("output.weight", m.output, {s.dim, s.vocab_size});
    for (std::size_t i = 0; i < s.n_layers; ++i) {
      const std::string blk = "blk." + std::to_string(i) + ".";
      const auto type = [&](cria::tensor_type t, const quant_mix::upgrade& more) { return contains(more.layers, i, s.n_layers) ? more.type : t; };
      add(blk + "attn_norm.weight", cria::tensor_type::f32, {s.dim});
      add(blk + "ffn_norm.weight", cria::tensor_type::f32, {s.dim});
      add(blk + "attn_q.weight", m.base, {s.dim, s.dim});
      add(blk + "attn_k.weight", m.base, {s.dim, kv_dim});
      add(blk + "attn_v.weight", type(m.attn_v, m.more_attn_v), {s.dim, kv_dim});
      add(blk + "attn_output.weight", m.attn_output, {s.dim, s.dim});
      add(blk + "ffn_gate.weight", m.base, {s.dim, s.ffn_dim});
      add(blk + "ffn_up.weight", m.base, {s.dim, s.ffn_dim});
      add(blk + "ffn_down.weight", type(m.ffn_down, m.more_ffn_down), {s.ffn_dim, s.dim});
    }
  }

  cria::result<void> write_header(const model_shape& s, const quant_mix& m) {
    cria::gguf::writer w;
    CRIA_CHECK(write_keys(w, s, m));
    for (const synthetic_tensor& t : tensors_) CRIA_CHECK(w.add_tensor(t.name, t.type, t.shape));
    CRIA_CHECK(w.open(std::make_unique<header_sink>(header_)));
    size_ = header_.size();
    for (synthetic_tensor& t : tensors_) {
      t.offset = size_;
      size_ = (size_ + t.size + cria::gguf::default_alignment - 1) / cria::gguf::default_alignment * cria::gguf::default_alignment;
    }
    return {};
  }

  static cria::result<void> write_keys(cria::gguf::writer& w, const model_shape& s, const quant_mix& m) {
    const auto count = [&](std::string_view key, std::size_t n) { return w.set(key, static_cast<std::uint32_t>(n)); };
    CRIA_CHECK(w.set("general.architecture", std::string_view("llama")));
    CRIA_CHECK(w.set("general.name", "synthetic " + std::string(s.name)));
    CRIA_CHECK(count("general.file_type", m.file_type));
    CRIA_CHECK(count("llama.context_length", s.context_length));
    CRIA_CHECK(count("llama.embedding_length", s.dim));
    CRIA_CHECK(count("llama.block_count", s.n_layers));
    CRIA_CHECK(count("llama.feed_forward_length", s.ffn_dim));
    CRIA_CHECK(count("llama.attention.head_count", s.n_heads));
    CRIA_CHECK(count("llama.attention.head_count_kv", s.n_kv_heads));
    CRIA_CHECK(count("llama.rope.dimension_count", s.dim / s.n_heads));
    CRIA_CHECK(count("llama.vocab_size", s.vocab_size));
    CRIA_CHECK(w.set("llama.attention.layer_norm_rms_epsilon", 1e-5f));
    CRIA_CHECK(w.set("llama.rope.freq_base", 10000.0f));
    const synthetic_vocabulary v = synthetic_vocabulary::make(s.vocab_size);
    CRIA_CHECK(w.set("tokenizer.ggml.model", std::string_view("llama")));
    CRIA_CHECK(w.set("tokenizer.ggml.pre", std::string_view("default")));
    CRIA_CHECK(w.set("tokenizer.ggml.tokens", v.tokens));
    CRIA_CHECK(w.set("tokenizer.ggml.scores", v.scores));
    CRIA_CHECK(w.set("tokenizer.ggml.token_type", v.kinds));
    CRIA_CHECK(count("tokenizer.ggml.bos_token_id", 1));
    CRIA_CHECK(count("tokenizer.ggml.eos_token_id", 2));
    CRIA_CHECK(count("tokenizer.ggml.unknown_token_id", 0));
    return w.set("tokenizer.ggml.add_bos_token", true);
  }

  std::string name_;
  std::vector<synthetic_tensor> tensors_;
  std::map<std::optional<cria::tensor_type>, std::vector<std::byte>> patterns_;  // by type; none: the norms
  std::vector<std::byte> header_;
  std::uint64_t size_ = 0;
};

}  // namespace detail

/// Returns the model as a file to be opened.
[[nodiscard]] inline cria::result<std::shared_ptr<const cria::byte_source>> make_synthetic_model(const model_shape& shape, const quant_mix& mix) {
  return cria::catch_bad_alloc([&] { return detail::synthetic_source::make(shape, mix); }, "synthetic model");
}

/// Writes all bytes of the source to a file.
[[nodiscard]] inline cria::result<void> save(const cria::byte_source& source, const std::filesystem::path& path) {
  CRIA_TRY(const auto sink, cria::replace_file(path));
  std::vector<std::byte> piece(std::size_t{1} << 20);
  for (std::uint64_t at = 0; at < source.size(); at += piece.size()) {
    const std::span<std::byte> part(piece.data(), static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), source.size() - at)));
    CRIA_CHECK(source.read_at(at, part));
    CRIA_CHECK(sink->write(part));
  }
  return sink->commit();
}

}  // namespace cria_bench
