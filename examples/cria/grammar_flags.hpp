// SPDX-License-Identifier: MIT
// --grammar and --json-schema: what replies must look like.
#pragma once

#include "subcommand.hpp"

#include <cria/sampling/grammar/grammar.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace cria_program {

struct grammar_flags {
  std::string grammar, json_schema;   // files; - is standard input. A schema may be given itself: {...}

  /// what: "the reply", "every reply".
  void add_to(CLI::App& command, const std::string& what);
  /// Reads and compiles the file or schema; none where none is given. An error names the file or the flag.
  [[nodiscard]] result<std::optional<cria::grammar>> read() const;
};

}  // namespace cria_program
