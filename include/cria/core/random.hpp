// SPDX-License-Identifier: MIT
// core/random.hpp - the random generator behind every seed: xoshiro256++, seeded by splitmix64; the same numbers on every platform.
//
// Errors    none (noexcept)
// Threads   a value; one user at a time
// Source    D. Blackman, S. Vigna, Scrambled Linear Pseudorandom Number Generators, ACM TOMS 47 (2021), arXiv 1805.01407;
//           splitmix64: G. Steele, D. Lea, C. Flood, OOPSLA 2014. Both are part of what a seed means and never change.
#pragma once

#include <cria/core/config.hpp>

#include <array>
#include <bit>
#include <cstdint>

namespace cria::inline v0_1_0 {

/// Advances `state` and returns splitmix64's next number: for spreading seeds, not for sampling.
[[nodiscard]] constexpr std::uint64_t splitmix64(std::uint64_t& state) noexcept {
  state += 0x9e3779b97f4a7c15;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// xoshiro256++: 256 bits of state, period 2^256 - 1.
class random_generator {
 public:
  using state_type = std::array<std::uint64_t, 4>;

  /// Starts stream number `stream` of `seed`; every seed, 0 too, is as good as another.
  constexpr explicit random_generator(std::uint64_t seed = 0, std::uint64_t stream = 0) noexcept {
    std::uint64_t spread = stream;
    if (stream != 0) seed ^= splitmix64(spread);
    for (std::uint64_t& word : state_) word = splitmix64(seed);
  }

  /// Returns 64 random bits.
  constexpr std::uint64_t next() noexcept {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Returns a multiple of 2^-53 in [0, 1), each equally likely.
  constexpr double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  [[nodiscard]] constexpr const state_type& state() const noexcept { return state_; }

  /// Continues where a generator with this state would; returns false and changes nothing for the one impossible state, all zero.
  [[nodiscard]] constexpr bool restore(const state_type& state) noexcept {
    if (state == state_type{}) return false;
    state_ = state;
    return true;
  }

  friend constexpr bool operator==(const random_generator&, const random_generator&) = default;

 private:
  state_type state_{};
};

}  // namespace cria::inline v0_1_0
