// SPDX-License-Identifier: MIT
#include <cria/gguf/file.hpp>
#include <cria/gguf/split.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using cria::errc;
using cria::tensor_type;
using cria_test::gguf_builder;

namespace {

/// A folder that is removed again.
struct temporary_folder {
  std::filesystem::path path;
  explicit temporary_folder(const std::string& name) : path(std::filesystem::temp_directory_path() / ("cria-gguf_split-" + name)) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path / name, std::ios::binary) << text; }
};

/// Part `part` of a model in three, with the tensors t<2 part> and t<2 part + 1>, whose bytes say where they are from.
gguf_builder part(std::uint16_t part, std::uint16_t count = 3, std::int32_t n_tensors = 6) {
  gguf_builder b;
  if (part == 0) b.key("general.architecture", "llama").key("general.name", "split model");
  b.key("split.no", part).key("split.count", count).key("split.tensors.count", n_tensors);
  for (int i = 2 * part; i < 2 * part + 2; ++i) b.tensor("t" + std::to_string(i), tensor_type::f32, {2}, "bytes " + std::to_string(i));
  return b;
}

const char* names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};

temporary_folder three(const std::string& name) {
  temporary_folder folder(name);
  for (std::uint16_t i = 0; i < 3; ++i) folder.write(names[i], part(i).build());
  return folder;
}

cria::error error_of(const std::filesystem::path& path, const cria::gguf::limits& limits = {}) {
  auto file = cria::gguf::file::open(path, limits);
  REQUIRE_FALSE(file);
  return std::move(file).error();
}

}  // namespace

TEST_CASE("split: a model in three parts is opened by the first and reads every tensor from its part") {
  const auto folder = three("open");
  const auto file = cria::gguf::file::open(folder.path / names[0]);
  REQUIRE(file);
  CHECK(file->part_count() == 3);
  REQUIRE(file->tensors().size() == 6);
  CHECK(*file->metadata().get<std::string>("general.name") == "split model");
  std::uint64_t size = 0;
  for (const char* name : names) size += std::filesystem::file_size(folder.path / name);
  CHECK(file->file_size() == size);
  for (std::uint32_t i = 0; i < 6; ++i) {
    const auto* tensor = file->find_tensor("t" + std::to_string(i));
    REQUIRE(tensor != nullptr);
    CHECK(tensor->part == i / 2);
    std::string bytes(7, '?');
    REQUIRE(file->read(*tensor, 0, std::as_writable_bytes(std::span(bytes))));
    CHECK(bytes == "bytes " + std::to_string(i));
  }
  CHECK(file->find_tensor("t6") == nullptr);
}

TEST_CASE("split: a missing part is io with its name") {
  const auto folder = three("missing");
  std::filesystem::remove(folder.path / names[2]);
  const auto e = error_of(folder.path / names[0]);
  CHECK(e.code == errc::io);
  CHECK(e.where == (folder.path / names[2]).string());
}

TEST_CASE("split: opening another part than the first, or with the parts swapped, is a mismatch that names the file") {
  const auto folder = three("swapped");
  auto e = error_of(folder.path / names[1]);
  CHECK(e.code == errc::mismatch);
  CHECK(e.where == (folder.path / names[1]).string());
  CHECK(e.message == "is part 2 of 3 where part 1 of 3 is expected");
  std::filesystem::rename(folder.path / names[1], folder.path / "x");
  std::filesystem::rename(folder.path / names[2], folder.path / names[1]);
  std::filesystem::rename(folder.path / "x", folder.path / names[2]);
  e = error_of(folder.path / names[0]);
  CHECK(e.code == errc::mismatch);
  CHECK(e.where == (folder.path / names[1]).string());
  CHECK(e.message == "is part 3 of 3 where part 2 of 3 is expected");
}

