// SPDX-License-Identifier: MIT
// Every allocation of opening, loading and running a model fails once, and from each one on: errc::out_of_memory or success, no leak, no other end.
// Memory comes from operator new and, for weights and caches, from mmap; both fail here, counted together.
#include <cria/model/model.hpp>

#include <doctest/doctest.h>

#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#endif

#if CRIA_HAS_EXCEPTIONS

namespace {

std::atomic<long long> fail_at{-1};         // the number of the allocation that fails; negative: none
std::atomic<bool> fail_after{false};        // all later ones too
std::atomic<long long> allocations{0};
std::atomic<long long> alive{0};

bool is_to_fail() noexcept {
  const long long number = allocations++, at = fail_at;
  return at >= 0 && (number == at || (fail_after && number > at));
}

void* allocate(std::size_t n) noexcept {
  if (is_to_fail()) return nullptr;
  void* p = std::malloc(n == 0 ? 1 : n);
  alive += p != nullptr;
  return p;
}

void release(void* p) noexcept {
  alive -= p != nullptr;
  std::free(p);
}

}  // namespace

void* operator new(std::size_t n) {
  if (void* p = allocate(n)) return p;
  throw std::bad_alloc();
}
void* operator new[](std::size_t n) { return operator new(n); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return allocate(n); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return allocate(n); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }

#if defined(__linux__)
// In front of the C library's: whoever asks for pages asks here.
extern "C" void* mmap(void* at, std::size_t n, int protection, int flags, int descriptor, off_t offset) noexcept {
  if (is_to_fail()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* p = reinterpret_cast<void*>(::syscall(SYS_mmap, at, n, protection, flags, descriptor, offset));
  alive += p != MAP_FAILED;
  return p;
}
extern "C" int munmap(void* at, std::size_t n) noexcept {
  const auto done = static_cast<int>(::syscall(SYS_munmap, at, n));
  alive -= done == 0;
  return done;
}
#endif

namespace {

using namespace cria_test;
using cache_type = cria::contiguous_kv_cache<cria::kv_type::f16>;

#if defined(__SANITIZE_ADDRESS__)
constexpr long long step = 5;
#else
constexpr long long step = 1;
#endif

/// Runs `f`, which returns an optional error code (-1: none), with each of its allocations failing in turn.
template <class F>
void fail_each(F&& f, long long by = step) {
  for (const bool after : {false, true}) {
    std::size_t refused = 0;
    for (long long n = 0;; n += by) {
      fail_after = after;
      allocations = 0;
      const long long before = alive;
      fail_at = n;
      const int code = f();
      fail_at = -1;
      const bool reached = allocations > n;
      if (alive != before || (code != -1 && code != static_cast<int>(cria::errc::out_of_memory))) {
        CAPTURE(n);
        CHECK(alive == before);
        CHECK(code == static_cast<int>(cria::errc::out_of_memory));
      }
      refused += code != -1;
      if (!reached) {
        CHECK(code == -1);
        break;
      }
    }
    CHECK(refused > 5);
  }
}

template <class T>
int code_of(const cria::result<T>& r) {
  return r ? -1 : static_cast<int>(r.error().code);
}

/// Opens, loads and runs three tokens in two passes; the second sequence must be refused for want of room.
int whole_life(const std::shared_ptr<const cria::byte_source>& source, std::size_t n_threads, std::span<float> logits) {
  const auto file = cria::gguf::file::open(source);
  if (!file) return code_of(file);
  cria::load_options options;
  options.n_threads = n_threads;
  const auto m = cria::model::load(*file, options);
  if (!m) return code_of(m);
  auto cache = cache_type::create(m->cache_shape(), 4);
  if (!cache) return code_of(cache);
  auto a = cria::nn::activations::create(m->activation_shape(3), m->precision(), 1, 1);
  if (!a) return code_of(a);
  cria::serial_executor serial;
  const cria::token_id tokens[] = {1, 2, 3};
  const auto run = [&](std::span<const cria::token_id> part) {
    cria::nn::sequence_slice<cache_type> slice{&*cache, part, 1};
    return m->forward<cache_type>(serial, *a, {&slice, 1}, {logits.data(), logits_stride(*m), 1, m->vocab_size()});
  };
  for (const std::size_t n : {2u, 1u}) {
    const long long before = allocations;
    const auto done = run(std::span(tokens).first(n));
    if (!done) return code_of(done);
    if (allocations != before) return -2;   // a pass allocates nothing
  }
  const auto full = run(std::span(tokens).first(2));
  if (full || (full.error().code != cria::errc::context_full && full.error().code != cria::errc::out_of_memory)) return -3;
  const cria::token_id wrong = 1000;
  const auto out_of_range = run({&wrong, 1});
  if (out_of_range || (out_of_range.error().code != cria::errc::bad_argument && out_of_range.error().code != cria::errc::out_of_memory)) return -4;
  if (cache->length() != 3) return -5;
  return full.error().code == cria::errc::out_of_memory ? code_of(full) : out_of_range.error().code == cria::errc::out_of_memory ? code_of(out_of_range) : -1;
}

}  // namespace

TEST_CASE("out_of_memory: opening, loading and running with any allocation failing is a typed error and leaks nothing") {
  const std::string bytes = tiny_model({.n_layers = 1, .biases = true}).build();
  const auto source = cria::memory_source(std::as_bytes(std::span(bytes)));
  std::vector<float> logits(32);
  fail_each([&] { return whole_life(source, 1, logits); });
}

TEST_CASE("out_of_memory: loading on several threads with any allocation failing is a typed error and leaks nothing") {
  const std::string bytes = tiny_model({.n_layers = 1, .tied = true}).build();
  const auto source = cria::memory_source(std::as_bytes(std::span(bytes)));
  std::vector<float> logits(32);
  fail_each([&] { return whole_life(source, 3, logits); }, 7 * step);
}

TEST_CASE("out_of_memory: refusing a damaged file with any allocation failing is that error or out_of_memory") {
  auto parts = tiny_model({.n_layers = 1, .output_type = cria::tensor_type::q8_0});
  parts.at("output.weight").data.replace(0, 2, "\xff\xff");
  const std::string bytes = parts.build();
  const auto source = cria::memory_source(std::as_bytes(std::span(bytes)));
  const auto file = cria::gguf::file::open(source);
  REQUIRE(file.has_value());
  cria::load_options options;
  options.n_threads = 1;
  fail_each([&] {
    const auto m = cria::model::load(*file, options);
    return m ? -6 : m.error().code == cria::errc::non_finite ? -1 : code_of(m);
  });
}

#endif
