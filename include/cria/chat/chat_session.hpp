// SPDX-License-Identifier: MIT
// chat/chat_session.hpp - a chat with a model: say something, get the reply as it is made, take it back, and go on when the context is full.
//
//   auto chat = cria::chat_session::create(model);
//   chat->set_system("Be brief.");
//   auto reply = chat->say("What is a cria?", {}, [](std::string_view text) { show(text); });
//
// Thinking and calls of tools (reply_parser.hpp) are not part of a reply's text. The message that is added to the conversation has them as reasoning_content
// and tool_calls:
//
//   auto reply = chat->say("Is it raining in Lima?", options);                       // options.rendering.tools: describe_tools(...)
//   while (reply && !reply->calls.empty()) {
//     std::vector<cria::chat_message> answers;
//     for (const cria::tool_call& call : reply->calls) answers.push_back(cria::tool_answer(call, run(call)));
//     reply = chat->say_all(std::move(answers), options);
//   }
//
// The conversation is the state; the cache only saves work: every prompt is rendered anew, and what the cache holds of its beginning is not computed again.
// If a prompt and the room for the reply do not fit the context, chat_options::history decides:
//   drop_oldest  Whole turns are removed from the conversation, the oldest first. What precedes the first turn stays, and so does its part of the cache.
//                The rest is computed again: keys are stored rotated by their position, and values depend on what was dropped, so moving them would not
//                be exact.
//   slide        The conversation stays whole. Of its tokens, those before the first turn (the system message) and the newest are used, possibly from the
//                middle of a turn on. What moved is computed again at its new position, from the tokens that remain: exact for the shortened text, for the
//                price of a prompt.
//   stop         context_full
// Ensures   After a reply the conversation contains what was said and the reply. A stop, by the stop token (even before there is a prompt) or by the
//           callback, also gives a reply: what was said until then, perhaps nothing; done.reason tells. So undo() after a stop removes the turn that was
//           stopped, never an older one. After an error, or an exception of the callback, the conversation is as before.
// Errors    say, say_all, regenerate: those of chat_format::prepare except cancelled, those of basic_session::generate, bad_argument (regenerate: there is
//           nothing to answer; say_all: nothing was said)
// Threads   One at a time: a second request for a reply, from another thread or from a callback, gets bad_argument, and the first one goes on. Other threads
//           must not read or change the conversation meanwhile; changes by a callback are lost when the reply ends.
// Lifetime  owns its session, which keeps the model alive; the template is shared
#pragma once

#include <cria/chat/chat_format.hpp>
#include <cria/chat/chat_options.hpp>
#include <cria/chat/chat_template.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/chat/reply_reader.hpp>
#include <cria/core/one_user.hpp>
#include <cria/core/result.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/session.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/model/model.hpp>
#include <cria/sampling/runtime_sampler.hpp>
#include <cria/sampling/sampler.hpp>

#include <cstddef>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

template <kv_cache Cache = contiguous_kv_cache<kv_type::f16>>
class basic_chat_session {
 public:
  using session_type = basic_session<Cache>;

  /// Uses a session of the host's, and the model's own template.
  [[nodiscard]] static result<basic_chat_session> create(session_type made) {
    CRIA_TRY(auto format, chat_format::create(made.model()));
    return create(std::move(made), std::move(format));
  }
  [[nodiscard]] static result<basic_chat_session> create(session_type made, chat_template t) {
    CRIA_TRY(auto format, chat_format::create(made.model(), std::move(t)));
    return create(std::move(made), std::move(format));
  }
  /// As above, with a format that other chats and engines may use as well.
  [[nodiscard]] static result<basic_chat_session> create(session_type made, chat_format format) {
    return catch_bad_alloc([&]() -> result<basic_chat_session> {
      return basic_chat_session(std::move(made), std::move(format), std::make_unique<detail::one_user>());
    }, "chat");
  }
  [[nodiscard]] static result<basic_chat_session> create(const cria::model& model, const session_options& options = {}) {
    CRIA_TRY(auto made, session_type::create(model, options));
    return create(std::move(made));
  }

