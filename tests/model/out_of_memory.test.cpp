// SPDX-License-Identifier: MIT
// Every allocation of opening, loading, running and quantising a model fails once, and from each one on: errc::out_of_memory or success, no leak, no other end.
// Memory comes from operator new and, for weights and caches, from mmap; both fail here, counted together.
#include <tests/support/failing_allocations.hpp>

#include <cria/model/model.hpp>
#include <cria/model/quantize.hpp>

#include <doctest/doctest.h>

#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#if CRIA_HAS_EXCEPTIONS

using namespace cria_test;

namespace {

using cache_type = cria::contiguous_kv_cache<cria::kv_type::f16>;

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

TEST_CASE("out_of_memory: quantising with any allocation failing is a typed error, leaks nothing and leaves the target as it was") {
  const std::string bytes = tiny_model({.n_layers = 1}).build();
  const auto path = std::filesystem::temp_directory_path() / "cria-out_of_memory-quantised.gguf", source = std::filesystem::path(path.string() + ".source");
  for (const auto& to : {path, source}) {
    const auto sink = *cria::replace_file(to);
    REQUIRE(sink->write(std::as_bytes(std::span(bytes).first(to == path ? 5 : bytes.size()))));
    REQUIRE(sink->commit());
  }
  cria::quantize_options options{.type = cria::file_type::q4_0};
  for (const std::size_t n_threads : {1u, 3u}) {
    options.n_threads = n_threads;
    fail_each([&]() -> int {
      const int code = code_of(cria::quantize_file(source, path, options));
      std::error_code ignored;
      if (code == no_error) std::filesystem::resize_file(path, 5, ignored);
      return std::filesystem::file_size(path, ignored) == 5 ? code : -2;
    }, n_threads == 1 ? step : 5 * step);
  }
  std::filesystem::remove(path);
  std::filesystem::remove(source);
  const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(bytes))));
  REQUIRE(file);
  std::vector<std::byte> out;
  const auto unless = [](const auto& r, cria::errc code) { return r ? -2 : r.error().code == code ? no_error : code_of(r); };
  const auto refused = [&](const cria::quantize_options& with, cria::errc code) {
    fail_each([&] {
      auto sink = cria::catch_bad_alloc([&]() -> cria::result<std::unique_ptr<cria::byte_sink>> { return cria::memory_sink(out); }, "sink");
      const int found = sink ? unless(cria::quantize(*file, *std::move(sink), with), code) : code_of(sink);
      std::vector<std::byte>().swap(out);
      return found;
    });
  };
  cria::quantize_options impatient = options;
  impatient.progress = [](const cria::quantize_progress& p) { return p.n_tensors_done < 3; };
  refused(impatient, cria::errc::cancelled);
}

#endif
