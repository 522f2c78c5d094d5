// SPDX-License-Identifier: MIT
#include <cria/core/thread_pool.hpp>

#include <doctest/doctest.h>

#include <tests/support/sanitized.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <filesystem>
#include <fstream>
#endif

using cria::task_ref;
using cria::thread_pool;

#if !CRIA_TEST_SANITIZED   // which bring operators of their own
// Counts what the whole program allocates.
namespace {
std::atomic<std::size_t> n_allocations{0};
}
CRIA_NOINLINE void* operator new(std::size_t n) {
  n_allocations.fetch_add(1, std::memory_order_relaxed);
  void* const p = std::malloc(n != 0 ? n : 1);
  if (p == nullptr) {
#if CRIA_HAS_EXCEPTIONS
    throw std::bad_alloc();
#else
    std::abort();
#endif
  }
  return p;
}
CRIA_NOINLINE void operator delete(void* p) noexcept { std::free(p); }
CRIA_NOINLINE void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

namespace {

using sizes = std::initializer_list<std::size_t>;

static_assert(!std::is_copy_constructible_v<thread_pool> && !std::is_move_constructible_v<thread_pool>);
static_assert(std::is_nothrow_constructible_v<thread_pool, std::size_t>);

/// Keeps a processor busy for n dependent steps.
CRIA_NOINLINE std::uint64_t work(std::size_t n, std::uint64_t seed = 1) {
  for (std::size_t i = 0; i < n; ++i) seed = seed * 6364136223846793005u + 1442695040888963407u;
  volatile std::uint64_t sink = seed;   // or the compiler leaves the loop out where nobody asks for the number
  return sink;
}

/// Counts how often each of n tasks was called.
std::vector<int> calls_of(thread_pool& pool, std::size_t n) {
  std::vector<std::atomic<int>> calls(n);
  pool.run(n, [&](std::size_t i) { calls[i].fetch_add(1); });
  return {calls.begin(), calls.end()};
}

bool calls_each_once(thread_pool& pool, std::size_t n) { return calls_of(pool, n) == std::vector<int>(n, 1); }

#ifndef _WIN32
/// Runs `body` in a child process, for `seconds` at most; returns its exit status, 1000 + the signal that ended it, or -1.
template <class Body>
int status_of_child(Body&& body, unsigned seconds = 20) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(seconds);
    ::_exit(body());
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}
#endif

}  // namespace

TEST_CASE("thread_pool: calls each task once, for any number of threads and tasks") {
  for (const std::size_t n_threads : sizes{1, 2, 3, 4, 8, 64}) {
    thread_pool pool(n_threads);
    INFO(n_threads);
    CHECK(pool.concurrency() == n_threads);
    for (std::size_t n = 0; n <= 40; ++n) CHECK(calls_each_once(pool, n));
    CHECK(calls_each_once(pool, 1000));
  }
}

TEST_CASE("thread_pool: without a number, has a thread for each core that the process may use") {
  thread_pool pool;
  CHECK(pool.concurrency() == cria::default_thread_count());
  thread_pool huge(~std::size_t{0});
  CHECK(huge.concurrency() <= thread_pool::max_threads);
  CHECK(calls_each_once(huge, 2 * thread_pool::max_threads));
}

TEST_CASE("thread_pool: task i belongs to worker i % threads; only the caller stands in while no more threads are there than can run") {
  const std::size_t n_threads = cria::detail::runnable_thread_count();
  thread_pool pool(n_threads);
  std::vector<std::set<std::thread::id>> seen(n_threads);
  const std::thread::id caller = std::this_thread::get_id();
  for (int run = 0; run < 300; ++run) {
    std::vector<std::thread::id> who(3 * n_threads + 1);
    pool.run(who.size(), [&](std::size_t i) {
      who[i] = std::this_thread::get_id();
      work(2000);
    });
    for (std::size_t i = 0; i < who.size(); ++i) {
      CHECK(who[i] == who[i % n_threads]);
      if (who[i] != caller) seen[i % n_threads].insert(who[i]);
    }
    CHECK(who[0] == caller);
  }
  std::set<std::thread::id> all;
  for (const auto& threads : seen) {
    CHECK(threads.size() <= 1);
    for (const auto& thread : threads) CHECK(all.insert(thread).second);
  }
  CHECK(seen[0].empty());
}

