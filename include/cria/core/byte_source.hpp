// SPDX-License-Identifier: MIT
// core/byte_source.hpp - positional reads from a path, a file descriptor or memory.
//
// Units     bytes
// Ensures   read_at fills the whole span or fails; interrupted and short reads are continued. Nothing is memory-mapped: a file that is truncated, replaced or
//           deleted later causes an error at most, never a crash.
// Errors    io (the system refuses to open or read, not a regular file, the file has become shorter), bad_argument, out_of_memory
// Threads   the sources in this header may be read by many threads at once; a host's own source must allow that too
// Lifetime  memory_source does not copy: the bytes must outlive it. A descriptor is duplicated: the caller keeps its own and closes it.
#pragma once

#include <cria/core/checked.hpp>
#include <cria/core/result.hpp>
#include <cria/core/utf8.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <io.h>
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#endif

namespace cria::inline v0_1_0 {

/// Bytes that can be read by position. Hosts derive from it to read from elsewhere, such as an archive or a test that injects faults.
class byte_source {
 public:
  byte_source() = default;
  byte_source(const byte_source&) = delete;
  byte_source& operator=(const byte_source&) = delete;
  virtual ~byte_source() = default;

  /// Returns the number of bytes. It is called once, when a reader is opened.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  /// Fills all of `out` with the bytes from `offset` on, or fails.
  [[nodiscard]] virtual result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const = 0;
  /// Returns what error messages call the source: its path, or another name that the user knows.
  [[nodiscard]] virtual std::string name() const = 0;
};

namespace detail {

/// Returns whether a character of a file's name can be shown as it is: no control, nothing invisible, nothing that turns the direction of writing.
[[nodiscard]] constexpr bool is_shown(utf8_char c) noexcept {
  struct range {
    char32_t first, last;
  };
  constexpr range hidden[] = {{0, 0x1f},        {'\\', '\\'},     {0x7f, 0xa0},     {0xad, 0xad},     {0x61c, 0x61c},   {0x180e, 0x180e},
                              {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xe0000, 0xe0fff}};
  for (const range& r : hidden) {
    if (c.code >= r.first && c.code <= r.last) return false;
  }
  return c.code != invalid_char;
}

/// Returns the name of a source or sink, mostly a path, as an error shows it: UTF-8 of bounded length; other bytes and what cannot be shown are escaped.
[[nodiscard]] inline std::string printable_name(std::string_view name) {
  constexpr std::size_t limit = 1024;
  std::string out;
  for (std::size_t i = 0; i < name.size();) {
    if (i >= limit) return out + "...";
    const utf8_char c = decode_utf8(name, i);
    const std::string_view bytes = name.substr(i, c.length);
    out += is_shown(c) ? std::string(bytes) : printable(bytes);
    i += c.length;
  }
  return out;
}

/// Returns the path as UTF-8 (POSIX: as its bytes), for errors; on Windows with slashes, since backslashes are escaped in errors, and with U+FFFD for what
/// is no UTF-16, for which std::filesystem throws.
[[nodiscard]] inline std::string path_text(const std::filesystem::path& path) {
#ifdef _WIN32
  const std::wstring wide = path.generic_wstring();
  const int length = static_cast<int>(wide.size());
  std::string text(static_cast<std::size_t>(::WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, nullptr, 0, nullptr, nullptr)), '\0');
  static_cast<void>(::WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, text.data(), static_cast<int>(text.size()), nullptr, nullptr));
  return text;
#else
  const auto text = path.u8string();
  return {text.begin(), text.end()};
#endif
}

/// Returns errc::io with the system's reason for its error number `code`.
[[nodiscard]] inline error io_error(const std::string& name, std::string_view action, int code, std::uint64_t offset = error::no_offset) {
  const std::string reason = std::system_category().message(code);
  return {errc::io, printable_name(name), std::string(action) + ": " + reason + " (" + std::to_string(code) + ")", offset};
}

[[nodiscard]] inline error outside_source(const std::string& name, std::uint64_t offset) {
  return {errc::io, printable_name(name), "the file ends before the bytes to read", offset};
}

[[nodiscard]] inline bool contains_range(std::uint64_t size, std::uint64_t offset, std::uint64_t n) noexcept {
  return offset <= size && n <= size - offset;
}

