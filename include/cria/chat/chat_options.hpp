// SPDX-License-Identifier: MIT
// chat/chat_options.hpp - the options of a chat, and what a reply consists of.
//
// Units     tokens, positions
// Errors    none here; chat_format::prepare() checks the options of chats, and generating the others
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

namespace cria::inline v0_1_0 {

/// What a conversation that is longer than the context loses; chat_session.hpp describes the policies.
enum class history_policy : std::uint8_t { drop_oldest, slide, stop };

[[nodiscard]] constexpr std::string_view name(history_policy p) noexcept {
  constexpr std::string_view names[] = {"drop_oldest", "slide", "stop"};
  return names[static_cast<std::size_t>(p)];
}

/// What happens when the context is full, in positions.
struct history_options {
  history_policy policy = history_policy::drop_oldest;
  std::optional<std::size_t> reply_room = {};  ///< kept free for the reply, at most max_tokens; empty: 512, but at most a quarter of the context
  std::optional<std::size_t> slack = {};       ///< freed beyond that when something has to go, so that later turns can reuse the cache; empty: an eighth
  std::size_t n_sinks = 4;                     ///< slide: tokens kept at the beginning, if those before the first turn are not more

  [[nodiscard]] std::size_t room_in(std::size_t capacity, std::size_t max_tokens) const noexcept {
    return std::min(reply_room.value_or(std::min<std::size_t>(512, capacity / 4)), max_tokens);
  }
  [[nodiscard]] std::size_t slack_in(std::size_t capacity) const noexcept { return slack.value_or(capacity / 8); }
};

/// How a reply is asked for: what it is generated with, how the conversation is written, what goes when the context is full.
struct chat_options {
  generation_options generation = {};   ///< besides stop_tokens and stop_strings, the template's end of a turn ends a reply
  std::optional<reply_syntax> syntax = {}; ///< how thinking and calls are written; empty: as the template does, with calls only if there are tools
  render_options rendering = {};        ///< tools, variables, the clock
  history_options history = {};
};

/// A reply in its parts, and how it came about.
struct chat_reply {
  std::string text;                    ///< of the message that was added, even if it is partial
  std::string thinking;                ///< the thinking before the text
  std::vector<tool_call> calls;        ///< the functions that the model wants to call; each call has an id
  generation done;                     ///< tokens, the reason for the end, times, how much of the prompt was found in the cache
  std::vector<chat_message> dropped;   ///< drop_oldest: messages that were removed from the conversation
  std::size_t n_left_out = 0;          ///< slide: tokens of the conversation that the model did not see

  /// Returns whether the model ended the reply by itself.
  [[nodiscard]] bool is_whole() const noexcept { return done.reason == finish_reason::end_of_text || done.reason == finish_reason::stop_string; }
};

/// Called with each piece of a reply: thinking, text, calls. May return false to stop. A callable that takes a std::string_view or a token_event is not one.
template <class F>
concept reply_callback = !text_callback<F> && !token_callback<F> && detail::callback_of<std::remove_reference_t<F>, const reply_piece&>;

/// A callback for say(). A text_callback gets the text for people, a token_callback everything as the model writes it, a reply_callback the pieces.
template <class F>
concept chat_callback = text_callback<F> || token_callback<F> || reply_callback<F>;

/// How much of the context is taken. The parts add up to n_tokens; they are approximate if the template writes old turns differently once there are newer ones.
struct context_use {
  std::size_t n_tokens = 0;          ///< of the conversation, as it would be rendered now
  std::size_t capacity = 0;
  std::size_t n_before_turns = 0;    ///< of the system message, and of what the template writes at the beginning
  std::vector<std::size_t> turns;    ///< for each of conversation::turns()
};

/// Returns the message that a reply adds to the conversation: its text, its thinking as reasoning_content, its calls as tool_calls. Thinking that leads to
/// calls without a text is "thinking" as well: gpt-oss's template reads it by that name, behind a call only, and raises an error if there is a text beside it.
[[nodiscard]] inline chat_message to_message(const chat_reply& reply) {
  chat_message m("assistant", reply.text);
  if (!reply.thinking.empty()) m.set("reasoning_content", reply.thinking);
  json::array calls;
  for (const tool_call& call : reply.calls) calls.push_back(call.to_json());
  if (calls.empty()) return m;
  m.set("tool_calls", std::move(calls));
  if (!reply.thinking.empty() && reply.text.empty()) m.set("thinking", reply.thinking);
  return m;
}

namespace detail {

/// Returns the number in an id that give_ids() made, or 0.
[[nodiscard]] inline std::size_t number_of_id(const json* id) noexcept {
  const std::string* text = id == nullptr ? nullptr : id->get_if<std::string>();
  std::size_t n = 0;
  if (text != nullptr && text->size() == 9 && text->starts_with("call")) std::from_chars(text->data() + 4, text->data() + text->size(), n);
  return n;
}

/// Gives an id to the calls without one: "call00001" and so on; some templates insist on nine letters and digits.
inline void give_ids(std::vector<tool_call>& calls, const conversation& talk) {
  std::size_t last = 0;
  for (const chat_message& m : talk.messages()) {
    const json* made = m.find("tool_calls");
    const json::array* list = made == nullptr ? nullptr : made->get_if<json::array>();
    for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) last = std::max(last, number_of_id((*list)[i].find("id")));
  }
  for (const tool_call& call : calls) {   // models may repeat ids that they have seen
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

}  // namespace cria::inline v0_1_0