TEST_CASE("thread_pool: one task runs on the caller") {
  thread_pool pool(4);
  for (int run = 0; run < 100; ++run) {
    pool.run(1, [caller = std::this_thread::get_id()](std::size_t) { CHECK(std::this_thread::get_id() == caller); });
  }
}

TEST_CASE("thread_pool: a worker works while the caller is in its own task") {
  // Allowed here alone: task 0 is the caller's and task 1 a worker's, unless the pool has found threads not worth waiting for.
  for (int run = 0; run < 20; ++run) {
    thread_pool pool(2);
    std::atomic<bool> has_begun{false};
    bool is_met = false;
    pool.run(2, [&](std::size_t i) {
      if (i == 1) {
        has_begun = true;
        return;
      }
      const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (!has_begun && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
      is_met = has_begun;
    });
    CHECK(is_met);
  }
}

TEST_CASE("thread_pool: what tasks write is there after the run, and what the caller wrote before it is there for them") {
  for (const std::size_t n_threads : sizes{2, 4, 8}) {
    thread_pool pool(n_threads);
    constexpr std::size_t n = 37;
    std::vector<std::uint64_t> here(n, 1);
    std::vector<std::uint64_t> there(n);
    std::vector<std::uint64_t> expected(n, 1);
    for (int phase = 0; phase < 3000; ++phase) {
      const auto step = [](const std::vector<std::uint64_t>& in, std::size_t i) { return in[i] * 3 + in[(i + 1) % n] + in[(i + 7) % n]; };
      pool.run(n, [&](std::size_t i) { there[i] = step(here, i); });
      here.swap(there);
      std::vector<std::uint64_t> next(n);
      for (std::size_t i = 0; i < n; ++i) next[i] = step(expected, i);
      expected.swap(next);
    }
    CHECK(here == expected);
  }
}

TEST_CASE("thread_pool: parallel_for covers every item once, and no two calls at once have the same worker") {
  for (const std::size_t n_threads : sizes{1, 2, 5, 16}) {
    thread_pool pool(n_threads);
    for (const std::size_t n_items : sizes{1, 16, 17, 1000, 4099}) {
      std::vector<std::atomic<int>> times(n_items);
      std::vector<std::atomic<int>> inside(n_threads);
      std::atomic<bool> is_shared{false};
      cria::parallel_for(pool, n_items, 16, [&](std::size_t worker, std::size_t begin, std::size_t end) {
        if (inside.at(worker).fetch_add(1) != 0) is_shared = true;
        for (std::size_t i = begin; i < end; ++i) times.at(i).fetch_add(1);
        work(500);
        inside[worker].fetch_sub(1);
      });
      CHECK(std::all_of(times.begin(), times.end(), [](const auto& t) { return t == 1; }));
      CHECK(!is_shared);
    }
  }
}

TEST_CASE("thread_pool: parks when idle, and comes back") {
  thread_pool pool(4);
  CHECK(calls_each_once(pool, 16));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double taken = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
#ifdef _WIN32
  static_cast<void>(taken);   // clock() also counts the time of sleeping there
#else
  CHECK(taken < 0.02);   // three threads that spun would take a processor's 200 ms at least; a tenth of it is left for the clock's own steps
#endif
  for (int run = 0; run < 20; ++run) {
    CHECK(calls_each_once(pool, 16));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

#if !CRIA_TEST_SANITIZED
TEST_CASE("thread_pool: allocates nothing after construction") {
  thread_pool pool(4);
  std::array<std::uint64_t, 64> out{};
  const auto task = [&](std::size_t i) { out[i] = work(100, i); };
  pool.run(out.size(), task);
  const std::size_t before = n_allocations;
  for (int run = 0; run < 500; ++run) {
    pool.run(out.size(), task);
    cria::parallel_for(pool, out.size(), 4, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) out[i] = i;
    });
  }
  CHECK(n_allocations == before);
}
#endif

TEST_CASE("thread_pool: runs of several threads at once are served one after another") {
  thread_pool pool(3);
  std::atomic<int> at_once{0};
  std::atomic<bool> overlaps{false};
  std::array<std::uint64_t, 4> sums{};
  std::vector<std::thread> hosts;
  for (std::size_t host = 0; host < sums.size(); ++host) {
    hosts.emplace_back([&, host] {
      for (std::uint64_t run = 0; run < 500; ++run) {
        std::array<std::uint64_t, 12> part{};
        pool.run(part.size(), [&](std::size_t i) {
          if (i == 0 && at_once.fetch_add(1) != 0) overlaps = true;
          part[i] = run * i + host;
          if (i == 0) at_once.fetch_sub(1);
        });
        sums[host] += std::accumulate(part.begin(), part.end(), std::uint64_t{0});
      }
    });
  }
  for (auto& host : hosts) host.join();
  for (std::size_t host = 0; host < sums.size(); ++host) CHECK(sums[host] == 66u * (499 * 500 / 2) + 500 * 12 * host);
  CHECK(!overlaps);
}

TEST_CASE("thread_pool: a task may use its own pool, on the caller and on a worker, and pools may nest") {
  thread_pool pool(4);
  thread_pool other(2);
  for (int run = 0; run < 50; ++run) {
    std::array<std::atomic<int>, 8 * 8> calls{};
    pool.run(8, [&](std::size_t i) {
      pool.run(8, [&](std::size_t j) { calls[8 * i + j].fetch_add(1); });
      other.run(2, [&](std::size_t) { work(10); });
    });
    CHECK(std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c == 1; }));
  }
}

