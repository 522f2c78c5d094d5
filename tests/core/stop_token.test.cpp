// SPDX-License-Identifier: MIT
// What cria brings for standard libraries without std::stop_token, compiled here whatever this one has.
#include <version>
#undef __cpp_lib_jthread
#include <cria/core/stop_token.hpp>

#include <doctest/doctest.h>

#include <thread>
#include <type_traits>

static_assert(std::is_nothrow_move_constructible_v<cria::stop_token> && std::is_nothrow_default_constructible_v<cria::stop_token>);

TEST_CASE("stop_token: one without a source is never asked to stop") {
  const cria::stop_token none;
  CHECK_FALSE(none.stop_possible());
  CHECK_FALSE(none.stop_requested());
  CHECK(none == cria::stop_token());
}

TEST_CASE("stop_token: all tokens of a source and of its copies learn of the request, which is made once") {
  const cria::stop_source source;
  const cria::stop_source copy = source;
  const cria::stop_token before = source.get_token();
  CHECK(before.stop_possible());
  CHECK_FALSE(before.stop_requested());
  CHECK(copy.request_stop());
  CHECK_FALSE(source.request_stop());
  CHECK(before.stop_requested());
  CHECK(source.stop_requested());
  CHECK(source.get_token().stop_requested());
  CHECK(copy == source);
  CHECK(before == copy.get_token());
  CHECK_FALSE(before == cria::stop_source().get_token());
}

TEST_CASE("stop_token: outlives its source, and a source that was moved from asks nobody") {
  cria::stop_token token;
  {
    cria::stop_source source;
    token = source.get_token();
    cria::stop_source moved = std::move(source);
    CHECK_FALSE(source.request_stop());   // NOLINT(bugprone-use-after-move): this state is what is tested
    CHECK_FALSE(source.stop_possible());
    CHECK(moved.request_stop());
  }
  CHECK(token.stop_requested());
}

TEST_CASE("stop_query: asks a token or the host, each time; made from nothing it never says stop") {
  static_assert(std::is_nothrow_constructible_v<cria::stop_query, const cria::stop_token&>);
  const cria::stop_source source;
  const cria::stop_token token = source.get_token();
  int n_left = 2;
  const auto counts_down = [&]() noexcept { return --n_left < 0; };
  const cria::stop_query never, by_token = token, by_host = counts_down, copy = by_host;
  CHECK_FALSE(never.stop_requested());
  CHECK_FALSE(by_token.stop_requested());
  CHECK_FALSE(by_host.stop_requested());
  CHECK_FALSE(copy.stop_requested());
  source.request_stop();
  CHECK(by_token.stop_requested());
  CHECK(by_host.stop_requested());
  CHECK_FALSE(never.stop_requested());
}

TEST_CASE("stop_token: a request of one thread ends the loop of another") {
  cria::stop_source source;
  std::thread worker([token = source.get_token()] {
    while (!token.stop_requested()) std::this_thread::yield();
  });
  source.request_stop();
  worker.join();
  CHECK(source.stop_requested());
}
