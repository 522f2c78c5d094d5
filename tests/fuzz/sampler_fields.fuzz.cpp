// SPDX-License-Identifier: MIT
// tests/fuzz/sampler_fields.fuzz.cpp - any settings of the sampler as text: what is refused changes nothing, what is taken reads back, and a sampler made of
// it picks tokens of the vocabulary from any logits, and goes on from its saved state.
//
//   settings     lines "name=value", up to an empty line
//   logits       the rest: floats, taken again and again
#include <cria/sampling/runtime_sampler.hpp>
#include <cria/sampling/sampler_fields.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cria;

/// What must be true, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

void take(sampler_config& config, std::string_view line) {
  const std::size_t equals = line.find('=');
  const std::string_view field = line.substr(0, equals), text = equals == line.npos ? std::string_view{} : line.substr(equals + 1);
  const auto before = sampler_field_text(config, field);
  const auto done = set_sampler_field(config, field, text);
  const auto after = sampler_field_text(config, field);
  expect(before.has_value() == after.has_value());
  if (!done) {
    const std::string message = done.error().to_string();
    expect(done.error().code == errc::bad_argument && before == after);
    for (const char c : message) expect(c >= 0x20 && c < 0x7f);
    return;
  }
  sampler_config again = config;
  expect(config.validate().has_value() && set_sampler_field(again, field, *after).has_value() && sampler_field_text(again, field) == after);
}

/// Samples with another sampler that goes on from this one's state.
result<token_id> sample_restored(const sampler_config& config, const runtime_sampler& from, std::span<const float> logits) {
  auto copy = runtime_sampler::create(config, logits.size());
  expect(copy && copy->restore(from.save()).has_value());
  return copy->sample(logits);
}

void sample(const sampler_config& config, std::string_view bytes) {
  constexpr std::size_t n_vocab = 37, n_tokens = 8, saved_at = 5;
  auto made = runtime_sampler::create(config, n_vocab);
  if (!made) return expect(made.error().code == errc::bad_argument);
  std::vector<float> logits(n_vocab);
  for (std::size_t n = 0; n < n_tokens; ++n) {
    for (std::size_t i = 0; i < n_vocab; ++i) {
      logits[i] = static_cast<float>((i * 7 + n * 5) % 11);
      if (bytes.size() >= 4) std::memcpy(&logits[i], bytes.data() + (n * n_vocab + i) % (bytes.size() / 4) * 4, 4);
    }
    auto same = n == saved_at ? sample_restored(config, *made, logits) : std::optional<result<token_id>>();
    const auto token = made->sample(logits);
    expect(!same || token.has_value() == same->has_value());
    if (!token) {
      expect(token.error().code == errc::non_finite || token.error().code == errc::bad_value || token.error().code == errc::bad_argument);
      continue;
    }
    expect((!same || *token == **same) && *token >= 0 && static_cast<std::size_t>(*token) < n_vocab);
    expect(logits[static_cast<std::size_t>(*token)] > -std::numeric_limits<float>::infinity());
    made->accept(*token);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  sampler_config config;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.empty()) break;
    take(config, line);
  }
  const bool is_small = config.repeat_last_n <= 4096 && config.dry_last_n <= 4096 && config.no_repeat_last_n <= 4096;   // the others take megabytes
  if (is_small) sample(config, rest);
  return 0;
}
