// SPDX-License-Identifier: MIT
// core/thread_pool.hpp - thread_pool: cria's own executor.
//
// A run gives each worker its order through a flag of the worker's own; the calling thread is worker 0. A thread that has to wait spins for some tens of
// microseconds, then yields, then parks in the kernel. Nothing is allocated after construction.
// Ensures   Task i runs on worker i % n_threads in every run, as long as that worker is awake in time. If it is not (it is parked, other programs occupy the
//           processor, or it is missing after a fork), the caller runs its tasks instead; and where there are more threads than can run at once, whichever
//           thread is free does. So what is computed must not depend on which thread computes it.
//           On Linux, workers that the system keeps from running more than a fifth of the time are not used for a while, so that a run on a busy machine takes
//           little longer than on one thread. Only processor time shows this: tasks that wait for a device, for example while they read a file, look the same
//           and may run one after another for up to a second.
//           A task may call run() of its own pool; it then runs on the calling thread alone.
// Errors    The pool does without a thread that cannot be started. The first exception of a task leaves run() after every worker has stopped; the tasks that
//           were left for its worker are not called.
// Threads   run() may be called from many threads: one runs, the others wait. In a child process of fork() it runs on the calling thread alone.
// Lifetime  no run() may be under way, or begin, once the destructor is called
#pragma once

#include <cria/core/config.hpp>
#include <cria/core/cpu_count.hpp>
#include <cria/core/executor.hpp>
#include <cria/core/waiting_room.hpp>
#include <cria/core/worker_thread.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <utility>

namespace cria::inline v0_1_0 {

namespace detail {

/// Tells the processor that this thread only waits for memory to change.
CRIA_ALWAYS_INLINE void spin_pause() noexcept {
#if defined(_WIN32)
  YieldProcessor();
#elif CRIA_HAS_NEON64
  asm volatile("isb" ::: "memory");   // longer than yield, which most cores ignore
#elif defined(__has_builtin)
#if __has_builtin(__builtin_ia32_pause)
  __builtin_ia32_pause();
#endif
#endif
}

/// Decides whether workers are worth waiting for, from the time that the caller waited while none of them ran.
class stall_meter {
 public:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] bool is_serial() noexcept {
    if (!is_serial_) return false;
    is_serial_ = clock::now() < serial_until_;
    return is_serial_;
  }

  /// Accounts for a wait that has just ended, during which no worker ran for the time `lost`. A fifth of all time may be lost, and `slack` besides.
  void add(clock::duration lost) noexcept {
    const auto now = clock::now();
    credit_ = std::min<clock::duration>(slack, credit_ + (now - last_) / 5) - lost;
    last_ = now;
    if (credit_ >= clock::duration::zero()) return;
    is_serial_ = true;
    serial_until_ = now + std::min<clock::duration>(longest_pause, -credit_ * 5);
    credit_ = clock::duration::zero();
    last_ = serial_until_;
  }

 private:
  static constexpr std::chrono::milliseconds slack{20};          // some scheduler slices: a rare hiccup must not cost parallelism
  static constexpr std::chrono::milliseconds longest_pause{1000};
  clock::time_point last_ = clock::now();
  clock::time_point serial_until_{};
  clock::duration credit_ = slack;
  bool is_serial_ = false;
};

}  // namespace detail

/// Runs tasks on n_threads threads, one of which is the caller of run().
class thread_pool {
 public:
  static constexpr std::size_t max_threads = 1024;

  /// Starts n_threads - 1 threads, or fewer if the system refuses. 0 means default_thread_count().
  explicit thread_pool(std::size_t n_threads = 0) noexcept;

  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

  ~thread_pool();

  [[nodiscard]] std::size_t concurrency() const noexcept { return n_threads_; }

  /// Calls task(0) ... task(n - 1), each once, and returns when all have returned.
  void run(std::size_t n, task_ref task);

 private:
  enum order_kind : std::uint32_t { order_none, order_run, order_stop };
  enum lock_state : std::uint32_t { lock_free, lock_held, lock_awaited };
  static constexpr std::uint32_t caller_parked = 1u << 31;   // bit of n_pending_
  static constexpr int caller_yields = 4;

  struct alignas(64) worker {
    std::atomic<std::uint32_t> order{order_none};
    std::atomic<bool> is_parked{false};
    detail::waiting_room bed;   // for order
    thread_pool* pool = nullptr;
    std::size_t index = 0;
    detail::worker_thread thread;
  };

  struct leave_at_end {
    thread_pool& pool;
    ~leave_at_end() { pool.leave(); }
  };

  // One run at a time.

  /// Takes the pool for the calling thread. Returns false if that thread must run its tasks itself: inside a task, or in a child process of fork().
  [[nodiscard]] bool enter() noexcept {
    if (is_orphaned_.load(std::memory_order_relaxed)) return false;
    std::uint32_t expected = lock_free;
    if (!lock_.compare_exchange_strong(expected, lock_held, std::memory_order_acquire)) {
      if (is_child_process() || is_inside()) return false;
      while (lock_.exchange(lock_awaited, std::memory_order_acquire) != lock_free) {
        entrance_.wait<std::uint32_t>(lock_, lock_awaited, std::memory_order_relaxed);
      }
    }
    caller_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    return true;
  }

