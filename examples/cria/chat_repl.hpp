// SPDX-License-Identifier: MIT
// The loop of `cria chat`: messages to the model, commands to the program.
#pragma once

#include "chat_input.hpp"
#include "chat_settings.hpp"
#include "command.hpp"
#include "reply_printer.hpp"

#include <cria/cria.hpp>
#include <cria/generate/session_file.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria_program {

/// A command of the chat: what it is called, what may follow, what it does.
struct chat_command {
  std::string_view name, arguments, help;
};
[[nodiscard]] std::span<const chat_command> chat_commands();
[[nodiscard]] std::span<const std::string_view> chat_command_names();

/// Returns the JSON of a section of a saved chat.
[[nodiscard]] result<cria::json> parse_section(const cria::session_file& file, std::string_view name);
[[nodiscard]] cria::session_section to_section(std::string name, const cria::json& content);
/// Returns the first words of a text on one line.
[[nodiscard]] std::string summary(std::string_view text, std::size_t most = 50);
void note_commands();
void note_settings(const chat_settings& settings);
/// The stats line of a reply, and the longer form.
void note_stats(const cria::generation& done, const cria::session_statistics& s);
void note_all_stats(const cria::generation& done, const cria::session_statistics& s, const cria::model& model);

template <class Cache>
class chat_repl {
 public:
  using chat_type = cria::basic_chat_session<Cache>;

  chat_repl(chat_type chat, chat_settings settings, std::string template_name, interrupt& ctrl_c)
      : chat_(std::move(chat)), settings_(std::move(settings)), template_name_(std::move(template_name)), ctrl_c_(ctrl_c) {}

  /// Talks until the user leaves. What goes wrong on the way is told and the talk goes on; an error is that stdout takes no more.
  [[nodiscard]] result<void> run(line_editor& editor) {
    while (!is_over_) {
      static_cast<void>(ctrl_c_.renew());   // ctrl-C at the prompt gives up the line
      const user_input in = read_message(editor, "> ");
      if (in.kind == input_kind::end) {
        std::fputs("\n", stderr);
        return {};
      }
      if (in.kind == input_kind::cancelled) {
        note("(ctrl-D or /exit leaves)");
        continue;
      }
      const auto done = !in.is_quoted && in.text.starts_with('/') ? execute(in.text) : say(in.text);
      if (!done && done.error().where == "stdout") return done;
      if (!done) tell(done.error());
    }
    return {};
  }

  /// Says one thing and prints the answer, and nothing else on stdout.
  [[nodiscard]] result<void> answer_once(const std::string& text) {
    reply_printer printer(settings_.shows_thinking);
    const auto reply = chat_.say(text, settings_.for_reply(ctrl_c_.token()), printer);
    CRIA_CHECK(printer.finish());
    if (!reply) return reply.error();
    CRIA_CHECK(end_line_on_terminal());
    if (reply->done.reason != cria::finish_reason::cancelled) return {};
    return error{errc::cancelled, "reply", reply->done.n_generated() == 0 ? "before it began" : "before its end"};
  }

  void set_system(std::string_view text) { chat_.set_system(text); }

  /// Goes on from a saved chat, but for the settings called so; what else is set otherwise than before is told. On an error nothing has changed.
  [[nodiscard]] result<void> load(const std::string& path, std::span<const std::string> kept = {}) {
    CRIA_TRY(const auto file, cria::session_file::open(std::filesystem::path(path), chat_.session()));
    CRIA_TRY(auto messages, parse_section(file, "conversation"));
    CRIA_TRY(auto talk, cria::conversation::from_json(std::move(messages)));
    CRIA_TRY(const auto saved_settings, parse_section(file, "settings"));
    CRIA_TRY(auto settings, chat_settings::from_json(saved_settings));
    for (const std::string& name : kept) {
      if (settings.text(name) != settings_.text(name)) CRIA_CHECK(settings.set(name, settings_.text(name)));
    }
    CRIA_CHECK(file.restore(chat_.session()));
    chat_.conversation() = std::move(talk);
    const std::string changes = settings.difference(std::exchange(settings_, settings));
    last_ = {};
    note("(" + std::to_string(chat_.conversation().size()) + " messages, " + std::to_string(chat_.session().length()) + " tokens from " + path + ")");
    if (!changes.empty()) note("(settings of that chat: " + changes + ")");
    return {};
  }

 private:
  using member = result<void> (chat_repl::*)(const std::string&);

