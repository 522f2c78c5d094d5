// SPDX-License-Identifier: MIT
// kernels/int8_dot.hpp - the dot step: each lane's sum += w0 x0 + w1 x1 + w2 x2 + w3 x3, four bytes of weights times four int8 activations.
//
// Shapes    a lane is a row of weights; its 4 bytes are 4 consecutive k; the activations are the 4 bytes of one token, the same in every lane
// Requires  activations in [-127, 127]; weights in [0, 255], or int8 where `signed_weights`; at most max_steps(w_max) steps between two calls of widen
// Ensures   exact integers: equal on every instruction set
// Errors    none (noexcept)
//
// Some sets accumulate in 32 bits directly (`is_direct`; the narrow sum is then the sum itself), others in 16 bits for a few steps; widen(sum, narrow) adds a
// narrow sum to the sum. The others also have pairs(sum, w, x), where each lane holds two int16: sum += w0 x0 + w1 x1. even(w) and odd(w) make such pairs of
// weight bytes 0 and 2, and 1 and 3; minus(a, b) subtracts pairs.
#pragma once

#include <cria/isa/vec.hpp>

#include <cstdint>

namespace cria::inline v0_1_0::kernels {

template <class Isa>
struct int8_dot;

/// The definition.
template <>
struct int8_dot<isa::scalar> {
  using op = isa::vec<isa::scalar>;
  static constexpr bool signed_weights = false;
  static constexpr bool is_direct = true;
  static constexpr int max_weight = 255;
  static constexpr int max_steps(int) noexcept { return 8; }

  static CRIA_NOINLINE op::i step(const op::i& sum, const op::i& w, const op::i& x) noexcept {
    return op::i::make([&](std::size_t n) CRIA_LAMBDA_INLINE {
      std::int32_t s = sum.v[n];
      for (int b = 0; b < 32; b += 8) {
        const auto weight = static_cast<std::uint8_t>(static_cast<std::uint32_t>(w.v[n]) >> b);
        const auto value = static_cast<std::int8_t>(static_cast<std::uint8_t>(static_cast<std::uint32_t>(x.v[n]) >> b));
        s += weight * value;
      }
      return s;
    });
  }
  static CRIA_ALWAYS_INLINE op::i widen(const op::i&, const op::i& narrow) noexcept { return narrow; }
};

}  // namespace cria::inline v0_1_0::kernels

#include <cria/kernels/int8_dot.avx2.hpp>
#include <cria/kernels/int8_dot.avx512bw.hpp>
#include <cria/kernels/int8_dot.avx512_vnni.hpp>
#include <cria/kernels/int8_dot.avx_vnni.hpp>
#include <cria/kernels/int8_dot.neon64.hpp>
#include <cria/kernels/int8_dot.neon_dotprod.hpp>
#include <cria/kernels/int8_dot.neon_i8mm.hpp>
#include <cria/kernels/int8_dot.sse4_2.hpp>
