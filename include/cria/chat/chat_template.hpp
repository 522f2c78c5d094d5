// SPDX-License-Identifier: MIT
// chat/chat_template.hpp - a conversation as the prompt that its model was trained with: as text that records which bytes the template wrote, and as tokens.
//
//   auto t = cria::chat_template::from_model(model);                        // tokenizer.chat_template; or named("chatml", ...), compile(text, ...)
//   auto tokens = t->encode(talk, model.tokenizer());                       // or render(talk)->text
//
// A template can read messages, tools, documents (always none), add_generation_prompt, bos_token, eos_token, unk_token, pad_token and the host's variables.
// Ensures   Text of messages, tools and variables stays text: only what the template itself writes becomes control tokens. The usual roles (system, user,
//           assistant, tool ...) count as written by the template, as many templates write '<|' + role + '|>'. The tokens begin with one BOS if the model wants
//           one, no matter who writes it. No EOS is added.
// Errors    from_model, from_metadata: missing_key (the file has no template, and its vocabulary fits no known family), wrong_type, and those of compile:
//           syntax, limit_exceeded. named: bad_argument. render: bad_value (the template refuses; `message` is what it says), limit_exceeded. encode: those
//           of render and of tokenizer::encode. All of them: out_of_memory
// Threads   immutable, shared freely; copies share one compiled template
// Source    Hugging Face transformers, chat templates (apply_chat_template: names, tool_use alternate); the language: jinja/template.hpp
#pragma once

#include <cria/chat/conversation.hpp>
#include <cria/chat/jinja/rendering.hpp>
#include <cria/chat/json.hpp>
#include <cria/chat/named_templates.hpp>
#include <cria/chat/reply_syntax.hpp>
#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/model/model.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#if CRIA_HAS_DEFINITIONS
#include <cria/chat/jinja/template.hpp>
#endif

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// The special tokens as templates write them. One that the model lacks is undefined in the template.
struct special_texts {
  std::optional<std::string> bos, eos, unk, pad;

  [[nodiscard]] static special_texts of(const tokenizer& t) {
    const auto text = [&](token_id id) { return id == no_token ? std::nullopt : std::optional<std::string>(t.token_text(id)); };
    return {text(t.bos()), text(t.eos()), text(t.unk()), text(t.pad())};
  }
};

/// A variable that the host sets for the template: enable_thinking, documents, ...
struct template_variable {
  std::string name;
  json value;
  bool is_content = true;   ///< false: the template counts as its author, so that its texts may become control tokens
};

/// What a template is given beside the conversation.
struct render_options {
  bool add_generation_prompt = true;             ///< end with the beginning of the model's answer
  std::optional<json> tools = {};                ///< a list of function descriptions
  std::vector<template_variable> variables = {}; ///< they take precedence over all other names
  std::optional<jinja::civil_time> now = {};     ///< for strftime_now; empty: the system's clock, UTC
  jinja::limits limits = {};
};

/// What ends a reply, besides the model's own end tokens.
struct reply_ends {
  std::vector<token_id> tokens;
  std::vector<std::string> strings;
};

/// Returns the time of the system's clock, in UTC.
[[nodiscard]] jinja::civil_time utc_now();

/// Returns the tokens of a rendered conversation: one BOS if the model wants one, and control tokens only where the template wrote them.
[[nodiscard]] result<std::vector<token_id>> encode_rendered(const jinja::rendered& r, const tokenizer& t);

class chat_template {
 public:
  /// Compiles a template given as text.
  [[nodiscard]] static result<chat_template> compile(std::string_view source, special_texts texts = {});

  /// Uses one of named_templates, by its name there.
  [[nodiscard]] static result<chat_template> named(std::string_view name, special_texts texts = {});

  /// Uses the templates of a model's file: tokenizer.chat_template and, for conversations with tools, tokenizer.chat_template.tool_use.
  /// If the file has none, uses the named template whose markers are tokens of the vocabulary.
  [[nodiscard]] static result<chat_template> from_metadata(const gguf::metadata& data, const tokenizer& t);
  [[nodiscard]] static result<chat_template> from_model(const model& m);

  /// Writes the conversation as text; its `spans` tell which bytes the template wrote and which are content.
  [[nodiscard]] result<jinja::rendered> render(const conversation& talk, const render_options& options = {}) const;
  [[nodiscard]] result<std::vector<token_id>> encode(const conversation& talk, const tokenizer& t, const render_options& options = {}) const;

