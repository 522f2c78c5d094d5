// SPDX-License-Identifier: MIT
// tests/fuzz/grammar.fuzz.cpp - compiles the input as a grammar, or as a JSON schema, and follows the rest of it; the two ways to step must agree.
//
//   kind         1 byte: bit 0 a schema instead of a grammar, bits 1-3 how many tokens are sampled
//   length       2 bytes, low first: of the grammar or schema
//   text         the rest: a text to follow, and the texts of a small vocabulary, 3 bytes each
#include <cria/chat/json_schema.hpp>
#include <cria/sampling/grammar/token_filter.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cria;

/// What must be true of every grammar, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

constexpr grammar_limits compile_limits{.max_bytes = 1 << 16, .max_rules = 2000, .max_repeat = 200, .max_positions = 1 << 14, .max_edges = 1 << 15};
constexpr grammar_matcher_limits match_limits{.max_depth = 60, .max_memory_bytes = 1 << 20, .max_work = 1 << 16};

void check_matcher(const grammar& g, std::string_view text) {
  auto whole = grammar_matcher::create(g, match_limits), stepped = grammar_matcher::create(g, match_limits);
  if (!whole || !stepped) return expect((whole ? stepped : whole).error().code == errc::limit_exceeded);
  expect(whole->accepts() || whole->goes_on());
  const auto fits = whole->advance(text);
  if (!fits) return expect(fits.error().code == errc::limit_exceeded);
  bool all = true;
  for (std::size_t i = 0; i < text.size() && all; ++i) {
    const auto one = stepped->advance(text.substr(i, 1));
    if (!one) return expect(one.error().code == errc::limit_exceeded);
    all = *one;
    expect(stepped->accepts() || stepped->goes_on());
  }
  expect(all == *fits);
  if (!all) return;
  expect(whole->accepts() == stepped->accepts());
  expect(whole->save() == stepped->save());
  bool follows = false;
  whole->automaton().begin_work();
  for (unsigned byte = 0; byte < 256; ++byte) follows |= whole->automaton().step(whole->state(), static_cast<unsigned char>(byte)) != 0;
  expect(follows || !whole->goes_on());
}

void check_filter(const grammar& g, std::string_view text, unsigned n_tokens) {
  std::vector<std::string_view> pieces{""};
  for (std::size_t i = 0; i < text.size() && pieces.size() < 100; i += 3) pieces.push_back(text.substr(i, 3));
  for (std::size_t i = 0; i < text.size() && pieces.size() < 150; ++i) pieces.push_back(text.substr(i, 1));
  const std::vector<token_id> ends{0};
  const auto vocabulary = token_trie::create(pieces, ends);
  expect(vocabulary.has_value());
  auto filter = token_filter::create(g, *vocabulary, match_limits);
  if (!filter) return;
  for (unsigned n = 0; n < n_tokens; ++n) {
    if (!filter->prepare()) return;
    std::vector<token_id> allowed;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (filter->allows(static_cast<token_id>(i))) allowed.push_back(static_cast<token_id>(i));
    }
    expect(!allowed.empty());
    const token_id token = allowed[n * 7 % allowed.size()];
    const auto accepted = filter->accept(token);
    expect(accepted || accepted.error().code == errc::limit_exceeded);
    if (!accepted || token == 0) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t length = data[1] + (std::size_t{data[2]} << 8);
  const std::string_view source = bytes.substr(3, length), text = bytes.substr(3 + source.size());
  const auto g = (data[0] & 1) != 0 ? json_schema_grammar(source, compile_limits) : grammar::parse(source, compile_limits);
  if (!g) {
    expect(!g.error().to_string().empty() && !g.error().where.empty());
    return 0;
  }
  check_matcher(*g, text);
  check_filter(*g, text, data[0] >> 1 & 7u);
  return 0;
}
