// SPDX-License-Identifier: MIT
#include <cria/core/byte_sink.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#ifdef __linux__
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

using cria::errc;

#ifdef __linux__
namespace {
/// What this program's pwrite, fsync and rename do instead of their work.
enum class fault { none, no_space, interrupted, one_byte, takes_nothing, fsync, rename };
fault next_fault = fault::none;
int calls_until_fault = 0;
}  // namespace

// In place of the C library's: what cria calls in this program.
extern "C" ssize_t pwrite(int descriptor, const void* bytes, size_t n, off_t offset) {
  const auto write = [&](size_t count) { return static_cast<ssize_t>(::syscall(SYS_pwrite64, descriptor, bytes, count, offset)); };
  if (next_fault == fault::none || next_fault >= fault::fsync || calls_until_fault-- > 0) return write(n);
  switch (next_fault) {
    case fault::interrupted:
      calls_until_fault = 1;   // every second call
      errno = EINTR;
      return -1;
    case fault::one_byte: return write(1);
    case fault::takes_nothing: return 0;
    default: errno = ENOSPC; return -1;
  }
}
extern "C" int fsync(int descriptor) {
  if (next_fault == fault::fsync) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}
extern "C" int rename(const char* from, const char* to) noexcept {
  if (next_fault == fault::rename) return errno = EACCES, -1;
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
#endif

namespace {

/// A folder that is removed again.
struct temporary_folder {
  std::filesystem::path path;
  explicit temporary_folder(const std::string& name) : path(std::filesystem::temp_directory_path() / ("cria-byte_sink-" + name)) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  [[nodiscard]] std::size_t count() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
  }
};

void put(const std::filesystem::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string get(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

cria::result<void> write(cria::byte_sink& sink, const std::string& text) { return sink.write(std::as_bytes(std::span(text))); }

/// Writes a file of three pieces, the second larger than any buffer; returns the first error.
[[maybe_unused]] cria::result<void> replace(const std::filesystem::path& path, const std::string& large) {
  CRIA_TRY(auto sink, cria::replace_file(path));
  CRIA_CHECK(write(*sink, "begin"));
  CRIA_CHECK(write(*sink, large));
  CRIA_CHECK(write(*sink, "end"));
  return sink->commit();
}

}  // namespace

TEST_CASE("byte_sink: the target is what it was until the commit, then it is all that was written") {
  const temporary_folder folder("replace");
  const auto path = folder.path / "model.gguf";
  for (const std::string before : {"", "old"}) {
    if (!before.empty()) put(path, before);
    auto sink = cria::replace_file(path);
    REQUIRE(sink);
    CHECK((*sink)->name() == cria::detail::path_text(path));
    std::string expected;
    for (const std::size_t n : {0u, 1u, 100'000u, 200'000u, 300'000u, 7u}) {
      const std::string piece(n, static_cast<char>('a' + n % 26));
      expected += piece;
      REQUIRE(write(**sink, piece));
    }
    CHECK(std::filesystem::exists(path) == !before.empty());
    CHECK(get(path) == before);
    REQUIRE((*sink)->commit());
    CHECK((get(path) == expected));
    sink->reset();
    CHECK(folder.count() == 1);
    std::filesystem::remove(path);
  }
}

TEST_CASE("byte_sink: without a commit nothing remains") {
  const temporary_folder folder("dropped");
  const auto path = folder.path / "model.gguf";
  put(path, "old");
  {
    auto sink = cria::replace_file(path);
    REQUIRE(sink);
    REQUIRE(write(**sink, std::string(1'000'000, 'x')));
    CHECK(folder.count() == 2);
  }
  CHECK(folder.count() == 1);
  CHECK(get(path) == "old");
}

TEST_CASE("byte_sink: a relative target is where it was when the file was begun, wherever the host goes meanwhile") {
  const temporary_folder folder("moved");
  const auto start = std::filesystem::current_path();
  std::filesystem::create_directories(folder.path / "a");
  std::filesystem::create_directories(folder.path / "b");
  std::filesystem::current_path(folder.path / "a");
  auto sink = cria::replace_file("model.gguf");
  std::filesystem::current_path(folder.path / "b");
  CHECK((*sink)->name() == "model.gguf");
  REQUIRE(write(**sink, "text"));
  const auto done = (*sink)->commit();
  std::filesystem::current_path(start);
  REQUIRE(done);
  sink->reset();
  CHECK(get(folder.path / "a" / "model.gguf") == "text");
  CHECK(std::filesystem::is_empty(folder.path / "b"));
}

TEST_CASE("byte_sink: a file may be replaced while it is read from") {
  const temporary_folder folder("same");
  const auto path = folder.path / "model.gguf";
  put(path, "0123456789");
  {
    const auto source = cria::open_file(path);
    REQUIRE(source);
    auto sink = cria::replace_file(path);
    REQUIRE(sink);
    for (std::uint64_t i = 10; i-- > 0;) {
      std::byte b{};
      REQUIRE((*source)->read_at(i, {&b, 1}));
      REQUIRE((*sink)->write({&b, 1}));
    }
#ifdef _WIN32
    return;
#else
    REQUIRE((*sink)->commit());
    std::byte first{};
    REQUIRE((*source)->read_at(0, {&first, 1}));
    CHECK(first == std::byte{'0'});
#endif
  }
  CHECK(get(path) == "9876543210");
}

TEST_CASE("byte_sink: a folder that is absent or not a folder, and a target that is not a file, are io with the path") {
  const temporary_folder folder("refused");
  put(folder.path / "file", "x");
  for (const auto& path : {folder.path / "none" / "model.gguf", folder.path / "file" / "model.gguf", folder.path}) {
    CAPTURE(path.string());
    const auto sink = cria::replace_file(path);
    REQUIRE_FALSE(sink);
    CHECK(sink.error().code == errc::io);
    CHECK(sink.error().where == cria::detail::path_text(path));
  }
  CHECK(folder.count() == 1);
}

TEST_CASE("byte_sink: memory takes what is written behind what is there") {
  std::vector<std::byte> out(1, std::byte{'a'});
  const auto sink = cria::memory_sink(out);
  REQUIRE(write(*sink, "bc"));
  REQUIRE(sink->commit());
  CHECK(out == std::vector<std::byte>{std::byte{'a'}, std::byte{'b'}, std::byte{'c'}});
}

#ifdef __linux__

TEST_CASE("byte_sink: interrupted and short writes are continued") {
  const temporary_folder folder("short");
  const std::string large(3000, 'x');
  for (const fault f : {fault::interrupted, fault::one_byte}) {
    next_fault = f, calls_until_fault = 0;
    const auto done = replace(folder.path / "model.gguf", large);
    next_fault = fault::none;
    REQUIRE(done);
    CHECK((get(folder.path / "model.gguf") == "begin" + large + "end"));
  }
}

TEST_CASE("byte_sink: a full disk, a failing flush or rename is io with path and reason, the target untouched, nothing left behind") {
  const temporary_folder folder("full");
  const auto path = folder.path / "model.gguf";
  put(path, "old");
  const std::string large(1'000'000, 'x');
  struct trial {
    fault f;
    int calls;
    const char* message;
  };
  for (const trial& t :
       {trial{fault::no_space, 0, "cannot write: No space left on device (28)"}, trial{fault::no_space, 1, "cannot write: No space left on device (28)"},
        trial{fault::no_space, 2, "cannot write: No space left on device (28)"}, trial{fault::takes_nothing, 1, "the system takes no more bytes"},
        trial{fault::fsync, 0, "cannot flush: Input/output error (5)"}, trial{fault::rename, 0, "cannot replace: Permission denied (13)"}}) {
    next_fault = t.f, calls_until_fault = t.calls;
    const auto done = replace(path, large);
    next_fault = fault::none;
    REQUIRE_FALSE(done);
    CHECK(done.error().code == errc::io);
    CHECK(done.error().where == path.string());
    CHECK(done.error().message == t.message);
    CHECK(get(path) == "old");
    CHECK(folder.count() == 1);
  }
  CHECK(replace(path, large));   // trying again works
}

TEST_CASE("byte_sink: the permissions of the target are kept, a link is followed, a device is refused") {
  const temporary_folder folder("kinds");
  const auto path = folder.path / "model.gguf", link = folder.path / "link.gguf";
  put(path, "old");
  ::chmod(path.c_str(), 0640);
  std::filesystem::create_symlink("model.gguf", link);
  REQUIRE(replace(link, "+"));
  CHECK(std::filesystem::is_symlink(link));
  CHECK(get(path) == "begin+end");
  struct stat status{};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
  // A link to what is not there yet makes it, through other links and from where each of them is.
  std::filesystem::create_directory(folder.path / "real");
  std::filesystem::create_symlink("../second.gguf", folder.path / "real" / "first.gguf");
  std::filesystem::create_symlink("real/new.gguf", folder.path / "second.gguf");
  REQUIRE(replace(folder.path / "real" / "first.gguf", "-"));
  CHECK(std::filesystem::is_symlink(folder.path / "second.gguf"));
  CHECK(get(folder.path / "real" / "new.gguf") == "begin-end");
  std::filesystem::create_symlink("circle.gguf", folder.path / "circle.gguf");
  CHECK(cria::replace_file(folder.path / "circle.gguf").error().code == errc::io);
  CHECK(cria::replace_file("/dev/null").error().message == "not a regular file");
  CHECK(cria::replace_file("/dev/full").error().code == errc::io);
  CHECK(std::filesystem::is_character_file("/dev/null"));
}

#endif
