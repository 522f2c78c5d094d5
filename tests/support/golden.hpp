// SPDX-License-Identifier: MIT
// tests/support/golden.hpp - reads the golden files (README.md beside them says what made them) and measures the distance from them.
//
// Units     logits as in the file; divergence in nats
#pragma once

#include <cria/core/types.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <tests/support/test_data.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria_test {

struct golden_case {
  std::string prompt;
  std::vector<cria::token_id> tokens;   ///< of the prompt
  std::vector<cria::token_id> greedy;   ///< what follows it
  std::vector<double> greedy_margin;    ///< between the two best logits, per greedy token
  std::string greedy_bytes;
  std::vector<float> logits;            ///< [tokens][n_vocab]; empty where the golden file has none
};

struct golden {
  std::size_t n_vocab = 0;
  std::vector<golden_case> cases;
};

inline std::string from_hex(std::string_view hex) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(digits.find(hex[i]) * 16 + digits.find(hex[i + 1]));
  return bytes;
}

/// Reads golden/<name>.json and, where it is there, golden/<name>.logits.f32.
inline golden read_golden(const std::string& name) {
  const auto json = nlohmann::json::parse(read_data("golden/" + name + ".json"), nullptr, false);
  REQUIRE_FALSE(json.is_discarded());
  const std::string floats =
      std::filesystem::exists(data_root() / ("golden/" + name + ".logits.f32")) ? read_data("golden/" + name + ".logits.f32") : std::string{};
  golden g;
  g.n_vocab = json["n_vocab"].get<std::size_t>();
  std::size_t at = 0;
  for (const auto& c : json["cases"]) {
    golden_case out{c["prompt"].get<std::string>(), c["tokens"].get<std::vector<cria::token_id>>(), c["greedy"].get<std::vector<cria::token_id>>(),
                    c["greedy_margin"].get<std::vector<double>>(), from_hex(c["greedy_bytes_hex"].get<std::string>()), {}};
    if (!floats.empty()) {
      out.logits.resize(out.tokens.size() * g.n_vocab);
      REQUIRE(floats.size() - at >= out.logits.size() * sizeof(float));
      std::memcpy(out.logits.data(), floats.data() + at, out.logits.size() * sizeof(float));
      at += out.logits.size() * sizeof(float);
    }
    g.cases.push_back(std::move(out));
  }
  REQUIRE(at == floats.size());
  return g;
}

/// Returns the natural logarithm of the sum of e^x.
template <class T>
double log_sum_exp(std::span<const T> x) {
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const T value : x) sum += std::exp(static_cast<double>(value) - largest);
  return largest + std::log(sum);
}

/// Returns KL(softmax(truth) || softmax(x)); NaN if x is not finite.
template <class T, class U>
double divergence(std::span<const T> truth, std::span<const U> x) {
  const double t0 = log_sum_exp(truth), x0 = log_sum_exp(x);
  double sum = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double t = static_cast<double>(truth[i]) - t0;
    sum += std::exp(t) * (t - (static_cast<double>(x[i]) - x0));
  }
  return sum;
}

/// Returns max |truth - x| / max |truth|; infinity if x is not finite.
template <class T, class U>
double relative_error(std::span<const T> truth, std::span<const U> x) {
  double worst = 0, scale = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(truth[i]) - static_cast<double>(x[i]));
    worst = std::isfinite(difference) ? std::max(worst, difference) : HUGE_VAL;
    scale = std::max(scale, std::fabs(static_cast<double>(truth[i])));
  }
  return worst / scale;
}

template <class T>
std::size_t best(std::span<const T> x) {
  return static_cast<std::size_t>(std::max_element(x.begin(), x.end()) - x.begin());
}

/// Mean and largest divergence over positions.
struct divergence_sum {
  double sum = 0, largest = 0;
  std::size_t n = 0;

  void add(double kl) {
    sum += kl;
    largest = std::isnan(kl) ? kl : std::max(largest, kl);
    ++n;
  }
  [[nodiscard]] double mean() const { return n == 0 ? HUGE_VAL : sum / static_cast<double>(n); }
};

}  // namespace cria_test
