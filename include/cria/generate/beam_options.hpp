// SPDX-License-Identifier: MIT
// generate/beam_options.hpp - the options of beam search, and the continuations that it finds.
//
// Errors    none here; beam_search checks every field (bad_argument, `where` is the name of the field)
// Lifetime  beam_limits::executor refers to the host's executor, which must outlive the search
#pragma once

#include <cria/core/scalar_math.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/generation_output.hpp>
#include <cria/generate/options.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace cria::inline v0_1_0 {

/// The sizes for which create() takes memory.
struct beam_limits {
  static constexpr std::size_t most_beams = 4096;

  std::size_t max_width = 8;
  std::size_t context_size = 0;   ///< positions of one beam, prompt included; 0: the model's training context, 4,096 at most
  std::size_t max_batch = 256;    ///< prompt tokens in one pass
  std::size_t n_threads = 0;      ///< 0: the physical cores that the process may use
  std::optional<executor_ref> executor = {};
};

/// When a search ends before max_tokens.
enum class beam_stopping : std::uint8_t {
  when_certain,   ///< no live beam can still be among the n best
  when_enough,    ///< n_best have ended
};

struct beam_options {
  std::size_t width = 4;
  std::size_t n_best = 1;
  std::size_t max_tokens = 64;
  double length_penalty = 0.6;   ///< 0: none; larger values favour longer texts
  beam_stopping stopping = beam_stopping::when_certain;
  std::vector<std::string> stop_strings = {};
  std::vector<token_id> stop_tokens = {};
  std::optional<cria::grammar> grammar = {};   ///< every text follows it; probabilities remain the model's own; not with ignore_eos
  bool ignore_eos = false;
  encode_options encode = {};
  stop_token stop = {};          ///< takes effect within one layer: cancelled
  std::vector<adapter_choice> adapters = {};   ///< LoRA adapters of the model

  /// Returns lp(n) of beam_search.hpp.
  [[nodiscard]] double penalty_of(std::size_t n) const noexcept { return math::pow((5.0 + static_cast<double>(n)) / 6.0, length_penalty); }
};

/// One continuation of the prompt.
struct beam {
  std::vector<token_id> tokens;   ///< including an end token and those of a stop string
  std::string text;               ///< without them
  double log_probability = 0;     ///< natural logarithm, of all tokens
  double score = 0;               ///< log_probability / lp(tokens.size())
  finish_reason reason = finish_reason::max_tokens;
};

}  // namespace cria::inline v0_1_0