  /// Returns whether the template reads a variable of that name: "tools", "enable_thinking" ...
  [[nodiscard]] bool mentions(std::string_view variable) const noexcept;
  [[nodiscard]] std::string_view source() const noexcept;
  /// Returns the text of the template for conversations with tools.
  [[nodiscard]] std::string_view tool_source() const noexcept;

  /// Returns what ends a reply: the special token that the template writes after what the model says, if the vocabulary has it; for a named template whose
  /// token the vocabulary lacks, the text of that token; and the mark of the user's turn if it is plain text, such as Zephyr's <|user|>. A word with a colon
  /// (User:) ends a reply only at the beginning of a line other than the first, since within a line replies may contain it, as in `class User:`.
  [[nodiscard]] result<reply_ends> ends(const tokenizer& t) const;

 private:
  struct state;

  explicit chat_template(std::shared_ptr<const state> s) noexcept;

  [[nodiscard]] static result<chat_template> make(std::string_view source, std::string_view tool_use, special_texts texts, std::string_view end_of_turn);

  [[nodiscard]] static bool is_marker(const tokenizer& t, token_id id) noexcept {
    return t.kind(id) == token_kind::control || t.kind(id) == token_kind::user_defined;
  }

  /// Returns the named template of the family whose markers the vocabulary has, or nullptr.
  [[nodiscard]] static const named_template* fitting_template(const tokenizer& t);

  /// Renders a conversation in which the model says one letter, and returns the token that the template writes right after it.
  [[nodiscard]] std::optional<token_id> token_behind_reply(const tokenizer& t) const;
  /// Renders a conversation with two turns, and adds the text that the template writes before the second one, unless it is a special token or like a word.
  void add_user_mark(const tokenizer& t, std::vector<std::string>& out) const;

  std::shared_ptr<const state> state_;
};

#if CRIA_HAS_DEFINITIONS

namespace detail {

/// Returns whether the role is one that templates know and write into their own markers.
[[nodiscard]] inline bool is_usual(std::string_view role) noexcept {
  constexpr std::string_view usual[] = {"system", "developer", "user", "assistant", "model", "tool", "function", "ipython"};
  return std::find(std::begin(usual), std::end(usual), role) != std::end(usual);
}

[[nodiscard]] inline jinja::value make_message(jinja::runtime& rt, const chat_message& m) {
  jinja::value_maker maker(rt);
  std::vector<jinja::pair> pairs;
  for (const auto& [key, field] : *m.fields().get_if<json::object>()) {
    const bool is_own = key == "role" && is_usual(m.role());
    pairs.push_back({maker.make_text(key, true), maker.make(field, !is_own)});
  }
  return rt.make_dict(pairs);
}

using template_context = std::vector<std::pair<std::string_view, jinja::value>>;

[[nodiscard]] inline template_context make_context(jinja::runtime& rt, const conversation& talk, const special_texts& special, const render_options& options) {
  jinja::value_maker maker(rt);
  template_context out;
  std::vector<jinja::value> messages;
  for (const chat_message& m : talk.messages()) messages.push_back(make_message(rt, m));
  out.emplace_back("messages", rt.make_sequence(jinja::kind::list, messages));
  out.emplace_back("tools", options.tools ? maker.make(*options.tools, true) : jinja::value::none());
  out.emplace_back("documents", jinja::value::none());
  out.emplace_back("add_generation_prompt", options.add_generation_prompt);
  const auto give = [&](std::string_view name, const std::optional<std::string>& text) {
    if (text) out.emplace_back(name, maker.make_text(*text, false));
  };
  give("bos_token", special.bos);
  give("eos_token", special.eos);
  give("unk_token", special.unk);
  give("pad_token", special.pad);
  for (const template_variable& v : options.variables) out.emplace_back(v.name, maker.make(v.value, v.is_content));
  return out;
}

}  // namespace detail

struct chat_template::state {
  std::string source, tool_source;
  jinja::compiled_template main;
  std::optional<jinja::compiled_template> tool_use;
  special_texts texts;
  std::string_view end_of_turn;   // of a named template: a literal
};

CRIA_INLINE chat_template::chat_template(std::shared_ptr<const state> s) noexcept : state_(std::move(s)) {}

CRIA_INLINE result<chat_template> chat_template::compile(std::string_view source, special_texts texts) { return make(source, {}, std::move(texts), {}); }

