// SPDX-License-Identifier: MIT
#include "terminal.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <memory>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#else
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#endif

namespace cria_program {

namespace {

bool reader_has_gone = false;

cria::error io_error(std::string where, int code) {
  return {cria::errc::io, std::move(where), std::strerror(code)};
}

cria::error stdout_error(int code) {
  reader_has_gone = reader_has_gone || code == EPIPE;
  return io_error("stdout", code);
}

}  // namespace

void print_error(std::string_view code, std::string_view where, std::string_view message) {
  std::string line = "cria: error: ";
  line.append(code).append(": ").append(where).append(": ").append(message).append("\n");
  std::fputs(line.c_str(), stderr);
}

void print_error(const cria::error& e) {
  std::string message = e.message;
  if (message.empty()) {
    message = name(e.code);
    for (char& c : message) c = c == '_' ? ' ' : c;
  }
  if (e.offset != cria::error::no_offset) message += " (at byte " + std::to_string(e.offset) + ")";
  print_error(name(e.code), e.where.empty() ? std::string_view("cria") : std::string_view(e.where), message);
}

int fail(const cria::error& e) {
  if (!reader_has_gone) {
    print_error(e);
    return e.code == cria::errc::cancelled ? 130 : 1;
  }
#ifndef _WIN32
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
#endif
  return 1;
}

bool is_terminal(std::FILE* file) {
#ifdef _WIN32
  return _isatty(_fileno(file)) != 0;
#else
  return ::isatty(::fileno(file)) != 0;
#endif
}

void prepare_streams() {
#ifdef _WIN32
  _setmode(_fileno(stdin), _O_BINARY);
  _setmode(_fileno(stdout), _O_BINARY);
#else
  // What is closed would be the next file or pipe that is opened. Opened the wrong way round, reading and writing fail as before.
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) static_cast<void>(!::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
#endif
}

cria::result<void> print(std::string_view text) {
#ifdef _WIN32
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  return stdout_error(errno);
#else
  // Not by stdio, which takes a ctrl-C while the terminal is slow for a failure.
  while (!text.empty()) {
    const auto n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd writable{STDOUT_FILENO, POLLOUT, 0};
      static_cast<void>(::poll(&writable, 1, -1));
    } else if (errno != EINTR) {
      return stdout_error(errno);
    }
  }
  return {};
#endif
}

cria::result<void> end_line_on_terminal() {
  if (!is_terminal(stdout)) return {};
  return print("\n");
}

namespace {
/// Waits until there is something to read; false once `stop` was requested. Reading itself would begin again after a ctrl-C.
bool wait_for_input([[maybe_unused]] std::FILE* file, const cria::stop_token& stop) {
#ifndef _WIN32
  constexpr int milliseconds = 100;
  pollfd readable{::fileno(file), POLLIN, 0};
  while (!stop.stop_requested()) {
    if (const int n = ::poll(&readable, 1, milliseconds); n > 0 || (n < 0 && errno != EINTR)) return true;
  }
#endif
  return !stop.stop_requested();
}
}  // namespace

cria::result<std::string> read_all(const std::string& path, const cria::stop_token& stop) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(path == "-" ? nullptr : std::fopen(path.c_str(), "rb"),
                                                               [](std::FILE* f) { return f == nullptr ? 0 : std::fclose(f); });
  std::FILE* const file = path == "-" ? stdin : opened.get();
  if (file == nullptr) return io_error(path, errno);
  std::string text;
  char block[65536];
  while (true) {
    if (stop.stop_possible() && !wait_for_input(file, stop)) return cria::error{cria::errc::cancelled, path};
#ifdef _WIN32
    const auto n = static_cast<std::int64_t>(std::fread(block, 1, sizeof block, file));
    if (n == 0 && std::ferror(file) != 0) return io_error(path, errno);
#else
    const auto n = ::read(::fileno(file), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error(path, errno);
#endif
    if (n == 0) break;
    text.append(block, static_cast<std::size_t>(n));
  }
  return text;
}

cria::stop_token interrupt::token() const {
  const std::lock_guard lock(mutex_);
  return source_.get_token();
}

void interrupt::request_stop() {
  const std::lock_guard lock(mutex_);
  source_.request_stop();
}

#ifdef _WIN32

namespace {
interrupt* interrupted = nullptr;
bool repeats = false;
extern "C" void on_interrupt(int) {   // runs on a thread of its own
  if (repeats) std::signal(SIGINT, on_interrupt);
  if (interrupted != nullptr) interrupted->request_stop();
}
}  // namespace

interrupt::interrupt() {
  interrupted = this;
  std::signal(SIGINT, on_interrupt);
}
interrupt::~interrupt() {
  std::signal(SIGINT, SIG_DFL);
  interrupted = nullptr;
  repeats = false;
}

cria::stop_token interrupt::renew() {
  repeats = true;
  std::signal(SIGINT, on_interrupt);
  const std::lock_guard lock(mutex_);
  source_ = cria::stop_source();
  return source_.get_token();
}

void interrupt::also_on_termination() { std::signal(SIGTERM, on_interrupt); }

#else

namespace {
int wake_up[2] = {-1, -1};
volatile std::sig_atomic_t repeats = 0;
extern "C" void on_interrupt(int);

/// What was caught ends the program again; what was not stays as it is.
void let_go(int signal) {
  struct sigaction now{};
  if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == on_interrupt) std::signal(signal, SIG_DFL);
}

extern "C" void on_interrupt(int) {
  const int code = errno;
  const char byte = 1;
  static_cast<void>(!::write(wake_up[1], &byte, 1));   // all that a signal handler may do
  if (repeats == 0) {
    let_go(SIGINT);
    let_go(SIGTERM);
  }
  errno = code;
}

void catch_signal(int signal, int flags) {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = flags;
  ::sigaction(signal, &action, nullptr);
}
}  // namespace

interrupt::interrupt() {
  struct sigaction before{};
  if (::sigaction(SIGINT, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) return;   // whoever started the program wants it so
  repeats = 0;
  if (wait_for_signals()) catch_signal(SIGINT, SA_RESTART);
}

bool interrupt::wait_for_signals() {
  if (waiter_.joinable()) return true;
  if (::pipe(wake_up) != 0) return false;
  waiter_ = std::thread([this] {
    while (true) {
      char byte = 0;
      const auto n = ::read(wake_up[0], &byte, 1);
      if (n < 0 && errno == EINTR) continue;
      if (n != 1 || byte != 1) return;
      request_stop();
    }
  });
  return true;
}

void interrupt::also_on_termination() {
  if (wait_for_signals()) catch_signal(SIGTERM, SA_RESTART);
}

interrupt::~interrupt() {
  if (!waiter_.joinable()) return;
  for (const int caught : {SIGINT, SIGTERM}) let_go(caught);
  const char byte = 2;
  static_cast<void>(!::write(wake_up[1], &byte, 1));
  waiter_.join();
  ::close(wake_up[0]);
  ::close(wake_up[1]);
}

cria::stop_token interrupt::renew() {
  repeats = 1;
  if (waiter_.joinable()) catch_signal(SIGINT, 0);
  const std::lock_guard lock(mutex_);
  source_ = cria::stop_source();
  return source_.get_token();
}

#endif

}  // namespace cria_program
