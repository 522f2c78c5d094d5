// SPDX-License-Identifier: MIT
#include <cria/core/checked.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>

using cria::byte_cursor;
using cria::checked_u64;

namespace {
constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
}

TEST_CASE("checked: sums, products and roundings at the edge of 64 bits are exact or absent") {
  CHECK((checked_u64(max - 1) + 1).get() == max);
  CHECK_FALSE((checked_u64(max) + 1).get());
  CHECK((checked_u64(5) - 5).get() == 0);
  CHECK_FALSE((checked_u64(5) - 6).get());
  CHECK((checked_u64(max / 2) * 2).get() == max - 1);
  CHECK_FALSE((checked_u64(max / 2 + 1) * 2).get());
  CHECK((checked_u64(0) * max).get() == 0);
  CHECK((checked_u64(max) * 0).get() == 0);
  CHECK_FALSE((checked_u64(1) / 0).get());
  CHECK(checked_u64(33).rounded_up(32).get() == 64);
  CHECK(checked_u64(64).rounded_up(32).get() == 64);
  CHECK_FALSE(checked_u64(max - 3).rounded_up(32).get());   // 2^64 - 4 must not become 0
  CHECK_FALSE(checked_u64(1).rounded_up(0).get());
}

TEST_CASE("checked: a failed step is not forgotten by later ones") {
  CHECK_FALSE(((checked_u64(max) + 1) * 0).get());
  CHECK_FALSE(((checked_u64(max) * 2) / 2).get());
  CHECK_FALSE((checked_u64(7) - (checked_u64(max) + 3)).get());
  CHECK_FALSE((checked_u64(max) + 1).rounded_up(8).get());
}

TEST_CASE("checked: the product of small numbers agrees with 128-bit arithmetic") {
  std::uint64_t x = 88172645463325252u;
  for (int i = 0; i < 100'000; ++i) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    const std::uint64_t a = x >> (i % 64);
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    const std::uint64_t b = x >> (i / 64 % 64);
    const auto product = (checked_u64(a) * b).get();
    const bool fits = b == 0 || a == 0 || (a * b) / b == a;
    REQUIRE(product.has_value() == fits);
    if (product) REQUIRE(*product == a * b);
  }
}

TEST_CASE("checked: a cursor hands out what is there, and stays where it is when asked for more") {
  std::array<std::byte, 10> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  byte_cursor cursor(bytes);
  CHECK(cursor.read<std::uint16_t>() == 0x0100);
  CHECK_FALSE(cursor.take(9));
  CHECK_FALSE(cursor.take(max));
  CHECK_FALSE(cursor.take(max - 1));   // position + n would wrap to a number inside
  CHECK(cursor.position() == 2);
  CHECK(cursor.read<std::uint64_t>() == 0x0908070605040302u);
  CHECK(cursor.left() == 0);
  CHECK_FALSE(cursor.read<std::uint8_t>());
  CHECK(cursor.take(0).has_value());
}

TEST_CASE("checked: numbers are stored and loaded with the low byte first, at any address") {
  std::array<std::byte, 9> bytes{};
  const auto stored = cria::store_le<std::uint32_t>(0x04030201);
  CHECK(stored == std::array{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}});
  const auto number = cria::store_le(-1.5);
  std::copy(number.begin(), number.end(), bytes.begin() + 1);
  CHECK(cria::load_le<double>(bytes.data() + 1) == -1.5);
}
