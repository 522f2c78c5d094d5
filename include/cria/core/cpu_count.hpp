// SPDX-License-Identifier: MIT
// core/cpu_count.hpp - how many threads a process should use: default_thread_count.
//
// The texts that Linux gives (lists of processors, quotas of control groups) are read by pure functions; what is missing or odd limits nothing.
// Errors    none (noexcept): at least 1. No allocation on Linux and macOS.
// Source    Linux Documentation/admin-guide/cgroup-v2.rst (cpu.max), scheduler/sched-bwc.rst (cfs_quota_us),
//           ABI/stable/sysfs-devices-system-cpu (thread_siblings_list); cgroups(7) (/proc/self/cgroup)
#pragma once

#include <cria/core/config.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>

#include <new>
#endif

namespace cria::inline v0_1_0 {

namespace detail {

inline constexpr std::size_t max_cpus = 8192;   // what Linux can be configured for
inline constexpr std::size_t no_cpu_limit = std::numeric_limits<std::size_t>::max();
using cpu_set = std::bitset<max_cpus>;

/// Returns `text` without spaces and line ends around it.
[[nodiscard]] constexpr std::string_view trimmed(std::string_view text) noexcept {
  constexpr std::string_view blank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blank);
  return begin == std::string_view::npos ? std::string_view{} : text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

/// Returns what stands before the first `separator` and leaves what follows it in `text`.
[[nodiscard]] constexpr std::string_view next_field(std::string_view& text, char separator) noexcept {
  const std::size_t end = text.find(separator);
  const std::string_view field = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return field;
}

/// Returns the decimal number that is the whole of `text`.
[[nodiscard]] inline std::optional<std::uint64_t> parse_number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, value);
  return failure == std::errc{} && stop == end && !text.empty() ? std::optional(value) : std::nullopt;
}

/// Returns the processors of a list such as "0-3,8,10-11\n"; nothing if it is not one, names none, or one of max_cpus or above.
[[nodiscard]] inline std::optional<cpu_set> parse_cpu_list(std::string_view text) noexcept {
  cpu_set cpus;
  text = trimmed(text);
  if (text.empty() || text.back() == ',') return std::nullopt;
  while (!text.empty()) {
    std::string_view range = next_field(text, ',');
    const bool is_range = range.find('-') != std::string_view::npos;
    const auto first = parse_number(next_field(range, '-'));
    const auto last = is_range ? parse_number(range) : first;
    if (!first || !last || *first > *last || *last >= max_cpus) return std::nullopt;
    for (std::uint64_t cpu = *first; cpu <= *last; ++cpu) cpus.set(static_cast<std::size_t>(cpu));
  }
  return cpus;
}

/// Returns how many processors `quota` of each `period` keeps busy, rounded up, at least 1.
[[nodiscard]] constexpr std::size_t cpus_of_quota(std::uint64_t quota, std::uint64_t period) noexcept {
  if (period == 0) return no_cpu_limit;
  const std::uint64_t n = quota / period + (quota % period != 0);
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(n, 1, no_cpu_limit));
}

/// Returns the limit of a cgroup v2 cpu.max, "QUOTA PERIOD" or "max PERIOD".
[[nodiscard]] inline std::size_t parse_cpu_max(std::string_view text) noexcept {
  text = trimmed(text);
  const auto quota = parse_number(next_field(text, ' '));
  const auto period = parse_number(trimmed(text));
  return quota && period ? cpus_of_quota(*quota, *period) : no_cpu_limit;
}

/// Returns the limit of cgroup v1's cpu.cfs_quota_us ("-1": none) and cpu.cfs_period_us.
[[nodiscard]] inline std::size_t parse_cfs_quota(std::string_view quota_text, std::string_view period_text) noexcept {
  const auto quota = parse_number(trimmed(quota_text));
  const auto period = parse_number(trimmed(period_text));
  return quota && period ? cpus_of_quota(*quota, *period) : no_cpu_limit;
}

