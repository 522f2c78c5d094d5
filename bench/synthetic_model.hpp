// SPDX-License-Identifier: MIT
// bench/synthetic_model.hpp - a random model in the shape of TinyLlama: a GGUF file that is made while it is read.
//
//   auto source = cria_bench::make_synthetic_model(*cria_bench::find_shape("tinyllama"), *cria_bench::find_type("Q4_0"));
//   cria::load_model(*source);  cria_bench::save(**source, "tinyllama-q4_0.gguf");
//
// Ensures   the same bytes on every machine; a valid file that llama.cpp opens. Weights are normal numbers of standard deviation 0.08,
//           quantised as cria quantises them, or, in formats that it only reads, random codes of that deviation: with the norms' weights of
//           0.25 no activation, score or logit is far from 1, so nothing underflows or overflows. A pattern of some 100,000 values repeats in
//           each tensor, at a different place: memory stays small and the speed is that of any weights.
// Errors    those of gguf::writer and plan_quantization
// Threads   a source may be read by many threads at once
#pragma once

#include "synthetic_vocabulary.hpp"

#include <cria/core/byte_sink.hpp>
#include <cria/core/byte_source.hpp>
#include <cria/core/random.hpp>
#include <cria/core/result.hpp>
#include <cria/gguf/file.hpp>
#include <cria/gguf/writer.hpp>
#include <cria/model/file_type.hpp>
#include <cria/model/quantize_plan.hpp>
#include <cria/quant/format.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
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

/// What a synthetic model is quantised to: by the rules of `cria quantize`, but for MXFP4, which they give to experts only, and for formats that cria only
/// reads, which all matrices have but the embeddings (Q2_K) and the output (Q5_K), as in llama.cpp's files of these names.
struct synthetic_type {
  std::string_view name;  ///< as users write it
  cria::file_type file_type;
  std::optional<cria::tensor_type> only_read = {};
};

inline constexpr auto synthetic_types = [] {
  using enum cria::tensor_type;
  constexpr std::pair<cria::tensor_type, std::uint32_t> only_read[] = {{iq1_s, 24}, {iq1_m, 31},   {iq2_xxs, 19}, {iq2_xs, 20}, {iq2_s, 28},
                                                                       {iq3_s, 26}, {iq3_xxs, 23}, {tq1_0, 36},   {tq2_0, 37}};
  std::array<synthetic_type, cria::file_types.size() + std::size(only_read)> types{};
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (i < cria::file_types.size()) {
      const cria::file_type t = cria::file_types[i];
      types[i] = {t == cria::file_type::mxfp4_moe ? "MXFP4" : cria::name(t), t};
    } else {
      const auto& [type, number] = only_read[i - cria::file_types.size()];
      types[i] = {cria::name(type), static_cast<cria::file_type>(number), type};
    }
  }
  return types;
}();

[[nodiscard]] inline const model_shape* find_shape(std::string_view name) noexcept {
  const auto found = std::find_if(std::begin(model_shapes), std::end(model_shapes), [&](const model_shape& s) { return s.name == name; });
  return found == std::end(model_shapes) ? nullptr : found;
}

/// Returns the type of that name in any case; Q3_K, Q4_K and Q5_K stand for the M variants. nullptr if there is none.
[[nodiscard]] inline const synthetic_type* find_type(std::string_view name) {
  for (const synthetic_type& t : synthetic_types) {
    if (t.only_read && cria::detail::same_name(t.name, name)) return &t;
  }
  auto wanted = cria::find_file_type(name);
  if (!wanted) wanted = cria::find_file_type(std::string(name) + "_MOE");
  const auto found = std::find_if(synthetic_types.begin(), synthetic_types.end(), [&](const synthetic_type& t) { return t.file_type == wanted; });
  return found == synthetic_types.end() ? nullptr : &*found;
}

/// Returns a block of random codes whose values have deviation 0.08.
template <class Block>
Block random_block(cria::random_generator& random) {
  std::array<std::byte, sizeof(Block)> bytes;
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.next() >> 56);
  if constexpr (std::is_same_v<Block, cria::tq2_0>) {   // 1 instead of 3: as many 0 as 2
    for (std::byte& b : bytes) b &= ~((b & std::byte{0x55}) << 1);
  }
  auto block = cria::bit_cast<Block>(bytes);
  const auto set_unit = [&](cria::f16 unit) {
    if constexpr (requires { block.d; }) {
      block.d = unit;
    } else {
      for (unsigned n = 0; n < 4; ++n) block.scales[n] = static_cast<std::uint16_t>((block.scales[n] & 0x0fff) | (unit.bits >> 4 * n & 15) << 12);
    }
  };
  std::array<float, 256> values;
  set_unit(cria::to_f16(1));
  Block::dequantize(block, values);
  float squares = 0;
  for (const float x : values) squares += x * x;
  set_unit(cria::to_f16(0.08f / std::sqrt(squares / 256)));
  return block;
}

