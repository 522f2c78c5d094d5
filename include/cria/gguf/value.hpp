// SPDX-License-Identifier: MIT
// gguf/value.hpp - one metadata value of a GGUF file: a view that carries its stored type.
//
//   scalar    the little-endian bytes               boolean: one byte, 0 is false
//   string    u64 length, then the bytes            any bytes, NUL included; no terminator
//   array     u32 element type, u64 count, then the elements, each as above; arrays of arrays are refused by the parser
//
// Ensures   Nothing is cast without a look at the stored type: a value comes out as what it is or not at all.
// Errors    wrong_type (another kind), bad_value (an integer that does not fit), bad_argument (an index out of range)
// Lifetime  views into the bytes that the gguf::file owns
// Source    GGUF specification, versions 2 and 3 (ggml docs/gguf.md, July 2026)
#pragma once

#include <cria/core/checked.hpp>
#include <cria/core/result.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::gguf {

/// The kinds of metadata, by their ids in files.
enum class value_type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

inline constexpr std::uint32_t value_type_count = 13;

/// Returns the name as GGUF tools print it. Requires a defined type.
[[nodiscard]] constexpr std::string_view name(value_type type) noexcept {
  constexpr std::string_view names[] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<std::uint32_t>(type)];
}

/// Returns the bytes of one scalar, 0 for strings and arrays. Requires a defined type.
[[nodiscard]] constexpr std::size_t scalar_bytes(value_type type) noexcept {
  constexpr std::size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return bytes[static_cast<std::uint32_t>(type)];
}

class value;
class array_view;

namespace detail {

class header_parser;

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

template <class T>
inline constexpr bool is_integer = std::integral<T> && !std::same_as<T, bool>;

[[nodiscard]] inline error wrong_type(value_type stored, std::string_view wanted) {
  return {errc::wrong_type, {}, "is stored as " + std::string(name(stored)) + ", not as " + std::string(wanted)};
}

template <class T, class Stored>
[[nodiscard]] result<T> to_integer(Stored stored) {
  if (std::in_range<T>(stored)) return static_cast<T>(stored);
  return error{errc::bad_value, {}, std::to_string(stored) + " is out of range"};
}

/// Returns the stored integer of any width as T, if it fits.
template <class T>
[[nodiscard]] result<T> load_integer(value_type type, const std::byte* bytes) {
  switch (type) {
    case value_type::u8: return to_integer<T>(load_le<std::uint8_t>(bytes));
    case value_type::i8: return to_integer<T>(load_le<std::int8_t>(bytes));
    case value_type::u16: return to_integer<T>(load_le<std::uint16_t>(bytes));
    case value_type::i16: return to_integer<T>(load_le<std::int16_t>(bytes));
    case value_type::u32: return to_integer<T>(load_le<std::uint32_t>(bytes));
    case value_type::i32: return to_integer<T>(load_le<std::int32_t>(bytes));
    case value_type::u64: return to_integer<T>(load_le<std::uint64_t>(bytes));
    case value_type::i64: return to_integer<T>(load_le<std::int64_t>(bytes));
    default: return wrong_type(type, "an integer");
  }
}

/// Returns a scalar other than a string as T: bool, an integer, float or double.
template <class T>
[[nodiscard]] result<T> load_scalar(value_type type, const std::byte* bytes) {
  if constexpr (std::same_as<T, bool>) {
    if (type != value_type::boolean) return wrong_type(type, "bool");
    return load_le<std::uint8_t>(bytes) != 0;
  } else if constexpr (std::integral<T>) {
    return load_integer<T>(type, bytes);
  } else {
    static_assert(std::floating_point<T>, "metadata is read as bool, integers, floating point, strings, array_view or std::vector of these");
    if (type == value_type::f32) return static_cast<T>(load_le<float>(bytes));
    if (type == value_type::f64) return static_cast<T>(load_le<double>(bytes));
    return wrong_type(type, "a floating-point number");
  }
}

[[nodiscard]] inline std::string_view as_text(const std::byte* bytes, std::size_t n) noexcept {
  return {reinterpret_cast<const char*>(bytes), n};
}

}  // namespace detail

/// The elements of an array value.
class array_view {
 public:
  array_view() = default;

