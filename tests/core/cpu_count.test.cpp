// SPDX-License-Identifier: MIT
#include <cria/core/cpu_count.hpp>

#include <doctest/doctest.h>

#include <cstddef>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace d = cria::detail;

namespace {

/// Returns the processors of a list, or {-1} where it is refused.
std::vector<int> cpus(std::string_view text) {
  const auto set = d::parse_cpu_list(text);
  if (!set) return {-1};
  std::vector<int> list;
  for (std::size_t i = 0; i < set->size(); ++i) {
    if (set->test(i)) list.push_back(static_cast<int>(i));
  }
  return list;
}

const std::vector<int> refused{-1};

/// Counts the cores of a machine on which processor i has the siblings text[i]; others have none.
std::size_t cores(std::string_view allowed, const std::map<std::size_t, std::string>& text) {
  return d::count_cores(*d::parse_cpu_list(allowed), [&](std::size_t cpu) -> std::optional<d::cpu_set> {
    const auto found = text.find(cpu);
    return found == text.end() ? std::nullopt : d::parse_cpu_list(found->second);
  });
}

}  // namespace

TEST_CASE("cpu_count: reads lists of processors as the kernel writes them") {
  CHECK(cpus("0") == std::vector<int>{0});
  CHECK(cpus("0\n") == std::vector<int>{0});
  CHECK(cpus("0-3\n") == std::vector<int>{0, 1, 2, 3});
  CHECK(cpus("0,64\n") == std::vector<int>{0, 64});
  CHECK(cpus("0-2,8,10-11\n") == std::vector<int>{0, 1, 2, 8, 10, 11});
  CHECK(cpus(" 5-5 ") == std::vector<int>{5});
  CHECK(cpus("8191") == std::vector<int>{8191});
}

TEST_CASE("cpu_count: refuses lists that the kernel does not write, and reads none past its end") {
  for (const char* text : {"", "\n", ",", "0,", ",0", "0,,1", "-", "-1", "0-", "3-1", "a", "0x1", "1-2-3", "0 1", "+1", "8192", "0-8192",
                           "0-18446744073709551615", "99999999999999999999", "1.5", "0-1:1/2"}) {
    INFO(text);
    CHECK(cpus(text) == refused);
  }
  CHECK(cpus(std::string_view("0\0001", 3)) == refused);
  CHECK(cpus(std::string_view("0-15", 3)) == std::vector<int>{0, 1});
  CHECK(cpus(std::string(100000, '9')) == refused);
}

TEST_CASE("cpu_count: reads cpu.max and rounds up to whole processors") {
  CHECK(d::parse_cpu_max("max 100000\n") == d::no_cpu_limit);
  CHECK(d::parse_cpu_max("100000 100000\n") == 1);
  CHECK(d::parse_cpu_max("150000 100000\n") == 2);
  CHECK(d::parse_cpu_max("400000 100000\n") == 4);
  CHECK(d::parse_cpu_max("1000 100000\n") == 1);
  CHECK(d::parse_cpu_max("0 100000\n") == 1);
  CHECK(d::parse_cpu_max("18446744073709551615 1\n") == d::no_cpu_limit);
  for (const char* text :
       {"", "max", "max max", "100000", "100000 0", "-1 100000", "1e5 100000", "100000 100000 1", "99999999999999999999 1", "100000\n100000", " "}) {
    INFO(text);
    CHECK(d::parse_cpu_max(text) == d::no_cpu_limit);
  }
}

TEST_CASE("cpu_count: reads the quota of version 1 control groups") {
  CHECK(d::parse_cfs_quota("-1\n", "100000\n") == d::no_cpu_limit);
  CHECK(d::parse_cfs_quota("250000\n", "100000\n") == 3);
  CHECK(d::parse_cfs_quota("200000\n", "100000\n") == 2);
  CHECK(d::parse_cfs_quota("200000\n", "0\n") == d::no_cpu_limit);
  CHECK(d::parse_cfs_quota("200000\n", "") == d::no_cpu_limit);
  CHECK(d::parse_cfs_quota("", "100000\n") == d::no_cpu_limit);
}

