// SPDX-License-Identifier: MIT
// chat/chat_session.hpp - a chat with a model: say something, get a reply as it is made, take it back, go on when the context is full.
//
//   auto chat = cria::chat_session::create(model);
//   chat->set_system("Be brief.");
//   auto reply = chat->say("What is a cria?", {}, [](std::string_view text) { show(text); });
//
// Thinking and calls of tools (reply_parser.hpp) are no part of a reply's text; the message that is added has them as reasoning_content and tool_calls:
//
//   auto reply = chat->say("Is it raining in Lima?", options);                       // options.rendering.tools: describe_tools(...)
//   while (reply && !reply->calls.empty()) {
//     std::vector<cria::chat_message> answers;
//     for (const cria::tool_call& call : reply->calls) answers.push_back(cria::tool_answer(call, run(call)));
//     reply = chat->say_all(std::move(answers), options);
//   }
//
// The conversation is the truth, the cache an aid: every prompt is rendered anew, and what the cache holds of its beginning is not computed again.
// When a prompt and the room for the reply do not fit the context, chat_options::history decides:
//   drop_oldest  whole turns go from the conversation, the oldest first; what stands before the first turn stays, and so does its part of the cache.
//                The rest is computed again: keys are kept rotated to their position, and values saw what was dropped, so moving them would not be exact.
//   slide        the conversation stays; of its tokens those before the first turn (the system message) and the newest are taken, also from the midst of
//                a turn on. What moved is computed again at its new position, from the tokens that remain: exact for that shortened text, at the cost of a prompt.
//   stop         context_full
// Ensures   after a reply the conversation has two messages more, also where the reply was stopped (then it is what was said until then, which may be
//           nothing: undo() takes such a turn back); after an error, or an exception of the callback, it is as before
// Errors    say, regenerate: context_full (the prompt alone leaves no room for the reply, or the policy is stop), cancelled (the stop token, while it was looked for
//           how many turns have to go), those of chat_template::encode and of
//           basic_session::generate, bad_argument (tools that the template has no place for; regenerate: nothing to answer; say_all: nothing said)
// Threads   one at a time: who asks for a reply while one is made, on another thread or in its callback, gets bad_argument, and the first reply goes on. The
//           conversation must not be read or changed by other threads meanwhile; what a callback changes in it is lost when the reply ends.
// Lifetime  owns its session, which keeps the model alive; the template is shared
#pragma once

#include <cria/chat/chat_options.hpp>
#include <cria/chat/chat_template.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/chat/history.hpp>
#include <cria/chat/reply_parser.hpp>
#include <cria/core/function_ref.hpp>
#include <cria/core/one_user.hpp>
#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/core/types.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/options.hpp>
#include <cria/generate/session.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/model/model.hpp>
#include <cria/sampling/runtime_sampler.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0 {

template <kv_cache Cache = contiguous_kv_cache<kv_type::f16>>
class basic_chat_session {
 public:
  using session_type = basic_session<Cache>;

  /// Chats through a session of the host's, by the model's own template.
  [[nodiscard]] static result<basic_chat_session> create(session_type made) {
    CRIA_TRY(auto t, chat_template::from_model(made.model()));
    return create(std::move(made), std::move(t));
  }
  [[nodiscard]] static result<basic_chat_session> create(session_type made, chat_template t) {
    return catch_bad_alloc([&]() -> result<basic_chat_session> {
      CRIA_TRY(auto ends, t.ends(made.model().tokenizer()));
      return basic_chat_session(std::move(made), std::move(t), std::move(ends), std::make_unique<detail::one_user>());
    }, "chat");
  }
  [[nodiscard]] static result<basic_chat_session> create(const cria::model& model, const session_options& options = {}) {
    CRIA_TRY(auto made, session_type::create(model, options));
    return create(std::move(made));
  }