TEST_CASE("split: a part of another model, of another count or of none is a mismatch that names the file") {
  const auto folder = three("foreign");
  const std::string foreign[] = {
      part(1, 3, 7).build(),                                                                         // of a model of seven tensors
      part(1, 4).build(),                                                                            // of four parts
      part(1).key("general.architecture", "gpt2").build(),
      part(1).key("general.name", "another").build(),
      gguf_builder().tensor("t2", tensor_type::f32, {2}).build(),                                    // not a part
      gguf_builder().key("split.no", std::uint16_t{1}).key("split.count", std::uint16_t{3}).tensor("t0", tensor_type::f32, {2}).build(),   // t0 again
  };
  for (const std::string& bytes : foreign) {
    folder.write(names[1], bytes);
    const auto e = error_of(folder.path / names[0]);
    CHECK(e.code == errc::mismatch);
    CHECK(e.where == (folder.path / names[1]).string());
  }
  folder.write(names[1], gguf_builder().key("split.no", std::uint16_t{1}).key("split.count", std::uint16_t{3}).tensor("t2", tensor_type::f32, {2}).build());
  const auto e = error_of(folder.path / names[0]);   // a tensor is missing
  CHECK(e.code == errc::mismatch);
  CHECK(e.where == "split.tensors.count");
  CHECK(e.message == "6 tensors declared, 5 in the parts");
}

TEST_CASE("split: a damaged part is the error of its damage, with the name of the part") {
  const auto folder = three("damaged");
  const std::string whole = part(1).build();
  const std::pair<std::string, errc> trials[] = {
      {whole.substr(0, whole.size() / 2), errc::truncated}, {"", errc::truncated}, {std::string(200, 'x'), errc::bad_magic}};
  for (const auto& [bytes, code] : trials) {
    folder.write(names[1], bytes);
    const auto e = error_of(folder.path / names[0]);
    CHECK(e.code == code);
    CHECK(e.where.find((folder.path / names[1]).string() + ": ") == 0);
  }
}

TEST_CASE("split: a first part under another name is a mismatch that says what the name must end in") {
  const temporary_folder folder("renamed");
  for (const char* name : {"model.gguf", "m-00001-of-00002.gguf", "m-00001-of-00003.gguf.bak", "00001-of-00003.gguf"}) {
    folder.write(name, part(0).build());
    const auto e = error_of(folder.path / name);
    CHECK(e.code == errc::mismatch);
    CHECK(e.message.find("-00001-of-00003.gguf") != std::string::npos);
  }
}

TEST_CASE("split: a count of 0 or 1 is a whole file, as merged ones carry") {
  for (const std::uint16_t count : {std::uint16_t{0}, std::uint16_t{1}}) {
    const std::string text = gguf_builder().key("split.no", std::uint16_t{0}).key("split.count", count).tensor("t", tensor_type::f32, {2}).build();
    CHECK(cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text)))));
  }
}

TEST_CASE("split: split keys of a wrong type or range are typed errors") {
  const auto code = [](const gguf_builder& b) {
    const std::string text = b.build();
    const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
    return file ? "ok" : std::string(name(file.error().code));
  };
  CHECK(code(gguf_builder().key("split.count", "3")) == "wrong_type");
  CHECK(code(gguf_builder().key("split.count", -3)) == "bad_value");
  CHECK(code(gguf_builder().key("split.count", 100'000u).key("split.no", 0u)) == "bad_value");
  CHECK(code(gguf_builder().key("split.count", 3u)) == "missing_key");
  CHECK(code(gguf_builder().key("split.count", 3u).key("split.no", 3u)) == "bad_value");
  CHECK(code(gguf_builder().key("split.count", 3u).key("split.no", 0u)) == "mismatch");   // one source, three parts
}

TEST_CASE("split: parts given as sources need no names") {
  std::vector<std::string> texts;
  for (std::uint16_t i = 0; i < 3; ++i) texts.push_back(part(i).build());
  std::vector<std::shared_ptr<const cria::byte_source>> sources;
  for (const std::string& text : texts) sources.push_back(cria::memory_source(std::as_bytes(std::span(text))));
  CHECK(cria::gguf::file::open(sources)->tensors().size() == 6);
  sources.pop_back();
  CHECK(cria::gguf::file::open(sources).error().code == errc::mismatch);
}

TEST_CASE("split: the limit of tensors is for all parts together") {
  const auto folder = three("limit");
  cria::gguf::limits limits;
  limits.tensors = 6;
  CHECK(cria::gguf::file::open(folder.path / names[0], limits));
  limits.tensors = 5;
  CHECK(error_of(folder.path / names[0], limits).code == errc::limit_exceeded);
}
