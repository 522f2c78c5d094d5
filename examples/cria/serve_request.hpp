// SPDX-License-Identifier: MIT
// What clients of `cria serve` ask for, in the JSON of OpenAI's API (v1): chat/completions, completions, embeddings.
//
// What would change the answer and is not done here is an error, and so is every member that nobody here knows: it might be such a wish, or mistyped.
// Members that change no answer wherever they are understood are passed over.
//
// Errors    bad_value and bad_argument (`where` is the field), context_full, those of the chat template, the tokenizer and schemas: the client's fault, all
//           of them but out_of_memory
// Threads   request_translator is immutable: any number of connections at once
#pragma once

#include "request_fields.hpp"

#include <cria/cria.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria_program {

/// One of the answers that a client wants: what the batch engine generates, and for chats, what reads it.
struct choice_request {
  std::vector<cria::token_id> prompt;
  cria::generation_options generation;
  std::optional<cria::reply_reader> reader;   ///< none: the text is the answer
  bool calls_once = false;                    ///< what it calls after its first call does not count
};

/// A request, and how the client wants to be answered.
struct completion_request {
  std::vector<choice_request> choices;
  std::size_t n_per_prompt = 1;                ///< choices
  bool is_chat = false;
  bool streams = false, tells_usage = false;   ///< tells_usage: of a stream; whole answers always do
  std::optional<std::size_t> n_best;           ///< tell how likely each token was, and so many of the likeliest
};

struct embedding_request {
  std::vector<std::vector<cria::token_id>> inputs;
  bool is_base64 = false;   ///< floats in little-endian order; otherwise numbers
};

class request_translator {
 public:
  /// capacity: positions of a sequence. n_places: choices that an idle server takes. usual: what a request changes. No format: the model's file has no
  /// chat template. has_seed: usual has one for all requests; otherwise each that names none draws its own.
  request_translator(cria::model model, std::optional<cria::chat_format> format, std::size_t capacity, std::size_t n_places, cria::generation_options usual,
                     bool has_seed)
      : model_(std::move(model)), format_(std::move(format)), capacity_(capacity), n_places_(n_places), usual_(std::move(usual)), has_seed_(has_seed) {}

  [[nodiscard]] result<completion_request> chat(std::string_view body);
  [[nodiscard]] result<completion_request> completion(std::string_view body);
  [[nodiscard]] result<embedding_request> embedding(std::string_view body) const;

  static constexpr std::size_t most_choices = 16, most_inputs = 256, most_best = 20;

 private:
  /// Reads what both kinds of completions have.
  [[nodiscard]] result<void> read_common(const nlohmann::ordered_json& request, completion_request& out, cria::generation_options& options);
  /// Makes the reply a call of one of the tools, or of the one of this name. As cria::require_call, but requests with the same tools share a grammar.
  [[nodiscard]] result<void> require_call(const std::string& name, cria::chat_options& options);
  [[nodiscard]] result<void> read_format(const nlohmann::ordered_json& request, cria::generation_options& options);
  /// Reads a text, or a list of numbers of tokens.
  [[nodiscard]] result<std::vector<cria::token_id>> read_prompt(const nlohmann::ordered_json& prompt, const char* where) const;
  [[nodiscard]] result<void> read_stop_tokens(const nlohmann::ordered_json& request, cria::generation_options& options) const;

  cria::model model_;
  std::optional<cria::chat_format> format_;
  std::size_t capacity_, n_places_;
  cria::generation_options usual_;
  bool has_seed_;
  schema_grammars schemas_;
};

}  // namespace cria_program
