// SPDX-License-Identifier: MIT
// <format>/dequantize/n4096, <format>/quantize/n4096: the plain definitions of the formats, which convert files and embedding rows.
#include "bench.hpp"

#include <algorithm>

namespace cria_bench {

namespace {

constexpr std::size_t n_values = 4096;

void run(benchmark::State& state, std::size_t format, bool is_quantising) {
  const cria::tensor_type type = type_of(format);
  std::vector<float> values = random_floats(n_values), back(n_values);
  std::vector<std::byte> blocks(cria::row_bytes(type, n_values));
  if (!cria::quantize_row(type, values, blocks.data())) {
    std::copy_n(random_blocks(type).begin(), blocks.size(), blocks.begin());
    static_cast<void>(cria::dequantize_row(type, blocks.data(), values));
  }
  static_cast<void>(cria::dequantize_row(type, blocks.data(), back));
  double error = 0, size = 0;
  for (std::size_t i = 0; i < n_values; ++i) {
    error += std::pow(static_cast<double>(values[i]) - static_cast<double>(back[i]), 2);
    size += std::pow(static_cast<double>(values[i]), 2);
  }
  if (!(error < 0.1 * size)) return state.SkipWithError("the way there and back loses a tenth of the signal");  // two bits lose about a twentieth
  meter m(state);
  for (auto _ : state) {
    static_cast<void>(is_quantising ? cria::quantize_row(type, values, blocks.data()) : cria::dequantize_row(type, blocks.data(), back));
    benchmark::DoNotOptimize(back.data());
    benchmark::ClobberMemory();
  }
  m.stop();
  m.bytes(static_cast<double>(blocks.size()));
  m.time_of("ns/32_values", n_values / 32, 1e-9);
}

}  // namespace

void register_quant() {
  for (std::size_t format = 0; format < cria::n_formats; ++format) {
    for (const bool is_quantising : {false, true}) {
      if (is_quantising && !cria::is_writable(type_of(format))) continue;
      const std::string name = format_name(format) + (is_quantising ? "/quantize/n" : "/dequantize/n") + std::to_string(n_values);
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, format, is_quantising); });
    }
  }
}

}  // namespace cria_bench
