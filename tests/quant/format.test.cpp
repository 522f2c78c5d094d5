// SPDX-License-Identifier: MIT
#include <cria/quant/finite.hpp>
#include <cria/quant/format.hpp>

#include "tests/support/test_data.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

using cria::tensor_type;
using cria_test::has_data;
using cria_test::read_data;

namespace {

// What ggml makes of the same input: libggml-base of llama.cpp d32676d, x86-64, August 2026; ggml_get_type_traits(t)->to_float and
// ggml_quantize_chunk(t, ...) without importance matrix. Hashes are FNV-1a, 64 bits.
struct ggml_golden {
  tensor_type type;
  std::uint64_t values_hash;     // of the floats' bytes, NaN as 0x7fc00000, that 1000 blocks of random_bytes(type) stand for
  std::uint64_t blocks_hash;     // of the bytes that sample_values() are quantised to; 0, as the next two, where cria only reads
  double squared_error;          // of those blocks' values against sample_values(), summed
  bool same_bytes;               // cria's quantiser is the same function; otherwise it only has to be no worse
};

constexpr ggml_golden goldens[] = {
    {tensor_type::f32, 0xbc33e73ebb815e04, 0x43657a29f58aa1ad, 0.0, true},
    {tensor_type::f16, 0xfb95019d92285061, 0x6a5c763481a95fa8, 2.802465e-06, true},
    {tensor_type::bf16, 0x3ae5ca1cf3dda272, 0x5a33fd93a05fd213, 1.760562e-04, true},
    {tensor_type::q4_0, 0x824652e426efd726, 0x75acbbf69ab0dde3, 6.635480e-01, true},
    {tensor_type::q4_1, 0x70d4c2fb9c3d9502, 0x7a15bd41b8e55eae, 4.404995e-01, true},
    {tensor_type::q5_0, 0xfe292d7543a29f13, 0xa6601462aba0f77c, 1.637238e-01, true},
    {tensor_type::q5_1, 0x1b2ba24d367e9e47, 0x2f3a5997769580a4, 1.042778e-01, true},
    {tensor_type::q8_0, 0xe04a94afa62299d7, 0xadf5a985f0934696, 2.563982e-03, true},
    {tensor_type::q2_k, 0x0ea1a26f007f2d15, 0, 6.255963e+00, false},
    {tensor_type::q3_k, 0x03b5b16f78265a87, 0, 1.756930e+00, false},
    {tensor_type::q4_k, 0xcfef316d13768bb6, 0, 3.774723e-01, false},
    {tensor_type::q5_k, 0xfc3ba3ae8a15acdf, 0, 9.746940e-02, false},
    {tensor_type::q6_k, 0x5f0cb9a8c5e531db, 0, 2.558281e-02, false},
    {tensor_type::iq1_s, 0xc66fe40735560025, 0, 0.0, false},
    {tensor_type::iq1_m, 0x672886976e616731, 0, 0.0, false},
    {tensor_type::iq2_xxs, 0x3a1fcfac9371dbc1, 0, 0.0, false},
    {tensor_type::iq2_xs, 0xe89852c4b6aff51a, 0, 0.0, false},
    {tensor_type::iq2_s, 0xb50acd33cca85d0c, 0, 0.0, false},
    {tensor_type::iq3_xxs, 0x86c392444f4647c6, 0, 0.0, false},
    {tensor_type::iq3_s, 0x079f322096a4c455, 0, 0.0, false},
    {tensor_type::iq4_nl, 0x1bc0d70bce759f39, 0, 4.571576e-01, false},
    {tensor_type::iq4_xs, 0x51d9ec1ff8f5fe5f, 0, 4.697476e-01, false},
    {tensor_type::tq1_0, 0x2b49775eceab1810, 0, 0.0, false},
    {tensor_type::tq2_0, 0x20f5f6fd96a44491, 0, 0.0, false},
    {tensor_type::mxfp4, 0x17483a34eb425d52, 0, 9.563710e-01, false},
};

const ggml_golden& golden_of(tensor_type type) {
  for (const ggml_golden& g : goldens) {
    if (g.type == type) return g;
  }
  FAIL("no golden for " << std::string(cria::name(type)));
  return goldens[0];
}

std::vector<std::byte> random_bytes(tensor_type type, std::size_t n) {
  std::mt19937 random(static_cast<std::uint32_t>(type));
  std::vector<std::byte> bytes(n);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random() >> 24);
  return bytes;
}

