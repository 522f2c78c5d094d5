// SPDX-License-Identifier: MIT
#include <cria/kernels/catalog.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kernels = cria::kernels;
using kernels::panel;
using kernels::panel_rows;

namespace {

template <class F, class... Formats>
void each_format(cria::type_list<Formats...>, F&& f) {
  (f(std::type_identity<Formats>{}), ...);
}
template <class Format>
constexpr std::size_t panel_bytes = panel_rows * sizeof(Format);

template <class Format>
void randomize(Format (&rows)[panel_rows], std::mt19937& random) {
  std::byte bytes[sizeof rows];
  for (std::byte& b : bytes) b = static_cast<std::byte>(random() >> 24);
  std::memcpy(rows, bytes, sizeof rows);
}

// The panel block; fails when the 64 bytes on either side of it change.
template <class Format>
std::vector<std::byte> packed(const Format (&rows)[panel_rows]) {
  std::vector<std::byte> out(panel_bytes<Format> + 128, std::byte{0xa5});
  panel<Format>::pack(rows, out.data() + 64);
  bool is_untouched = true;
  for (std::size_t n = 0; n < 64; ++n) is_untouched = is_untouched && out[n] == std::byte{0xa5} && out[out.size() - 1 - n] == std::byte{0xa5};
  REQUIRE(is_untouched);
  return {out.begin() + 64, out.end() - 64};
}

std::uint32_t bits_of(float x) { return std::isnan(x) ? 0x7fc00000 : std::bit_cast<std::uint32_t>(x); }

// What the matrix products read instead of a block of Format.
template <class Format>
using columns_of = std::conditional_t<cria::octet_block<Format>, kernels::decoded_octets, Format>;

// Value k of row r as the matrix products see it: scale (code - zero) + min in double precision, where it is exact, rounded once.
template <class Format, std::size_t Step>
void step_values(const std::byte* block, std::size_t g, float (&values)[panel_rows][256]) {
  using layout = panel<columns_of<Format>>;
  using unpack = typename layout::template unpack<cria::isa::scalar>;
  const std::size_t sub = Step / (8 / layout::subs);
  alignas(64) std::byte sc[unpack::decoded_bytes + 1];
  if constexpr (cria::octet_block<Format>) {
    kernels::decode_octets<Format, cria::isa::scalar>::run(block, sc);
    block = sc;
  } else {
    block = kernels::panel_blocks<Format, cria::isa::scalar>::decode({}, block, sc);
  }
  const auto codes = unpack::template codes<Step>(block, g, 0);
  const auto scale = unpack::scale(block, sc, g, 0, sub);
  for (std::size_t r = 0; r < panel_rows; ++r) {
    double min = 0;
    if constexpr (layout::has_min) min = static_cast<double>(unpack::min(block, sc, g, 0, sub).v[r]);
    for (std::size_t b = 0; b < 4; ++b) {
      const int code = static_cast<std::uint32_t>(codes.v[r]) >> 8 * b & 255;
      if (code > layout::w_max) FAIL("code " << code);
      values[r][32 * g + 4 * Step + b] = static_cast<float>(static_cast<double>(scale.v[r]) * (code - layout::zero) + min);
    }
  }
}

}  // namespace

TEST_CASE("panel: every bit of a block has a bit of its own in the panel, and comes back") {
  each_format(kernels::quantised_formats{}, [&]<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    Format rows[panel_rows] = {};
    const std::vector<std::byte> zeros = packed(rows);
    std::set<std::size_t> places;
    for (std::size_t r = 0; r < panel_rows; ++r) {
      for (std::size_t bit = 0; bit < 8 * sizeof(Format); ++bit) {
        Format block = {};
        std::byte bytes[sizeof(Format)] = {};
        bytes[bit / 8] = static_cast<std::byte>(1 << bit % 8);
        std::memcpy(&block, bytes, sizeof bytes);
        rows[r] = block;
        const std::vector<std::byte> out = packed(rows);
        std::size_t changed = 0;
        for (std::size_t n = 0; n < out.size(); ++n) {
          const auto difference = std::to_integer<unsigned>(out[n] ^ zeros[n]);
          changed += static_cast<std::size_t>(std::popcount(difference));
          if (difference != 0) places.insert(8 * n + static_cast<std::size_t>(std::countr_zero(difference)));
        }
        REQUIRE(changed == 1);
        const Format back = panel<Format>::row(out.data(), r);
        REQUIRE(std::memcmp(&back, &block, sizeof block) == 0);
        rows[r] = Format{};
      }
    }
    CHECK(places.size() == 8 * panel_bytes<Format>);
  });
}

