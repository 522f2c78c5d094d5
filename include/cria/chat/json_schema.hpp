// SPDX-License-Identifier: MIT
// chat/json_schema.hpp - from a JSON schema to a grammar: what is generated parses and validates.
//
//   auto g = cria::json_schema_grammar(R"({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})");
//   session.generate(prompt, {.grammar = *g}, callback);
// Understood  type (also a list), enum, const, properties, required, additionalProperties, items, prefixItems (or, as until 2019, a list under items, with
//             additionalItems), minItems, maxItems, minLength, maxLength, pattern (chat/schema/pattern.hpp), format (date, time, date-time, duration, email,
//             hostname, ipv4, ipv6, uri, uuid: chat/schema/formats.hpp), minimum, maximum, exclusiveMinimum, exclusiveMaximum, anyOf, oneOf (of schemas
//             that cannot overlap), allOf (of one), $ref to a place in the schema (also recursive), true. title, description, default, examples, $comment,
//             deprecated, readOnly, writeOnly, $schema, $id of the whole, propertyNames that are strings and OpenAPI's discriminator say nothing about
//             the value.
// Ensures     Everything else is an error, never ignored. What the grammar allows is valid, but not every valid value is allowed: properties come in the
//             order written; there are no members or elements that the schema does not name, unless additionalProperties or items say so; at most a line
//             break and 20 blanks between parts; numbers of at most 18 digits, 15 after the point and 2 in the exponent, or no exponent where fractions
//             have bounds (other than minimum 0); no key twice, except free-form ones.
// Errors      syntax (`where` is the JSON pointer of the keyword), bad_value (nothing satisfies it), limit_exceeded, out_of_memory; those of json::parse
// Source      JSON Schema 2020-12, core and validation
#pragma once

#include <cria/chat/json.hpp>
#include <cria/core/result.hpp>
#include <cria/sampling/grammar/grammar.hpp>

#if CRIA_HAS_DEFINITIONS
#include <cria/chat/schema/schema_compiler.hpp>
#endif

#include <string>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0 {

/// Returns the grammar in GBNF notation.
[[nodiscard]] result<std::string> json_schema_to_gbnf(const json& schema, const grammar_limits& limits = {});

/// Returns the compiled grammar of the texts that the schema describes.
[[nodiscard]] result<grammar> json_schema_to_grammar(const json& schema, const grammar_limits& limits = {});

/// As above, from the text of a schema.
[[nodiscard]] result<grammar> json_schema_grammar(std::string_view schema, const grammar_limits& limits = {});

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::string> json_schema_to_gbnf(const json& schema, const grammar_limits& limits) {
  return catch_bad_alloc([&] { return detail::schema_compiler(schema, limits.max_bytes).compile(); }, "schema");
}

CRIA_INLINE result<grammar> json_schema_to_grammar(const json& schema, const grammar_limits& limits) {
  return catch_bad_alloc([&]() -> result<grammar> {
    CRIA_TRY(const std::string gbnf, json_schema_to_gbnf(schema, limits));
    auto made = grammar::parse(gbnf, limits);
    if (made) return made;
    error e = std::move(made).error();
    e.where = "#";
    e.offset = error::no_offset;
    if (e.code == errc::bad_value) e.message = "schema: no finite value satisfies it";
    return e;
  }, "schema");
}

CRIA_INLINE result<grammar> json_schema_grammar(std::string_view schema, const grammar_limits& limits) {
  CRIA_TRY(const json parsed, json::parse(schema));
  return json_schema_to_grammar(parsed, limits);
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
