// SPDX-License-Identifier: MIT
#include "sampling_flags.hpp"

#include <charconv>
#include <random>
#include <system_error>

namespace cria_program {

void sampling_flags::add_to(CLI::App& c) {
  c.add_option("--temp", config.temperature, "temperature; 0 is greedy")->capture_default_str();
  c.add_option("--top-k", config.top_k, "keep the K likeliest; 0 is off")->capture_default_str();
  c.add_option("--top-p", config.top_p, "keep the likeliest that add up to P; 1 is off")->capture_default_str();
  c.add_option("--min-p", config.min_p, "keep those of at least P times the likeliest; 0 is off")->capture_default_str();
  c.add_option("--repeat-penalty", config.repeat_penalty, "against the last 64 tokens; 1 is off")->capture_default_str();
  c.add_option("--seed", seed, "of the random numbers; another one each time by default")->check([](const std::string& given) {
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(given.data(), given.data() + given.size(), value);
    return failure == std::errc{} && end == given.data() + given.size() ? std::string{} : given + " is not in 0 to 18446744073709551615";
  });
}

cria::sampler_config sampling_flags::checked() const {
  cria::sampler_config made = config;
  made.seed = seed ? *seed : (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  if (const auto valid = made.validate(); !valid) usage_error(valid.error().where, valid.error().message);
  return made;
}

}  // namespace cria_program
