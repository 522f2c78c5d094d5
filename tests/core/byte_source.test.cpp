// SPDX-License-Identifier: MIT
#include <cria/core/byte_source.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sys/syscall.h>
#endif
#ifndef _WIN32
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#endif

using cria::errc;

#ifdef __linux__
namespace {
/// What this program's pread does instead of reading.
enum class fault { none, interrupted, one_byte, error, end };
fault next_fault = fault::none;
int calls_until_fault = 0;
}  // namespace

// In place of the C library's: what cria calls in this program.
extern "C" ssize_t pread(int descriptor, void* out, size_t n, off_t offset) {
  const auto read = [&](size_t count) { return static_cast<ssize_t>(::syscall(SYS_pread64, descriptor, out, count, offset)); };
  if (next_fault == fault::none || calls_until_fault-- > 0) return read(n);
  switch (next_fault) {
    case fault::interrupted:
      calls_until_fault = 1;   // every second call
      errno = EINTR;
      return -1;
    case fault::one_byte: return read(1);
    case fault::error: errno = EIO; return -1;
    default: return 0;
  }
}
#endif

namespace {

/// A folder that is removed again.
struct temporary_folder {
  std::filesystem::path path;
  explicit temporary_folder(const std::string& name) : path(std::filesystem::temp_directory_path() / ("cria-byte_source-" + name)) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name, std::ios::binary) << text;
    return path / name;
  }
};

std::string read(const cria::byte_source& source, std::uint64_t offset, std::size_t n) {
  std::string text(n, '?');
  const auto done = source.read_at(offset, std::as_writable_bytes(std::span(text)));
  return done ? text : "error " + std::string(cria::name(done.error().code));
}

}  // namespace

TEST_CASE("byte_source: memory and files give the same bytes for every range, and io outside") {
  const temporary_folder folder("ranges");
  const std::string text = "0123456789";
  const auto memory = cria::memory_source(std::as_bytes(std::span(text)), "digits");
  const auto file = cria::open_file(folder.write("digits", text));
  REQUIRE(file);
  CHECK(memory->name() == "digits");
  CHECK((*file)->name() == cria::detail::path_text(folder.path / "digits"));
  CHECK(memory->size() == 10);
  CHECK((*file)->size() == 10);
  for (std::size_t begin = 0; begin <= 12; ++begin) {
    for (std::size_t n = 0; n <= 12; ++n) {
      CAPTURE(begin);
      CAPTURE(n);
      const std::string expected = begin <= 10 && begin + n <= 10 ? text.substr(begin, n) : "error io";
      CHECK(read(*memory, begin, n) == expected);
      CHECK(read(**file, begin, n) == expected);
    }
  }
  CHECK(read(*memory, ~std::uint64_t{0}, 2) == "error io");
  CHECK(read(**file, ~std::uint64_t{0}, 2) == "error io");
}

TEST_CASE("byte_source: an absent file is io with its path and the system's reason") {
  const auto file = cria::open_file("no-such-file.gguf");
  REQUIRE_FALSE(file);
  CHECK(file.error().code == errc::io);
  CHECK(file.error().where == "no-such-file.gguf");
  CHECK(file.error().message.find("cannot open: ") == 0);
  CHECK(file.error().message.find("(2)") != std::string::npos);   // ENOENT and ERROR_FILE_NOT_FOUND
}

TEST_CASE("byte_source: a path beyond ASCII is opened as it is, and is UTF-8 with slashes in errors") {
  const temporary_folder folder("beyond");
  const std::u8string name = u8"\u00e9\u00e8 \u6a21\u578b \U0001f999.gguf";
  { std::ofstream(folder.path / name, std::ios::binary) << "abc"; }
  const auto file = cria::open_file(folder.path / name);
  REQUIRE(file);
  CHECK(read(**file, 0, 3) == "abc");
  std::filesystem::remove(folder.path / name);
  const auto absent = cria::open_file(std::filesystem::path("no") / name);
  REQUIRE_FALSE(absent);
  CHECK(absent.error().where == "no/" + std::string(name.begin(), name.end()));
}

