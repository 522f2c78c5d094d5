// SPDX-License-Identifier: MIT
// chat/jinja/text_search.hpp - finds where split, splitlines and replace cut a text: at separators, at white space, at the ends of lines.
//
// Units     bytes
// Ensures   separators are found in linear time, whatever the text (find_text.hpp)
// Source    Python 3 library reference, str.split, str.splitlines, str.replace
#pragma once

#include <cria/chat/jinja/find_text.hpp>
#include <cria/chat/jinja/runtime.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Bytes [start, end) of a text.
struct byte_range {
  std::size_t start = 0, end = 0;
  [[nodiscard]] std::size_t size() const noexcept { return end - start; }
};

/// Returns how many bytes at the beginning, or the end, are characters of `chars`.
[[nodiscard]] inline std::size_t leading_of(std::string_view s, std::string_view chars) noexcept {
  std::size_t i = 0;
  while (i < s.size()) {
    const std::size_t length = decode_utf8(s, i).length;
    if (chars.find(s.substr(i, length)) == chars.npos) break;
    i += length;
  }
  return i;
}
[[nodiscard]] inline std::size_t trailing_of(std::string_view s, std::string_view chars) noexcept {
  std::size_t end = s.size();
  while (end > 0) {
    std::size_t start = end - 1;
    while (start > 0 && end - start < 4 && (static_cast<unsigned char>(s[start]) & 0xc0) == 0x80) --start;
    if (start + decode_utf8(s.substr(0, end), start).length != end) start = end - 1;
    if (chars.find(s.substr(start, end - start)) == chars.npos) break;
    end = start;
  }
  return s.size() - end;
}

/// Returns where `wanted`, which is not empty, begins, at most `most` times, without overlap.
[[nodiscard]] inline std::vector<std::size_t> find_all(std::string_view s, std::string_view wanted, std::size_t most) {
  std::vector<std::size_t> found;
  for (std::size_t at = 0; found.size() < most && (at = find_text(s, wanted, at)) != s.npos; at += wanted.size()) found.push_back(at);
  return found;
}
/// The same from the end on; in ascending order.
[[nodiscard]] inline std::vector<std::size_t> find_all_from_end(std::string_view s, std::string_view wanted, std::size_t most) {
  std::vector<std::size_t> found;
  for (std::size_t at = 0; found.size() < most && (at = rfind_text(s, wanted)) != s.npos; s = s.substr(0, at)) found.push_back(at);
  std::reverse(found.begin(), found.end());
  return found;
}
[[nodiscard]] inline std::vector<byte_range> ranges_between(std::size_t size, const std::vector<std::size_t>& cuts, std::size_t cut_size) {
  std::vector<byte_range> out;
  std::size_t start = 0;
  for (const std::size_t cut : cuts) {
    out.push_back({start, cut});
    start = cut + cut_size;
  }
  out.push_back({start, size});
  return out;
}

/// Returns the words, after `limit` cuts the rest; at most `room` of them.
[[nodiscard]] inline std::vector<byte_range> split_at_space(std::string_view s, std::size_t limit, std::size_t room) {
  std::vector<byte_range> out;
  for (std::size_t at = leading_space(s); at < s.size() && out.size() < room; at += leading_space(s.substr(at))) {
    std::size_t end = at;
    if (out.size() >= limit) {
      out.push_back({at, s.size()});
      break;
    }
    while (end < s.size() && !is_python_space(decode_utf8(s, end).code)) end += decode_utf8(s, end).length;
    out.push_back({at, end});
    at = end;
  }
  return out;
}
[[nodiscard]] inline std::vector<byte_range> split_at_space_from_end(std::string_view s, std::size_t limit, std::size_t room) {
  std::vector<byte_range> words = split_at_space(s, std::numeric_limits<std::size_t>::max(), room);
  if (limit >= words.size()) return words;
  const std::size_t n_joined = words.size() - limit;
  words[n_joined - 1].start = 0;
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(n_joined - 1));
  return words;
}

/// Returns the lines, with their ends where `keeps_ends`; at most `room` of them.
[[nodiscard]] inline std::vector<byte_range> line_ranges(std::string_view s, bool keeps_ends, std::size_t room) {
  const auto ends_line = [](char32_t c) { return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029; };
  std::vector<byte_range> out;
  std::size_t start = 0;
  for (std::size_t at = 0; at < s.size() && out.size() < room;) {
    const utf8_char c = decode_utf8(s, at);
    std::size_t behind = at + c.length;
    if (ends_line(c.code)) {
      if (c.code == '\r' && behind < s.size() && s[behind] == '\n') ++behind;
      out.push_back({start, keeps_ends ? behind : at});
      start = behind;
    }
    at = behind;
  }
  if (start < s.size() && out.size() < room) out.push_back({start, s.size()});
  return out;
}

/// Returns `t` with `old` replaced, at most `most` times; all where it is negative.
[[nodiscard]] inline value replace_all(runtime& rt, const text& t, const text& old, const text& by, std::int64_t most) {
  const std::size_t limit = most < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(most);
  if (!rt.charge_chars(t.bytes.size())) return value::none();
  text_builder out;
  std::size_t start = 0, n = 0;
  for (std::size_t at = 0; n < limit; ++n) {
    if (old.bytes.empty()) {   // before each character, and at the end
      if (n > 0 && at >= t.bytes.size()) break;
      if (n > 0) at += decode_utf8(t.bytes, at).length;
    } else {
      at = find_text(t.bytes, old.bytes, at);
      if (at == t.bytes.npos) break;
    }
    if (!rt.charge(2 + by.bytes.size() / 32)) return value::none();
    out.add(rt.piece(t, start, at - start)).add(by);
    start = at + old.bytes.size();
    if (!old.bytes.empty()) at = start;
  }
  out.add(rt.piece(t, start, t.bytes.size() - start));
  return rt.string(out, t.is_safe);
}

}  // namespace cria::inline v0_1_0::jinja
