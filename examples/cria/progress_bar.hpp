// SPDX-License-Identifier: MIT
// progress_bar.hpp - one line of stderr that shows how far something is. Where stderr is no terminal: nothing, or a line of its own now and then.
#pragma once

#include "terminal.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace cria_program {

/// What a file or a pipe gets. Lines: one for each tenth of the whole, and one every half minute.
enum class when_piped { nothing, lines };

class progress_bar {
 public:
  explicit progress_bar(std::string_view what, when_piped piped = when_piped::nothing)
      : what_(what), is_shown_(is_terminal(stderr)), has_lines_(!is_shown_ && piped == when_piped::lines) {}
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;
  ~progress_bar() {
    if (width_ > 0) write("\r" + std::string(width_, ' ') + "\r");
  }

  /// Shows a share of the whole, the time that is left, and more text; ten times a second at most.
  void show(double share, std::string_view more) {
    const auto now = clock::now();
    if (has_lines_) return show_line(share, more, now);
    if (!is_shown_ || (width_ > 0 && now - shown_ < std::chrono::milliseconds(100))) return;
    shown_ = now;
    constexpr std::size_t length = 24;
    const auto full = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * length);
    std::string line = what_ + " [" + std::string(full, '#') + std::string(length - full, '.') + "] " + place(share, now) + std::string(more);
    line.resize(std::min<std::size_t>(line.size(), 110));
    const std::size_t width = line.size();
    if (width < width_) line.append(width_ - width, ' ');
    write("\r" + line);
    width_ = width;
  }

 private:
  using clock = std::chrono::steady_clock;

  void show_line(double share, std::string_view more, clock::time_point now) {
    const int tenths = static_cast<int>(share * 10 + 1e-6);
    if (tenths == tenths_ && now - shown_ < std::chrono::seconds(30)) return;
    shown_ = now;
    tenths_ = tenths;
    write(what_ + " " + place(share, now) + std::string(more) + "\n");
  }

  [[nodiscard]] std::string place(double share, clock::time_point now) const {
    return std::to_string(static_cast<int>(share * 100 + 1e-6)) + " %" + time_left(share, std::chrono::duration<double>(now - start_).count()) + "  ";
  }

  static void write(const std::string& text) { std::fputs(text.c_str(), stderr); }

  static std::string time_left(double share, double seconds) {
    if (share < 0.01 || seconds < 1) return {};
    const auto left = static_cast<long long>(seconds / share * (1 - share));
    return ", " + (left >= 120 ? std::to_string(left / 60) + " min" : std::to_string(left) + " s") + " left";
  }

  std::string what_;
  bool is_shown_, has_lines_;
  int tenths_ = 0;          // of the whole, at the last line
  std::size_t width_ = 0;   // of what stands there
  clock::time_point start_ = clock::now(), shown_ = start_;
};

}  // namespace cria_program