TEST_CASE("byte_source: a path with control characters is escaped in errors") {
  const auto file = cria::open_file("no\x1b[31m");
  REQUIRE_FALSE(file);
  CHECK(file.error().where == "no\\x1b[31m");
}

TEST_CASE("byte_source: of a name only what can be shown is shown as it is") {
  using cria::detail::printable_name;
  CHECK(printable_name("/home/Zo\xc3\xab/\xe6\xa8\xa1.gguf") == "/home/Zo\xc3\xab/\xe6\xa8\xa1.gguf");
  CHECK(printable_name("a\\b\n\x7f") == "a\\x5cb\\x0a\\x7f");
  CHECK(printable_name("\xff\xc3(\xed\xa0\x80") == "\\xff\\xc3(\\xed\\xa0\\x80");   // bytes that are not UTF-8: a stray one, a cut character, a surrogate
  CHECK(printable_name("\xc2\x9b""31m") == "\\xc2\\x9b""31m");                          // a control beyond ASCII
  CHECK(printable_name("gguf.\xe2\x80\xae""exe") == "gguf.\\xe2\\x80\\xae""exe");        // right to left from here
  CHECK(printable_name("a\xe2\x80\x8b""b\xef\xbb\xbf") == "a\\xe2\\x80\\x8b""b\\xef\\xbb\\xbf");   // nothing to see
  CHECK(printable_name(std::string(1024, 'x')) == std::string(1024, 'x'));
  CHECK(printable_name(std::string(1023, 'x') + "\xc3\xab!") == std::string(1023, 'x') + "\xc3\xab...");
}

TEST_CASE("byte_source: an empty file opens and has nothing to read") {
  const temporary_folder folder("empty");
  const auto file = cria::open_file(folder.write("empty", ""));
  REQUIRE(file);
  CHECK((*file)->size() == 0);
  CHECK(read(**file, 0, 0).empty());
  CHECK(read(**file, 0, 1) == "error io");
}

