// SPDX-License-Identifier: MIT
// generate/stop.hpp - finds the first of several strings in a stream of bytes, and holds back what may still become one.
//
// Ensures   The calls together return the bytes before the match that ends first (of several that end together, the longest), or all bytes. No byte is returned
//           before it is certain, and none is held longer. Time is linear in the number of bytes, whatever they and the strings are (Knuth, Morris, Pratt).
// Errors    create: bad_argument (an empty string), out_of_memory
// Threads   one at a time
// Lifetime  a returned view is valid until the next call
#pragma once

#include <cria/core/result.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

class stop_matcher {
 public:
  /// Matches nothing: returns what it gets.
  stop_matcher() = default;

  [[nodiscard]] static result<stop_matcher> create(std::span<const std::string> strings);

  /// Reserves memory, so that pieces of up to `bytes` bytes never allocate.
  void reserve(std::size_t bytes) { buffer_.reserve(bytes + longest()); }

  /// Returns what has become certain; after a match, nothing.
  std::string_view push(std::string_view bytes) {
    buffer_.erase(0, given_);
    given_ = 0;
    if (is_stopped_) return {};
    const std::size_t before = buffer_.size();
    buffer_.append(bytes);
    for (std::size_t i = before; i < buffer_.size(); ++i) {
      std::size_t matched = 0;
      for (pattern& p : patterns_) matched = std::max(matched, p.advance(buffer_[i]));
      if (matched == 0) continue;
      is_stopped_ = true;
      buffer_.resize(i + 1 - matched);
      given_ = buffer_.size();
      return buffer_;
    }
    std::size_t held = 0;
    for (const pattern& p : patterns_) held = std::max(held, p.matched);
    given_ = buffer_.size() - held;
    return std::string_view(buffer_).substr(0, given_);
  }

  /// Returns what is still held, at the end of the stream, and starts anew.
  std::string_view flush() noexcept {
    buffer_.erase(0, given_);
    given_ = buffer_.size();
    for (pattern& p : patterns_) p.matched = 0;
    return buffer_;
  }

  [[nodiscard]] bool is_stopped() const noexcept { return is_stopped_; }
  [[nodiscard]] std::size_t held_bytes() const noexcept { return buffer_.size() - given_; }
  /// Returns the length of the longest string. At most one byte less is held.
  [[nodiscard]] std::size_t longest() const noexcept {
    std::size_t n = 0;
    for (const pattern& p : patterns_) n = std::max(n, p.text.size());
    return n;
  }

 private:
  struct pattern {
    std::string text;
    std::vector<std::size_t> borders;   // [i]: the longest proper prefix of text[0, i] that ends it too
    std::size_t matched = 0;            // bytes of the text that the stream ends with

    explicit pattern(std::string_view s) : text(s), borders(s.size()) {
      for (std::size_t i = 1, n = 0; i < text.size(); ++i) {
        while (n > 0 && text[i] != text[n]) n = borders[n - 1];
        if (text[i] == text[n]) ++n;
        borders[i] = n;
      }
    }

    /// Returns the length of the text if this byte completes it, else 0.
    std::size_t advance(char byte) noexcept {
      while (matched > 0 && text[matched] != byte) matched = borders[matched - 1];
      if (text[matched] == byte) ++matched;
      if (matched < text.size()) return 0;
      matched = 0;
      return text.size();
    }
  };

  std::vector<pattern> patterns_;
  std::string buffer_;      // what was handed out last, then what is held
  std::size_t given_ = 0;
  bool is_stopped_ = false;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<stop_matcher> stop_matcher::create(std::span<const std::string> strings) {
  return catch_bad_alloc([&]() -> result<stop_matcher> {
    stop_matcher made;
    for (const std::string& s : strings) {
      if (s.empty()) return error{errc::bad_argument, "stop_strings", "a stop string is empty"};
      made.patterns_.emplace_back(s);
    }
    return made;
  }, "stop_strings");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::detail
