// SPDX-License-Identifier: MIT
// chat/chat_options.hpp - what a host chooses for a chat, and what it gets.
//
// Units     tokens, positions
// Errors    none here; chat_format::prepare() checks what chats have of their own, generating the rest
#pragma once

#include <cria/chat/chat_template.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/chat/reply_parser.hpp>
#include <cria/chat/tool_call.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/options.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0 {

enum class history_policy : std::uint8_t { drop_oldest, slide, stop };

[[nodiscard]] constexpr std::string_view name(history_policy p) noexcept {
  constexpr std::string_view names[] = {"drop_oldest", "slide", "stop"};
  return names[static_cast<std::size_t>(p)];
}

/// What happens when the context is full. In positions.
struct history_options {
  history_policy policy = history_policy::drop_oldest;
  std::optional<std::size_t> reply_room = {};  ///< kept free for the reply; empty: 512, a quarter of the context at most. Never more than max_tokens.
  std::optional<std::size_t> slack = {};       ///< made free beyond that once something has to go, so that the next turns find theirs in the cache; empty: 1/8
  std::size_t n_sinks = 4;                     ///< slide: tokens kept at the beginning, where the system message takes no more

  [[nodiscard]] std::size_t room_in(std::size_t capacity, std::size_t max_tokens) const noexcept {
    return std::min(reply_room.value_or(std::min<std::size_t>(512, capacity / 4)), max_tokens);
  }
  [[nodiscard]] std::size_t slack_in(std::size_t capacity) const noexcept { return slack.value_or(capacity / 8); }
};

struct chat_options {
  generation_options generation = {};   ///< the template's end of turn ends a reply beside stop_tokens and stop_strings
  std::optional<reply_syntax> syntax = {}; ///< how thinking and calls are written; empty: as the template does, calls only where there are tools
  render_options rendering = {};        ///< tools, variables, the clock
  history_options history = {};
};

struct chat_reply {
  std::string text;                    ///< of the message that was added, also where it is partial
  std::string thinking;                ///< what came before it
  std::vector<tool_call> calls;        ///< what the model wants to be run; each has an id
  generation done;                     ///< tokens, why it ended, times, how much of the prompt was found in the cache
  std::vector<chat_message> dropped;   ///< drop_oldest: messages that are no longer part of the conversation
  std::size_t n_left_out = 0;          ///< slide: tokens of the conversation that the model did not see

  /// Returns whether the model came to its end by itself.
  [[nodiscard]] bool is_whole() const noexcept { return done.reason == finish_reason::end_of_text || done.reason == finish_reason::stop_string; }
};

/// Called with each piece of a reply: thinking, text, calls; may return false to stop. What takes a std::string_view or a token_event is none.
template <class F>
concept reply_callback = !text_callback<F> && !token_callback<F> && detail::callback_of<std::remove_reference_t<F>, const reply_piece&>;

/// What say() takes. A text_callback gets the text for people; a token_callback everything that the model says, as it says it.
template <class F>
concept chat_callback = text_callback<F> || token_callback<F> || reply_callback<F>;

/// How much of the context is taken. Turns add up to n_tokens; a template that writes old turns otherwise once there are new ones makes parts approximate.
struct context_use {
  std::size_t n_tokens = 0;          ///< of the conversation as it stands, were it rendered now
  std::size_t capacity = 0;
  std::size_t n_before_turns = 0;    ///< the system message, and what the template writes at the beginning
  std::vector<std::size_t> turns;    ///< one per conversation::turns()
};

/// Returns the message that a reply becomes.
[[nodiscard]] inline chat_message to_message(const chat_reply& reply) {
  chat_message m("assistant", reply.text);
  if (!reply.thinking.empty()) m.set("reasoning_content", reply.thinking);
  json::array calls;
  for (const tool_call& call : reply.calls) calls.push_back(call.to_json());
  if (!calls.empty()) m.set("tool_calls", std::move(calls));
  return m;
}

namespace detail {

/// Returns the number in an id of give_ids(), 0 for others.
[[nodiscard]] inline std::size_t number_of_id(const json* id) noexcept {
  const std::string* text = id == nullptr ? nullptr : id->get_if<std::string>();
  std::size_t n = 0;
  if (text != nullptr && text->size() == 9 && text->starts_with("call")) std::from_chars(text->data() + 4, text->data() + text->size(), n);
  return n;
}

/// Numbers the calls to which the model gave no id: "call00001" and so on, nine letters and digits, as some templates insist on.
inline void give_ids(std::vector<tool_call>& calls, const conversation& talk) {
  std::size_t last = 0;
  for (const chat_message& m : talk.messages()) {
    const json* made = m.find("tool_calls");
    const json::array* list = made == nullptr ? nullptr : made->get_if<json::array>();
    for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) last = std::max(last, number_of_id((*list)[i].find("id")));
  }
  for (const tool_call& call : calls) {   // models copy ids that they have seen
    const json id(call.id);
    last = std::max(last, number_of_id(&id));
  }
  for (tool_call& call : calls) {
    if (!call.id.empty()) continue;
    const std::string number = std::to_string(++last % 100'000);
    call.id = "call" + std::string(5 - number.size(), '0') + number;
  }
}

}  // namespace detail

}  // namespace cria::inline v0
