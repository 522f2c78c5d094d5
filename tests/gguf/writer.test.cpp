// SPDX-License-Identifier: MIT
#include <cria/gguf/file.hpp>
#include <cria/gguf/writer.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>
#include <tests/support/test_data.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

using cria::errc;
using cria::tensor_type;

namespace {

using buffer = std::vector<std::byte>;

cria::result<cria::gguf::file> parse(const buffer& bytes) { return cria::gguf::file::open(cria::memory_source(bytes)); }

std::string code_of(const cria::result<void>& done) { return done ? "ok" : std::string(name(done.error().code)); }

std::string text_of(const buffer& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// Declares and writes what `in` has, in pieces of at most `piece` bytes.
void copy(const cria::gguf::file& in, cria::gguf::writer& w, std::unique_ptr<cria::byte_sink> sink, std::size_t piece) {
  REQUIRE(w.copy(in.metadata()));
  for (const auto& t : in.tensors()) REQUIRE(w.add_tensor(t.name, t.type, std::span(t.shape).first(t.rank)));
  REQUIRE(w.open(std::move(sink)));
  for (const auto& t : in.tensors()) {
    for (std::uint64_t at = 0; at < t.size_bytes;) {
      buffer bytes(std::min<std::uint64_t>(piece, t.size_bytes - at));
      REQUIRE(in.read(t, at, bytes));
      REQUIRE(w.write(bytes));
      at += bytes.size();
    }
  }
  REQUIRE(w.commit());
}

}  // namespace

TEST_CASE("writer: the bytes of a small file are those that the format demands") {
  cria::gguf::writer w;
  REQUIRE(w.set("general.architecture", "llama"));
  REQUIRE(w.set("n", 7u));
  REQUIRE(w.set("names", std::vector<std::string>{"a", ""}));
  REQUIRE(w.add_tensor("one", tensor_type::f32, {3, 1}));
  REQUIRE(w.add_tensor("two", tensor_type::q4_0, {32}));
  buffer out;
  REQUIRE(w.open(cria::memory_sink(out)));
  const std::string one = "abcdefghijkl", two = "0123456789ABCDEFGH";
  REQUIRE(w.write(std::as_bytes(std::span(one)).first(5)));
  CHECK(w.current() == 0);
  CHECK(w.remaining() == 7);
  REQUIRE(w.write(std::as_bytes(std::span(one)).subspan(5)));
  CHECK(w.current() == 1);
  REQUIRE(w.write(std::as_bytes(std::span(two))));
  CHECK(w.current() == 2);
  CHECK(w.remaining() == 0);
  REQUIRE(w.commit());
  // the builder of the tests is another implementation of the same page
  cria_test::gguf_builder expected;
  expected.key("general.architecture", "llama").key("n", 7u).array("names", std::vector<std::string>{"a", ""});
  expected.tensor("one", tensor_type::f32, {3, 1}, one).tensor("two", tensor_type::q4_0, {32}, two);
  CHECK(text_of(out) == expected.build());
}

TEST_CASE("writer: every type of value and array comes back as it was set") {
  cria::gguf::writer w;
  REQUIRE(w.set("u8", std::uint8_t{255}));
  REQUIRE(w.set("i8", std::int8_t{-128}));
  REQUIRE(w.set("u16", std::uint16_t{65'535}));
  REQUIRE(w.set("i16", std::int16_t{-1}));
  REQUIRE(w.set("u32", 4'294'967'295u));
  REQUIRE(w.set("i32", -7));
  REQUIRE(w.set("f32", 1.5f));
  REQUIRE(w.set("bool", true));
  REQUIRE(w.set("text", std::string("a\0b", 3)));
  REQUIRE(w.set("u64", ~std::uint64_t{0}));
  REQUIRE(w.set("i64", std::int64_t{-1}));
  REQUIRE(w.set("f64", 1e-300));
  REQUIRE(w.set("bools", std::vector<bool>{true, false, true}));
  REQUIRE(w.set("floats", std::array<float, 3>{1, -2, 3}));
  REQUIRE(w.set("views", std::vector<std::string_view>{"x", "yy"}));
  const std::vector<std::int32_t> numbers = {1, -2, 3};
  REQUIRE(w.set("span", std::span(numbers)));
  REQUIRE(w.set("empty", std::vector<std::uint64_t>{}));
  REQUIRE(w.set("no texts", std::vector<std::string>{}));
  buffer out;
  REQUIRE(w.open(cria::memory_sink(out)));
  REQUIRE(w.commit());
  const auto file = parse(out);
  REQUIRE(file);
  const auto& keys = file->metadata();
  using cria::gguf::value_type;
  const value_type types[] = {value_type::u8, value_type::i8, value_type::u16, value_type::i16, value_type::u32, value_type::i32,
                              value_type::f32, value_type::boolean, value_type::string, value_type::u64, value_type::i64, value_type::f64};
  for (std::size_t i = 0; i < std::size(types); ++i) CHECK((keys.begin() + static_cast<std::ptrdiff_t>(i))->v.type() == types[i]);
  CHECK(*keys.get<int>("u8") == 255);
  CHECK(*keys.get<int>("i8") == -128);
  CHECK(*keys.get<int>("u16") == 65'535);
  CHECK(*keys.get<int>("i16") == -1);
  CHECK(*keys.get<std::uint32_t>("u32") == 4'294'967'295u);
  CHECK(*keys.get<int>("i32") == -7);
  CHECK(*keys.get<float>("f32") == 1.5f);
  CHECK(*keys.get<bool>("bool"));
  CHECK(*keys.get<std::string>("text") == std::string("a\0b", 3));
  CHECK(*keys.get<std::uint64_t>("u64") == ~std::uint64_t{0});
  CHECK(*keys.get<std::int64_t>("i64") == -1);
  CHECK(*keys.get<double>("f64") == 1e-300);
  CHECK(*keys.get<std::vector<bool>>("bools") == std::vector<bool>{true, false, true});
  CHECK(*keys.get<std::vector<float>>("floats") == std::vector<float>{1, -2, 3});
  CHECK(*keys.get<std::vector<std::string>>("views") == std::vector<std::string>{"x", "yy"});
  CHECK(*keys.get<std::vector<std::int32_t>>("span") == numbers);
  CHECK(keys.get<std::vector<std::uint64_t>>("empty")->empty());
  CHECK(keys.get<cria::gguf::array_view>("no texts")->element_type() == value_type::string);
  // and once more through copy(): parse(write(x)) == x to the bit
  buffer again;
  cria::gguf::writer second;
  copy(*file, second, cria::memory_sink(again), 100);
  CHECK(again == out);
}

TEST_CASE("writer: a copy of every reference file is the file, byte for byte") {
  std::size_t n = 0;
  for (const char* folder : {"models", "models/arch", "tokenizer"}) {
    if (!cria_test::has_data(folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(cria_test::data_root() / folder)) {
      if (entry.path().extension() != ".gguf" || entry.file_size() > (4u << 20)) continue;
      CAPTURE(entry.path().string());
      const auto file = cria::gguf::file::open(entry.path());
      REQUIRE(file);
      buffer out;
      cria::gguf::writer w;
      copy(*file, w, cria::memory_sink(out), 100'003);
      const std::string original = cria_test::read_data(std::string(folder) + "/" + entry.path().filename().string());
      CHECK((text_of(out) == original));
      ++n;
    }
  }
  CHECK((n > 20 || !std::filesystem::exists(cria_test::data_root() / "models/arch")));
}

TEST_CASE("writer: any alignment from 8 to 1 MiB is kept, others are bad_value") {
  for (const std::uint32_t alignment : {8u, 32u, 64u, 4096u, 1u << 20}) {
    cria::gguf::writer w;
    REQUIRE(w.set_alignment(alignment));
    REQUIRE(w.add_tensor("a", tensor_type::i8, {3}));
    REQUIRE(w.add_tensor("b", tensor_type::i8, {5}));
    buffer out;
    REQUIRE(w.open(cria::memory_sink(out)));
    REQUIRE(w.write(std::as_bytes(std::span("abc", 3))));
    REQUIRE(w.write(std::as_bytes(std::span("defgh", 5))));
    REQUIRE(w.commit());
    CHECK(out.size() % alignment == 0);
    const auto file = parse(out);
    REQUIRE(file);
    CHECK(file->alignment() == alignment);
    CHECK(file->tensors()[1].offset == file->tensors()[0].offset + alignment);
    CHECK(text_of(out).substr(file->tensors()[1].offset, 5) == "defgh");
  }
  for (const std::uint32_t alignment : {0u, 1u, 4u, 24u, 1u << 21}) {
    cria::gguf::writer w;
    REQUIRE(w.set_alignment(alignment));
    buffer out;
    CHECK(code_of(w.open(cria::memory_sink(out))) == "bad_value");
    CHECK(out.empty());
  }
  cria::gguf::writer w;
  REQUIRE(w.set("general.alignment", std::uint64_t{32}));
  buffer out;
  CHECK(code_of(w.open(cria::memory_sink(out))) == "bad_value");
}

TEST_CASE("writer: an alignment that is copied from another file is at least 32") {
  for (const std::uint32_t alignment : {8u, 16u, 64u}) {
    const std::string text = cria_test::gguf_builder().alignment(alignment).build();
    const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
    REQUIRE(file);
    cria::gguf::writer w;
    REQUIRE(w.copy(file->metadata()));
    buffer out;
    REQUIRE(w.open(cria::memory_sink(out)));
    REQUIRE(w.commit());
    CHECK(parse(out)->alignment() == std::max(alignment, 32u));
  }
}

TEST_CASE("writer: what a reader would refuse is bad_argument when it is declared") {
  cria::gguf::writer w;
  CHECK(code_of(w.set("", 1)) == "bad_argument");
  CHECK(code_of(w.set(std::string("a\0b", 3), 1)) == "bad_argument");
  CHECK(code_of(w.set(std::string(65'536, 'k'), 1)) == "bad_argument");
  CHECK(code_of(w.add_tensor("", tensor_type::f32, {1})) == "bad_argument");
  CHECK(code_of(w.add_tensor(std::string(64, 't'), tensor_type::f32, {1})) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", static_cast<tensor_type>(4), {1})) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", tensor_type::f32, std::span<const std::uint64_t>())) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", tensor_type::f32, {1, 1, 1, 1, 1})) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", tensor_type::f32, {1, 0})) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", tensor_type::q4_0, {16, 2})) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", tensor_type::f32, {~std::uint64_t{0}, 3})) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", tensor_type::f32, {std::uint64_t{1} << 62})) == "bad_argument");
  CHECK(code_of(w.add_tensor("t", tensor_type::f32, {1})) == "ok");
  CHECK(code_of(w.add_tensor("t", tensor_type::f32, {1})) == "duplicate");
  CHECK(code_of(w.add_tensor(std::string(63, 't'), tensor_type::f32, {1})) == "ok");
}

TEST_CASE("writer: calls out of order are bad_argument and change nothing") {
  cria::gguf::writer w;
  buffer out;
  CHECK(code_of(w.write({})) == "bad_argument");
  CHECK(code_of(w.commit()) == "bad_argument");
  CHECK(code_of(w.open(std::unique_ptr<cria::byte_sink>())) == "bad_argument");
  REQUIRE(w.add_tensor("t", tensor_type::i8, {4}));
  REQUIRE(w.open(cria::memory_sink(out)));
  const std::size_t head = out.size();
  CHECK(code_of(w.open(cria::memory_sink(out))) == "bad_argument");
  CHECK(code_of(w.set("k", 1)) == "bad_argument");
  CHECK(code_of(w.add_tensor("u", tensor_type::i8, {4})) == "bad_argument");
  CHECK(code_of(w.write(std::as_bytes(std::span("12345", 5)))) == "bad_argument");
  CHECK(out.size() == head);
  CHECK(code_of(w.commit()) == "bad_argument");   // 4 bytes are missing
  CHECK(code_of(w.write(std::as_bytes(std::span("1234", 4)))) == "ok");
  CHECK(code_of(w.write(std::as_bytes(std::span("5", 1)))) == "bad_argument");
  CHECK(code_of(w.write({})) == "ok");
  CHECK(code_of(w.commit()) == "ok");
  CHECK(code_of(w.commit()) == "bad_argument");
  CHECK(parse(out));
}

TEST_CASE("writer: a key that is set again keeps its place, one that is erased leaves no gap, split keys are not copied") {
  const std::string text = cria_test::gguf_builder().key("a", 1u).key("split.count", std::uint16_t{1}).key("b", "x").key("c", 3.0f).build();
  const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
  REQUIRE(file);
  cria::gguf::writer w;
  REQUIRE(w.copy(file->metadata()));
  REQUIRE(w.set("a", "another type"));
  CHECK(w.erase("b"));
  CHECK_FALSE(w.erase("b"));
  REQUIRE(w.set("d", 4));
  REQUIRE(w.set("c", 5));
  buffer out;
  REQUIRE(w.open(cria::memory_sink(out)));
  REQUIRE(w.commit());
  const auto written = parse(out);
  REQUIRE(written);
  std::string order;
  for (const auto& [key, v] : written->metadata()) order += std::string(key) + " ";
  CHECK(order == "a c d ");
  CHECK(*written->metadata().get<std::string>("a") == "another type");
  CHECK(*written->metadata().get<int>("c") == 5);
}

TEST_CASE("writer: a sink that fails at any write passes its error on and is dropped at once") {
  struct failing_sink final : cria::byte_sink {
    int& left;
    bool& alive;
    failing_sink(int& l, bool& a) : left(l), alive(a) { alive = true; }
    ~failing_sink() override { alive = false; }
    cria::result<void> write(std::span<const std::byte>) override {
      if (left-- > 0) return {};
      return cria::error{errc::io, "sink", "made to fail"};
    }
    cria::result<void> commit() override { return write({}); }
    std::string name() const override { return "sink"; }
  };
  for (int fail_at = 0; fail_at < 6; ++fail_at) {   // head, piece, piece, padding, commit, none
    CAPTURE(fail_at);
    int left = fail_at;
    bool alive = false;
    cria::gguf::writer w;
    REQUIRE(w.add_tensor("t", tensor_type::i8, {4}));
    std::string codes = code_of(w.open(std::make_unique<failing_sink>(left, alive))) + " ";
    for (int i = 0; i < 2; ++i) codes += alive ? code_of(w.write(std::as_bytes(std::span("12", 2)))) + " " : "";
    if (alive) codes += code_of(w.commit());
    const char* expected[] = {"io ", "ok io ", "ok ok io ", "ok ok io ", "ok ok ok io", "ok ok ok ok"};
    CHECK(codes == expected[fail_at]);
    CHECK_FALSE(alive);
    CHECK(code_of(w.commit()) == "bad_argument");
  }
}
