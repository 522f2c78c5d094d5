// SPDX-License-Identifier: MIT
// core/byte_sink.hpp - where files are written: a file that appears whole or not at all, or memory.
//
// Units     bytes
// Ensures   replace_file: the target stays what it was until commit() has returned success. The bytes go to a new file in the same folder, which is flushed
//           to the disk and then renamed over the target. Without a commit the new file is removed when the sink is destroyed; a process that is killed leaves
//           it behind (.cria-<16 hex digits>.partial). The target may be open for reading, even as the input of what is written; on Windows the rename is then
//           refused (io). A symbolic link is followed, and the permissions of an existing target are kept.
// Errors    io (the path and the system's reason: no space, no permission, not a regular file), out_of_memory, bad_argument
// Threads   one at a time
#pragma once

#include <cria/core/byte_source.hpp>
#include <cria/core/result.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Takes bytes in order. Hosts derive from it to write to other places.
class byte_sink {
 public:
  byte_sink() = default;
  byte_sink(const byte_sink&) = delete;
  byte_sink& operator=(const byte_sink&) = delete;
  virtual ~byte_sink() = default;

  /// Appends the bytes. After an error the sink can only be destroyed.
  [[nodiscard]] virtual result<void> write(std::span<const std::byte> bytes) = 0;
  /// Makes everything that was written permanent. It is called once, at the end; if it is not called, nothing may remain.
  [[nodiscard]] virtual result<void> commit() = 0;
  /// Returns what error messages call the sink.
  [[nodiscard]] virtual std::string name() const = 0;
};

namespace detail {

/// Writes at the end of `out` in memory, which must outlive the sink.
class memory_sink final : public byte_sink {
 public:
  explicit memory_sink(std::vector<std::byte>& out) : out_(out) {}
  [[nodiscard]] result<void> write(std::span<const std::byte> bytes) override {
    return catch_bad_alloc(
        [&]() -> result<void> {
          out_.insert(out_.end(), bytes.begin(), bytes.end());
          return {};
        },
        "memory");
  }
  [[nodiscard]] result<void> commit() override { return {}; }
  [[nodiscard]] std::string name() const override { return "memory"; }

 private:
  std::vector<std::byte>& out_;
};

/// Writes up to bytes.size() bytes at `offset`; returns the count or -1 with last_system_error() set.
[[nodiscard]] inline std::int64_t write_some(file_handle::native handle, std::uint64_t offset, std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t at_once = std::size_t{1} << 30;
  const std::size_t n = std::min(bytes.size(), at_once);
#ifdef _WIN32
  OVERLAPPED position{};
  position.Offset = static_cast<DWORD>(offset & 0xffffffffu);
  position.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD done = 0;
  return ::WriteFile(handle, bytes.data(), static_cast<DWORD>(n), &done, &position) ? static_cast<std::int64_t>(done) : -1;
#else
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    errno = EFBIG;
    return -1;
  }
  ssize_t done;
  do {
    done = ::pwrite(handle, bytes.data(), n, static_cast<off_t>(offset));
  } while (done < 0 && errno == EINTR);
  return done;
#endif
}

/// Waits until the file's bytes are on the disk. False with last_system_error() set if they may not be.
[[nodiscard]] inline bool flush_to_disk(file_handle::native handle) noexcept {
#ifdef _WIN32
  return ::FlushFileBuffers(handle) != 0;
#else
#ifdef F_FULLFSYNC   // macOS: there fsync leaves the bytes in the drive's own memory
  if (::fcntl(handle, F_FULLFSYNC) == 0) return true;
#endif
  int status;
  do {
    status = ::fsync(handle);
  } while (status != 0 && errno == EINTR);
  return status == 0 || errno == EINVAL || errno == ENOTSUP;   // file systems that have nothing to flush
#endif
}

/// Puts `from` in the place of `to` in one step. False with last_system_error() set.
[[nodiscard]] inline bool rename_over(const std::filesystem::path& from, const std::filesystem::path& to) noexcept {
#ifdef _WIN32
  return ::MoveFileExW(from.c_str(), to.c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) != 0;
#else
  return ::rename(from.c_str(), to.c_str()) == 0;
#endif
}

/// Creates a file that was not there. Not open, with last_system_error() set, on failure.
[[nodiscard]] inline file_handle create_file(const std::filesystem::path& path) noexcept {
#ifdef _WIN32
  return file_handle(::CreateFileW(path.c_str(), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr));
#else
  return file_handle(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666));
#endif
}

[[nodiscard]] inline bool already_exists(int system_error) noexcept {
#ifdef _WIN32
  return system_error == ERROR_FILE_EXISTS || system_error == ERROR_ALREADY_EXISTS;
#else
  return system_error == EEXIST;
#endif
}

/// Makes a rename in `folder` survive a loss of power, where the system lets us; the rename itself is done.
inline void flush_folder([[maybe_unused]] const std::filesystem::path& folder) noexcept {
#ifndef _WIN32
  const file_handle handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.is_open()) static_cast<void>(flush_to_disk(handle.get()));
#endif
}

class file_sink final : public byte_sink {
 public:
  file_sink(std::filesystem::path target, std::string shown) : target_(std::move(target)), name_(std::move(shown)) {}