  /// Adds what the user says, or a message of another role (a tool's), and lets the model answer.
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
    return with_own_sampler(std::move(next), options, to_steps(callback));
  }
  /// As above, with the host's sampler.
  template <class Sampler, class Callback = no_callback>
    requires(sampler<std::remove_reference_t<Sampler>> && chat_callback<Callback>)
  result<chat_reply> say(chat_message message, const chat_options& options, Sampler&& sampler, Callback&& callback = {}) {
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, extended(std::move(message)));
    return reply_to(std::move(next), options, sampler, to_steps(callback));
  }

  /// Adds several messages, as the answers of tools, and lets the model answer.
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  result<chat_reply> say_all(std::vector<chat_message> messages, const chat_options& options = {}, Callback&& callback = {}) {
    if (messages.empty()) return error{errc::bad_argument, "messages", "there is nothing to answer", error::no_offset};
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, extended(std::move(messages)));
    return with_own_sampler(std::move(next), options, to_steps(callback));
  }

  /// Answers the last message anew: the model's last reply, if there is one, is replaced. Another seed gives another reply.
  template <class Callback = no_callback>
    requires chat_callback<Callback>
  result<chat_reply> regenerate(const chat_options& options = {}, Callback&& callback = {}) {
    CRIA_TRY([[maybe_unused]] const auto use, enter());
    CRIA_TRY(auto next, without_reply());
    return with_own_sampler(std::move(next), options, to_steps(callback));
  }

  /// Takes the last turn back and returns its messages; none where there is no turn.
  std::vector<chat_message> undo() { return talk_.undo(); }
  /// Takes all turns back; the system message stays.
  void clear() { talk_.clear(); }
  /// Sets the system message from the next reply on; an empty one is none.
  void set_system(std::string_view text) { talk_.set_system(text); }

  /// The conversation, which may be changed freely between replies.
  [[nodiscard]] cria::conversation& conversation() noexcept { return talk_; }
  [[nodiscard]] const cria::conversation& conversation() const noexcept { return talk_; }
  [[nodiscard]] const chat_template& used_template() const noexcept { return template_; }
  /// Writes the conversation by another template from the next reply on.
  [[nodiscard]] result<void> set_template(chat_template t) {
    CRIA_TRY(ends_, t.ends(model().tokenizer()));
    template_ = std::move(t);
    return {};
  }
  [[nodiscard]] session_type& session() noexcept { return session_; }
  [[nodiscard]] const session_type& session() const noexcept { return session_; }
  [[nodiscard]] const cria::model& model() const noexcept { return session_.model(); }

  /// Counts the tokens of the conversation, turn by turn: it is rendered once for each.
  [[nodiscard]] result<context_use> usage(const render_options& rendering = {}) const {
    return catch_bad_alloc([&] { return count(rendering); }, "usage");
  }

 private:
  basic_chat_session(session_type made, chat_template t, reply_ends ends, std::unique_ptr<detail::one_user> user) noexcept
      : session_(std::move(made)), template_(std::move(t)), ends_(std::move(ends)), user_(std::move(user)) {}

  [[nodiscard]] result<detail::one_user::use> enter() {
    if (auto entered = user_->try_enter()) return *std::move(entered);
    return error{errc::bad_argument, "chat", "is asked for two replies at once", error::no_offset};
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
      if (next.turns().empty()) return error{errc::bad_argument, "conversation", "there is nothing to answer", error::no_offset};
      return next;
    }, "conversation");
  }

  /// A prompt that leaves room for the reply, and what it took to get there.
  struct fitted {
    std::vector<token_id> tokens;
    std::vector<chat_message> dropped;
    std::size_t n_left_out = 0;
  };

  [[nodiscard]] result<std::vector<token_id>> encode(const cria::conversation& talk, const render_options& rendering) const {
    return template_.encode(talk, model().tokenizer(), rendering);
  }

  [[nodiscard]] error does_not_fit(std::size_t n, std::size_t room) const {
    return {errc::context_full, "prompt", std::to_string(n) + " tokens and room for " + std::to_string(room) + " of the reply do not fit a context of " +
            std::to_string(session_.capacity()), error::no_offset};
  }

  /// Makes the prompt for `next`, which loses the turns that have to go.
  [[nodiscard]] result<fitted> fit(cria::conversation& next, const chat_options& options) const {
    render_options rendering = options.rendering;
    rendering.add_generation_prompt = true;
    const history_options& history = options.history;
    const std::size_t capacity = session_.capacity(), room = history.room_in(capacity, options.generation.max_tokens);
    fitted out;
    if (rendering.tools && !template_.mentions("tools")) return error{errc::bad_argument, "tools", "the chat template has no place for them", error::no_offset};
    CRIA_TRY(out.tokens, encode(next, rendering));
    if (room <= capacity && out.tokens.size() <= capacity - room) return out;
    if (history.policy == history_policy::stop || room > capacity) return does_not_fit(out.tokens.size(), room);
    const std::size_t wanted = capacity - room - std::min(history.slack_in(capacity), capacity - room);
    if (history.policy == history_policy::slide) return slide(std::move(out.tokens), next, rendering, {capacity - room, wanted, history.n_sinks});
    const std::size_t n_turns = next.turns().size();
    if (n_turns > 1) {
      CRIA_TRY(out, drop_turns(next, n_turns - 1, wanted, rendering, options.generation.stop));
    }
    if (out.tokens.size() > capacity - room) return does_not_fit(out.tokens.size(), room);
    return out;
  }

  /// Drops the fewest turns, at most `most`, after which no more tokens than wanted are left; where there is no such number, `most`.
  /// A conversation can have thousands: they are looked for in steps that double, then in halves.
  [[nodiscard]] result<fitted> drop_turns(cria::conversation& talk, std::size_t most, std::size_t wanted, const render_options& rendering, const stop_token& stop) const {
    std::size_t too_few = 0, enough = most, step = 1;
    std::optional<std::vector<token_id>> left;   // with `enough` dropped; none while no number was enough
    while (!left || too_few + 1 < enough) {
      if (stop.stop_requested()) return error{errc::cancelled, "prompt", {}, error::no_offset};
      const std::size_t n = left ? too_few + (enough - too_few) / 2 : std::min(step, most);
      cria::conversation shorter = talk;
      shorter.drop_oldest(n);
      CRIA_TRY(auto tokens, encode(shorter, rendering));
      if (tokens.size() <= wanted || n == most) {
        enough = n;
        left = std::move(tokens);
      } else {
        too_few = n;
        step = 2 * n;
      }
    }
    return fitted{*std::move(left), talk.drop_oldest(enough), 0};
  }

  struct window {
    std::size_t most, wanted, n_sinks;   ///< tokens of a prompt at most, and once some are left out; tokens kept at the beginning at least
  };

  /// Leaves tokens out behind the sinks, in steps, so that the next turns begin in the same way. The last turn stays whole.
  [[nodiscard]] result<fitted> slide(std::vector<token_id> tokens, const cria::conversation& next, const render_options& rendering, window w) const {
    cria::conversation before = next;
    before.undo();
    std::size_t n_before = 0;   // tokens that belong to what was said before the last turn
    if (!before.turns().empty()) {
      render_options plain = rendering;
      plain.add_generation_prompt = false;
      CRIA_TRY(const auto earlier, encode(before, plain));
      n_before = detail::n_shared(tokens, earlier);
    }
    const std::size_t n_sinks = std::min(std::max(w.n_sinks, detail::n_before_turns(template_, model().tokenizer(), tokens, next, rendering)), n_before), step = std::max<std::size_t>(1, w.most - w.wanted);
    const std::size_t excess = tokens.size() - w.most, n_out = std::min((excess + step - 1) / step * step, n_before - n_sinks);
    if (n_out < excess) return does_not_fit(tokens.size() - n_out, session_.capacity() - w.most);
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(n_sinks);
    tokens.erase(first, first + static_cast<std::ptrdiff_t>(n_out));
    return fitted{std::move(tokens), {}, n_out};
  }

  /// Gets each token with the pieces that it made certain; at the end no token, and the last pieces.
  using step_callback = function_ref<bool(const token_event*, std::span<const reply_piece>)>;

  /// Makes one type of all callbacks, so that a reply is compiled once.
  template <class Callback>
  [[nodiscard]] static auto to_steps(Callback& callback) {
    return [&callback]([[maybe_unused]] const token_event* event, [[maybe_unused]] std::span<const reply_piece> pieces) {
      if constexpr (token_callback<Callback>) {
        return event == nullptr || detail::call_back(callback, *event);
      } else {
        for (const reply_piece& p : pieces) {
          if constexpr (text_callback<Callback>) {
            if (p.part == reply_part::text && !detail::call_back(callback, p.text)) return false;
          } else {
            if (!detail::call_back(callback, p)) return false;
          }
        }
        return true;
      }
    };
  }

  [[nodiscard]] result<chat_reply> with_own_sampler(cria::conversation next, const chat_options& options, step_callback callback) {
    CRIA_TRY(auto own, runtime_sampler::create(options.generation.sampling, model().vocab_size()));
    return reply_to(std::move(next), options, own, callback);
  }

  template <class Sampler>
  [[nodiscard]] result<chat_reply> reply_to(cria::conversation next, const chat_options& options, Sampler& sampler, step_callback callback) {
    CRIA_TRY(fitted prompt, catch_bad_alloc([&] { return fit(next, options); }, "prompt"));
    CRIA_TRY(reply_parser parser, catch_bad_alloc([&]() -> result<reply_parser> { return reply_parser(syntax_for(options, prompt.tokens)); }, "reply"));
    CRIA_TRY(const generation_options generation, catch_bad_alloc([&] { return options_for(options); }, "options"));
    bool is_start = true, is_wanted = true;
    result<void> parsed;
    const auto on_token = [&](const token_event& event) {
      token_event trimmed = event;
      trimmed.text.remove_prefix(n_added_spaces(event.text, is_start));
      if (!event.text.empty()) is_start = false;
      const auto pieces = catch_bad_alloc([&]() -> result<std::span<const reply_piece>> { return parser.push(trimmed.text); }, "reply");
      if (!pieces) parsed = pieces.error();
      is_wanted = pieces && callback(&trimmed, *pieces);
      return is_wanted;
    };
    CRIA_TRY(auto done, session_.generate(prompt.tokens, generation, sampler, on_token));
    CRIA_CHECK(std::move(parsed));
    CRIA_TRY(const auto last, catch_bad_alloc([&]() -> result<std::span<const reply_piece>> { return parser.finish(); }, "reply"));
    if (is_wanted) static_cast<void>(callback(nullptr, last));
    return catch_bad_alloc([&]() -> result<chat_reply> {
      chat_reply reply{parser.text(), parser.thinking(), parser.calls(), std::move(done), std::move(prompt.dropped), prompt.n_left_out};
      detail::give_ids(reply.calls, next);
      next.add(detail::to_message(reply));
      talk_ = std::move(next);
      return reply;
    }, "reply");
  }

  [[nodiscard]] reply_syntax syntax_of(const chat_options& options) const {
    if (options.syntax) return *options.syntax;
    return options.rendering.tools ? reply_syntax::with_tools(template_.tool_source()) : reply_syntax{};
  }
  /// As above, for what the prompt ends with.
  [[nodiscard]] reply_syntax syntax_for(const chat_options& options, std::span<const token_id> prompt) const {
    reply_syntax syntax = syntax_of(options);
    std::string end = model().tokenizer().decode(prompt.last(std::min<std::size_t>(prompt.size(), 12)), true);
    end.resize(end.find_last_not_of(" \n") + 1);
    // What a grammar describes is the reply, also where the prompt ends in thinking.
    syntax.starts_in_thinking |= syntax.has_thinking && !options.generation.grammar && end.ends_with("<think>");
    return syntax;
  }

  /// Returns the host's options, with what ends a reply by the template, and the tags that are control tokens.
  [[nodiscard]] result<generation_options> options_for(const chat_options& chosen) const {
    generation_options options = chosen.generation;
    for (const std::string_view tag : syntax_of(chosen).tags()) {
      if (const auto token = model().tokenizer().find(tag); token && model().tokenizer().piece(*token).empty()) options.shown_tokens.push_back(*token);
    }
    options.stop_tokens.insert(options.stop_tokens.end(), ends_.tokens.begin(), ends_.tokens.end());
    if (options.grammar) return options;   // which says itself where the text ends, and may hold such a string before
    options.stop_strings.insert(options.stop_strings.end(), ends_.strings.begin(), ends_.strings.end());
    return options;
  }

  /// Vocabularies of whole words begin a reply with the space that would part it from a word before.
  [[nodiscard]] std::size_t n_added_spaces(std::string_view text, bool is_start) const noexcept {
    return is_start && text.starts_with(' ') && model().tokenizer().adds_space_prefix() ? 1 : 0;
  }

  [[nodiscard]] result<context_use> count(render_options rendering) const {
    rendering.add_generation_prompt = false;
    context_use use;
    use.capacity = session_.capacity();
    if (talk_.empty()) return use;
    CRIA_TRY(const auto tokens, encode(talk_, rendering));
    use.n_tokens = tokens.size();
    const auto turns = talk_.turns();
    const auto all = talk_.messages();
    std::size_t n_counted = 0;
    // What a template refuses to write alone (a system message without a turn) is counted with what follows.
    const auto count_to = [&](std::size_t n_messages) {
      const auto part = encode(cria::conversation({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n_messages)}), rendering);
      const std::size_t n = part ? std::clamp(part->size(), n_counted, use.n_tokens) : n_counted;
      return n - std::exchange(n_counted, n);
    };
    if (turns.empty()) {
      use.n_before_turns = use.n_tokens;
      return use;
    }
    if (turns[0].first > 0) use.n_before_turns = count_to(turns[0].first);
    for (std::size_t i = 0; i + 1 < turns.size(); ++i) use.turns.push_back(count_to(turns[i].first + turns[i].count));
    use.turns.push_back(use.n_tokens - n_counted);
    return use;
  }

  session_type session_;
  chat_template template_;
  reply_ends ends_;
  cria::conversation talk_;
  std::unique_ptr<detail::one_user> user_;
};

using chat_session = basic_chat_session<>;

}  // namespace cria::inline v0
