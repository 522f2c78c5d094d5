// SPDX-License-Identifier: MIT
// elementwise.<instruction set>/<operation>/n<values>: the small operations of a layer.
#include "bench.hpp"

namespace cria_bench {

namespace {

/// Times call(table, out) after comparing what it writes with the reference.
template <class F>
void run(benchmark::State& state, const kernel_table& table, std::size_t n, double bound, F&& call) {
  std::vector<float> mine(n), reference(n);
  call(table, mine.data());
  call(reference_table(), reference.data());
  if (const auto bad = difference(mine, reference, bound)) return state.SkipWithError(bad->c_str());
  meter m(state);
  for (auto _ : state) {
    call(table, mine.data());
    benchmark::DoNotOptimize(mine.data());
    benchmark::ClobberMemory();
  }
  m.stop();
  m.bytes(static_cast<double>(n * sizeof(float)));
}

void rms_norm(benchmark::State& state, const kernel_table& table, std::size_t n) {
  const std::vector<float> x = random_floats(n), weight = random_floats(n);
  // The sum of squares errs by some ulp, so does its root; values are below 16.
  run(state, table, n, 16 * 16 * 0x1p-23, [&](const kernel_table& t, float* out) { t.rms_norm(x.data(), weight.data(), 1e-5f, n, out); });
}

void silu_mul(benchmark::State& state, const kernel_table& table, std::size_t n) {
  const std::vector<float> gate = random_floats(n, 2), up = random_floats(n);
  // Within 4 ulp of the formula, on either set; values are below 32.
  run(state, table, n, 8 * 32 * 0x1p-23, [&](const kernel_table& t, float* out) { t.silu_mul(gate.data(), up.data(), n, out); });
}

/// All heads of a token. It turns in place: 16 turns by a small angle do not make numbers grow.
void rope(benchmark::State& state, const kernel_table& table, std::size_t n) {
  constexpr std::size_t head_dim = 64;
  std::vector<double> frequencies(head_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) frequencies[i] = std::pow(10000.0, -2.0 * static_cast<double>(i) / head_dim);
  std::vector<float> angles(2 * head_dim);
  table.rope_table({.pos = 77,
                    .frequencies = frequencies.data(),
                    .magnitude = 1,
                    .rope_dim = head_dim,
                    .pairing = cria::kernels::rope_pairing::adjacent,
                    .table = angles.data()});
  const std::vector<float> x = random_floats(n);
  run(state, table, n, 8 * 0x1p-23, [&](const kernel_table& t, float* out) {
    std::copy(x.begin(), x.end(), out);
    t.rope({.x = out,
            .n_heads = n / head_dim,
            .head_stride = head_dim,
            .rope_dim = head_dim,
            .table = angles.data(),
            .pairing = cria::kernels::rope_pairing::adjacent});
  });
}

}  // namespace

void register_elementwise() {
  const struct {
    const char* name;
    std::size_t n;
    void (*run)(benchmark::State&, const kernel_table&, std::size_t);
  } operations[] = {{"rms_norm", 2048, rms_norm}, {"silu_mul", 5632, silu_mul}, {"rope", 2048, rope}};
  for (const kernel_table* table : runnable_tables()) {
    for (const auto& o : operations) {
      const std::string name = "elementwise." + set_name(*table) + "/" + o.name + "/n" + std::to_string(o.n);
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { o.run(state, *table, o.n); });
    }
  }
}

}  // namespace cria_bench
