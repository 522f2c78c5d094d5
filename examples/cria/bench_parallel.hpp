// SPDX-License-Identifier: MIT
// bench_parallel.hpp - `cria bench --parallel`: many sequences at once, with the phases and field names of llama-batched-bench.
//
//   pp   every sequence's own random prompt, until each has its first token        tg   passes of one token for each sequence
#pragma once

#include "bench_report.hpp"

namespace cria_program {

struct parallel_plan {
  std::vector<std::size_t> prompts, generations, sequences;
  std::size_t n_threads = 0, batch = 0;
  report_format format = report_format::md;
};

/// Measures every combination of the plan on a loaded model, printing each as it is done.
[[nodiscard]] result<void> measure_parallel(const cria::model& model, const parallel_plan& plan, const cria::stop_token& stop);

}  // namespace cria_program