// 65,536 values: sums of four uniform numbers, of eight sizes in turn, every 97th four times larger.
std::vector<float> sample_values() {
  std::mt19937 random(1);
  std::vector<float> values(65536);
  for (std::size_t i = 0; i < values.size(); ++i) {
    double sum = 0;
    for (int k = 0; k < 4; ++k) sum += static_cast<double>(random()) * 0x1p-32;
    values[i] = static_cast<float>((sum - 2) * static_cast<double>(1 + i / 256 % 8) * 0.01);
    if (i % 97 == 0) values[i] *= 4;
  }
  return values;
}

std::uint64_t fnv1a(std::uint64_t hash, std::uint32_t byte) { return (hash ^ byte) * 1099511628211u; }
constexpr std::uint64_t fnv1a_start = 14695981039346656037u;

double squared_error(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  return sum;
}

struct no_dequantize {
  float value;
  static constexpr tensor_type type = tensor_type::f32;
  static constexpr std::size_t block_size = 1;
  static constexpr std::string_view name = "f32";
};
struct no_quantize : no_dequantize {
  static void dequantize(const no_quantize&, std::span<float, 1>) noexcept {}
};
struct wrong_size : cria::q8_0 {
  std::uint8_t more;
};

template <class F>
void for_each_format(F f) {
  cria::detail::any_format(cria::all_formats{}, [&]<class Block>(std::size_t index, std::type_identity<Block> block) {
    CAPTURE(std::string(cria::block_traits<Block>::name));
    f(index, block);
    return false;
  });
}

// Those that cria writes.
template <class F>
void for_each_written_format(F f) {
  for_each_format([&]<class Block>(std::size_t index, std::type_identity<Block> block) {
    if constexpr (cria::writable_block<Block>) f(index, block);
  });
}

}  // namespace

TEST_CASE("format: every format is found by its id, and only formats are") {
  std::size_t found = 0;
  for (const cria::tensor_type_info& info : cria::tensor_types) found += cria::format_index_of(info.type).has_value() ? 1 : 0;
  CHECK(found == cria::n_formats);
  for_each_format([]<class Block>(std::size_t index, std::type_identity<Block>) {
    using traits = cria::block_traits<Block>;
    CHECK(cria::format_index<Block> == index);
    CHECK(cria::format_index_of(traits::type) == index);
    CHECK(cria::is_writable(traits::type) == cria::writable_block<Block>);
    CHECK(cria::visit_format(traits::type, []<class B>(std::type_identity<B>) { return sizeof(B); }) == sizeof(Block));
    CHECK(cria::row_bytes(traits::type, 768) == 768 / traits::block_size * sizeof(Block));
    std::string lower(cria::name(traits::type));
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    CHECK(traits::name == lower);
  });
  for (const tensor_type type : {tensor_type::nvfp4, tensor_type::q8_k, tensor_type::q8_1, tensor_type::i32,
                                 tensor_type{4}, tensor_type{0xffffffff}}) {
    CHECK_FALSE(cria::format_index_of(type).has_value());
    CHECK_FALSE(cria::is_writable(type));
    CHECK_FALSE(cria::visit_format(type, [](auto) { FAIL("visited"); }));
    std::array<float, 256> values{};
    std::array<std::byte, 1024> row{};
    CHECK_FALSE(cria::dequantize_row(type, row.data(), values));
    CHECK_FALSE(cria::quantize_row(type, values, row.data()));
  }
  CHECK(cria::row_bytes(tensor_type::q8_k, 512) == 584);
  CHECK(cria::row_bytes(tensor_type{4}, 512) == 0);
}

TEST_CASE("format: a type that is no block is no quant_block, and one that cannot be made of values is not written") {
  static_assert(!cria::quant_block<float> && !cria::quant_block<no_dequantize> && !cria::quant_block<wrong_size>);
  static_assert(cria::quant_block<no_quantize> && !cria::writable_block<no_quantize>);
  CHECK(cria::writable_block<cria::q8_0>);
}

TEST_CASE("format: random blocks have ggml's values bit for bit") {
  for_each_written_format([]<class Block>(std::size_t, std::type_identity<Block>) {
    constexpr tensor_type type = cria::block_traits<Block>::type;
    std::vector<float> values(1000 * cria::block_traits<Block>::block_size);
    REQUIRE(cria::dequantize_row(type, random_bytes(type, 1000 * sizeof(Block)).data(), values));
    std::uint64_t hash = fnv1a_start;
    for (const float v : values) {
      const std::uint32_t bits = std::isnan(v) ? 0x7fc00000 : std::bit_cast<std::uint32_t>(v);
      for (int k = 0; k < 4; ++k) hash = fnv1a(hash, bits >> 8 * k & 255);
    }
    CHECK(hash == golden_of(type).values_hash);
  });
}

