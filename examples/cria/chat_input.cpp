// SPDX-License-Identifier: MIT
#include "chat_input.hpp"

#include "terminal.hpp"

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#ifdef CRIA_EXAMPLE_LIBEDIT
#include <histedit.h>
#endif

namespace cria_program {

namespace {

[[nodiscard]] std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string{} : std::string(value);
}

/// Reads a line as the system gives it.
[[nodiscard]] user_input read_plain(std::string_view prompt) {
  std::fwrite(prompt.data(), 1, prompt.size(), stderr);
  user_input in;
  while (true) {
    errno = 0;
    const int c = std::fgetc(stdin);
    if (c == '\n') return in;
    if (c != EOF) {
      in.text += static_cast<char>(c);
      continue;
    }
    const bool is_interrupted = errno == EINTR;
    std::clearerr(stdin);
    if (is_interrupted) return {input_kind::cancelled};
    return in.text.empty() ? user_input{input_kind::end} : in;
  }
}

}  // namespace

colours colours::for_stream(std::FILE* stream) {
  if (!is_terminal(stream) || !environment("NO_COLOR").empty() || environment("TERM") == "dumb") return {};
  return {"\033[1;32m", "\033[2m", "\033[0m"};
}

void note(std::string_view text) {
  const colours c = colours::for_stream(stderr);
  std::string line(c.faint);
  line.append(text).append(c.off).append("\n");
  std::fputs(line.c_str(), stderr);
}

std::string without_controls(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool is_c1 = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;   // U+0080 to U+009F
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || is_c1) {
      out += '?';
      i += is_c1 ? 1 : 0;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string default_history_file() {
#ifdef _WIN32
  return {};
#else
  const std::string state = environment("XDG_STATE_HOME"), home = environment("HOME");
  if (!state.empty()) return state + "/cria/chat_history";
  return home.empty() ? std::string{} : home + "/.local/state/cria/chat_history";
#endif
}

#ifdef CRIA_EXAMPLE_LIBEDIT

struct line_editor::state {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string history_file, prompt;
  std::span<const std::string_view> words;
  bool is_cancelled = false;

  static state& of(EditLine* e) {
    void* self = nullptr;
    el_get(e, EL_CLIENTDATA, &self);
    return *static_cast<state*>(self);
  }
  static char* give_prompt(EditLine* e) { return of(e).prompt.data(); }
  static unsigned char cancel(EditLine* e, int) {
    of(e).is_cancelled = true;
    return CC_NEWLINE;
  }
  static unsigned char suspend(EditLine*, int) {
    std::raise(SIGTSTP);   // the editor's own handler gives the terminal back before the program stops
    return CC_REDISPLAY;
  }
  /// Completes the word that the line consists of, as far as it is certain.
  static unsigned char complete(EditLine* e, int) {
    const LineInfo* line = el_line(e);
    const std::string_view typed(line->buffer, static_cast<std::size_t>(line->cursor - line->buffer));
    std::string_view common;
    std::size_t n_found = 0;
    for (const std::string_view word : of(e).words) {
      if (typed.empty() || !word.starts_with(typed)) continue;
      if (n_found++ == 0) common = word;
      while (!word.starts_with(common)) common.remove_suffix(1);
    }
    std::string rest(common.substr(n_found == 0 ? 0 : typed.size()));
    if (n_found == 1) rest += ' ';
    return !rest.empty() && el_insertstr(e, rest.c_str()) == 0 ? CC_REFRESH : CC_REFRESH_BEEP;
  }

  void open_history(const std::string& file) {
    HistEvent event;
    history = history_init();
    if (history == nullptr) return;
    ::history(history, &event, H_SETSIZE, 1000);
    ::history(history, &event, H_SETUNIQUE, 1);
    el_set(editor, EL_HIST, ::history, history);
    history_file = file;
    if (file.empty()) return;
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path(), ignored);
    ::history(history, &event, H_LOAD, file.c_str());
  }

  void remember(const std::string& line) {
    HistEvent event;
    if (history == nullptr || line.find_first_not_of(" \t") == line.npos) return;
    ::history(history, &event, H_ENTER, line.c_str());
    if (!history_file.empty()) ::history(history, &event, H_SAVE, history_file.c_str());
  }

  ~state() {
    if (editor != nullptr) el_end(editor);
    if (history != nullptr) history_end(history);
  }
};

