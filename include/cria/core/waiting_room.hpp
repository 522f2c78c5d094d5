// SPDX-License-Identifier: MIT
// core/waiting_room.hpp - detail::waiting_room: where threads sleep until an atomic has changed.
//
// It is std::atomic::wait and notify_one, except with GCC's library on systems without futexes (Windows, macOS). There (GCC 12 to 14) a change between a
// waiter's last look and its sleep goes unnoticed, and a thread that waits for it never wakes.
// Requires  waiters and notifiers of an atomic use the same room; whoever changes the atomic calls notify_one() afterwards
// Errors    none (noexcept)
#pragma once

#include <atomic>

#if defined(__GLIBCXX__) && !defined(_GLIBCXX_HAVE_LINUX_FUTEX)
#include <condition_variable>
#include <mutex>
#endif

namespace cria::inline v0_1_0::detail {

class waiting_room {
 public:
#if defined(__GLIBCXX__) && !defined(_GLIBCXX_HAVE_LINUX_FUTEX)
  /// Returns once the value is no longer `old`.
  template <class T>
  void wait(const std::atomic<T>& value, T old, std::memory_order order) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return value.load(order) != old; });
  }
  /// Wakes at least one of the threads that wait for the value, which has changed.
  template <class T>
  void notify_one(std::atomic<T>&) noexcept {
    { const std::lock_guard lock(mutex_); }   // a waiter that saw the old value is asleep by now
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
#else
  template <class T>
  void wait(const std::atomic<T>& value, T old, std::memory_order order) noexcept {
    value.wait(old, order);
  }
  template <class T>
  void notify_one(std::atomic<T>& value) noexcept {
    value.notify_one();
  }
#endif
};

}  // namespace cria::inline v0_1_0::detail
