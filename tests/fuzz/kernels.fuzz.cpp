// SPDX-License-Identifier: MIT
// tests/fuzz/kernels.fuzz.cpp - any weights of any format times any numbers: every instruction set with fused multiply-adds gives the same bits (any NaN
// for any NaN), the others stay within their bound, and panels give back the blocks that went in.
//
//   format       1 byte
//   shape        1 byte: bit 0 exact or fast, bits 1-3 tokens - 1, bits 4-6 rows / 5, bit 7 one or two blocks in a row
//   activations  1 byte: how many bytes of floats follow, taken again and again; with 0 they are small random numbers
//   weights      the rest, taken again and again
#define DOCTEST_CONFIG_IMPLEMENT   // the helpers assert with it
#include <tests/kernels/kernel_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace {

using namespace cria_test;

/// What must be true, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

void repeat(std::span<const std::uint8_t> from, void* to, std::size_t n) {
  auto* out = static_cast<std::uint8_t*>(to);
  for (std::size_t i = 0; i < n; ++i) out[i] = from.empty() ? std::uint8_t{0} : from[i % from.size()];
}

struct shape {
  cria::precision precision;
  std::size_t n_tokens, n_rows, n_blocks;
};

template <class Format>
constexpr bool is_number = std::is_same_v<Format, cria::f32> || std::is_same_v<Format, cria::f16> || std::is_same_v<Format, cria::bf16>;

template <class Format>
std::vector<float> multiply(const kernel_table& table, const file_rows<Format>& w, const std::vector<float>& x, const shape& s) {
  const std::size_t n_panels = (w.n + 15) / 16;
  const std::vector<std::byte> panels = w.packed();
  std::vector<float> y(s.n_tokens * 16 * n_panels, 3.5f);
  activations a{};
  cria::kernels::gemm_args args{};
  args.weights = panels.data();
  args.k = w.k;
  args.panel_end = n_panels;
  args.n_tokens = s.n_tokens;
  args.y = y.data();
  args.ldy = 16 * n_panels;
  if constexpr (is_number<Format>) {
    args.x = x.data();
    args.ldx = w.k;
  } else {
    a = quantize(table, x, s.n_tokens, w.k, s.precision);
    args.n_groups = w.k / 32;
    args.activations = a.words.data();
    args.activations_precision = s.precision;
  }
  table.gemm[cria::format_index<Format>](args);
  if constexpr (!is_number<Format>) {   // panels of floats are read as they are
    std::vector<Format> row(w.blocks_per_row());
    cria::kernels::packed_blocks(cria::format_index<Format>, panels.data(), w.k, w.n - 1, 0, row.size(), reinterpret_cast<std::byte*>(row.data()));
    expect(std::memcmp(row.data(), w.blocks.data() + (w.n - 1) * row.size(), row.size() * sizeof(Format)) == 0);
  }
  return y;
}

/// The elementwise kernels over the same numbers.
std::vector<float> transform(const kernel_table& table, const std::vector<float>& x) {
  const std::size_t n = x.size() / 2;
  std::vector<float> out(7 * n);
  const float *a = x.data(), *b = x.data() + n;
  table.rms_norm(a, b, 1e-5f, n, out.data());
  table.layer_norm(a, b, a, 1e-5f, n, out.data() + n);
  table.silu_mul(a, b, n, out.data() + 2 * n);
  table.gelu_mul(a, b, n, out.data() + 3 * n);
  table.gelu(a, n, out.data() + 4 * n);
  table.soft_cap(a, 30, n, out.data() + 5 * n);
  table.add_scaled(b, 0.37f, n, out.data() + 6 * n);
  return out;
}

template <class Format>
void check(const shape& s, std::span<const std::uint8_t> numbers_in, std::span<const std::uint8_t> weights) {
  constexpr std::size_t block = cria::block_traits<Format>::block_size;
  const std::size_t k = std::max<std::size_t>(32, block) * s.n_blocks;
  file_rows<Format> w(s.n_rows, k);
  repeat(weights, static_cast<void*>(w.blocks.data()), w.blocks.size() * sizeof(Format));
  std::vector<float> x(s.n_tokens * k);
  numbers random(static_cast<std::uint32_t>(weights.size()));
  if (numbers_in.empty()) x = random.normals(x.size());
  else repeat(numbers_in, x.data(), x.size() * sizeof(float));
  const std::vector<float> y = multiply(reference_table(), w, x, s), z = transform(reference_table(), x);
  for (const kernel_table* table : tables()) {
    if (table == &reference_table()) continue;
    const std::vector<float> other_y = multiply(*table, w, x, s), other_z = transform(*table, x);
    if (!is_fused(*table)) continue;   // run for the sanitizers; its bound is what the tests of each kernel check
    expect(same_bits(y, other_y) && same_bits(z, other_z));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  std::span<const std::uint8_t> rest(data + 3, size - 3);
  const shape s{(data[1] & 1) != 0 ? cria::precision::fast : cria::precision::exact, 1 + std::size_t{data[1] / 2u % 8u},
                1 + std::size_t{data[1] / 16u % 8u} * 5, 1 + std::size_t{data[1] / 128u}};
  const std::size_t n = std::min<std::size_t>(data[2] / 4 * 4, rest.size());
  std::size_t at = 0;
  const auto run = [&]<class Format>(std::type_identity<Format>) {
    if (at++ == data[0] % cria::n_formats) check<Format>(s, rest.first(n), rest.subspan(n));
  };
  each_format(block_formats{}, run);
  each_format(number_formats{}, run);
  return 0;
}
