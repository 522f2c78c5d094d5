// SPDX-License-Identifier: MIT
// Every allocation of opening and writing a file fails once, and from each one on: errc::out_of_memory or success, no leak, no other end.
#include <tests/support/failing_allocations.hpp>

#include <cria/gguf/file.hpp>
#include <cria/gguf/writer.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#if CRIA_HAS_EXCEPTIONS

using namespace cria_test;

namespace {

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

TEST_CASE("out_of_memory: beginning a file with any allocation failing leaves no file") {
  const auto folder = std::filesystem::temp_directory_path() / "cria-out_of_memory-begun";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = folder / "a-name-that-is-longer-than-what-texts-hold-inside.gguf";
  fail_each([&] { return code_of(cria::replace_file(path)); }, [&] { CHECK(std::filesystem::is_empty(folder)); });
  std::filesystem::remove_all(folder);
}

TEST_CASE("out_of_memory: writing with any allocation failing is a typed error, leaks nothing, and the writer can go on") {
  const std::string text = model();
  const auto in = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
  REQUIRE(in);
  const auto path = std::filesystem::temp_directory_path() / "cria-out_of_memory-written.gguf";
  fail_each([&]() -> int {
    cria::gguf::writer w;
    // each step is tried again once after a failure, which must have changed nothing
    auto copied = w.copy(in->metadata());
    const int first = code_of(copied);
    if (!copied && !fail_after) copied = w.copy(in->metadata());
    if (!copied) return code_of(copied);
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
