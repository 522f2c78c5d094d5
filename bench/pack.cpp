// SPDX-License-Identifier: MIT
// pack.<format>/n<rows>_k<columns>: rows of a file to panels, when a model is opened.
#include "bench.hpp"

namespace cria_bench {

namespace {

void run(benchmark::State& state, std::size_t format, std::size_t n, std::size_t k) {
  const cria::tensor_type type = type_of(format);
  const std::size_t row = cria::row_bytes(type, k);
  const std::vector<std::byte> pattern = random_blocks(type);
  std::vector<std::byte> rows(n * row), panels(n * row);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = pattern[i % pattern.size()];
  const auto pack = [&] { cria::kernels::pack(format, {.rows = rows.data(), .n_rows = n, .k = k, .n_panels = n / 16, .panels = panels.data()}); };
  pack();
  std::vector<float> got(k), wanted(k);
  for (const std::size_t r : {std::size_t{0}, std::size_t{17}, n - 1}) {
    cria::kernels::packed_row(type, panels.data(), k, r, got);
    static_cast<void>(cria::dequantize_row(type, rows.data() + r * row, wanted));
    if (const auto bad = difference(got, wanted, 0)) return state.SkipWithError(("row " + std::to_string(r) + ": " + *bad).c_str());
  }
  meter m(state);
  for (auto _ : state) {
    pack();
    benchmark::DoNotOptimize(panels.data());
    benchmark::ClobberMemory();
  }
  m.stop();
  m.bytes(static_cast<double>(rows.size()));
}

}  // namespace

void register_pack() {
  constexpr std::size_t n = 512, k = 2048;
  for (std::size_t format = 0; format < cria::n_formats; ++format) {
    const std::string name = "pack." + format_name(format) + "/n" + std::to_string(n) + "_k" + std::to_string(k);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, format, n, k); });
  }
}

}  // namespace cria_bench
