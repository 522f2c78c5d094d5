// SPDX-License-Identifier: MIT
// tests/support/reference_llama.hpp - a llama in double precision and plain loops: what the logits should be.
//
// Written from the papers, for clarity, sharing with cria the reader of the container and the scalar definition of each block format, which
// tests/gguf and tests/quant check against other sources. No cache layout, no panels, no kernels, no threads.
//
// Shapes    matrices [rows][columns], row-major, as in the file
// Source    LLaMA arXiv 2302.13971; RMSNorm 1910.07467; RoPE 2104.09864; YaRN 2309.00071; SwiGLU 2002.05202; GQA 2305.13245
#pragma once

#include <cria/core/types.hpp>
#include <cria/gguf/file.hpp>
#include <cria/quant/format.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numbers>
#include <span>
#include <string>
#include <vector>

namespace cria_test {

/// How the channels of a head are paired for rotation.
enum class reference_pairing { adjacent, halves };

class reference_llama {
 public:
  explicit reference_llama(const cria::gguf::file& file, reference_pairing pairing = reference_pairing::adjacent) : pairing_(pairing) {
    const auto& keys = file.metadata();
    const auto count = [&](const char* key, std::size_t otherwise) { return keys.get_or<std::uint64_t>(std::string("llama.") + key, otherwise).value(); };
    const auto real = [&](const char* key, double otherwise) { return keys.get_or<double>(std::string("llama.") + key, otherwise).value(); };
    n_layers_ = count("block_count", 0);
    dim_ = count("embedding_length", 0);
    n_heads_ = count("attention.head_count", 0);
    n_kv_heads_ = count("attention.head_count_kv", n_heads_);
    head_dim_ = count("attention.key_length", dim_ / n_heads_);
    rope_dim_ = count("rope.dimension_count", head_dim_);
    eps_ = real("attention.layer_norm_rms_epsilon", 0);
    for (const auto& t : file.tensors()) tensors_[std::string(t.name)] = dequantised(file, t);
    n_vocab_ = file.find_tensor("token_embd.weight")->shape[1];

    const std::string scaling = keys.get_or<std::string>("llama.rope.scaling.type", "none").value();
    const double base = real("rope.freq_base", 10000), factor = scaling == "none" ? 1 : real("rope.scaling.factor", 1);
    const double original = static_cast<double>(count("rope.scaling.original_context_length", count("context_length", 0)));
    for (std::size_t i = 0; i < rope_dim_ / 2; ++i) {
      double theta = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rope_dim_));
      if (tensors_.contains("rope_freqs.weight")) theta /= tensors_.at("rope_freqs.weight")[i];
      if (scaling == "yarn") {
        // Pairs that turn often in the original context keep their angle, those that turn rarely are interpolated.
        const auto pair_of = [&](double turns) {
          return static_cast<double>(rope_dim_) * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(base));
        };
        const double low = std::max(0.0, std::floor(pair_of(32))), high = std::min(static_cast<double>(rope_dim_) - 1, std::ceil(pair_of(1)));
        const double ramp = std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
        theta = theta * (1 - ramp) + theta / factor * ramp;
      } else {
        theta /= factor;
      }
      frequencies_.push_back(theta);
    }
    magnitude_ = scaling == "yarn" ? 1 + 0.1 * std::log(factor) : 1;
  }

  [[nodiscard]] std::size_t vocab_size() const { return n_vocab_; }

  /// Returns the logits behind each token: [tokens][vocabulary].
  [[nodiscard]] std::vector<std::vector<double>> logits(std::span<const cria::token_id> tokens) const {
    std::vector<std::vector<double>> out;
    std::vector<history> past(n_layers_);
    for (std::size_t pos = 0; pos < tokens.size(); ++pos) {
      const auto& embeddings = tensors_.at("token_embd.weight");
      const auto first = embeddings.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(tokens[pos]) * dim_);
      std::vector<double> h(first, first + static_cast<std::ptrdiff_t>(dim_));
      for (std::size_t i = 0; i < n_layers_; ++i) layer("blk." + std::to_string(i) + ".", pos, past[i], h);
      const std::string head = tensors_.contains("output.weight") ? "output" : "token_embd";
      out.push_back(product(head, normalised(h, "output_norm.weight")));
    }
    return out;
  }

 private:
  struct history {
    std::vector<std::vector<double>> k, v;   // [position][kv heads * head_dim]
  };

  static std::vector<double> dequantised(const cria::gguf::file& file, const cria::gguf::tensor_info& t) {
    std::vector<std::byte> bytes(t.size_bytes);
    REQUIRE(file.read(t, 0, bytes).has_value());
    std::vector<float> values(t.elements);
    REQUIRE(cria::dequantize_row(t.type, bytes.data(), values));
    return {values.begin(), values.end()};
  }

  [[nodiscard]] std::vector<double> normalised(const std::vector<double>& x, const std::string& weight) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double rms = std::sqrt(squares / static_cast<double>(x.size()) + eps_);
    std::vector<double> out(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] / rms * tensors_.at(weight)[i];
    return out;
  }

  [[nodiscard]] std::vector<double> product(const std::string& name, const std::vector<double>& x) const {
    const auto& w = tensors_.at(name + ".weight");
    std::vector<double> y(w.size() / x.size());
    const auto bias = tensors_.find(name + ".bias");
    for (std::size_t n = 0; n < y.size(); ++n) {
      double sum = bias == tensors_.end() ? 0 : bias->second[n];
      for (std::size_t k = 0; k < x.size(); ++k) sum += w[n * x.size() + k] * x[k];
      y[n] = sum;
    }
    return y;
  }

  void rotate(std::vector<double>& heads, std::size_t pos) const {
    for (std::size_t first = 0; first < heads.size(); first += head_dim_) {
      for (std::size_t i = 0; i < rope_dim_ / 2; ++i) {
        double& a = heads[first + (pairing_ == reference_pairing::adjacent ? 2 * i : i)];
        double& b = heads[first + (pairing_ == reference_pairing::adjacent ? 2 * i + 1 : i + rope_dim_ / 2)];
        const double angle = static_cast<double>(pos) * frequencies_[i], c = std::cos(angle) * magnitude_, s = std::sin(angle) * magnitude_;
        const double turned = a * c - b * s;
        b = a * s + b * c;
        a = turned;
      }
    }
  }

  void layer(const std::string& blk, std::size_t pos, history& past, std::vector<double>& h) const {
    const std::vector<double> x = normalised(h, blk + "attn_norm.weight");
    std::vector<double> q = product(blk + "attn_q", x), k = product(blk + "attn_k", x);
    rotate(q, pos);
    rotate(k, pos);
    past.k.push_back(std::move(k));
    past.v.push_back(product(blk + "attn_v", x));
    add(h, product(blk + "attn_output", attention(q, past)));

    const std::vector<double> b = normalised(h, blk + "ffn_norm.weight");
    std::vector<double> gate = product(blk + "ffn_gate", b);
    const std::vector<double> up = product(blk + "ffn_up", b);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
    add(h, product(blk + "ffn_down", gate));
  }

  [[nodiscard]] std::vector<double> attention(const std::vector<double>& q, const history& past) const {
    std::vector<double> mixed(q.size());
    for (std::size_t head = 0; head < n_heads_; ++head) {
      const std::size_t kv = head / (n_heads_ / n_kv_heads_) * head_dim_;
      std::vector<double> weight(past.k.size());
      for (std::size_t p = 0; p < weight.size(); ++p) {
        for (std::size_t c = 0; c < head_dim_; ++c) weight[p] += q[head * head_dim_ + c] * past.k[p][kv + c];
        weight[p] /= std::sqrt(static_cast<double>(head_dim_));
      }
      const double largest = *std::max_element(weight.begin(), weight.end());
      double sum = 0;
      for (double& w : weight) sum += w = std::exp(w - largest);
      for (std::size_t p = 0; p < weight.size(); ++p) {
        for (std::size_t c = 0; c < head_dim_; ++c) mixed[head * head_dim_ + c] += weight[p] / sum * past.v[p][kv + c];
      }
    }
    return mixed;
  }

  static void add(std::vector<double>& h, const std::vector<double>& x) {
    for (std::size_t i = 0; i < h.size(); ++i) h[i] += x[i];
  }

  reference_pairing pairing_;
  std::size_t n_layers_ = 0, dim_ = 0, n_heads_ = 0, n_kv_heads_ = 0, head_dim_ = 0, rope_dim_ = 0, n_vocab_ = 0;
  double eps_ = 0, magnitude_ = 1;
  std::vector<double> frequencies_;
  std::map<std::string, std::vector<double>> tensors_;
};

}  // namespace cria_test