/// Returns blocks of `type` that hold random normal numbers, or random codes; their count is a prime, so that rows differ.
inline std::vector<std::byte> random_blocks(cria::tensor_type type) {
  const std::size_t block_size = cria::find_tensor_type(type)->block_size;
  const std::size_t n_blocks = block_size == 1 ? 131'071 : block_size == 32 ? 4'093 : 509;
  cria::random_generator random(static_cast<std::uint64_t>(type) + 1);
  std::vector<std::byte> codes;
  cria::visit_format(type, [&]<class Block>(std::type_identity<Block>) {
    if constexpr (!cria::writable_block<Block>) {
      codes.resize(n_blocks * sizeof(Block));
      for (std::size_t i = 0; i < n_blocks; ++i) {
        const Block block = random_block<Block>(random);
        std::memcpy(codes.data() + i * sizeof(Block), &block, sizeof(Block));
      }
    }
  });
  if (!codes.empty()) return codes;
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
  static cria::result<std::shared_ptr<const cria::byte_source>> make(const model_shape& s, const synthetic_type& t) {
    CRIA_TRY(auto plain, make(s, *find_type("F32"), {}));
    CRIA_TRY(const auto file, cria::gguf::file::open(std::move(plain)));
    cria::quantize_options how{.type = t.file_type};
    if (t.file_type == cria::file_type::mxfp4_moe) how.is_pure = true, how.output_type = cria::tensor_type::q8_0;
    if (t.only_read) how = {.type = cria::file_type::q2_k, .output_type = cria::tensor_type::q5_k, .embedding_type = cria::tensor_type::q2_k};
    CRIA_TRY(auto plan, cria::plan_quantization(file, how));
    for (cria::planned_tensor& p : plan) {
      if (t.only_read && p.name.starts_with("blk.") && p.to != cria::tensor_type::f32) p.to = *t.only_read;
    }
    return make(s, t, plan);
  }

  synthetic_source(const model_shape& s, const synthetic_type& t, std::span<const cria::planned_tensor> plan)
      : name_("synthetic " + std::string(s.name) + ":" + std::string(t.name)) {
    declare_tensors(s, plan);
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
  /// Without a plan all tensors are F32.
  static cria::result<std::shared_ptr<const cria::byte_source>> make(const model_shape& s, const synthetic_type& t,
                                                                     std::span<const cria::planned_tensor> plan) {
    const auto source = std::make_shared<synthetic_source>(s, t, plan);
    CRIA_CHECK(source->write_header(s, t));
    return std::shared_ptr<const cria::byte_source>(source);
  }

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

  void declare_tensors(const model_shape& s, std::span<const cria::planned_tensor> plan) {
    const std::size_t kv_dim = s.dim / s.n_heads * s.n_kv_heads;
    const auto declare = [&](std::string name, std::vector<std::uint64_t> shape) {
      const cria::tensor_type type = plan.empty() ? cria::tensor_type::f32 : plan[tensors_.size()].to;
      add(std::move(name), type, std::move(shape));
    };
    declare("token_embd.weight", {s.dim, s.vocab_size});
    declare("output_norm.weight", {s.dim});
    declare("output.weight", {s.dim, s.vocab_size});
    for (std::size_t i = 0; i < s.n_layers; ++i) {
      const std::string blk = "blk." + std::to_string(i) + ".";
      declare(blk + "attn_norm.weight", {s.dim});
      declare(blk + "ffn_norm.weight", {s.dim});
      declare(blk + "attn_q.weight", {s.dim, s.dim});
      declare(blk + "attn_k.weight", {s.dim, kv_dim});
      declare(blk + "attn_v.weight", {s.dim, kv_dim});
      declare(blk + "attn_output.weight", {s.dim, s.dim});
      declare(blk + "ffn_gate.weight", {s.dim, s.ffn_dim});
      declare(blk + "ffn_up.weight", {s.dim, s.ffn_dim});
      declare(blk + "ffn_down.weight", {s.ffn_dim, s.dim});
    }
  }

  cria::result<void> write_header(const model_shape& s, const synthetic_type& type) {
    cria::gguf::writer w;
    CRIA_CHECK(write_keys(w, s, type));
    for (const synthetic_tensor& t : tensors_) CRIA_CHECK(w.add_tensor(t.name, t.type, t.shape));
    CRIA_CHECK(w.open(std::make_unique<header_sink>(header_)));
    size_ = header_.size();
    for (synthetic_tensor& t : tensors_) {
      t.offset = size_;
      size_ = (size_ + t.size + cria::gguf::default_alignment - 1) / cria::gguf::default_alignment * cria::gguf::default_alignment;
    }
    return {};
  }

  static cria::result<void> write_keys(cria::gguf::writer& w, const model_shape& s, const synthetic_type& type) {
    const auto count = [&](std::string_view key, std::size_t n) { return w.set(key, static_cast<std::uint32_t>(n)); };
    CRIA_CHECK(w.set("general.architecture", std::string_view("llama")));
    CRIA_CHECK(w.set("general.name", "synthetic " + std::string(s.name)));
    CRIA_CHECK(w.set("general.file_type", static_cast<std::uint32_t>(type.file_type)));
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
[[nodiscard]] inline cria::result<std::shared_ptr<const cria::byte_source>> make_synthetic_model(const model_shape& shape, const synthetic_type& type) {
  return cria::catch_bad_alloc([&] { return detail::synthetic_source::make(shape, type); }, "synthetic model");
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
