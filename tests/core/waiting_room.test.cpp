// SPDX-License-Identifier: MIT
// What cria brings for systems where std::atomic::wait may sleep for ever, compiled here whatever this one has.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#undef _GLIBCXX_HAVE_LINUX_FUTEX
#include <cria/core/waiting_room.hpp>

#include <doctest/doctest.h>

using cria::detail::waiting_room;

TEST_CASE("waiting_room: does not wait for what has changed already") {
  waiting_room room;
  std::atomic<unsigned> value{1};
  room.wait(value, 0u, std::memory_order_acquire);
  CHECK(value == 1);
}

TEST_CASE("waiting_room: no change is missed, however close it is to the sleep") {
  waiting_room ping, pong;
  std::atomic<unsigned> turn{0};
  constexpr unsigned n_turns = 20'000;
  std::thread other([&] {
    for (unsigned i = 1; i < n_turns; i += 2) {
      ping.wait(turn, i - 1, std::memory_order_acquire);
      turn.store(i + 1, std::memory_order_release);
      pong.notify_one(turn);
    }
  });
  for (unsigned i = 0; i < n_turns; i += 2) {
    turn.store(i + 1, std::memory_order_release);
    ping.notify_one(turn);
    pong.wait(turn, i + 1, std::memory_order_acquire);
  }
  other.join();
  CHECK(turn == n_turns);
}

TEST_CASE("waiting_room: a lock handed from thread to thread is held by one at a time, and by each in the end") {
  waiting_room room;
  std::atomic<unsigned> lock{0};   // 0 free, 2 held and perhaps awaited
  unsigned n_held = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        while (lock.exchange(2, std::memory_order_acquire) != 0) room.wait(lock, 2u, std::memory_order_relaxed);
        ++n_held;
        lock.store(0, std::memory_order_release);
        room.notify_one(lock);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(n_held == 8000);
}
