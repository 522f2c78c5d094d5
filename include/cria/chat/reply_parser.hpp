// SPDX-License-Identifier: MIT
// chat/reply_parser.hpp - divides what a model writes, while it writes it, into thinking, text for people, and calls of tools.
//
//   <think> thinking </think> text                                    only before any text; Seed-OSS: <seed:think> thinking </seed:think>
//   text <tool_call> {"name": ..., "arguments": {...}} </tool_call>   Hermes, Qwen and others; several in a row; a list of calls inside, too
//   text [TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]        Mistral; also [TOOL_CALLS]name[ARGS]{...}
//   {"name": ..., "parameters": {...}}; {...}                         Llama 3: as the whole reply, or behind <|python_tag|>
//   <|channel|>analysis<|message|> thinking <|end|> ...               gpt-oss: channel_header.hpp; the JSON of a message to a function is a call
//
// Ensures   The texts of all pieces, one after another, are the reply, byte for byte. How the reply is cut into calls of push() changes nothing.
//           What looks like a call but is not one (not JSON, no name, followed by something else) is text. Text is held back only while it may be a tag,
//           white space before a tag, or a call. Time is O(n), except that names of functions are read again, at most 256 bytes each.
// Errors    none
// Threads   one at a time
// Lifetime  pieces are valid until the next push() or finish()
// Source    templates and model cards of Hermes 2 Pro, Qwen 2.5 and 3, Mistral 7B v0.3 and Small 3.2, Llama 3.1, Seed-OSS; OpenAI Harmony Response Format
#pragma once

#include <cria/chat/channel_header.hpp>
#include <cria/chat/json.hpp>
#include <cria/chat/reply_syntax.hpp>
#include <cria/chat/tool_call.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

class reply_parser {
 public:
  explicit reply_parser(const reply_syntax& syntax = {}) : syntax_(syntax) {
    mode_ = syntax.has_channels ? mode::header : syntax.starts_in_thinking ? mode::thinking : mode::start;
  }

  /// Takes more of the reply; returns the pieces that have become certain.
  std::span<const reply_piece> push(std::string_view text) {
    take(text);
    run(false);
    return finish_pieces();
  }

  /// Takes the end of the reply; returns the remaining pieces.
  std::span<const reply_piece> finish() {
    take({});
    run(true);
    return finish_pieces();
  }