TEST_CASE("format: quantised values are ggml's bytes, or no further from the truth than ggml's") {
  const std::vector<float> values = sample_values();
  for_each_written_format([&]<class Block>(std::size_t, std::type_identity<Block>) {
    constexpr tensor_type type = cria::block_traits<Block>::type;
    const ggml_golden& golden = golden_of(type);
    std::vector<std::byte> row(cria::row_bytes(type, values.size()));
    REQUIRE(cria::quantize_row(type, values, row.data()));
    if (golden.same_bytes) {
      std::uint64_t hash = fnv1a_start;
      for (const std::byte b : row) hash = fnv1a(hash, static_cast<std::uint32_t>(b));
      CHECK(hash == golden.blocks_hash);
    }
    std::vector<float> back(values.size());
    REQUIRE(cria::dequantize_row(type, row.data(), back));
    CHECK(squared_error(values, back) <= golden.squared_error * (1 + 1e-6));  // the golden has seven digits
  });
}

// Sub-blocks have whole multiples of the block's unit as scales, and of units there are only multiples of 2^-24. A scale that is off by one such step moves
// values by at most the largest code times as much. The twentieth is for units of few steps: 1 of 16 rounds by a 32nd.
TEST_CASE("format: blocks of ever smaller weights lose a step of the least half and no more, and are never worse than zeros") {
  const std::pair<tensor_type, int> largest_codes[] = {{tensor_type::q2_k, 3},  {tensor_type::q3_k, 4},  {tensor_type::q4_k, 15},
                                                       {tensor_type::q5_k, 31}, {tensor_type::q6_k, 32}, {tensor_type::iq4_xs, 127}};
  const std::vector<float> sample = sample_values();
  std::vector<float> values(sample.begin(), sample.begin() + 64 * 256), back(values.size());
  std::vector<std::byte> blocks(values.size() * 2);
  for (const auto& format : largest_codes) {
    const tensor_type type = format.first;
    CAPTURE(std::string(cria::name(type)));
    double ordinary = 0;
    for (int exponent = 0; exponent <= 40; ++exponent) {
      CAPTURE(exponent);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::ldexp(sample[i], 5 - exponent);
      REQUIRE(cria::quantize_row(type, values, blocks.data()));
      REQUIRE(cria::dequantize_row(type, blocks.data(), back));
      bool is_worse_than_zeros = false;
      for (std::size_t i = 0; i < values.size(); i += 256) {
        const auto block = std::span<const float>(values).subspan(i, 256);
        is_worse_than_zeros |= squared_error(block, std::span<const float>(back).subspan(i, 256)) > squared_error(block, std::vector<float>(256)) * (1 + 1e-6);
      }
      CHECK_FALSE(is_worse_than_zeros);   // but for the roundings of the quantiser's sums
      const double error = std::sqrt(squared_error(values, back) / static_cast<double>(values.size()));
      if (exponent == 0) ordinary = error;
      CHECK(error <= 1.05 * std::ldexp(ordinary, -exponent) + format.second * 0x1p-24);
    }
  }
}

TEST_CASE("format: zeros stay zeros, constants and tiny or huge blocks keep their sign and size") {
  for_each_written_format([]<class Block>(std::size_t, std::type_identity<Block>) {
    using traits = cria::block_traits<Block>;
    std::vector<float> values(traits::block_size), back(traits::block_size);
    const auto round_trip = [&] {
      const Block block = traits::quantize(std::span<const float, traits::block_size>(values.data(), traits::block_size));
      traits::dequantize(block, std::span<float, traits::block_size>(back.data(), traits::block_size));
    };
    round_trip();
    for (const float v : back) CHECK(v == 0.0f);
    for (const float constant : {1.0f, -1.0f, 0.37f, -123.0f, 0x1p-12f}) {
      values.assign(traits::block_size, constant);
      round_trip();
      // Codes are at worst powers of two and one half apart at the constant (mxfp4); everywhere else far closer.
      for (const float v : back) CHECK(std::fabs(v - constant) <= std::fabs(constant) * (traits::type == tensor_type::mxfp4 ? 0.25f : 0.08f));
    }
    values.assign(traits::block_size, 0x1p-140f);   // below every half-precision scale
    round_trip();
    for (const float v : back) CHECK(std::fabs(v) <= 0x1p-120f);
  });
}

