// SPDX-License-Identifier: MIT
// chat/chat_format.hpp - how to talk with a model, whatever generates: turns a conversation into a request for a session or a batch engine.
//
//   auto format = cria::chat_format::create(model);                   // the model's own template; one serves all conversations
//   talk.add("user", "What is a cria?");
//   auto asked = format->prepare(talk, options, engine.capacity());   // fits the context: options.history decides what has to go
//   auto id = engine.add(asked->prompt, asked->generation, [&](const cria::token_event& e) { return asked->reader.read(e, show); });
//   ...                                                               // engine.step() until next_finished() returns it
//   auto reply = asked->reader.finish(std::move(ended->outcome), show);   // shows the rest; text, thinking, calls
//   if (reply) talk = asked->reader.take_conversation();              // now with the reply; after an error `talk` is unchanged
//
// chat_session does this with one session. A batch engine gives the same replies, bit for bit, to the same conversation with the same options and capacity.
// Ensures   The request has the host's generation options, and in addition: the tokens and strings that end a reply by the template (with a grammar, which
//           itself says where the text ends, only the tokens), and, shown as text, the tags of calls and thinking that are control tokens. A reply to a
//           prompt that ends in <think> begins with thinking, unless a grammar describes the reply.
// Errors    create: those of chat_template. prepare: context_full (the prompt alone leaves no room for the reply, or the policy is `stop`; found before
//           tokenising, as far as the number of bytes tells), cancelled (the stop token, before there is a prompt; later it only ends the reply), bad_argument
//           (the template has no place for tools), those of chat_template::encode, out_of_memory. usage: those of chat_template::encode
// Threads   immutable, shared freely; a request and its reader are for one thread at a time
// Lifetime  keeps its model alive, as a request does. A callback that uses the reader refers to it, so the request must not move until its outcome is there.
#pragma once

#include <cria/chat/chat_options.hpp>
#include <cria/chat/chat_template.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/chat/history.hpp>
#include <cria/chat/reply_reader.hpp>
#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/generate/options.hpp>
#include <cria/model/model.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// What to generate as the reply to a conversation, and the reader that turns what is generated into the reply.
struct chat_request {
  std::vector<token_id> prompt;
  generation_options generation;
  reply_reader reader;
};

class chat_format {
 public:
  /// Uses the model's own template, or the given one.
  [[nodiscard]] static result<chat_format> create(cria::model m);
  [[nodiscard]] static result<chat_format> create(cria::model m, chat_template t);

  /// Makes a request for the reply to a conversation, for a context of `capacity` positions: the capacity() of the session or engine.
  [[nodiscard]] result<chat_request> prepare(const conversation& talk, const chat_options& options, std::size_t capacity) const;

  /// Counts the tokens of a conversation by turns. This renders it once for each turn.
  [[nodiscard]] result<context_use> usage(const conversation& talk, const render_options& rendering, std::size_t capacity) const;

  [[nodiscard]] const chat_template& used_template() const noexcept { return template_; }
  [[nodiscard]] const cria::model& model() const noexcept { return model_; }

 private:
  chat_format(cria::model m, chat_template t, reply_ends ends) noexcept : model_(std::move(m)), template_(std::move(t)), ends_(std::move(ends)) {}

  [[nodiscard]] reply_syntax syntax_of(const chat_options& options) const;
  /// As above, for a prompt, whose end may begin the thinking.
  [[nodiscard]] reply_syntax syntax_for(const chat_options& options, std::span<const token_id> prompt) const;
  [[nodiscard]] generation_options options_for(const chat_options& chosen) const;
  [[nodiscard]] result<context_use> count(const conversation& talk, const render_options& rendering, std::size_t capacity) const;

  cria::model model_;
  chat_template template_;
  reply_ends ends_;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<chat_format> chat_format::create(cria::model m) {
  CRIA_TRY(auto t, chat_template::from_model(m));
  return create(std::move(m), std::move(t));
}

CRIA_INLINE result<chat_format> chat_format::create(cria::model m, chat_template t) {
  return catch_bad_alloc([&]() -> result<chat_format> {
    CRIA_TRY(auto ends, t.ends(m.tokenizer()));
    return chat_format(std::move(m), std::move(t), std::move(ends));
  }, "chat");
}

CRIA_INLINE result<chat_request> chat_format::prepare(const conversation& talk, const chat_options& options, std::size_t capacity) const {
  return catch_bad_alloc([&]() -> result<chat_request> {
    conversation rest = talk;
    CRIA_TRY(detail::fitted_prompt prompt, detail::prompt_fitter(template_, model_.tokenizer(), options, capacity).fit(rest));
    reply_reader reader(model_, std::move(rest), syntax_for(options, prompt.tokens), std::move(prompt.dropped), prompt.n_left_out);
    return chat_request{std::move(prompt.tokens), options_for(options), std::move(reader)};
  }, "prompt");
}

CRIA_INLINE result<context_use> chat_format::usage(const conversation& talk, const render_options& rendering, std::size_t capacity) const {
  return catch_bad_alloc([&]() -> result<context_use> {
    render_options plain = rendering;
    plain.add_generation_prompt = false;
    return count(talk, plain, capacity);
  }, "usage");
}

CRIA_INLINE reply_syntax chat_format::syntax_of(const chat_options& options) const {
  if (options.syntax) return *options.syntax;
  return options.rendering.tools ? reply_syntax::with_tools(template_.tool_source()) : reply_syntax::without_tools(template_.source());
}

CRIA_INLINE reply_syntax chat_format::syntax_for(const chat_options& options, std::span<const token_id> prompt) const {
  reply_syntax syntax = syntax_of(options);
  std::string end = model_.tokenizer().decode(prompt.last(std::min<std::size_t>(prompt.size(), 12)), true);
  end.resize(end.find_last_not_of(" \n") + 1);
  syntax.starts_in_thinking |= syntax.has_thinking && !options.generation.grammar && end.ends_with(syntax.thinking.open);
  return syntax;
}

CRIA_INLINE generation_options chat_format::options_for(const chat_options& chosen) const {
  generation_options options = chosen.generation;
  for (const std::string_view tag : syntax_of(chosen).tags()) {
    if (const auto token = model_.tokenizer().find(tag); token && model_.tokenizer().piece(*token).empty()) options.shown_tokens.push_back(*token);
  }
  options.stop_tokens.insert(options.stop_tokens.end(), ends_.tokens.begin(), ends_.tokens.end());
  if (options.grammar) return options;
  options.stop_strings.insert(options.stop_strings.end(), ends_.strings.begin(), ends_.strings.end());
  return options;
}

CRIA_INLINE result<context_use> chat_format::count(const conversation& talk, const render_options& rendering, std::size_t capacity) const {
  context_use use;
  use.capacity = capacity;
  if (talk.empty()) return use;
  CRIA_TRY(const auto tokens, template_.encode(talk, model_.tokenizer(), rendering));
  use.n_tokens = tokens.size();
  const auto turns = talk.turns();
  const auto all = talk.messages();
  std::size_t n_counted = 0;
  // Messages that a template refuses to write alone, such as a system message without a turn, are counted with what follows.
  const auto count_to = [&](std::size_t n_messages) {
    const auto part = template_.encode(conversation({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n_messages)}), model_.tokenizer(), rendering);
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

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
