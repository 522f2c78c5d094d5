// SPDX-License-Identifier: MIT
#include "grammar_flags.hpp"

#include <cria/chat/json_schema.hpp>

namespace cria_program {

void grammar_flags::add_to(CLI::App& c, const std::string& what) {
  auto* const first = c.add_option("--grammar", grammar, "file of a grammar in GBNF notation that " + what + " must match");
  c.add_option("--json-schema", json_schema, "JSON schema that " + what + " must satisfy: a file, or the schema itself from its { on")->excludes(first);
}

result<std::optional<cria::grammar>> grammar_flags::read() const {
  const bool is_schema = grammar.empty();
  const std::string& given = is_schema ? json_schema : grammar;
  if (given.empty()) return std::optional<cria::grammar>{};
  const bool is_schema_itself = is_schema && given.starts_with('{');
  CRIA_TRY(const std::string text, is_schema_itself ? result<std::string>(given) : read_all(given));
  auto made = is_schema ? cria::json_schema_grammar(text) : cria::grammar::parse(text);
  if (made) return std::optional<cria::grammar>(*std::move(made));
  error e = std::move(made).error();
  e.where = (is_schema_itself ? "--json-schema" : given) + ": " + e.where;
  return e;
}

}  // namespace cria_program
