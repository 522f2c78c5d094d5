// SPDX-License-Identifier: MIT
// What `cria serve` answers, in the JSON of OpenAI's API (v1).
#pragma once

#include "serve_engine.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria_program {

/// JSON as text; bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string text_of(const nlohmann::ordered_json& value);

[[nodiscard]] nlohmann::ordered_json error_body(const error& e);
/// Returns the HTTP status of an error that ended a request before its answer began.
[[nodiscard]] int status_of(const error& e) noexcept;

[[nodiscard]] nlohmann::ordered_json model_body(const std::string& model, std::int64_t created);
[[nodiscard]] nlohmann::ordered_json models_body(const std::string& model, std::int64_t created);
[[nodiscard]] nlohmann::ordered_json embedding_body(const std::string& model, const std::vector<std::vector<float>>& vectors, std::size_t n_tokens,
                                                    bool is_base64);

/// The answer to one completion: whole, or in chunks for a stream.
class completion_writer {
 public:
  completion_writer(std::string model, const completion_request& asked);

  /// Takes an event; returns the chunks of a stream that it is.
  [[nodiscard]] std::vector<nlohmann::ordered_json> take(const answer_event& event);

  /// Returns whether all choices have ended.
  [[nodiscard]] bool is_done() const noexcept { return n_ended_ == choices_.size(); }
  /// Returns the whole answer.
  [[nodiscard]] nlohmann::ordered_json whole() const;
  /// Returns the last chunk of a stream, which tells what was used; null where nobody asked.
  [[nodiscard]] nlohmann::ordered_json usage_chunk() const;

 private:
  struct choice {
    bool has_begun = false;
    nlohmann::ordered_json message;   ///< or text
    std::vector<token_score> scores;
    std::size_t n_scores_told = 0;    ///< in chunks
    std::size_t n_letters_told = 0;   ///< of their texts
    std::string finish_reason;
  };

  /// Makes a chunk, which also tells the scores that were not told yet.
  [[nodiscard]] nlohmann::ordered_json chunk(std::size_t index, nlohmann::ordered_json delta, nlohmann::ordered_json finish_reason);
  /// offset: letters of the answer before them.
  [[nodiscard]] nlohmann::ordered_json scores_of(std::span<const token_score> scores, std::size_t offset) const;
  [[nodiscard]] nlohmann::ordered_json with_head(const char* object, nlohmann::ordered_json choices) const;
  [[nodiscard]] nlohmann::ordered_json usage() const;
  void end(std::size_t index, const cria::chat_reply& reply, std::vector<nlohmann::ordered_json>& chunks);

  std::string model_, id_;
  std::int64_t created_;
  bool is_chat_, tells_usage_, tells_scores_;
  std::vector<choice> choices_;
  std::size_t n_per_prompt_, n_ended_ = 0, n_prompt_ = 0, n_reused_ = 0, n_generated_ = 0;
};

}  // namespace cria_program
