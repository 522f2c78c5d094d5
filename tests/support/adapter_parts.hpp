// SPDX-License-Identifier: MIT
// LoRA adapters made of random numbers: as files, and merged into the models that they are of.
#pragma once

#include <cria/model/adapter.hpp>

#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace cria_test {

inline std::vector<float> floats_of(const model_parts::tensor& t) {
  std::size_t n = 1;
  for (const std::uint64_t d : t.shape) n *= static_cast<std::size_t>(d);
  std::vector<float> values(n);
  REQUIRE(cria::dequantize_row(t.type, reinterpret_cast<const std::byte*>(t.data.data()), values));
  return values;
}

/// An adapter file of some matrices of a model.
struct adapter_parts {
  model_parts file;
  double alpha;

  adapter_parts(model_parts& base, const std::vector<std::string>& names, std::size_t rank, double alpha_in, std::uint32_t seed,
                cria::tensor_type type = cria::tensor_type::f32)
      : alpha(alpha_in) {
    file.set("general.type", "adapter");
    for (const auto& k : base.keys) {
      if (k.name == "general.architecture") file.set_raw(k.name, k.type, k.bytes);
    }
    file.set("adapter.type", "lora");
    file.set("adapter.lora.alpha", static_cast<float>(alpha));
    std::mt19937 random(seed);
    const auto values = [&](std::size_t n, double spread) {
      std::vector<float> out(n);
      for (float& x : out) x = static_cast<float>(spread * (static_cast<double>(random()) / 2147483648.0 - 1));
      return out;
    };
    for (const std::string& name : names) {
      const auto& shape = base.at(name).shape;
      const std::size_t columns = static_cast<std::size_t>(shape[0]), rows = static_cast<std::size_t>(shape[1]);
      file.tensors.push_back({name + ".lora_a", type, {columns, rank}, blocks_of(type, values(columns * rank, 1 / std::sqrt(static_cast<double>(columns))))});
      file.tensors.push_back({name + ".lora_b",
                              cria::tensor_type::f32,
                              {rank, rows},
                              blocks_of(cria::tensor_type::f32, values(rank * rows, 1 / std::sqrt(static_cast<double>(rank))))});
    }
  }

  /// Adds strength alpha / rank B A to the weights of a model of floats.
  void merge_into(model_parts& base, double strength) const {
    for (std::size_t i = 0; i < file.tensors.size(); i += 2) {
      const auto &a = file.tensors[i], &b = file.tensors[i + 1];
      auto& w = base.at(a.name.substr(0, a.name.size() - 7));
      std::vector<float> weights = floats_of(w);
      const std::vector<float> av = floats_of(a), bv = floats_of(b);
      const std::size_t columns = static_cast<std::size_t>(a.shape[0]), rank = static_cast<std::size_t>(a.shape[1]);
      const double scale = strength * (alpha == 0 ? 1 : alpha / static_cast<double>(rank));
      for (std::size_t n = 0; n < weights.size(); ++n) {
        double sum = 0;
        for (std::size_t r = 0; r < rank; ++r) sum += static_cast<double>(bv[n / columns * rank + r]) * static_cast<double>(av[r * columns + n % columns]);
        weights[n] = static_cast<float>(static_cast<double>(weights[n]) + scale * sum);
      }
      w.type = cria::tensor_type::f32;
      w.data = blocks_of(cria::tensor_type::f32, weights);
    }
  }
};

inline cria::adapter adapter_of(const model_parts& parts, const cria::model& base) {
  const std::string bytes = parts.build();
  auto a = cria::adapter::load(*open_bytes(bytes), base);
  REQUIRE_MESSAGE(a.has_value(), (a ? "" : a.error().to_string()));
  return *std::move(a);
}

}  // namespace cria_test
