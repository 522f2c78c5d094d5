// SPDX-License-Identifier: MIT
// tests/sampling/allocation_counter.hpp - replaces operator new by one that counts; for the one unit of a test program.
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace cria_test {

inline std::size_t allocations = 0;

}  // namespace cria_test

// Not inlined: GCC 12 takes the inlined malloc and free for mismatched.
CRIA_NOINLINE void* operator new(std::size_t size) {
  ++cria_test::allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  std::abort();
}
CRIA_NOINLINE void operator delete(void* p) noexcept { std::free(p); }
CRIA_NOINLINE void operator delete(void* p, std::size_t) noexcept { std::free(p); }
