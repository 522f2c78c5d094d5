// SPDX-License-Identifier: MIT
// tests/support/timing.hpp - how much slower than a plain optimised build this one may be: sanitizers and -O0 cost a factor.
#pragma once

#include <tests/support/sanitized.hpp>

#include <ctime>

namespace cria_test {

#if CRIA_TEST_SANITIZED || !(defined(__OPTIMIZE__) || (defined(_MSC_VER) && defined(NDEBUG)))
inline constexpr double slowness = 30;
#else
inline constexpr double slowness = 1;
#endif

/// Returns the processor time that `f` takes: other processes do not count. Requires that no other thread of this one works.
template <class F>
double seconds_of(F&& f) {
  const std::clock_t start = std::clock();
  f();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace cria_test
