// SPDX-License-Identifier: MIT
// core/executor.hpp - where parallel work runs: the concept executor, serial_executor, executor_ref, parallel_for.
//
// A host that has threads of its own models the concept with them. cria's own executor is core/thread_pool.hpp.
// Requires  run(n, task) calls task(0) ... task(n - 1), each exactly once, in any order or concurrently, and returns when all of them have returned. What the
//           tasks wrote is then visible to the caller. A task must not wait for another task. If the caller may be one of the executor's own threads, run()
//           must not wait for a task that no thread has started, or all threads may end up waiting for each other (examples/recipes shows how).
// Errors    none of its own; what a task throws leaves run() where exceptions are on
// Lifetime  executor_ref refers to the executor, which must outlive it
#pragma once

#include <cria/core/config.hpp>
#include <cria/core/function_ref.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>

namespace cria::inline v0_1_0 {

/// The work of a run, called with the number of a task.
using task_ref = function_ref<void(std::size_t)>;

template <class E>
concept executor = requires(E& e, const E& ce, std::size_t n, task_ref task) {
  { ce.concurrency() } noexcept -> std::same_as<std::size_t>;  // tasks that may run at once, >= 1
  { e.run(n, task) };
};

/// Runs every task on the calling thread, in order.
class serial_executor {
 public:
  [[nodiscard]] std::size_t concurrency() const noexcept { return 1; }
  void run(std::size_t n, task_ref task) {
    for (std::size_t i = 0; i < n; ++i) task(i);
  }
};
static_assert(executor<serial_executor>);

/// Refers to any executor; copies refer to the same one. The executor's concurrency is read once, on construction, and scratch memory is sized by it.
class executor_ref {
 public:
  template <class E>
    requires(!std::is_same_v<std::remove_cv_t<E>, executor_ref> && executor<E>)
  executor_ref(E& e) noexcept
      : object_(std::addressof(e)),
        concurrency_(std::max<std::size_t>(1, e.concurrency())),
        run_([](void* object, std::size_t n, task_ref task) { static_cast<E*>(object)->run(n, task); }) {}

  [[nodiscard]] std::size_t concurrency() const noexcept { return concurrency_; }
  void run(std::size_t n, task_ref task) const { run_(object_, n, task); }

 private:
  void* object_;
  std::size_t concurrency_;
  void (*run_)(void*, std::size_t, task_ref);
};
static_assert(executor<executor_ref>);

namespace detail {

/// How parallel_for divides its items into pieces of `grain`: each worker has `n_fixed` adjacent pieces of its own, the rest goes to whoever is free.
struct work_split {
  std::size_t n_workers;
  std::size_t n_fixed;
  std::size_t n_pieces;
};

[[nodiscard]] constexpr work_split split_work(std::size_t n_items, std::size_t grain, std::size_t concurrency) noexcept {
  const std::size_t n_pieces = n_items / grain + (n_items % grain != 0);
  const std::size_t n_workers = std::max<std::size_t>(1, std::min(concurrency, n_pieces));
  return {n_workers, (n_pieces - n_pieces / 4) / n_workers, n_pieces};
}

}  // namespace detail

/// Calls fn(worker, begin, end) for ranges that cover [0, n_items), each item once. About three quarters of the items are in ranges that depend on the
/// sizes alone; the rest goes out in pieces of `grain` items to whichever worker is free. worker < concurrency(), and no two concurrent calls have the
/// same worker, so it can index scratch memory. begin is a multiple of `grain`. What fn computes for an item must not depend on the split. Requires grain > 0.
template <class F>
  requires std::invocable<F&, std::size_t, std::size_t, std::size_t>
void parallel_for(executor_ref where, std::size_t n_items, std::size_t grain, F&& fn) {
  CRIA_ASSERT(grain > 0);
  if (n_items == 0) return;
  const detail::work_split split = detail::split_work(n_items, grain, where.concurrency());
  if (split.n_workers == 1) {
    fn(std::size_t{0}, std::size_t{0}, n_items);
    return;
  }
  const auto end_of = [&](std::size_t piece) { return piece >= split.n_pieces ? n_items : piece * grain; };
  std::atomic<std::size_t> next_piece{split.n_workers * split.n_fixed};
  where.run(split.n_workers, [&](std::size_t worker) {
    if (split.n_fixed > 0) fn(worker, worker * split.n_fixed * grain, end_of((worker + 1) * split.n_fixed));
    for (;;) {
      const std::size_t piece = next_piece.fetch_add(1, std::memory_order_relaxed);
      if (piece >= split.n_pieces) return;
      fn(worker, piece * grain, end_of(piece + 1));
    }
  });
}

}  // namespace cria::inline v0_1_0
