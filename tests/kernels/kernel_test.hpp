// SPDX-License-Identifier: MIT
// tests/kernels/kernel_test.hpp - what the tests of the kernels share: the tables that run here, inputs, references, hashes.
#pragma once

#include <cria/core/float16.hpp>
#include <cria/core/types.hpp>
#include <cria/kernels/activation_size.hpp>
#include <cria/kernels/pack.hpp>
#include <cria/kernels/registry.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iostream>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace cria_test {

using cria::kernels::kernel_table;

using sizes = std::initializer_list<std::size_t>;

inline constexpr double unit = 0x1p-24;  ///< half the distance from 1 to the next float: what one rounding changes at most, relatively

/// Returns the compiled tables that this processor runs, worst first; says on stderr which instruction sets are not tested.
inline const std::vector<const kernel_table*>& tables() {
  static const std::vector<const kernel_table*> running = [] {
    const cria::isa::cpu_features cpu = cria::isa::detect();
    std::vector<const kernel_table*> found;
    std::string ran;
    for (const cria::isa::id id : cria::isa::all_ids) {
      const kernel_table* table = nullptr;
      for (const kernel_table* compiled : cria::kernels::compiled_tables()) table = compiled->set == id ? compiled : table;
      const std::string name(cria::isa::name(id));
      if (table != nullptr && cpu.runs(id)) {
        found.push_back(table);
        ran += " " + name;
      } else {
        std::cerr << "!!!!! NOT RUN: " << name << (table == nullptr ? ": not compiled in" : ": this processor lacks it") << "\n";
      }
    }
    std::cerr << "instruction sets tested:" << ran << "\n";
    return found;
  }();
  return running;
}

inline std::string name(const kernel_table& table) { return std::string(cria::isa::name(table.set)); }

/// Whether the set has fused multiply-adds, and so must give the bits of every other set that has.
inline bool is_fused(const kernel_table& table) { return table.set != cria::isa::id::sse4_2; }

/// The table that the others are compared with: plain C++, or the first with fused multiply-adds in a build without it.
inline const kernel_table& reference_table() {
  static const kernel_table* const reference = [] {
    for (const kernel_table* table : tables()) {
      if (!is_fused(*table)) continue;
      if (table->set != cria::isa::id::scalar) std::cerr << "!!!!! no plain C++ in this build: the sets are compared with " << name(*table) << "\n";
      return table;
    }
    return tables().at(0);
  }();
  return *reference;
}

/// FNV-1a over the bytes of floats, NaN as 0x7fc00000.
class hash {
 public:
  void add(std::span<const float> values) {
    for (const float x : values) {
      const std::uint32_t bits = std::isnan(x) ? 0x7fc00000 : std::bit_cast<std::uint32_t>(x);
      for (int b = 0; b < 32; b += 8) state_ = (state_ ^ (bits >> b & 255)) * 1099511628211u;
    }
  }
  [[nodiscard]] std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 14695981039346656037u;
};

/// Prints the hash of what each table computed and fails when two sets with fused multiply-adds differ.
class table_hashes {
 public:
  explicit table_hashes(std::string what) : what_(std::move(what)), hashes_(tables().size()) {}
  hash& operator[](std::size_t table) { return hashes_[table]; }
  void check() const {
    for (std::size_t n = 0; n < hashes_.size(); ++n) {
      std::cerr << "hash " << what_ << " " << name(*tables()[n]) << " " << std::hex << hashes_[n].value() << std::dec << "\n";
      if (is_fused(*tables()[n])) CHECK_MESSAGE(hashes_[n].value() == of_reference(), what_ << " " << name(*tables()[n]));
    }
  }

 private:
  [[nodiscard]] std::uint64_t of_reference() const {
    for (std::size_t n = 0; n < hashes_.size(); ++n) {
      if (tables()[n] == &reference_table()) return hashes_[n].value();
    }
    return 0;
  }

  std::string what_;
  std::vector<hash> hashes_;
};

/// Numbers that are the same with every standard library.
class numbers {
 public:
  explicit numbers(std::uint32_t seed) : random_(seed) {}
  std::uint32_t bits() { return static_cast<std::uint32_t>(random_()); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(std::uint64_t{bits()} * n >> 32); }
  /// Uniform in [low, high).
  float uniform(float low, float high) {
    return static_cast<float>(static_cast<double>(low) +
                              static_cast<double>(bits()) * 0x1p-32 * (static_cast<double>(high) - static_cast<double>(low)));
  }
  /// About normal with deviation 1.
  float normal() {
    double sum = 0;
    for (int n = 0; n < 12; ++n) sum += static_cast<double>(bits()) * 0x1p-32;
    return static_cast<float>(sum - 6);
  }
  std::vector<float> normals(std::size_t n, float deviation = 1) {
    std::vector<float> values(n);
    for (float& x : values) x = normal() * deviation;
    return values;
  }

