// SPDX-License-Identifier: MIT
// What the user of `cria chat` types: lines with editing and history where libedit is there, messages of one line or between triple quotes.
#pragma once

#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace cria_program {

/// Escape sequences for what is not the model's text; empty where the stream is no terminal, or where NO_COLOR or TERM=dumb ask for none.
struct colours {
  std::string_view prompt, faint, off;

  [[nodiscard]] static colours for_stream(std::FILE* stream);
};

/// Prints a line that is not the model's, on stderr.
void note(std::string_view text);

/// Returns text as a terminal may get it: no control characters but newlines and tabs, so that a model's text cannot move the cursor or worse.
[[nodiscard]] std::string without_controls(std::string_view text);

enum class input_kind { text, cancelled, end };   ///< cancelled: ctrl-C; end: ctrl-D, or no more input

struct user_input {
  input_kind kind = input_kind::text;
  std::string text = {};
  bool is_quoted = false;   ///< between triple quotes: a message, whatever it begins with
};

/// Reads lines from the terminal. One at a time.
class line_editor {
 public:
  /// Keeps what was typed in a file, in a new folder if need be; empty: only while the program runs. Completes words that begin with one of `words`.
  line_editor(const std::string& history_file, std::span<const std::string_view> words);
  ~line_editor();
  line_editor(const line_editor&) = delete;
  line_editor& operator=(const line_editor&) = delete;

  [[nodiscard]] user_input read(std::string_view prompt);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Reads a line, or the lines from one that begins with """ to one that ends with it.
[[nodiscard]] user_input read_message(line_editor& editor, std::string_view prompt);

/// Returns where the history is kept by default, empty where the system has no place for it.
[[nodiscard]] std::string default_history_file();

}  // namespace cria_program
