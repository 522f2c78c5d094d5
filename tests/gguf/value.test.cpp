// SPDX-License-Identifier: MIT
#include <cria/gguf/file.hpp>
#include <cria/gguf/value.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

using cria::errc;
using cria::gguf::array_view;
using cria::gguf::value_type;
using cria_test::gguf_builder;

namespace {

cria::gguf::file open(const gguf_builder& b) {
  const std::string text = b.build();
  auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
  REQUIRE(file);
  return *std::move(file);
}

/// Returns the value as text, or the name of the error.
template <class T>
std::string as(const cria::gguf::file& file, std::string_view key) {
  const auto v = file.metadata().get<T>(key);
  return v ? std::to_string(*v) : std::string(cria::name(v.error().code));
}

}  // namespace

TEST_CASE("value: an integer is read as any integer type that holds it, and is bad_value for one that does not") {
  gguf_builder b;
  b.key("u8", std::uint8_t{200}).key("i8", std::int8_t{-100}).key("u16", std::uint16_t{60'000}).key("i16", std::int16_t{-30'000});
  b.key("u32", 4'294'967'295u).key("i32", -5).key("u64", ~std::uint64_t{0}).key("i64", std::numeric_limits<std::int64_t>::min());
  const auto file = open(b);
  CHECK(as<std::uint8_t>(file, "u8") == "200");
  CHECK(as<std::int8_t>(file, "u8") == "bad_value");
  CHECK(as<std::int64_t>(file, "u8") == "200");
  CHECK(as<std::int8_t>(file, "i8") == "-100");
  CHECK(as<std::uint64_t>(file, "i8") == "bad_value");
  CHECK(as<std::int16_t>(file, "u16") == "bad_value");
  CHECK(as<std::uint16_t>(file, "u16") == "60000");
  CHECK(as<std::int32_t>(file, "i16") == "-30000");
  CHECK(as<std::uint32_t>(file, "u32") == "4294967295");   // an id that real files use for "none"
  CHECK(as<std::int32_t>(file, "u32") == "bad_value");
  CHECK(as<std::int64_t>(file, "u32") == "4294967295");
  CHECK(as<std::uint32_t>(file, "i32") == "bad_value");
  CHECK(as<std::int8_t>(file, "i32") == "-5");
  CHECK(as<std::uint64_t>(file, "u64") == "18446744073709551615");
  CHECK(as<std::int64_t>(file, "u64") == "bad_value");
  CHECK(as<std::int64_t>(file, "i64") == "-9223372036854775808");
  CHECK(as<std::int32_t>(file, "i64") == "bad_value");
}

TEST_CASE("value: floating-point numbers come from either width, and from nothing else") {
  const auto file = open(gguf_builder().key("f32", 0.1f).key("f64", 0.1).key("u32", 1u).key("bool", true).key("text", "1"));
  CHECK(*file.metadata().get<float>("f32") == 0.1f);
  CHECK(*file.metadata().get<double>("f32") == static_cast<double>(0.1f));
  CHECK(*file.metadata().get<double>("f64") == 0.1);
  CHECK(*file.metadata().get<float>("f64") == 0.1f);
  for (const char* key : {"u32", "bool", "text"}) CHECK(as<float>(file, key) == "wrong_type");
  CHECK(as<int>(file, "f32") == "wrong_type");
}

TEST_CASE("value: bool, string and array are read as what they are only") {
  const auto file =
      open(gguf_builder().key("bool", true).key("zero", false).key("one", std::uint8_t{1}).key("text", "abc").array("array", std::vector<int>{1}));
  CHECK(*file.metadata().get<bool>("bool"));
  CHECK_FALSE(*file.metadata().get<bool>("zero"));
  CHECK(as<bool>(file, "one") == "wrong_type");
  CHECK(as<int>(file, "bool") == "wrong_type");
  CHECK(as<int>(file, "text") == "wrong_type");
  CHECK(as<int>(file, "array") == "wrong_type");
  CHECK(*file.metadata().get<std::string_view>("text") == "abc");
  CHECK(*file.metadata().get<std::string>("text") == "abc");
  CHECK(file.metadata().get<std::string_view>("array").error().code == errc::wrong_type);
  CHECK(file.metadata().get<std::string_view>("one").error().code == errc::wrong_type);
  CHECK(file.metadata().get<array_view>("text").error().code == errc::wrong_type);
  CHECK(file.metadata().get<std::vector<int>>("text").error().code == errc::wrong_type);
}

TEST_CASE("value: a stored bool other than 0 and 1 is true") {
  const auto file = open(gguf_builder().raw_key("two", cria_test::gguf_id::boolean, "\2"));
  CHECK(*file.metadata().get<bool>("two"));
}

TEST_CASE("value: arrays of every scalar type hold their elements, and convert like single values") {
  gguf_builder b;
  b.array("u8", std::vector<std::uint8_t>{0, 255}).array("i8", std::vector<std::int8_t>{-128, 127}).array("u16", std::vector<std::uint16_t>{1, 65'535});
  b.array("i16", std::vector<std::int16_t>{-7, 7}).array("u32", std::vector<std::uint32_t>{1, 4'000'000'000}).array("i32", std::vector<int>{-1, 1});
  b.array("f32", std::vector<float>{0.5f, -0.25f}).array("bool", std::vector<bool>{true, false}).array("u64", std::vector<std::uint64_t>{1, ~std::uint64_t{0}});
  b.array("i64", std::vector<std::int64_t>{-1, 1}).array("f64", std::vector<double>{1e300, -1});
  const auto file = open(b);
  const auto& keys = file.metadata();
  CHECK(*keys.get<std::vector<int>>("u8") == std::vector<int>{0, 255});
  CHECK(*keys.get<std::vector<int>>("i8") == std::vector<int>{-128, 127});
  CHECK(*keys.get<std::vector<int>>("u16") == std::vector<int>{1, 65'535});
  CHECK(*keys.get<std::vector<int>>("i16") == std::vector<int>{-7, 7});
  CHECK(*keys.get<std::vector<std::uint32_t>>("u32") == std::vector<std::uint32_t>{1, 4'000'000'000});
  CHECK(*keys.get<std::vector<int>>("i32") == std::vector<int>{-1, 1});
  CHECK(*keys.get<std::vector<float>>("f32") == std::vector<float>{0.5f, -0.25f});
  CHECK(*keys.get<std::vector<bool>>("bool") == std::vector<bool>{true, false});
  CHECK(*keys.get<std::vector<std::uint64_t>>("u64") == std::vector<std::uint64_t>{1, ~std::uint64_t{0}});
  CHECK(*keys.get<std::vector<std::int64_t>>("i64") == std::vector<std::int64_t>{-1, 1});
  CHECK(*keys.get<std::vector<double>>("f64") == std::vector<double>{1e300, -1});
  const auto narrow = keys.get<std::vector<int>>("u32");
  REQUIRE_FALSE(narrow);
  CHECK(narrow.error().code == errc::bad_value);
  CHECK(narrow.error().where == "u32, element 1");
}

TEST_CASE("value: an array of 1-byte numbers is not handed out as floats (llama.cpp 26690: heap over-read)") {
  const auto file =
      open(gguf_builder().array("scores", std::vector<std::uint8_t>(100, 1)).array("flags", std::vector<bool>(100, true)).array("empty", std::vector<float>{}));
  CHECK(file.metadata().get<std::vector<float>>("scores").error().code == errc::wrong_type);
  CHECK(file.metadata().get<std::vector<float>>("flags").error().code == errc::wrong_type);
  const auto scores = file.metadata().get<array_view>("scores");
  REQUIRE(scores);
  CHECK(scores->element_type() == value_type::u8);
  CHECK(scores->at<float>(0).error().code == errc::wrong_type);
  CHECK(*scores->at<int>(99) == 1);
  CHECK(scores->at<int>(100).error().code == errc::bad_argument);
  CHECK(scores->at<std::string_view>(0).error().code == errc::wrong_type);
  CHECK(file.metadata().get<std::vector<float>>("empty")->empty());
  CHECK(file.metadata().get<array_view>("empty")->at<float>(0).error().code == errc::bad_argument);
}

TEST_CASE("value: strings of an array are found by index, with empty ones and any bytes") {
  using namespace std::string_literals;
  const std::vector<std::string> texts = {"", "a", "\xe2\x96\x81the", "a\0b"s, "\xff\xfe", "", std::string(5000, 'x'), "end"};
  const auto file = open(gguf_builder().array("none", std::vector<std::string>{}).array("texts", texts).array("more", std::vector<std::string>{"z"}));
  const auto strings = file.metadata().get<array_view>("texts");
  REQUIRE(strings);
  REQUIRE(strings->size() == texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(strings->string(i) == texts[i]);
  CHECK(*strings->to_vector<std::string>() == texts);
  CHECK(*strings->at<std::string_view>(2) == texts[2]);
  CHECK(strings->at<std::string_view>(8).error().code == errc::bad_argument);
  CHECK(strings->at<int>(0).error().code == errc::wrong_type);
  CHECK(file.metadata().get<array_view>("none")->size() == 0);
  CHECK(file.metadata().get<array_view>("more")->string(0) == "z");
}