  void leave() noexcept {
    caller_.store(std::thread::id{}, std::memory_order_relaxed);
    if (lock_.exchange(lock_free, std::memory_order_release) == lock_awaited) entrance_.notify_one(lock_);
  }

  [[nodiscard]] bool is_inside() const noexcept {
    if (caller_.load(std::memory_order_relaxed) == std::this_thread::get_id()) return true;
    return std::any_of(workers_.get(), workers_.get() + n_workers_, [](const worker& w) { return w.thread.is_current(); });
  }

  [[nodiscard]] bool is_child_process() const noexcept { return detail::process_id() != process_id_; }

  // The caller's side of a run.

  /// Orders the first n_called workers to run. A worker about to park marks itself, increments n_parked_, and then looks for an order once more. Here the
  /// order is written before n_parked_ is read. All changes of n_parked_ have one total order, so at least one of the two sides sees the other.
  void publish(std::size_t n_called) noexcept {
    n_pending_.store(static_cast<std::uint32_t>(n_called), std::memory_order_relaxed);
    for (std::size_t i = 0; i < n_called; ++i) workers_[i].order.store(order_run, std::memory_order_release);
    if (n_parked_.fetch_add(0, std::memory_order_acq_rel) == 0) return;
    for (std::size_t i = 0, n_left = n_woken_; i < n_called && n_left > 0; ++i) {
      if (!workers_[i].is_parked.load(std::memory_order_relaxed)) continue;
      workers_[i].bed.notify_one(workers_[i].order);
      --n_left;
    }
  }

  /// Waits for the called workers, and does the work of those that have not started by then.
  void await(std::size_t n_called) noexcept {
    if (is_done_within(grace_)) return;
    if (help(n_called) && is_child_process()) is_orphaned_.store(true, std::memory_order_relaxed);
    if (!is_done_within(spins_)) park_until_done(n_called);
  }

  [[nodiscard]] bool is_done_within(int n_spins) const noexcept {
    for (int i = 0; i < n_spins; ++i) {
      if (n_pending_.load(std::memory_order_acquire) == 0) return true;
      detail::spin_pause();
    }
    return n_pending_.load(std::memory_order_acquire) == 0;
  }

  void park_until_done(std::size_t n_called) noexcept {
    const auto began = detail::stall_meter::clock::now();
    const std::chrono::nanoseconds worked_before = work_time(n_called);
    for (int i = 0; i < caller_yields && n_pending_.load(std::memory_order_acquire) != 0; ++i) std::this_thread::yield();
    std::uint32_t pending = n_pending_.fetch_or(caller_parked, std::memory_order_acq_rel) | caller_parked;
    while (pending != caller_parked) {
      finish_.wait(n_pending_, pending, std::memory_order_acquire);
      pending = n_pending_.load(std::memory_order_acquire);
    }
    const auto waited = detail::stall_meter::clock::now() - began;
    const std::chrono::nanoseconds worked = work_time(n_called) - worked_before;
    if (detail::worker_thread::has_clock) meter_.add(std::max<detail::stall_meter::clock::duration>(waited - worked, {}));
  }

  /// Returns the processor time that the called workers have had.
  [[nodiscard]] std::chrono::nanoseconds work_time(std::size_t n_called) const noexcept {
    std::chrono::nanoseconds sum{0};
    for (std::size_t i = 0; i < n_called; ++i) sum += workers_[i].thread.processor_time();
    return sum;
  }

  // A worker's side.

  static void work(void* self) noexcept {
    worker& w = *static_cast<worker*>(self);
    thread_pool& pool = *w.pool;
    while (pool.next_order(w) == order_run) {
      pool.finish_share(w.index);
      if (pool.is_crowded_) pool.help(pool.n_workers_);
    }
  }

  /// Takes the order that is there for this worker, if any.
  static std::uint32_t take(worker& w) noexcept {
    if (w.order.load(std::memory_order_relaxed) == order_none) return order_none;
    return w.order.exchange(order_none, std::memory_order_acq_rel);
  }

  [[nodiscard]] std::uint32_t next_order(worker& w) noexcept {
    for (;;) {
      // Tried: fetching 16 to 256 KB of what the next product will read into the second-level cache instead of pausing. Decode became 1.00 to 1.01 times as
      // fast on two Zen 4 cores, which waited 5 % of the time.
      for (int i = 0; i < spins_; ++i) {
        if (const auto order = take(w); order != order_none) return order;
        detail::spin_pause();
      }
      for (int i = 0; i < yields_; ++i) {
        if (const auto order = take(w); order != order_none) return order;
        std::this_thread::yield();
      }
      w.is_parked.store(true, std::memory_order_relaxed);
      n_parked_.fetch_add(1, std::memory_order_acq_rel);
      w.bed.wait<std::uint32_t>(w.order, order_none, std::memory_order_relaxed);
      n_parked_.fetch_sub(1, std::memory_order_acq_rel);
      w.is_parked.store(false, std::memory_order_relaxed);
    }
  }

