// SPDX-License-Identifier: MIT
// --temp, --top-k, --seed and so on: how tokens are drawn.
#pragma once

#include "subcommand.hpp"

#include <cria/sampling/sampler_config.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cria_program {

/// Says what is wrong with the text of a seed; nothing where it is one.
[[nodiscard]] std::string seed_check(const std::string& given);

/// Draws a seed that nobody foresees.
[[nodiscard]] std::uint64_t random_seed();

struct sampling_flags {
  cria::sampler_config config;
  std::optional<std::uint64_t> seed;

  void add_to(CLI::App& command);
  /// Returns the config with its seed, one drawn now where none was given; ends the program where it is not valid.
  [[nodiscard]] cria::sampler_config checked() const;
  /// Returns the fields that the command line names, as sampler_field_names() calls them. Requires add_to() and a parsed line.
  [[nodiscard]] std::vector<std::string> given() const;

 private:
  std::vector<std::pair<std::string, const CLI::Option*>> options_;
};

}  // namespace cria_program
