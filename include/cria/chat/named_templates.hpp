// SPDX-License-Identifier: MIT
// chat/named_templates.hpp - wraps one question as a chat turn, for the families of templates that are known by their markers.
//
//   chatml   <|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n          llama2   [INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST]
//   llama3   <|start_header_id|>user<|end_header_id|>\n\n{user}<|eot_id|>...      mistral  [INST] {system}\n\n{user} [/INST]
//   zephyr   <|user|>\n{user}</s>\n<|assistant|>\n
//
// Ensures   what people typed is text: only markers of the template become control tokens. A literal system message that a ChatML template
//           brings itself is used where the host gives none.
// Errors    find_template: missing_key (no template), syntax (one that is not known); encode_turn: those of tokenizer::encode
// Threads   pure functions
// Source    the Jinja templates that the models' publishers ship as tokenizer.chat_template (Qwen 2.5, SmolLM2, Llama 2 and 3, Zephyr, TinyLlama, Mistral)
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0 {

enum class template_family : std::uint8_t { chatml, llama2, llama3, zephyr, mistral };

[[nodiscard]] constexpr std::string_view name(template_family family) noexcept {
  constexpr std::string_view names[] = {"chatml", "llama2", "llama3", "zephyr", "mistral"};
  return names[static_cast<std::size_t>(family)];
}

/// A template that was recognised, with what its text says about the details.
struct named_template {
  template_family family = template_family::chatml;
  std::string default_system;   ///< chatml: what it says itself where the conversation has no system message
  bool starts_with_bos = false; ///< it writes bos_token, whatever the tokenizer does
  bool spaces_before = false;   ///< mistral: "[INST] " rather than "[INST]"
  bool spaces_after = false;    ///< mistral: " [/INST]"
};

/// What the user says, and a system message; empty: none.
struct chat_question {
  std::string_view user;
  std::string_view system;
};

namespace detail {

/// Returns the system message that a ChatML template holds as a literal; empty where there is none.
[[nodiscard]] inline std::string literal_system(std::string_view jinja) {
  constexpr std::string_view opening = "<|im_start|>system";
  for (std::size_t at = jinja.find(opening); at != jinja.npos; at = jinja.find(opening, at + 1)) {
    std::string_view rest = jinja.substr(at + opening.size());
    const std::size_t newline = rest.starts_with("\\n") ? 2 : rest.starts_with('\n') ? 1 : 0;
    if (newline == 0) continue;
    rest.remove_prefix(newline);
    const std::size_t end = rest.find("<|im_end|>");
    if (end == rest.npos) continue;
    const std::string_view literal = rest.substr(0, end);
    if (literal.find_first_of("'\"{}") != literal.npos) continue;   // the literal ends and an expression follows
    std::string out;
    for (std::size_t i = 0; i < literal.size(); ++i) {
      const bool is_newline = literal.substr(i).starts_with("\\n");
      out += is_newline ? '\n' : literal[i];
      i += is_newline;
    }
    return out;
  }
  return {};
}

/// A rendered prompt: markers, which become control tokens where the vocabulary has such, and text, which never does.
class turn_writer {
 public:
  explicit turn_writer(const tokenizer& t) : tokenizer_(t) {}

  turn_writer& text(std::string_view s) {
    text_ += s;
    return *this;
  }

  turn_writer& marker(std::string_view s) {
    const auto id = tokenizer_.find(s);
    if (!id || (tokenizer_.kind(*id) != token_kind::control && tokenizer_.kind(*id) != token_kind::user_defined)) return text(s);
    return token(*id);
  }

  turn_writer& token(token_id id) {
    close_text();
    tokens_.push_back(id);
    return *this;
  }

  [[nodiscard]] result<std::vector<token_id>> finish() {
    close_text();
    if (!failure_) return std::move(failure_).error();
    return std::move(tokens_);
  }

 private:
  void close_text() {
    if (text_.empty() || !failure_) return;
    auto more = tokenizer_.encode(text_, {.add_bos = false, .parse_special = false, .add_eos = false});
    text_.clear();
    if (more) {
      tokens_.insert(tokens_.end(), more->begin(), more->end());
    } else {
      failure_ = std::move(more).error();
    }
  }

  const tokenizer& tokenizer_;
  std::string text_;
  std::vector<token_id> tokens_;
  result<void> failure_;
};

inline void write_chatml(turn_writer& out, const chat_question& q) {
  const auto turn = [&](std::string_view role, std::string_view content) {
    out.marker("<|im_start|>").text(role).text("\n").text(content).marker("<|im_end|>").text("\n");
  };
  if (!q.system.empty()) turn("system", q.system);
  turn("user", q.user);
  out.marker("<|im_start|>").text("assistant\n");
}

inline void write_llama3(turn_writer& out, const chat_question& q) {
  const auto header = [&](std::string_view role) { out.marker("<|start_header_id|>").text(role).marker("<|end_header_id|>").text("\n\n"); };
  const auto turn = [&](std::string_view role, std::string_view content) {
    header(role);
    out.text(content).marker("<|eot_id|>");
  };
  if (!q.system.empty()) turn("system", q.system);
  turn("user", q.user);
  header("assistant");
}

inline void write_zephyr(turn_writer& out, const chat_question& q, std::string_view eos) {
  const auto turn = [&](std::string_view role, std::string_view content) { out.marker(role).text("\n").text(content).marker(eos).text("\n"); };
  if (!q.system.empty()) turn("<|system|>", q.system);
  turn("<|user|>", q.user);
  out.marker("<|assistant|>").text("\n");
}

inline void write_llama2(turn_writer& out, const chat_question& q) {
  out.marker("[INST]").text(" ");
  if (!q.system.empty()) out.text("<<SYS>>\n").text(q.system).text("\n<</SYS>>\n\n");
  out.text(q.user).text(" ").marker("[/INST]");
}

inline void write_mistral(turn_writer& out, const chat_question& q, const named_template& t) {
  out.marker("[INST]").text(t.spaces_before ? " " : "");
  if (!q.system.empty()) out.text(q.system).text("\n\n");
  out.text(q.user).text(t.spaces_after ? " " : "").marker("[/INST]");
}

}  // namespace detail

/// Recognises a Jinja chat template by its markers.
[[nodiscard]] inline result<named_template> recognise_template(std::string_view jinja) {
  const auto has = [jinja](std::string_view s) { return jinja.find(s) != jinja.npos; };
  named_template t;
  t.starts_with_bos = has("bos_token");
  if (has("<|im_start|>")) {
    t.family = template_family::chatml;
    t.default_system = detail::literal_system(jinja);
  } else if (has("<|start_header_id|>") && has("<|eot_id|>")) {
    t.family = template_family::llama3;
  } else if (has("<|user|>") && has("<|assistant|>") && has("eos_token")) {
    t.family = template_family::zephyr;
  } else if (has("[INST]") && has("<<SYS>>")) {
    t.family = template_family::llama2;
  } else if (has("[INST]")) {
    t.family = template_family::mistral;
    t.spaces_before = has("[INST] ");
    t.spaces_after = has(" [/INST]");
  } else {
    return error{errc::syntax, "tokenizer.chat_template", "is none of ChatML, Llama 2, Llama 3, Zephyr, Mistral", error::no_offset};
  }
  return t;
}

/// Returns the model's own template: missing_key where it has none, syntax where it is not known.
[[nodiscard]] inline result<named_template> find_template(const gguf::metadata& metadata) {
  CRIA_TRY(const std::string_view jinja, metadata.get<std::string_view>("tokenizer.chat_template"));
  return recognise_template(jinja);
}

/// Returns the tokens of a first turn, up to where the model answers.
[[nodiscard]] inline result<std::vector<token_id>> encode_turn(const named_template& t, const tokenizer& tokenizer, chat_question q) {
  return catch_bad_alloc([&]() -> result<std::vector<token_id>> {
    if (q.system.empty()) q.system = t.default_system;
    detail::turn_writer out(tokenizer);
    if (tokenizer.bos() != no_token && (tokenizer.adds_bos() || t.starts_with_bos)) out.token(tokenizer.bos());
    switch (t.family) {
      case template_family::chatml: detail::write_chatml(out, q); break;
      case template_family::llama2: detail::write_llama2(out, q); break;
      case template_family::llama3: detail::write_llama3(out, q); break;
      case template_family::zephyr: detail::write_zephyr(out, q, tokenizer.token_text(tokenizer.eos())); break;
      case template_family::mistral: detail::write_mistral(out, q, t); break;
    }
    return out.finish();
  }, "chat turn");
}

}  // namespace cria::inline v0
