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
void check_rows(std::size_t n, std::size_t k) {
  CAPTURE(std::string(cria::block_traits<Format>::name));
  CAPTURE(n);
  CAPTURE(k);
  numbers random(static_cast<std::uint32_t>(n * 1000 + k));
  const file_rows<Format> rows = any_rows<Format>(n, k, random);
  const std::vector<std::byte> panels = rows.packed();
  const std::vector<float> expected = rows.values();
  std::vector<float> got(k + 2, 7.0f);
  bool is_equal = true;
  for (std::size_t r = 0; r < n; ++r) {
    cria::kernels::packed_row(cria::block_traits<Format>::type, panels.data(), k, r, std::span(got).subspan(1, k));
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
    cria::kernels::packed_row(cria::block_traits<Format>::type, panels.data(), k, r, std::span(got).subspan(1, k));
    for (std::size_t i = 0; i < k; ++i) is_zero = is_zero && got[1 + i] == 0;
  }
  CHECK(is_zero);
}

template <class Format>
void check_format() {
  constexpr std::size_t block = cria::block_traits<Format>::block_size;
  for (const std::size_t n : sizes{1, 15, 16, 17, 40}) {
    for (const std::size_t blocks : sizes{1, 3}) check_rows<Format>(n, blocks * block * (block == 1 ? 7 : 1));
  }
}

}  // namespace

TEST_CASE("pack: every row of a packed matrix is its dequantised row bit for bit, rows behind the last are zeros") {
  each_format(block_formats{}, []<class Format>(std::type_identity<Format>) { check_format<Format>(); });
  each_format(number_formats{}, []<class Format>(std::type_identity<Format>) { check_format<Format>(); });
}

TEST_CASE("pack: the panels are the same whether at once or panel by panel") {
  each_format(block_formats{}, []<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    numbers random(3);
    const std::size_t k = 2 * Format::block_size, n = 37;
    const file_rows<Format> rows = any_rows<Format>(n, k, random);
    std::vector<std::byte> parts;
    for (std::size_t first = 0; first < n; first += 16) {
      file_rows<Format> part(std::min<std::size_t>(16, n - first), k);
      std::copy_n(rows.blocks.begin() + static_cast<std::ptrdiff_t>(first * rows.blocks_per_row()), part.blocks.size(), part.blocks.begin());
      const std::vector<std::byte> panel = part.packed();
      parts.insert(parts.end(), panel.begin(), panel.end());
    }
    CHECK(parts == rows.packed());
  });
}

TEST_CASE("pack: the blocks of a packed row are those of the file, from any column on") {
  each_format(block_formats{}, []<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    numbers random(5);
    const std::size_t n_blocks = 3, n = 18;
    const file_rows<Format> rows = any_rows<Format>(n, n_blocks * Format::block_size, random);
    const std::vector<std::byte> panels = rows.packed();
    for (const std::size_t r : sizes{0, 15, 16, 17}) {
      for (std::size_t begin = 0; begin <= n_blocks; ++begin) {
        std::vector<Format> got(n_blocks - begin);
        cria::kernels::packed_blocks(cria::format_index<Format>, panels.data(), rows.k, r, begin, n_blocks, reinterpret_cast<std::byte*>(got.data()));
        CHECK((got.empty() || std::memcmp(got.data(), rows.blocks.data() + r * n_blocks + begin, got.size() * sizeof(Format)) == 0));
      }
    }
  });
}

TEST_CASE("pack: a panel outside the rows that exist is zero blocks, and bytes behind the panels stay") {
  each_format(block_formats{}, []<class Format>(std::type_identity<Format>) {
    CAPTURE(std::string(Format::name));
    numbers random(4);
    const file_rows<Format> rows = any_rows<Format>(3, Format::block_size, random);
    const file_rows<Format> none(16, Format::block_size);
    const std::size_t bytes = 16 * sizeof(Format);
    std::vector<std::byte> panels(2 * bytes + 64, std::byte{0x5a});
    cria::kernels::pack(cria::format_index<Format>,
                        {reinterpret_cast<const std::byte*>(rows.blocks.data()), 3, Format::block_size, 2, panels.data()});
    const std::vector<std::byte> zero = none.packed();
    CHECK(std::equal(zero.begin(), zero.end(), panels.begin() + static_cast<std::ptrdiff_t>(bytes)));
    CHECK(std::all_of(panels.end() - 64, panels.end(), [](std::byte b) { return b == std::byte{0x5a}; }));
  });
}
