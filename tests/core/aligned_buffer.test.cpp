// SPDX-License-Identifier: MIT
#include <cria/core/aligned_buffer.hpp>

#include <doctest/doctest.h>

#include <tests/support/sanitized.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#ifndef _WIN32
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

using cria::aligned_buffer;
using cria::array_buffer;
using cria::errc;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t most = std::numeric_limits<std::size_t>::max();

bool is_aligned(const void* p, std::size_t alignment) { return reinterpret_cast<std::uintptr_t>(p) % alignment == 0; }

errc code_of(std::size_t n_bytes) {
  const auto buffer = aligned_buffer::allocate(n_bytes);
  return buffer ? errc::bad_argument : buffer.error().code;
}

#if defined(__linux__)
/// Returns a number of /proc/self/statm in bytes: 0 is the address space, 1 what is resident.
std::size_t process_bytes(int field) {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0;
  for (int i = 0; i <= field; ++i) statm >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}
#endif

#ifndef _WIN32
/// Runs `body` in a child process and returns its exit status, 1000 + the signal that ended it, or -1.
template <class Body>
int status_of_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}
#endif

struct alignas(64) cache_line {
  unsigned char bytes[64];
};
struct not_trivial {
  std::string s;
};
template <class T>
concept can_be_buffered = requires { typename array_buffer<T>; };
static_assert(can_be_buffered<float> && can_be_buffered<cache_line> && !can_be_buffered<not_trivial>);
static_assert(!std::is_copy_constructible_v<aligned_buffer> && std::is_nothrow_move_constructible_v<aligned_buffer> &&
              std::is_nothrow_move_assignable_v<aligned_buffer> && std::is_nothrow_move_assignable_v<array_buffer<float>>);

}  // namespace

