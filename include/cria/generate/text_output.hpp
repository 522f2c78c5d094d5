// SPDX-License-Identifier: MIT
// generate/text_output.hpp - turns the pieces of tokens into text for people: whole characters, and nothing of a stop string.
//
// Ensures   The texts of all calls together are the pieces up to the first stop string. A character is cut only if the pieces end within it. Nothing is
//           allocated after create() for pieces that are no longer than it was told.
// Errors    create: bad_argument (an empty stop string), out_of_memory
// Threads   one at a time
// Lifetime  a returned view is valid until the next call
#pragma once

#include <cria/core/result.hpp>
#include <cria/generate/stop.hpp>
#include <cria/tokenizer/utf8_assembler.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0::detail {

class text_output {
 public:
  [[nodiscard]] static result<text_output> create(std::span<const std::string> stop_strings, std::size_t longest_piece);

  /// Returns the text that has become certain with this piece; with the last piece, everything that is left.
  std::string_view push(std::string_view piece, bool is_last = false);

  /// Returns what is still held, if the text ends without another piece.
  std::string_view flush() { return push({}, true); }

  /// Returns whether a stop string was reached.
  [[nodiscard]] bool is_stopped() const noexcept { return stops_.is_stopped(); }
  /// Returns how many bytes were returned so far.
  [[nodiscard]] std::size_t released_bytes() const noexcept { return released_; }

 private:
  text_output() = default;

  stop_matcher stops_;
  utf8_assembler characters_;
  std::string text_;
  std::size_t released_ = 0;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<text_output> text_output::create(std::span<const std::string> stop_strings, std::size_t longest_piece) {
  return catch_bad_alloc([&]() -> result<text_output> {
    text_output made;
    CRIA_TRY(made.stops_, stop_matcher::create(stop_strings));
    made.stops_.reserve(longest_piece);
    const std::size_t longest = longest_piece + made.stops_.longest();
    made.characters_.reserve(longest);
    made.text_.reserve(longest + 3);
    return made;
  }, "text output");
}

CRIA_INLINE std::string_view text_output::push(std::string_view piece, bool is_last) {
  text_.assign(characters_.push(stops_.push(piece)));
  if (is_last && !stops_.is_stopped()) text_.append(characters_.push(stops_.flush()));
  if (is_last || stops_.is_stopped()) text_.append(characters_.flush());
  released_ += text_.size();
  return text_;
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::detail
