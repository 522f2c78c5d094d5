// SPDX-License-Identifier: MIT
// gguf/file.hpp - an opened GGUF model: its metadata, its tensors, and their bytes.
//
// Ensures   open() has checked everything that the file declares (header.hpp). After that only read() can fail, and only because of I/O. The metadata is read
//           into memory, in pieces that grow with what is really there; nothing is memory-mapped, and no byte of a tensor is read.
// Errors    those of header.hpp; io (the path and the system's reason); mismatch (parts that do not belong together); out_of_memory
// Threads   immutable: any number of readers, including read()
// Lifetime  copies share one state; metadata, names and tensor_info are valid as long as any copy lives
#pragma once

#include <cria/core/byte_source.hpp>
#include <cria/core/result.hpp>
#include <cria/core/text_index.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/gguf/tensor_info.hpp>
#if CRIA_HAS_DEFINITIONS
#include <cria/core/checked.hpp>
#include <cria/gguf/header.hpp>
#include <cria/gguf/split.hpp>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::gguf {

/// A GGUF file, or all parts of a split one. Copies are cheap and share everything.
class file {
 public:
  /// Opens a model by its path; for one in parts, by the path of the first part.
  [[nodiscard]] static result<file> open(const std::filesystem::path& path, const limits& limit = {});

  /// Opens a model that is in one piece.
  [[nodiscard]] static result<file> open(std::shared_ptr<const byte_source> source, const limits& limit = {});

  /// Opens a model from all of its parts, in order.
  [[nodiscard]] static result<file> open(std::span<const std::shared_ptr<const byte_source>> parts, const limits& limit = {});

  [[nodiscard]] const gguf::metadata& metadata() const noexcept;
  [[nodiscard]] std::span<const tensor_info> tensors() const noexcept;

  /// Returns the tensor of that name, or nullptr.
  [[nodiscard]] const tensor_info* find_tensor(std::string_view name) const noexcept;

  /// Reads bytes `begin` and following of a tensor of this file. Errors: io, bad_argument (outside the tensor).
  [[nodiscard]] result<void> read(const tensor_info& tensor, std::uint64_t begin, std::span<std::byte> out) const;

  [[nodiscard]] std::uint32_t version() const noexcept;
  [[nodiscard]] std::uint64_t alignment() const noexcept;
  /// Returns the bytes of all parts together.
  [[nodiscard]] std::uint64_t file_size() const noexcept;
  /// Returns how many files hold the model.
  [[nodiscard]] std::size_t part_count() const noexcept;

 private:
  struct state;

  explicit file(std::shared_ptr<const state> s) noexcept : state_(std::move(s)) {}

  std::shared_ptr<const state> state_;
};

#if CRIA_HAS_DEFINITIONS

namespace detail {

/// One file with the bytes before its tensor data.
struct file_part {
  std::shared_ptr<const byte_source> source;
  std::uint64_t size = 0;
  std::unique_ptr<std::byte[]> bytes;   // what `parsed` views
  header parsed;
};

/// Makes `bytes` hold the first `now` bytes of the source; those that it holds already (`before`) are not read again.
[[nodiscard]] inline result<void> grow_prefix(const byte_source& source, std::unique_ptr<std::byte[]>& bytes, std::size_t before, std::size_t now) {
  std::unique_ptr<std::byte[]> grown(new (std::nothrow) std::byte[now == 0 ? 1 : now]);
  if (grown == nullptr) {
    return error{errc::out_of_memory, cria::detail::printable_name(source.name()), "no memory for " + std::to_string(now) + " bytes of metadata"};
  }
  if (before != 0) std::memcpy(grown.get(), bytes.get(), before);
  bytes = std::move(grown);
  return source.read_at(before, {bytes.get() + before, now - before});
}

/// Reads and parses all that stands before the tensor data.
[[nodiscard]] inline result<file_part> open_part(std::shared_ptr<const byte_source> source, limits limit) {
  constexpr std::uint64_t first_read = std::uint64_t{1} << 16;
  if (source == nullptr) return error{errc::bad_argument, "gguf::file::open", "no byte source"};
  limit.metadata_bytes = std::min<std::uint64_t>(limit.metadata_bytes, ~std::uint32_t{0});   // tables of strings count in 32 bits
  file_part part;
  part.size = source->size();
  part.source = std::move(source);
  const std::uint64_t most = std::min(part.size, limit.metadata_bytes);
  std::uint64_t have = 0;
  std::uint64_t want = std::min(most, first_read);
  while (true) {
    CRIA_CHECK(grow_prefix(*part.source, part.bytes, static_cast<std::size_t>(have), static_cast<std::size_t>(want)));
    have = want;
    header_parser parser({part.bytes.get(), static_cast<std::size_t>(have)}, part.size, limit);
    auto parsed = parser.parse();
    if (parsed) {
      part.parsed = *std::move(parsed);
      return part;
    }
    if (parser.needed() <= have) return std::move(parsed).error();
    const std::uint64_t twice = have > most / 2 ? most : have + have;   // doubled: all attempts together cost two
    want = std::min(most, std::max(parser.needed(), twice));
  }
}

/// Returns the error with the name of the part in front of the place.
[[nodiscard]] inline error in_part(error e, const byte_source& source) {
  e.where = cria::detail::printable_name(source.name()) + ": " + e.where;
  return e;
}

}  // namespace detail

