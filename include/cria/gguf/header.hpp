// SPDX-License-Identifier: MIT
// gguf/header.hpp - parses what stands before the tensor data of a GGUF file: a pure function of bytes, file size and limits.
//
//   "GGUF"  u32 version  u64 tensor count  u64 key count
//   keys    string name, u32 value type, value                        (value.hpp)
//   tensors string name, u32 rank, u64 dimension[rank] (fastest first), u32 type, u64 offset from the start of the data
//   data    starts at the next multiple of general.alignment (32 without that key); so does each tensor
//
// Ensures   What is returned has been checked whole: counts against the bytes left before anything is allocated for them, names, types,
//           shapes, sizes, each tensor inside the file and apart from the others. No I/O, no recursion, linear time.
// Errors    bad_magic, unsupported_version, truncated, limit_exceeded, bad_value, wrong_type, duplicate, bad_shape, unsupported_type,
//           out_of_memory; each with the key or tensor and the byte offset
// Lifetime  the result views the bytes
// Source    GGUF specification, versions 2 and 3 (ggml docs/gguf.md, July 2026)
#pragma once

#include <cria/core/checked.hpp>
#include <cria/core/result.hpp>
#include <cria/core/text_index.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/gguf/tensor_info.hpp>
#include <cria/gguf/value.hpp>
#include <cria/quant/tensor_type.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::gguf {

namespace detail {

struct header {
  metadata keys;
  std::vector<tensor_info> tensors;
  cria::detail::text_index tensor_index;
  std::uint32_t version = 0;
  std::uint64_t alignment = default_alignment;
  std::uint64_t data_offset = 0;
};

/// Parses one prefix of a file. If that is too short though the file is not, parse() fails and needed() says how many bytes it takes.
class header_parser {
 public:
  header_parser(std::span<const std::byte> prefix, std::uint64_t file_size, const limits& limit) noexcept
      : cursor_(prefix), prefix_(prefix), file_size_(file_size), limit_(limit) {}

  [[nodiscard]] result<header> parse() {
    header h;
    CRIA_CHECK(parse_start(h));
    CRIA_CHECK(parse_keys(h.keys));
    CRIA_TRY(h.alignment, parse_alignment(h.keys));
    CRIA_CHECK(parse_tensors(h));
    CRIA_CHECK(place_tensors(h));
    return h;
  }

  /// Returns how long a prefix the next attempt needs; 0 when more bytes would not help.
  [[nodiscard]] std::uint64_t needed() const noexcept { return needed_; }

 private:
  // The smallest entries that a file can hold: what a declared count is compared with before anything is allocated.
  static constexpr std::uint64_t min_key_bytes = 8 + 1 + 4 + 1;
  static constexpr std::uint64_t min_tensor_bytes = 8 + 1 + 4 + 8 + 4 + 8;
  static constexpr std::uint64_t min_string_bytes = 8;

  [[nodiscard]] error fail(errc code, std::string_view message) const { return fail_at(cursor_.position(), code, message); }
  [[nodiscard]] error fail_at(std::uint64_t offset, errc code, std::string_view message) const {
    return {code, name_.empty() ? where_unnamed() : printable(name_), message, offset};
  }

  [[nodiscard]] std::string where_unnamed() const {
    return kind_ == "header" ? std::string(kind_) : std::string(kind_) + " " + std::to_string(number_);
  }

  /// Why `n` bytes cannot be had here: the file ends, the host's limit, or only this prefix.
  [[nodiscard]] error too_short(std::uint64_t n) {
    const std::uint64_t position = cursor_.position();
    if (n > file_size_ - position) {
      return fail(errc::truncated, "needs " + std::to_string(n) + " bytes, the file has " + std::to_string(file_size_ - position) + " left");
    }
    if (n > limit_.metadata_bytes - std::min(limit_.metadata_bytes, position)) return fail(errc::limit_exceeded, "the metadata is too long");
    needed_ = *(checked_u64(position) + checked_u64(n)).get();   // at most file_size_
    return fail(errc::truncated, "");
  }

  [[nodiscard]] result<std::span<const std::byte>> take(std::uint64_t n) {
    if (const auto bytes = cursor_.take(n)) return *bytes;
    return too_short(n);
  }
  template <class T>
  [[nodiscard]] result<T> read() {
    if (const auto number = cursor_.read<T>()) return *number;
    return too_short(sizeof(T));
  }

