// SPDX-License-Identifier: MIT
// Broken files: each is a valid one with one thing wrong, and has to come back as the error of that thing, at its place.
#include <cria/gguf/file.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

using cria::errc;
using cria::tensor_type;
using cria_test::gguf_builder;
using cria_test::raw;
using cria_test::raw_string;
namespace id = cria_test::gguf_id;

namespace {

constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();

/// Opens bytes from a block of exactly their size, so that a sanitizer sees any read behind the end. The file copies what it keeps views of.
cria::result<cria::gguf::file> open(const std::string& text, const cria::gguf::limits& limits = {}) {
  const std::vector<char> block(text.begin(), text.end());
  return cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(block))), limits);
}

std::string code_of(const std::string& text, const cria::gguf::limits& limits = {}) {
  const auto file = open(text, limits);
  return file ? "ok" : std::string(name(file.error().code));
}

cria::error error_of(const std::string& text, const cria::gguf::limits& limits = {}) {
  auto file = open(text, limits);
  REQUIRE_FALSE(file);
  CHECK(std::all_of(file.error().where.begin(), file.error().where.end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
  CHECK_FALSE(file.error().message.empty());
  return std::move(file).error();
}

/// A small valid model; where its parts stand is in the drawing of header.hpp.
gguf_builder model(gguf_builder b = {}) {
  b.key("general.architecture", "llama").key("a.count", 7u).array("a.names", std::vector<std::string>{"x", "", "yz"});
  b.array("a.scores", std::vector<float>{1.5f, -2}).key("a.flag", true);
  b.tensor("one", tensor_type::f32, {8, 2}).tensor("two", tensor_type::q4_0, {64, 1, 3});
  return b;
}

}  // namespace

TEST_CASE("header: the model that the other tests break is valid") { CHECK(code_of(model().build()) == "ok"); }

TEST_CASE("header: another magic is bad_magic at byte 0, and a shorter file than a magic is truncated") {
  for (const char* magic : {"ggml", "FUGG", "GGUf", "vers"}) {
    const cria::error e = error_of(model().magic(magic).build());
    CHECK(e.code == errc::bad_magic);
    CHECK(e.offset == 0);
  }
  CHECK(error_of(std::string(64, '\0')).code == errc::bad_magic);
  for (const char* text : {"", "G", "GGU"}) CHECK(error_of(text).code == errc::truncated);
}

TEST_CASE("header: versions 2 and 3 are read, 0, 1, 4 and byte-swapped ones are unsupported_version at byte 4") {
  CHECK(code_of(model().version(2).build()) == "ok");
  for (const std::uint32_t version : {0u, 1u, 4u, 0xffffffffu, 0x02000000u, 0x03000000u, 0x01000000u}) {
    CAPTURE(version);
    const cria::error e = error_of(model().version(version).build());
    CHECK(e.code == errc::unsupported_version);
    CHECK(e.offset == 4);
    CHECK((e.message == "a big-endian file") == ((version & 0xffff) == 0 && version != 0));
  }
}

TEST_CASE("header: every prefix is refused, up to the last byte of the last tensor") {
  const std::string whole = model(gguf_builder().without_padding()).build();
  CHECK(code_of(whole) == "ok");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    const auto file = open(whole.substr(0, n));
    REQUIRE_FALSE(file);
    CHECK(file.error().code == errc::truncated);
  }
}

TEST_CASE("header: padding after the last tensor may be absent, and bytes behind it are ignored") {
  gguf_builder b;
  b.without_padding().tensor("t", tensor_type::f32, {3});
  CHECK(code_of(b.build()) == "ok");
  CHECK(code_of(b.build() + "anything") == "ok");
  CHECK(code_of(b.build().substr(0, b.build().size() - 1)) == "truncated");
}

