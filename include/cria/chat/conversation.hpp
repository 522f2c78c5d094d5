// SPDX-License-Identifier: MIT
// chat/conversation.hpp - messages of system, user, assistant and tools, in turns; to and from the JSON that chat programs exchange.
//
//   cria::conversation talk;
//   talk.set_system("Be brief.");
//   talk.add("user", "What is a cria?").add("assistant", "A young llama.");
//   talk.to_json().dump();   // [{"role": "system", "content": "Be brief."}, {"role": "user", ...
//
// A turn is a message of the user and what follows it, up to the user's next message. What precedes the first one (the system message) belongs to no turn.
// Ensures   a message has a role, and keeps every other member as it was given: content (a text, null, or a list of parts), name, reasoning_content,
//           tool_calls, tool_call_id, and whatever else a template reads
// Errors    from_json: wrong_type (not a list of objects, a message without a role), limit_exceeded and syntax from parsing; `where` is "messages[N]"
// Threads   values; nothing is shared
// Source    the messages of OpenAI's chat completions interface, as Hugging Face's templates read them
#pragma once

#include <cria/chat/json.hpp>
#include <cria/core/result.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// One message: a JSON object with a role, as templates see it.
class chat_message {
 public:
  chat_message(std::string_view role, std::string_view content) {
    fields_.set("role", role);
    fields_.set("content", content);
  }

  [[nodiscard]] static result<chat_message> from_json(json fields) {
    const json* role = fields.find("role");
    if (role == nullptr || role->get_if<std::string>() == nullptr) return error{errc::wrong_type, "role", "a message is an object with a text as its role"};
    return chat_message(std::move(fields));
  }

  [[nodiscard]] std::string_view role() const noexcept { return text_of("role"); }
  /// Returns the content if it is a text; empty if it is null, absent or a list of parts.
  [[nodiscard]] std::string_view content() const noexcept { return text_of("content"); }
  [[nodiscard]] const json& fields() const noexcept { return fields_; }
  [[nodiscard]] const json* find(std::string_view name) const noexcept { return fields_.find(name); }

  /// Sets a member: tool_calls, tool_call_id, name, reasoning_content ... A role that is not a text is ignored.
  chat_message& set(std::string_view name, json value) {
    if (name != "role" || value.get_if<std::string>() != nullptr) fields_.set(name, std::move(value));
    return *this;
  }

  bool operator==(const chat_message&) const = default;

 private:
  explicit chat_message(json fields) : fields_(std::move(fields)) {}

  [[nodiscard]] std::string_view text_of(std::string_view name) const noexcept {
    const json* value = fields_.find(name);
    const std::string* text = value == nullptr ? nullptr : value->get_if<std::string>();
    return text == nullptr ? std::string_view{} : *text;
  }

  json fields_;
};

/// Messages [first, first + count) of a conversation.
struct chat_turn {
  std::size_t first = 0, count = 0;
  bool operator==(const chat_turn&) const = default;
};

class conversation {
 public:
  conversation() = default;
  explicit conversation(std::vector<chat_message> messages) : messages_(std::move(messages)) {}

  /// Reads a list of messages, or an object that has one as `messages`.
  [[nodiscard]] static result<conversation> from_json(json messages) {
    return catch_bad_alloc([&] { return read(std::move(messages)); }, "conversation");
  }
  [[nodiscard]] static result<conversation> parse(std::string_view text, const json_limits& limits = {}) {
    CRIA_TRY(json parsed, json::parse(text, limits));
    return from_json(std::move(parsed));
  }
  [[nodiscard]] json to_json() const {
    json::array out;
    for (const chat_message& m : messages_) out.push_back(m.fields());
    return out;
  }

  [[nodiscard]] std::span<const chat_message> messages() const noexcept { return messages_; }
  [[nodiscard]] std::size_t size() const noexcept { return messages_.size(); }
  [[nodiscard]] bool empty() const noexcept { return messages_.empty(); }
  [[nodiscard]] const chat_message& operator[](std::size_t i) const noexcept { return messages_[i]; }

  conversation& add(chat_message message) {
    messages_.push_back(std::move(message));
    return *this;
  }
  conversation& add(std::string_view role, std::string_view content) { return add(chat_message(role, content)); }

  /// Returns the text of the system message at the beginning of the conversation; empty if there is none.
  [[nodiscard]] std::string_view system_text() const noexcept { return has_system() ? messages_[0].content() : std::string_view{}; }
  [[nodiscard]] bool has_system() const noexcept { return !messages_.empty() && is_system(messages_[0]); }
  /// Sets or replaces the system message at the beginning; an empty text removes it.
  void set_system(std::string_view content) {
    if (has_system()) messages_.erase(messages_.begin());
    if (!content.empty()) messages_.insert(messages_.begin(), chat_message("system", content));
  }

  /// Returns the turns, the oldest first.
  [[nodiscard]] std::vector<chat_turn> turns() const {
    std::vector<chat_turn> out;
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      if (messages_[i].role() == "user") {
        out.push_back({i, 1});
      } else if (!out.empty()) {
        ++out.back().count;
      }
    }
    return out;
  }

  /// Removes the last turn and returns its messages; none if there is no turn.
  std::vector<chat_message> undo() {
    const auto all = turns();
    return all.empty() ? std::vector<chat_message>{} : take(all.back());
  }
  /// Removes the `n` oldest turns, or as many as there are, and returns their messages.
  std::vector<chat_message> drop_oldest(std::size_t n) {
    const auto all = turns();
    n = std::min(n, all.size());
    if (n == 0) return {};
    const std::size_t last = n - 1, first = all[0].first;
    return take({first, all[last].first + all[last].count - first});
  }
  /// Removes the model's messages at the end, and returns them.
  std::vector<chat_message> take_reply() {
    std::size_t first = messages_.size();
    while (first > 0 && messages_[first - 1].role() == "assistant") --first;
    return take({first, messages_.size() - first});
  }
  /// Removes all turns; what precedes them stays.
  void clear() noexcept {
    messages_.erase(std::find_if(messages_.begin(), messages_.end(), [](const chat_message& m) { return m.role() == "user"; }), messages_.end());
  }

  bool operator==(const conversation&) const = default;

 private:
  [[nodiscard]] static bool is_system(const chat_message& m) noexcept { return m.role() == "system" || m.role() == "developer"; }

  [[nodiscard]] static result<conversation> read(json messages) {
    const json* inner = messages.find("messages");
    if (inner != nullptr) return read(json(*inner));
    json::array* list = messages.get_if<json::array>();
    if (list == nullptr) return error{errc::wrong_type, "messages", "is no list of messages"};
    conversation out;
    for (std::size_t i = 0; i < list->size(); ++i) {
      auto message = chat_message::from_json(std::move((*list)[i]));
      if (!message) return error{message.error().code, "messages[" + std::to_string(i) + "]", message.error().message};
      out.add(*std::move(message));
    }
    return out;
  }

  std::vector<chat_message> take(chat_turn part) {
    const auto first = messages_.begin() + static_cast<std::ptrdiff_t>(part.first), last = first + static_cast<std::ptrdiff_t>(part.count);
    std::vector<chat_message> out(std::make_move_iterator(first), std::make_move_iterator(last));
    messages_.erase(first, last);
    return out;
  }

  std::vector<chat_message> messages_;
};

}  // namespace cria::inline v0_1_0
