// SPDX-License-Identifier: MIT
// gguf/metadata.hpp - the keys and values of a GGUF file, in file order, found by name in constant time.
//
// Errors    get: missing_key, wrong_type, bad_value, each with the key and the value's byte offset
// Threads   immutable: any number of readers
// Lifetime  views into the bytes of the gguf::file that it comes from: valid as long as any copy of that file lives
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/text_index.hpp>
#include <cria/gguf/value.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::gguf {

/// A key of a file and its value.
struct entry {
  std::string_view key;
  value v;
};

class metadata {
 public:
  metadata() = default;
  metadata(metadata&&) = default;
  metadata& operator=(metadata&&) = default;

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] auto begin() const noexcept { return entries_.begin(); }
  [[nodiscard]] auto end() const noexcept { return entries_.end(); }

  /// Returns the value of `key`, or nullptr.
  [[nodiscard]] const value* find(std::string_view key) const noexcept {
    const auto i = index_.find(key, [this](std::size_t n) { return entries_[n].key; });
    return i ? &entries_[*i].v : nullptr;
  }
  [[nodiscard]] bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }

  /// Returns the value of `key` as T (see value::as).
  template <class T>
  [[nodiscard]] result<T> get(std::string_view key) const {
    const value* found = find(key);
    if (found == nullptr) return error{errc::missing_key, printable(key), "the file has no such key"};
    auto converted = found->as<T>();
    if (converted) return converted;
    error e = std::move(converted).error();
    e.where = e.where.empty() ? printable(key) : printable(key) + ", " + e.where;
    e.offset = offset_of(*found);
    return e;
  }

  /// As get, but returns `fallback` when the key is absent; a value of the wrong type stays an error.
  template <class T>
  [[nodiscard]] result<T> get_or(std::string_view key, T fallback) const {
    if (!contains(key)) return fallback;
    return get<T>(key);
  }

  /// Returns where the bytes of a value of this metadata stand in their file. Requires a value of this object.
  [[nodiscard]] std::uint64_t offset_of(const value& v) const noexcept { return static_cast<std::uint64_t>(v.bytes().data() - base_); }

 private:
  friend class detail::header_parser;

  std::vector<entry> entries_;
  std::vector<std::unique_ptr<std::uint32_t[]>> string_starts_;   // one table per array of strings
  cria::detail::text_index index_;
  const std::byte* base_ = nullptr;
};

}  // namespace cria::inline v0_1_0::gguf
