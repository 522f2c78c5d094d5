// SPDX-License-Identifier: MIT
// core/checked.hpp - sizes and positions that come from untrusted bytes: checked_u64, byte_cursor, load_le, store_le.
//
// Ensures   No sum, product or rounding of a declared size overflows unnoticed, and no byte outside the span is read: byte_cursor::take is the only way to
//           advance, and it compares before it adds.
// Errors    none (noexcept); failure is the absence of a value, and the caller knows what to call it
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/config.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace cria::inline v0_1_0 {

/// An unsigned 64-bit number that remembers whether a step of its computation left the range.
class checked_u64 {
 public:
  constexpr checked_u64(std::uint64_t value) noexcept : value_(value) {}

  /// Returns the number, or nothing if any step wrapped or divided by zero.
  [[nodiscard]] constexpr std::optional<std::uint64_t> get() const noexcept { return ok_ ? std::optional(value_) : std::nullopt; }

  [[nodiscard]] friend constexpr checked_u64 operator+(checked_u64 a, checked_u64 b) noexcept {
    return {a.value_ + b.value_, a.ok_ && b.ok_ && a.value_ <= max - b.value_};
  }
  [[nodiscard]] friend constexpr checked_u64 operator-(checked_u64 a, checked_u64 b) noexcept {
    return {a.value_ - b.value_, a.ok_ && b.ok_ && a.value_ >= b.value_};
  }
  [[nodiscard]] friend constexpr checked_u64 operator*(checked_u64 a, checked_u64 b) noexcept {
    return {a.value_ * b.value_, a.ok_ && b.ok_ && (b.value_ == 0 || a.value_ <= max / b.value_)};
  }
  [[nodiscard]] friend constexpr checked_u64 operator/(checked_u64 a, checked_u64 b) noexcept {
    return {b.value_ == 0 ? 0 : a.value_ / b.value_, a.ok_ && b.ok_ && b.value_ != 0};
  }

  /// Returns the next multiple of `step`.
  [[nodiscard]] constexpr checked_u64 rounded_up(std::uint64_t step) const noexcept {
    if (step == 0) return {0, false};
    const std::uint64_t rest = value_ % step;
    return rest == 0 ? *this : *this + checked_u64(step - rest);
  }

 private:
  static constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
  constexpr checked_u64(std::uint64_t value, bool ok) noexcept : value_(value), ok_(ok) {}

  std::uint64_t value_;
  bool ok_ = true;
};

/// Returns the little-endian number whose sizeof(T) bytes start at `bytes`, which need not be aligned.
template <class T>
  requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
[[nodiscard]] T load_le(const std::byte* bytes) noexcept {
  std::array<std::byte, sizeof(T)> native;
  std::memcpy(native.data(), bytes, sizeof(T));
  if constexpr (std::endian::native == std::endian::big) {
    for (std::size_t i = 0; i < sizeof(T) / 2; ++i) std::swap(native[i], native[sizeof(T) - 1 - i]);
  }
  return bit_cast<T>(native);
}

/// Writes `value` as sizeof(T) little-endian bytes.
template <class T>
  requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
[[nodiscard]] std::array<std::byte, sizeof(T)> store_le(T value) noexcept {
  auto bytes = bit_cast<std::array<std::byte, sizeof(T)>>(value);
  if constexpr (std::endian::native == std::endian::big) {
    for (std::size_t i = 0; i < sizeof(T) / 2; ++i) std::swap(bytes[i], bytes[sizeof(T) - 1 - i]);
  }
  return bytes;
}

/// A reading position in a span of untrusted bytes. `take` is the only way to move it.
class byte_cursor {
 public:
  explicit byte_cursor(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  /// Returns the next `n` bytes and moves past them; nothing, without moving, if fewer are left.
  [[nodiscard]] std::optional<std::span<const std::byte>> take(std::uint64_t n) noexcept {
    if (n > left()) return std::nullopt;
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(n));
    position_ += static_cast<std::size_t>(n);
    return taken;
  }

  /// Returns the next little-endian T and moves past it.
  template <class T>
  [[nodiscard]] std::optional<T> read() noexcept {
    const auto bytes = take(sizeof(T));
    return bytes ? std::optional(load_le<T>(bytes->data())) : std::nullopt;
  }

  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - position_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace cria::inline v0_1_0
