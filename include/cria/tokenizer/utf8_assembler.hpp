// SPDX-License-Identifier: MIT
// tokenizer/utf8_assembler.hpp - a stream of bytes in, whole UTF-8 characters out.
//
// Ensures   everything pushed comes out exactly once and in order; a character is never cut; at most 3 bytes wait. Bytes that cannot become a
//           character are handed out as they are.
// Errors    none; std::bad_alloc passes through
// Threads   one at a time
// Lifetime  a returned view is valid until the next call
#pragma once

#include <cria/tokenizer/unicode.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0 {

/// Joins pieces of text that may end within a character, as tokens do.
class utf8_assembler {
 public:
  /// Returns all bytes so far that are not handed out yet, except an unfinished character at their end. Allocates only when the longest piece grows.
  std::string_view push(std::string_view bytes) {
    buffer_.erase(0, taken_);
    taken_ = 0;
    buffer_.append(bytes);
    taken_ = buffer_.size() - detail::unfinished_utf8(buffer_);
    return std::string_view(buffer_).substr(0, taken_);
  }

  /// Returns the bytes that still wait, for the end of the stream.
  std::string_view flush() {
    buffer_.erase(0, taken_);
    taken_ = buffer_.size();
    return buffer_;
  }

  /// Returns how many bytes wait for the rest of their character.
  [[nodiscard]] std::size_t pending_bytes() const noexcept { return buffer_.size() - taken_; }

  /// Makes room, so that pieces of up to `bytes` never allocate.
  void reserve(std::size_t bytes) { buffer_.reserve(bytes + 3); }

  /// Forgets what waits.
  void clear() noexcept {
    buffer_.clear();
    taken_ = 0;
  }

 private:
  std::string buffer_;
  std::size_t taken_ = 0;  // bytes at the front that were handed out
};

}  // namespace cria::inline v0_1_0
