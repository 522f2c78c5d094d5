// SPDX-License-Identifier: MIT
// core/text_index.hpp - finds a text among many from an untrusted file: names of keys and tensors, and pieces of words, which merging looks up several
// times per character.
//
// Ensures   linear time for any texts: each table's hash is keyed by the table's address and time of birth, so nobody can make a file whose texts collide
// Errors    none; std::bad_alloc passes through
// Threads   find is const and may run on many threads
// Source    the hash multiplies and folds eight bytes at a time (xmx, as in public-domain mixers such as splitmix64's)
#pragma once

#include <cria/core/config.hpp>

#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Returns a number that a file's author cannot know.
[[nodiscard]] inline std::uint64_t make_hash_key(const void* owner) noexcept {
  const auto birth = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  return std::rotl(birth, 24) ^ reinterpret_cast<std::uintptr_t>(owner);
}

/// Spreads every bit of `x` over all others, one to one.
[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t x) noexcept {
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  return x ^ x >> 32;
}

[[nodiscard]] inline std::uint64_t hash_text(std::uint64_t key, std::string_view text) noexcept {
  const char* p = text.data();
  std::size_t n = text.size();
  std::uint64_t h = key ^ n * 0x9e3779b97f4a7c15u;  // far from any difference of short texts
  for (; n > 8; p += 8, n -= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    h = mix_bits(h ^ word);
  }
  std::uint64_t last = 0;
  if (n >= 4) {  // two loads that may overlap: the length is part of the hash
    std::uint32_t low, high;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + n - 4, 4);
    last = static_cast<std::uint64_t>(high) << 32 | low;
  } else {
    for (std::size_t i = 0; i < n; ++i) last = last << 8 | static_cast<unsigned char>(p[i]);
  }
  return mix_bits(h ^ last);
}

/// A hash set of indices into the caller's list of texts. The caller passes text_of(index) to every call.
class text_index {
 public:
  /// Makes room for `n` texts, n < 2^30; what was in it is gone.
  void reset(std::size_t n) {
    slots_.assign(std::bit_ceil(n * 2 + 1), slot{});
    key_ = make_hash_key(slots_.data());
  }

  /// Adds `text` under `index` unless an equal one is there, whose index it returns. Requires room (reset).
  template <class TextOf>
  std::optional<std::size_t> insert(std::string_view text, std::size_t index, TextOf&& text_of) {
    const std::uint64_t hash = hash_text(key_, text);
    slot& s = slots_[position(hash, text, text_of)];
    if (s.number != 0) return s.number - 1;
    s = {tag_of(hash), static_cast<std::uint32_t>(index + 1)};
    return std::nullopt;
  }

  template <class TextOf>
  [[nodiscard]] std::optional<std::size_t> find(std::string_view text, TextOf&& text_of) const noexcept {
    if (slots_.empty()) return std::nullopt;
    const slot& s = slots_[position(hash_text(key_, text), text, text_of)];
    if (s.number == 0) return std::nullopt;
    return s.number - 1;
  }

 private:
  struct slot {
    std::uint32_t tag = 0;      // the hash's upper half: most texts that differ need no look
    std::uint32_t number = 0;  // index + 1, 0: empty
  };

  [[nodiscard]] static std::uint32_t tag_of(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash >> 32); }

  /// Returns the slot of `text`, or the empty one where it belongs.
  template <class TextOf>
  [[nodiscard]] std::size_t position(std::uint64_t hash, std::string_view text, TextOf& text_of) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = static_cast<std::size_t>(hash) & mask;
    while (slots_[at].number != 0 && (slots_[at].tag != tag_of(hash) || text_of(slots_[at].number - 1) != text)) at = (at + 1) & mask;
    return at;
  }

  std::vector<slot> slots_;  // a power of two of them, at most half in use
  std::uint64_t key_ = 0;
};

}  // namespace cria::inline v0_1_0::detail
