// SPDX-License-Identifier: MIT
// Reading is compared with the C library's strtod, writing with what Python 3.11's repr() gives.
#include <cria/chat/json.hpp>
#include <cria/chat/number.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

using cria::json;
using cria::detail::parse_decimal;
using cria::detail::python_repr;

TEST_CASE("number: decimals read as the C library reads them, beyond the range of a double too") {
  const std::string many(400, '0'), ones(320, '1');
  const std::string texts[] = {"0", "1", "1.5", "0.1", "1e5", "1E+5", "25e-1", "0.000", "0e999", "123456789012345678901234567890", "4.9e-324", "2e-324",
                               "1.7976931348623157e308", "1.8e308", "1e400", "1E+400", "0.5e400", "1e-400", "0.00e-5", "12.5e-400", "1e99999999999999999999",
                               "1e-99999999999999999999", "0e99999999999999999999", ones, ones + ".5", ones + "e-20", ones + "e-700", "1" + many,
                               "1" + many + "e-50", "1" + many + "e-400", "1" + many + "e-800", "0." + many + "1", "0." + many + "1e50", "0." + many + "1e+400",
                               "0." + many + "1e800", "." + many + "1e90", many + "1", many + ".5e400"};
  for (const std::string& text : texts) {
    CAPTURE(text);
    const auto read = parse_decimal(text);
    REQUIRE(read);
    CHECK(*read == std::strtod(text.c_str(), nullptr));
  }
  std::uint32_t state = 1;
  const auto next = [&](std::uint32_t n) { return (state = state * 1664525u + 1013904223u) / 65536u % n; };
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (std::uint32_t n = 1 + next(next(4) == 0 ? 330 : 5); n > 0; --n) text += static_cast<char>('0' + (next(3) == 0 ? next(10) : 0));
    if (next(2) == 0) text.insert(next(static_cast<std::uint32_t>(text.size())), ".");
    if (next(2) == 0) text += (next(2) == 0 ? "e-" : "e") + std::to_string(next(700));
    CAPTURE(text);
    const auto read = parse_decimal(text);
    REQUIRE(read);
    CHECK(*read == std::strtod(text.c_str(), nullptr));
  }
  for (const char* text : {"", ".", "e5", "1e", "1e+", "1.2.3", "0x10", "1 ", " 1", "1f"}) CHECK_FALSE(parse_decimal(text));
}

TEST_CASE("number: doubles are written as Python's repr() writes them") {
  const auto check = [](double value, const char* expected) { CHECK(python_repr(value) == expected); };
  check(1, "1.0");
  check(-0.0, "-0.0");
  check(0.1 + 0.2, "0.30000000000000004");
  check(1e-5, "1e-05");
  check(0.0001, "0.0001");
  check(1.5e16, "1.5e+16");
  check(123456789012345680.0, "1.2345678901234568e+17");
  check(9999999999999998.0, "9999999999999998.0");
  check(5e-324, "5e-324");
  check(-std::numeric_limits<double>::max(), "-1.7976931348623157e+308");
  check(std::numeric_limits<double>::infinity(), "inf");
  check(-std::numeric_limits<double>::quiet_NaN(), "nan");
}

TEST_CASE("json: integers keep their value, whatever their type; a character is neither a number nor a text") {
  CHECK(json(std::uint64_t{18'446'744'073'709'551'615u}).dump() == "18446744073709551615");
  CHECK(json(std::uint64_t{1} << 63).dump() == "9223372036854775808");
  CHECK(json((std::uint64_t{1} << 63) - 1).dump() == "9223372036854775807");
  CHECK(json(std::int64_t{-9'223'372'036'854'775'807} - 1).dump() == "-9223372036854775808");
  CHECK(json(std::uint8_t{200}).dump() == "200");
  CHECK(json(true).dump() == "true");
  CHECK(*json::parse("18446744073709551615") == json(std::uint64_t{18'446'744'073'709'551'615u}));
  CHECK(json::parse("170")->number() == 170.0);
  CHECK(json::parse("1.5e3")->number() == 1500.0);
  CHECK(json::parse("-18446744073709551616")->number() == -18446744073709551616.0);
  CHECK(json::parse("\"170\"")->number() == std::nullopt);
  static_assert(!std::is_constructible_v<json, char> && !std::is_constructible_v<json, char32_t> && !std::is_constructible_v<json, wchar_t>);
}
