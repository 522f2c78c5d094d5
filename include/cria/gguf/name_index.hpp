// SPDX-License-Identifier: MIT
// gguf/name_index.hpp - finds a name among many from an untrusted file, in linear time for all of them whatever they are.
//
// Ensures   The hash is keyed by each object's address and birth: a file cannot be made whose names collide on purpose.
// Errors    none; memory for the table is the only thing that can fail (std::bad_alloc)
// Threads   find is const and may run on many threads
// Source    SipHash-1-3 (Aumasson and Bernstein, 2012; the reduced rounds as in hash tables since 2015)
#pragma once

#include <cria/core/checked.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0::gguf::detail {

using hash_key = std::array<std::uint64_t, 2>;

/// Returns the keyed hash of `text`, 64 bits.
[[nodiscard]] inline std::uint64_t keyed_hash(const hash_key& key, std::string_view text) noexcept {
  std::uint64_t v0 = key[0] ^ 0x736f6d6570736575u, v1 = key[1] ^ 0x646f72616e646f6du;   // the four start values of the definition
  std::uint64_t v2 = key[0] ^ 0x6c7967656e657261u, v3 = key[1] ^ 0x7465646279746573u;
  const auto mix = [&] {
    v0 += v1, v2 += v3, v1 = std::rotl(v1, 13) ^ v0, v3 = std::rotl(v3, 16) ^ v2, v0 = std::rotl(v0, 32);
    v2 += v1, v0 += v3, v1 = std::rotl(v1, 17) ^ v2, v3 = std::rotl(v3, 21) ^ v0, v2 = std::rotl(v2, 32);
  };
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  const std::size_t whole = text.size() / 8 * 8;
  for (std::size_t i = 0; i < whole; i += 8) {
    const auto word = load_le<std::uint64_t>(bytes + i);
    v3 ^= word;
    mix();
    v0 ^= word;
  }
  std::uint64_t last = static_cast<std::uint64_t>(text.size()) << 56;
  for (std::size_t i = whole; i < text.size(); ++i) last |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * (i - whole));
  v3 ^= last;
  mix();
  v0 ^= last;
  v2 ^= 0xff;
  mix(), mix(), mix();
  return v0 ^ v1 ^ v2 ^ v3;
}

/// A hash set of indices into the caller's list of names. The caller passes name_of(index) to every call.
class name_index {
 public:
  name_index() = default;

  /// Makes room for `n` names, n < 2^31; what was in it is gone.
  void reset(std::size_t n) {
    slots_.assign(std::bit_ceil(n * 2 + 1), empty);
    const auto birth = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    key_ = {reinterpret_cast<std::uintptr_t>(slots_.data()), birth ^ std::rotl(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this)), 32)};
  }

  /// Adds `name` under `index`; returns the index that has the same name already, if one does. Requires room (reset).
  template <class NameOf>
  std::optional<std::size_t> insert(std::string_view name, std::size_t index, NameOf&& name_of) {
    std::size_t at = slot_of(name);
    for (; slots_[at] != empty; at = next(at)) {
      if (name_of(slots_[at]) == name) return slots_[at];
    }
    slots_[at] = static_cast<std::uint32_t>(index);
    return std::nullopt;
  }

  template <class NameOf>
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name, NameOf&& name_of) const {
    if (slots_.empty()) return std::nullopt;
    for (std::size_t at = slot_of(name); slots_[at] != empty; at = next(at)) {
      if (name_of(slots_[at]) == name) return slots_[at];
    }
    return std::nullopt;
  }

 private:
  static constexpr std::uint32_t empty = ~std::uint32_t{0};

  [[nodiscard]] std::size_t slot_of(std::string_view name) const noexcept {
    return static_cast<std::size_t>(keyed_hash(key_, name)) & (slots_.size() - 1);
  }
  [[nodiscard]] std::size_t next(std::size_t at) const noexcept { return (at + 1) & (slots_.size() - 1); }

  hash_key key_{};
  std::vector<std::uint32_t> slots_;   // a power of two of them, at most half in use
};

}  // namespace cria::inline v0::gguf::detail
