// SPDX-License-Identifier: MIT
#include "sampling_flags.hpp"

#include <charconv>
#include <random>
#include <system_error>

namespace cria_program {

std::string seed_check(const std::string& given) {
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(given.data(), given.data() + given.size(), value);
  return failure == std::errc{} && end == given.data() + given.size() ? std::string{} : given + " is not in 0 to 18446744073709551615";
}

std::uint64_t random_seed() { return (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}(); }

void sampling_flags::add_to(CLI::App& c) {
  const auto add = [&](const char* flag, const char* field, auto& value, const char* help) {
    options_.emplace_back(field, c.add_option(flag, value, help)->capture_default_str());
  };
  add("--temp", "temperature", config.temperature, "temperature; 0 is greedy");
  add("--top-k", "top_k", config.top_k, "keep the K likeliest; 0 is off");
  add("--top-p", "top_p", config.top_p, "keep the likeliest that add up to P; 1 is off");
  add("--min-p", "min_p", config.min_p, "keep those of at least P times the likeliest; 0 is off");
  add("--repeat-penalty", "repeat_penalty", config.repeat_penalty, "against the last 64 tokens; 1 is off");
  auto* const seed_option = c.add_option("--seed", seed, "of the random numbers; another one each time by default")->check(seed_check);
  options_.emplace_back("seed", seed_option);
}

std::vector<std::string> sampling_flags::given() const {
  std::vector<std::string> fields;
  for (const auto& [field, option] : options_) {
    if (option->count() != 0) fields.push_back(field);
  }
  return fields;
}

cria::sampler_config sampling_flags::checked() const {
  cria::sampler_config made = config;
  made.seed = seed ? *seed : random_seed();
  if (const auto valid = made.validate(); !valid) usage_error(valid.error().where, valid.error().message);
  return made;
}

}  // namespace cria_program