  [[nodiscard]] result<void> execute(const std::string& line) {
    const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
    const std::string name = line.substr(0, end);
    std::string rest = line.substr(std::min(line.find_first_not_of(" \t", end), line.size()));
    while (!rest.empty() && (rest.back() == ' ' || rest.back() == '\t')) rest.pop_back();
    constexpr std::pair<std::string_view, member> all[] = {
        {"/help", &chat_repl::help},     {"/exit", &chat_repl::exit},     {"/quit", &chat_repl::exit},   {"/bye", &chat_repl::exit},
        {"/clear", &chat_repl::clear},   {"/config", &chat_repl::config}, {"/temp", &chat_repl::temp},   {"/tokens", &chat_repl::tokens},
        {"/system", &chat_repl::system}, {"/regen", &chat_repl::regen},   {"/undo", &chat_repl::undo},   {"/save", &chat_repl::save},
        {"/load", &chat_repl::load_it},  {"/read", &chat_repl::read},     {"/template", &chat_repl::use_template},
        {"/stats", &chat_repl::stats},   {"/top", &chat_repl::top}};
    for (const auto& [each, run_it] : all) {
      if (each == name) return (this->*run_it)(rest);
    }
    return error{errc::bad_argument, cria::printable(name), "is no command; /help lists them, and a message may begin with a space"};
  }

  /// What was typed wrong is told like anything else; all other errors as everywhere.
  static void tell(const error& e) {
    if (e.code == errc::bad_argument) return note(e.where + ": " + e.message);
    print_error(e);
  }

  // Talking

  [[nodiscard]] result<void> say(const std::string& text) {
    std::string held = std::exchange(held_, {}), message = held;
    if (!message.empty() && !text.empty()) message += "\n\n";
    message += text;
    if (message.find_first_not_of(" \t\n") == message.npos) return {};
    is_answered_ = false;
    auto done = answer([&](const cria::chat_options& options, reply_printer& callback) { return chat_.say(message, options, callback); });
    if (!is_answered_) held_ = std::move(held);   // what was read goes before the next one
    return done;
  }

  /// Lets the model speak; ctrl-C stops it.
  template <class Start>
  [[nodiscard]] result<void> answer(Start&& start) {
    const cria::conversation before = chat_.conversation();
    const cria::chat_options options = settings_.for_reply(ctrl_c_.renew());
    reply_printer printer(settings_.shows_thinking);
    const auto reply = start(options, printer);
    CRIA_CHECK(printer.finish());
    CRIA_CHECK(print("\n"));
    if (!reply) return reply.error();
    is_answered_ = true;
    ++settings_.n_replies;
    last_ = reply->done;
    if (!reply->dropped.empty()) note("(the context was full: the " + std::to_string(reply->dropped.size()) + " oldest messages are forgotten)");
    if (reply->n_left_out != 0) note("(the context was full: " + std::to_string(reply->n_left_out) + " old tokens were left out)");
    if (reply->done.reason == cria::finish_reason::context_full) note("(the context is full: the reply ends here)");
    if (reply->done.reason == cria::finish_reason::cancelled && reply->done.text.empty()) {
      chat_.conversation() = before;
      is_answered_ = false;
      note("(stopped before the reply began: the conversation is as before)");
    } else if (reply->done.reason == cria::finish_reason::cancelled) {
      note("(stopped)");
    }
    if (settings_.shows_stats) note_stats(reply->done, chat_.session().statistics());
    return {};
  }

  // Commands

