// SPDX-License-Identifier: MIT
// activations.<instruction set>/<precision>/m<tokens>_k<width>: quantising what the products read.
#include "bench.hpp"

#include <cria/kernels/activation_size.hpp>

namespace cria_bench {

namespace {

void run(benchmark::State& state, const kernel_table& table, std::size_t n_tokens, std::size_t k, cria::precision precision) {
  const std::vector<float> x = random_floats(n_tokens * k);
  std::vector<std::int32_t> mine(cria::kernels::activation_capacity(n_tokens, k, precision)), reference = mine;
  const auto quantise = [&](const kernel_table& t, std::vector<std::int32_t>& out) {
    for (std::size_t token = 0; token < n_tokens; ++token) t.quantize({x.data(), k, n_tokens, k / 32, precision, out.data()}, token, 0, k / 32);
  };
  quantise(table, mine);
  // One token's layout is the same for all sets: then so are the bits. A tile's depends on its width and, at exact, on whether bytes have a direct product.
  if (n_tokens == 1 || (precision == cria::precision::fast && table.tiles.widest == reference_table().tiles.widest)) {
    quantise(reference_table(), reference);
    if (mine != reference) return state.SkipWithError("differs from the portable kernel");
  }
  meter m(state);
  for (auto _ : state) {
    quantise(table, mine);
    benchmark::DoNotOptimize(mine.data());
    benchmark::ClobberMemory();
  }
  m.stop();
  m.bytes(static_cast<double>(n_tokens * k * sizeof(float)));
}

}  // namespace

void register_activations() {
  for (const kernel_table* table : runnable_tables()) {
    for (const cria::precision precision : {cria::precision::exact, cria::precision::fast}) {
      for (const std::size_t n_tokens : {std::size_t{1}, std::size_t{48}}) {
        for (const std::size_t k : {std::size_t{2048}, std::size_t{5632}}) {
          const std::string name = "activations." + set_name(*table) + "/" + std::string(cria::name(precision)) + "/m" + std::to_string(n_tokens) +
                                   "_k" + std::to_string(k);
          benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, *table, n_tokens, k, precision); });
        }
      }
    }
  }
}

}  // namespace cria_bench