TEST_CASE("thread_pool: can be destroyed at once, at rest and a hundred times, and leaves no thread") {
#if defined(__linux__)
  const auto n_threads_now = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  const auto before = n_threads_now();
#endif
  for (int i = 0; i < 100; ++i) {
    thread_pool pool(static_cast<std::size_t>(1 + i % 6));
    if (i % 3 == 0) CHECK(calls_each_once(pool, 10));
    if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
#if defined(__linux__)
  // A joined thread's entry disappears a moment after the join.
  for (int wait = 0; wait < 100 && n_threads_now() > before; ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(n_threads_now() <= before);
#endif
}

#if CRIA_HAS_EXCEPTIONS
TEST_CASE("thread_pool: what a task throws reaches the caller, from any worker, and the pool works on") {
  for (const std::size_t n_threads : sizes{1, 2, 4}) {
    thread_pool pool(n_threads);
    for (std::size_t thrower = 0; thrower < 8; ++thrower) {
      std::string caught;
      try {
        pool.run(8, [&](std::size_t i) {
          if (i == thrower) throw std::runtime_error("task " + std::to_string(i));
        });
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
      CHECK(caught == "task " + std::to_string(thrower));
      CHECK(calls_each_once(pool, 20));
    }
    int n_caught = 0;
    for (int run = 0; run < 50; ++run) {
      try {
        pool.run(8, [](std::size_t i) { throw i; });
      } catch (std::size_t) {
        ++n_caught;
      }
    }
    CHECK(n_caught == 50);
    CHECK(calls_each_once(pool, 20));
  }
}

TEST_CASE("thread_pool: a run that throws has stopped using what its caller owns") {
  thread_pool pool(4);
  for (int run = 0; run < 50; ++run) {
    auto owned = std::make_unique<std::array<std::uint64_t, 8>>();
    try {
      pool.run(8, [&](std::size_t i) {
        if (i == 0) throw 1;
        (*owned)[i] = work(20000, i);
      });
    } catch (int) {
    }
    owned.reset();   // a sanitizer sees a worker that is still writing
  }
  CHECK(calls_each_once(pool, 8));
}
#endif

#ifndef _WIN32
TEST_CASE("thread_pool: a child of fork() runs on its own thread and destroys its copy; the parent goes on") {
  auto pool = std::make_unique<thread_pool>(4);
  for (int i = 0; i < 20; ++i) {
    CHECK(calls_each_once(*pool, 16));
    if (i % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));   // parked workers, too
    const int status = status_of_child([&] {
      std::array<std::uint64_t, 16> out{};
      for (std::uint64_t run = 0; run < 100; ++run) pool->run(out.size(), [&](std::size_t k) { out[k] += run; });
      if (!std::all_of(out.begin(), out.end(), [](std::uint64_t x) { return x == 4950; })) return 3;
      pool.reset();
      return 0;
    });
    CHECK(status == 0);
  }
  CHECK(calls_each_once(*pool, 16));
}

TEST_CASE("thread_pool: a child forked while another thread was in a run does not wait for it") {
  thread_pool pool(3);
  std::atomic<bool> is_running{false};
  std::atomic<bool> may_end{false};
  std::thread host([&] {
    pool.run(3, [&](std::size_t) {
      is_running = true;
      while (!may_end) std::this_thread::yield();
    });
  });
  while (!is_running) std::this_thread::yield();
  const int status = status_of_child([&] {
    int n = 0;
    pool.run(5, [&](std::size_t) { ++n; });
    return n == 5 ? 0 : 3;
  });
  may_end = true;
  host.join();
  CHECK(status == 0);
  CHECK(calls_each_once(pool, 7));
}
#endif

#if defined(__linux__)
TEST_CASE("thread_pool: where threads cannot be started, has fewer") {
  if (CRIA_TEST_SANITIZED) {
    MESSAGE("skipped: a sanitizer needs the address space");
    return;
  }
  const int status = status_of_child([] {
    std::ifstream statm("/proc/self/statm");
    std::size_t pages = 0;
    statm >> pages;
    const std::size_t limit = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + (std::size_t{48} << 20);   // stacks for a few threads
    const rlimit bound{limit, limit};
    const rlimit stack{std::size_t{8} << 20, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_STACK, &stack) != 0 || ::setrlimit(RLIMIT_AS, &bound) != 0) return 10;
    thread_pool pool(500);
    if (pool.concurrency() < 1 || pool.concurrency() >= 500) return 11;
    return calls_each_once(pool, 600) ? 0 : 12;
  });
  CHECK(status == 0);
}

TEST_CASE("thread_pool: gives up waiting for threads that do not run, and takes them back") {
  using std::chrono::milliseconds;
  cria::detail::stall_meter meter;
  CHECK(!meter.is_serial());
  meter.add(milliseconds(15));   // a hiccup
  CHECK(!meter.is_serial());
  meter.add(milliseconds(15));   // 30 ms of nothing, at most 20 are for free: a pause of at least 5 x 10 ms less what time has given back
  CHECK(meter.is_serial());
  const auto began = std::chrono::steady_clock::now();
  while (meter.is_serial()) std::this_thread::sleep_for(milliseconds(1));
  const auto paused = std::chrono::steady_clock::now() - began;
  CHECK(paused >= milliseconds(20));
  CHECK(!meter.is_serial());
  cria::detail::stall_meter stopped;
  stopped.add(std::chrono::hours(1));   // as after SIGSTOP: no more than a second
  CHECK(stopped.is_serial());
  const auto pause_began = std::chrono::steady_clock::now();
  while (stopped.is_serial()) std::this_thread::sleep_for(milliseconds(10));
  CHECK(std::chrono::steady_clock::now() - pause_began <= milliseconds(1500));
}

TEST_CASE("thread_pool: any number of threads, beside a busy one on every processor, takes at most 1.5 times as long as one thread does") {
  // Both sides are timed on whatever else the machine does, hence the five attempts; a pool whose waiting threads only spin is off by 10 and more.
  std::atomic<bool> is_over{false};
  std::vector<std::thread> busy;
  for (std::size_t i = 0; i < cria::detail::runnable_thread_count(); ++i) {
    busy.emplace_back([&] {
      while (!is_over.load(std::memory_order_relaxed)) work(1000);
    });
  }
  const auto time_of = [](thread_pool& pool) {
    const std::size_t n = pool.concurrency();
    const auto began = std::chrono::steady_clock::now();
    for (int run = 0; run < 1500; ++run) pool.run(n, [n](std::size_t i) { work(40000 / n, i); });
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
  };
  constexpr double bound = CRIA_TEST_SANITIZED ? 30 : 1.5;
  thread_pool one(1);
  for (const std::size_t n_threads : {std::size_t{2}, 2 * cria::detail::runnable_thread_count(), std::size_t{64}}) {
    thread_pool many(n_threads);
    double best = 1e9;
    for (int attempt = 0; attempt < 5 && best > bound; ++attempt) best = std::min(best, time_of(many) / time_of(one));
    INFO(n_threads);
    CHECK(best <= bound);
  }
  is_over = true;
  for (auto& thread : busy) thread.join();
}
#endif
