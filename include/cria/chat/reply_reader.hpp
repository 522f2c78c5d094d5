// SPDX-License-Identifier: MIT
// chat/reply_reader.hpp - turns what is generated into a chat's reply: pieces of text, thinking and calls while it streams, and the message at the end.
//
// Ensures   The reply and its pieces do not depend on how the text was cut into events. Events need not be read at all: finish() takes what was not read. The
//           reply contains neither the space that vocabularies of whole words put before its first word, nor the first bytes of a character that was cut off.
// Errors    finish: that of the outcome, out_of_memory; the conversation is then as it was when it was asked
// Threads   one at a time
// Lifetime  keeps its model alive; pieces are valid until the callback returns
#pragma once

#include <cria/chat/chat_options.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/chat/reply_parser.hpp>
#include <cria/core/function_ref.hpp>
#include <cria/core/result.hpp>
#include <cria/generate/generation.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/model/model.hpp>
#include <cria/tokenizer/tokenizer.hpp>
#include <cria/tokenizer/utf8_assembler.hpp>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Returns a reply, or the beginning of one, without the space that vocabularies of whole words put before its first word.
[[nodiscard]] inline std::string_view without_added_space(std::string_view beginning, const tokenizer& t) noexcept {
  return beginning.substr(beginning.starts_with(' ') && t.adds_space_prefix() ? 1 : 0);
}

namespace detail {

/// Called with each token and the pieces that have become certain with it; at the end without a token, with the last pieces.
using reply_steps = function_ref<bool(const token_event*, std::span<const reply_piece>)>;

/// Wraps any callback in one type, so that reading is compiled once.
template <class Callback>
[[nodiscard]] auto to_steps(Callback& callback) {
  return [&callback]([[maybe_unused]] const token_event* event, [[maybe_unused]] std::span<const reply_piece> pieces) {
    if constexpr (token_callback<Callback>) {
      return event == nullptr || call_back(callback, *event);
    } else {
      for (const reply_piece& p : pieces) {
        if constexpr (text_callback<Callback>) {
          if (p.part == reply_part::text && !call_back(callback, p.text)) return false;
        } else {
          if (!call_back(callback, p)) return false;
        }
      }
      return true;
    }
  };
}

}  // namespace detail

class reply_reader {
 public:
  /// asked: the conversation to which the model replies. dropped, n_left_out: as in chat_reply.
  reply_reader(cria::model m, cria::conversation asked, const reply_syntax& syntax, std::vector<chat_message> dropped = {}, std::size_t n_left_out = 0)
      : model_(std::move(m)), talk_(std::move(asked)), dropped_(std::move(dropped)), n_left_out_(n_left_out), parser_(syntax) {}

  /// Takes an event, and calls the callback with what has become certain; returns whether to go on. What the callback throws passes through.
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  bool read(const token_event& event, Callback&& callback = {}) {
    return read(event, detail::reply_steps(detail::to_steps(callback)));
  }

  /// Takes the outcome, calls the callback with the rest, and adds the reply to the conversation. To be called once.
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  [[nodiscard]] result<chat_reply> finish(result<generation> outcome, Callback&& callback = {}) {
    return finish(std::move(outcome), detail::reply_steps(detail::to_steps(callback)));
  }

  /// Returns the conversation that was asked, without the turns that were dropped; after finish(), with the reply.
  [[nodiscard]] const cria::conversation& conversation() const noexcept { return talk_; }
  [[nodiscard]] cria::conversation take_conversation() noexcept { return std::move(talk_); }

 private:
  template <kv_cache Cache>
  friend class basic_chat_session;

  bool read(const token_event& event, detail::reply_steps callback);
  [[nodiscard]] result<chat_reply> finish(result<generation> outcome, detail::reply_steps callback);

  cria::model model_;
  cria::conversation talk_;
  std::vector<chat_message> dropped_;
  std::size_t n_left_out_;
  reply_parser parser_;
  utf8_assembler characters_;
  std::size_t n_read_ = 0;       // bytes of the events
  bool is_wanted_ = true;        // by the callback
  result<void> parsed_;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE bool reply_reader::read(const token_event& event, detail::reply_steps callback) {
  token_event shown = event;
  const auto pieces = catch_bad_alloc([&]() -> result<std::span<const reply_piece>> {
    shown.text = characters_.push(n_read_ == 0 ? without_added_space(event.text, model_.tokenizer()) : event.text);
    return parser_.push(shown.text);
  }, "reply");
  n_read_ += event.text.size();
  if (!pieces) parsed_ = pieces.error();
  is_wanted_ = pieces && is_wanted_ && callback(&shown, *pieces);
  return is_wanted_;
}

CRIA_INLINE result<chat_reply> reply_reader::finish(result<generation> outcome, detail::reply_steps callback) {
  if (!outcome) return std::move(outcome).error();
  generation& done = *outcome;
  if (n_read_ < done.text.size()) {
    static_cast<void>(read({no_token, std::string_view(done.text).substr(n_read_), done.n_generated()}, callback));
  }
  CRIA_CHECK(parsed_);
  CRIA_TRY(const auto last, catch_bad_alloc([&]() -> result<std::span<const reply_piece>> { return parser_.finish(); }, "reply"));
  if (is_wanted_) static_cast<void>(callback(nullptr, last));
  return catch_bad_alloc([&]() -> result<chat_reply> {
    chat_reply reply{parser_.text(), parser_.thinking(), parser_.calls(), std::move(done), std::move(dropped_), n_left_out_};
    detail::give_ids(reply.calls, talk_);
    talk_.add(to_message(reply));
    return reply;
  }, "reply");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
