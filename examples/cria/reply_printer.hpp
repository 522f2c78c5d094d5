// SPDX-License-Identifier: MIT
// reply_printer.hpp - prints a reply while it is made: text on stdout; on a terminal also thinking, in faint letters, and nothing that moves the cursor.
#pragma once

#include "chat_input.hpp"
#include "terminal.hpp"

#include <cria/chat/reply_parser.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace cria_program {

class reply_printer {
 public:
  explicit reply_printer(bool shows_thinking) : on_terminal_(is_terminal(stdout)), shows_thinking_(shows_thinking && on_terminal_) {}

  /// Prints a piece of the reply; returns whether there is still somebody to read it.
  bool operator()(const cria::reply_piece& piece) {
    if (piece.part == cria::reply_part::thinking && shows_thinking_) {
      if (!std::exchange(is_thinking_, true)) write(colours_.faint.empty() ? "[thinking] " : colours_.faint);
      write(without_controls(piece.text));
    } else if (piece.part == cria::reply_part::text) {
      end_thinking("\n\n");
      write(on_terminal_ ? without_controls(piece.text) : piece.text);
    }
    return written_.has_value();
  }

  /// Ends what is still open; returns what stdout said.
  [[nodiscard]] cria::result<void> finish() {
    end_thinking("");
    return written_;
  }

 private:
  void end_thinking(std::string_view gap) {
    if (std::exchange(is_thinking_, false)) write(std::string(colours_.off).append(gap));
  }
  void write(std::string_view text) {
    if (written_) written_ = print(text);
  }

  bool on_terminal_, shows_thinking_, is_thinking_ = false;
  colours colours_ = colours::for_stream(stdout);
  cria::result<void> written_;
};

}  // namespace cria_program
