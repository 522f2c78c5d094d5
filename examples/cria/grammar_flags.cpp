// SPDX-License-Identifier: MIT
#include "grammar_flags.hpp"

#include <cria/chat/json_schema.hpp>

namespace cria_program {

void grammar_flags::add_to(CLI::App& c, const std::string& what) {
  auto* const first = c.add_option("--grammar", grammar, "file of a grammar in GBNF notation that " + what + " must match");
  c.add_option("--json-schema", json_schema, "file of a JSON schema that " + what + " must satisfy")->excludes(first);
}

result<std::optional<cria::grammar>> grammar_flags::read() const {
  const bool is_schema = grammar.empty();
  const std::string& path = is_schema ? json_schema : grammar;
  if (path.empty()) return std::optional<cria::grammar>{};
  CRIA_TRY(const std::string text, read_all(path));
  auto made = is_schema ? cria::json_schema_grammar(text) : cria::grammar::parse(text);
  if (made) return std::optional<cria::grammar>(*std::move(made));
  error e = std::move(made).error();
  e.where = path + ": " + e.where;
  return e;
}

}  // namespace cria_program
