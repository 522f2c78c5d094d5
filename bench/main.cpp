// SPDX-License-Identifier: MIT
// cria_bench: the speed of cria's kernels on one core. --benchmark_filter=REGEX picks, --benchmark_list_tests lists.
#include "bench.hpp"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("cpu", cria::isa::cpu_name());
  cria_bench::register_gemm();
  cria_bench::register_attention();
  cria_bench::register_activations();
  cria_bench::register_elementwise();
  cria_bench::register_pack();
  cria_bench::register_quant();
  cria_bench::register_sampler();
  cria_bench::register_tokenizer();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
