// SPDX-License-Identifier: MIT
#include "examples/cria/value_list.hpp"

#include <doctest/doctest.h>

#include <string>

using cria_program::parse_value_list;
using list = std::vector<std::size_t>;

TEST_CASE("value_list: numbers, ranges with steps and with factors, in their order") {
  // What llama-bench (d32676d) prints rows for.
  const std::pair<const char*, list> good[] = {{"512", {512}},
                                               {"0", {0}},
                                               {"1,2,4", {1, 2, 4}},
                                               {"4,2,2", {4, 2, 2}},
                                               {"1-4", {1, 2, 3, 4}},
                                               {"3-3", {3}},
                                               {"1-8+3", {1, 4, 7}},
                                               {"1-9*2", {1, 2, 4, 8}},
                                               {"128-512+128", {128, 256, 384, 512}},
                                               {"0-2,7,10-40*2", {0, 1, 2, 7, 10, 20, 40}}};
  for (const auto& row : good) {
    CAPTURE(std::string(row.first));
    const auto got = parse_value_list(row.first, 4096);
    REQUIRE(got.has_value());
    CHECK(*got == row.second);
  }
}

TEST_CASE("value_list: a text that is not a list of numbers or ranges is refused") {
  for (const std::string text : {"",
                                 ",",
                                 "1,",
                                 ",1",
                                 "1,,2",
                                 "-1",
                                 "1-",
                                 "2-1",
                                 "1-2-3",
                                 "1-8+0",
                                 "1-8*1",
                                 "1-8*0",
                                 "0-8*2",
                                 "1-8/2",
                                 "1-8+",
                                 "1.5",
                                 "0x10",
                                 " 1",
                                 "1 ",
                                 "a",
                                 "4097",
                                 "1-4097",
                                 "1-2+4097",
                                 "99999999999999999999",
                                 "1-99999999999999999999",
                                 "0-4096"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_value_list(text, 4096).has_value());  // 0-4096: more than 1,000 numbers
  }
}

TEST_CASE("value_list: a step that passes the end of the type ends the range") {
  const std::size_t highest = 4294967295u;
  const auto got = parse_value_list("4294967290-4294967295+4", highest);
  REQUIRE(got.has_value());
  CHECK(*got == list{4294967290u, 4294967294u});
  const auto doubled = parse_value_list("1-4294967295*65536", highest);
  REQUIRE(doubled.has_value());
  CHECK(*doubled == list{1, 65536});
}
