// SPDX-License-Identifier: MIT
// bench/dot_peak.hpp - the most multiply-adds of bytes that a core can do: dot steps of an instruction set on registers alone.
//
// The step is the one of kernels/int8_dot.<isa>.hpp; nothing is loaded, stored or converted, and there are enough independent sums to hide
// its latency. Each loop is compiled for its own set by an attribute, so that any program can hold all of them.
// Requires  that the processor runs the set whose loop is called
// Units     multiply-adds of two bytes
// Threads   re-entrant
#pragma once

#include <cria/core/config.hpp>
#include <cria/isa/isa.hpp>

#include <cstddef>
#include <cstdint>

#if defined(__GNUC__) && defined(__x86_64__)
#define CRIA_BENCH_X86 1
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__aarch64__)
#define CRIA_BENCH_ARM 1
#include <arm_neon.h>
#endif

namespace cria_bench {

/// Runs `rounds` rounds of steps and returns how many multiply-adds they were.
using dot_loop = double (*)(std::size_t rounds) noexcept;

namespace detail {

inline constexpr std::size_t n_sums = 12;

// clang-format off
// keep(x): the compiler must believe that x has changed, and must have it in a register.
#if defined(CRIA_BENCH_X86)
#define CRIA_BENCH_DOT_LOOP(function, target_flags, zero, keep, step, bytes)                                               \
  __attribute__((target(target_flags), noinline)) inline double function(std::size_t rounds) noexcept {                   \
    auto w = (zero), x = (zero);                                                                                          \
    decltype(w) sum[n_sums];                                                                                              \
    keep(w);                                                                                                              \
    keep(x);                                                                                                              \
    CRIA_UNROLL for (std::size_t n = 0; n < n_sums; ++n) sum[n] = (zero);                                                 \
    for (std::size_t r = 0; r < rounds; ++r) {                                                                            \
      CRIA_UNROLL for (std::size_t n = 0; n < n_sums; ++n) {                                                              \
        keep(w);                                                                                                          \
        sum[n] = step(sum[n], w, x);                                                                                      \
        keep(sum[n]);                                                                                                     \
      }                                                                                                                   \
    }                                                                                                                     \
    return static_cast<double>(rounds) * n_sums * (bytes);                                                                \
  }
#define CRIA_BENCH_KEEP(x) __asm__ volatile("" : "+v"(x))
#define CRIA_BENCH_MADDUBS_128(s, w, x) _mm_add_epi16(s, _mm_maddubs_epi16(w, x))
#define CRIA_BENCH_MADDUBS_256(s, w, x) _mm256_add_epi16(s, _mm256_maddubs_epi16(w, x))
#define CRIA_BENCH_MADDUBS_512(s, w, x) _mm512_add_epi16(s, _mm512_maddubs_epi16(w, x))
CRIA_BENCH_DOT_LOOP(dot_loop_sse4_2, "sse4.2", _mm_setzero_si128(), CRIA_BENCH_KEEP, CRIA_BENCH_MADDUBS_128, 16)
CRIA_BENCH_DOT_LOOP(dot_loop_avx2, "avx2,fma", _mm256_setzero_si256(), CRIA_BENCH_KEEP, CRIA_BENCH_MADDUBS_256, 32)
CRIA_BENCH_DOT_LOOP(dot_loop_avx_vnni, "avx2,fma,avxvnni", _mm256_setzero_si256(), CRIA_BENCH_KEEP, _mm256_dpbusd_avx_epi32, 32)
CRIA_BENCH_DOT_LOOP(dot_loop_avx512bw, "avx512f,avx512bw", _mm512_setzero_si512(), CRIA_BENCH_KEEP, CRIA_BENCH_MADDUBS_512, 64)
CRIA_BENCH_DOT_LOOP(dot_loop_avx512_vnni, "avx512f,avx512bw,avx512vnni", _mm512_setzero_si512(), CRIA_BENCH_KEEP, _mm512_dpbusd_epi32, 64)
#elif defined(CRIA_BENCH_ARM)
#define CRIA_BENCH_DOT_LOOP(function, attributes, step, bytes)                                                             \
  attributes __attribute__((noinline)) inline double function(std::size_t rounds) noexcept {                              \
    int8x16_t w = vdupq_n_s8(0), x = w;                                                                                   \
    int32x4_t sum[n_sums];                                                                                                \
    __asm__ volatile("" : "+w"(w), "+w"(x));                                                                              \
    CRIA_UNROLL for (std::size_t n = 0; n < n_sums; ++n) sum[n] = vdupq_n_s32(0);                                         \
    for (std::size_t r = 0; r < rounds; ++r) {                                                                            \
      CRIA_UNROLL for (std::size_t n = 0; n < n_sums; ++n) {                                                              \
        __asm__ volatile("" : "+w"(w));                                                                                   \
        sum[n] = step(sum[n], w, x);                                                                                      \
        __asm__ volatile("" : "+w"(sum[n]));                                                                              \
      }                                                                                                                   \
    }                                                                                                                     \
    return static_cast<double>(rounds) * n_sums * (bytes);                                                                \
  }
#if defined(__clang__)
#define CRIA_BENCH_DOTPROD __attribute__((target("dotprod")))
#else
#define CRIA_BENCH_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define CRIA_BENCH_WIDENING(s, w, x) vpadalq_s16(vpadalq_s16(s, vmull_s8(vget_low_s8(w), vget_low_s8(x))), vmull_high_s8(w, x))
CRIA_BENCH_DOT_LOOP(dot_loop_neon64, , CRIA_BENCH_WIDENING, 16)
CRIA_BENCH_DOT_LOOP(dot_loop_neon_dotprod, CRIA_BENCH_DOTPROD, vdotq_s32, 16)
#endif
// clang-format on

}  // namespace detail

/// Returns the loop of a set, nullptr where there is none (scalar, other compilers). Requires that the processor runs the set to call it.
[[nodiscard]] inline dot_loop find_dot_loop(cria::isa::id set) noexcept {
  switch (set) {
    case cria::isa::id::scalar: return nullptr;
#if defined(CRIA_BENCH_X86)
    case cria::isa::id::sse4_2: return detail::dot_loop_sse4_2;
    case cria::isa::id::avx2: return detail::dot_loop_avx2;
    case cria::isa::id::avx_vnni: return detail::dot_loop_avx_vnni;
    case cria::isa::id::avx512bw: return detail::dot_loop_avx512bw;
    case cria::isa::id::avx512_vnni: return detail::dot_loop_avx512_vnni;
    case cria::isa::id::neon64:
    case cria::isa::id::neon_dotprod:
    case cria::isa::id::neon_i8mm: return nullptr;
#elif defined(CRIA_BENCH_ARM)
    case cria::isa::id::neon64: return detail::dot_loop_neon64;
    case cria::isa::id::neon_dotprod:
    case cria::isa::id::neon_i8mm: return detail::dot_loop_neon_dotprod;  // this set's kernels use dot products too
    case cria::isa::id::sse4_2:
    case cria::isa::id::avx2:
    case cria::isa::id::avx_vnni:
    case cria::isa::id::avx512bw:
    case cria::isa::id::avx512_vnni: return nullptr;
#else
    default: return nullptr;
#endif
  }
  return nullptr;
}

}  // namespace cria_bench