/// Returns the path of the process in the hierarchy of `controller` from the text of /proc/self/cgroup, lines "ID:CONTROLLER,...:PATH"; empty
/// without one. The controller of version 2 is "".
[[nodiscard]] constexpr std::string_view cgroup_path(std::string_view text, std::string_view controller) noexcept {
  while (!text.empty()) {
    std::string_view line = next_field(text, '\n');
    const std::string_view id = next_field(line, ':');
    std::string_view controllers = next_field(line, ':');
    if (!line.starts_with('/')) continue;
    if (controller.empty()) {
      if (id == "0" && controllers.empty()) return line;
      continue;
    }
    while (!controllers.empty()) {
      if (next_field(controllers, ',') == controller) return line;
    }
  }
  return {};
}

/// Counts the processors of `allowed` that share no core with a lower one of them. siblings_of(cpu) gives the optional set of a core's processors.
template <class SiblingsOf>
[[nodiscard]] std::size_t count_cores(const cpu_set& allowed, SiblingsOf&& siblings_of) noexcept {
  std::size_t n_cores = 0;
  cpu_set seen;
  for (std::size_t cpu = 0; cpu < max_cpus; ++cpu) {
    if (!allowed.test(cpu) || seen.test(cpu)) continue;
    ++n_cores;
    if (const std::optional<cpu_set> siblings = siblings_of(cpu)) seen |= *siblings;
  }
  return n_cores;
}

#if defined(__linux__)

/// A path put together from parts; empty for good once it would not fit.
class path_text_buffer {
 public:
  path_text_buffer& append(std::string_view part) noexcept {
    const std::size_t n = std::min(part.size(), text_.size() - 1 - size_);   // the last one stays 0
    std::copy_n(part.begin(), n, text_.begin() + static_cast<std::ptrdiff_t>(size_));
    size_ += n;
    is_full_ = is_full_ || n < part.size();
    return *this;
  }
  path_text_buffer& append(std::size_t number) noexcept {
    std::array<char, 20> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return append(std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())));
  }
  [[nodiscard]] const char* c_str() const noexcept { return is_full_ ? "" : text_.data(); }

 private:
  std::array<char, 4096> text_{};
  std::size_t size_ = 0;
  bool is_full_ = false;
};

using small_file = std::array<char, 8192>;

