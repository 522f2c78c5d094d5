// SPDX-License-Identifier: MIT
// core/worker_thread.hpp - detail::worker_thread: a thread of the system that reports failure instead of throwing, and can be left alone after fork().
//
// std::thread throws when it cannot start, ends the process when it is destroyed unjoined, and may neither be joined nor detached in a child of
// fork(), where its thread does not exist.
// Errors    none (noexcept): start() returns false
#pragma once

#include <cria/core/config.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <process.h>
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#endif

namespace cria::inline v0_1_0::detail {

[[nodiscard]] inline std::int64_t process_id() noexcept {
#ifdef _WIN32
  return 0;   // no fork()
#else
  return ::getpid();
#endif
}

/// Runs body(argument) in a thread of its own. Between start() and join() the object stays where it is.
class worker_thread {
 public:
  using body = void (*)(void*) noexcept;

  /// Whether processor_time() tells anything.
#if defined(__linux__)
  static constexpr bool has_clock = true;
#else
  static constexpr bool has_clock = false;
#endif

  worker_thread() noexcept = default;
  worker_thread(const worker_thread&) = delete;
  worker_thread& operator=(const worker_thread&) = delete;

#ifdef _WIN32
  [[nodiscard]] bool start(body b, void* argument) noexcept {
    body_ = b;
    argument_ = argument;
    const auto entry = [](void* self) -> unsigned {
      static_cast<worker_thread*>(self)->body_(static_cast<worker_thread*>(self)->argument_);
      return 0;
    };
    handle_ = reinterpret_cast<HANDLE>(::_beginthreadex(nullptr, 0, entry, this, 0, &id_));
    return handle_ != nullptr;
  }
  void join() noexcept {
    ::WaitForSingleObject(handle_, INFINITE);
    ::CloseHandle(handle_);
  }
  [[nodiscard]] bool is_current() const noexcept { return ::GetCurrentThreadId() == id_; }
#else
  /// The thread takes no signals but those of its own faults and of profilers: a host's handlers run on the host's threads.
  [[nodiscard]] bool start(body b, void* argument) noexcept {
    body_ = b;
    argument_ = argument;
    const auto entry = [](void* self) -> void* {
      static_cast<worker_thread*>(self)->body_(static_cast<worker_thread*>(self)->argument_);
      return nullptr;
    };
    pthread_attr_t attributes;
    if (::pthread_attr_init(&attributes) != 0) return false;
    std::size_t stack_bytes = 0;
    if (::pthread_attr_getstacksize(&attributes, &stack_bytes) == 0 && stack_bytes < least_stack_bytes) {
      ::pthread_attr_setstacksize(&attributes, least_stack_bytes);
    }
    sigset_t blocked;
    sigset_t before;
    sigfillset(&blocked);   // macros on some systems, so without ::
    for (const int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) sigdelset(&blocked, s);
    ::pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const bool is_started = ::pthread_create(&handle_, &attributes, entry, this) == 0;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::pthread_attr_destroy(&attributes);
    return is_started;
  }
  void join() noexcept { ::pthread_join(handle_, nullptr); }
  [[nodiscard]] bool is_current() const noexcept { return ::pthread_equal(handle_, ::pthread_self()) != 0; }
#endif

  /// Returns the processor time that the thread has had, 0 where the system does not tell. Requires a thread that was started and not joined.
  [[nodiscard]] std::chrono::nanoseconds processor_time() const noexcept {
#if defined(__linux__)
    clockid_t clock;
    timespec time{};
    if (::pthread_getcpuclockid(handle_, &clock) == 0 && ::clock_gettime(clock, &time) == 0) {
      return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    }
#endif
    return {};
  }

 private:
  body body_ = nullptr;
  void* argument_ = nullptr;
#ifdef _WIN32
  HANDLE handle_ = nullptr;
  unsigned id_ = 0;
#else
  static constexpr std::size_t least_stack_bytes = std::size_t{1} << 20;   // musl's default is 128 KiB, macOS's 512 KiB
  pthread_t handle_{};
#endif
};

}  // namespace cria::inline v0_1_0::detail
