// SPDX-License-Identifier: MIT
// generate/options.hpp - the options of a session and of a generation.
//
// Units     positions and tokens
// Errors    none here; create() and generate() check every field (bad_argument, `where` is the name of the field)
// Lifetime  session_options::executor refers to the host's executor, which must outlive the session
#pragma once

#include <cria/core/executor.hpp>
#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/core/types.hpp>
#include <cria/model/adapter.hpp>
#include <cria/model/model_config.hpp>
#include <cria/sampling/grammar/grammar.hpp>
#include <cria/sampling/sampler_config.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0 {

/// What a session is made with.
struct session_options {
  static constexpr std::size_t default_context = 4096;   ///< the most that is taken unasked: caches for long training contexts are larger than small machines
  static constexpr std::size_t max_context = std::size_t{1} << 31;
  static constexpr std::size_t most_batch = 65'536;

  std::size_t context_size = 0;           ///< positions; 0: the model's training context, 4,096 at most
  std::size_t n_threads = 0;              ///< 0: the physical cores that the process may use
  std::size_t max_batch = 264;            ///< prompt tokens in one pass, best a multiple of 12; more are faster up to a point, and take memory
  std::optional<executor_ref> executor = {};  ///< the host's own threads, instead of a pool of n_threads

  /// Returns the positions that a session of these options holds.
  [[nodiscard]] std::size_t context_for(std::size_t trained_context) const noexcept {
    return context_size != 0 ? context_size : std::min(trained_context, default_context);
  }
  /// As above, for a model. Learned positions end where the training did; computed ones (rope) may go beyond.
  [[nodiscard]] std::size_t context_for(const model_config& c) const noexcept {
    const std::size_t wanted = context_for(std::size_t{c.context_length});
    return c.has_learned_positions ? std::min<std::size_t>(wanted, c.context_length) : wanted;
  }
};

namespace detail {

/// Returns the error for a field that may be 0, for a default, but not so large.
[[nodiscard]] inline error refuse_larger(std::string_view field, std::size_t value, std::size_t highest) {
  return {errc::bad_argument, field, std::to_string(value) + " is more than " + std::to_string(highest)};
}

/// Errors: bad_argument.
[[nodiscard]] inline result<void> check(const session_options& options) {
  const auto refuse = [](std::string_view field, std::size_t highest) {
    return error{errc::bad_argument, field, "is not in 1 to " + std::to_string(highest)};
  };
  if (options.max_batch == 0 || options.max_batch > session_options::most_batch) return refuse("max_batch", session_options::most_batch);
  if (options.context_size > session_options::max_context) return refuse_larger("context_size", options.context_size, session_options::max_context);
  if (options.n_threads > thread_pool::max_threads) return refuse_larger("n_threads", options.n_threads, thread_pool::max_threads);
  return {};
}

}  // namespace detail

/// What a text is generated with: how long it may be, how tokens are drawn, what it must look like, what ends it.
struct generation_options {
  static constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

  std::size_t max_tokens = no_limit;        ///< no_limit: until the model ends its text or the context is full; 0: process the prompt only
  sampler_config sampling = {};             ///< not used when generate() is given a sampler
  std::optional<cria::grammar> grammar = {};  ///< the text follows it from the first token on, whatever the sampler; not with ignore_eos
  std::vector<std::string> stop_strings = {}; ///< any bytes, none empty; the text ends before the first one that appears in it
  std::vector<token_id> stop_tokens = {};   ///< end the text, as the model's own end tokens do
  std::vector<token_id> shown_tokens = {};  ///< control tokens whose names become part of the text, such as the tags of tool calls
  bool ignore_eos = false;                  ///< end tokens do not end the text (a logit_bias of -inf would keep them from being drawn at all)
  encode_options encode = {};               ///< how a prompt that is text becomes tokens
  stop_token stop = {};                     ///< takes effect within one layer; for a batch request that shares a pass with others, at the next step
  std::optional<std::vector<adapter_choice>> adapters = {};  ///< LoRA adapters of the model; empty: those that the session has, in a batch none
};

}  // namespace cria::inline v0_1_0
