// SPDX-License-Identifier: MIT
// nn/compute.hpp - what every operation of a forward pass runs with: the kernels, the threads, the precision.
//
// Lifetime  refers to a kernel table (constant) and to the caller's executor
// Threads   a value; operations take it by const reference and split their outputs over the executor
#pragma once

#include <cria/core/executor.hpp>
#include <cria/core/types.hpp>
#include <cria/kernels/kernel_table.hpp>

namespace cria::inline v0_1_0::nn {

struct compute {
  const kernels::kernel_table& kernels;
  executor_ref executor;
  cria::precision precision;
  bool has_bf16_dot = false;   ///< kernels::has_bf16_dot(kernels): asking the processor takes too long for each pass
};

}  // namespace cria::inline v0_1_0::nn
