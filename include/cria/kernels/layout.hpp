// SPDX-License-Identifier: MIT
// kernels/layout.hpp - the two lengths that every layout of weights and activations is made of, for units without SIMD, too.
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>

namespace cria::inline v0_1_0::kernels {

/// Rows of a weight that lie side by side in a panel, one in each lane. Rows of outputs, biases and scratch are rounded up to it.
inline constexpr std::size_t panel_rows = 16;

/// Values of a row that share a scale, in weights of the simple formats and in quantised activations.
inline constexpr std::size_t group_size = 32;

}  // namespace cria::inline v0_1_0::kernels