line_editor::line_editor(const std::string& history_file, std::span<const std::string_view> words) : state_(std::make_unique<state>()) {
  const char* chosen = std::setlocale(LC_CTYPE, "");
  if (chosen == nullptr || std::string_view(chosen) == "C" || std::string_view(chosen) == "POSIX") std::setlocale(LC_CTYPE, "C.UTF-8");
  state_->words = words;
  state_->editor = el_init("cria", stdin, stderr, stderr);
  if (state_->editor == nullptr) return;
  EditLine* const e = state_->editor;
  el_set(e, EL_CLIENTDATA, state_.get());
  el_set(e, EL_PROMPT_ESC, &state::give_prompt, '\1');
  el_set(e, EL_EDITOR, "emacs");
  el_set(e, EL_SIGNAL, 1);                              // resizes
  el_set(e, EL_SETTY, "-d", "-isig", nullptr);          // ctrl-C and ctrl-Z are keys while a line is edited
  el_set(e, EL_ADDFN, "cria-cancel", "gives the line up", &state::cancel);
  el_set(e, EL_ADDFN, "cria-complete", "completes a command", &state::complete);
  el_set(e, EL_ADDFN, "cria-suspend", "stops the program until the shell continues it", &state::suspend);
  el_set(e, EL_BIND, "^C", "cria-cancel", nullptr);
  el_set(e, EL_BIND, "^Z", "cria-suspend", nullptr);
  el_set(e, EL_BIND, "^I", "cria-complete", nullptr);
  state_->open_history(history_file);
}

line_editor::~line_editor() = default;

user_input line_editor::read(std::string_view prompt) {
  if (state_->editor == nullptr) return read_plain(prompt);
  const colours c = colours::for_stream(stderr);
  state_->prompt = c.prompt.empty() ? std::string(prompt) : "\1" + std::string(c.prompt) + "\1" + std::string(prompt) + "\1" + std::string(c.off) + "\1";
  state_->is_cancelled = false;
  int n = 0;
  // Before the prompt is shown: until then ctrl-C is a signal, which nobody would wait for.
  if (is_terminal(stdin)) el_set(state_->editor, EL_PREP_TERM, 1);
  errno = 0;
  const char* line = el_gets(state_->editor, &n);
  if (state_->is_cancelled) {
    std::fputs("^C\n", stderr);
    return {input_kind::cancelled};
  }
  if (line == nullptr || n <= 0) return {errno == EINTR && n < 0 ? input_kind::cancelled : input_kind::end};
  user_input in{input_kind::text, std::string(line, static_cast<std::size_t>(n))};
  while (!in.text.empty() && (in.text.back() == '\n' || in.text.back() == '\r')) in.text.pop_back();
  state_->remember(in.text);
  return in;
}

#else

struct line_editor::state {};

line_editor::line_editor(const std::string&, std::span<const std::string_view>) {}
line_editor::~line_editor() = default;

user_input line_editor::read(std::string_view prompt) {
  const colours c = colours::for_stream(stderr);
  return read_plain(std::string(c.prompt) + std::string(prompt) + std::string(c.off));
}

#endif

user_input read_message(line_editor& editor, std::string_view prompt) {
  constexpr std::string_view quotes = "\"\"\"";
  user_input in = editor.read(prompt);
  if (in.kind != input_kind::text || !in.text.starts_with(quotes)) return in;
  std::string all = in.text.substr(quotes.size());
  while (!all.ends_with(quotes)) {
    const user_input next = editor.read("... ");
    if (next.kind == input_kind::cancelled) return next;
    if (next.kind == input_kind::end) return {input_kind::text, std::move(all), true};
    if (!all.empty()) all += '\n';
    all += next.text;
  }
  all.resize(all.size() - quotes.size());
  if (all.ends_with('\n')) all.pop_back();
  return {input_kind::text, std::move(all), true};
}

}  // namespace cria_program