 private:
  std::mt19937 random_;
};

/// The greatest distance to a reference in units of what is allowed; 1 and below passes.
struct worst_case {
  double ratio = 0;
  std::string where;

  void see(double value, double expected, double allowed, const std::string& place) {
    const double distance = value == expected ? 0 : std::abs(value - expected) / allowed;
    if (!(distance <= ratio)) {  // NaN is worst
      ratio = std::isnan(distance) ? HUGE_VAL : distance;
      where = place + ": " + std::to_string(value) + " is not " + std::to_string(expected) + " within " + std::to_string(allowed);
    }
  }
  void check(const std::string& what) const { CHECK_MESSAGE(ratio <= 1, what << ", " << where); }
};

/// Whether two arrays hold the same bits, any NaN for any NaN.
inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return false;
  for (std::size_t n = 0; n < a.size(); ++n) {
    if (std::bit_cast<std::uint32_t>(a[n]) != std::bit_cast<std::uint32_t>(b[n]) && !(std::isnan(a[n]) && std::isnan(b[n]))) return false;
  }
  return true;
}

/// Quantised activations of X[n_tokens, k] and what they stand for.
struct activations {
  std::vector<std::int32_t> words;
  cria::precision precision;
  std::size_t n_tokens, n_groups;
};

inline activations quantize(const kernel_table& table, std::span<const float> x, std::size_t n_tokens, std::size_t k, cria::precision p) {
  activations a{std::vector<std::int32_t>(cria::kernels::activation_capacity(n_tokens, k, p), 0x55555555), p, n_tokens, k / 32};
  for (std::size_t t = 0; t < n_tokens; ++t) table.quantize({x.data(), k, n_tokens, k / 32, p, a.words.data()}, t, 0, k / 32);
  return a;
}

/// One token's group, read from the layout that kernels/activations.hpp describes.
struct token_group {
  float d;
  int q[32];
  std::int32_t bias[3];
  float ds[3];
  int h[32], l[32];
};

/// A tile's first token and width.
struct tile {
  std::size_t first, width;
};

/// Returns the tile of token `t`: tiles follow one another, each as wide as tile_width says.
inline tile tile_at(const kernel_table& table, std::size_t t, std::size_t n_tokens) {
  tile at{0, cria::kernels::tile_width(n_tokens, table.tiles)};
  while (at.first + at.width <= t) {
    at.first += at.width;
    at.width = cria::kernels::tile_width(n_tokens - at.first, table.tiles);
  }
  return at;
}

/// Whether the set has no direct product of bytes, so that its `exact` tiles of several tokens are pairs of int16.
inline bool has_pairs(const kernel_table& table) {
  using cria::isa::id;
  return table.set == id::sse4_2 || table.set == id::avx2 || table.set == id::avx512bw;
}

inline token_group read_group(const kernel_table& table, const activations& a, std::size_t t, std::size_t g) {
  const std::size_t words = cria::kernels::activation_words(a.precision);
  const auto [first, width] = tile_at(table, t, a.n_tokens);
  const std::int32_t* tile = a.words.data() + first * a.n_groups * words;
  const std::size_t n_words = words - 7, step = width == 1 ? a.n_groups : width;  // of one token the fields of all groups lie side by side
  const std::int32_t* word = width == 1 ? tile + g * n_words : tile + g * width * words + (t - first);
  const std::int32_t* field = width == 1 ? tile + a.n_groups * n_words + g : word + n_words * width;
  token_group out{};
  if (a.precision == cria::precision::exact && width > 1 && has_pairs(table)) {
    for (std::size_t k = 0; k < 32; ++k) {  // numbers 0 and 2 of a step, and 1 and 3 in the place of the second plane
      out.q[k] = static_cast<std::int16_t>(static_cast<std::uint32_t>(word[(8 * (k % 2) + k / 4) * width]) >> 16 * (k % 4 / 2));
      out.h[k] = (out.q[k] + 64) >> 7;
      out.l[k] = out.q[k] - 128 * out.h[k];
    }
  } else {
    for (std::size_t k = 0; k < 32; ++k) out.h[k] = static_cast<std::int8_t>(static_cast<std::uint32_t>(word[k / 4 * width]) >> 8 * (k % 4));
    if (a.precision == cria::precision::exact) {
      for (std::size_t k = 0; k < 32; ++k) out.l[k] = static_cast<std::int8_t>(static_cast<std::uint32_t>(word[(8 + k / 4) * width]) >> 8 * (k % 4));
    }
    for (std::size_t k = 0; k < 32; ++k) out.q[k] = a.precision == cria::precision::exact ? 128 * out.h[k] + out.l[k] : out.h[k];
  }
  out.d = std::bit_cast<float>(*field);
  for (std::int32_t& b : out.bias) b = *(field += step);
  for (float& s : out.ds) s = std::bit_cast<float>(*(field += step));
  return out;
}

