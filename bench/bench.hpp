// SPDX-License-Identifier: MIT
// bench/bench.hpp - what the benchmarks of kernels share: which kernels, how right is right, and what the machine could do.
//
// Names     <file stem>[.<format>][.<instruction set>]/<what>/<shape>, for example gemm.q4_0.avx512_vnni/fast/m12_n2048_k2048: the stem is
//           the header's and its test's
// Counters  bytes/s and MAC/s, each with its share of what one core of this machine does at most (machine.hpp); all in processor time
// Ensures   before it is timed, a kernel's result is compared with that of the portable kernels; where it differs, there is an error
//           instead of a time
#pragma once

#include "machine.hpp"
#include "synthetic_model.hpp"

#include <cria/kernels/pack.hpp>
#include <cria/kernels/registry.hpp>

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cria_bench {

using cria::kernels::kernel_table;

void register_activations();
void register_attention();
void register_elementwise();
void register_gemm();
void register_pack();
void register_quant();
void register_sampler();
void register_tokenizer();

/// The tables that run here.
[[nodiscard]] inline std::vector<const kernel_table*> runnable_tables() {
  const cria::isa::cpu_features cpu = cria::isa::detect();
  std::vector<const kernel_table*> out;
  for (const kernel_table* t : cria::kernels::compiled_tables()) {
    if (cpu.runs(t->set)) out.push_back(t);
  }
  return out;
}

/// The table that others are compared with: the worst one, which is plain C++ where it is compiled in.
[[nodiscard]] inline const kernel_table& reference_table() { return *cria::kernels::compiled_tables().front(); }

[[nodiscard]] inline std::string set_name(const kernel_table& t) { return std::string(cria::isa::name(t.set)); }

/// Returns "q4_0".
[[nodiscard]] inline std::string format_name(std::size_t format) {
  std::string out;
  cria::detail::any_format(cria::all_formats{}, [&]<class Block>(std::size_t index, std::type_identity<Block>) {
    if (index == format) out = cria::block_traits<Block>::name;
    return index == format;
  });
  return out;
}

[[nodiscard]] inline cria::tensor_type type_of(std::size_t format) {
  cria::tensor_type out{};
  cria::detail::any_format(cria::all_formats{}, [&]<class Block>(std::size_t index, std::type_identity<Block>) {
    if (index == format) out = cria::block_traits<Block>::type;
    return index == format;
  });
  return out;
}

/// Normal-ish numbers of that deviation.
[[nodiscard]] inline std::vector<float> random_floats(std::size_t n, float deviation = 1) {
  cria::random_generator random(11);
  std::vector<float> out(n);
  for (float& x : out) x = deviation * static_cast<float>((random.uniform() + random.uniform() + random.uniform() - 1.5) * 2);
  return out;
}

/// What one core does at most; measured when first asked.
[[nodiscard]] inline double read_ceiling() {
  static const double rate = [] {
    auto measured = measure_read_bandwidth();
    return measured ? *measured : 0;
  }();
  return rate;
}
[[nodiscard]] inline double dot_ceiling(cria::isa::id set) {
  static std::map<cria::isa::id, double> rates;
  const auto [at, is_new] = rates.try_emplace(set, 0);
  if (is_new) at->second = measure_dot_peak(set);
  return at->second;
}

/// Times the iterations of a benchmark, in processor time as the library does, and reports what they did.
class meter {
 public:
  explicit meter(benchmark::State& state) : state_(state), start_(processor_seconds()) {}

  /// Call it behind the loop.
  void stop() { per_second_ = static_cast<double>(state_.iterations()) / std::max(processor_seconds() - start_, 1e-9); }

  /// Reports bytes read by an iteration.
  void bytes(double n, bool from_memory = false) {
    state_.counters["bytes/s"] = benchmark::Counter(n * per_second_, benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
    if (from_memory && read_ceiling() > 0) state_.counters["%_of_reads"] = 100 * n * per_second_ / read_ceiling();
  }
  /// Reports multiply-adds of an iteration, which took `dot_steps` multiply-adds of bytes.
  void macs(double n, double dot_steps = 0, cria::isa::id set = cria::isa::id::scalar) {
    state_.counters["MAC/s"] = benchmark::Counter(n * per_second_, benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
    if (dot_steps > 0 && dot_ceiling(set) > 0) state_.counters["%_of_dots"] = 100 * dot_steps * per_second_ / dot_ceiling(set);
  }
  /// Reports the time for one of `n` parts of an iteration, in units of `unit` seconds.
  void time_of(const char* part, double n, double unit) { state_.counters[part] = 1 / (per_second_ * n * unit); }

 private:
  benchmark::State& state_;
  double start_;
  double per_second_ = 0;
};

/// Returns where two results differ by more than `bound` and how, or nothing.
[[nodiscard]] inline std::optional<std::string> difference(std::span<const float> got, std::span<const float> wanted, double bound) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
    if (error <= bound) continue;  // false for NaN
    return "element " + std::to_string(i) + " is " + std::to_string(got[i]) + ", the portable kernel says " + std::to_string(wanted[i]) +
           ", allowed " + std::to_string(bound);
  }
  return std::nullopt;
}

}  // namespace cria_bench