TEST_CASE("header: no single flipped bit of the metadata is a fault") {
  const std::string whole = model().build();
  const std::size_t head = model().head().size();
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < head * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto file = open(flipped);
    refused += !file;
    if (!file) CHECK(file.error().to_string().size() < 500);
  }
  CHECK(refused > head * 4);   // most bits matter
  CHECK(refused < head * 8);   // those of names and values do not
}

TEST_CASE("header: a declared count that wraps when multiplied is refused before memory is asked for (CVE-2024-25664 to -25668, -23605, -21836)") {
  // 2^64 / size of an entry, for entry sizes around those of readers that multiplied first
  for (const std::uint64_t count : {huge, huge / 2, huge / 8 + 1, huge / 14 + 1, huge / 24 + 1, huge / 48 + 1, huge / 56 + 2, std::uint64_t{1} << 63}) {
    CAPTURE(count);
    CHECK(error_of(model().declare_keys(count).build()).code == errc::limit_exceeded);
    CHECK(error_of(model().declare_tensors(count).build()).code == errc::limit_exceeded);
    const std::string numbers = raw(id::u32) + raw(count);
    const std::string strings = raw(id::string) + raw(count);
    CHECK(error_of(gguf_builder().raw_key("k", id::array, numbers).build()).code == errc::limit_exceeded);
    CHECK(error_of(gguf_builder().raw_key("k", id::array, strings).build()).code == errc::limit_exceeded);
  }
}

TEST_CASE("header: without limits, counts are still compared with the bytes left") {
  cria::gguf::limits none;
  none.metadata_bytes = none.keys = none.tensors = none.array_elements = none.string_bytes = none.key_bytes = none.tensor_name_bytes = huge;
  for (const std::uint64_t count : {huge, huge / 8 + 1, huge / 14 + 1, huge / 33 + 1, std::uint64_t{1} << 40, std::uint64_t{1000}}) {
    CAPTURE(count);
    CHECK(error_of(model().declare_keys(count).build(), none).code == errc::truncated);
    CHECK(error_of(model().declare_keys(count).build(), none).message.starts_with("declares " + std::to_string(count) + " keys, the file has "));
    CHECK(error_of(model().declare_tensors(count).build(), none).code == errc::truncated);
    for (std::uint32_t type = 0; type < 13; ++type) {
      if (type == id::array) continue;
      CHECK(error_of(gguf_builder().raw_key("k", id::array, raw(type) + raw(count) + std::string(100, '\0')).build(), none).code == errc::truncated);
    }
    CHECK(error_of(gguf_builder().raw_key("k", id::string, raw_string("abc", count)).build(), none).code == errc::truncated);
    CHECK(error_of(gguf_builder().raw_entry(raw_string("abc", count) + std::string(50, '\0')).build(), none).code == errc::truncated);
  }
}

TEST_CASE("header: a string length of 2^64 - 1, whose length + 1 is 0, is refused (CVE-2024-25667, -23496)") {
  const cria::error e = error_of(gguf_builder().raw_key("k", id::string, raw_string("abc", huge)).build());
  CHECK(e.code == errc::limit_exceeded);
  CHECK(e.where == "k");
  CHECK(e.offset == 24 + 9 + 4);   // behind header, key and type
  CHECK(error_of(gguf_builder().raw_entry(raw_string("k", huge)).build() + std::string(64, '\0')).code == errc::limit_exceeded);
  const std::string in_array = raw(id::string) + raw<std::uint64_t>(2) + raw_string("a") + raw_string("b", huge);
  CHECK(error_of(gguf_builder().raw_key("k", id::array, in_array).build()).code == errc::limit_exceeded);
}

TEST_CASE("header: a rank of 0 or above 4 is bad_shape before a dimension is stored (CVE-2024-21802)") {
  for (const std::uint32_t rank : {0u, 5u, 8u, 0x7fffffffu, 0xffffffffu}) {
    CAPTURE(rank);
    const cria::error e =
        error_of(gguf_builder().raw_tensor(raw_string("t"), rank, std::vector<std::uint64_t>(rank % 16, 1), 0, 0).data(std::string(64, '\0')).build());
    CHECK(e.code == errc::bad_shape);
    CHECK(e.where == "t");
    CHECK(e.offset == 24 + 9);
  }
}

