// SPDX-License-Identifier: MIT
// nn/feed_forward.hpp - the inner activations of a feed-forward layer, from the products to the integers that the next product reads.
//
//   gated_inner   gate = act(W_gate norm(h)) * W_up norm(h)
//   gelu_inner    gate = gelu(W_up norm(h))
//
// Shapes    as nn/activations.hpp; T tokens of one or more sequences, one row each
// Ensures   each output element is computed by one thread in a fixed order: the same bits for any executor and any T
// Errors    none: checked before the pass begins (nn/sequence_slice.hpp)
// Threads   run on the executor of `compute`
#pragma once

#include <cria/nn/activations.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/residual_stream.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0::nn {

/// The activation function of a feed-forward layer's gate.
enum class gate_function : std::uint8_t {
  silu,
  gelu,
  clamped_silu,   ///< act(g) * u = g / (1 + e^-1.702 g) (u + 1), with g at most 7 and u from -7 to 7
};

namespace detail {

/// Makes gate and up what silu(gate) * up is clamped_silu of: silu(1.702 g) (u + 1) / 1.702. NaN stays NaN.
inline void clamp_gate(float* gate, float* up, std::size_t n) noexcept {
  constexpr float most = 7, steepness = 1.702f;
  for (std::size_t i = 0; i < n; ++i) {
    const float below = up[i] > most ? most : up[i];
    gate[i] = (gate[i] > most ? most : gate[i]) * steepness;
    up[i] = ((below < -most ? -most : below) + 1) / steepness;
  }
}

/// gate = act(gate) * up. May overwrite up.
inline void join_gate(const compute& c, gate_function act, float* gate, float* up, std::size_t n) noexcept {
  switch (act) {
    case gate_function::clamped_silu: clamp_gate(gate, up, n); [[fallthrough]];
    case gate_function::silu: return c.kernels.silu_mul(gate, up, n, gate);
    case gate_function::gelu: return c.kernels.gelu_mul(gate, up, n, gate);
  }
}

/// How many panels make one group of the next product's input: what a thread's share of an inner layer is counted in.
inline constexpr std::size_t unit_panels = kernels::group_size / kernels::panel_rows;

/// Returns how many units of gate, and then of up, one thread multiplies before it joins them: as many as their outputs fit the first-level cache.
/// Changing from one weight to the other starts a new stream from memory, which takes half a microsecond to come up to speed on a Zen 4. With one pair of each
/// in turn, as suits many tokens, one thread decoded 35.3 tokens/s of TinyLlama q4_0 instead of 39.7.
inline std::size_t gated_units(std::size_t n_tokens) noexcept { return n_tokens < 64 ? 64 / n_tokens : 1; }

/// Calls fn(some tokens of `in`, the first of them, unit, next unit) for units [begin, end) and all tokens. More tokens than a product takes at once are
/// divided, and each part meets several units whose weights fit the second-level cache: so activations come from memory for all of these, not for each of
/// them, and outputs are still in the cache when they are joined. 512 tokens of TinyLlama q4_0 on two threads, AVX-512: `fast` 0.99 to 1.06 of the speed, the
/// more the busier the machine, `exact` 1.03; one unit at a time 1.01 and 1.03, all of a thread's units 1.00. AVX2: `fast` 1.11, `exact` 1.01.
template <class F>
void for_each_part(const compute& c, const prepared_input& in, std::size_t unit_bytes, std::size_t begin, std::size_t end, F&& fn) {
  constexpr std::size_t cached_bytes = 256 * 1024;
  const std::size_t n_tokens = in.x.n_tokens, block = kernels::tokens_at_once(in.x.k, c.precision, c.kernels.tiles);
  const std::size_t n_units = gated_units(n_tokens), chunk = n_tokens > block ? cached_bytes / unit_bytes + 1 : end - begin;
  for (std::size_t first = begin; first < end; first += chunk) {
    const std::size_t last = std::min(end, first + chunk);
    for (std::size_t t = 0; t < n_tokens; t += block) {
      const prepared_input x = tokens_of(c, in, t, std::min(n_tokens, t + block));
      for (std::size_t unit = first; unit < last; unit += n_units) fn(x, t, unit, std::min(last, unit + n_units));
    }
  }
}

/// Returns the bytes of a unit's weights.
inline std::size_t unit_bytes(const weight& w) noexcept { return unit_panels * (w.panels.size() / w.n_panels()); }

}  // namespace detail

/// gate = act(gate_w norm(h)) * (up_w norm(h)), and its integers. A thread computes both products for its rows, and joins them in its cache.
inline void gated_inner(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const weight& gate_w, const weight& up_w, gate_function act) {
  const prepared_input in = prepare_norm(c, a, n_tokens, n, gate_w.is_quantised() || up_w.is_quantised());
  const prepared_input out = a.gate_input(n_tokens);
  const std::size_t n_panels = gate_w.n_panels(), n_units = (n_panels + detail::unit_panels - 1) / detail::unit_panels;
  const std::size_t unit_bytes = detail::unit_bytes(gate_w) + detail::unit_bytes(up_w);
  parallel_for(c.executor, n_units, 1 + detail::panel_grain(gate_w) / 4, [&](std::size_t, std::size_t begin, std::size_t end) {
    detail::for_each_part(c, in, unit_bytes, begin, end, [&](const prepared_input& x, std::size_t t, std::size_t unit, std::size_t next) {
      const std::size_t first = detail::unit_panels * unit, last = std::min(n_panels, detail::unit_panels * next);
      detail::multiply_panels(c, x, {&gate_w, a.gate.row(t), a.gate.stride()}, first, last);
      detail::multiply_panels(c, x, {&up_w, a.up.row(t), a.up.stride()}, first, last);
      const std::size_t part = kernels::panel_rows * first, size = kernels::panel_rows * (last - first);
      for (const std::size_t t_end = t + x.x.n_tokens; t < t_end; ++t) {
        detail::join_gate(c, act, a.gate.row(t) + part, a.up.row(t) + part, size);
        if (out.quantised != nullptr) quantize_groups(c, out.x, t, unit, next, a.gate_quantised.data());
      }
    });
  });
}

/// gate = gelu(up_w norm(h)), and its integers.
inline void gelu_inner(const compute& c, activations& a, std::size_t n_tokens, const norm& n, const weight& up_w) {
  const prepared_input in = prepare_norm(c, a, n_tokens, n, up_w.is_quantised());
  const prepared_input out = a.gate_input(n_tokens);
  const std::size_t n_panels = up_w.n_panels(), n_units = (n_panels + detail::unit_panels - 1) / detail::unit_panels;
  parallel_for(c.executor, n_units, 1 + detail::panel_grain(up_w) / 2, [&](std::size_t, std::size_t begin, std::size_t end) {
    detail::for_each_part(c, in, detail::unit_bytes(up_w), begin, end, [&](const prepared_input& x, std::size_t t, std::size_t unit, std::size_t next) {
      const std::size_t first = detail::unit_panels * unit, last = std::min(n_panels, detail::unit_panels * next);
      detail::multiply_panels(c, x, {&up_w, a.gate.row(t), a.gate.stride()}, first, last);
      const std::size_t part = kernels::panel_rows * first, size = kernels::panel_rows * (last - first);
      for (const std::size_t t_end = t + x.x.n_tokens; t < t_end; ++t) {
        c.kernels.gelu(a.gate.row(t) + part, size, a.gate.row(t) + part);
        if (out.quantised != nullptr) quantize_groups(c, out.x, t, unit, next, a.gate_quantised.data());
      }
    });
  });
}

}  // namespace cria::inline v0_1_0::nn