  /// Takes the file that will become the target. Nothing can fail between its creation and this.
  const std::filesystem::path& adopt(file_handle&& handle, std::filesystem::path&& partial) noexcept {
    handle_ = std::move(handle);
    partial_ = std::move(partial);
    return partial_;
  }

  ~file_sink() override {
    if (partial_.empty()) return;
    handle_.close();
    std::error_code ignored;
    std::filesystem::remove(partial_, ignored);
  }

  [[nodiscard]] result<void> write(std::span<const std::byte> bytes) override {
    return catch_bad_alloc([&] { return append(bytes); }, "replace_file");
  }
  [[nodiscard]] result<void> commit() override {
    return catch_bad_alloc([&] { return finish(); }, "replace_file");
  }
  [[nodiscard]] std::string name() const override { return name_; }

  [[nodiscard]] static std::filesystem::path folder_of(const std::filesystem::path& path) {
    return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  }

 private:
  static constexpr std::size_t buffer_bytes = std::size_t{1} << 18;

  result<void> append(std::span<const std::byte> bytes) {
    if (bytes.size() > buffer_bytes - buffer_.size()) CRIA_CHECK(flush());
    if (bytes.size() >= buffer_bytes) return write_through(bytes);
    buffer_.reserve(buffer_bytes);
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return {};
  }

  result<void> finish() {
    const std::filesystem::path folder = folder_of(target_);   // nothing may fail after the rename
    CRIA_CHECK(flush());
    if (!flush_to_disk(handle_.get())) return io_error(name(), "cannot flush", last_system_error());
    handle_.close();
    if (!rename_over(partial_, target_)) return io_error(name(), "cannot replace", last_system_error());
    partial_.clear();
    flush_folder(folder);
    return {};
  }

  result<void> flush() {
    CRIA_CHECK(write_through(buffer_));
    buffer_.clear();
    return {};
  }

  result<void> write_through(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::int64_t done = write_some(handle_.get(), size_, bytes);
      if (done < 0) return io_error(name(), "cannot write", last_system_error(), size_);
      if (done == 0) return error{errc::io, printable_name(name()), "the system takes no more bytes", size_};
      size_ += static_cast<std::uint64_t>(done);
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
    return {};
  }

  file_handle handle_{file_handle::none()};
  std::filesystem::path partial_;   // empty before there is a file, and once it has become the target
  std::filesystem::path target_;
  std::string name_;
  std::vector<std::byte> buffer_;
  std::uint64_t size_ = 0;
};

/// Returns the absolute path of the file to write: that of a link's target, which need not exist yet, or `path` itself. A target that exists and is not a
/// regular file is io.
[[nodiscard]] inline result<std::filesystem::path> resolve_target(const std::filesystem::path& path) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    const bool folder = std::filesystem::is_directory(status);
    return error{errc::io, printable_name(path_text(path)), folder ? "is a directory" : "not a regular file"};
  }
  auto target = std::filesystem::absolute(path, code);
  if (code) target = path;
  constexpr int most_links = 40;
  for (int n = 0; std::filesystem::is_symlink(std::filesystem::symlink_status(target, code)); ++n) {
    if (n == most_links) return error{errc::io, printable_name(path_text(path)), "too many links"};
    const auto next = std::filesystem::read_symlink(target, code);
    if (code) return io_error(path_text(path), "cannot follow the link", code.value());
    target = target.parent_path() / next;   // an absolute one replaces it
  }
  return target;
}

}  // namespace detail

/// Starts a new file that becomes `path` when it is committed, in the place of one that exists.
[[nodiscard]] result<std::unique_ptr<byte_sink>> replace_file(const std::filesystem::path& path);

/// Appends to `out`, which must outlive the sink. What was written stays there even without a commit.
[[nodiscard]] std::unique_ptr<byte_sink> memory_sink(std::vector<std::byte>& out);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::unique_ptr<byte_sink>> replace_file(const std::filesystem::path& path) {
  return catch_bad_alloc(
      [&]() -> result<std::unique_ptr<byte_sink>> {
        CRIA_TRY(auto target, detail::resolve_target(path));
        const auto folder = detail::file_sink::folder_of(target);
        auto sink = std::make_unique<detail::file_sink>(target, detail::path_text(path));
        auto number = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()) ^ reinterpret_cast<std::uintptr_t>(&target);
        for (int attempt = 0;; ++attempt, number += 0x9e3779b97f4a7c15u) {
          std::string digits;
          for (int i = 0; i < 16; ++i) digits += "0123456789abcdef"[number >> (4 * i) & 15];
          auto partial = folder / (".cria-" + digits + ".partial");
          auto handle = detail::create_file(partial);
          if (!handle.is_open() && detail::already_exists(detail::last_system_error()) && attempt < 100) continue;
          if (!handle.is_open()) return detail::io_error(detail::path_text(path), "cannot create a file in its folder", detail::last_system_error());
          const std::filesystem::path& adopted = sink->adopt(std::move(handle), std::move(partial));
          std::error_code ignored;
          const auto status = std::filesystem::status(target, ignored);
          if (std::filesystem::exists(status)) std::filesystem::permissions(adopted, status.permissions(), ignored);
          return std::unique_ptr<byte_sink>(std::move(sink));
        }
      },
      "replace_file");
}

CRIA_INLINE std::unique_ptr<byte_sink> memory_sink(std::vector<std::byte>& out) { return std::make_unique<detail::memory_sink>(out); }

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