TEST_CASE("header: a dimension of 0 is bad_shape (llama.cpp 8816, 24263: divided by later)") {
  for (std::size_t zero = 0; zero < 4; ++zero) {
    std::vector<std::uint64_t> dims(4, 1);
    dims[zero] = 0;
    CHECK(error_of(gguf_builder().raw_tensor(raw_string("t"), 4, dims, 0, 0).data(std::string(64, '\0')).build()).code == errc::bad_shape);
  }
}

TEST_CASE("header: elements and bytes that wrap are bad_shape (CVE-2026-33298, CVE-2025-53630)") {
  const auto code = [](const std::vector<std::uint64_t>& dims, tensor_type type) {
    gguf_builder file;
    file.raw_tensor(raw_string("t"), static_cast<std::uint32_t>(dims.size()), dims, static_cast<std::uint32_t>(type), 0).data("data");
    return error_of(file.build()).code;
  };
  const std::uint64_t half = std::uint64_t{1} << 32;
  CHECK(code({half, half}, tensor_type::f32) == errc::bad_shape);                          // elements = 2^64
  CHECK(code({half, half, 1, 7}, tensor_type::q4_0) == errc::bad_shape);
  CHECK(code({huge, huge, huge, huge}, tensor_type::f32) == errc::bad_shape);
  CHECK(code({std::uint64_t{1} << 62}, tensor_type::f32) == errc::bad_shape);              // bytes = 2^64
  CHECK(code({(std::uint64_t{1} << 62) + 1}, tensor_type::f32) == errc::bad_shape);        // bytes = 4 after the wrap
  CHECK(code({std::uint64_t{1} << 61}, tensor_type::f64) == errc::bad_shape);
  CHECK(code({huge - 3}, tensor_type::i8) == errc::truncated);                             // 2^64 - 4 bytes: would be 0 when rounded up
  CHECK(code({(huge / 32) * 32}, tensor_type::q4_0) == errc::truncated);                   // elements * 18 / 32 wraps if multiplied first
}

TEST_CASE("header: a tensor must lie inside the file, for every offset (CVE-2026-7482)") {
  const auto file = [](std::uint64_t offset) {
    return gguf_builder().raw_tensor(raw_string("t"), 1, {8}, 0, offset).data(std::string(64, '\0')).build();
  };
  CHECK(code_of(file(0)) == "ok");
  CHECK(code_of(file(32)) == "ok");   // the last byte of the tensor is the last of the file
  for (const std::uint64_t offset : {std::uint64_t{64}, std::uint64_t{96}, std::uint64_t{1} << 40, huge - 31, huge - 63, huge / 2 + 1}) {
    CAPTURE(offset);
    const cria::error e = error_of(file(offset));
    CHECK(e.code == errc::truncated);
    CHECK(e.where == "t");
  }
  CHECK(error_of(gguf_builder().raw_tensor(raw_string("t"), 1, {9}, 0, 32).data(std::string(64, '\0')).build()).code == errc::truncated);
}

TEST_CASE("header: tensors may not overlap (ik_llama 2437), in whatever order they are listed") {
  const auto file = [](std::uint64_t a, std::uint64_t b, std::uint64_t c) {
    gguf_builder g;
    g.raw_tensor(raw_string("a"), 1, {16}, 0, a).raw_tensor(raw_string("b"), 1, {16}, 0, b).raw_tensor(raw_string("c"), 1, {16}, 0, c);
    return g.data(std::string(256, '\0')).build();
  };
  CHECK(code_of(file(0, 64, 128)) == "ok");
  CHECK(code_of(file(128, 0, 64)) == "ok");
  CHECK(code_of(file(192, 0, 96)) == "ok");   // gaps
  for (const auto& [a, b, c] : {std::array{0, 32, 128}, std::array{128, 32, 0}, std::array{0, 0, 128}, std::array{64, 128, 64}}) {
    const cria::error e = error_of(file(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b), static_cast<std::uint64_t>(c)));
    CHECK(e.code == errc::bad_value);
    CHECK(e.message.find("shares bytes with the tensor ") == 0);
  }
}

