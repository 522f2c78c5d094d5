// SPDX-License-Identifier: MIT
// sampling/sampler_config.hpp - the settings of sampling: their ranges, presets, and the order of the steps.
//
// Ensures   a default-constructed config is balanced(): temperature, top_k and top_p are on, all other steps off
// Errors    bad_argument: `where` is the name of the field, `message` its value and range; out_of_memory
// Threads   values
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// The steps that `sampler_config::order` names. Biases, then no_repeat_ngram, always come first.
enum class sampling_step : std::uint8_t { penalties, dry, top_n_sigma, top_k, typical, top_p, min_p, xtc, temperature };

[[nodiscard]] constexpr std::string_view name(sampling_step step) noexcept {
  constexpr std::string_view names[] = {"penalties", "dry", "top_n_sigma", "top_k", "typical", "top_p", "min_p", "xtc", "temperature"};
  return names[static_cast<std::size_t>(step)];
}

/// Returns the steps in a list such as "penalties;top_k;top_p;temp", each at most once. An empty text is an empty list.
[[nodiscard]] result<std::vector<sampling_step>> parse_sampling_order(std::string_view text);

struct sampler_config {
  float temperature = 0.8f;         ///< [0, inf); 0 is greedy: the likeliest token after biases and penalties, whatever else is set
  float dynatemp_range = 0.0f;      ///< [0, inf); above 0 the temperature varies by up to that much with the entropy
  float dynatemp_exponent = 1.0f;   ///< [0, inf)
  int top_k = 40;                   ///< [0, inf); 0 is off
  float top_p = 0.9f;               ///< [0, 1]; 1 is off
  float min_p = 0.0f;               ///< [0, 1]; 0 is off
  float typical_p = 1.0f;           ///< [0, 1]; 1 is off
  float top_n_sigma = 0.0f;         ///< [0, inf); 0 is off
  float xtc_probability = 0.0f;     ///< [0, 1]; 0 is off
  float xtc_threshold = 0.1f;       ///< [0, 1]; above 0.5 is off
  int min_keep = 1;                 ///< [0, inf); how many candidates top_p, min_p, typical, top_n_sigma and xtc leave at least

  float repeat_penalty = 1.0f;      ///< (0, inf); 1 is off
  float presence_penalty = 0.0f;    ///< finite; 0 is off
  float frequency_penalty = 0.0f;   ///< finite; 0 is off
  int repeat_last_n = 64;           ///< [0, 2^20]: how many tokens these three penalties look back on
  std::vector<std::pair<token_id, float>> logit_bias = {};  ///< finite, or -inf to ban a token; ids in the vocabulary

  float dry_multiplier = 0.0f;      ///< [0, inf); 0 is off
  float dry_base = 1.75f;           ///< [1, inf)
  int dry_allowed_length = 2;       ///< [0, 2^20]
  int dry_last_n = 4096;            ///< [0, 2^20]
  static constexpr std::size_t most_breaker_tokens = 1024;
  std::vector<std::vector<token_id>> dry_breakers = {};     ///< at most 1,024 tokens in all; usually those of "\n", ":", "\"" and "*"

  int no_repeat_ngram = 0;          ///< [0, 2^20]; 0 is off
  int no_repeat_last_n = 4096;      ///< [0, 2^20]

  int mirostat = 0;                 ///< 0 is off; version 1 or 2 replaces every step of `order` that drops candidates
  float mirostat_tau = 5.0f;        ///< [0, inf): bits
  float mirostat_eta = 0.1f;        ///< [0, inf)

  std::uint64_t seed = 0;           ///< the same seed gives the same text; a program that wants another text each time changes it
  std::string order = "penalties;dry;top_n_sigma;top_k;typical;top_p;min_p;xtc;temperature";  ///< llama.cpp's default; a step that is absent is off

  /// Returns a config that always takes the likeliest token.
  [[nodiscard]] static sampler_config greedy() {
    sampler_config config;
    config.temperature = 0.0f;
    return config;
  }
  /// Returns the default: temperature 0.8, top-k 40, top-p 0.9.
  [[nodiscard]] static sampler_config balanced() { return {}; }
  /// Returns temperature 1.2, top-k 100, top-p 0.95.
  [[nodiscard]] static sampler_config creative() {
    sampler_config config;
    config.temperature = 1.2f;
    config.top_k = 100;
    config.top_p = 0.95f;
    return config;
  }

  /// Checks every field, except that it does not know the vocabulary of the ids.
  [[nodiscard]] result<void> validate() const;
};

