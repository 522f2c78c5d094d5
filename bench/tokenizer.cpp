// SPDX-License-Identifier: MIT
// tokenizer/encode, tokenizer/decode: English with the synthetic model's vocabulary of 32,000 pieces; tokenizer/load: making it.
#include "bench.hpp"

#include <cria/gguf/file.hpp>
#include <cria/tokenizer/tokenizer.hpp>

namespace cria_bench {

namespace {

std::optional<cria::gguf::file> open_synthetic() {
  auto source = make_synthetic_model(*find_shape("tinyllama"), *find_type("Q4_0"));
  if (!source) return std::nullopt;
  auto file = cria::gguf::file::open(*std::move(source));
  return file ? std::optional(*std::move(file)) : std::nullopt;
}

enum class what : std::uint8_t { load, encode, decode };

void run(benchmark::State& state, what w) {
  const auto file = open_synthetic();
  if (!file) return state.SkipWithError("no model");
  auto made = cria::tokenizer::from_metadata(file->metadata());
  if (!made) return state.SkipWithError(made.error().to_string().c_str());
  const auto tokens = made->encode(sample_text);
  if (!tokens || made->decode(*tokens) != sample_text) return state.SkipWithError("the way there and back changes the text");
  meter m(state);
  for (auto _ : state) {
    switch (w) {
      case what::load: benchmark::DoNotOptimize(cria::tokenizer::from_metadata(file->metadata())); break;
      case what::encode: benchmark::DoNotOptimize(made->encode(sample_text)); break;
      case what::decode: benchmark::DoNotOptimize(made->decode(*tokens)); break;
    }
  }
  m.stop();
  if (w == what::load) return;
  m.bytes(static_cast<double>(sample_text.size()));
  m.time_of("us/100_characters", static_cast<double>(sample_text.size()) / 100, 1e-6);
}

}  // namespace

void register_tokenizer() {
  for (const auto& [name, w] : {std::pair{"encode", what::encode}, {"decode", what::decode}, {"load", what::load}}) {
    benchmark::RegisterBenchmark((std::string("tokenizer/") + name).c_str(), [w = w](benchmark::State& state) { run(state, w); });
  }
}

}  // namespace cria_bench