  /// Reads a count of things that take at least `min_bytes` each: no more than `max`, and no more than the file has bytes for.
  [[nodiscard]] result<std::uint64_t> read_count(std::string_view what, std::uint64_t max, std::uint64_t min_bytes) {
    const std::uint64_t at = cursor_.position();
    CRIA_TRY(const auto count, read<std::uint64_t>());
    CRIA_CHECK(check_count(count, what, max, min_bytes, at));
    return count;
  }
  [[nodiscard]] result<void> check_count(std::uint64_t count, std::string_view what, std::uint64_t max, std::uint64_t min_bytes, std::uint64_t at) const {
    const std::uint64_t left = file_size_ - cursor_.position();
    if (count <= max && count <= left / min_bytes) return {};
    const std::string declares = "declares " + std::to_string(count) + " " + std::string(what);
    if (count > max) return fail_at(at, errc::limit_exceeded, declares + ", the limit is " + std::to_string(max));
    return fail_at(at, errc::truncated, declares + ", the file has " + std::to_string(left) + " bytes left");
  }

  /// Returns how many of `count` things of `min_bytes` the prefix may hold: what memory is set aside for. Once there are
  /// more, the prefix has ended.
  [[nodiscard]] std::size_t room_for(std::uint64_t count, std::uint64_t min_bytes) const noexcept {
    return static_cast<std::size_t>(std::min<std::uint64_t>(count, cursor_.left() / min_bytes));
  }

  /// Reads a counted name for the errors from here on; empty names and names with NUL are refused.
  [[nodiscard]] result<std::string_view> read_name(std::string_view kind, std::uint64_t number, std::uint64_t max) {
    kind_ = kind, number_ = number, name_ = {};
    const std::uint64_t at = cursor_.position();
    CRIA_TRY(const auto length, read<std::uint64_t>());
    if (length == 0) return fail_at(at, errc::bad_value, "the name is empty");
    if (length > max) {
      return fail_at(at, errc::limit_exceeded, "a name of " + std::to_string(length) + " bytes, the limit is " + std::to_string(max));
    }
    CRIA_TRY(const auto bytes, take(length));
    name_ = as_text(bytes.data(), bytes.size());
    if (name_.find('\0') != std::string_view::npos) return fail_at(at, errc::bad_value, "the name contains NUL");
    return name_;
  }

  [[nodiscard]] result<void> parse_start(header& h);
  [[nodiscard]] result<void> parse_keys(metadata& keys);
  [[nodiscard]] result<value_type> read_value_type();
  [[nodiscard]] result<value> parse_value(metadata& keys);
  [[nodiscard]] result<value> parse_array(metadata& keys);
  [[nodiscard]] result<value> parse_strings(metadata& keys, std::uint64_t count);
  [[nodiscard]] result<std::uint64_t> parse_alignment(const metadata& keys);
  [[nodiscard]] result<void> parse_tensors(header& h);
  [[nodiscard]] result<tensor_info> parse_tensor(std::uint64_t number, std::uint64_t alignment);
  [[nodiscard]] result<void> read_shape(tensor_info& t);
  [[nodiscard]] result<void> place_tensors(header& h);
  [[nodiscard]] result<void> check_overlap(const std::vector<tensor_info>& tensors);
  [[nodiscard]] std::uint64_t position_of(std::string_view name) const noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(name.data()) - prefix_.data());
  }

  byte_cursor cursor_;
  std::span<const std::byte> prefix_;
  std::uint64_t file_size_;
  const limits& limit_;
  std::uint64_t needed_ = 0;
  std::uint64_t key_count_ = 0, tensor_count_ = 0;

  std::string_view name_;          // what is being parsed: its name, or before that is known ...
  std::string_view kind_ = "header";   // ... its kind and number
  std::uint64_t number_ = 0;
};

inline result<void> header_parser::parse_start(header& h) {
  CRIA_TRY(const auto magic, take(4));
  if (as_text(magic.data(), 4) != "GGUF") {
    const bool pointer = as_text(magic.data(), 4) == "vers";   // "version https://git-lfs..."
    return fail_at(0, errc::bad_magic, pointer ? "looks like a Git LFS pointer, not like the file itself" : "does not start with GGUF");
  }
  CRIA_TRY(h.version, read<std::uint32_t>());
  if (h.version != 0 && (h.version & 0xffff) == 0) return fail_at(4, errc::unsupported_version, "a big-endian file");
  if (h.version != 2 && h.version != 3) {
    return fail_at(4, errc::unsupported_version, "version " + std::to_string(h.version) + "; versions 2 and 3 are read");
  }
  CRIA_TRY(tensor_count_, read<std::uint64_t>());
  if (tensor_count_ > limit_.tensors) {
    return fail_at(8, errc::limit_exceeded, std::to_string(tensor_count_) + " tensors, the limit is " + std::to_string(limit_.tensors));
  }
  CRIA_TRY(key_count_, read_count("keys", limit_.keys, min_key_bytes));
  return {};
}

