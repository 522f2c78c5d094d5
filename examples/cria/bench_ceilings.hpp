// SPDX-License-Identifier: MIT
// bench_ceilings.hpp - what the machine can do at most, measured in short pieces between those of what is compared with it.
//
// A machine that others use too changes within seconds: two threads of one read 28 GB/s, then 48, and decoded 52 tokens/s, then 76. So a figure of the minute
// before says little. Here readings and work take turns, on the same threads.
//
//   read bandwidth   threads read the model's own weights, each its share of every matrix from front to back, as a token does, but compute nothing
//   dot peak         threads do dot steps on registers (bench/dot_peak.hpp)
//
// Units     bytes, multiply-adds of bytes, seconds; a rate is all of the work over all of the time
// Lifetime  the model and the executor must outlive it
#pragma once

#include "../../bench/machine.hpp"

#include <cria/core/executor.hpp>
#include <cria/model/model.hpp>

#include <cstddef>
#include <span>
#include <vector>

namespace cria_program {

class ceiling_meter {
 public:
  ceiling_meter(const cria::model& model, cria::executor_ref executor);

  /// Adds one reading, which goes on where the last one ended.
  void read();
  /// Adds one round of dot steps.
  void dot();
  void both() {
    read();
    dot();
  }
  /// Begins anew.
  void forget() noexcept { reads_ = dots_ = {}; }

  /// Bytes per second; 0 before the first reading.
  [[nodiscard]] double read_bandwidth() const noexcept { return reads_.rate(); }
  /// Multiply-adds per second; 0 before the first round, and where nothing is known about the instruction set.
  [[nodiscard]] double dot_peak() const noexcept { return dots_.rate(); }

 private:
  struct total {
    double work = 0, seconds = 0;
    [[nodiscard]] double rate() const noexcept { return seconds > 0 ? work / seconds : 0; }
  };

  cria::executor_ref executor_;
  cria_bench::dot_loop loop_;
  std::vector<std::span<const std::byte>> matrices_;
  std::size_t next_ = 0;   // of matrices_
  total reads_, dots_;
};

}  // namespace cria_program