/// The values [n_tokens, k] that the activations stand for.
inline std::vector<double> values_of(const kernel_table& table, const activations& a) {
  std::vector<double> x(a.n_tokens * a.n_groups * 32);
  for (std::size_t t = 0; t < a.n_tokens; ++t) {
    for (std::size_t g = 0; g < a.n_groups; ++g) {
      const token_group group = read_group(table, a, t, g);
      for (std::size_t k = 0; k < 32; ++k) x[(t * a.n_groups + g) * 32 + k] = static_cast<double>(group.d) * group.q[k];
    }
  }
  return x;
}

template <class F, class... Formats>
void each_format(cria::type_list<Formats...>, F&& f) {
  (f(std::type_identity<Formats>{}), ...);
}

/// The formats with blocks of codes, in the order of all_formats: all but the three float ones.
using block_formats = cria::type_list<cria::q4_0, cria::q4_1, cria::q5_0, cria::q5_1, cria::q8_0, cria::q2_k, cria::q3_k, cria::q4_k, cria::q5_k,
                                      cria::q6_k, cria::iq1_s, cria::iq1_m, cria::iq2_xxs, cria::iq2_xs, cria::iq2_s, cria::iq3_xxs, cria::iq3_s, cria::iq4_nl,
                                      cria::iq4_xs, cria::tq1_0, cria::tq2_0, cria::mxfp4>;
using number_formats = cria::type_list<cria::f32, cria::f16, cria::bf16>;
static_assert(block_formats::size + number_formats::size == cria::n_formats);

/// A matrix as the file holds it.
template <class Format>
struct file_rows {
  std::size_t n, k;
  std::vector<Format> blocks;

  file_rows(std::size_t rows, std::size_t columns) : n(rows), k(columns), blocks(rows * columns / cria::block_traits<Format>::block_size) {}
  [[nodiscard]] std::size_t blocks_per_row() const { return k / cria::block_traits<Format>::block_size; }
  [[nodiscard]] std::vector<float> values() const {
    constexpr std::size_t size = cria::block_traits<Format>::block_size;
    std::vector<float> out(n * k);
    for (std::size_t b = 0; b < blocks.size(); ++b)
      cria::block_traits<Format>::dequantize(blocks[b], std::span<float, size>(out.data() + b * size, size));
    return out;
  }
  [[nodiscard]] std::vector<std::byte> packed() const {
    const std::size_t n_panels = (n + 15) / 16;
    std::vector<std::byte> panels(n_panels * 16 * blocks_per_row() * sizeof(Format));
    cria::kernels::pack(cria::format_index<Format>, {reinterpret_cast<const std::byte*>(blocks.data()), n, k, n_panels, panels.data()});
    return panels;
  }
};

/// Gives a block scales of a sensible size.
template <class Format>
void set_scales(Format& block, numbers& random) {
  if constexpr (requires { block.d; }) block.d = cria::to_f16(random.uniform(-0.05f, 0.05f));
  if constexpr (requires { block.m; }) block.m = cria::to_f16(random.uniform(-0.5f, 0.5f));
  if constexpr (requires { block.dmin; }) block.dmin = cria::to_f16(random.uniform(-0.05f, 0.05f));
  if constexpr (std::is_same_v<Format, cria::iq1_m>) {   // a quarter of the scale in each of four numbers
    const unsigned bits = cria::to_f16(random.uniform(-0.05f, 0.05f)).bits;
    for (unsigned n = 0; n < 4; ++n) block.scales[n] = static_cast<std::uint16_t>((block.scales[n] & 0x0fff) | (bits >> 4 * n & 15) << 12);
  }
  if constexpr (requires { block.e; }) block.e = static_cast<std::uint8_t>(120 + random.below(10));
}

/// Blocks of random bytes with sensible scales.
template <class Format>
file_rows<Format> random_rows(std::size_t n, std::size_t k, numbers& random) {
  file_rows<Format> rows(n, k);
  for (Format& block : rows.blocks) {
    std::byte bytes[sizeof(Format)];
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.bits() >> 24);
    std::memcpy(&block, bytes, sizeof bytes);
    set_scales(block, random);
  }
  return rows;
}

}  // namespace cria_test
