// SPDX-License-Identifier: MIT
#include <cria/core/executor.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using cria::executor;
using cria::executor_ref;
using cria::function_ref;
using cria::task_ref;

namespace {

/// Claims any concurrency and runs the tasks one after another, in the order that `order` gives.
struct scripted_executor {
  std::size_t n = 1;
  bool is_reversed = false;
  int runs = 0;
  std::size_t concurrency() const noexcept { return n; }
  void run(std::size_t n_tasks, task_ref task) {
    ++runs;
    for (std::size_t i = 0; i < n_tasks; ++i) task(is_reversed ? n_tasks - 1 - i : i);
  }
};

struct no_run {
  std::size_t concurrency() const noexcept { return 1; }
};
struct throwing_concurrency {
  std::size_t concurrency() const { return 1; }
  void run(std::size_t, task_ref) {}
};
struct signed_concurrency {
  int concurrency() const noexcept { return 1; }
  void run(std::size_t, task_ref) {}
};
static_assert(executor<scripted_executor>);
static_assert(executor<cria::serial_executor> && executor<executor_ref>);
static_assert(!executor<no_run> && !executor<throwing_concurrency> && !executor<signed_concurrency> && !executor<int>);
static_assert(!std::is_constructible_v<executor_ref, cria::serial_executor>, "a temporary would dangle");
static_assert(!std::is_constructible_v<executor_ref, no_run&>);

static_assert(sizeof(task_ref) == 2 * sizeof(void*) && std::is_trivially_copyable_v<task_ref>);
static_assert(!std::is_constructible_v<task_ref, void (&)(std::string)> && !std::is_constructible_v<function_ref<int()>, void (&)()>);

int doubled(int x) { return 2 * x; }

struct call {
  std::size_t worker, begin, end;
};

/// Returns the calls that parallel_for makes, in order.
std::vector<call> calls_of(scripted_executor& where, std::size_t n_items, std::size_t grain) {
  std::vector<call> calls;
  cria::parallel_for(where, n_items, grain, [&](std::size_t worker, std::size_t begin, std::size_t end) { calls.push_back({worker, begin, end}); });
  return calls;
}

}  // namespace

TEST_CASE("function_ref: calls what it refers to, of every kind, and copies nothing") {
  int count = 0;
  auto counter = [&count, own = 0]() mutable { return count = ++own; };
  function_ref<int()> first(counter);
  function_ref<int()> second = first;
  CHECK(first() == 1);
  CHECK(second() == 2);
  CHECK(counter() == 3);

  CHECK(function_ref<int(int)>(doubled)(21) == 42);
  CHECK(function_ref<int(int)>(&doubled)(21) == 42);
  CHECK(function_ref<long(short)>(doubled)(21) == 42);
  function_ref<void(int)> ignoring = doubled;
  ignoring(1);

  const auto constant = [](std::string& s, std::string&& t) { return s + std::move(t); };
  std::string s = "a";
  CHECK(function_ref<std::string(std::string&, std::string&&)>(constant)(s, "b") == "ab");
  struct point {
    int x;
  } p{7};
  const auto member = &point::x;
  CHECK(function_ref<int(const point&)>(member)(p) == 7);
}

TEST_CASE("serial_executor: calls each task once, in order, on one thread") {
  cria::serial_executor serial;
  CHECK(serial.concurrency() == 1);
  std::vector<std::size_t> seen;
  serial.run(5, [&](std::size_t i) { seen.push_back(i); });
  CHECK(seen == std::vector<std::size_t>{0, 1, 2, 3, 4});
  serial.run(0, [&](std::size_t i) { seen.push_back(i); });
  CHECK(seen.size() == 5);
}

TEST_CASE("executor_ref: a copy refers to the executor, not to the reference") {
  scripted_executor where{.n = 3};
  auto outer = std::make_unique<executor_ref>(where);
  executor_ref copy(*outer);
  const executor_ref of_const = std::as_const(copy);
  outer.reset();
  copy.run(2, [](std::size_t) {});
  of_const.run(2, [](std::size_t) {});
  CHECK(where.runs == 2);
  where.n = 5;   // scratch memory was made for three workers
  CHECK(copy.concurrency() == 3);
  CHECK(executor_ref(where).concurrency() == 5);
  where.n = 0;
  CHECK(executor_ref(where).concurrency() == 1);
}

TEST_CASE("parallel_for: covers every item once in ranges that start at multiples of the grain, by workers below the concurrency") {
  for (const bool is_reversed : {false, true}) {
    for (std::size_t n = 1; n <= 9; ++n) {
      scripted_executor where{.n = n, .is_reversed = is_reversed};
      for (std::size_t n_items = 0; n_items <= 70; ++n_items) {
        for (const std::size_t grain : std::initializer_list<std::size_t>{1, 2, 3, 7, 16, 100}) {
          std::vector<int> times(n_items, 0);
          bool is_well_formed = true;
          for (const call& c : calls_of(where, n_items, grain)) {
            is_well_formed = is_well_formed && c.worker < n && c.begin < c.end && c.end <= n_items && c.begin % grain == 0;
            is_well_formed = is_well_formed && (c.end % grain == 0 || c.end == n_items);
            for (std::size_t i = c.begin; i < std::min(c.end, n_items); ++i) ++times[i];
          }
          if (!is_well_formed || std::count(times.begin(), times.end(), 1) != static_cast<std::ptrdiff_t>(n_items)) {
            FAIL("n_items ", n_items, " grain ", grain, " concurrency ", n);
          }
        }
      }
    }
  }
}

TEST_CASE("parallel_for: gives each worker one contiguous range of about three quarters of its share, whatever the order of the tasks") {
  for (const bool is_reversed : {false, true}) {
    scripted_executor where{.n = 4, .is_reversed = is_reversed};
    const std::vector<call> calls = calls_of(where, 1600, 16);   // 100 pieces: 75 fixed, 18 for each of 4 workers
    std::vector<std::size_t> fixed_begin(4, ~std::size_t{0});
    for (const call& c : calls) {
      if (c.end - c.begin > 16) fixed_begin[c.worker] = c.begin;
      if (c.end - c.begin > 16) CHECK(c.end - c.begin == 18 * 16);
    }
    CHECK(fixed_begin == std::vector<std::size_t>{0, 288, 576, 864});
    CHECK(calls.size() == 4 + 28);
    // The tail goes to whoever asks first: here to the task that runs first.
    CHECK(std::all_of(calls.begin() + 1, calls.begin() + 29, [&](const call& c) { return c.worker == (is_reversed ? 3u : 0u); }));
  }
}

TEST_CASE("parallel_for: neither wraps for huge counts nor starts tasks for one piece") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  scripted_executor where{.n = 3};
  std::vector<call> calls = calls_of(where, 10, most);
  REQUIRE(calls.size() == 1);
  CHECK((calls[0].worker == 0 && calls[0].begin == 0 && calls[0].end == 10));
  CHECK(where.runs == 0);
  for (const std::size_t grain : {most / 2, most / 3, most / 5, most / 64}) {
    calls = calls_of(where, most, grain);
    std::sort(calls.begin(), calls.end(), [](const call& a, const call& b) { return a.begin < b.begin; });
    CHECK(calls.front().begin == 0);
    CHECK(calls.back().end == most);
    for (std::size_t i = 1; i < calls.size(); ++i) CHECK(calls[i].begin == calls[i - 1].end);
  }
}