TEST_CASE("panel: random blocks come back byte for byte from every row") {
  each_format(kernels::quantised_formats{}, [&]<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    std::mt19937 random(static_cast<std::uint32_t>(Format::type));
    for (int n = 0; n < 100; ++n) {
      Format rows[panel_rows];
      randomize(rows, random);
      const std::vector<std::byte> block = packed(rows);
      for (std::size_t r = 0; r < panel_rows; ++r) {
        const Format back = panel<Format>::row(block.data(), r);
        REQUIRE(std::memcmp(&back, &rows[r], sizeof back) == 0);
      }
    }
  });
}

TEST_CASE("panel: scale (code - zero) + min of the unpacked pieces is the dequantised value, for any bytes") {
  each_format(kernels::quantised_formats{}, [&]<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    std::mt19937 random(static_cast<std::uint32_t>(Format::type) + 1);
    for (int n = 0; n < 200; ++n) {
      Format rows[panel_rows];
      randomize(rows, random);
      if (n < 2) std::memset(static_cast<void*>(rows), n == 0 ? 0 : 255, sizeof rows);
      const std::vector<std::byte> block = packed(rows);
      float values[panel_rows][256];
      for (std::size_t g = 0; g < panel<Format>::groups; ++g) {
        [&]<std::size_t... Step>(std::index_sequence<Step...>) { (step_values<Format, Step>(block.data(), g, values), ...); }
        (std::make_index_sequence<8>{});
      }
      for (std::size_t r = 0; r < panel_rows; ++r) {
        float expected[Format::block_size];
        Format::dequantize(rows[r], expected);
        for (std::size_t k = 0; k < Format::block_size; ++k) {
          // Either sign of zero: 0 min and -0 min are the same value.
          const bool is_equal = bits_of(values[r][k]) == bits_of(expected[k]) || (values[r][k] == 0 && expected[k] == 0);
          if (!is_equal) FAIL("block " << n << ", row " << r << ", value " << k << ": " << values[r][k] << " is not " << expected[k]);
        }
      }
    }
  });
}

TEST_CASE("panel.mxfp4: every exponent byte gives its power of two") {
  for (int e = 0; e < 256; e += 16) {
    cria::mxfp4 rows[panel_rows] = {};
    for (std::size_t r = 0; r < panel_rows; ++r) rows[r].e = static_cast<std::uint8_t>(e + static_cast<int>(r));
    const std::vector<std::byte> block = packed(rows);
    const auto scale = panel<cria::mxfp4>::unpack<cria::isa::scalar>::scale(block.data(), nullptr, 0, 0, 0);
    for (std::size_t r = 0; r < panel_rows; ++r) CHECK(static_cast<double>(scale.v[r]) == std::ldexp(1.0, e + static_cast<int>(r) - 128));
  }
}

TEST_CASE("panel: codes fit what every instruction set's sums hold") {
  // |sum| of one plane over a group: w_max * 127 * 32; both planes: w_max * 16256 * 32 (activations.hpp), in int32.
  each_format(kernels::quantised_formats{}, [&]<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    using columns = panel<columns_of<Format>>;
    CHECK(columns::w_max <= 255);
    CHECK(std::int64_t{columns::w_max} * 16256 * 32 + 16256 * 32 * 128 <= INT32_MAX);
    CHECK(columns::zero <= columns::w_max);
    CHECK(Format::block_size == 32 * panel<Format>::groups);
  });
}
