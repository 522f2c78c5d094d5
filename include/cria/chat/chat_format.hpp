// SPDX-License-Identifier: MIT
// chat/chat_format.hpp - how a model is talked with, whoever generates: makes what a session or a batch engine is asked for of a conversation.
//
//   auto format = cria::chat_format::create(model);                   // the model's own template; shared by all conversations
//   talk.add("user", "What is a cria?");
//   auto asked = format->prepare(talk, options, engine.capacity());   // fits the context: turns may have gone, by options.history
//   auto id = engine.add(asked->prompt, asked->generation, [&](const cria::token_event& e) { return asked->reader.read(e, show); });
//   ...                                                               // engine.step() until next_finished() has it
//   auto reply = asked->reader.finish(std::move(ended->outcome), show);   // shows the rest; text, thinking, calls
//   if (reply) talk = asked->reader.take_conversation();              // with the reply; an error has changed nothing
//
// chat_session is this over one session: a batch engine's replies are the bits that it gives to the same conversation with the same options and capacity.
// Ensures   the generation has the host's options, and beside them what ends a reply by the template (with a grammar, which says itself where the text ends,
//           its tokens only) and the tags of calls and thinking that are control tokens, shown. A reply to a prompt that ends in <think> begins with
//           thinking, unless a grammar describes it
// Errors    create: those of chat_template. prepare: context_full (the prompt alone leaves no room for the reply, or the policy is stop: found before
//           it is tokenised, as far as its bytes tell), cancelled (the stop token, while there is no prompt yet; later it makes a reply), bad_argument
//           (tools that the template has no place for), those of chat_template::encode, out_of_memory. usage: those of chat_template::encode
// Threads   immutable, shared freely; a request and its reader are for one at a time
// Lifetime  keeps its model alive, and so does a request. A callback that reads refers to the reader: both stay where they are until the outcome is there
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

namespace cria::inline v0 {

/// A conversation that waits for its reply: what to generate, and what makes the reply of it.
struct chat_request {
  std::vector<token_id> prompt;
  generation_options generation;
  reply_reader reader;
};

class chat_format {
 public:
  /// Talks by the model's own template, or by another.
  [[nodiscard]] static result<chat_format> create(cria::model m);
  [[nodiscard]] static result<chat_format> create(cria::model m, chat_template t);

  /// Makes a conversation ready to be answered in a context of so many positions: a session's or engine's capacity().
  [[nodiscard]] result<chat_request> prepare(const conversation& talk, const chat_options& options, std::size_t capacity) const;

  /// Counts the tokens of a conversation, turn by turn: it is rendered once for each.
  [[nodiscard]] result<context_use> usage(const conversation& talk, const render_options& rendering, std::size_t capacity) const;

  [[nodiscard]] const chat_template& used_template() const noexcept { return template_; }
  [[nodiscard]] const cria::model& model() const noexcept { return model_; }

 private:
  chat_format(cria::model m, chat_template t, reply_ends ends) noexcept : model_(std::move(m)), template_(std::move(t)), ends_(std::move(ends)) {}

  [[nodiscard]] reply_syntax syntax_of(const chat_options& options) const;
  /// As above, for what the prompt ends with.
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
  return options.rendering.tools ? reply_syntax::with_tools(template_.tool_source()) : reply_syntax{};
}

CRIA_INLINE reply_syntax chat_format::syntax_for(const chat_options& options, std::span<const token_id> prompt) const {
  reply_syntax syntax = syntax_of(options);
  std::string end = model_.tokenizer().decode(prompt.last(std::min<std::size_t>(prompt.size(), 12)), true);
  end.resize(end.find_last_not_of(" \n") + 1);
  syntax.starts_in_thinking |= syntax.has_thinking && !options.generation.grammar && end.ends_with("<think>");
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
  // What a template refuses to write alone (a system message without a turn) is counted with what follows.
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

}  // namespace cria::inline v0