TEST_CASE("byte_source: a file that is cut after it was opened is io with the offset, and what is left stays readable") {
  const temporary_folder folder("cut");
  const auto path = folder.write("model", std::string(10'000, 'x'));
  const auto file = cria::open_file(path);
  REQUIRE(file);
  std::filesystem::resize_file(path, 5'000);
  std::array<std::byte, 100> out{};
  const auto done = (*file)->read_at(4'950, out);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == errc::io);
  CHECK(done.error().offset == 5'000);
  CHECK(read(**file, 0, 3) == "xxx");
}

TEST_CASE("byte_source: a file that is replaced or deleted after it was opened keeps its bytes") {
  const temporary_folder folder("replaced");
  const auto path = folder.write("model", "old bytes");
  const auto file = cria::open_file(path);
  REQUIRE(file);
#ifndef _WIN32   // a file that is open cannot be replaced there
  std::filesystem::rename(folder.write("new", "NEW BYTES"), path);
  CHECK(read(**file, 0, 9) == "old bytes");
#endif
  std::filesystem::remove(path);
  CHECK(read(**file, 0, 9) == "old bytes");
}

TEST_CASE("byte_source: four threads read one source at the same time") {
  const temporary_folder folder("threads");
  std::string text;
  for (int i = 0; i < 4096; ++i) text += static_cast<char>('a' + i % 26);
  const auto file = cria::open_file(folder.write("letters", text));
  REQUIRE(file);
  std::array<int, 4> wrong{};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 2000; ++i) wrong[t] += read(**file, (i * 37 + t) % 4000, 64) != text.substr((i * 37 + t) % 4000, 64);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::array<int, 4>{});
}

#ifdef __linux__

TEST_CASE("byte_source: interrupted and short reads are continued, an error or an early end at any read is io with its offset") {
  const temporary_folder folder("faults");
  const std::string text = "0123456789";
  const auto file = cria::open_file(folder.write("digits", text));
  REQUIRE(file);
  const auto read_with = [&](fault f, int calls) {
    next_fault = f, calls_until_fault = calls;
    std::string got(8, '?');
    const auto done = (*file)->read_at(2, std::as_writable_bytes(std::span(got)));
    next_fault = fault::none;
    return done ? got : std::string(cria::name(done.error().code)) + " at " + std::to_string(done.error().offset) + ": " + done.error().message;
  };
  CHECK(read_with(fault::none, 0) == "23456789");
  CHECK(read_with(fault::interrupted, 0) == "23456789");
  CHECK(read_with(fault::one_byte, 0) == "23456789");
  CHECK(read_with(fault::error, 0) == "io at 2: cannot read: Input/output error (5)");
  CHECK(read_with(fault::end, 0) == "io at 2: the file ends before the bytes to read");
  CHECK(read_with(fault::none, 0) == "23456789");   // trying again works
}

#endif

#ifndef _WIN32

TEST_CASE("byte_source: a directory, FIFO, socket and device are io at once, not a hang") {
  const temporary_folder folder("odd");
  const auto fifo = folder.path / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const auto socket_path = (folder.path / "s").string();
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(socket_path.size() < sizeof(address.sun_path));
  socket_path.copy(address.sun_path, socket_path.size());
  REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  const auto start = std::chrono::steady_clock::now();
  for (const auto& path : {folder.path, fifo, std::filesystem::path(socket_path), std::filesystem::path("/dev/null"), std::filesystem::path("/dev/zero")}) {
    CAPTURE(path.string());
    const auto file = cria::open_file(path);
    REQUIRE_FALSE(file);
    CHECK(file.error().code == errc::io);
    CHECK(file.error().where == path.string());
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  ::close(socket);
}

TEST_CASE("byte_source: a descriptor is read from an offset, its own position is not used, and it may be closed at once") {
  const temporary_folder folder("descriptor");
  const auto path = folder.write("archive", "headerMODELtrailer");
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  REQUIRE(descriptor >= 0);
  REQUIRE(::lseek(descriptor, 3, SEEK_SET) == 3);
  const auto whole = cria::open_descriptor(descriptor);
  const auto tail = cria::open_descriptor(descriptor, 6);
  const auto member = cria::open_descriptor(descriptor, 6, 5);
  const auto past = cria::open_descriptor(descriptor, 6, 13);
  const auto wrapping = cria::open_descriptor(descriptor, 6, ~std::uint64_t{0} - 3);
  const auto behind = cria::open_descriptor(descriptor, 19);
  CHECK(::lseek(descriptor, 0, SEEK_CUR) == 3);
  ::close(descriptor);
  REQUIRE(whole);
  REQUIRE(tail);
  REQUIRE(member);
  CHECK(read(**whole, 0, 18) == "headerMODELtrailer");
  CHECK(read(**tail, 0, 12) == "MODELtrailer");
  CHECK((*member)->size() == 5);
  CHECK(read(**member, 0, 5) == "MODEL");
  CHECK(read(**member, 1, 5) == "error io");   // the neighbour's bytes are not ours
  for (const auto* refused : {&past, &wrapping, &behind}) {
    REQUIRE_FALSE(*refused);
    CHECK(refused->error().code == errc::bad_argument);
  }
}

TEST_CASE("byte_source: a descriptor that is closed or not of a regular file is io") {
  const auto closed = cria::open_descriptor(987'654);
  REQUIRE_FALSE(closed);
  CHECK(closed.error().code == errc::io);
  CHECK(cria::open_descriptor(-1).error().code == errc::io);
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const auto pipe = cria::open_descriptor(ends[0]);
  REQUIRE_FALSE(pipe);
  CHECK(pipe.error().code == errc::io);
  CHECK(pipe.error().message == "not a regular file");
  ::close(ends[0]), ::close(ends[1]);
}

TEST_CASE("byte_source: a file that may not be read is io") {
  const temporary_folder folder("forbidden");
  const auto path = folder.write("secret", "text");
  ::chmod(path.c_str(), 0);
  const auto file = cria::open_file(path);
  if (::geteuid() == 0) {
    MESSAGE("SKIPPED: root may read everything");
    return;
  }
  REQUIRE_FALSE(file);
  CHECK(file.error().code == errc::io);
}

#endif
