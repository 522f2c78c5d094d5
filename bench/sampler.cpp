// SPDX-License-Identifier: MIT
// runtime_sampler/<preset>/v<vocabulary>: choosing a token.
#include "bench.hpp"

#include <cria/sampling/runtime_sampler.hpp>

namespace cria_bench {

namespace {

void run(benchmark::State& state, const cria::sampler_config& config, std::size_t vocab_size) {
  const std::vector<float> logits = random_floats(vocab_size, 3);
  auto sampler = cria::runtime_sampler::create(config, vocab_size);
  if (!sampler) return state.SkipWithError(sampler.error().to_string().c_str());
  std::vector<float> sorted = logits;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (int n = 0; n < 100; ++n) {
    const auto token = sampler->sample(logits);
    const std::size_t kept = config.temperature == 0 ? 1 : static_cast<std::size_t>(config.top_k);
    if (!token || logits[static_cast<std::size_t>(*token)] < sorted[kept - 1]) return state.SkipWithError("chose a token that the filters drop");
  }
  meter m(state);
  for (auto _ : state) {
    const auto token = sampler->sample(logits);
    benchmark::DoNotOptimize(*token);
    sampler->accept(*token);
  }
  m.stop();
  m.bytes(static_cast<double>(vocab_size * sizeof(float)));
}

}  // namespace

void register_sampler() {
  cria::sampler_config penalties = cria::sampler_config::balanced();
  penalties.repeat_penalty = 1.1f;
  penalties.dry_multiplier = 0.8f;
  const std::pair<const char*, cria::sampler_config> presets[] = {{"greedy", cria::sampler_config::greedy()},
                                                                  {"balanced", cria::sampler_config::balanced()},
                                                                  {"creative", cria::sampler_config::creative()},
                                                                  {"penalties", penalties}};
  for (const std::size_t vocab_size : {std::size_t{32000}, std::size_t{128256}}) {
    for (const auto& [name, config] : presets) {
      if (config.repeat_penalty != 1 && vocab_size != 32000) continue;
      benchmark::RegisterBenchmark(("runtime_sampler/" + std::string(name) + "/v" + std::to_string(vocab_size)).c_str(),
                                   [config = config, vocab_size](benchmark::State& state) { run(state, config, vocab_size); });
    }
  }
}

}  // namespace cria_bench
