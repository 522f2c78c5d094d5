// SPDX-License-Identifier: MIT
#include "kernel_test.hpp"

using namespace cria_test;

namespace {

// Random bytes, NaN and infinity among them.
template <class Format>
file_rows<Format> any_rows(std::size_t n, std::size_t k, numbers& random) {
  file_rows<Format> rows(n, k);
  for (Format& block : rows.blocks) {
    std::byte bytes[sizeof(Format)];
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.bits() >> 24);
    std::memcpy(&block, bytes, sizeof bytes);
  }
  return rows;
}

template <class Format>
void check_rows(const kernel_table& table, std::size_t n, std::size_t k) {
  CAPTURE(name(table));
  CAPTURE(std::string(cria::block_traits<Format>::name));
  CAPTURE(n);
  CAPTURE(k);
  numbers random(static_cast<std::uint32_t>(n * 1000 + k));
  const file_rows<Format> rows = any_rows<Format>(n, k, random);
  const std::vector<std::byte> panels = rows.packed(table);
  const std::vector<float> expected = rows.values();
  std::vector<float> got(k + 2, 7.0f);
  bool is_equal = true;
  for (std::size_t r = 0; r < n; ++r) {
    cria::kernels::packed_row(table, cria::block_traits<Format>::type, panels.data(), k, r, std::span(got).subspan(1, k));
    is_equal = is_equal && same_bits(std::span(got).subspan(1, k), std::span(expected).subspan(r * k, k));
  }
  CHECK(is_equal);
  CHECK(got.front() == 7.0f);
  CHECK(got.back() == 7.0f);
  Format zero{};
  std::vector<float> zeros(cria::block_traits<Format>::block_size);
  cria::block_traits<Format>::dequantize(zero, std::span<float, cria::block_traits<Format>::block_size>(zeros));
  bool is_zero = true;
  for (std::size_t r = n; r < (n + 15) / 16 * 16; ++r) {
    cria::kernels::packed_row(table, cria::block_traits<Format>::type, panels.data(), k, r, std::span(got).subspan(1, k));
    for (std::size_t i = 0; i < k; ++i) is_zero = is_zero && got[1 + i] == 0;
  }
  CHECK(is_zero);
}

template <class Format>
void check_format() {
  constexpr std::size_t block = cria::block_traits<Format>::block_size;
  for (const kernel_table* table : tables()) {
    for (const std::size_t n : sizes{1, 15, 16, 17, 40}) {
      for (const std::size_t blocks : sizes{1, 3}) check_rows<Format>(*table, n, blocks * block * (block == 1 ? 7 : 1));
    }
  }
}

}  // namespace

TEST_CASE("pack: every row of a packed matrix is its dequantised row bit for bit, rows behind the last are zeros") {
  each_format(block_formats{}, []<class Format>(std::type_identity<Format>) { check_format<Format>(); });
  each_format(number_formats{}, []<class Format>(std::type_identity<Format>) { check_format<Format>(); });
}

TEST_CASE("pack: every table makes the same panels, whether at once or panel by panel") {
  each_format(block_formats{}, []<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    numbers random(3);
    const std::size_t k = 2 * Format::block_size, n = 37;
    const file_rows<Format> rows = any_rows<Format>(n, k, random);
    const std::vector<std::byte> expected = rows.packed(reference_table());
    for (const kernel_table* table : tables()) {
      CAPTURE(name(*table));
      CHECK(rows.packed(*table) == expected);
      std::vector<std::byte> parts;
      for (std::size_t first = 0; first < n; first += 16) {
        const file_rows<Format> part = [&] {
          file_rows<Format> some(std::min<std::size_t>(16, n - first), k);
          std::copy_n(rows.blocks.begin() + static_cast<std::ptrdiff_t>(first * rows.blocks_per_row()), some.blocks.size(), some.blocks.begin());
          return some;
        }();
        const std::vector<std::byte> panel = part.packed(*table);
        parts.insert(parts.end(), panel.begin(), panel.end());
      }
      CHECK(parts == expected);
    }
  });
}

TEST_CASE("pack: a panel outside the rows that exist is zero blocks, and bytes behind the panels stay") {
  each_format(block_formats{}, []<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    numbers random(4);
    const file_rows<Format> rows = any_rows<Format>(3, Format::block_size, random);
    const file_rows<Format> none(16, Format::block_size);
    for (const kernel_table* table : tables()) {
      CAPTURE(name(*table));
      const std::size_t bytes = 16 * sizeof(Format);
      std::vector<std::byte> panels(2 * bytes + 64, std::byte{0x5a});
      table->pack[cria::format_index<Format>]({reinterpret_cast<const std::byte*>(rows.blocks.data()), 3, Format::block_size, 2, panels.data()});
      const std::vector<std::byte> zero = none.packed(*table);
      CHECK(std::equal(zero.begin(), zero.end(), panels.begin() + static_cast<std::ptrdiff_t>(bytes)));
      CHECK(std::all_of(panels.end() - 64, panels.end(), [](std::byte b) { return b == std::byte{0x5a}; }));
    }
  });
}
