// SPDX-License-Identifier: MIT
#include <cria/core/result.hpp>
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using cria::errc;
using cria::error;
using cria::result;

namespace {

/// Counts how many of it live.
struct counted {
  explicit counted(int* n) : live(n) { ++*live; }
  counted(const counted& other) : live(other.live) { ++*live; }
  counted(counted&& other) noexcept : live(other.live) { ++*live; }
  counted& operator=(const counted&) = delete;
  counted& operator=(counted&&) = delete;
  ~counted() { --*live; }
  int* live;
};

error wrong() { return error{errc::bad_value, std::string("key"), "is \"x\"", 7}; }

result<int> half(int n) {
  if (n % 2 != 0) return error{errc::bad_argument, "n", "is odd"};
  return n / 2;
}

result<int> quarter(int n) {
  CRIA_TRY(const int h, half(n));
  return half(h);
}

result<void> check(int n) {
  CRIA_CHECK(half(n).transform([](int) { return 0; }).has_value() ? result<void>() : result<void>(wrong()));
  return {};
}

}  // namespace

TEST_CASE("result: an error says its code, place, message and offset") {
  CHECK(wrong().to_string() == "bad_value: key: is \"x\" (at byte 7)");
  CHECK(error{}.to_string() == "bad_argument");
  error copy = wrong();
  const error moved = std::move(copy);
  copy = moved;
  CHECK(copy.to_string() == moved.to_string());
  copy = *&copy;
  CHECK(copy.where == "key");
}

TEST_CASE("result: what is taken out of a temporary lives on by itself, so that a loop may go over it") {
  static_assert(std::is_same_v<decltype(*std::declval<result<std::string>>()), std::string>);
  static_assert(std::is_same_v<decltype(std::declval<result<std::string>>().value()), std::string>);
  static_assert(std::is_same_v<decltype(*std::declval<result<std::string>&>()), std::string&>);
  static_assert(std::is_same_v<decltype(*std::declval<const result<std::string>&>()), const std::string&>);
  int live = 0;
  const auto made = [&live]() -> result<std::vector<counted>> {
    std::vector<counted> some;
    for (int i = 0; i < 3; ++i) some.emplace_back(&live);
    return some;
  };
  for (const counted& c : *made()) CHECK(*c.live == 3);   // 0 where the vector has gone with its result
  for (const counted& c : made().value()) CHECK(*c.live == 3);
  CHECK(live == 0);
  const auto alone = []() -> result<std::unique_ptr<int>> { return std::make_unique<int>(5); };
  CHECK(**alone() == 5);
  const std::unique_ptr<int> taken = alone().value();
  CHECK(*taken == 5);
}

TEST_CASE("result: an exception thrown in a batch has a name of its own, the last") {
  CHECK(cria::name(errc::host_exception) == "host_exception");
  CHECK(cria::name(errc::syntax) == "syntax");
  CHECK(cria::name(errc::io) == "io");
}

TEST_CASE("result: holds a value or an error, through copies, moves and assignments, and destroys what it held once") {
  int live = 0;
  {
    result<counted> a = counted(&live);
    CHECK(live == 1);
    result<counted> b = a;
    CHECK(live == 2);
    b = wrong();
    CHECK(live == 1);
    CHECK(b.error().offset == 7);
    b = a;
    CHECK(live == 2);
    b = std::move(a);
    CHECK(live == 2);  // a still holds what was moved from
    a = result<counted>(wrong());
    CHECK(live == 1);
    a = b = a;
    CHECK(live == 0);
    CHECK(a.error().where == "key");
  }
  CHECK(live == 0);
}

TEST_CASE("result: moves what cannot be copied and copies what can") {
  static_assert(!std::is_copy_constructible_v<result<std::unique_ptr<int>>>);
  static_assert(std::is_copy_constructible_v<result<std::string>>);
  static_assert(std::is_nothrow_move_constructible_v<result<std::unique_ptr<int>>>);
  static_assert(!std::is_constructible_v<result<int>, std::string>);
  // A result converts to bool, but another result is not the value of a result<bool>: its error would be gone.
  static_assert(!std::is_constructible_v<result<bool>, result<void>> && !std::is_constructible_v<result<bool>, result<int>&>);
  static_assert(std::is_constructible_v<result<result<int>>, result<int>>);
  result<std::unique_ptr<int>> owner = std::make_unique<int>(5);
  const std::unique_ptr<int> taken = *std::move(owner);
  CHECK(*taken == 5);
}

TEST_CASE("result: CRIA_TRY and CRIA_CHECK pass errors on and values through") {
  CHECK(*quarter(8) == 2);
  CHECK(quarter(6).error().message == "is odd");
  CHECK(quarter(5).value_or(-1) == -1);
  CHECK(check(4));
  CHECK(check(3).error().code == errc::bad_value);
  CHECK(half(8).and_then(half).value() == 2);
  CHECK(half(7).transform([](int n) { return n + 1; }).error().code == errc::bad_argument);
}

#if CRIA_HAS_EXCEPTIONS
TEST_CASE("result: value() of an error throws it") {
  CHECK_THROWS_AS(static_cast<void>(half(1).value()), cria::exception);
  CHECK_THROWS_AS(result<void>(wrong()).value(), cria::exception);
  try {
    static_cast<void>(quarter(2).value());
    FAIL("no exception");
  } catch (const cria::exception& e) {
    CHECK(e.error().where == "n");
  }
}
#endif

TEST_CASE("result: text from files is shown as printable ASCII of bounded length") {
  CHECK(cria::printable("a\n\\\xff") == "a\\x0a\\x5c\\xff");
  CHECK(cria::printable(std::string(100, 'x')).size() == 83);
}