/// An open file of the system, closed by the destructor.
class file_handle {
 public:
#ifdef _WIN32
  using native = HANDLE;
  static native none() noexcept { return INVALID_HANDLE_VALUE; }
#else
  using native = int;
  static native none() noexcept { return -1; }
#endif
  explicit file_handle(native h) noexcept : handle_(h) {}
  file_handle(file_handle&& other) noexcept : handle_(std::exchange(other.handle_, none())) {}
  file_handle& operator=(file_handle&& other) noexcept {
    if (this != &other) {
      close();
      handle_ = std::exchange(other.handle_, none());
    }
    return *this;
  }
  ~file_handle() { close(); }
  void close() noexcept {
    if (!is_open()) return;
#ifdef _WIN32
    ::CloseHandle(handle_);
#else
    ::close(handle_);
#endif
    handle_ = none();
  }
  [[nodiscard]] bool is_open() const noexcept { return handle_ != none(); }
  [[nodiscard]] native get() const noexcept { return handle_; }

 private:
  native handle_;
};

/// Returns the error number of the system call that failed last.
[[nodiscard]] inline int last_system_error() noexcept {
#ifdef _WIN32
  return static_cast<int>(::GetLastError());
#else
  return errno;
#endif
}

/// Reads up to out.size() bytes at `offset`. Returns the count, 0 at the end of the file, -1 with last_system_error() set.
[[nodiscard]] inline std::int64_t read_some(file_handle::native handle, std::uint64_t offset, std::span<std::byte> out) noexcept {
  constexpr std::size_t at_once = std::size_t{1} << 30;   // macOS and Windows refuse 2 GiB and more
  const std::size_t n = std::min(out.size(), at_once);
#ifdef _WIN32
  OVERLAPPED position{};
  position.Offset = static_cast<DWORD>(offset & 0xffffffffu);
  position.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD got = 0;
  if (::ReadFile(handle, out.data(), static_cast<DWORD>(n), &got, &position)) return got;
  return ::GetLastError() == ERROR_HANDLE_EOF ? 0 : -1;
#else
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    errno = EOVERFLOW;
    return -1;
  }
  ssize_t got;
  do {
    got = ::pread(handle, out.data(), n, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  return got;
#endif
}

/// A range of an open file.
class file_source final : public byte_source {
 public:
  file_source(file_handle handle, std::string name, std::uint64_t begin, std::uint64_t size)
      : handle_(std::move(handle)), name_(std::move(name)), begin_(begin), size_(size) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  [[nodiscard]] std::string name() const override { return name_; }

  [[nodiscard]] result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    if (!contains_range(size_, offset, out.size())) return outside_source(name_, offset);
    while (!out.empty()) {
      const std::int64_t got = read_some(handle_.get(), begin_ + offset, out);   // the sum was checked when the range was opened
      if (got < 0) return io_error(name_, "cannot read", last_system_error(), offset);
      if (got == 0) return outside_source(name_, offset);                        // cut since it was opened
      out = out.subspan(static_cast<std::size_t>(got));
      offset += static_cast<std::uint64_t>(got);
    }
    return {};
  }

 private:
  file_handle handle_;
  std::string name_;
  std::uint64_t begin_;
  std::uint64_t size_;
};

class memory_source final : public byte_source {
 public:
  memory_source(std::span<const std::byte> bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] std::string name() const override { return name_; }

  [[nodiscard]] result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    if (!contains_range(bytes_.size(), offset, out.size())) return outside_source(name_, offset);
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::span<const std::byte> bytes_;
  std::string name_;
};

/// Returns the size of an open regular file; io for everything else, which may block or have no end.
[[nodiscard]] inline result<std::uint64_t> regular_file_size(const file_handle& handle, const std::string& name) {
#ifdef _WIN32
  LARGE_INTEGER size{};
  if (::GetFileType(handle.get()) != FILE_TYPE_DISK) return error{errc::io, printable_name(name), "not a regular file"};
  if (!::GetFileSizeEx(handle.get(), &size)) return io_error(name, "cannot get the size", last_system_error());
  return static_cast<std::uint64_t>(size.QuadPart);
#else
  struct stat status{};
  if (::fstat(handle.get(), &status) != 0) return io_error(name, "cannot get the size", last_system_error());
  if (!S_ISREG(status.st_mode)) return error{errc::io, printable_name(name), "not a regular file"};
  return static_cast<std::uint64_t>(status.st_size);
#endif
}

