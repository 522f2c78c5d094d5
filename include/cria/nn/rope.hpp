// SPDX-License-Identifier: MIT
// nn/rope.hpp - rotary positions: the angle per position of each channel pair, for every scaling that llama files declare.
//
//   angle(i, pos) = pos base^(-2 i / rope_dim)                     plain
//                 ... / factor                                    linear
//                 ... blended per pair by wavelength              yarn, with cos and sin times 1 + 0.1 ln factor, divided by
//                                                              1 + 0.1 m ln factor where the file has a log multiplier m
//                 ... / rope_freqs[i]                             llama 3: a tensor of the file
//                 ... / rope_factors_{short,long}[i]              phi 3: long where the context may be longer than the original one
//
// Units     frequencies in radians per position
// Ensures   the same doubles on every platform (core/scalar_math.hpp)
// Source    RoPE arXiv 2104.09864; position interpolation 2306.15595; YaRN 2309.00071; LongRoPE 2402.13753
#pragma once

#include <cria/core/scalar_math.hpp>
#include <cria/kernels/kernel_table.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cria::inline v0_1_0::nn {

enum class rope_scaling : std::uint8_t { none, linear, yarn };

struct rope_parameters {
  std::size_t rope_dim = 0;
  double base = 10000;
  rope_scaling scaling = rope_scaling::none;
  double factor = 1;             ///< positions are divided by it
  double original_context = 0;   ///< context of the training, before it was extended
  double beta_fast = 32, beta_slow = 1, extrapolation = 1, attention_factor = 1, log_multiplier = 0;
  kernels::rope_pairing pairing = kernels::rope_pairing::adjacent;
};

/// The angles of one model.
struct rope {
  std::vector<double> frequencies;       ///< [rope_dim / 2]
  std::vector<double> long_frequencies;  ///< the same for sequences that may be longer than original_context; empty if they do not differ
  double original_context = 0;
  double magnitude = 1;
  std::size_t rope_dim = 0;
  kernels::rope_pairing pairing = kernels::rope_pairing::adjacent;

  /// Returns whether a sequence that may have `context` positions uses the long frequencies.
  [[nodiscard]] bool is_long(std::size_t context) const noexcept { return !long_frequencies.empty() && static_cast<double>(context) > original_context; }
};

namespace detail {
/// The channel pair whose wavelength fits `rotations` times into the original context.
inline double yarn_pair(const rope_parameters& p, double rotations) noexcept {
  constexpr double two_pi = 6.283185307179586;
  return static_cast<double>(p.rope_dim) * math::log(p.original_context / (rotations * two_pi)) / (2 * math::log(p.base));
}
}  // namespace detail

/// Returns the angles for the parameters; `divisors` are the file's rope_freqs or rope_factors, or empty.
[[nodiscard]] inline rope make_rope(const rope_parameters& p, std::span<const float> divisors) {
  rope r{std::vector<double>(p.rope_dim / 2), {}, p.original_context, p.attention_factor, p.rope_dim, p.pairing};
  const bool is_yarn = p.scaling == rope_scaling::yarn;
  double low = 0, high = 0;
  if (is_yarn) {
    low = std::fmax(0.0, std::floor(detail::yarn_pair(p, p.beta_fast)));
    high = std::fmin(static_cast<double>(p.rope_dim) - 1, std::ceil(detail::yarn_pair(p, p.beta_slow)));
    const double grown = math::log(std::fmax(1.0, p.factor));
    r.magnitude = p.attention_factor * math::fused(0.1, grown, 1.0) / math::fused(0.1 * p.log_multiplier, grown, 1.0);
  }
  for (std::size_t i = 0; i < r.frequencies.size(); ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(p.rope_dim);
    const double plain = math::pow(p.base, exponent) / (divisors.empty() ? 1.0 : static_cast<double>(divisors[i]));
    const double scaled = p.scaling == rope_scaling::none ? plain : plain / p.factor;
    const double along = (static_cast<double>(i) - low) / std::fmax(0.001, high - low);
    const double keep = is_yarn ? (1.0 - std::fmin(1.0, std::fmax(0.0, along))) * p.extrapolation : 0.0;
    r.frequencies[i] = math::fused(plain - scaled, keep, scaled);
  }
  return r;
}

}  // namespace cria::inline v0_1_0::nn
