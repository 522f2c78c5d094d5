// SPDX-License-Identifier: MIT
// core/config.hpp - the version, and every macro that cria defines or reads.
//
// A host may define these before the first include (identically in every translation unit of the program):
//   CRIA_ASSERT(condition)     what happens when a precondition is violated; default: assert() in debug builds, nothing otherwise
//   CRIA_SEPARATE_COMPILATION  the kernels and all functions that are not templates are compiled once, by the one unit that includes compile.hpp;
//                              the CMake target cria::dispatch defines it and contains that unit
// and this one in that unit alone:
//   CRIA_KERNEL_SETS(X)        X(set) for each instruction set whose kernels have a unit of their own; see compile.hpp
// Everything else here is internal and starts with CRIA_.
#pragma once

#include <cassert>

// Files and options hold NaN and infinity, and are refused for it; the same bits everywhere come from sums in a fixed order.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__ASSOCIATIVE_MATH__) || defined(_M_FP_FAST)
#error "cria needs the arithmetic of IEEE 754: compile what includes it with -fno-fast-math (MSVC: /fp:precise)"
#endif

#define CRIA_VERSION_MAJOR 0
#define CRIA_VERSION_MINOR 1
#define CRIA_VERSION_PATCH 0

#ifndef CRIA_ASSERT
#define CRIA_ASSERT(condition) assert(condition)
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define CRIA_ALWAYS_INLINE __forceinline
#define CRIA_LAMBDA_INLINE
#define CRIA_NOINLINE __declspec(noinline)
#define CRIA_RESTRICT __restrict
#else
#define CRIA_ALWAYS_INLINE inline __attribute__((always_inline))
#define CRIA_LAMBDA_INLINE __attribute__((always_inline))
#define CRIA_NOINLINE __attribute__((noinline))
#define CRIA_RESTRICT __restrict__
#endif

// CRIA_KERNEL marks a kernel, CRIA_PART and CRIA_PART_LAMBDA the functions and lambdas that are inlined into it. GCC inlines always_inline functions level by
// level and optimises the result at every level, which took 20 seconds for the kernels of one instruction set; `flatten` on the kernel takes 10, for code of
// the same size. Clang's `flatten` reaches the first level only, but its inliner has no trouble with always_inline.
#if defined(__GNUC__) && !defined(__clang__)
#define CRIA_KERNEL __attribute__((noinline, flatten))
#define CRIA_PART inline
#define CRIA_PART_LAMBDA
#else
#define CRIA_KERNEL CRIA_NOINLINE
#define CRIA_PART CRIA_ALWAYS_INLINE
#define CRIA_PART_LAMBDA CRIA_LAMBDA_INLINE
#endif

// CRIA_SMALL: size matters more than speed. cria_add_dispatch defines it for the scalar kernels if it compiles others as well.
#if defined(CRIA_SMALL)
#define CRIA_IS_SMALL 1
#else
#define CRIA_IS_SMALL 0
#endif

// Unrolls a loop over an array completely, so that the array stays in registers. The small scalar kernels keep their loops.
#if CRIA_IS_SMALL
#define CRIA_UNROLL
#elif defined(__clang__)
#define CRIA_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define CRIA_UNROLL _Pragma("GCC unroll 16")
#else
#define CRIA_UNROLL
#endif

// Makes the compiler forget what it knows about a pointer's target, so that it loads values again instead of keeping many of them in registers.
#if defined(__GNUC__)
#define CRIA_FORGET(pointer) __asm__("" : "+r"(pointer))
#else
#define CRIA_FORGET(pointer) static_cast<void>(pointer)
#endif
// Prefetches the cache line of an address, which need not be valid, into the second-level cache, or into the first.
#if defined(__GNUC__)
#define CRIA_PREFETCH(address) __builtin_prefetch(address, 0, 2)
#define CRIA_PREFETCH_NEAR(address) __builtin_prefetch(address, 0, 3)
#else
#define CRIA_PREFETCH(address) static_cast<void>(address)
#define CRIA_PREFETCH_NEAR(address) static_cast<void>(address)
#endif
// Keeps a chain of integer vector additions in its order. Compilers turn such chains into trees, which need more registers than x86 has.
#if defined(__GNUC__) && defined(__x86_64__)
#define CRIA_KEEP_ORDER(vector) __asm__("" : "+v"(vector))
#else
#define CRIA_KEEP_ORDER(vector) static_cast<void>(vector)
#endif

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define CRIA_HAS_EXCEPTIONS 1
#else
#define CRIA_HAS_EXCEPTIONS 0
#endif

// The instruction sets that this unit's compiler flags allow. This is the only place that asks the compiler.
#if defined(__AVX2__) && defined(__FMA__) && (defined(__F16C__) || defined(_MSC_VER))
#define CRIA_HAS_AVX2 1
#else
#define CRIA_HAS_AVX2 0
#endif
#if CRIA_HAS_AVX2 && defined(__AVXVNNI__)
#define CRIA_HAS_AVX_VNNI 1
#else
#define CRIA_HAS_AVX_VNNI 0
#endif
#if CRIA_HAS_AVX2 && defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define CRIA_HAS_AVX512BW 1
#else
#define CRIA_HAS_AVX512BW 0
#endif
#if CRIA_HAS_AVX512BW && defined(__AVX512VNNI__)
#define CRIA_HAS_AVX512_VNNI 1
#else
#define CRIA_HAS_AVX512_VNNI 0
#endif
#if defined(__SSE4_2__) || CRIA_HAS_AVX2
#define CRIA_HAS_SSE4_2 1
#else
#define CRIA_HAS_SSE4_2 0
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
#define CRIA_HAS_NEON64 1
#else
#define CRIA_HAS_NEON64 0
#endif
#if CRIA_HAS_NEON64 && defined(__ARM_FEATURE_DOTPROD)
#define CRIA_HAS_NEON_DOTPROD 1
#else
#define CRIA_HAS_NEON_DOTPROD 0
#endif
#if CRIA_HAS_NEON_DOTPROD && defined(__ARM_FEATURE_MATMUL_INT8)
#define CRIA_HAS_NEON_I8MM 1
#else
#define CRIA_HAS_NEON_I8MM 0
#endif

// Whether this unit contains the definitions of functions that are not templates. Either every unit does, or only the one that includes compile.hpp.
#if !defined(CRIA_SEPARATE_COMPILATION)
#define CRIA_HAS_DEFINITIONS 1
#define CRIA_INLINE inline
#elif defined(CRIA_COMPILE)
#define CRIA_HAS_DEFINITIONS 1
#define CRIA_INLINE
#else
#define CRIA_HAS_DEFINITIONS 0
#define CRIA_INLINE
#endif

#define CRIA_CONCAT_(a, b) a##b
#define CRIA_CONCAT(a, b) CRIA_CONCAT_(a, b)

/// cria; its contents live in the inline namespace of the version, so that two copies of the library can share a process.
namespace cria::inline v0_1_0 {}
