// SPDX-License-Identifier: MIT
// tests/tokenizer/make_tokenizer.hpp - tokenizers from metadata in memory, small ones and broken ones.
#pragma once

#include <cria/gguf/file.hpp>
#include <cria/tokenizer/byte_bpe.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>
#include <tests/support/test_data.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria_test {

using ids = std::vector<cria::token_id>;

/// Tokens of a vocabulary to be.
struct token {
  std::string text;
  float score = 0;
  cria::token_kind kind = cria::token_kind::normal;
};

inline std::vector<std::string> texts_of(const std::vector<token>& tokens) {
  std::vector<std::string> texts;
  texts.reserve(tokens.size());
  for (const token& t : tokens) texts.push_back(t.text);
  return texts;
}
inline std::vector<float> scores_of(const std::vector<token>& tokens) {
  std::vector<float> scores;
  scores.reserve(tokens.size());
  for (const token& t : tokens) scores.push_back(t.score);
  return scores;
}
inline std::vector<std::int32_t> kinds_of(const std::vector<token>& tokens) {
  std::vector<std::int32_t> kinds;
  kinds.reserve(tokens.size());
  for (const token& t : tokens) kinds.push_back(static_cast<std::int32_t>(t.kind));
  return kinds;
}

/// <0x00> to <0xFF>.
inline std::vector<token> byte_tokens() {
  std::vector<token> tokens;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char hex[] = "0123456789ABCDEF";
    tokens.push_back({std::string("<0x") + hex[byte / 16] + hex[byte % 16] + ">", 0, cria::token_kind::byte});
  }
  return tokens;
}

/// The metadata of a "llama" tokenizer with these tokens.
inline gguf_builder spm_metadata(const std::vector<token>& tokens) {
  gguf_builder b;
  b.key("tokenizer.ggml.model", std::string("llama")).array("tokenizer.ggml.tokens", texts_of(tokens));
  b.array("tokenizer.ggml.scores", scores_of(tokens)).array("tokenizer.ggml.token_type", kinds_of(tokens));
  return b;
}

/// The metadata of a "gpt2" tokenizer with these tokens and merges.
inline gguf_builder bpe_metadata(const std::vector<token>& tokens, const std::vector<std::string>& merges, std::string_view pre = "gpt-2") {
  gguf_builder b;
  b.key("tokenizer.ggml.model", std::string("gpt2")).key("tokenizer.ggml.pre", std::string(pre));
  b.array("tokenizer.ggml.tokens", texts_of(tokens)).array("tokenizer.ggml.token_type", kinds_of(tokens)).array("tokenizer.ggml.merges", merges);
  return b;
}

/// The letters of the byte alphabet, in the order of the bytes.
inline std::vector<token> alphabet_tokens() {
  std::vector<token> tokens;
  for (const char32_t letter : cria::detail::byte_alphabet) {
    token t;
    cria::detail::append_utf8(t.text, letter);
    tokens.push_back(t);
  }
  return tokens;
}

/// Builds the tokenizer; the file's bytes are gone when it returns.
inline cria::result<cria::tokenizer> make(const gguf_builder& b) {
  const std::string bytes = b.build();
  const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(bytes))));
  REQUIRE(file.has_value());
  return cria::tokenizer::from_metadata(file->metadata());
}

/// Returns the tokenizer of a file of the reference data.
inline cria::tokenizer open_tokenizer(const std::filesystem::path& relative) {
  auto file = cria::gguf::file::open(data_root() / relative);  // an absolute path stays itself
  REQUIRE(file.has_value());
  auto t = cria::tokenizer::from_metadata(file->metadata());
  REQUIRE(t.has_value());
  return *std::move(t);
}

/// Returns where SmolLM2-135M-Instruct.Q4_1.gguf is: $CRIA_SMOLLM2, else where examples/fetch_model.sh puts it; empty, with a word on stderr, if it
/// is not there.
inline std::filesystem::path smollm2_path() {
  std::filesystem::path path;
  if (const char* named = std::getenv("CRIA_SMOLLM2")) {
    path = named;
  } else if (const char* cache = std::getenv("XDG_CACHE_HOME")) {
    path = std::filesystem::path(cache) / "cria/SmolLM2-135M-Instruct.Q4_1.gguf";
  } else if (const char* home = std::getenv("HOME")) {
    path = std::filesystem::path(home) / ".cache/cria/SmolLM2-135M-Instruct.Q4_1.gguf";
  }
  if (std::filesystem::exists(path)) return path;
  std::cerr << "SKIPPED: SmolLM2 (" << path.string() << ") is absent (run examples/fetch_model.sh or set CRIA_SMOLLM2)\n";
  return {};
}

/// Returns the ids, or {-99} for an error.
inline ids encode(const cria::tokenizer& t, std::string_view text, cria::encode_options options = {}) {
  auto tokens = t.encode(text, options);
  return tokens ? *std::move(tokens) : ids{-99};
}

inline constexpr cria::encode_options plain = {.add_bos = false, .parse_special = false};

}  // namespace cria_test