  /// Adds what the user says, or a message of another role such as a tool's, and lets the model answer.
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  result<chat_reply> say(std::string_view user_text, const chat_options& options = {}, Callback&& callback = {}) {
    CRIA_TRY(auto message, catch_bad_alloc([&]() -> result<chat_message> { return chat_message("user", user_text); }, "conversation"));
    return say(std::move(message), options, std::forward<Callback>(callback));
  }
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  result<chat_reply> say(chat_message message, const chat_options& options = {}, Callback&& callback = {}) {
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, extended(std::move(message)));
    return with_own_sampler(std::move(next), options, detail::to_steps(callback));
  }
  /// As above, with the host's sampler.
  template <class Sampler, class Callback = no_callback>
    requires(sampler<std::remove_reference_t<Sampler>> && chat_callback<Callback>)
  result<chat_reply> say(chat_message message, const chat_options& options, Sampler&& sampler, Callback&& callback = {}) {
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, extended(std::move(message)));
    return reply_to(std::move(next), options, sampler, detail::to_steps(callback));
  }

  /// Adds several messages, such as the answers of tools, and lets the model answer.
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  result<chat_reply> say_all(std::vector<chat_message> messages, const chat_options& options = {}, Callback&& callback = {}) {
    if (messages.empty()) return error{errc::bad_argument, "messages", "there is nothing to answer"};
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, extended(std::move(messages)));
    return with_own_sampler(std::move(next), options, detail::to_steps(callback));
  }
  /// As above, with the host's sampler.
  template <class Sampler, class Callback = no_callback>
    requires(sampler<std::remove_reference_t<Sampler>> && chat_callback<Callback>)
  result<chat_reply> say_all(std::vector<chat_message> messages, const chat_options& options, Sampler&& sampler, Callback&& callback = {}) {
    if (messages.empty()) return error{errc::bad_argument, "messages", "there is nothing to answer"};
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, extended(std::move(messages)));
    return reply_to(std::move(next), options, sampler, detail::to_steps(callback));
  }

  /// Answers the last message again; a last reply of the model is replaced. Another seed gives another reply.
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  result<chat_reply> regenerate(const chat_options& options = {}, Callback&& callback = {}) {
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, without_reply());
    return with_own_sampler(std::move(next), options, detail::to_steps(callback));
  }
  /// As above, with the host's sampler.
  template <class Sampler, class Callback = no_callback>
    requires(sampler<std::remove_reference_t<Sampler>> && chat_callback<Callback>)
  result<chat_reply> regenerate(const chat_options& options, Sampler&& sampler, Callback&& callback = {}) {
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, without_reply());
    return reply_to(std::move(next), options, sampler, detail::to_steps(callback));
  }

  /// Removes the last turn and returns its messages; none if there is no turn.
  std::vector<chat_message> undo() { return talk_.undo(); }
  /// Removes all turns; the system message stays.
  void clear() { talk_.clear(); }
  /// Sets the system message from the next reply on; an empty text removes it.
  void set_system(std::string_view text) { talk_.set_system(text); }

  /// Returns the conversation, which may be changed freely between replies.
  [[nodiscard]] cria::conversation& conversation() noexcept { return talk_; }
  [[nodiscard]] const cria::conversation& conversation() const noexcept { return talk_; }
  [[nodiscard]] const chat_template& used_template() const noexcept { return format_.used_template(); }
  /// Uses another template from the next reply on.
  [[nodiscard]] result<void> set_template(chat_template t) {
    CRIA_TRY(format_, chat_format::create(model(), std::move(t)));
    return {};
  }
  [[nodiscard]] session_type& session() noexcept { return session_; }
  [[nodiscard]] const session_type& session() const noexcept { return session_; }
  [[nodiscard]] const cria::model& model() const noexcept { return session_.model(); }

  /// Counts the tokens of the conversation by turns. This renders it once for each turn.
  [[nodiscard]] result<context_use> usage(const render_options& rendering = {}) const {
    return format_.usage(talk_, rendering, session_.capacity());
  }

 private:
  basic_chat_session(session_type made, chat_format format, std::unique_ptr<detail::one_user> user) noexcept
      : session_(std::move(made)), format_(std::move(format)), user_(std::move(user)) {}

  [[nodiscard]] result<detail::one_user::use> enter() {
    if (auto entered = user_->try_enter()) return *std::move(entered);
    return error{errc::bad_argument, "chat", "is asked for two replies at once"};
  }

  [[nodiscard]] result<cria::conversation> extended(chat_message message) const {
    return catch_bad_alloc([&] { return extended(std::vector<chat_message>(1, std::move(message))); }, "conversation");
  }
  [[nodiscard]] result<cria::conversation> extended(std::vector<chat_message> messages) const {
    return catch_bad_alloc([&]() -> result<cria::conversation> {
      cria::conversation next = talk_;
      for (chat_message& m : messages) next.add(std::move(m));
      return next;
    }, "conversation");
  }
  [[nodiscard]] result<cria::conversation> without_reply() const {
    return catch_bad_alloc([&]() -> result<cria::conversation> {
      cria::conversation next = talk_;
      next.take_reply();
      if (next.turns().empty()) return error{errc::bad_argument, "conversation", "there is nothing to answer"};
      return next;
    }, "conversation");
  }

  [[nodiscard]] result<chat_reply> with_own_sampler(cria::conversation next, const chat_options& options, detail::reply_steps callback) {
    CRIA_TRY(auto own, runtime_sampler::create(options.generation.sampling, model().vocab_size()));
    return reply_to(std::move(next), options, own, callback);
  }

  template <class Sampler>
  [[nodiscard]] result<chat_reply> reply_to(cria::conversation next, const chat_options& options, Sampler& sampler, detail::reply_steps callback) {
    auto asked = format_.prepare(next, options, session_.capacity());
    if (!asked && asked.error().code == errc::cancelled) return nothing_to(std::move(next));
    if (!asked) return std::move(asked).error();
    reply_reader& reader = asked->reader;
    auto done = session_.generate(asked->prompt, asked->generation, sampler, [&](const token_event& event) { return reader.read(event, callback); });
    CRIA_TRY(chat_reply reply, reader.finish(std::move(done), callback));
    talk_ = reader.take_conversation();
    return reply;
  }

  /// Returns the reply of a model that was stopped before there was a prompt.
  [[nodiscard]] result<chat_reply> nothing_to(cria::conversation next) {
    return catch_bad_alloc([&]() -> result<chat_reply> {
      reply_reader reader(model(), std::move(next), {});
      generation nothing;
      nothing.reason = finish_reason::cancelled;
      CRIA_TRY(chat_reply reply, reader.finish(std::move(nothing)));
      talk_ = reader.take_conversation();
      return reply;
    }, "reply");
  }

  session_type session_;
  chat_format format_;
  cria::conversation talk_;
  std::unique_ptr<detail::one_user> user_;
};

using chat_session = basic_chat_session<>;

}  // namespace cria::inline v0_1_0