[[nodiscard]] inline result<file_handle> open_for_reading(const std::filesystem::path& path, const std::string& name) {
#ifdef _WIN32
  file_handle handle(::CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr, OPEN_EXISTING,
                                   FILE_ATTRIBUTE_NORMAL, nullptr));
#else
  struct stat status{};   // before open as well, since opening a device can act on it
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    return error{errc::io, printable_name(name), S_ISDIR(status.st_mode) ? "is a directory" : "not a regular file"};
  }
  int descriptor;
  do {
    descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);   // non-blocking: a FIFO may appear after stat
  } while (descriptor < 0 && errno == EINTR);
  file_handle handle(descriptor);
#endif
  if (!handle.is_open()) return io_error(name, "cannot open", last_system_error());
  return handle;
}

}  // namespace detail

/// Opens a regular file. A directory, FIFO, socket or device gives errc::io, without blocking.
[[nodiscard]] result<std::shared_ptr<const byte_source>> open_file(const std::filesystem::path& path);

/// Reads `size` bytes from `offset` on, or all up to the end, of the regular file behind a descriptor (on Windows one of the C runtime). The descriptor's
/// own position is neither used nor moved (on Windows it is moved). The descriptor is duplicated, so the caller may close it at once.
[[nodiscard]] result<std::shared_ptr<const byte_source>> open_descriptor(int descriptor, std::uint64_t offset = 0,
                                                                                std::optional<std::uint64_t> size = {});

/// Reads from memory, which is not copied and must outlive the source and everything that was opened with it.
[[nodiscard]] std::shared_ptr<const byte_source> memory_source(std::span<const std::byte> bytes, std::string name = "memory");

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::shared_ptr<const byte_source>> open_file(const std::filesystem::path& path) {
  return catch_bad_alloc(
      [&]() -> result<std::shared_ptr<const byte_source>> {
        std::string name = detail::path_text(path);
        CRIA_TRY(auto handle, detail::open_for_reading(path, name));
        CRIA_TRY(const std::uint64_t size, detail::regular_file_size(handle, name));
        return std::shared_ptr<const byte_source>(std::make_shared<detail::file_source>(std::move(handle), std::move(name), 0, size));
      },
      "open_file");
}

CRIA_INLINE result<std::shared_ptr<const byte_source>> open_descriptor(int descriptor, std::uint64_t offset,
                                                                                std::optional<std::uint64_t> size) {
  return catch_bad_alloc(
      [&]() -> result<std::shared_ptr<const byte_source>> {
        std::string name = "descriptor " + std::to_string(descriptor);
#ifdef _WIN32
        if (descriptor < 0) return error{errc::io, name, "is no descriptor"};   // the C runtime would end the process
        HANDLE copy = detail::file_handle::none();
        const HANDLE own = reinterpret_cast<HANDLE>(::_get_osfhandle(descriptor));
        if (!::DuplicateHandle(::GetCurrentProcess(), own, ::GetCurrentProcess(), &copy, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
          copy = detail::file_handle::none();
        }
        detail::file_handle handle(copy);
#else
        detail::file_handle handle(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
#endif
        if (!handle.is_open()) return detail::io_error(name, "cannot duplicate", detail::last_system_error());
        CRIA_TRY(const std::uint64_t whole, detail::regular_file_size(handle, name));
        if (offset > whole || size.value_or(0) > whole - offset) {
          return error{errc::bad_argument, name, "the range is not inside the file", offset};
        }
        const std::uint64_t length = size.value_or(whole - offset);
        return std::shared_ptr<const byte_source>(std::make_shared<detail::file_source>(std::move(handle), std::move(name), offset, length));
      },
      "open_descriptor");
}

CRIA_INLINE std::shared_ptr<const byte_source> memory_source(std::span<const std::byte> bytes, std::string name) {
  return std::make_shared<detail::memory_source>(bytes, std::move(name));
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
