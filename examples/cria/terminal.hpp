// SPDX-License-Identifier: MIT
// What the program says and where: results on stdout, everything else on stderr; and ctrl-C.
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>

#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace cria_program {

/// Prints `cria: error: <code>: <where>: <message>` on stderr.
void print_error(const cria::error& e);
void print_error(std::string_view code, std::string_view where, std::string_view message);

/// Says what went wrong and returns the exit status, 1. Once the reader of stdout has gone nothing is said: the process ends as SIGPIPE ends other filters
/// (on Windows with the exit status alone).
[[nodiscard]] int fail(const cria::error& e);

[[nodiscard]] bool is_terminal(std::FILE* file);

/// Makes stdin and stdout carry bytes as they are, and a closed pipe or a file at its limit an error rather than a signal: what is open is closed in order.
void prepare_streams();

/// Writes results to stdout at once; the system's refusal is an error.
[[nodiscard]] cria::result<void> print(std::string_view text);

/// Ends a result that is not a line of its own: on a terminal only, so that a file gets the result's bytes and nothing else.
[[nodiscard]] cria::result<void> end_line_on_terminal();

/// Reads a file, or standard input for "-"; cancelled where `stop` is requested before all is there.
[[nodiscard]] cria::result<std::string> read_all(const std::string& path, const cria::stop_token& stop = {});

/// While it lives, ctrl-C triggers token(); a second one ends the program as usual, unless renew() was called. One at a time.
class interrupt {
 public:
  interrupt();
  ~interrupt();
  interrupt(const interrupt&) = delete;
  interrupt& operator=(const interrupt&) = delete;

  [[nodiscard]] cria::stop_token token() const;
  /// From now on ctrl-C triggers the token that was returned last and never ends the program; it breaks off a read of the terminal.
  [[nodiscard]] cria::stop_token renew();
  /// From now on SIGTERM does what ctrl-C does: a server ends in order when it is told to.
  void also_on_termination();

 private:
  void request_stop();
  /// Starts the thread that hears of signals, if it does not run.
  bool wait_for_signals();

  mutable std::mutex mutex_;
  cria::stop_source source_;
  std::thread waiter_;
};

}  // namespace cria_program