struct file::state {
  std::vector<detail::file_part> parts;
  std::vector<tensor_info> tensors;
  cria::detail::text_index index;
  std::uint64_t size = 0;

  static result<file> open_path(const std::filesystem::path& path, const limits& limit);
  static result<file> open_sources(std::span<const std::shared_ptr<const byte_source>> sources, const limits& limit);
  result<void> add_part(detail::file_part part, split_position expected, const limits& limit);
  result<file> finish() &&;
};

CRIA_INLINE result<file> file::state::open_path(const std::filesystem::path& path, const limits& limit) {
  CRIA_TRY(auto source, open_file(path));
  CRIA_TRY(auto first, detail::open_part(std::move(source), limit));
  CRIA_TRY(const auto position, detail::read_split_position(first.parsed.keys));
  state s;
  CRIA_CHECK(s.add_part(std::move(first), {0, position.count}, limit));
  for (std::uint32_t i = 1; i < position.count; ++i) {
    CRIA_TRY(const auto next_path, part_path(path, i, position.count));
    CRIA_TRY(auto next_source, open_file(next_path));
    auto next = detail::open_part(next_source, limit);
    if (!next) return detail::in_part(std::move(next).error(), *next_source);
    CRIA_CHECK(s.add_part(*std::move(next), {i, position.count}, limit));
  }
  return std::move(s).finish();
}

CRIA_INLINE result<file> file::state::open_sources(std::span<const std::shared_ptr<const byte_source>> sources, const limits& limit) {
  if (sources.empty()) return error{errc::bad_argument, "gguf::file::open", "no byte source"};
  state s;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    auto part = detail::open_part(sources[i], limit);
    if (!part && i > 0 && sources[i] != nullptr) return detail::in_part(std::move(part).error(), *sources[i]);
    if (!part) return std::move(part).error();
    CRIA_CHECK(s.add_part(*std::move(part), {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(sources.size())}, limit));
  }
  return std::move(s).finish();
}

