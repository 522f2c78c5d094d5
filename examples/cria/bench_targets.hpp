// SPDX-License-Identifier: MIT
// bench_targets.hpp - `cria bench --targets`: seven times that cria promises to stay below (one: above) on any machine of today.
#pragma once

#include "command.hpp"

namespace cria_program {

struct bench_target {
  std::string_view name;  ///< what was measured
  std::string_view unit;
  double limit;
  double measured;
  bool is_minimum = false;  ///< whether `measured` must be above the limit

  [[nodiscard]] bool passes() const noexcept { return is_minimum ? measured > limit : measured < limit; }
};

/// Measures all on the model, with its kernels and precision. Takes some seconds.
[[nodiscard]] result<std::vector<bench_target>> measure_targets(const cria::model& model, std::size_t n_threads, const cria::stop_token& stop);

/// Returns them as a table.
[[nodiscard]] std::string table_of(std::span<const bench_target> targets);

}  // namespace cria_program
