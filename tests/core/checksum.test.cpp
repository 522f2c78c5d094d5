// SPDX-License-Identifier: MIT
#include <cria/core/checksum.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <span>
#include <vector>

using namespace cria;

namespace {

std::vector<std::byte> random_bytes(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> out(n);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

/// The same checksum from the header's two lines, on words of the whole input at once.
std::uint64_t plain_checksum(std::vector<std::byte> bytes, std::uint64_t seed = 0) {
  std::uint64_t lanes[4], length = bytes.size();
  for (std::uint64_t& lane : lanes) lane = splitmix64(seed);
  bytes.resize((bytes.size() + 31) / 32 * 32);
  for (std::size_t i = 0; i < bytes.size() / 8; ++i) {
    std::uint64_t word = 0;
    for (std::size_t b = 0; b < 8; ++b) word |= std::to_integer<std::uint64_t>(bytes[8 * i + b]) << 8 * b;
    const std::uint64_t mixed = lanes[i % 4] ^ word;
    lanes[i % 4] = (mixed << 29 | mixed >> 35) * 0x9fb21c651e98df25;
  }
  for (const std::uint64_t lane : lanes) {
    std::uint64_t state = length ^ lane;
    length = splitmix64(state);
  }
  return length;
}

}  // namespace

TEST_CASE("checksum: equals its definition for every length to 100, however the bytes are cut") {
  for (std::size_t n = 0; n <= 100; ++n) {
    CAPTURE(n);
    const auto bytes = random_bytes(n, static_cast<unsigned>(n));
    const std::uint64_t expected = plain_checksum(bytes);
    CHECK(checksum_of(bytes) == expected);
    for (const std::size_t step : {1u, 3u, 8u, 31u, 32u, 33u}) {
      checksum64 sum;
      for (std::size_t at = 0; at < n; at += step) sum.update(std::span(bytes).subspan(at, std::min(step, n - at)));
      CHECK(sum.value() == expected);
      CHECK(sum.value() == expected);   // asking changes nothing
    }
  }
}

TEST_CASE("checksum: no change within a word, no other length of zeros and no other seed gives the same") {
  const auto bytes = random_bytes(100, 7);
  const std::uint64_t original = checksum_of(bytes);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (unsigned change = 1; change < 256; ++change) {
      auto altered = bytes;
      altered[at] ^= static_cast<std::byte>(change);
      if (checksum_of(altered) == original) FAIL("byte ", at, " change ", change);
    }
  }
  std::set<std::uint64_t> seen;
  for (std::size_t n = 0; n < 200; ++n) seen.insert(checksum_of(std::vector<std::byte>(n)));
  CHECK(seen.size() == 200);
  checksum64 seeded(1);
  seeded.update(bytes);
  CHECK(seeded.value() == plain_checksum(bytes, 1));
  CHECK(seeded.value() != original);
}

TEST_CASE("checksum: numbers and text count as their little-endian bytes") {
  checksum64 sum, bytes;
  sum.update(std::uint32_t{0x04030201});
  sum.update("ab");
  const std::byte expected[] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{'a'}, std::byte{'b'}};
  bytes.update(std::span<const std::byte>(expected));
  CHECK(sum.value() == bytes.value());
}