  // Either side.

  /// Does the work that the first n workers have not begun. Returns whether there was any.
  bool help(std::size_t n) noexcept {
    bool has_helped = false;
    for (std::size_t i = 0; i < n; ++i) {
      std::uint32_t expected = order_run;
      if (workers_[i].order.load(std::memory_order_relaxed) != order_run ||
          !workers_[i].order.compare_exchange_strong(expected, order_none, std::memory_order_acq_rel)) {
        continue;
      }
      finish_share(workers_[i].index);
      has_helped = true;
    }
    return has_helped;
  }

  void finish_share(std::size_t index) noexcept {
    run_share(index);
    if (n_pending_.fetch_sub(1, std::memory_order_acq_rel) == (caller_parked | 1)) finish_.notify_one(n_pending_);
  }

  void run_share(std::size_t index) noexcept {
#if CRIA_HAS_EXCEPTIONS
    try {
      for (std::size_t i = index; i < n_tasks_; i += n_threads_) (*task_)(i);
    } catch (...) {
      if (!has_thrown_.exchange(true, std::memory_order_relaxed)) thrown_ = std::current_exception();
    }
#else
    for (std::size_t i = index; i < n_tasks_; i += n_threads_) (*task_)(i);
#endif
  }

  std::unique_ptr<worker[]> workers_;
  std::size_t n_workers_ = 0;
  std::size_t n_threads_ = 1;
  bool is_crowded_ = false;                               // more threads than can run at once
  std::size_t n_woken_ = max_threads;                     // how many parked workers a run wakes; in a crowd, those do the work of all
  int yields_ = 4;
  int spins_ = 2000;                                      // 40 to 100 us: longer than the gaps between the phases of a token
  int grace_ = 50;                                        // 1 to 3 us: what a worker that is awake needs to take an order and do next to nothing
  const std::int64_t process_id_ = detail::process_id();
  detail::stall_meter meter_;
  const task_ref* task_ = nullptr;
  std::size_t n_tasks_ = 0;
  std::atomic<bool> is_orphaned_{false};                  // a child of fork() has found out that it has no workers
  std::atomic<std::uint32_t> lock_{lock_free};
  detail::waiting_room entrance_;                         // for lock_
  detail::waiting_room finish_;                           // for n_pending_
  std::atomic<std::thread::id> caller_{};                 // whose run it is
#if CRIA_HAS_EXCEPTIONS
  std::atomic<bool> has_thrown_{false};
  std::exception_ptr thrown_;
#endif
  alignas(64) std::atomic<std::uint32_t> n_pending_{0};   // workers that have not finished, and caller_parked
  alignas(64) std::atomic<std::uint32_t> n_parked_{0};
};
static_assert(executor<thread_pool>);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE thread_pool::thread_pool(std::size_t n_threads) noexcept {
  const std::size_t wanted = std::min(n_threads != 0 ? n_threads : default_thread_count(), max_threads);
  if (wanted > 1) workers_.reset(new (std::nothrow) worker[wanted - 1]);
  if (workers_ == nullptr) return;
  if (const std::size_t n_runnable = detail::runnable_thread_count(); wanted > n_runnable) {
    is_crowded_ = true;
    n_woken_ = std::max<std::size_t>(1, n_runnable - 1);
    grace_ = spins_ = 0;   // whoever spins keeps another one from running
    yields_ = 32;
  }
  while (n_workers_ < wanted - 1) {
    worker& w = workers_[n_workers_];
    w.pool = this;
    w.index = n_workers_ + 1;
    if (!w.thread.start(&thread_pool::work, &w)) break;
    ++n_workers_;
  }
  n_threads_ = n_workers_ + 1;
}

CRIA_INLINE thread_pool::~thread_pool() {
  if (is_child_process()) return;   // there is nobody to stop or to join
  for (std::size_t i = 0; i < n_workers_; ++i) {
    workers_[i].order.store(order_stop, std::memory_order_release);
    workers_[i].bed.notify_one(workers_[i].order);
  }
  for (std::size_t i = 0; i < n_workers_; ++i) workers_[i].thread.join();
}

CRIA_INLINE void thread_pool::run(std::size_t n, task_ref task) {
  if (n <= 1 || n_workers_ == 0 || !enter()) {
    for (std::size_t i = 0; i < n; ++i) task(i);
    return;
  }
  const leave_at_end leaver{*this};
  if (meter_.is_serial()) {
    for (std::size_t i = 0; i < n; ++i) task(i);
    return;
  }
  task_ = &task;
  n_tasks_ = n;
  const std::size_t n_called = std::min(n_workers_, n - 1);
  publish(n_called);
  run_share(0);
  await(n_called);
#if CRIA_HAS_EXCEPTIONS
  if (has_thrown_.load(std::memory_order_relaxed)) {
    has_thrown_.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(thrown_, nullptr));
  }
#endif
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
