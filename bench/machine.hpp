// SPDX-License-Identifier: MIT
// bench/machine.hpp - what this machine can do at most, and what this process has used of it.
//
//   read bandwidth   one core reads a buffer far larger than the caches, in huge pages, from front to back
//   dot peak         one core does dot steps on registers (dot_peak.hpp)
//
// Units     bytes, multiply-adds, seconds of the processor
// Ensures   a figure is the best of its repetitions: on a machine that others use too, ask in the same minute as what is compared with it
#pragma once

#include "dot_peak.hpp"

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/result.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <string_view>

#if defined(_WIN32)
#include <windows.h>
// after windows.h
#include <psapi.h>
#else
#include <sys/resource.h>
#endif

namespace cria_bench {

[[nodiscard]] inline double seconds_now() noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Returns the seconds that the processor has spent on this process: what others take does not count, but threads add up.
[[nodiscard]] inline double processor_seconds() noexcept { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Reads n bytes, a multiple of 64, and returns something that depends on all of them. In vectors, whatever the compiler makes of loops: with registers of 8
/// bytes a Zen 4 core reads 22 GB/s instead of 31.
[[nodiscard]] inline std::uint64_t read_all(const std::byte* from, std::size_t n) noexcept {
#if defined(__GNUC__)
  using words = std::uint64_t __attribute__((vector_size(16)));
#else
  using words = std::uint64_t[2];
#endif
  words sum[4] = {};
  for (std::size_t i = 0; i < n; i += 64) {
    CRIA_UNROLL
    for (std::size_t k = 0; k < 4; ++k) {
      words read;
      std::memcpy(&read, from + i + 16 * k, 16);
#if defined(__GNUC__)
      sum[k] ^= read;
#else
      sum[k][0] ^= read[0];
      sum[k][1] ^= read[1];
#endif
    }
  }
  std::uint64_t all = 0;
  for (const words& s : sum) all ^= s[0] ^ s[1];
  return all;
}

namespace detail {

/// Calls measure(), which returns a rate, at least five times and for about `seconds`; returns the highest.
template <class F>
[[nodiscard]] double best_rate(double seconds, F&& measure) {
  double best = 0;
  const double end = seconds_now() + seconds;
  for (int n = 0; n < 5 || seconds_now() < end; ++n) best = std::max(best, measure());
  return best;
}

}  // namespace detail

/// Returns the bytes per second that one core reads from memory. Errors: out_of_memory.
[[nodiscard]] inline cria::result<double> measure_read_bandwidth() {
  constexpr std::size_t n_bytes = std::size_t{256} << 20;
  constexpr double seconds = 0.4;
  CRIA_TRY(auto buffer, cria::aligned_buffer::allocate(n_bytes));
  std::memset(buffer.data(), 1, n_bytes);
  volatile std::uint64_t sink = 0;
  return detail::best_rate(seconds, [&] {
    const double start = processor_seconds();
    sink = read_all(buffer.data(), n_bytes);
    return static_cast<double>(n_bytes) / (processor_seconds() - start);
  });
}

/// Returns the multiply-adds of bytes per second that one core does, 0 where nothing is known about the set. Requires that it runs here.
[[nodiscard]] inline double measure_dot_peak(cria::isa::id set) {
  constexpr double seconds = 0.2;
  const dot_loop loop = find_dot_loop(set);
  if (loop == nullptr) return 0;
  constexpr std::size_t rounds = 400'000;  // some milliseconds
  return detail::best_rate(seconds, [&] {
    const double start = processor_seconds();
    const double steps = loop(rounds);
    return steps / (processor_seconds() - start);
  });
}

/// The most memory that the process has held, in bytes; 0 where the system does not say.
[[nodiscard]] inline std::uint64_t peak_memory() {
#if defined(_WIN32)
  PROCESS_MEMORY_COUNTERS counters{};
  return ::GetProcessMemoryInfo(::GetCurrentProcess(), &counters, sizeof counters) ? counters.PeakWorkingSetSize : 0;
#else
#if defined(__linux__)
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("VmHWM:")) continue;
    const std::size_t digits = line.find_first_of("0123456789");
    std::uint64_t kib = 0;
    if (digits != std::string::npos) std::from_chars(line.data() + digits, line.data() + line.size(), kib);
    return kib * 1024;
  }
#endif
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return static_cast<std::uint64_t>(usage.ru_maxrss);
#else
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
#endif
#endif
}

/// Makes peak_memory() start again from what is held now, where the system can do that (Linux).
inline void forget_peak_memory() {
#if defined(__linux__)
  std::ofstream("/proc/self/clear_refs") << 5;
#endif
}

}  // namespace cria_bench
