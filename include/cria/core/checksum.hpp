// SPDX-License-Identifier: MIT
// core/checksum.hpp - 64 bits that tell whether bytes have changed by accident. It does not protect against intent.
//
//   lane[i]  = rotl(lane[i] ^ word, 29) * odd            words of 8 bytes go to four lanes in turn
//   checksum = lanes and length, mixed one after another
//
// Ensures   Bytes of equal length that differ only within one word (8 bytes from a multiple of 8 on) never have the same checksum, because every step is a
//           bijection of word and of lane. Other differences go unnoticed once in about 2^64 cases. The value is the same on every machine; it is part of file
//           formats and never changes.
// Errors    none (noexcept)
// Threads   a value; one user at a time
#pragma once

#include <cria/core/checked.hpp>
#include <cria/core/random.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0 {

/// Sums bytes up that are added in any pieces.
class checksum64 {
 public:
  explicit checksum64(std::uint64_t seed = 0) noexcept {
    for (std::uint64_t& lane : lanes_) lane = splitmix64(seed);
  }

  /// Adds the next bytes. How they are split into calls makes no difference.
  void update(std::span<const std::byte> bytes) noexcept {
    length_ += bytes.size();
    if (held_ != 0) {
      const std::size_t n = std::min(bytes.size(), block_bytes - held_);
      std::copy_n(bytes.begin(), n, block_.begin() + static_cast<std::ptrdiff_t>(held_));
      held_ += n;
      bytes = bytes.subspan(n);
      if (held_ < block_bytes) return;
      take(block_.data());
      held_ = 0;
    }
    for (; bytes.size() >= block_bytes; bytes = bytes.subspan(block_bytes)) take(bytes.data());
    std::copy(bytes.begin(), bytes.end(), block_.begin());
    held_ = bytes.size();
  }

  void update(std::string_view text) noexcept { update(std::as_bytes(std::span<const char>(text))); }

  /// Adds a number, as its little-endian bytes.
  template <class T>
    requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
  void update(T number) noexcept {
    update(std::span<const std::byte>(store_le(number)));
  }

  /// Returns the checksum of all bytes so far.
  [[nodiscard]] std::uint64_t value() const noexcept {
    checksum64 last = *this;
    std::fill(last.block_.begin() + static_cast<std::ptrdiff_t>(held_), last.block_.end(), std::byte{0});
    if (held_ != 0) last.take(last.block_.data());
    std::uint64_t sum = length_;
    for (const std::uint64_t lane : last.lanes_) {
      sum ^= lane;
      sum = splitmix64(sum);
    }
    return sum;
  }

 private:
  static constexpr std::size_t block_bytes = 32;

  void take(const std::byte* block) noexcept {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      lanes_[i] = std::rotl(lanes_[i] ^ load_le<std::uint64_t>(block + 8 * i), 29) * 0x9fb21c651e98df25;   // odd
    }
  }

  std::array<std::uint64_t, 4> lanes_{};
  std::array<std::byte, block_bytes> block_{};
  std::size_t held_ = 0;        // bytes in block_
  std::uint64_t length_ = 0;
};

/// Returns the checksum of the bytes.
[[nodiscard]] inline std::uint64_t checksum_of(std::span<const std::byte> bytes) noexcept {
  checksum64 sum;
  sum.update(bytes);
  return sum.value();
}

}  // namespace cria::inline v0_1_0
