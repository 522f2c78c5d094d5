// SPDX-License-Identifier: MIT
// gguf/writer.hpp - writes GGUF files, version 3: keys and tensors are declared first, then the tensors' bytes are streamed in order.
//
//   gguf::writer w;
//   w.copy(input.metadata());  w.set("general.file_type", 2u);
//   w.add_tensor("token_embd.weight", tensor_type::q4_0, {2048, 32000});
//   w.open("out.gguf");  w.write(piece);  w.write(piece); ...  w.commit();          // each a result<void> to look at
//
// Ensures   The file appears whole, by commit(), or not at all (core/byte_sink.hpp); it may be the one that is read from. What is written
//           llama.cpp reads: names of at most 63 bytes, aligned tensors without gaps, padding after the last.
// Errors    bad_argument (a name, shape or order of calls that cannot be written), bad_value (general.alignment), duplicate, out_of_memory,
//           io with the path; after an error other than bad_argument the unfinished file is gone
// Threads   one at a time
// Source    GGUF specification, version 3 (ggml docs/gguf.md, July 2026)
#pragma once

#include <cria/core/byte_sink.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/result.hpp>
#include <cria/gguf/header.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/gguf/value.hpp>
#include <cria/quant/tensor_type.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::gguf {

namespace detail {

template <class T>
concept writable_text = std::convertible_to<const T&, std::string_view>;

/// Anything else with elements: std::vector, std::array, std::span.
template <class T>
concept writable_array = !writable_text<T> && requires(const T& t) {
  typename T::value_type;
  t.begin();
  t.size();
};

/// Returns the type that a C++ type is stored as.
template <class T>
[[nodiscard]] constexpr value_type stored_type() noexcept {
  if constexpr (writable_array<T>) return value_type::array;
  else if constexpr (writable_text<T>) return value_type::string;
  else if constexpr (std::same_as<T, bool>) return value_type::boolean;
  else if constexpr (std::same_as<T, float>) return value_type::f32;
  else if constexpr (std::same_as<T, double>) return value_type::f64;
  else {
    static_assert(std::integral<T> && sizeof(T) <= 8, "metadata is bool, integers, float, double, strings or arrays of these");
    constexpr value_type kinds[2][4] = {{value_type::u8, value_type::u16, value_type::u32, value_type::u64},
                                        {value_type::i8, value_type::i16, value_type::i32, value_type::i64}};
    return kinds[std::is_signed_v<T>][std::countr_zero(sizeof(T))];
  }
}

template <class T>
void append(std::vector<std::byte>& out, T number) {
  const auto bytes = store_le(number);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

inline void append(std::vector<std::byte>& out, std::string_view text) {
  append(out, static_cast<std::uint64_t>(text.size()));
  const auto bytes = std::as_bytes(std::span<const char>(text));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

/// Appends a value as it stands behind its type in a file.
template <class T>
void append_value(std::vector<std::byte>& out, const T& v) {
  if constexpr (writable_array<T>) {
    using element = std::remove_cv_t<typename T::value_type>;
    static_assert(!writable_array<element>, "GGUF readers, this one included, refuse arrays of arrays");
    append(out, static_cast<std::uint32_t>(stored_type<element>()));
    append(out, static_cast<std::uint64_t>(v.size()));
    for (const element& e : v) append_value<element>(out, e);
  } else if constexpr (writable_text<T>) {
    append(out, std::string_view(v));
  } else if constexpr (std::same_as<T, bool>) {
    append(out, static_cast<std::uint8_t>(v ? 1 : 0));
  } else {
    append(out, v);
  }
}

/// Appends a value of a file as it stands there behind its type.
inline void append_stored(std::vector<std::byte>& out, const value& v) {
  if (v.type() == value_type::string) append(out, static_cast<std::uint64_t>(v.bytes().size()));
  if (const auto array = v.as<array_view>()) {
    append(out, static_cast<std::uint32_t>(array->element_type()));
    append(out, static_cast<std::uint64_t>(array->size()));
  }
  out.insert(out.end(), v.bytes().begin(), v.bytes().end());
}

/// Makes room for one more element, so that adding it cannot fail.
template <class T>
void reserve_one(std::vector<T>& list) {
  if (list.size() == list.capacity()) list.reserve(list.size() * 2 + 16);
}

}  // namespace detail

class writer {
 public:
  /// Sets a key, in the place of the one with that name if there is one. The C++ type decides the stored type: bool, an integer by width
  /// and sign, float, double, text, or std::vector, std::array or std::span of these.
  template <class T>
  [[nodiscard]] result<void> set(std::string_view key, const T& v) {
    return catch_bad_alloc(
        [&]() -> result<void> {
          std::vector<std::byte> bytes;
          detail::append_value(bytes, v);
          return store(key, detail::stored_type<T>(), std::move(bytes));
        },
        "gguf::writer");
  }

  /// Sets a key to a value of another file, bit for bit.
  [[nodiscard]] result<void> set(std::string_view key, const value& v) {
    return catch_bad_alloc(
        [&]() -> result<void> {
          std::vector<std::byte> bytes;
          detail::append_stored(bytes, v);
          return store(key, v.type(), std::move(bytes));
        },
        "gguf::writer");
  }

  /// Sets all keys of another file, in its order. The split.* keys, which describe that file, are left out; an alignment below 32, at which
  /// llama.cpp aborts (July 2026), becomes 32.
  [[nodiscard]] result<void> copy(const metadata& keys);

  /// Takes a key out again; returns whether it was there.
  bool erase(std::string_view key);

  /// Sets general.alignment: a power of two from 8 to 1 MiB, looked at by open(). Without it tensors are aligned to 32 bytes.
  [[nodiscard]] result<void> set_alignment(std::uint32_t bytes) { return set(alignment_key, bytes); }

  /// Declares the next tensor; `shape` has 1 to 4 dimensions, the fastest first.
  [[nodiscard]] result<void> add_tensor(std::string_view name, tensor_type type, std::span<const std::uint64_t> shape);
  [[nodiscard]] result<void> add_tensor(std::string_view name, tensor_type type, std::initializer_list<std::uint64_t> shape);

  /// Writes all that was declared to a new file, which takes the place of `path` at commit().
  [[nodiscard]] result<void> open(const std::filesystem::path& path);
  [[nodiscard]] result<void> open(std::unique_ptr<byte_sink> sink);

  /// Writes the next bytes of the current tensor: the first that is not complete. A piece must not reach beyond its end.
  [[nodiscard]] result<void> write(std::span<const std::byte> bytes);

  /// Finishes the file. Requires that all tensors are complete.
  [[nodiscard]] result<void> commit();

  /// Returns which tensor, in the order of add_tensor, takes the next bytes; their count when all are complete.
  [[nodiscard]] std::size_t current() const noexcept { return current_; }
  /// Returns how many bytes the current tensor lacks.
  [[nodiscard]] std::uint64_t remaining() const noexcept { return current_ < tensors_.size() ? tensors_[current_].size_bytes - written_ : 0; }

 private:
  struct stored_key {
    std::string name;
    value_type type;
    std::vector<std::byte> bytes;
  };
  struct stored_tensor {
    std::string name;
    tensor_type type;
    std::vector<std::uint64_t> shape;
    std::uint64_t size_bytes;
  };
  static constexpr std::size_t max_key_bytes = 65'535;
  static constexpr std::size_t max_tensor_name_bytes = 63;   // llama.cpp keeps them in 64 bytes with a terminator

  static error refuse(std::string_view where, std::string_view message) { return {errc::bad_argument, printable(where), message}; }
  [[nodiscard]] static result<void> check_name(std::string_view name, std::size_t max);
  [[nodiscard]] result<void> store(std::string_view key, value_type type, std::vector<std::byte> bytes);
  [[nodiscard]] result<void> declare(std::string_view name, tensor_type type, std::span<const std::uint64_t> shape);
  [[nodiscard]] result<std::uint64_t> alignment() const;
  [[nodiscard]] result<std::vector<std::byte>> head(std::uint64_t alignment) const;
  [[nodiscard]] result<void> pad(std::uint64_t size);

  /// Drops the unfinished file when something failed.
  result<void> or_close(result<void> done) {
    if (!done) sink_.reset();
    return done;
  }

  std::vector<stored_key> keys_;
  std::map<std::string, std::size_t, std::less<>> key_index_;
  std::vector<stored_tensor> tensors_;
  std::set<std::string, std::less<>> tensor_names_;
  std::unique_ptr<byte_sink> sink_;   // while open
  bool opened_ = false;
  std::uint64_t alignment_ = default_alignment;
  std::size_t current_ = 0;
  std::uint64_t written_ = 0;         // of the current tensor
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<void> writer::check_name(std::string_view name, std::size_t max) {
  if (name.empty()) return refuse("name", "is empty");
  if (name.size() > max) return refuse(name, "the name has " + std::to_string(name.size()) + " bytes, " + std::to_string(max) + " can be written");
  if (name.find('\0') != std::string_view::npos) return refuse(name, "the name contains NUL");
  return {};
}

CRIA_INLINE result<void> writer::store(std::string_view key, value_type type, std::vector<std::byte> bytes) {
  if (opened_) return refuse(key, "keys are set before the file is opened");
  CRIA_CHECK(check_name(key, max_key_bytes));
  stored_key stored{std::string(key), type, std::move(bytes)};
  detail::reserve_one(keys_);
  const auto [at, is_new] = key_index_.try_emplace(stored.name, keys_.size());
  if (is_new) keys_.push_back(std::move(stored));
  else keys_[at->second] = std::move(stored);
  return {};
}

CRIA_INLINE result<void> writer::declare(std::string_view name, tensor_type type, std::span<const std::uint64_t> shape) {
  if (opened_) return refuse(name, "tensors are declared before the file is opened");
  CRIA_CHECK(check_name(name, max_tensor_name_bytes));
  const tensor_type_info* info = find_tensor_type(type);
  if (info == nullptr) return refuse(name, "tensor type " + std::to_string(static_cast<std::uint32_t>(type)) + " is not known");
  if (shape.empty() || shape.size() > 4) return refuse(name, std::to_string(shape.size()) + " dimensions; 1 to 4 can be written");
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) return refuse(name, "a dimension is 0");
  if (shape[0] % info->block_size != 0) return refuse(name, "a row of " + std::to_string(shape[0]) + " is not a multiple of the block");
  checked_u64 elements = 1;
  for (const std::uint64_t n : shape) elements = elements * n;
  const auto size = (elements / checked_u64(info->block_size) * checked_u64(info->block_bytes)).get();
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());   // readers count in 63 bits
  if (!size || *size >= most || *elements.get() >= most) return refuse(name, "too large");
  stored_tensor stored{std::string(name), type, {shape.begin(), shape.end()}, *size};
  detail::reserve_one(tensors_);
  if (!tensor_names_.emplace(name).second) return error{errc::duplicate, printable(name), "the tensor is declared twice"};
  tensors_.push_back(std::move(stored));
  return {};
}

CRIA_INLINE result<std::uint64_t> writer::alignment() const {
  const auto found = key_index_.find(alignment_key);
  if (found == key_index_.end()) return default_alignment;
  const stored_key& key = keys_[found->second];
  const std::uint64_t bytes = key.type == value_type::u32 ? load_le<std::uint32_t>(key.bytes.data()) : 0;
  if (std::has_single_bit(bytes) && bytes >= limits().min_alignment && bytes <= limits().max_alignment) return bytes;
  return error{errc::bad_value, alignment_key, "is not a u32 and power of two from 8 to 1 MiB"};
}

/// Returns what stands before the tensor data, its padding included.
CRIA_INLINE result<std::vector<std::byte>> writer::head(std::uint64_t alignment) const {
  std::vector<std::byte> out;
  for (const char c : {'G', 'G', 'U', 'F'}) out.push_back(static_cast<std::byte>(c));
  detail::append(out, std::uint32_t{3});
  detail::append(out, static_cast<std::uint64_t>(tensors_.size()));
  detail::append(out, static_cast<std::uint64_t>(keys_.size()));
  for (const stored_key& key : keys_) {
    detail::append(out, std::string_view(key.name));
    detail::append(out, static_cast<std::uint32_t>(key.type));
    out.insert(out.end(), key.bytes.begin(), key.bytes.end());
  }
  checked_u64 offset = 0;
  for (const stored_tensor& t : tensors_) {
    if (!offset.get()) return refuse(t.name, "the file is too large");
    detail::append(out, std::string_view(t.name));
    detail::append(out, static_cast<std::uint32_t>(t.shape.size()));
    for (const std::uint64_t n : t.shape) detail::append(out, n);
    detail::append(out, static_cast<std::uint32_t>(t.type));
    detail::append(out, *offset.get());
    offset = (offset + checked_u64(t.size_bytes)).rounded_up(alignment);
  }
  if (!tensors_.empty()) out.resize(static_cast<std::size_t>(*checked_u64(out.size()).rounded_up(alignment).get()));
  return out;
}

CRIA_INLINE result<void> writer::open(std::unique_ptr<byte_sink> sink) {
  if (opened_ || sink == nullptr) return refuse("gguf::writer::open", "a writer is opened once, with a sink");
  return catch_bad_alloc(
      [&]() -> result<void> {
        CRIA_TRY(const std::uint64_t bytes, alignment());
        CRIA_TRY(const auto start, head(bytes));
        opened_ = true;
        alignment_ = bytes;
        sink_ = std::move(sink);
        return or_close(sink_->write(start));
      },
      "gguf::writer");
}

/// Fills the gap between the end of something of `size` bytes and the next multiple of the alignment.
CRIA_INLINE result<void> writer::pad(std::uint64_t size) {
  constexpr std::array<std::byte, 256> zeros{};
  std::uint64_t gap = (alignment_ - size % alignment_) % alignment_;
  while (gap > 0) {
    const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(gap, zeros.size()));
    CRIA_CHECK(sink_->write(std::span(zeros).first(n)));
    gap -= n;
  }
  return {};
}

