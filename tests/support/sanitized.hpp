// SPDX-License-Identifier: MIT
// tests/support/sanitized.hpp - CRIA_TEST_SANITIZED: 1 where a sanitizer slows the build down, multiplies memory or brings operators of its own, else 0.
#pragma once

#if defined(__has_feature)   // clang
#define CRIA_TEST_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)   // GCC
#define CRIA_TEST_SANITIZED 1
#else
#define CRIA_TEST_SANITIZED 0
#endif