  result<void> help(const std::string&) {
    note_commands();
    return {};
  }
  result<void> exit(const std::string&) {
    is_over_ = true;
    return {};
  }
  result<void> clear(const std::string&) {
    chat_.clear();
    chat_.session().reset();
    held_.clear();
    last_ = {};
    note(chat_.conversation().has_system() ? "(cleared; the system message stays)" : "(cleared)");
    return {};
  }
  result<void> config(const std::string& rest) {
    if (rest.empty()) {
      note_settings(settings_);
      return {};
    }
    const std::size_t end = std::min(rest.find_first_of(" \t="), rest.size());
    const std::string name = rest.substr(0, end), value = rest.substr(std::min(rest.find_first_not_of(" \t=", end), rest.size()));
    if (!value.empty()) CRIA_CHECK(settings_.set(name, value));
    const auto names = chat_settings::names();
    if (std::find(names.begin(), names.end(), name) == names.end()) return settings_.set(name, value);   // its error
    note(name + " " + settings_.text(name));
    return {};
  }
  result<void> temp(const std::string& rest) { return config("temperature " + rest); }
  result<void> tokens(const std::string&) {
    CRIA_TRY(const auto use, chat_.usage(settings_.for_reply({}).rendering));
    note(std::to_string(use.n_tokens) + " of " + std::to_string(use.capacity) + " tokens, " + std::to_string(chat_.session().length()) +
         " of them in the cache");
    if (use.n_before_turns != 0) note("  before the first turn " + std::to_string(use.n_before_turns));
    const auto turns = chat_.conversation().turns();
    for (std::size_t i = 0; i < use.turns.size() && i < turns.size(); ++i) {
      note("  turn " + std::to_string(i + 1) + "  " + std::to_string(use.turns[i]) + "  " + summary(chat_.conversation()[turns[i].first].content()));
    }
    return {};
  }
  result<void> system(const std::string& rest) {
    if (!rest.empty()) chat_.set_system(rest == "off" ? std::string_view{} : std::string_view(rest));
    note(chat_.conversation().has_system() ? "system message: " + without_controls(chat_.conversation().system_text()) : "no system message");
    return {};
  }
  result<void> regen(const std::string&) {
    return answer([&](const cria::chat_options& options, reply_printer& callback) { return chat_.regenerate(options, callback); });
  }
  result<void> undo(const std::string&) {
    const auto taken = chat_.undo();
    if (taken.empty()) return error{errc::bad_argument, "/undo", "there is no turn to take back"};
    note("(took back: " + summary(taken.front().content()) + ")");
    return {};
  }
  result<void> save(const std::string& path) {
    if (path.empty()) return error{errc::bad_argument, "/save", "needs a file name"};
    cria::session_extras extras;
    extras.sections.push_back(to_section("conversation", chat_.conversation().to_json()));
    extras.sections.push_back(to_section("settings", settings_.to_json()));
    CRIA_CHECK(cria::save_session(chat_.session(), std::filesystem::path(path), extras));
    note("(" + std::to_string(chat_.conversation().size()) + " messages, " + std::to_string(chat_.session().length()) + " tokens to " + path + ")");
    return {};
  }
  result<void> load_it(const std::string& path) {
    if (path.empty()) return error{errc::bad_argument, "/load", "needs a file name"};
    return load(path);
  }
  result<void> read(const std::string& path) {
    if (path.empty()) return error{errc::bad_argument, "/read", "needs a file name"};
    if (path == "-") return error{errc::bad_argument, "/read", "standard input is where you type"};
    CRIA_TRY(const std::string text, read_all(path));
    if (!held_.empty()) held_ += "\n\n";
    held_ += text;
    note("(" + std::to_string(text.size()) + " bytes: they go before your next message)");
    return {};
  }
  result<void> use_template(const std::string& rest) {
    if (!rest.empty()) {
      CRIA_TRY(auto chosen, choose_template(rest == "model" ? std::string{} : rest, chat_.model().metadata(), chat_.model().tokenizer()));
      CRIA_CHECK(chat_.set_template(std::move(chosen)));
      template_name_ = rest == "model" ? "the model's own" : rest;
    }
    note("template: " + template_name_);
    if (rest.empty()) note(without_controls(chat_.used_template().source()));
    return {};
  }
  result<void> stats(const std::string& rest) {
    if (!rest.empty()) return config("stats " + rest);
    note_all_stats(last_, chat_.session().statistics(), chat_.model());
    return {};
  }
  result<void> top(const std::string& rest) {
    std::size_t n = 10;
    const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), n);
    if (!rest.empty() && (failure != std::errc{} || end != rest.data() + rest.size() || n == 0)) {
      return error{errc::bad_argument, "/top", cria::printable(rest) + " is no number"};
    }
    CRIA_TRY(const auto best, chat_.session().top_logits(n));
    for (const cria::token_candidate& c : best) {
      char line[64];
      std::snprintf(line, sizeof line, "%8d  %6.2f %%  ", c.token, 100.0 * static_cast<double>(c.probability));
      note(line + cria::json(std::string(c.text)).dump());
    }
    return {};
  }

  chat_type chat_;
  chat_settings settings_;
  std::string template_name_;
  interrupt& ctrl_c_;
  std::string held_;             // of /read
  bool is_answered_ = false;     // the last message has become part of the conversation
  cria::generation last_;
  bool is_over_ = false;
};

}  // namespace cria_program
