// SPDX-License-Identifier: MIT
// chat/channel_header.hpp - how a message of the harmony format begins: for whom it is, and on which channel.
//
//   [<|start|>assistant] [ to=functions.name] [<|channel|>analysis] [ to=functions.name] [ <|constrain|>json] <|message|>
//
// Ensures   analysis is thinking, what goes to a function is a call, all else (final, commentary) is text
// Errors    none (noexcept)
// Threads   pure function
// Source    OpenAI Harmony Response Format (2025)
#pragma once

#include <cria/chat/reply_syntax.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace cria::inline v0_1_0::detail {

struct channel_header {
  enum class state : std::uint8_t { open, none, whole };   ///< more must come; no header; a header

  state is = state::none;
  std::size_t size = 0;                        ///< bytes, up to the message's own
  reply_part part = reply_part::text;          ///< what the message is
  std::string_view function = {};              ///< of a call
};

/// Reads the header that a text begins with. At the end of a reply, a header that was cut is one of an empty message.
[[nodiscard]] inline channel_header read_channel_header(std::string_view text, bool is_end) noexcept {
  constexpr std::string_view space = " \t\r\n", message = "<|message|>", channel = "<|channel|>", call = "to=functions.";
  constexpr std::string_view beginnings[] = {channel, "<|start|>", message, call};
  constexpr std::size_t longest = 512;
  const auto word_behind = [&](std::string_view head, std::string_view mark) {
    const std::size_t at = head.find(mark);
    const std::string_view from = at == head.npos ? std::string_view{} : head.substr(at + mark.size());
    return from.substr(0, static_cast<std::size_t>(std::find_if_not(from.begin(), from.end(), is_name_letter) - from.begin()));
  };
  const std::string_view first = text.substr(std::min(text.find_first_not_of(space), text.size()));
  const auto begins = [&](std::string_view mark) { return first.starts_with(mark); };
  const auto may_begin = [&](std::string_view mark) { return mark.starts_with(first); };
  if (std::none_of(std::begin(beginnings), std::end(beginnings), begins)) {
    const bool is_open = !is_end && text.size() < longest && std::any_of(std::begin(beginnings), std::end(beginnings), may_begin);
    return {is_open ? channel_header::state::open : channel_header::state::none};
  }
  const std::size_t end = text.substr(0, longest).find(message);
  if (end == text.npos && text.size() >= longest) return {channel_header::state::none};
  if (end == text.npos && !is_end) return {channel_header::state::open};
  const std::string_view head = text.substr(0, end);
  channel_header out{channel_header::state::whole, end == text.npos ? text.size() : end + message.size()};
  out.function = word_behind(head, call);
  if (!out.function.empty()) out.part = reply_part::tool_call;
  else if (word_behind(head, channel) == "analysis") out.part = reply_part::thinking;
  return out;
}

}  // namespace cria::inline v0_1_0::detail