inline result<void> header_parser::parse_keys(metadata& keys) {
  const auto key_of = [&](std::size_t i) { return keys.entries_[i].key; };
  keys.base_ = prefix_.data();
  keys.entries_.reserve(room_for(key_count_, min_key_bytes));
  keys.index_.reset(room_for(key_count_, min_key_bytes));
  for (std::uint64_t i = 0; i < key_count_; ++i) {
    CRIA_TRY(const auto key, read_name("key", i, limit_.key_bytes));
    if (keys.index_.insert(key, static_cast<std::size_t>(i), key_of)) return fail_at(position_of(key), errc::duplicate, "the key appears twice");
    CRIA_TRY(auto parsed, parse_value(keys));
    keys.entries_.push_back({key, parsed});
  }
  return {};
}

inline result<value_type> header_parser::read_value_type() {
  const std::uint64_t at = cursor_.position();
  CRIA_TRY(const auto id, read<std::uint32_t>());
  if (id >= value_type_count) return fail_at(at, errc::bad_value, "value type " + std::to_string(id) + " is not defined");
  return static_cast<value_type>(id);
}

inline result<value> header_parser::parse_value(metadata& keys) {
  CRIA_TRY(const auto type, read_value_type());
  if (type == value_type::array) return parse_array(keys);
  if (type != value_type::string) {
    CRIA_TRY(const auto bytes, take(scalar_bytes(type)));
    return value(type, bytes);
  }
  const std::uint64_t at = cursor_.position();
  CRIA_TRY(const auto length, read<std::uint64_t>());
  if (length > limit_.string_bytes) {
    return fail_at(at, errc::limit_exceeded, "a string of " + std::to_string(length) + " bytes, the limit is " + std::to_string(limit_.string_bytes));
  }
  CRIA_TRY(const auto bytes, take(length));
  return value(type, bytes);
}

inline result<value> header_parser::parse_array(metadata& keys) {
  const std::uint64_t at = cursor_.position();
  CRIA_TRY(const auto element, read_value_type());
  if (element == value_type::array) return fail_at(at, errc::limit_exceeded, "an array of arrays");
  const std::uint64_t element_bytes = element == value_type::string ? min_string_bytes : scalar_bytes(element);
  CRIA_TRY(const auto count, read_count("elements", limit_.array_elements, element_bytes));
  if (element == value_type::string) return parse_strings(keys, count);
  CRIA_TRY(const auto bytes, take(*(checked_u64(count) * checked_u64(element_bytes)).get()));
  return value(element, static_cast<std::size_t>(count), bytes, nullptr);
}

inline result<value> header_parser::parse_strings(metadata& keys, std::uint64_t count) {
  if (room_for(count, min_string_bytes) < count) return too_short(*(checked_u64(count) * checked_u64(min_string_bytes)).get());
  const std::size_t first = cursor_.position();
  const auto n = static_cast<std::size_t>(count);
  std::unique_ptr<std::uint32_t[]> starts(new (std::nothrow) std::uint32_t[n == 0 ? 1 : n]);
  if (starts == nullptr) return fail(errc::out_of_memory, "no memory for a table of " + std::to_string(n) + " strings");
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = cursor_.position();
    starts[i] = static_cast<std::uint32_t>(at - first);   // the prefix is under 4 GiB
    const auto length = cursor_.read<std::uint64_t>();
    if (!length) return too_short(sizeof(std::uint64_t));
    if (*length > limit_.string_bytes) {
      return fail_at(at, errc::limit_exceeded, "string " + std::to_string(i) + " has " + std::to_string(*length) + " bytes");
    }
    if (!cursor_.take(*length)) return too_short(*length);
  }
  keys.string_starts_.push_back(std::move(starts));
  return value(value_type::string, n, prefix_.subspan(first, cursor_.position() - first), keys.string_starts_.back().get());
}

inline result<std::uint64_t> header_parser::parse_alignment(const metadata& keys) {
  const value* found = keys.find(alignment_key);
  if (found == nullptr) return default_alignment;
  name_ = alignment_key;
  const std::uint64_t at = keys.offset_of(*found);
  if (found->type() != value_type::u32) return fail_at(at, errc::wrong_type, "is stored as " + std::string(gguf::name(found->type())) + ", not as u32");
  const std::uint64_t alignment = load_le<std::uint32_t>(found->bytes().data());
  if (!std::has_single_bit(alignment) || alignment < limit_.min_alignment || alignment > limit_.max_alignment) {
    return fail_at(at, errc::bad_value, std::to_string(alignment) + " is not a power of two from " + std::to_string(limit_.min_alignment) + " to " +
                                            std::to_string(limit_.max_alignment));
  }
  return alignment;
}

