// SPDX-License-Identifier: MIT
// Every allocation of opening and writing a file fails once, and from each one on: errc::out_of_memory or success, no leak, no other end.
#include <cria/gguf/file.hpp>
#include <cria/gguf/writer.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>
#include <vector>

#if CRIA_HAS_EXCEPTIONS

namespace {

long long fail_at = -1;      // the number of the allocation that fails; negative: none
bool fail_after = false;     // all later ones too
long long allocations = 0;
long long alive = 0;

void* allocate(std::size_t n) noexcept {
  const long long number = allocations++;
  if (fail_at >= 0 && (number == fail_at || (fail_after && number > fail_at))) return nullptr;
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

namespace {

/// Runs `f`, which returns an optional error code, with each of its allocations failing in turn.
template <class F>
void fail_each(F&& f) {
  for (const bool after : {false, true}) {
    long long refused = 0;
    for (long long n = 0;; ++n) {
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

std::string model() {
  cria_test::gguf_builder b;
  b.key("general.architecture", "llama").array("tokens", std::vector<std::string>(300, std::string(300, 'x'))).array("scores", std::vector<float>(50, 1));
  for (int i = 0; i < 40; ++i) b.tensor("tensor." + std::to_string(i), cria::tensor_type::f32, {8});
  return b.build();
}

}  // namespace

TEST_CASE("out_of_memory: opening a file with any allocation failing is a typed error and leaks nothing") {
  const std::string text = model();
  const auto source = cria::memory_source(std::as_bytes(std::span(text)));
  fail_each([&] { return code_of(cria::gguf::file::open(source)); });
  const auto path = std::filesystem::temp_directory_path() / "cria-out_of_memory.gguf";
  {
    const auto sink = *cria::replace_file(path);
    REQUIRE(sink->write(std::as_bytes(std::span(text))));
    REQUIRE(sink->commit());
  }
  fail_each([&] { return code_of(cria::gguf::file::open(path)); });
  std::filesystem::remove(path);
}

TEST_CASE("out_of_memory: writing with any allocation failing is a typed error, leaks nothing, and the writer can go on") {
  const std::string text = model();
  const auto in = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
  REQUIRE(in);
  const auto path = std::filesystem::temp_directory_path() / "cria-out_of_memory-written.gguf";
  fail_each([&]() -> int {
    cria::gguf::writer w;
    // each step is tried again once after a failure, which must have changed nothing
    auto step = w.copy(in->metadata());
    const int first = code_of(step);
    if (!step && !fail_after) step = w.copy(in->metadata());
    if (!step) return code_of(step);
    for (const auto& t : in->tensors()) {
      auto added = w.add_tensor(t.name, t.type, std::span(t.shape).first(t.rank));
      if (!added && !fail_after) added = w.add_tensor(t.name, t.type, std::span(t.shape).first(t.rank));
      if (!added) return code_of(added);
    }
    auto opened = w.open(path);
    if (!opened) return code_of(opened);
    const std::byte bytes[32]{};
    for (std::size_t i = 0; i < in->tensors().size(); ++i) {
      const auto written = w.write(bytes);
      if (!written) return code_of(written);
    }
    const auto done = w.commit();
    return done ? first : code_of(done);
  });
  std::filesystem::remove(path);
}

#endif