  [[nodiscard]] value_type element_type() const noexcept { return type_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Returns element `i`, converted as value::as does.
  template <class T>
  [[nodiscard]] result<T> at(std::size_t i) const;

  /// Returns string `i` in constant time. Requires element_type() == value_type::string and i < size().
  [[nodiscard]] std::string_view string(std::size_t i) const noexcept {
    const std::byte* at = bytes_ + starts_[i];   // the parser has walked over every length
    return detail::as_text(at + sizeof(std::uint64_t), static_cast<std::size_t>(load_le<std::uint64_t>(at)));
  }

  /// Returns all elements; the first one that does not convert is the error, its index the error's `where`.
  template <class T>
  [[nodiscard]] result<std::vector<T>> to_vector() const;

 private:
  friend class value;
  array_view(value_type type, std::size_t size, const std::byte* bytes, const std::uint32_t* starts) noexcept
      : type_(type), size_(size), bytes_(bytes), starts_(starts) {}

  value_type type_ = value_type::u8;
  std::size_t size_ = 0;
  const std::byte* bytes_ = nullptr;         // of the first element
  const std::uint32_t* starts_ = nullptr;    // strings: where the length of each stands, from bytes_ on
};

/// A value of any type.
class value {
 public:
  [[nodiscard]] value_type type() const noexcept { return type_; }

  /// Returns the value as T: bool, any integer (from any stored integer that fits), float or double (from either), std::string_view,
  /// std::string, array_view, or std::vector of the scalar ones.
  template <class T>
  [[nodiscard]] result<T> as() const {
    if constexpr (std::same_as<T, array_view>) {
      if (type_ != value_type::array) return detail::wrong_type(type_, "an array");
      return array_view(element_, size_, bytes_, starts_);
    } else if constexpr (detail::is_vector<T>) {
      if (type_ != value_type::array) return detail::wrong_type(type_, "an array");
      return array_view(element_, size_, bytes_, starts_).to_vector<typename T::value_type>();
    } else if constexpr (std::same_as<T, std::string_view> || std::same_as<T, std::string>) {
      if (type_ != value_type::string) return detail::wrong_type(type_, "a string");
      return T(detail::as_text(bytes_, size_));
    } else {
      return detail::load_scalar<T>(type_, bytes_);
    }
  }

  /// Returns the stored bytes of a scalar, a string's text or an array's elements: what a writer copies.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {bytes_, stored_}; }

 private:
  friend class detail::header_parser;
  value(value_type type, std::span<const std::byte> bytes) noexcept : type_(type), bytes_(bytes.data()), size_(bytes.size()), stored_(bytes.size()) {}
  value(value_type element, std::size_t size, std::span<const std::byte> bytes, const std::uint32_t* starts) noexcept
      : type_(value_type::array), element_(element), bytes_(bytes.data()), size_(size), stored_(bytes.size()), starts_(starts) {}

  value_type type_;
  value_type element_ = value_type::u8;
  const std::byte* bytes_;
  std::size_t size_;     // bytes of a scalar or string, elements of an array
  std::size_t stored_;   // bytes
  const std::uint32_t* starts_ = nullptr;
};

template <class T>
result<T> array_view::at(std::size_t i) const {
  if (i >= size_) {
    return error{errc::bad_argument, {}, "element " + std::to_string(i) + " of an array of " + std::to_string(size_)};
  }
  if constexpr (std::same_as<T, std::string_view> || std::same_as<T, std::string>) {
    if (type_ != value_type::string) return detail::wrong_type(type_, "a string");
    return T(string(i));
  } else {
    if (type_ == value_type::string) return detail::wrong_type(type_, "a number");
    return detail::load_scalar<T>(type_, bytes_ + i * scalar_bytes(type_));
  }
}

template <class T>
result<std::vector<T>> array_view::to_vector() const {
  std::vector<T> all;
  all.reserve(size_);
  for (std::size_t i = 0; i < size_; ++i) {
    auto element = at<T>(i);
    if (!element) {
      error e = std::move(element).error();
      e.where = "element " + std::to_string(i);
      return e;
    }
    all.push_back(*std::move(element));
  }
  return all;
}

}  // namespace cria::inline v0_1_0::gguf
