// SPDX-License-Identifier: MIT
// generate/generation.hpp - what a generation gives: an event for each token while it runs, a summary at its end; and what callbacks may look like.
//
// Units     seconds of wall-clock time, without what the host's callback takes
#pragma once

#include <cria/core/types.hpp>
#include <cria/sampling/grammar/limits.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace cria::inline v0_1_0 {

/// Why a generation ended.
enum class finish_reason : std::uint8_t {
  end_of_text,          ///< the model chose an end token, or one of stop_tokens
  stop_string,          ///< the text reached a stop string, which was cut off
  max_tokens,           ///< as many tokens as asked for
  context_full,         ///< the next token does not fit the cache
  cancelled,            ///< the stop token was triggered, in the prompt or after it
  stopped_by_callback,  ///< the callback returned false
};

[[nodiscard]] constexpr std::string_view name(finish_reason reason) noexcept {
  constexpr std::string_view names[] = {"end_of_text", "stop_string", "max_tokens", "context_full", "cancelled", "stopped_by_callback"};
  return names[static_cast<std::size_t>(reason)];
}

/// One step of a generation. It is valid until the next step.
struct token_event {
  token_id token = no_token;   ///< no_token: the event only brings text that was held back until the end
  std::string_view text;       ///< what is certain now: often empty or from several tokens; whole UTF-8 characters, unless the generation ends within one
  std::size_t index = 0;       ///< position of the token among the generated ones

  operator std::string_view() const noexcept { return text; }
};

/// How long the parts of a generation took.
struct generation_timings {
  double prompt_seconds = 0;       ///< for the part of the prompt that was not in the cache
  double first_token_seconds = 0;  ///< from the start to the first token
  double decode_seconds = 0;       ///< for the tokens after the first
};

/// What was generated, why it ended, and what it cost.
struct generation {
  finish_reason reason = finish_reason::end_of_text;
  std::string text;                ///< all text that was handed out
  std::vector<token_id> tokens;    ///< all tokens that were chosen, including an end token and those of a stop string
  std::size_t n_prompt = 0;        ///< tokens of the prompt
  std::size_t n_reused = 0;        ///< how many of them were found in the cache
  generation_timings timings;
  grammar_statistics grammar;      ///< the cost of following the grammar; zeros without one

  [[nodiscard]] std::size_t n_generated() const noexcept { return tokens.size(); }
  /// Returns how many prompt tokens were processed per second; 0 if none were.
  [[nodiscard]] double prompt_tokens_per_second() const noexcept {
    return timings.prompt_seconds > 0 ? static_cast<double>(n_prompt - n_reused) / timings.prompt_seconds : 0;
  }
  /// Returns how many tokens were generated per second after the first one; 0 if none were.
  [[nodiscard]] double tokens_per_second() const noexcept {
    return tokens.size() > 1 && timings.decode_seconds > 0 ? static_cast<double>(tokens.size() - 1) / timings.decode_seconds : 0;
  }
};

/// The counts of a session.
struct session_statistics {
  std::size_t length;          ///< positions in the cache
  std::size_t capacity;
  std::size_t cache_bytes;
  std::size_t n_evaluated;     ///< tokens computed since the session was made
  std::size_t n_reused;        ///< prompt tokens that were found in the cache and not computed
};

/// Everything that a session continues from, as session::restore() takes it.
struct session_contents {
  std::span<const token_id> tokens;
  std::span<const float> logits;            ///< of the last token, or empty
  std::span<const std::byte> positions;     ///< keys and values of the tokens, as saved_kv_cache exports them: [layer][kv head][position]
};

/// A candidate for the next token.
struct token_candidate {
  token_id token;
  float logit;
  float probability;           ///< by the softmax over all logits
  std::string_view text;       ///< what it would add to the text, or, if that is nothing, its name in the vocabulary. Valid as long as the model lives.
};

namespace detail {
template <class F, class... Args>
concept callback_of = std::invocable<F&, Args...> &&
                      (std::is_void_v<std::invoke_result_t<F&, Args...>> || std::convertible_to<std::invoke_result_t<F&, Args...>, bool>);
}

/// Called with each piece of text that is not empty; may return false to stop.
template <class F>
concept text_callback = detail::callback_of<std::remove_reference_t<F>, std::string_view>;

/// Called with each token; may return false to stop. A callable that takes a std::string_view is a text_callback instead.
template <class F>
concept token_callback = !text_callback<F> && detail::callback_of<std::remove_reference_t<F>, const token_event&>;

/// A callback of either kind. It returns nothing, or a bool that says whether to go on.
template <class F>
concept generation_callback = text_callback<F> || token_callback<F>;

namespace detail {

/// Fails to compile, with a readable message, if F is not a callback.
template <class F>
constexpr void must_be_callback() noexcept {
  static_assert(generation_callback<F>,
                "cria: a callback takes a std::string_view (the text) or a const cria::token_event& (token and text), not a std::string, and returns nothing "
                "or a bool: whether to go on");
}

/// A callable that may be empty, such as a std::function or a function pointer. An empty one counts as no callback.
template <class F>
concept maybe_empty = std::is_assignable_v<std::remove_const_t<F>&, std::nullptr_t> && requires(const F& f) { { f == nullptr } -> std::convertible_to<bool>; };

template <class Callback, class Argument>
[[nodiscard]] bool call_back(Callback& callback, const Argument& argument) {
  if constexpr (maybe_empty<Callback>) {
    if (callback == nullptr) return true;
  }
  if constexpr (std::is_void_v<std::invoke_result_t<Callback&, const Argument&>>) {
    std::invoke(callback, argument);
    return true;
  } else {
    return static_cast<bool>(std::invoke(callback, argument));
  }
}

/// Tells a text_callback or token_callback about an event; returns whether to go on.
template <class Callback>
[[nodiscard]] bool deliver(Callback& callback, const token_event& event) {
  if constexpr (text_callback<Callback>) {
    return event.text.empty() || call_back(callback, event.text);
  } else if constexpr (token_callback<Callback>) {
    return call_back(callback, event);
  } else {
    return true;   // must_be_callback() has said it
  }
}

}  // namespace detail

/// The callback that ignores everything.
struct no_callback {
  void operator()(std::string_view) const noexcept {}
};

/// A prompt: text, or tokens taken as they are.
template <class P>
concept prompt_text = std::convertible_to<const P&, std::string_view>;
template <class P>
concept prompt_tokens = !prompt_text<P> && std::convertible_to<const P&, std::span<const token_id>>;

}  // namespace cria::inline v0_1_0