CRIA_INLINE result<chat_template> chat_template::named(std::string_view name, special_texts texts) {
  return catch_bad_alloc([&]() -> result<chat_template> {
    const named_template* t = find_named_template(name);
    if (t != nullptr) return make(t->jinja, {}, std::move(texts), t->end_of_turn);
    std::string known;
    for (const named_template& each : named_templates) known += (known.empty() ? "" : ", ") + std::string(each.name);
    return error{errc::bad_argument, "chat template", "\"" + printable(name) + "\" is none of " + known};
  }, "chat template");
}

CRIA_INLINE result<chat_template> chat_template::from_metadata(const gguf::metadata& data, const tokenizer& t) {
  return catch_bad_alloc([&]() -> result<chat_template> {
    if (!data.contains("tokenizer.chat_template")) {
      if (const named_template* fitting = fitting_template(t)) return make(fitting->jinja, {}, special_texts::of(t), fitting->end_of_turn);
    }
    CRIA_TRY(const auto source, data.get<std::string_view>("tokenizer.chat_template"));
    CRIA_TRY(const auto tool_use, data.get_or<std::string_view>("tokenizer.chat_template.tool_use", {}));
    auto made = make(source, tool_use, special_texts::of(t), {});
    if (made) return made;
    error e = std::move(made).error();
    e.where = "tokenizer.chat_template, " + e.where;
    return e;
  }, "chat template");
}

CRIA_INLINE result<chat_template> chat_template::from_model(const model& m) { return from_metadata(m.metadata(), m.tokenizer()); }

CRIA_INLINE result<jinja::rendered> chat_template::render(const conversation& talk, const render_options& options) const {
  const jinja::compiled_template& chosen = options.tools && state_->tool_use ? *state_->tool_use : state_->main;
  const jinja::civil_time now = options.now ? *options.now : utc_now();
  if (!now.is_valid()) return error{errc::bad_argument, "now", "is no date and time"};
  return chosen.render_with([&](jinja::runtime& rt) { return detail::make_context(rt, talk, state_->texts, options); }, now, options.limits);
}

CRIA_INLINE result<std::vector<token_id>> chat_template::encode(const conversation& talk, const tokenizer& t, const render_options& options) const {
  CRIA_TRY(const jinja::rendered r, render(talk, options));
  return encode_rendered(r, t);
}

CRIA_INLINE bool chat_template::mentions(std::string_view variable) const noexcept {
  return state_->main.mentions(variable) || (state_->tool_use && state_->tool_use->mentions(variable));
}

CRIA_INLINE std::string_view chat_template::source() const noexcept { return state_->source; }

CRIA_INLINE std::string_view chat_template::tool_source() const noexcept { return state_->tool_use ? state_->tool_source : state_->source; }

CRIA_INLINE result<reply_ends> chat_template::ends(const tokenizer& t) const {
  return catch_bad_alloc([&]() -> result<reply_ends> {
    reply_ends out;
    std::string_view named = state_->end_of_turn;
    if (named.empty()) {
      if (const auto token = token_behind_reply(t)) out.tokens.push_back(*token);
    } else if (const auto token = t.find(named); token && is_marker(t, *token)) {
      out.tokens.push_back(*token);
    } else {
      out.strings.emplace_back(named);
    }
    add_user_mark(t, out.strings);
    return out;
  }, "chat template");
}

CRIA_INLINE result<chat_template> chat_template::make(std::string_view source, std::string_view tool_use, special_texts texts, std::string_view end_of_turn) {
  return catch_bad_alloc([&]() -> result<chat_template> {
    CRIA_TRY(auto main, jinja::compiled_template::compile(source));
    std::optional<jinja::compiled_template> second;
    if (!tool_use.empty()) {
      CRIA_TRY(second, jinja::compiled_template::compile(tool_use));
    }
    return chat_template(
        std::make_shared<const state>(state{std::string(source), std::string(tool_use), std::move(main), std::move(second), std::move(texts), end_of_turn}));
  }, "chat template");
}

CRIA_INLINE const named_template* chat_template::fitting_template(const tokenizer& t) {
  const auto has = [&](std::string_view marker) {
    const auto token = marker.empty() ? std::nullopt : t.find(marker);
    return marker.empty() || (token && is_marker(t, *token));
  };
  for (const named_template& each : named_templates) {
    if (!each.markers[0].empty() && std::all_of(each.markers.begin(), each.markers.end(), has)) return &each;
  }
  return nullptr;
}