inline result<void> header_parser::parse_tensors(header& h) {
  name_ = {}, kind_ = "header";
  CRIA_CHECK(check_count(tensor_count_, "tensors", limit_.tensors, min_tensor_bytes, 8));
  const auto name_of = [&](std::size_t i) { return h.tensors[i].name; };
  h.tensors.reserve(room_for(tensor_count_, min_tensor_bytes));
  h.tensor_index.reset(room_for(tensor_count_, min_tensor_bytes));
  for (std::uint64_t i = 0; i < tensor_count_; ++i) {
    CRIA_TRY(const auto tensor, parse_tensor(i, h.alignment));
    if (h.tensor_index.insert(tensor.name, static_cast<std::size_t>(i), name_of)) {
      return fail_at(position_of(tensor.name), errc::duplicate, "the tensor appears twice");
    }
    h.tensors.push_back(tensor);
  }
  return {};
}

/// Reads rank and dimensions and counts the elements.
inline result<void> header_parser::read_shape(tensor_info& t) {
  const std::uint64_t at = cursor_.position();
  CRIA_TRY(t.rank, read<std::uint32_t>());
  if (t.rank < 1 || t.rank > t.shape.size()) return fail_at(at, errc::bad_shape, std::to_string(t.rank) + " dimensions; 1 to 4 are read");
  checked_u64 elements = 1;
  for (std::uint32_t i = 0; i < t.rank; ++i) {
    CRIA_TRY(t.shape[i], read<std::uint64_t>());
    if (t.shape[i] == 0) return fail_at(at, errc::bad_shape, "dimension " + std::to_string(i) + " is 0");
    elements = elements * t.shape[i];
  }
  if (!elements.get()) return fail_at(at, errc::bad_shape, "the number of elements does not fit 64 bits");
  t.elements = *elements.get();
  return {};
}

inline result<tensor_info> header_parser::parse_tensor(std::uint64_t number, std::uint64_t alignment) {
  tensor_info t{};
  CRIA_TRY(t.name, read_name("tensor", number, limit_.tensor_name_bytes));
  CRIA_CHECK(read_shape(t));
  const std::uint64_t type_at = cursor_.position();
  CRIA_TRY(const auto type_id, read<std::uint32_t>());
  t.type = static_cast<tensor_type>(type_id);
  const tensor_type_info* type = find_tensor_type(t.type);
  if (type == nullptr) return fail_at(type_at, errc::unsupported_type, "tensor type " + std::to_string(type_id) + " is not known");
  if (t.shape[0] % type->block_size != 0) {
    return fail_at(type_at, errc::bad_shape, "a row of " + std::to_string(t.shape[0]) + " is not a multiple of the " + std::to_string(type->block_size) +
                                                 " elements of a " + std::string(type->name) + " block");
  }
  const auto size = (checked_u64(t.elements) / checked_u64(type->block_size) * checked_u64(type->block_bytes)).get();
  if (!size) return fail_at(type_at, errc::bad_shape, "the size in bytes does not fit 64 bits");
  t.size_bytes = *size;
  const std::uint64_t offset_at = cursor_.position();
  CRIA_TRY(t.offset, read<std::uint64_t>());
  if (t.offset % alignment != 0) {
    return fail_at(offset_at, errc::bad_value, "the offset " + std::to_string(t.offset) + " is not a multiple of the alignment " + std::to_string(alignment));
  }
  return t;
}

/// Makes the offsets count from the start of the file, once each tensor has been found to lie inside it.
inline result<void> header_parser::place_tensors(header& h) {
  const checked_u64 start = checked_u64(cursor_.position()).rounded_up(h.alignment);
  h.data_offset = *start.get();   // a position in memory and at most 1 MiB more
  for (tensor_info& t : h.tensors) {
    const auto end = (start + checked_u64(t.offset) + checked_u64(t.size_bytes)).get();
    if (!end || *end > file_size_) {
      name_ = t.name;
      return fail_at(position_of(t.name), errc::truncated,
                     "its " + std::to_string(t.size_bytes) + " bytes at data offset " + std::to_string(t.offset) + " are not all in the file of " +
                         std::to_string(file_size_) + " bytes");
    }
    t.offset = *(start + checked_u64(t.offset)).get();
  }
  return check_overlap(h.tensors);
}

inline result<void> header_parser::check_overlap(const std::vector<tensor_info>& tensors) {
  std::vector<std::uint32_t> order(tensors.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
  const auto before = [&](std::uint32_t a, std::uint32_t b) { return tensors[a].offset < tensors[b].offset; };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
  for (std::size_t i = 1; i < order.size(); ++i) {
    const tensor_info& a = tensors[order[i - 1]];
    const tensor_info& b = tensors[order[i]];
    if (b.offset - a.offset >= a.size_bytes) continue;
    name_ = b.name;
    return fail_at(position_of(b.name), errc::bad_value, "shares bytes with the tensor " + printable(a.name));
  }
  return {};
}

}  // namespace detail
}  // namespace cria::inline v0_1_0::gguf
