// SPDX-License-Identifier: MIT
// tests/support/failing_allocations.hpp - makes each allocation of a piece of work fail in turn. Replaces operator new and mmap: include
// it in one unit of a program.
//
//   cria_test::fail_each([&] { return cria_test::code_of(session.generate("a", options)); });
#pragma once

#include <cria/core/result.hpp>

#include <doctest/doctest.h>

#include <tests/support/sanitized.hpp>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#endif

#if CRIA_HAS_EXCEPTIONS

namespace cria_test {

inline std::atomic<long long> fail_at{-1};         ///< the number of the allocation that fails; negative: none
inline std::atomic<bool> fail_after{false};        ///< all later ones too
inline std::atomic<long long> allocations{0};
inline std::atomic<long long> alive{0};            ///< blocks, and pages: what was mapped at once may go back in pieces

inline bool is_to_fail() noexcept {
  const long long number = allocations++, at = fail_at;
  return at >= 0 && (number == at || (fail_after && number > at));
}

inline void* allocate(std::size_t n) noexcept {
  if (is_to_fail()) return nullptr;
  void* p = std::malloc(n == 0 ? 1 : n);
  alive += p != nullptr;
  return p;
}

inline void release(void* p) noexcept {
  alive -= p != nullptr;
  std::free(p);
}

inline constexpr long long step = CRIA_TEST_SANITIZED ? 5 : 1;   ///< between the allocations that fail, behind the first few

inline constexpr int no_error = -1, has_thrown = -100;

template <class T>
int code_of(const cria::result<T>& r) {
  return r ? no_error : static_cast<int>(r.error().code);
}

/// What became of a piece of work while its allocation `n`, and with all_later those behind it, failed.
struct failed_run {
  int code = has_thrown;
  long long lost = 0;      ///< blocks and pages that live on
  bool reached = false;    ///< it had so many
};

template <class Work>
failed_run run_failing(Work&& work, long long n, bool all_later) {
  failed_run r;
  fail_after = all_later;
  allocations = 0;
  const long long before = alive;
  fail_at = n;
  try {
    r.code = work();
  } catch (const std::bad_alloc&) {
  }
  fail_at = -1;
  r.reached = allocations > n;
  r.lost = alive - before;
  return r;
}

/// Runs `work`, which returns code_of() an error or no_error, with each of its allocations failing once, and then from each one on: it must end with
/// out_of_memory or without an error, throw nothing and leak nothing. `after` is then called with memory there again.
template <class Work, class After>
void fail_each(Work&& work, After&& after, long long by = step) {
  for (const bool all_later : {false, true}) {
    std::size_t refused = 0, wrong = 0;
    for (long long n = 0; wrong < 5; n += n < 5 ? 1 : by) {
      const auto [code, lost, reached] = run_failing(work, n, all_later);
      if (lost != 0 || (code != no_error && code != static_cast<int>(cria::errc::out_of_memory))) {
        ++wrong;
        CAPTURE(n);
        CAPTURE(all_later);
        CHECK(lost == 0);
        CHECK(code == static_cast<int>(cria::errc::out_of_memory));
      }
      refused += code != no_error;
      after();
      if (!reached) {
        CHECK(code == no_error);
        break;
      }
    }
    CHECK(refused > 0);   // small pieces of work have two allocations, or fewer where the compiler joins them
  }
}

template <class Work>
void fail_each(Work&& work, long long by = step) {
  fail_each(work, [] {}, by);
}

}  // namespace cria_test

void* operator new(std::size_t n) {
  if (void* p = cria_test::allocate(n)) return p;
  throw std::bad_alloc();
}
void* operator new[](std::size_t n) { return operator new(n); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return cria_test::allocate(n); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return cria_test::allocate(n); }
void operator delete(void* p) noexcept { cria_test::release(p); }
void operator delete[](void* p) noexcept { cria_test::release(p); }
void operator delete(void* p, std::size_t) noexcept { cria_test::release(p); }
void operator delete[](void* p, std::size_t) noexcept { cria_test::release(p); }

#if defined(__linux__)
namespace cria_test {
inline long long pages_of(std::size_t n) noexcept {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return static_cast<long long>((n + page - 1) / page);
}
}  // namespace cria_test

// In front of the C library's: whoever asks for pages asks here.
extern "C" void* mmap(void* at, std::size_t n, int protection, int flags, int descriptor, off_t offset) noexcept {
  if (cria_test::is_to_fail()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* p = reinterpret_cast<void*>(::syscall(SYS_mmap, at, n, protection, flags, descriptor, offset));
  if (p != MAP_FAILED) cria_test::alive += cria_test::pages_of(n);
  return p;
}
extern "C" int munmap(void* at, std::size_t n) noexcept {
  const auto done = static_cast<int>(::syscall(SYS_munmap, at, n));
  if (done == 0) cria_test::alive -= cria_test::pages_of(n);
  return done;
}
#endif

#endif
