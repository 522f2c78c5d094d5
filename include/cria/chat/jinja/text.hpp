// SPDX-License-Identifier: MIT
// chat/jinja/text.hpp - strings that remember which of their bytes came from the conversation, and the memory that one rendering lives in.
//
//   text            "<|user|>\nHi <|end|>"
//   from a message              ^^^^^^^^^^      flips {10}: before the first flip a byte is the template's, each flip changes sides
//
// Units     bytes
// Ensures   a part of a text, and a text built from parts, keep for each byte whose it is
// Errors    exhausted memory throws std::bad_alloc, which the border turns into errc::out_of_memory
// Threads   values of one rendering; nothing is shared
// Lifetime  what an arena gave lives as long as the arena; nothing in it has a destructor
#pragma once

#include <cria/core/config.hpp>
#include <cria/tokenizer/unicode.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Memory that is given back all at once.
class arena {
 public:
  template <class T, class... Args>
    requires std::is_trivially_destructible_v<T>
  [[nodiscard]] T* make(Args&&... args) {
    return ::new (allocate(sizeof(T), alignof(T))) T{std::forward<Args>(args)...};
  }
  /// Returns `n` objects made by T{}.
  template <class T>
    requires std::is_trivially_destructible_v<T>
  [[nodiscard]] std::span<T> make_array(std::size_t n) {
    if (n == 0) return {};
    T* first = static_cast<T*>(allocate(n * sizeof(T), alignof(T)));
    for (std::size_t i = 0; i < n; ++i) ::new (first + i) T{};
    return {first, n};
  }
  template <class T>
    requires std::is_trivially_copyable_v<T>
  [[nodiscard]] std::span<T> copy(std::span<const T> from) {
    if (from.empty()) return {};
    T* first = static_cast<T*>(allocate(from.size_bytes(), alignof(T)));
    std::memcpy(static_cast<void*>(first), from.data(), from.size_bytes());
    return {first, from.size()};
  }
  [[nodiscard]] std::string_view copy(std::string_view from) {
    const auto bytes = copy(std::span<const char>(from));
    return {bytes.data(), bytes.size()};
  }

 private:
  static constexpr std::size_t chunk_bytes = std::size_t{16} << 10;

  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) {
    std::size_t skip = (alignment - used_ % alignment) % alignment;
    if (chunks_.empty() || skip > size_ - used_ || bytes > size_ - used_ - skip) {
      size_ = std::max(std::min(chunk_bytes << std::min<std::size_t>(chunks_.size(), 6), chunk_bytes * 64), bytes);
      chunks_.push_back(std::unique_ptr<std::byte[]>(new std::byte[size_]));   // aligned for any T
      used_ = skip = 0;
    }
    void* place = chunks_.back().get() + used_ + skip;
    used_ += skip + bytes;
    return place;
  }

  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::size_t used_ = 0, size_ = 0;   // of the last chunk
};

/// A string of a rendering. `flips` ascend; a byte came from the conversation when an odd number of them is not behind it.
struct text {
  std::string_view bytes;
  std::span<const std::uint32_t> flips;
  bool is_safe = false;   ///< what Python calls Markup: texts that are joined to it get their HTML characters escaped

  [[nodiscard]] bool is_content_at(std::size_t at) const noexcept {
    return (std::upper_bound(flips.begin(), flips.end(), at) - flips.begin()) % 2 != 0;
  }
};

/// Calls fn(bytes, is_content) for each longest run of bytes of the same side.
template <class F>
void for_each_run(const text& t, F&& fn) {
  std::size_t start = 0;
  bool is_content = false;
  for (const std::uint32_t flip : t.flips) {
    if (flip != start) fn(t.bytes.substr(start, flip - start), is_content);
    start = flip;
    is_content = !is_content;
  }
  if (start != t.bytes.size()) fn(t.bytes.substr(start), is_content);
}

