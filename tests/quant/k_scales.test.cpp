// SPDX-License-Identifier: MIT
#include <cria/quant/k_scales.hpp>

#include "block_layout.hpp"

#include <doctest/doctest.h>

#include <array>

using cria_test::bit_field;

TEST_CASE("k_scales: six-bit scales and minima are read from the bits that the drawing gives them") {
  // Fields within the 12 bytes, low bits first.
  const auto scale_of = [](std::size_t j) {
    return j < 4 ? std::vector<bit_field>{{j, 0, 6}} : std::vector<bit_field>{{j + 4, 0, 4}, {j - 4, 6, 2}};
  };
  const auto min_of = [](std::size_t j) {
    return j < 4 ? std::vector<bit_field>{{j + 4, 0, 6}} : std::vector<bit_field>{{j + 4, 4, 4}, {j, 6, 2}};
  };
  struct packed {
    std::uint8_t bytes[12];
  };
  for (std::size_t j = 0; j < 8; ++j) {
    for (unsigned scale = 0; scale < 64; ++scale) {
      for (unsigned min = 0; min < 64; ++min) {
        packed p{};
        for (std::size_t other = 0; other < 8; ++other) {
          cria_test::put_bits(p, scale_of(other), other == j ? scale : 63 - scale);
          cria_test::put_bits(p, min_of(other), other == j ? min : 63 - min);
        }
        int scales[8], mins[8];
        bool ok = true;
        for (std::size_t other = 0; other < 8; ++other) {
          const cria::k_scale k = cria::unpack_k_scale(p.bytes, other);
          scales[other] = k.scale;
          mins[other] = k.min;
          ok = ok && k.scale == static_cast<int>(other == j ? scale : 63 - scale) && k.min == static_cast<int>(other == j ? min : 63 - min);
        }
        std::uint8_t repacked[12];
        cria::pack_k_scales(scales, mins, repacked);
        REQUIRE((ok && std::memcmp(repacked, p.bytes, 12) == 0));
      }
    }
  }
}
