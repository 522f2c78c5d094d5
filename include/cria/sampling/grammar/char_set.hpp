// SPDX-License-Identifier: MIT
// sampling/grammar/char_set.hpp - sets of Unicode characters, and the UTF-8 byte sequences that a set is written in.
//
// Units    code points; bytes in byte_range
// Ensures  surrogates are in no set, so what a set matches is UTF-8 always
// Errors   none, but for memory
// Source   Unicode table 3-7
#pragma once

#include <cria/core/config.hpp>
#include <cria/core/utf8.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

inline constexpr char32_t last_char = 0x10ffff;

/// Characters from first to last, both in.
struct char_range {
  char32_t first, last;
  friend constexpr auto operator<=>(const char_range&, const char_range&) = default;
};

class char_set {
 public:
  char_set() = default;
  explicit char_set(std::vector<char_range> ranges) : ranges_(std::move(ranges)) { normalise(); }

  [[nodiscard]] static char_set any() { return char_set({{0, last_char}}); }

  /// Returns all characters that are not in this set.
  [[nodiscard]] char_set complement() const {
    std::vector<char_range> gaps;
    char32_t next = 0;
    for (const char_range& r : ranges_) {
      if (r.first > next) gaps.push_back({next, r.first - 1});
      next = r.last + 1;
    }
    if (next <= last_char) gaps.push_back({next, last_char});
    return char_set(std::move(gaps));
  }

  /// Returns the characters from `first` to `last` that are in the set.
  [[nodiscard]] char_set within(char32_t first, char32_t last) const {
    std::vector<char_range> cut;
    for (const char_range& r : ranges_) {
      if (r.last >= first && r.first <= last) cut.push_back({std::max(r.first, first), std::min(r.last, last)});
    }
    return char_set(std::move(cut));
  }

  [[nodiscard]] bool contains(char32_t c) const noexcept {
    return std::any_of(ranges_.begin(), ranges_.end(), [c](const char_range& r) { return r.first <= c && c <= r.last; });
  }
  [[nodiscard]] bool empty() const noexcept { return ranges_.empty(); }
  /// Returns the ranges, ascending, with gaps between them.
  [[nodiscard]] const std::vector<char_range>& ranges() const noexcept { return ranges_; }
  friend bool operator==(const char_set&, const char_set&) = default;
  friend bool operator<(const char_set& a, const char_set& b) noexcept { return a.ranges_ < b.ranges_; }   // libc++ before 17 has no <=> of vectors

 private:
  void normalise() {
    std::sort(ranges_.begin(), ranges_.end());
    std::vector<char_range> merged;
    const auto add = [&merged](char32_t first, char32_t last) {
      if (first > last) return;
      if (!merged.empty() && first <= merged.back().last + 1) {
        merged.back().last = std::max(merged.back().last, last);
      } else {
        merged.push_back({first, last});
      }
    };
    for (const char_range& r : ranges_) {
      add(r.first, std::min<char32_t>(r.last, 0xd7ff));
      add(std::max<char32_t>(r.first, 0xe000), r.last);
    }
    ranges_ = std::move(merged);
  }

  std::vector<char_range> ranges_;
};

/// A set of byte values.
using byte_set = std::array<std::uint64_t, 4>;

constexpr void insert_bytes(byte_set& set, unsigned first, unsigned last) noexcept {
  for (unsigned b = first; b <= last; ++b) set[b >> 6] |= std::uint64_t{1} << (b & 63);
}
[[nodiscard]] constexpr bool has_byte(const byte_set& set, unsigned b) noexcept { return (set[b >> 6] >> (b & 63) & 1) != 0; }

struct byte_range {
  unsigned char first, last;
  friend constexpr auto operator<=>(const byte_range&, const byte_range&) = default;
};

/// Calls emit(const byte_range*, length) for parts of the range whose characters are exactly the combinations of those byte ranges.
template <class Emit>
void for_each_utf8_sequence(char_range range, Emit&& emit) {
  constexpr char32_t last_of_length[] = {0x7f, 0x7ff, 0xffff, last_char};
  for (std::size_t length = 1; length <= 4; ++length) {
    const char32_t lowest = length == 1 ? U'\0' : static_cast<char32_t>(last_of_length[length - 2] + 1);
    const char32_t end = std::min(range.last, last_of_length[length - 1]);
    for (char32_t first = std::max(range.first, lowest), last = end; first <= end; first = last + 1, last = end) {
      // Where the bytes above the lowest i differ, these i bytes must take all their values.
      for (std::size_t i = 1; i < length; ++i) {
        const char32_t mask = (char32_t{1} << (6 * i)) - 1;
        if (((first ^ last) & ~mask) == 0) continue;
        if ((first & mask) != 0) {
          last = first | mask;
        } else if ((last & mask) != mask) {
          last = (last & ~mask) - 1;
        }
      }
      std::string low, high;
      append_utf8(low, first);
      append_utf8(high, last);
      std::array<byte_range, 4> bytes{};
      for (std::size_t i = 0; i < length; ++i) bytes[i] = {static_cast<unsigned char>(low[i]), static_cast<unsigned char>(high[i])};
      emit(bytes.data(), length);
    }
  }
}

}  // namespace cria::inline v0_1_0::detail