/// Returns the bytes [start, start + length) of `t`, which stays where it is. Requires that they are inside.
[[nodiscard]] inline text part_of(arena& memory, const text& t, std::size_t start, std::size_t length) {
  text out{t.bytes.substr(start, length), {}, t.is_safe};
  const auto first = std::upper_bound(t.flips.begin(), t.flips.end(), start);
  const auto last = std::lower_bound(first, t.flips.end(), start + length);
  const bool starts_in_content = (first - t.flips.begin()) % 2 != 0;
  if (length == 0 || (first == last && !starts_in_content)) return out;
  const auto flips = memory.make_array<std::uint32_t>(static_cast<std::size_t>(last - first) + starts_in_content);
  std::size_t n = 0;
  if (starts_in_content) flips[n++] = 0;
  for (auto flip = first; flip != last; ++flip) flips[n++] = *flip - static_cast<std::uint32_t>(start);
  out.flips = flips;
  return out;
}

/// Puts a text together.
class text_builder {
 public:
  text_builder& add(std::string_view bytes, bool is_content = false) {
    if (bytes.empty()) return *this;
    if (is_content != (flips_.size() % 2 != 0)) flips_.push_back(static_cast<std::uint32_t>(bytes_.size()));
    bytes_ += bytes;
    return *this;
  }
  text_builder& add(const text& t) {
    for_each_run(t, [this](std::string_view bytes, bool is_content) { add(bytes, is_content); });
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  /// Bytes that a copy takes.
  [[nodiscard]] std::size_t cost() const noexcept { return bytes_.size() + flips_.size() * sizeof(std::uint32_t); }
  [[nodiscard]] text finish(arena& memory, bool is_safe = false) const {
    return {memory.copy(std::string_view(bytes_)), memory.copy(std::span<const std::uint32_t>(flips_)), is_safe};
  }
  [[nodiscard]] text view() const noexcept { return {bytes_, flips_}; }
  [[nodiscard]] std::string take_bytes() noexcept { return std::move(bytes_); }

 private:
  std::string bytes_;
  std::vector<std::uint32_t> flips_;
};

using cria::detail::decode_utf8;
using cria::detail::utf8_char;

/// Calls fn(code, bytes, is_content) for each character.
template <class F>
void for_each_char(const text& t, F&& fn) {
  for_each_run(t, [&](std::string_view run, bool is_content) {
    for (std::size_t i = 0; i < run.size();) {
      const utf8_char c = decode_utf8(run, i);
      fn(c.code, run.substr(i, c.length), is_content);
      i += c.length;
    }
  });
}

/// Returns the number of characters; a byte that is not UTF-8 counts as one.
[[nodiscard]] inline std::size_t count_chars(std::string_view bytes) noexcept {
  std::size_t n = 0;
  for (std::size_t i = 0; i < bytes.size(); ++n) i += static_cast<unsigned char>(bytes[i]) < 0x80 ? 1u : decode_utf8(bytes, i).length;
  return n;
}

/// Returns where the character after `n` others begins; the end where there are fewer.
[[nodiscard]] inline std::size_t char_offset(std::string_view bytes, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i < bytes.size() && n > 0; --n) i += static_cast<unsigned char>(bytes[i]) < 0x80 ? 1u : decode_utf8(bytes, i).length;
  return i;
}

/// Returns whether Python's str.isspace() holds for the character.
[[nodiscard]] constexpr bool is_python_space(char32_t c) noexcept {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/// Returns how many bytes at the beginning, or at the end, are white space.
[[nodiscard]] inline std::size_t leading_space(std::string_view s) noexcept {
  std::size_t i = 0;
  while (i < s.size()) {
    const utf8_char c = decode_utf8(s, i);
    if (!is_python_space(c.code)) break;
    i += c.length;
  }
  return i;
}
[[nodiscard]] inline std::size_t trailing_space(std::string_view s) noexcept {
  std::size_t end = s.size();
  while (end > 0) {
    std::size_t start = end - 1;
    while (start > 0 && end - start < 4 && (static_cast<unsigned char>(s[start]) & 0xc0) == 0x80) --start;
    const utf8_char c = decode_utf8(s.substr(0, end), start);
    if (start + c.length != end || !is_python_space(c.code)) break;
    end = start;
  }
  return s.size() - end;
}

}  // namespace cria::inline v0_1_0::jinja
