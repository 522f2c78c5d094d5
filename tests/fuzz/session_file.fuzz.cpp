// SPDX-License-Identifier: MIT
// tests/fuzz/session_file.fuzz.cpp - opens any bytes as a session file and, where that works, restores it and takes a step.
//
// The first byte chooses how far the input may lie: with 1 the checksums are put right first, with 2 also what says whose session it is, so that
// mutations reach what stands behind them.
#include <cria/generate/session_file.hpp>

#define DOCTEST_CONFIG_IMPLEMENT   // the small model's builder asserts with it
#include <doctest/doctest.h>

#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria;
using byte_vector = std::vector<std::byte>;
constexpr std::size_t header_bytes = detail::session_file_header::bytes;

/// What must be true, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

struct fixture {
  model m;
  cria::session s;
  byte_vector own;   // the session's own file

  static fixture& get() {
    static fixture f = make();
    return f;
  }

 private:
  static fixture make() {
    static doctest::Context context;
    context.setAsDefaultForAssertsOutOfTestCases();
    auto m = cria_test::load_bytes(cria_test::tiny_model().build());
    expect(m.has_value());
    auto s = cria::session::create(*m, {.context_size = 24, .n_threads = 1});
    expect(s.has_value());
    const token_id tokens[] = {1, 5, 9};
    expect(s->evaluate(tokens).has_value());
    byte_vector own;
    const auto sink = memory_sink(own);
    expect(save_session(*s, *sink, {.sampler = {7}, .sections = {{"a", {std::byte{1}}}}}).has_value());
    return {*std::move(m), *std::move(s), std::move(own)};
  }
};

void put(byte_vector& bytes, std::size_t at, std::uint64_t number) { std::memcpy(bytes.data() + at, store_le(number).data(), 8); }

void make_belong(byte_vector& bytes, const byte_vector& own) { std::copy_n(own.begin(), 72, bytes.begin()); }

void seal(byte_vector& bytes) {
  put(bytes, header_bytes - 8, checksum_of(std::span(bytes).first(header_bytes - 8)));
  put(bytes, bytes.size() - 8, checksum_of(std::span(bytes).first(bytes.size() - 8)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  fixture& f = fixture::get();
  const auto view = std::as_bytes(std::span(data + 1, size - 1));
  byte_vector bytes(view.begin(), view.end());
  if (bytes.size() >= header_bytes + 8 && data[0] != 0) {
    if (data[0] == 2) {
      make_belong(bytes, f.own);
      put(bytes, header_bytes - 16, bytes.size());
    }
    seal(bytes);
  }
  const std::vector<token_id> before(f.s.tokens().begin(), f.s.tokens().end());
  const auto file = session_file::open(*memory_source(bytes), f.s);
  if (!file) {
    const std::string text = file.error().to_string();
    expect(!file.error().where.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
    expect(std::ranges::equal(before, f.s.tokens()));
    return 0;
  }
  // What can be opened can be restored, is what it says, and comes out as it went in.
  expect(file->restore(f.s).has_value());
  expect(std::ranges::equal(file->tokens(), f.s.tokens()) && f.s.cache().length() == f.s.length());
  byte_vector again;
  const auto sink = memory_sink(again);
  expect(save_session(f.s, *sink, {.sampler = file->sampler(), .sections = {file->sections().begin(), file->sections().end()}}).has_value());
  expect(again == bytes);
  const token_id next = 3;
  const auto stepped = f.s.evaluate(std::span(&next, 1));   // numbers of a lying file may overflow: an error, never more
  expect(stepped.has_value() || stepped.error().code == errc::non_finite || stepped.error().code == errc::context_full);
  return 0;
}

#if defined(__GNUC__)
extern "C" __attribute__((weak)) std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  const byte_vector& own = fixture::get().own;
  if (size < header_bytes && max_size > own.size() && seed % 4 == 0) {   // begin with a file that is right
    data[0] = static_cast<std::uint8_t>(seed / 4 % 3);
    std::memcpy(data + 1, own.data(), own.size());
    return own.size() + 1;
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
#endif
