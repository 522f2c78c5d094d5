// SPDX-License-Identifier: MIT
// sampling/grammar/mask_store.hpp - which tokens fit where, as all filters of a grammar found it: so that a second generation begins with what the first knew.
//
// Shapes    key: words that mean the same to every filter; mask[V] bits
// Ensures   what is found is what was kept; at most max_bytes, beyond which all is forgotten and begun anew
// Errors    none: what cannot be kept for want of memory is not kept
// Threads   shared freely: one lock, held for a look-up and a copy
#pragma once

#include <cria/core/random.hpp>
#include <cria/core/result.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

class mask_store {
 public:
  static constexpr std::size_t max_bytes = std::size_t{32} << 20;

  /// Copies the mask of a key; returns whether there is one of that size.
  [[nodiscard]] bool find(std::span<const std::uint64_t> key, std::span<std::uint64_t> mask) const {
    const std::lock_guard lock(mutex_);
    const auto [begin, end] = masks_.equal_range(hash_of(key));
    for (auto at = begin; at != end; ++at) {
      const entry& e = at->second;
      if (e.n_key != key.size() || e.words.size() != key.size() + mask.size() || !std::equal(key.begin(), key.end(), e.words.begin())) continue;
      std::copy_n(e.words.begin() + static_cast<std::ptrdiff_t>(e.n_key), mask.size(), mask.begin());
      return true;
    }
    return false;
  }

  /// Keeps the mask of a key that find() does not know.
  void keep(std::span<const std::uint64_t> key, std::span<const std::uint64_t> mask) {
    static_cast<void>(catch_bad_alloc([&]() -> result<void> {
      entry made{key.size(), {}};
      made.words.reserve(key.size() + mask.size());
      made.words.insert(made.words.end(), key.begin(), key.end());
      made.words.insert(made.words.end(), mask.begin(), mask.end());
      const std::size_t size = made.words.size() * sizeof(std::uint64_t) + bytes_per_entry;
      const std::lock_guard lock(mutex_);
      if (n_bytes_ + size > max_bytes) masks_.clear(), n_bytes_ = 0;
      if (size > max_bytes) return {};
      masks_.emplace(hash_of(key), std::move(made));
      n_bytes_ += size;
      return {};
    }, "grammar"));
  }

  void clear() noexcept {
    const std::lock_guard lock(mutex_);
    masks_.clear();
    n_bytes_ = 0;
  }

  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return masks_.size();
  }

 private:
  struct entry {
    std::size_t n_key;
    std::vector<std::uint64_t> words;   // the key and the mask
  };
  static constexpr std::size_t bytes_per_entry = 96;   // about what a node of the map takes

  [[nodiscard]] static std::uint64_t hash_of(std::span<const std::uint64_t> key) noexcept {
    std::uint64_t hash = key.size();
    for (const std::uint64_t word : key) {
      hash ^= word;
      hash = splitmix64(hash);
    }
    return hash;
  }

  mutable std::mutex mutex_;
  std::unordered_multimap<std::uint64_t, entry> masks_;
  std::size_t n_bytes_ = 0;
};

}  // namespace cria::inline v0_1_0::detail
