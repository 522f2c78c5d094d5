// SPDX-License-Identifier: MIT
// tests/support/stack_use.hpp - how much stack a piece of work takes: it runs on a thread whose stack is painted, and where the paint is gone it was.
//
//   if constexpr (cria_test::stack_frames_are_usual) CHECK(cria_test::stack_use_of([&] { work(); }) <= 128 << 10);
#pragma once

#include <doctest/doctest.h>

#include <tests/support/sanitized.hpp>

#include <algorithm>
#include <cstddef>
#include <type_traits>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/mman.h>
#endif

namespace cria_test {

/// Frames of builds without optimisation and with sanitizers are several times larger than others.
#if defined(__OPTIMIZE__) && !CRIA_TEST_SANITIZED && (defined(__unix__) || defined(__APPLE__))
inline constexpr bool stack_frames_are_usual = true;
#else
inline constexpr bool stack_frames_are_usual = false;
#endif

#if defined(__unix__) || defined(__APPLE__)
/// Runs `work` on a thread with these attributes, which end with it.
template <class Work>
void run_on_thread(pthread_attr_t& attributes, Work&& work) {
  pthread_t thread{};
  void* (*const entry)(void*) = [](void* what) -> void* {
    (*static_cast<std::remove_reference_t<Work>*>(what))();
    return nullptr;
  };
  REQUIRE(::pthread_create(&thread, &attributes, entry, &work) == 0);
  REQUIRE(::pthread_join(thread, nullptr) == 0);
  ::pthread_attr_destroy(&attributes);
}

/// Returns the bytes of stack that `work` touched, those of the thread that ran it included: a page or two.
template <class Work>
std::size_t stack_use_of(Work&& work) {
  constexpr std::size_t size = std::size_t{8} << 20;
  constexpr unsigned char paint = 0xa5;
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* const stack = static_cast<unsigned char*>(memory);
  std::fill_n(stack, size, paint);
  pthread_attr_t attributes;
  REQUIRE(::pthread_attr_init(&attributes) == 0);
  REQUIRE(::pthread_attr_setstack(&attributes, stack, size) == 0);
  run_on_thread(attributes, work);
  const auto used = static_cast<std::size_t>(stack + size - std::find_if(stack, stack + size, [](unsigned char byte) { return byte != paint; }));
  ::munmap(memory, size);
  return used;
}
#endif

}  // namespace cria_test