/// Returns the start of a small file of the system, in `storage`; empty if there is none.
[[nodiscard]] inline std::string_view read_small_file(const char* path, small_file& storage) noexcept {
  const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  std::size_t size = 0;
  while (size < storage.size()) {
    const ssize_t got = ::read(descriptor, storage.data() + size, storage.size() - size);
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  ::close(descriptor);
  return {storage.data(), size};
}

/// Returns the processors that the calling thread may run on; none if the system does not say.
[[nodiscard]] inline cpu_set affinity() noexcept {
  std::array<cpu_set_t, max_cpus / CPU_SETSIZE> mask{};
  cpu_set allowed;
  if (::sched_getaffinity(0, sizeof(mask), mask.data()) != 0) return allowed;
  for (std::size_t cpu = 0; cpu < max_cpus; ++cpu) {
    if (CPU_ISSET_S(cpu, sizeof(mask), mask.data())) allowed.set(cpu);
  }
  return allowed;
}

/// Calls limit(directory, path) for the group and each one above it, since every one of them binds, and returns the least.
template <class Limit>
[[nodiscard]] std::size_t least_of_groups(std::string_view directory, std::string_view path, Limit&& limit) noexcept {
  std::size_t least = no_cpu_limit;
  if (path.find("/..") != std::string_view::npos) path = "/";   // outside our view of the hierarchy: only its top is known
  for (;;) {
    while (path.ends_with('/')) path.remove_suffix(1);
    least = std::min(least, limit(directory, path));
    if (path.empty()) return least;
    path = path.substr(0, path.rfind('/'));
  }
}

/// Returns the limit that control groups set, of either version.
[[nodiscard]] inline std::size_t cgroup_cpu_limit() noexcept {
  small_file groups;
  small_file first;
  small_file second;
  const std::string_view text = read_small_file("/proc/self/cgroup", groups);
  std::size_t least = no_cpu_limit;
  for (const std::string_view directory : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    least = std::min(least, least_of_groups(directory, cgroup_path(text, ""), [&](std::string_view base, std::string_view path) {
                       return parse_cpu_max(read_small_file(path_text_buffer().append(base).append(path).append("/cpu.max").c_str(), first));
                     }));
  }
  for (const std::string_view directory : {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}) {
    least = std::min(least, least_of_groups(directory, cgroup_path(text, "cpu"), [&](std::string_view base, std::string_view path) {
                       const path_text_buffer group = path_text_buffer().append(base).append(path);
                       return parse_cfs_quota(read_small_file(path_text_buffer(group).append("/cpu.cfs_quota_us").c_str(), first),
                                              read_small_file(path_text_buffer(group).append("/cpu.cfs_period_us").c_str(), second));
                     }));
  }
  return least;
}

[[nodiscard]] inline std::size_t physical_cpus() noexcept {
  return count_cores(affinity(), [](std::size_t cpu) {
    small_file text;
    path_text_buffer path;
    path.append("/sys/devices/system/cpu/cpu").append(cpu).append("/topology/thread_siblings_list");
    return parse_cpu_list(read_small_file(path.c_str(), text));
  });
}
[[nodiscard]] inline std::size_t logical_cpus() noexcept { return affinity().count(); }

#elif defined(__APPLE__)

[[nodiscard]] inline std::size_t system_number(const char* name) noexcept {
  int value = 0;
  std::size_t size = sizeof(value);
  return ::sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value > 0 ? static_cast<std::size_t>(value) : 0;
}
[[nodiscard]] inline std::size_t cgroup_cpu_limit() noexcept { return no_cpu_limit; }
[[nodiscard]] inline std::size_t physical_cpus() noexcept {
  const std::size_t performance = system_number("hw.perflevel0.physicalcpu");
  return performance != 0 ? performance : system_number("hw.physicalcpu");
}
[[nodiscard]] inline std::size_t logical_cpus() noexcept { return 0; }

#elif defined(_WIN32)

[[nodiscard]] inline std::size_t cgroup_cpu_limit() noexcept { return no_cpu_limit; }

/// Counts the cores that the process may use; 0 if the system does not say. A process of several processor groups has all of their cores.
[[nodiscard]] inline std::size_t physical_cpus() noexcept {
  DWORD n_bytes = 0;
  ::GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &n_bytes);
  if (n_bytes == 0) return 0;
  auto* const storage = static_cast<std::byte*>(::operator new(n_bytes, std::nothrow));
  if (storage == nullptr) return 0;
  std::size_t n_cores = 0;
  auto* const first = reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(storage);
  if (::GetLogicalProcessorInformationEx(RelationProcessorCore, first, &n_bytes)) {
    DWORD_PTR process_mask = 0;
    DWORD_PTR system_mask = 0;
    const bool has_mask = ::GetProcessAffinityMask(::GetCurrentProcess(), &process_mask, &system_mask) && process_mask != 0;
    for (DWORD at = 0; at < n_bytes;) {
      const auto* const core = reinterpret_cast<const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(storage + at);
      if (!has_mask || process_mask == system_mask || (core->Processor.GroupMask[0].Mask & process_mask) != 0) ++n_cores;
      at += core->Size;
    }
  }
  ::operator delete(storage, std::nothrow);
  return n_cores;
}
[[nodiscard]] inline std::size_t logical_cpus() noexcept { return 0; }

#else

[[nodiscard]] inline std::size_t cgroup_cpu_limit() noexcept { return no_cpu_limit; }
[[nodiscard]] inline std::size_t physical_cpus() noexcept { return 0; }
[[nodiscard]] inline std::size_t logical_cpus() noexcept { return 0; }

#endif

[[nodiscard]] inline std::size_t or_hardware(std::size_t n) noexcept { return n != 0 ? n : std::max(1u, std::thread::hardware_concurrency()); }

/// Returns how many threads the process can run at once: with more of them, waiting must not cost time.
[[nodiscard]] inline std::size_t runnable_thread_count() noexcept { return std::min(or_hardware(logical_cpus()), cgroup_cpu_limit()); }

}  // namespace detail

/// Returns the physical cores that the process may use: those of its affinity mask, two threads of a core counted once, no more than its control
/// groups' quotas keep busy (rounded up). At least 1.
[[nodiscard]] std::size_t default_thread_count() noexcept;

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE std::size_t default_thread_count() noexcept {
  return std::min(detail::or_hardware(detail::physical_cpus()), detail::cgroup_cpu_limit());
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
