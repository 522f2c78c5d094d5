// SPDX-License-Identifier: MIT
#include <cria/core/random.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <set>

using cria::random_generator;

TEST_CASE("random: xoshiro256++ gives the reference implementation's numbers") {
  // prng.di.unimi.it/xoshiro256plusplus.c from the state 1, 2, 3, 4, as the Rust crate rand_xoshiro 0.6 has them in its tests.
  random_generator random;
  REQUIRE(random.restore({1, 2, 3, 4}));
  for (const std::uint64_t expected : {41943041u, 58720359u}) CHECK(random.next() == expected);
  for (const std::uint64_t expected : {3588806011781223u, 3591011842654386u, 9228616714210784205u, 9973669472204895162u,
                                       14011001112246962877u, 12406186145184390807u, 15849039046786891736u, 10450023813501588000u}) {
    CHECK(random.next() == expected);
  }
}

TEST_CASE("random: splitmix64 gives the reference implementation's numbers") {
  // Rosetta Code, "Pseudo-random numbers/Splitmix64", seed 1234567.
  std::uint64_t state = 1234567;
  for (const std::uint64_t expected : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u,
                                       16408922859458223821u}) {
    CHECK(cria::splitmix64(state) == expected);
  }
}

TEST_CASE("random: a seed is four words of splitmix64") {
  std::uint64_t state = 1234567;
  random_generator::state_type expected{};
  for (std::uint64_t& word : expected) word = cria::splitmix64(state);
  CHECK(random_generator(1234567).state() == expected);
  static_assert(random_generator(0).state() != random_generator::state_type{});
}

TEST_CASE("random: uniform numbers are multiples of 2^-53 in [0, 1) with the moments of the uniform distribution") {
  random_generator random(7);
  constexpr int n = 200000;
  double sum = 0.0;
  double squares = 0.0;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform();
    REQUIRE(u >= 0.0);
    REQUIRE(u < 1.0);
    REQUIRE(std::ldexp(u, 53) == std::floor(std::ldexp(u, 53)));
    sum += u;
    squares += u * u;
  }
  // Five standard deviations of the mean of u (1/12) and of u^2 (4/45).
  CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(squares / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
}

TEST_CASE("random: the largest and the smallest number are drawn as they should be") {
  random_generator random;
  REQUIRE(random.restore({0, 0, 0, 1}));  // rotl(0 + 1, 23) + 0 = 2^23: below 2^11 after the shift only by its bits
  CHECK(random.uniform() == std::ldexp(static_cast<double>((std::uint64_t{1} << 23) >> 11), -53));
  CHECK(static_cast<double>(~std::uint64_t{0} >> 11) * 0x1p-53 < 1.0);
}

TEST_CASE("random: a restored state goes on as the saved one; the impossible state is refused") {
  random_generator a(99);
  for (int i = 0; i < 10; ++i) a.next();
  random_generator b;
  REQUIRE(b.restore(a.state()));
  CHECK(a == b);
  for (int i = 0; i < 100; ++i) CHECK(a.next() == b.next());
  const auto before = b.state();
  CHECK_FALSE(b.restore({0, 0, 0, 0}));
  CHECK(b.state() == before);
}

TEST_CASE("random: seeds and streams give different numbers") {
  std::set<std::uint64_t> first;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (std::uint64_t stream = 0; stream < 4; ++stream) first.insert(random_generator(seed, stream).next());
  }
  CHECK(first.size() == 200);
}