TEST_CASE("cpu_count: finds the group of the process") {
  const std::string_view hybrid =
      "12:cpuset:/kubepods/a\n3:cpuacct,cpu:/docker/x:y\n1:name=systemd:/init.scope\n0::/user.slice/user-1000.slice\n";
  CHECK(d::cgroup_path(hybrid, "cpu") == "/docker/x:y");
  CHECK(d::cgroup_path(hybrid, "cpuset") == "/kubepods/a");
  CHECK(d::cgroup_path(hybrid, "") == "/user.slice/user-1000.slice");
  CHECK(d::cgroup_path(hybrid, "memory").empty());
  CHECK(d::cgroup_path("0::/", "") == "/");
  CHECK(d::cgroup_path("0::/a", "cpu").empty());
  for (const char* text : {"", "\n\n", ":", "::", ":::", "0::", "0:", "0::relative", "x", "5::/a"}) {
    INFO(text);
    CHECK(d::cgroup_path(text, "").empty());
    CHECK(d::cgroup_path(text, "cpu").empty());
  }
}

TEST_CASE("cpu_count: counts the threads of a core once, whatever the mask leaves of it") {
  const std::map<std::size_t, std::string> interleaved{{0, "0-1\n"}, {1, "0-1\n"}, {2, "2-3\n"}, {3, "2-3\n"}};
  CHECK(cores("0-3", interleaved) == 2);
  CHECK(cores("0,2", interleaved) == 2);
  CHECK(cores("1,3", interleaved) == 2);
  CHECK(cores("0-1", interleaved) == 1);
  CHECK(cores("1", interleaved) == 1);
  const std::map<std::size_t, std::string> apart{{0, "0,4"}, {1, "1,5"}, {2, "2,6"}, {3, "3,7"}, {4, "0,4"}, {5, "1,5"}, {6, "2,6"}, {7, "3,7"}};
  CHECK(cores("0-7", apart) == 4);
  CHECK(cores("3-5", apart) == 3);
  CHECK(cores("0-3", {}) == 4);                                           // no topology: each counts
  CHECK(cores("0-3", {{0, "rubbish"}, {1, ""}, {2, "0-"}, {3, "3"}}) == 4);
  const std::map<std::size_t, std::string> hybrid{{0, "0-1"}, {1, "0-1"}, {2, "2"}, {3, "3"}};   // one core with two threads, two with one
  CHECK(cores("0-3", hybrid) == 3);
}

TEST_CASE("cpu_count: the default is at least 1 and no more than the system's threads") {
  const std::size_t n = cria::default_thread_count();
  CHECK(n >= 1);
  if (const unsigned all = std::thread::hardware_concurrency(); all != 0) CHECK(n <= all);
  CHECK(n <= d::runnable_thread_count());
}

#if defined(__linux__)
TEST_CASE("cpu_count: every group above the own one counts, and a path out of the hierarchy only its top") {
  const auto visited = [](std::string_view path) {
    std::vector<std::string> paths;
    const std::size_t least = d::least_of_groups("/base", path, [&](std::string_view base, std::string_view p) {
      CHECK(base == "/base");
      paths.emplace_back(p);
      return std::size_t{7} + p.size();
    });
    CHECK(least == 7);
    return paths;
  };
  CHECK(visited("/a/bc") == std::vector<std::string>{"/a/bc", "/a", ""});
  CHECK(visited("/") == std::vector<std::string>{""});
  CHECK(visited("") == std::vector<std::string>{""});
  CHECK(visited("/../../etc") == std::vector<std::string>{""});
  CHECK(visited("/a//b/") == std::vector<std::string>{"/a//b", "/a", ""});
}

TEST_CASE("cpu_count: paths that do not fit open nothing") {
  d::path_text_buffer path;
  path.append("/a").append(std::size_t{12});
  CHECK(std::string(path.c_str()) == "/a12");
  path.append(std::string(5000, 'x'));
  CHECK(std::string(path.c_str()).empty());
  path.append("/b");
  CHECK(std::string(path.c_str()).empty());
  d::small_file storage;
  CHECK(d::read_small_file("", storage).empty());
  CHECK(d::read_small_file("/no/such/file", storage).empty());
  CHECK(d::read_small_file("/", storage).empty());
  CHECK(d::read_small_file("/proc/self/cgroup", storage).size() <= storage.size());
  CHECK(d::read_small_file("/dev/zero", storage).size() == storage.size());   // a file without end is cut
}

TEST_CASE("cpu_count: a mask of one processor gives one thread") {
  std::size_t n = 0;
  std::thread([&n] {
    cpu_set_t own;
    if (::sched_getaffinity(0, sizeof(own), &own) != 0) return;
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &own)) continue;
      CPU_ZERO(&own);
      CPU_SET(cpu, &own);
      break;
    }
    if (::sched_setaffinity(0, sizeof(own), &own) == 0) n = cria::default_thread_count();
  }).join();
  CHECK(n == 1);
}
#endif