CRIA_INLINE std::optional<token_id> chat_template::token_behind_reply(const tokenizer& t) const {
  conversation talk;
  talk.add("user", "q").add("assistant", "a");
  const auto r = render(talk, {.add_generation_prompt = false});
  if (!r || r->spans.size() < 2 || r->spans.back().is_content) return std::nullopt;
  std::string_view behind = std::string_view(r->text).substr(r->spans.back().start);
  behind.remove_prefix(std::min(behind.find_first_not_of(" \n"), behind.size()));
  const auto tokens = t.encode(behind, {.add_bos = false, .parse_special = true, .add_eos = false});
  if (!tokens || tokens->empty() || !is_marker(t, tokens->front()) || tokens->front() == t.bos()) return std::nullopt;
  if (reply_syntax::without_tools(source()).has_channels && !t.is_end_of_generation(tokens->front())) return std::nullopt;   // ends a message, more may follow
  return behind.starts_with(t.token_text(tokens->front())) ? std::optional(tokens->front()) : std::nullopt;
}

CRIA_INLINE void chat_template::add_user_mark(const tokenizer& t, std::vector<std::string>& out) const {
  conversation talk;
  talk.add("user", "q1q").add("assistant", "a1a").add("user", "q2q");
  const auto r = render(talk, {.add_generation_prompt = false});
  const std::size_t reply = r ? r->text.rfind("a1a") : std::string::npos, next = r ? r->text.find("q2q", std::min(reply, r->text.size())) : std::string::npos;
  if (reply == std::string::npos || next == std::string::npos) return;
  std::string_view between = std::string_view(r->text).substr(reply + 3, next - reply - 3);
  bool is_own_line = false;
  for (bool is_end = true; is_end;) {
    const std::size_t n_space = std::min(between.find_first_not_of(" \n"), between.size());
    is_own_line = between.substr(0, n_space).find('\n') != between.npos;
    between.remove_prefix(n_space);
    is_end = false;
    for (const token_id end : {t.eos(), t.eot(), t.bos()}) {
      const std::string_view text = t.token_text(end);
      if (is_end || text.empty() || !between.starts_with(text)) continue;
      between.remove_prefix(text.size());
      is_end = true;
    }
  }
  between = between.substr(0, std::min(between.find('\n'), between.size()));
  while (between.ends_with(' ')) between.remove_suffix(1);
  const auto is_mark = [](char c) { return c > 0x20 && c < 0x7f && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); };
  const auto tokens = t.encode(between, {.add_bos = false, .parse_special = true, .add_eos = false});
  const auto is_special = [&t](token_id id) { return is_marker(t, id); };
  if (!tokens || std::any_of(tokens->begin(), tokens->end(), is_special) || std::none_of(between.begin(), between.end(), is_mark)) return;
  const bool is_known = std::any_of(out.begin(), out.end(), [&](const std::string& known) { return between.starts_with(known); });
  const bool is_word = between.ends_with(':') && std::none_of(between.begin(), between.end() - 1, is_mark);
  if (!is_known && !is_word) out.emplace_back(between);
  if (!is_known && (is_word || is_own_line)) out.push_back("\n" + std::string(between));
}

CRIA_INLINE jinja::civil_time utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto day = std::chrono::floor<std::chrono::days>(now);
  const std::chrono::year_month_day date(day);
  const auto seconds = static_cast<int>(std::chrono::floor<std::chrono::seconds>(now - day).count());
  return {static_cast<int>(date.year()), static_cast<int>(static_cast<unsigned>(date.month())), static_cast<int>(static_cast<unsigned>(date.day())),
          seconds / 3600, seconds / 60 % 60, seconds % 60};
}

CRIA_INLINE result<std::vector<token_id>> encode_rendered(const jinja::rendered& r, const tokenizer& t) {
  return catch_bad_alloc([&]() -> result<std::vector<token_id>> {
    std::vector<text_range> foreign;
    for (const jinja::text_span& s : r.spans) {
      if (s.is_content) foreign.push_back({s.start, s.length});
    }
    CRIA_TRY(auto tokens, t.encode(r.text, foreign, {.add_bos = false, .parse_special = true, .add_eos = false}));
    if (t.adds_bos() && t.bos() != no_token && (tokens.empty() || tokens[0] != t.bos())) tokens.insert(tokens.begin(), t.bos());
    return tokens;
  }, "chat");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