TEST_CASE("format: values that a format cannot hold become a block that is not finite, never zeros") {
  for_each_written_format([]<class Block>(std::size_t, std::type_identity<Block>) {
    using traits = cria::block_traits<Block>;
    std::vector<float> values(traits::block_size), back(traits::block_size);
    for (int exponent = 0; exponent < 128; ++exponent) {
      for (const bool has_both_signs : {false, true}) {
        for (const float sign : {1.0f, -1.0f}) {
          for (std::size_t i = 0; i < values.size(); ++i) {
            values[i] = std::ldexp(has_both_signs && i % 3 == 1 ? -sign : sign, exponent) * (i % 5 == 0 ? 1.9f : 1.0f);
          }
          const Block block = traits::quantize(std::span<const float, traits::block_size>(values.data(), traits::block_size));
          if (!cria::is_finite(block)) continue;
          traits::dequantize(block, std::span<float, traits::block_size>(back.data(), traits::block_size));
          CAPTURE(exponent);
          float largest = 0;
          for (const float v : back) largest = std::max(largest, std::fabs(v));
          CHECK(largest >= std::ldexp(0.5f, exponent));
          CHECK(largest <= std::numeric_limits<float>::max());
        }
      }
    }
  });
}

TEST_CASE("format: a block is called finite exactly where all its values are") {
  std::mt19937 random(7);
  for_each_format([&]<class Block>(std::size_t, std::type_identity<Block>) {
    using traits = cria::block_traits<Block>;
    std::vector<float> back(traits::block_size);
    std::size_t n_finite = 0, n_not = 0;
    for (int n = 0; n < 20'000; ++n) {
      std::array<std::byte, sizeof(Block)> bytes;
      for (std::byte& b : bytes) b = static_cast<std::byte>(random());
      if (traits::type == tensor_type::mxfp4 && n % 2 == 0) {   // close to the largest scale, and few codes
        bytes[0] = static_cast<std::byte>(250 + random() % 5);
        for (std::size_t i = 1; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i == 1 + random() % 16 ? random() & 0x77 : 0x11);
      }
      const auto block = std::bit_cast<Block>(bytes);
      traits::dequantize(block, std::span<float, traits::block_size>(back.data(), traits::block_size));
      bool is_finite = true;
      for (const float v : back) is_finite = is_finite && std::isfinite(v);
      if (traits::type == tensor_type::mxfp4 && bytes[0] == std::byte{255}) is_finite = false;   // no number, says the specification
      CHECK(cria::is_finite(block) == is_finite);
      ++(is_finite ? n_finite : n_not);
    }
    CHECK(n_finite > 0);
    CHECK(n_not > 0);
  });
}

TEST_CASE("format: any bytes dequantise and any floats quantise without harm") {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float max = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();
  for_each_format([&]<class Block>(std::size_t, std::type_identity<Block>) {
    using traits = cria::block_traits<Block>;
    std::vector<float> values(traits::block_size), back(traits::block_size);
    std::mt19937 random(3);
    const std::array hostile{inf, -inf, nan, max, -max, tiny, -tiny, 1.0f, 0.0f, -0.0f, 70000.0f};
    if constexpr (cria::writable_block<Block>) {
      for (int round = 0; round < 300; ++round) {
        const std::size_t kinds = 1 + random() % hostile.size();
        for (float& v : values) v = hostile[random() % kinds];
        const Block block = traits::quantize(std::span<const float, traits::block_size>(values.data(), traits::block_size));
        traits::dequantize(block, std::span<float, traits::block_size>(back.data(), traits::block_size));
      }
    }
    for (const int byte : {0x00, 0x7c, 0x7e, 0x7f, 0x80, 0xfc, 0xff}) {   // halves of these bytes are inf, NaN and the extremes
      const std::vector<std::byte> row(sizeof(Block), static_cast<std::byte>(byte));
      REQUIRE(cria::dequantize_row(traits::type, row.data(), back));
      if (byte != 0xff) continue;
      const float expected = traits::type == tensor_type::mxfp4 ? -inf : nan;   // mxfp4: -6 * 2^128, a scale cannot be NaN
      for (const float v : back) CHECK((v == expected || (std::isnan(v) && std::isnan(expected))));
    }
  });
}

