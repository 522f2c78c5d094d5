// SPDX-License-Identifier: MIT
// chat/reply_syntax.hpp - how models write thinking and calls of tools, and the pieces that a reply is divided into.
//
// Errors    none
// Threads   values; nothing is shared
// Source    templates and model cards of Hermes 2 Pro, Qwen 2.5 and 3, Mistral 7B v0.3 and Small 3.2, Llama 3.1, Seed-OSS; OpenAI Harmony Response Format
#pragma once

#include <cria/chat/tool_call.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0 {

/// What a piece of a reply belongs to.
enum class reply_part : std::uint8_t {
  thinking,
  text,        ///< for people
  tool_call,
  markup,      ///< tags, and white space around them
};

/// A piece of a reply.
struct reply_piece {
  reply_part part = reply_part::text;
  std::string_view text;              ///< as the model wrote it
  const tool_call* call = nullptr;    ///< of a tool_call; if there are several calls in one text, only the first piece has the text
};

/// What is around thinking.
struct thinking_tags {
  std::string_view open, close;
};

/// What to look for in a reply.
struct reply_syntax {
  bool has_thinking = true;
  bool starts_in_thinking = false;   ///< the prompt ends with the tag that opens it
  bool has_call_tags = false;        ///< <tool_call>
  bool has_call_list = false;        ///< [TOOL_CALLS]
  bool has_bare_calls = false;       ///< JSON as the whole reply
  bool has_channels = false;         ///< <|channel|>analysis<|message|> ...: thinking, text and calls are messages of their own
  thinking_tags thinking = {"<think>", "</think>"};   ///< texts that outlive the syntax

  /// Returns how a model writes replies without calls, by the text of its template.
  [[nodiscard]] static reply_syntax without_tools(std::string_view template_source) {
    reply_syntax s;
    s.has_channels = template_source.find("<|channel|>") != template_source.npos && template_source.find("<|message|>") != template_source.npos;
    if (template_source.find("<seed:think>") != template_source.npos) s.thinking = {"<seed:think>", "</seed:think>"};
    return s;
  }

  /// Returns the ways to call tools that a template's text mentions, or all of them if it mentions none.
  [[nodiscard]] static reply_syntax with_tools(std::string_view template_source) {
    reply_syntax s = without_tools(template_source);
    s.has_call_tags = template_source.find("<tool_call>") != template_source.npos;
    s.has_call_list = template_source.find("[TOOL_CALLS]") != template_source.npos;
    s.has_bare_calls = template_source.find("<|python_tag|>") != template_source.npos || template_source.find("ipython") != template_source.npos;
    if (!s.has_call_tags && !s.has_call_list && !s.has_bare_calls && !s.has_channels) s.has_call_tags = s.has_call_list = s.has_bare_calls = true;
    return s;
  }

  /// Returns that of replies that are JSON of calls and nothing else.
  [[nodiscard]] static reply_syntax calls_alone() {
    reply_syntax s;
    s.has_thinking = false;
    s.has_bare_calls = true;
    return s;
  }

  /// Returns the tags to look for, which may be control tokens of a vocabulary.
  [[nodiscard]] std::vector<std::string_view> tags() const {
    std::vector<std::string_view> out;
    if (has_thinking) out.insert(out.end(), {thinking.open, thinking.close});
    if (has_call_tags) out.insert(out.end(), {"<tool_call>", "</tool_call>"});
    if (has_call_list) out.insert(out.end(), {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"});
    if (has_bare_calls) out.emplace_back("<|python_tag|>");
    return out;
  }
};

namespace detail {

/// Returns whether names of functions and channels may have this letter.
[[nodiscard]] constexpr bool is_name_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

/// Finds the end of a JSON object or array without building it. Most text that is not JSON is noticed at once.
class json_end_finder {
 public:
  enum class state : std::uint8_t { open, ended, bad };

  state push(char c) {
    if (is_escaped_) return is_escaped_ = false, state::open;
    if (in_string_) {
      if (c == '\\') is_escaped_ = true;
      if (c == '"') in_string_ = false;
      return static_cast<unsigned char>(c) < 0x20 ? state::bad : state::open;
    }
    constexpr std::string_view others = " \t\r\n,:+-.0123456789truefalsnE";   // numbers, true, false, null
    if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      if (open_.size() == most_open) return state::bad;
      open_ += c == '{' ? '}' : ']';
    } else if (!open_.empty() && c == open_.back()) {
      open_.pop_back();
      return open_.empty() ? state::ended : state::open;
    } else if (others.find(c) == others.npos) {
      return state::bad;
    }
    return open_.empty() ? state::bad : state::open;
  }

 private:
  static constexpr std::size_t most_open = 100;
  std::string open_;   // the brackets to come
  bool in_string_ = false, is_escaped_ = false;
};

}  // namespace detail

}  // namespace cria::inline v0_1_0