TEST_CASE("header: an offset that is not a multiple of the alignment is bad_value") {
  for (const std::uint64_t offset : {1u, 8u, 16u, 31u, 33u}) {
    CHECK(error_of(gguf_builder().raw_tensor(raw_string("t"), 1, {4}, 0, offset).data(std::string(128, '\0')).build()).code == errc::bad_value);
  }
  gguf_builder small;
  small.alignment(8).raw_tensor(raw_string("t"), 1, {4}, 0, 8).data(std::string(24, '\0'));
  CHECK(code_of(small.build()) == "ok");
}

TEST_CASE("header: the alignment is a power of two from 8 to 1 MiB (oss-security May 2026, llama.cpp 24997)") {
  for (const std::uint32_t alignment : {8u, 16u, 32u, 64u, 128u, 4096u, 1u << 20}) {
    CAPTURE(alignment);
    const auto file = open(gguf_builder().alignment(alignment).tensor("t", tensor_type::f32, {4}).tensor("u", tensor_type::f32, {4}).build());
    REQUIRE(file);
    CHECK(file->alignment() == alignment);
    CHECK(file->tensors()[1].offset == file->tensors()[0].offset + std::max(alignment, 16u));
    CHECK(file->tensors()[0].offset % alignment == 0);
  }
  for (const std::uint32_t alignment : {0u, 1u, 2u, 4u, 7u, 33u, 48u, 1u << 21, 1u << 31, 0xffffffffu}) {
    CAPTURE(alignment);
    const cria::error e = error_of(gguf_builder().key("general.alignment", alignment).build());
    CHECK(e.code == errc::bad_value);
    CHECK(e.where == "general.alignment");
    CHECK(e.offset == 24 + 8 + 17 + 4);
  }
}

TEST_CASE("header: an alignment of another type than u32 is wrong_type (llama.cpp 25596, 26318: an assert)") {
  CHECK(error_of(gguf_builder().key("general.alignment", std::uint64_t{32}).build()).code == errc::wrong_type);
  CHECK(error_of(gguf_builder().key("general.alignment", 32).build()).code == errc::wrong_type);
  CHECK(error_of(gguf_builder().key("general.alignment", 32.0f).build()).code == errc::wrong_type);
  CHECK(error_of(gguf_builder().key("general.alignment", "32").build()).code == errc::wrong_type);
  CHECK(error_of(gguf_builder().array("general.alignment", std::vector<std::uint32_t>{32}).build()).code == errc::wrong_type);
  CHECK(error_of(gguf_builder().array("general.alignment", std::vector<std::uint32_t>{}).build()).code == errc::wrong_type);
}