namespace detail {

/// Returns the error of a field outside its range; NaN is outside every range.
[[nodiscard]] inline error out_of_range(std::string_view field, std::string_view value, std::string_view range) {
  return {errc::bad_argument, field, std::string(value) + " is not in " + std::string(range)};
}

struct real_field {
  std::string_view field;
  float sampler_config::* member;
  float lowest;
  float highest;
  std::string_view range;
};

struct count_field {
  std::string_view field;
  int sampler_config::* member;
  int highest;
  std::string_view range;
};

inline constexpr float largest_real = std::numeric_limits<float>::max();
inline constexpr int longest_window = 1 << 20;

inline constexpr real_field real_fields[] = {
    {"temperature", &sampler_config::temperature, 0.0f, largest_real, "[0, inf)"},
    {"dynatemp_range", &sampler_config::dynatemp_range, 0.0f, largest_real, "[0, inf)"},
    {"dynatemp_exponent", &sampler_config::dynatemp_exponent, 0.0f, largest_real, "[0, inf)"},
    {"top_p", &sampler_config::top_p, 0.0f, 1.0f, "[0, 1]"},
    {"min_p", &sampler_config::min_p, 0.0f, 1.0f, "[0, 1]"},
    {"typical_p", &sampler_config::typical_p, 0.0f, 1.0f, "[0, 1]"},
    {"top_n_sigma", &sampler_config::top_n_sigma, 0.0f, largest_real, "[0, inf)"},
    {"xtc_probability", &sampler_config::xtc_probability, 0.0f, 1.0f, "[0, 1]"},
    {"xtc_threshold", &sampler_config::xtc_threshold, 0.0f, 1.0f, "[0, 1]"},
    {"repeat_penalty", &sampler_config::repeat_penalty, std::numeric_limits<float>::min(), largest_real, "(0, inf)"},
    {"presence_penalty", &sampler_config::presence_penalty, -largest_real, largest_real, "(-inf, inf)"},
    {"frequency_penalty", &sampler_config::frequency_penalty, -largest_real, largest_real, "(-inf, inf)"},
    {"dry_multiplier", &sampler_config::dry_multiplier, 0.0f, largest_real, "[0, inf)"},
    {"dry_base", &sampler_config::dry_base, 1.0f, largest_real, "[1, inf)"},
    {"mirostat_tau", &sampler_config::mirostat_tau, 0.0f, largest_real, "[0, inf)"},
    {"mirostat_eta", &sampler_config::mirostat_eta, 0.0f, largest_real, "[0, inf)"},
};

inline constexpr count_field count_fields[] = {
    {"top_k", &sampler_config::top_k, std::numeric_limits<int>::max(), "[0, inf)"},
    {"min_keep", &sampler_config::min_keep, std::numeric_limits<int>::max(), "[0, inf)"},
    {"repeat_last_n", &sampler_config::repeat_last_n, longest_window, "[0, 1048576]"},
    {"dry_allowed_length", &sampler_config::dry_allowed_length, longest_window, "[0, 1048576]"},
    {"dry_last_n", &sampler_config::dry_last_n, longest_window, "[0, 1048576]"},
    {"no_repeat_ngram", &sampler_config::no_repeat_ngram, longest_window, "[0, 1048576]"},
    {"no_repeat_last_n", &sampler_config::no_repeat_last_n, longest_window, "[0, 1048576]"},
    {"mirostat", &sampler_config::mirostat, 2, "[0, 2]"},
};

}  // namespace detail

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::vector<sampling_step>> parse_sampling_order(std::string_view text) {
  std::vector<sampling_step> steps;
  constexpr std::size_t n_steps = static_cast<std::size_t>(sampling_step::temperature) + 1;
  std::array<bool, n_steps> is_named{};
  while (!text.empty()) {
    const std::size_t end = text.find(';');
    std::string_view word = text.substr(0, end);
    if (end != std::string_view::npos && end + 1 == text.size()) word = {};  // nothing after the last ';'
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::string_view full = word == "temp" ? name(sampling_step::temperature) : word;
    std::size_t i = 0;
    while (i < n_steps && name(static_cast<sampling_step>(i)) != full) ++i;
    if (i == n_steps) return error{errc::bad_argument, "order", "no such step: " + printable(word)};
    if (std::exchange(is_named[i], true)) return error{errc::bad_argument, "order", "twice: " + printable(word)};
    steps.push_back(static_cast<sampling_step>(i));
  }
  return steps;
}

CRIA_INLINE result<void> sampler_config::validate() const {
  for (const detail::real_field& f : detail::real_fields) {
    const float value = this->*f.member;
    if (!(value >= f.lowest && value <= f.highest)) return detail::out_of_range(f.field, std::to_string(value), f.range);
  }
  for (const detail::count_field& f : detail::count_fields) {
    const int value = this->*f.member;
    if (value < 0 || value > f.highest) return detail::out_of_range(f.field, std::to_string(value), f.range);
  }
  for (const auto& [id, bias] : logit_bias) {
    if (!(bias <= detail::largest_real)) return detail::out_of_range("logit_bias", std::to_string(bias), "[-inf, inf)");
    if (id < 0) return detail::out_of_range("logit_bias", std::string("token ") + std::to_string(id), "the vocabulary");
  }
  CRIA_TRY([[maybe_unused]] const auto steps, parse_sampling_order(order));
  return {};
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