CRIA_INLINE result<void> writer::write(std::span<const std::byte> bytes) {
  if (sink_ == nullptr) return refuse("gguf::writer::write", "no file is open");
  if (bytes.size() > remaining()) {
    const std::string_view name = current_ < tensors_.size() ? std::string_view(tensors_[current_].name) : "gguf::writer::write";
    return refuse(name, std::to_string(bytes.size()) + " bytes for a tensor that lacks " + std::to_string(remaining()));
  }
  CRIA_CHECK(or_close(sink_->write(bytes)));
  written_ += bytes.size();
  if (current_ == tensors_.size() || remaining() > 0) return {};
  const std::uint64_t size = tensors_[current_++].size_bytes;
  written_ = 0;
  return or_close(pad(size));
}

CRIA_INLINE result<void> writer::commit() {
  if (sink_ == nullptr) return refuse("gguf::writer::commit", "no file is open");
  if (current_ < tensors_.size()) return refuse(tensors_[current_].name, "lacks " + std::to_string(remaining()) + " bytes");
  auto done = sink_->commit();
  sink_.reset();
  return done;
}

CRIA_INLINE result<void> writer::copy(const metadata& keys) {
  for (const auto& [key, v] : keys) {
    if (key.starts_with("split.")) continue;
    const bool too_small = key == alignment_key && v.as<std::uint32_t>().value_or(default_alignment) < default_alignment;
    CRIA_CHECK(too_small ? set_alignment(default_alignment) : set(key, v));
  }
  return {};
}

CRIA_INLINE bool writer::erase(std::string_view key) {
  const auto found = key_index_.find(key);
  if (found == key_index_.end() || opened_) return false;
  const std::size_t at = found->second;
  keys_.erase(keys_.begin() + static_cast<std::ptrdiff_t>(at));
  key_index_.erase(found);
  for (auto& [name, i] : key_index_) i -= i > at;
  return true;
}

CRIA_INLINE result<void> writer::add_tensor(std::string_view name, tensor_type type, std::span<const std::uint64_t> shape) {
  return catch_bad_alloc([&] { return declare(name, type, shape); }, "gguf::writer");
}

CRIA_INLINE result<void> writer::add_tensor(std::string_view name, tensor_type type, std::initializer_list<std::uint64_t> shape) {
  return add_tensor(name, type, std::span(shape.begin(), shape.size()));
}

CRIA_INLINE result<void> writer::open(const std::filesystem::path& path) {
  CRIA_TRY(auto sink, replace_file(path));
  return open(std::move(sink));
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::gguf