TEST_CASE("header: empty keys and tensor names are bad_value (llama.cpp 20873, 24446: an assert)") {
  CHECK(error_of(gguf_builder().key("", 1u).build()).code == errc::bad_value);
  CHECK(error_of(gguf_builder().tensor("", tensor_type::f32, {4}).build()).code == errc::bad_value);
  CHECK(error_of(std::string("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24) + std::string(13, '\0')).code == errc::truncated);   // 37 bytes
  CHECK(error_of(std::string("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24) + std::string(14, '\0')).code == errc::bad_value);
}

TEST_CASE("header: names with NUL are bad_value: counted and C strings would differ") {
  using namespace std::string_literals;
  CHECK(error_of(gguf_builder().tensor("output_norm.weight\0junk"s, tensor_type::f32, {4}).build()).code == errc::bad_value);
  CHECK(error_of(gguf_builder().key("llama.block_count\0"s, 1u).build()).code == errc::bad_value);
  const auto value = open(gguf_builder().key("general.architecture", "llama\0x"s).build());
  REQUIRE(value);
  CHECK(*value->metadata().get<std::string_view>("general.architecture") == "llama\0x"s);   // values hold any bytes, all of them
}

TEST_CASE("header: names longer than the limits are refused, those of exactly the limit are read") {
  CHECK(code_of(gguf_builder().tensor(std::string(64, 't'), tensor_type::f32, {4}).build()) == "ok");
  CHECK(error_of(gguf_builder().tensor(std::string(65, 't'), tensor_type::f32, {4}).build()).code == errc::limit_exceeded);
  CHECK(code_of(gguf_builder().key(std::string(65'535, 'k'), 1u).build()) == "ok");
  CHECK(error_of(gguf_builder().key(std::string(65'536, 'k'), 1u).build()).code == errc::limit_exceeded);
}

TEST_CASE("header: text of the file is escaped and cut in errors") {
  const std::string name = "\x1b[31mred\n" + std::string(1000, 'x');
  const cria::error e = error_of(gguf_builder().raw_key(name, 99, "").build() + std::string(64, '\0'));
  CHECK(e.where.size() < 120);
  CHECK(e.where.find("\\x1b[31mred\\x0a") == 0);
}

TEST_CASE("header: a key or tensor that appears twice is duplicate, at the second one") {
  const gguf_builder keys = gguf_builder().key("same", 1u).key("other", 1u).key("same", 2.0f);
  const cria::error e = error_of(keys.build());
  CHECK(e.code == errc::duplicate);
  CHECK(e.where == "same");
  CHECK(e.offset == keys.build().rfind("same"));
  CHECK(error_of(gguf_builder().tensor("t", tensor_type::f32, {4}).tensor("t", tensor_type::f32, {4}).build()).code == errc::duplicate);
  CHECK(code_of(gguf_builder().key("t", 1u).tensor("t", tensor_type::f32, {4}).build()) == "ok");
}

TEST_CASE("header: value types that GGUF does not define are bad_value, also inside arrays") {
  for (const std::uint32_t type : {13u, 14u, 255u, 0x80000000u, 0xffffffffu}) {
    CAPTURE(type);
    const cria::error e = error_of(gguf_builder().raw_key("k", type, std::string(32, '\0')).build());
    CHECK(e.code == errc::bad_value);
    CHECK(e.offset == 24 + 9);
    CHECK(error_of(gguf_builder().raw_key("k", id::array, raw(type) + std::string(32, '\0')).build()).code == errc::bad_value);
  }
}

TEST_CASE("header: arrays of arrays are limit_exceeded, however deep, and without recursion") {
  std::string nested = raw(id::array) + raw<std::uint64_t>(1);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += nested;
  const cria::error e = error_of(gguf_builder().raw_key("k", id::array, deep).build());
  CHECK(e.code == errc::limit_exceeded);
  CHECK(e.where == "k");
  CHECK(error_of(gguf_builder().raw_key("k", id::array, raw(id::array) + raw<std::uint64_t>(0)).build()).code == errc::limit_exceeded);
}

TEST_CASE("header: tensor types that GGUF does not define are unsupported_type with tensor and id; all others are listed") {
  for (const std::uint32_t type : {4u, 5u, 31u, 36u, 41u, 1000u, 0x7fffffffu, 0xffffffffu}) {
    const cria::error e = error_of(gguf_builder().raw_tensor(raw_string("blk.0.w"), 1, {256}, type, 0).data(std::string(4096, '\0')).build());
    CHECK(e.code == errc::unsupported_type);
    CHECK(e.where == "blk.0.w");
    CHECK(e.message.find(std::to_string(type)) != std::string::npos);
  }
  for (const cria::tensor_type_info& type : cria::tensor_types) {
    const auto file = open(gguf_builder().tensor("t", type.type, {type.block_size * 3, 2}).build());
    REQUIRE(file);
    CHECK(file->tensors()[0].type == type.type);
    CHECK(file->tensors()[0].size_bytes == type.block_bytes * 6);
  }
}

TEST_CASE("header: a row that is not a multiple of the block is bad_shape, even if the elements are one") {
  for (const std::uint64_t row : {1u, 16u, 31u, 33u, 48u}) {
    CHECK(error_of(gguf_builder().raw_tensor(raw_string("t"), 2, {row, 32}, 2, 0).data(std::string(4096, '\0')).build()).code == errc::bad_shape);
  }
}

TEST_CASE("header: the host's limits hold for keys, tensors, elements, strings and the metadata as a whole") {
  const std::string text = model().build();
  const auto limited = [&](std::uint64_t cria::gguf::limits::*member, std::uint64_t value) {
    cria::gguf::limits limits;
    limits.*member = value;
    return code_of(text, limits);
  };
  CHECK(limited(&cria::gguf::limits::keys, 5) == "ok");
  CHECK(limited(&cria::gguf::limits::keys, 4) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::tensors, 2) == "ok");
  CHECK(limited(&cria::gguf::limits::tensors, 1) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::array_elements, 3) == "ok");
  CHECK(limited(&cria::gguf::limits::array_elements, 2) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::string_bytes, 5) == "ok");
  CHECK(limited(&cria::gguf::limits::string_bytes, 4) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::key_bytes, 20) == "ok");
  CHECK(limited(&cria::gguf::limits::key_bytes, 19) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::tensor_name_bytes, 3) == "ok");
  CHECK(limited(&cria::gguf::limits::tensor_name_bytes, 2) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::metadata_bytes, model().head().size()) == "ok");
  CHECK(limited(&cria::gguf::limits::metadata_bytes, model().head().size() - 1) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::metadata_bytes, 0) == "limit_exceeded");
  CHECK(limited(&cria::gguf::limits::min_alignment, 64) == "ok");   // a file without the key has 32
}

TEST_CASE("header: a file of no keys and no tensors is valid; one with keys only needs no padding") {
  CHECK(code_of(gguf_builder().build()) == "ok");
  CHECK(gguf_builder().build().size() == 24);
  CHECK(code_of(gguf_builder().key("k", std::uint8_t{1}).build()) == "ok");
}

TEST_CASE("header: metadata longer than the first read is read in growing pieces with the same result") {
  gguf_builder b;
  std::vector<std::string> names;
  for (int i = 0; i < 150'000; ++i) names.push_back("token number " + std::to_string(i));
  b.array("names", names).key("long", std::string(3 << 20, 'x')).key("after", 77u);
  for (int i = 0; i < 2000; ++i) b.tensor("tensor." + std::to_string(i), tensor_type::f32, {4});
  const std::string text = b.build();
  const auto file = open(text);
  REQUIRE(file);
  const auto strings = file->metadata().get<cria::gguf::array_view>("names");
  REQUIRE(strings);
  std::size_t wrong = strings->size() != names.size();
  for (std::size_t i = 0; i < names.size() && wrong == 0; ++i) wrong += strings->string(i) != names[i];
  CHECK(wrong == 0);
  CHECK(file->metadata().get<std::string_view>("long")->size() == 3 << 20);
  CHECK(*file->metadata().get<int>("after") == 77);
  REQUIRE(file->tensors().size() == 2000);
  CHECK(file->tensors()[1999].name == "tensor.1999");
  CHECK(file->find_tensor("tensor.1234") == &file->tensors()[1234]);
  for (const std::size_t n :
       {std::size_t{1} << 16, (std::size_t{1} << 16) + 1, std::size_t{1} << 17, std::size_t{1} << 20, std::size_t{4} << 20, text.size() - 40'000}) {
    CHECK(code_of(text.substr(0, n)) == "truncated");
  }
}