TEST_CASE("aligned_buffer: every size is zero-filled, aligned, and writable to its last byte") {
  for (const std::size_t n : {std::size_t{1}, std::size_t{63}, std::size_t{4096}, std::size_t{4097}, 2 * mib - 1, 2 * mib, 2 * mib + 1, 5 * mib + 12345}) {
    INFO(n);
    auto buffer = aligned_buffer::allocate(n);
    REQUIRE(buffer);
    CHECK(buffer->size() == n);
    CHECK(buffer->span().size() == n);
    CHECK(is_aligned(buffer->data(), 64));
#ifndef _WIN32
    if (n >= 2 * mib) CHECK(is_aligned(buffer->data(), 2 * mib));
#endif
    const auto bytes = buffer->span();
    CHECK(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
    std::fill(bytes.begin(), bytes.end(), std::byte{0xa5});
    CHECK(bytes.back() == std::byte{0xa5});
  }
}

TEST_CASE("aligned_buffer: memory that comes back after a release is zero again") {
  for (int i = 0; i < 20; ++i) {
    auto buffer = aligned_buffer::allocate(3 * mib);
    REQUIRE(buffer);
    const auto bytes = buffer->span();
    CHECK(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
    std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
  }
}

TEST_CASE("aligned_buffer: a buffer of 0 bytes is allocated and owns nothing") {
  auto buffer = aligned_buffer::allocate(0);
  REQUIRE(buffer);
  CHECK(buffer->size() == 0);
  CHECK(buffer->span().empty());
  CHECK(buffer->make_read_only());
  aligned_buffer none;
  CHECK(none.span().empty());
  none = *std::move(buffer);
  CHECK(none.size() == 0);
}

TEST_CASE("aligned_buffer: a move hands the bytes over and leaves nothing, onto itself included") {
  aligned_buffer a = aligned_buffer::allocate(4 * mib).value();
  a.data()[17] = std::byte{42};
  const std::byte* const where = a.data();
  aligned_buffer b = std::move(a);
  CHECK(b.data() == where);
  CHECK(b.data()[17] == std::byte{42});
  CHECK(a.data() == nullptr);   // NOLINT: what a moved-from buffer is
  CHECK(a.size() == 0);
  aligned_buffer c = aligned_buffer::allocate(100).value();
  c = std::move(b);
  CHECK(c.data() == where);
  CHECK(b.size() == 0);   // NOLINT
  aligned_buffer& same = c;
  c = std::move(same);
  CHECK(c.data() == where);
  CHECK(std::as_const(c).data()[17] == std::byte{42});
}

TEST_CASE("aligned_buffer: sizes that no machine has are out_of_memory") {
  for (const std::size_t n : {most, most - 1, most - 4095, most - 4096, most - 2 * mib, most / 2 + 1, most / 2, most / 4}) {
    INFO(n);
    CHECK(code_of(n) == errc::out_of_memory);
  }
  CHECK(aligned_buffer::allocate(most).error().where == "aligned_buffer");
}

TEST_CASE("array_buffer: counts elements, zero-filled, and checks the product") {
  auto floats = array_buffer<float>::allocate(1000);
  REQUIRE(floats);
  CHECK(floats->size() == 1000);
  CHECK(floats->span().size() == 1000);
  CHECK((*floats)[999] == 0.0f);
  (*floats)[999] = 1.5f;
  CHECK(std::as_const(*floats)[999] == 1.5f);
  CHECK(std::as_const(*floats).span().back() == 1.5f);
  CHECK(floats->data() == floats->span().data());

  auto lines = array_buffer<cache_line>::allocate(3);
  REQUIRE(lines);
  CHECK(is_aligned(&(*lines)[1], 64));
  CHECK(array_buffer<double>::allocate(0).value().size() == 0);
  CHECK(array_buffer<double>{}.span().empty());

  for (const std::size_t n : {most, most / 8, most / 8 + 1, most / 2 + 1, std::size_t{1} << 61}) {   // n * 8 wraps to a small number in some
    const auto refused = array_buffer<double>::allocate(n);
    REQUIRE(!refused);
    CHECK(refused.error().code == errc::out_of_memory);
  }
}

#if defined(__linux__)
TEST_CASE("aligned_buffer: a release gives the memory back, resident and reserved, and a move leaks none") {
  constexpr std::size_t n = 64 * mib;
  constexpr std::size_t noise = 8 * mib;
  const std::size_t resident = process_bytes(1);
  const std::size_t reserved = process_bytes(0);
  for (int i = 0; i < 10; ++i) {
    aligned_buffer buffer = aligned_buffer::allocate(n).value();
    std::fill(buffer.span().begin(), buffer.span().end(), std::byte{1});
    CHECK(process_bytes(1) >= resident + n - noise);
    aligned_buffer other = aligned_buffer::allocate(n).value();
    other = std::move(buffer);
  }
  CHECK(process_bytes(1) <= resident + noise);
  CHECK(process_bytes(0) <= reserved + noise);
}

TEST_CASE("aligned_buffer: reserves its size and no more, so that thousands of small ones fit") {
  if (CRIA_TEST_SANITIZED) return;   // sanitizers reserve terabytes of address space: limits on it say nothing there
  const std::size_t reserved = process_bytes(0);
  std::vector<aligned_buffer> buffers;
  for (int i = 0; i < 100; ++i) buffers.push_back(aligned_buffer::allocate(100).value());
  for (int i = 0; i < 10; ++i) buffers.push_back(aligned_buffer::allocate(2 * mib + 1).value());
  CHECK(process_bytes(0) <= reserved + 10 * (2 * mib + 65536) + 100 * 65536 + mib);
}

TEST_CASE("aligned_buffer: more than the process may have is out_of_memory, and what fits still comes") {
  if (CRIA_TEST_SANITIZED) {
    MESSAGE("skipped: a sanitizer needs the address space");
    return;
  }
  const int status = status_of_child([] {
    const std::size_t limit = process_bytes(0) + 64 * mib;
    const rlimit bound{limit, limit};
    if (::setrlimit(RLIMIT_AS, &bound) != 0) return 10;
    if (code_of(std::size_t{1} << 40) != errc::out_of_memory) return 11;
    if (code_of(128 * mib) != errc::out_of_memory) return 12;
    for (int i = 0; i < 100; ++i) {   // failures leak nothing
      if (code_of(65 * mib) != errc::out_of_memory) return 13;
      if (!aligned_buffer::allocate(32 * mib)) return 14;
    }
    return 0;
  });
  CHECK(status == 0);
}
#endif

#ifndef _WIN32
TEST_CASE("aligned_buffer: a read-only buffer can be read, released, and faults when written") {
  aligned_buffer buffer = aligned_buffer::allocate(3 * mib + 5).value();
  buffer.data()[5] = std::byte{9};
  CHECK(buffer.make_read_only());
  CHECK(buffer.data()[5] == std::byte{9});
  for (const std::size_t at : {std::size_t{0}, 3 * mib + 4}) {
    const int status = status_of_child([&] {
      const rlimit no_core{0, 0};
      ::setrlimit(RLIMIT_CORE, &no_core);
      std::signal(SIGSEGV, SIG_DFL);
      std::signal(SIGBUS, SIG_DFL);
      *const_cast<volatile std::byte*>(buffer.data() + at) = std::byte{1};
      return 0;
    });
    CHECK((status == 1000 + SIGSEGV || status == 1000 + SIGBUS));
  }
}
#endif