  [[nodiscard]] const std::string& thinking() const noexcept { return thinking_; }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] const std::vector<tool_call>& calls() const noexcept { return calls_; }

 private:
  enum class mode : std::uint8_t { start, thinking, text, call, header, message };
  enum class form : std::uint8_t { tags, list, bare };
  enum class phase : std::uint8_t { before, value, behind };   // of a call's JSON
  enum class outcome : std::uint8_t { open, good, bad };
  static constexpr std::string_view open_call = "<tool_call>", close_call = "</tool_call>", open_list = "[TOOL_CALLS]",
                                    arguments_tag = "[ARGS]", id_tag = "[CALL_ID]", python_tag = "<|python_tag|>", end_message = "<|end|>", space = " \t\r\n";
  static constexpr std::size_t npos = std::string_view::npos, longest_name = 256;

  void take(std::string_view text) {
    held_.erase(0, done_);
    done_ = 0;
    pieces_.clear();
    n_told_ = calls_.size();
    held_ += text;
  }

  std::span<const reply_piece> finish_pieces() {
    for (reply_piece& p : pieces_) {
      if (p.part == reply_part::tool_call) p.call = &calls_[n_told_++];
    }
    return pieces_;
  }

  [[nodiscard]] std::string_view rest() const noexcept { return std::string_view(held_).substr(done_); }
  /// Returns how much white space the rest begins with. It may be held back through many pushes, so each looks only at what is new.
  [[nodiscard]] std::size_t leading_space() noexcept { return n_space_ = std::min(rest().find_first_not_of(space, n_space_), rest().size()); }
  /// Returns where the first n bytes of the rest begin their white space at the end.
  [[nodiscard]] std::size_t trimmed(std::size_t n) const noexcept {
    if (n <= n_space_) return 0;
    const std::size_t last = rest().substr(0, n).find_last_not_of(space);
    return last == npos ? 0 : last + 1;
  }

  void emit(reply_part part, std::size_t n) {
    if (n == 0) return;
    const std::string_view piece = rest().substr(0, n);
    done_ += n;
    n_space_ -= std::min(n_space_, n);
    if (part == reply_part::text) text_ += piece, follows_call_ = false;
    if (part == reply_part::thinking) thinking_ += piece;
    pieces_.push_back({part, piece, nullptr});
  }

  void run(bool is_end) {
    while (done_ < held_.size() && step(is_end)) {
    }
  }

  /// Returns whether something was decided; if not, more must come.
  [[nodiscard]] bool step(bool is_end) {
    switch (mode_) {
      case mode::start: return start(is_end);
      case mode::thinking: return think(is_end);
      case mode::text: return speak(is_end);
      case mode::call: return call(is_end);
      case mode::header: return header(is_end);
      case mode::message: return message(is_end);
    }
    return false;
  }

  /// Before any text.
  [[nodiscard]] bool start(bool is_end) {
    const std::size_t n_space = leading_space();
    const std::string_view word = rest().substr(n_space), open = syntax_.thinking.open;
    if (!is_end && (word.empty() || (syntax_.has_thinking && word.size() < open.size() && open.starts_with(word)))) return false;
    if (syntax_.has_thinking && word.starts_with(open)) {
      emit(reply_part::markup, n_space + open.size());
      mode_ = mode::thinking;
      is_thinking_begun_ = false;
      return true;
    }
    if (follows_thinking_) emit(reply_part::markup, n_space);
    if (syntax_.has_bare_calls && word.starts_with('{')) {
      begin_call(form::bare, follows_thinking_ ? 0 : n_space, 0);
    } else {
      mode_ = mode::text;
    }
    return true;
  }

  [[nodiscard]] bool think(bool is_end) {
    if (!std::exchange(is_thinking_begun_, true)) {
      const std::size_t n_space = leading_space();
      if (n_space == rest().size() && !is_end) return is_thinking_begun_ = false;
      if (n_space != 0) return emit(reply_part::markup, n_space), true;
    }
    const std::string_view close = syntax_.thinking.close;
    const std::size_t at = rest().find(close, leading_space());
    if (at != npos) {
      emit(reply_part::thinking, trimmed(at));
      emit(reply_part::markup, rest().find(close) + close.size());
      follows_thinking_ = true;
      mode_ = mode::start;
      return true;
    }
    const std::size_t n = is_end ? rest().size() : trimmed(rest().size() - partial(close));
    emit(reply_part::thinking, n);
    return false;
  }

  /// Returns the length of the longest beginning of the tag that the rest ends with.
  [[nodiscard]] std::size_t partial(std::string_view tag) const noexcept {
    for (std::size_t n = std::min(tag.size() - 1, rest().size()); n > 0; --n) {
      if (rest().ends_with(tag.substr(0, n))) return n;
    }
    return 0;
  }

  struct call_tag {
    std::string_view text;
    form which;
  };

  [[nodiscard]] bool speak(bool is_end) {
    std::array<call_tag, 3> all{};
    std::size_t n_all = 0;
    if (syntax_.has_call_tags) all[n_all++] = {open_call, form::tags};
    if (syntax_.has_call_list) all[n_all++] = {open_list, form::list};
    if (syntax_.has_bare_calls) all[n_all++] = {python_tag, form::bare};
    const std::span<const call_tag> tags = std::span(all).first(n_all);
    for (std::size_t at = tags.empty() ? npos : rest().find_first_of("<[", leading_space()); at != npos; at = rest().find_first_of("<[", at + 1)) {
      for (const call_tag& tag : tags) {
        if (!rest().substr(at).starts_with(tag.text)) continue;
        const std::size_t n_text = trimmed(at);
        emit(reply_part::text, n_text);
        begin_call(tag.which, at - n_text, tag.text.size());
        return true;
      }
    }
    if (is_end || tags.empty()) {
      emit(is_end && follows_call_ && trimmed(rest().size()) == 0 ? reply_part::markup : reply_part::text, rest().size());
      return false;
    }
    std::size_t n_kept = 0;
    for (const call_tag& tag : tags) n_kept = std::max(n_kept, partial(tag.text));
    emit(reply_part::text, trimmed(rest().size() - n_kept));
    return false;
  }

  /// The rest begins with so much white space and a tag, and then what may be a call.
  void begin_call(form which, std::size_t n_space, std::size_t n_tag) {
    mode_ = mode::call;
    form_ = which;
    phase_ = phase::before;
    n_before_ = n_space + n_tag;
    cursor_ = n_before_;
    name_.clear();
    id_.clear();
  }

  [[nodiscard]] bool call(bool is_end) {
    outcome found = outcome::open;
    while (found == outcome::open) {
      const phase before = phase_;
      found = phase_ == phase::before ? find_value() : phase_ == phase::value ? find_end() : look_behind(is_end);
      if (found == outcome::open && phase_ == before) {
        if (!is_end) return false;
        found = outcome::bad;
      }
    }
    mode_ = mode::text;
    if (found == outcome::bad) {
      emit(reply_part::text, n_before_);   // maybe nothing: as text, the rest is looked at anew
      return true;
    }
    emit(reply_part::tool_call, cursor_);
    for (std::size_t i = 0; i + 1 < found_.size(); ++i) pieces_.push_back({reply_part::tool_call, {}, nullptr});
    calls_.insert(calls_.end(), std::make_move_iterator(found_.begin()), std::make_move_iterator(found_.end()));
    follows_call_ = true;
    if (form_ == form::bare && is_more_) begin_call(form::bare, 0, 0);
    return true;
  }

  /// Before a message of a channel. Without a header, the rest is text.
  [[nodiscard]] bool header(bool is_end) {
    const detail::channel_header found = detail::read_channel_header(rest(), is_end);
    if (found.is == detail::channel_header::state::open) return false;
    mode_ = found.is == detail::channel_header::state::whole ? mode::message : mode::text;
    message_part_ = found.part;
    name_ = found.function;
    cursor_ = 0;
    emit(reply_part::markup, found.size);
    return true;
  }

  /// Within a message: a call is known at its end, all else at once.
  [[nodiscard]] bool message(bool is_end) {
    const std::size_t at = rest().find(end_message, cursor_), n_kept = at == npos && !is_end ? partial(end_message) : 0;
    const std::size_t n = at == npos ? rest().size() - n_kept : at;
    if (message_part_ != reply_part::tool_call) {
      emit(message_part_, n);
    } else if (at == npos && !is_end) {
      cursor_ = n;
      return false;
    } else {
      auto arguments = json::parse(rest().substr(0, n));
      const bool is_call = arguments && arguments->get_if<json::object>() != nullptr;
      if (is_call) calls_.push_back({{}, name_, *std::move(arguments)});
      emit(is_call ? reply_part::tool_call : reply_part::text, n);
    }
    if (at == npos) return false;
    emit(reply_part::markup, end_message.size());
    mode_ = mode::header;
    return true;
  }

  void skip_space() noexcept { cursor_ = std::min(rest().find_first_not_of(space, cursor_), rest().size()); }

  [[nodiscard]] outcome find_value() {
    skip_space();
    if (cursor_ == rest().size()) return outcome::open;
    const char c = rest()[cursor_];
    if (c == '{' || (c == '[' && form_ != form::bare)) {
      value_at_ = cursor_;
      finder_ = {};
      phase_ = phase::value;
      return outcome::open;
    }
    return form_ == form::list && name_.empty() ? find_name() : outcome::bad;
  }

  /// Takes name[ARGS] or name[CALL_ID]id[ARGS].
  [[nodiscard]] outcome find_name() {
    const std::string_view from = rest().substr(cursor_, longest_name);
    const auto word = [&](std::size_t at) {
      const std::size_t begin = at;
      while (at < from.size() && detail::is_name_letter(from[at])) ++at;
      return from.substr(begin, at - begin);
    };
    const auto bad_or_open = [&](std::string_view behind, std::string_view tag) {
      return from.size() < longest_name && tag.starts_with(behind) ? outcome::open : outcome::bad;
    };
    const std::string_view name = word(0);
    std::size_t at = name.size();
    std::string_view id;
    if (name.empty()) return outcome::bad;
    if (from.substr(at).starts_with(id_tag)) {
      id = word(at + id_tag.size());
      at += id_tag.size() + id.size();
    } else if (from.size() - at < id_tag.size() && id_tag.starts_with(from.substr(at))) {
      return bad_or_open(from.substr(at), id_tag);
    }
    if (!from.substr(at).starts_with(arguments_tag)) return bad_or_open(from.substr(at), arguments_tag);
    name_ = name;
    id_ = id;
    cursor_ += at + arguments_tag.size();
    return find_value();
  }

  [[nodiscard]] outcome find_end() {
    using state = detail::json_end_finder::state;
    while (cursor_ < rest().size()) {
      const state s = finder_.push(rest()[cursor_++]);
      if (s == state::bad) return outcome::bad;
      if (s == state::ended) return read_calls(rest().substr(value_at_, cursor_ - value_at_));
    }
    return outcome::open;
  }

  [[nodiscard]] outcome read_calls(std::string_view text) {
    auto value = json::parse(text);
    if (!value) return outcome::bad;
    found_.clear();
    if (!name_.empty()) {
      if (value->get_if<json::object>() == nullptr) return outcome::bad;
      found_.push_back({id_, name_, *std::move(value)});
    } else if (const json::array* list = value->get_if<json::array>()) {
      for (const json& one : *list) {
        if (!read_call(one)) return outcome::bad;
      }
    } else if (!read_call(*value)) {
      return outcome::bad;
    }
    if (found_.empty()) return outcome::bad;
    phase_ = phase::behind;
    return outcome::open;
  }

  [[nodiscard]] bool read_call(const json& value) {
    // An object with a name may be anybody's: as the whole reply it is a call only with what it is called with.
    if (form_ == form::bare && value.find("parameters") == nullptr && value.find("arguments") == nullptr && value.find("function") == nullptr) return false;
    auto one = tool_call::from_json(value);
    if (one) found_.push_back(*std::move(one));
    return one.has_value();
  }

  /// Looks at what follows the value. A call is good when its end is certain; white space before it is passed but once.
  [[nodiscard]] outcome look_behind(bool is_end) {
    if (form_ == form::list) return outcome::good;
    skip_space();
    const std::string_view behind = rest().substr(cursor_);
    is_more_ = false;
    if (form_ == form::bare) {
      if (behind.empty()) return is_end ? outcome::good : outcome::open;
      is_more_ = behind[0] == ';' || behind[0] == '{';
      if (behind[0] == ';') ++cursor_;
      return is_more_ ? outcome::good : outcome::bad;
    }
    if (behind.starts_with(close_call)) return cursor_ += close_call.size(), outcome::good;
    if (behind.starts_with(open_call)) return outcome::good;
    const bool may_close = close_call.starts_with(behind);
    if (!may_close && !open_call.starts_with(behind)) return outcome::bad;
    if (is_end && may_close) cursor_ = rest().size();   // a reply that ends within the closing tag, or before it, has the call all the same
    return is_end ? outcome::good : outcome::open;
  }

  reply_syntax syntax_;
  std::string held_;                   // bytes not yet decided, behind those of the last call's pieces
  std::size_t done_ = 0;               // of held_
  std::size_t n_space_ = 0;            // bytes that the rest begins with and that are known to be white space
  std::vector<reply_piece> pieces_;
  std::string thinking_, text_;
  std::vector<tool_call> calls_;
  std::size_t n_told_ = 0;             // calls that earlier pieces brought
  mode mode_ = mode::start;
  reply_part message_part_ = reply_part::text;   // of a channel
  bool is_thinking_begun_ = false, follows_thinking_ = false, follows_call_ = false;
  // Of the call under way; places are in rest().
  form form_ = form::tags;
  phase phase_ = phase::before;
  std::size_t n_before_ = 0, cursor_ = 0, value_at_ = 0;
  bool is_more_ = false;
  std::string name_, id_;
  detail::json_end_finder finder_;
  std::vector<tool_call> found_;
};

}  // namespace cria::inline v0_1_0
