// SPDX-License-Identifier: MIT
// chat/jinja/rendering.hpp - what a host says about a rendering beside its variables (how much it may take, and which time it is), and the text that it gets.
//
// Ensures   plain values: they are copied freely and refer to nothing
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// What a template may use.
struct limits {
  std::size_t max_steps = 1'000'000;                ///< parts of the template evaluated, items visited, and one per 32 bytes of text made
  std::size_t steps_per_input = 1'000;              ///< more steps for each value (string, number, list ...) that the caller gives
  std::size_t max_depth = 400;                      ///< expressions, statements, calls and values inside each other
  std::size_t max_output = std::size_t{64} << 20;   ///< bytes of the rendered text
};

/// A moment as a calendar shows it.
struct civil_time {
  int year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0;   // months and days from 1; second 60 is a leap second

  [[nodiscard]] constexpr bool is_valid() const noexcept {
    const auto is_in = [](int x, int least, int most) { return x >= least && x <= most; };
    return is_in(year, 1, 9999) && is_in(month, 1, 12) && is_in(day, 1, 31) && is_in(hour, 0, 23) && is_in(minute, 0, 59) && is_in(second, 0, 60);
  }
};

/// A part of a rendered text that comes from the template, or from the conversation.
struct text_span {
  std::size_t start = 0, length = 0;
  bool is_content = false;
  bool operator==(const text_span&) const = default;
};

/// A rendered text, and who each part of it comes from.
struct rendered {
  std::string text;
  std::vector<text_span> spans;   ///< in order, without gaps, sides taking turns
};

}  // namespace cria::inline v0_1_0::jinja
