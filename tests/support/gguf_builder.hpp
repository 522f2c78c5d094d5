// SPDX-License-Identifier: MIT
// tests/support/gguf_builder.hpp - GGUF files in memory, valid ones and ones that are broken on purpose.
//
//   auto bytes = cria_test::gguf_builder().key("general.architecture", "llama").key("llama.block_count", 2u)
//                    .tensor("token_embd.weight", cria::tensor_type::f32, {32, 4}).build();
//
// It shares no code with cria's reader or writer, so that a misunderstanding of the format cannot hide in both.
// Little-endian machines only.
#pragma once

#include <cria/quant/tensor_type.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace cria_test {

/// Returns the bytes of a number.
template <class T>
std::string raw(T number) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &number, sizeof(T));
  return bytes;
}

/// Returns a counted string as it stands in files; `declared` overrides the length that is written before it.
inline std::string raw_string(std::string_view text, std::optional<std::uint64_t> declared = {}) {
  return raw<std::uint64_t>(declared.value_or(text.size())) + std::string(text);
}

/// The ids of value types in files.
namespace gguf_id {
inline constexpr std::uint32_t u8 = 0, i8 = 1, u16 = 2, i16 = 3, u32 = 4, i32 = 5, f32 = 6, boolean = 7, string = 8, array = 9, u64 = 10, i64 = 11, f64 = 12;

template <class T>
constexpr std::uint32_t of() {
  if constexpr (std::is_same_v<T, bool>) return boolean;
  else if constexpr (std::is_same_v<T, float>) return f32;
  else if constexpr (std::is_same_v<T, double>) return f64;
  else if constexpr (!std::is_arithmetic_v<T>) return string;
  else if constexpr (sizeof(T) == 1) return std::is_signed_v<T> ? i8 : u8;
  else if constexpr (sizeof(T) == 2) return std::is_signed_v<T> ? i16 : u16;
  else if constexpr (sizeof(T) == 4) return std::is_signed_v<T> ? i32 : u32;
  else return std::is_signed_v<T> ? i64 : u64;
}
}  // namespace gguf_id

class gguf_builder {
 public:
  gguf_builder& magic(std::string_view m) { return magic_ = m, *this; }
  gguf_builder& version(std::uint32_t v) { return version_ = v, *this; }
  /// What the header says, whatever is there.
  gguf_builder& declare_keys(std::uint64_t n) { return declared_keys_ = n, *this; }
  gguf_builder& declare_tensors(std::uint64_t n) { return declared_tensors_ = n, *this; }

  /// A number, bool or string; the C++ type decides the stored type.
  template <class T>
  gguf_builder& key(std::string_view name, const T& v) {
    if constexpr (std::is_arithmetic_v<T>) return raw_key(name, gguf_id::of<T>(), raw(v));
    else return raw_key(name, gguf_id::string, raw_string(v));
  }

  template <class T>
  gguf_builder& array(std::string_view name, const std::vector<T>& values) {
    std::string bytes = raw(gguf_id::of<T>()) + raw<std::uint64_t>(values.size());
    for (const auto& v : values) {
      if constexpr (std::is_arithmetic_v<T>) bytes += raw<T>(v);
      else bytes += raw_string(v);
    }
    return raw_key(name, gguf_id::array, bytes);
  }

  /// A key with any type id and any bytes behind it.
  gguf_builder& raw_key(std::string_view name, std::uint32_t type, std::string_view bytes) {
    return raw_entry(raw_string(name) + raw(type) + std::string(bytes));
  }
  /// Any bytes in place of a key.
  gguf_builder& raw_entry(std::string_view bytes) { return keys_ += bytes, ++n_keys_, *this; }

  /// Writes general.alignment and lays the tensors out by it.
  gguf_builder& alignment(std::uint32_t a) { return alignment_ = a, key("general.alignment", a); }

  /// A tensor laid out behind the one before; without data it holds zeros. Requires a defined type.
  gguf_builder& tensor(std::string_view name, cria::tensor_type type, const std::vector<std::uint64_t>& shape, std::string data = {}) {
    const cria::tensor_type_info& info = *cria::find_tensor_type(type);
    std::uint64_t elements = 1;
    for (const std::uint64_t n : shape) elements *= n;
    data.resize(elements / info.block_size * info.block_bytes);
    raw_tensor(raw_string(name), static_cast<std::uint32_t>(shape.size()), shape, static_cast<std::uint32_t>(type), data_.size());
    data_ += data;
    if (pad_last_) data_.resize((data_.size() + alignment_ - 1) / alignment_ * alignment_);
    return *this;
  }
  /// The entry of a tensor with anything in it, and no data.
  gguf_builder& raw_tensor(std::string_view counted_name, std::uint32_t rank, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                           std::uint64_t offset) {
    tensors_ += counted_name;
    tensors_ += raw(rank);
    for (const std::uint64_t n : dims) tensors_ += raw(n);
    tensors_ += raw(type) + raw(offset);
    return ++n_tensors_, *this;
  }
  /// Appends to the tensor data, of no tensor.
  gguf_builder& data(std::string_view bytes) { return data_ += bytes, *this; }
  /// Tensors added from here on are not followed by padding.
  gguf_builder& without_padding() { return pad_last_ = false, *this; }

  /// Returns the bytes up to the end of the tensor list.
  [[nodiscard]] std::string head() const {
    return magic_ + raw(version_) + raw(declared_tensors_.value_or(n_tensors_)) + raw(declared_keys_.value_or(n_keys_)) + keys_ + tensors_;
  }
  /// Returns the whole file.
  [[nodiscard]] std::string build() const {
    std::string file = head();
    if (!data_.empty()) file.resize((file.size() + alignment_ - 1) / alignment_ * alignment_);
    return file + data_;
  }

 private:
  std::string magic_ = "GGUF";
  std::uint32_t version_ = 3;
  std::uint64_t n_keys_ = 0, n_tensors_ = 0;
  std::optional<std::uint64_t> declared_keys_, declared_tensors_;
  std::size_t alignment_ = 32;
  bool pad_last_ = true;
  std::string keys_, tensors_, data_;
};

}  // namespace cria_test
