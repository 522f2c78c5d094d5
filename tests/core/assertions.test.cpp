// SPDX-License-Identifier: MIT
// CRIA_ASSERT is the host's to define: what it then gets to see.
#include <cstddef>

namespace {
std::size_t n_violations = 0;
}
#define CRIA_ASSERT(condition) static_cast<void>((condition) || ++n_violations != 0)
#include <cria/core/result.hpp>
#include <doctest/doctest.h>

namespace {

using cria::errc;
using cria::error;

/// Returns how many preconditions fn() violates.
template <class F>
std::size_t violations(F&& fn) {
  const std::size_t before = n_violations;
  fn();
  return n_violations - before;
}

}  // namespace

TEST_CASE("result: taking the value of an error, or the error of a value, is a violated precondition") {
  struct pair {
    int first;
  };
  cria::result<pair> wrong = error{errc::io, "file"}, right = pair{3};
  CHECK(violations([&] { static_cast<void>(&*wrong); }) == 1);
  CHECK(violations([&] { static_cast<void>(&*std::as_const(wrong)); }) == 1);
  CHECK(violations([&] { static_cast<void>(*std::move(wrong)); }) == 1);
  CHECK(violations([&] { static_cast<void>(wrong.operator->()); }) == 1);
  CHECK(violations([&] { static_cast<void>(std::as_const(wrong).operator->()); }) == 1);
  CHECK(violations([&] { static_cast<void>(&right.error()); }) == 1);
  CHECK(violations([&] { static_cast<void>(std::move(right).error()); }) == 1);

  CHECK(violations([&] { CHECK(right->first + (*right).first == 6); }) == 0);
  CHECK(violations([&] { CHECK(wrong.error().code == errc::io); }) == 0);
  const cria::result<void> nothing_wrong;
  CHECK(nothing_wrong.has_value());
}