/// Takes a part whose keys say that it is the expected one, of the same model as the first.
CRIA_INLINE result<void> file::state::add_part(detail::file_part part, split_position expected, const limits& limit) {
  const auto foreign = [&](std::string message) {
    return error{errc::mismatch, cria::detail::printable_name(part.source->name()), std::move(message)};
  };
  CRIA_TRY(const auto position, detail::read_split_position(part.parsed.keys));
  if (position.part != expected.part || position.count != expected.count) {
    return foreign("is part " + std::to_string(position.part + 1) + " of " + std::to_string(position.count) + " where part " +
                   std::to_string(expected.part + 1) + " of " + std::to_string(expected.count) + " is expected");
  }
  if (!parts.empty()) {
    const gguf::metadata& first = parts.front().parsed.keys;
    for (const std::string_view key : {detail::split_tensors_key, std::string_view("general.architecture"), std::string_view("general.name")}) {
      const value* a = first.find(key);
      const value* b = part.parsed.keys.find(key);
      if (a != nullptr && b != nullptr && !std::equal(a->bytes().begin(), a->bytes().end(), b->bytes().begin(), b->bytes().end())) {
        return foreign("belongs to another model: " + std::string(key) + " differs");
      }
    }
  }
  if (part.parsed.tensors.size() > limit.tensors - std::min<std::uint64_t>(limit.tensors, tensors.size())) {
    return error{errc::limit_exceeded, cria::detail::printable_name(part.source->name()), "more tensors than the limit of " + std::to_string(limit.tensors)};
  }
  for (tensor_info& t : part.parsed.tensors) t.part = expected.part;
  if (parts.empty()) {
    tensors = std::move(part.parsed.tensors);
    index = std::move(part.parsed.tensor_index);
  } else {
    tensors.insert(tensors.end(), part.parsed.tensors.begin(), part.parsed.tensors.end());
    part.parsed.tensors = {};
  }
  size += part.size;   // for display only
  parts.push_back(std::move(part));
  return {};
}

CRIA_INLINE result<file> file::state::finish() && {
  if (parts.size() > 1) {
    const auto name_of = [&](std::size_t i) { return tensors[i].name; };
    index.reset(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const tensor_info& t = tensors[i];
      if (index.insert(t.name, i, name_of)) {
        return error{errc::mismatch, cria::detail::printable_name(parts[t.part].source->name()),
                     "has the tensor " + printable(t.name) + ", which an earlier part has too"};
      }
    }
    const gguf::metadata& keys = parts.front().parsed.keys;
    CRIA_TRY(const auto declared, keys.get_or<std::uint64_t>(detail::split_tensors_key, tensors.size()));
    if (declared != tensors.size()) {
      return error{errc::mismatch, detail::split_tensors_key,
                   std::to_string(declared) + " tensors declared, " + std::to_string(tensors.size()) + " in the parts"};
    }
  }
  return file(std::make_shared<const state>(std::move(*this)));
}

CRIA_INLINE result<file> file::open(const std::filesystem::path& path, const limits& limit) {
  return catch_bad_alloc([&] { return state::open_path(path, limit); }, "gguf::open");
}

CRIA_INLINE result<file> file::open(std::shared_ptr<const byte_source> source, const limits& limit) {
  return catch_bad_alloc([&] { return state::open_sources({&source, 1}, limit); }, "gguf::open");
}

CRIA_INLINE result<file> file::open(std::span<const std::shared_ptr<const byte_source>> parts, const limits& limit) {
  return catch_bad_alloc([&] { return state::open_sources(parts, limit); }, "gguf::open");
}

CRIA_INLINE result<void> file::read(const tensor_info& tensor, std::uint64_t begin, std::span<std::byte> out) const {
  return catch_bad_alloc(
      [&]() -> result<void> {
        const bool inside = begin <= tensor.size_bytes && out.size() <= tensor.size_bytes - begin;
        const auto offset = (checked_u64(tensor.offset) + checked_u64(begin)).get();
        if (!inside || !offset || tensor.part >= state_->parts.size()) {
          return error{errc::bad_argument, printable(tensor.name), "a read outside the tensor", begin};
        }
        return state_->parts[tensor.part].source->read_at(*offset, out);
      },
      "gguf::file");
}

CRIA_INLINE const gguf::metadata& file::metadata() const noexcept { return state_->parts.front().parsed.keys; }

CRIA_INLINE std::span<const tensor_info> file::tensors() const noexcept { return state_->tensors; }

CRIA_INLINE const tensor_info* file::find_tensor(std::string_view name) const noexcept {
  const auto i = state_->index.find(name, [this](std::size_t n) { return state_->tensors[n].name; });
  return i ? &state_->tensors[*i] : nullptr;
}

CRIA_INLINE std::uint32_t file::version() const noexcept { return state_->parts.front().parsed.version; }

CRIA_INLINE std::uint64_t file::alignment() const noexcept { return state_->parts.front().parsed.alignment; }

CRIA_INLINE std::uint64_t file::file_size() const noexcept { return state_->size; }

CRIA_INLINE std::size_t file::part_count() const noexcept { return state_->parts.size(); }

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::gguf
