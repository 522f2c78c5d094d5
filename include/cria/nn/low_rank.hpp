// SPDX-License-Identifier: MIT
// nn/low_rank.hpp - low-rank additions to weights: what a LoRA adapter adds to the products of one sequence.
//
//   y += s B (A x)        s is the host's scale; the adapter's own scale is part of B
//
// Shapes    base W[N,K]; A[R,K], B[N,R] in float32; R <= max_rank: a wider pair is split into several
// Ensures   a row's bits depend only on its own sequence's adapters and their order; rows without adapters are not changed
// Errors    none: shapes are checked when an adapter is loaded
// Threads   immutable once loaded; products run on the executor of `compute`
// Source    LoRA arXiv 2106.09685
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/nn/linear.hpp>
#include <cria/nn/weight.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace cria::inline v0_1_0::nn {

/// An addition to one weight, `base`.
struct low_rank_pair {
  static constexpr std::size_t max_rank = 128;
  const weight* base;
  weight a, b;
  aligned_buffer memory;   ///< of both
};

/// What an adapter adds to the weights of one model.
struct low_rank_set {
  std::vector<low_rank_pair> pairs;   ///< sorted by base
  const void* model = nullptr;        ///< whose weights they are

  void sort() {
    std::stable_sort(pairs.begin(), pairs.end(), [](const low_rank_pair& x, const low_rank_pair& y) { return std::less<>{}(x.base, y.base); });
  }
  /// Returns the additions to a weight.
  [[nodiscard]] std::span<const low_rank_pair> of(const weight& base) const noexcept {
    const auto first = std::partition_point(pairs.begin(), pairs.end(), [&](const low_rank_pair& p) { return std::less<>{}(p.base, &base); });
    const auto last = std::find_if(first, pairs.end(), [&](const low_rank_pair& p) { return p.base != &base; });
    return std::span(pairs).subspan(static_cast<std::size_t>(first - pairs.begin()), static_cast<std::size_t>(last - first));
  }
};

/// An adapter in use by a sequence.
struct low_rank_use {
  const low_rank_set* set;
  float scale;
};

/// Rows of a pass that have adapters.
struct adapted_rows {
  std::size_t first, n;
  std::span<const low_rank_use> uses;
};

/// Adds to the product of rows x what the rows' adapters add. `inner` holds max_rank floats for each row.
inline void add_low_rank(const compute& c, rows_view x, const product& p, std::span<const adapted_rows> adapted, std::span<float> inner) {
  for (const adapted_rows& rows : adapted) {
    for (const low_rank_use& use : rows.uses) {
      for (const low_rank_pair& pair : use.set->of(*p.w)) {
        const std::size_t rank = pair.a.rows, stride = round_up(rank, kernels::panel_rows);
        const product first{&pair.a, inner.data(), stride};
        multiply(c, {{x.row(rows.first), x.stride, rows.n, x.k}, nullptr}, {&first, 1});
        for (float& v : inner.first(rows.n * stride)) v *= use.scale;
        const product second{&pair.b, p.y + rows.first * p.ldy, p.ldy, true};
        multiply(c, {{inner.data(), stride, rows.n, rank}, nullptr}, {&second, 1});
      }
    }
  }
}

}  // namespace cria::inline v0_1_0::nn