namespace {

// The tensors of a GGUF version 3 file, read without cria's reader: name, type, elements and bytes.
struct raw_tensor {
  std::string name;
  tensor_type type;
  std::size_t n;
  const std::byte* bytes;
};

class raw_gguf {
 public:
  explicit raw_gguf(std::string file) : file_(std::move(file)) {
    at_ = 8;
    const auto n_tensors = take<std::uint64_t>(), n_keys = take<std::uint64_t>();
    for (std::uint64_t i = 0; i < n_keys; ++i) {
      take_string();
      skip_value(take<std::uint32_t>());
    }
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < n_tensors; ++i) {
      raw_tensor t{take_string(), {}, 1, nullptr};
      for (auto n_dims = take<std::uint32_t>(); n_dims > 0; --n_dims) t.n *= take<std::uint64_t>();
      t.type = static_cast<tensor_type>(take<std::uint32_t>());
      offsets.push_back(take<std::uint64_t>());
      tensors.push_back(t);
    }
    const std::size_t start = (at_ + 31) / 32 * 32;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      REQUIRE(start + offsets[i] + cria::row_bytes(tensors[i].type, tensors[i].n) <= file_.size());
      tensors[i].bytes = reinterpret_cast<const std::byte*>(file_.data()) + start + offsets[i];
    }
  }
  const raw_tensor& find(const std::string& name) const {
    for (const raw_tensor& t : tensors) {
      if (t.name == name) return t;
    }
    FAIL("no tensor " << name);
    return tensors[0];
  }
  std::vector<raw_tensor> tensors;

 private:
  template <class T>
  T take() {
    T value;
    REQUIRE(at_ + sizeof value <= file_.size());
    std::memcpy(&value, file_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string take_string() {
    const auto n = take<std::uint64_t>();
    at_ += n;
    return file_.substr(at_ - n, n);
  }
  void skip_value(std::uint32_t kind) {
    constexpr std::size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (kind == 8) {
      take_string();
    } else if (kind == 9) {
      const auto element = take<std::uint32_t>();
      for (auto n = take<std::uint64_t>(); n > 0; --n) skip_value(element);
    } else {
      at_ += sizes[kind];
    }
  }
  std::string file_;
  std::size_t at_ = 0;
};

// The largest relative RMS error that a format may have on the fixture's matrices, whose columns are uneven and have outliers: the
// quantisation noise of b bits over a range of +-4 to 7 standard deviations, 2 * 6 / 2^b / sqrt(12), with headroom of a third.
double rms_bound(tensor_type type) {
  const cria::tensor_type_info* info = cria::find_tensor_type(type);
  const double bits = 8.0 * static_cast<double>(info->block_bytes) / static_cast<double>(info->block_size);
  if (type == tensor_type::f16) return 0x1p-11;
  if (type == tensor_type::bf16) return 0x1p-8;
  return 12.0 / std::exp2(std::floor(bits)) / std::sqrt(12.0) * 4 / 3;
}

}  // namespace

TEST_CASE("format: llama.cpp's quantised files hold the values of the float32 file, and its blocks are ours") {
  const std::string truth_path = "models/fixture-256.F32.gguf";
  if (!has_data(truth_path)) return;
  const raw_gguf truth(read_data(truth_path));
  for (const char* kind : {"F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS"}) {
    const std::string path = std::string("models/fixture-256.") + kind + ".gguf";
    CAPTURE(path);
    if (!has_data(path)) continue;
    const raw_gguf file(read_data(path));
    REQUIRE(file.tensors.size() == truth.tensors.size());
    for (const raw_tensor& t : file.tensors) {
      const raw_tensor& original = truth.find(t.name);
      REQUIRE(t.n == original.n);
      if (t.type == tensor_type::f32 || !cria::format_index_of(t.type)) continue;
      CAPTURE(t.name);
      std::vector<float> expected(t.n), theirs(t.n), ours(t.n);
      std::memcpy(expected.data(), original.bytes, 4 * t.n);
      REQUIRE(cria::dequantize_row(t.type, t.bytes, theirs));
      double sum = 0;
      for (const float v : expected) sum += static_cast<double>(v) * v;
      const double their_error = squared_error(expected, theirs);
      CHECK(std::sqrt(their_error / sum) <= rms_bound(t.type));
      std::vector<std::byte> row(cria::row_bytes(t.type, t.n));
      REQUIRE(cria::quantize_row(t.type, expected, row.data()));
      if (golden_of(t.type).same_bytes) CHECK(std::memcmp(row.data(), t.bytes, row.size()) == 0);
      REQUIRE(cria::dequantize_row(t.type, row.data(), ours));
      CHECK(squared_error(expected, ours) <= their_error);
    }
  }
}
