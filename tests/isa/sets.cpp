// SPDX-License-Identifier: MIT
// Compiled by sets.test.py once per instruction set with that set's flags and CRIA_ISA, and run where the processor has it: compares vec<Isa>,
// f32x16<Isa> and int8_dot<Isa> with plain C++ lane by lane, bit for bit. Without CRIA_ISA: prints the sets that run here.
#include <cria/isa/isa.hpp>

#include <cstdio>
#include <string>

#if !defined(CRIA_ISA)
int main() {
  for (const cria::isa::id i : cria::isa::all_ids) {
    if (cria::isa::detect().runs(i)) std::printf("%s\n", std::string(cria::isa::name(i)).c_str());
  }
}
#else

#include <cria/isa/f32x16.hpp>
#include <cria/kernels/int8_dot.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace isa = cria::isa;
using set = isa::CRIA_ISA;
using op = isa::vec<set>;
using plain = isa::vec<isa::scalar>;
constexpr std::size_t lanes = op::lanes;
constexpr bool is_fused = set::set != isa::id::sse4_2;

namespace {

int failures = 0;
long checks = 0;
std::mt19937 random_bits(1);

std::uint32_t bits() { return static_cast<std::uint32_t>(random_bits()); }

void fail(const char* what, const char* detail) {
  if (++failures <= 20) std::printf("FAILED %s: %s: %s\n", std::string(isa::name(set::set)).c_str(), what, detail);
}

std::uint32_t canonical(float x) { return std::isnan(x) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(x); }

// `lanes` lanes of op against the first lanes of plain.
void same(const char* what, op::f got, const plain::f& expected) {
  float x[lanes];
  op::store(x, got);
  for (std::size_t n = 0; n < lanes; ++n) {
    ++checks;
    if (canonical(x[n]) != canonical(expected.v[n])) {
      char text[100];
      std::snprintf(text, sizeof text, "lane %zu is %a, not %a", n, static_cast<double>(x[n]), static_cast<double>(expected.v[n]));
      fail(what, text);
    }
  }
}
void same_i(const char* what, op::i got, const plain::i& expected) {
  float x[lanes];
  op::store(x, op::as_float(got));
  for (std::size_t n = 0; n < lanes; ++n) {
    ++checks;
    if (std::bit_cast<std::int32_t>(x[n]) != expected.v[n]) {
      char text[100];
      std::snprintf(text, sizeof text, "lane %zu is %d, not %d", n, std::bit_cast<std::int32_t>(x[n]), expected.v[n]);
      fail(what, text);
    }
  }
}
void equal(const char* what, double got, double expected) {
  ++checks;
  if (!(got == expected)) {
    char text[100];
    std::snprintf(text, sizeof text, "%a, not %a", got, expected);
    fail(what, text);
  }
}

// Floats of all sizes; any bits when `any`.
void fill(float (&x)[16], bool any) {
  for (float& value : x) {
    value =
        any ? std::bit_cast<float>(bits()) : std::ldexp(static_cast<float>(static_cast<std::int32_t>(bits())), static_cast<int>(bits() % 60) - 60);
  }
}

void float_operations() {
  for (int round = 0; round < 20000; ++round) {
    const bool any = round % 4 == 3;
    float x[16], y[16], z[16];
    fill(x, any);
    fill(y, any);
    fill(z, any);
    const op::f a = op::load(x), b = op::load(y), c = op::load(z);
    const plain::f pa = plain::load(x), pb = plain::load(y), pc = plain::load(z);
    same("load", a, pa);
    same("set", op::set(x[0]), plain::set(x[0]));
    same("+", a + b, pa + pb);
    same("-", a - b, pa - pb);
    same("*", a * b, pa * pb);
    same("/", op::div(a, b), pa / pb);
    same("abs", op::abs(a), plain::abs(pa));
    same("swap_pairs", op::swap_pairs(a), plain::swap_pairs(pa));
    if (is_fused) same("fma", op::fma(a, b, c), plain::fma(pa, pb, pc));
    if (!is_fused) same("fma", op::fma(a, b, c), pa * pb + pc);
    if (!any) {  // of NaN and of zeros of two signs any answer is right
      same("max", op::max(a, b), plain::max(pa, pb));
      same("min", op::min(a, b), plain::min(pa, pb));
      float largest = x[0];
      for (std::size_t n = 1; n < lanes; ++n) largest = x[n] > largest ? x[n] : largest;
      equal("hmax", static_cast<double>(op::hmax(a)), static_cast<double>(largest));
    }
    same_i("as_int", op::as_int(a), plain::as_int(pa));
  }
}

void integer_operations() {
  for (int round = 0; round < 20000; ++round) {
    std::int32_t x[16], y[16];
    for (std::int32_t& value : x) value = static_cast<std::int32_t>(round % 2 == 0 ? bits() : bits() % 65536 - 32768);
    for (std::int32_t& value : y) value = static_cast<std::int32_t>(bits());
    const op::i a = op::load_i(x), b = op::load_i(y);
    const plain::i pa = plain::load_i(x), pb = plain::load_i(y);
    same_i("load_i", a, pa);
    same_i("set_i", op::set_i(x[1]), plain::set_i(x[1]));
    same_i("&", a & b, pa & pb);
    same_i("|", a | b, pa | pb);
    same_i("^", a ^ b, pa ^ pb);
    const op::i low = op::template sra<2>(b);  // sums of these do not overflow
    const plain::i plow = plain::sra<2>(pb);
    same_i("+", op::template sra<2>(a) + low, plain::sra<2>(pa) + plow);
    same_i("-", op::template sra<2>(a) - low, plain::sra<2>(pa) - plow);
    same_i("shl<7>", op::template shl<7>(a), plain::shl<7>(pa));
    same_i("shl<0>", op::template shl<0>(a), plain::shl<0>(pa));
    same_i("shl<23>", op::template shl<23>(a), plain::shl<23>(pa));
    same_i("shr<0>", op::template shr<0>(a), plain::shr<0>(pa));
    same_i("shr<4>", op::template shr<4>(a), plain::shr<4>(pa));
    same_i("shr<31>", op::template shr<31>(a), plain::shr<31>(pa));
    same_i("sra<1>", op::template sra<1>(a), plain::sra<1>(pa));
    same_i("sra<7>", op::template sra<7>(a), plain::sra<7>(pa));
    for (const int count : {0, 1, 2, 4, 6, 12, 28}) same_i("shr_by", op::shr_by(a, count), plain::shr_by(pa, count));
    same("to_float", op::to_float(a), plain::to_float(pa));
    same("as_float", op::as_float(a), plain::as_float(pa));
    same_i("max_i", op::max_i(a, b), plain::max_i(pa, pb));
    std::int32_t largest = x[0];
    std::int64_t sum = 0;
    for (std::size_t n = 0; n < lanes; ++n) {
      largest = x[n] > largest ? x[n] : largest;
      sum += x[n] >> 4;
    }
    equal("hmax_i", op::hmax_i(a), largest);
    equal("hsum_i", op::hsum_i(op::template sra<4>(a)), static_cast<double>(sum));
    const std::uint8_t table[16] = {200, 1, 2, 3, 255, 5, 6, 7, 8, 0, 10, 11, 12, 13, 128, 15};
    same_i("even_lanes", op::even_lanes(a, op::set_i(5)), plain::even_lanes(pa, plain::set_i(5)));
    same_i("odd_lanes", op::odd_lanes(a, op::set_i(5)), plain::odd_lanes(pa, plain::set_i(5)));
    same_i("even_lanes of b", op::even_lanes(op::set_i(5), a), plain::even_lanes(plain::set_i(5), pa));
    same_i("odd_lanes of b", op::odd_lanes(op::set_i(5), a), plain::odd_lanes(plain::set_i(5), pa));
    same_i("lookup", op::lookup(table, a & op::set_i(0x0f0f0f0f)), plain::lookup(table, pa & plain::set_i(0x0f0f0f0f)));
    std::int8_t stored[16 + 1] = {}, expected[16 + 1] = {};
    op::store_s8(stored, a);
    plain::store_s8(expected, pa);
    equal("store_s8", std::memcmp(stored, expected, lanes), 0);
    equal("store_s8, byte behind", stored[lanes], lanes == 16 ? expected[16] : 0);
    same_i("load_u8", op::load_u8(x), plain::load_u8(x));
    same_i("load_s8", op::load_s8(x), plain::load_s8(x));
  }
}

void to_int() {
  for (int round = 0; round < 50000; ++round) {
    float x[16];
    for (float& value : x) {
      value = static_cast<float>(static_cast<std::int32_t>(bits())) * (round % 3 == 0 ? 1.0f : round % 3 == 1 ? 0x1p-14f : 0x1p-24f);
      if (round % 5 == 0) value = std::floor(value) + 0.5f;  // ties
    }
    same_i("to_int", op::to_int(op::load(x)), plain::to_int(plain::load(x)));
  }
}

// The conversions of halves are those of float16.hpp whatever the thread does with subnormal numbers.
void halves() {
  for (std::uint32_t first = 0; first < 65536; first += 16) {
    std::uint16_t h[16];
    for (std::uint32_t n = 0; n < 16; ++n) h[n] = static_cast<std::uint16_t>(first + n);
    plain::f expected, expected_bf16;
    for (std::size_t n = 0; n < 16; ++n) {
      expected.v[n] = cria::to_float(cria::f16{h[n]});
      expected_bf16.v[n] = cria::to_float(cria::bf16{h[n]});
    }
    for (std::size_t r = 0; r + lanes <= 16; r += lanes) {
      plain::f part{}, part_bf16{};
      std::memcpy(part.v, expected.v + r, 4 * lanes);
      std::memcpy(part_bf16.v, expected_bf16.v + r, 4 * lanes);
      same("load_f16", op::load_f16(h + r), part);
      same("load_bf16", op::load_bf16(h + r), part_bf16);
    }
    for (std::size_t n = 0; n < 16; ++n) same("set_f16", op::set_f16(h + n), plain::set(expected.v[n]));
  }
  for (int round = 0; round < 100000; ++round) {
    float x[16];
    fill(x, round % 2 == 0);
    for (float& value : x) value = round % 4 == 1 ? value * 0x1p-6f : value;
    std::uint16_t h[17] = {};
    op::store_f16(h, op::load(x));
    for (std::size_t n = 0; n < lanes; ++n) {
      if (!std::isnan(x[n])) equal("store_f16", h[n], cria::to_f16(x[n]).bits);
      if (std::isnan(x[n])) equal("store_f16 of NaN", std::isnan(cria::to_float(cria::f16{h[n]})), 1);
    }
    equal("store_f16, half behind", h[lanes], 0);
  }
}

void sixteen() {
  using v = isa::f32x16<set>;
  using p = isa::f32x16<isa::scalar>;
  for (int round = 0; round < 100000; ++round) {
    float x[16], y[16], z[16];
    fill(x, false);
    equal("sum", static_cast<double>(v::load(x).sum()), static_cast<double>(p::load(x).sum()));
    equal("f32x16 hmax", static_cast<double>(v::load(x).hmax()), static_cast<double>(p::load(x).hmax()));
    if (round % 7 == 0) x[round % 16] = std::numeric_limits<float>::quiet_NaN();
    fill(y, false);
    equal("hmax_abs_bits", v::hmax_abs_bits(v::load(x), v::load(y)), p::hmax_abs_bits(p::load(x), p::load(y)));
    for (float& value : x) value = static_cast<float>(static_cast<std::int32_t>(bits())) * 5e-8f;  // -107 to 107
    x[round % 16] = std::numeric_limits<float>::quiet_NaN();
    isa::exp<set>(v::load(x)).store(y);
    isa::exp<isa::scalar>(p::load(x)).store(z);
    for (std::size_t n = 0; n < 16; ++n) {
      if (std::isnan(x[n])) {
        equal("exp of NaN", std::isnan(y[n]), 1);
        continue;
      }
      if (is_fused) equal("exp", static_cast<double>(y[n]), static_cast<double>(z[n]));
      // Without FMA the reduction is off by up to 2^-23 of the argument's part, and each step of the polynomial by one rounding more.
      if (!is_fused) equal("exp, to 4e-7", std::abs(static_cast<double>(y[n]) / static_cast<double>(z[n]) - 1) < 4e-7, 1);
    }
  }
}

// Products of pairs of 16 bits: every weight byte beside any other by the numbers that activations may have, from any sum.
template <class Dot>
void pairs() {
  if constexpr (!Dot::is_direct) {
    for (std::uint32_t round = 0; round < 4096; ++round) {
      std::uint32_t w[16];
      for (std::uint32_t& word : w) word = bits();
      w[0] = round % 256 * 0x01010101U;
      const int largest = 16256;
      const int x[2] = {round % 2 == 0 ? largest : static_cast<int>(bits() % 32513) - largest,
                        round % 3 == 0 ? -largest : static_cast<int>(bits() % 32513) - largest};
      const auto word = static_cast<std::int32_t>((static_cast<std::uint32_t>(x[0]) & 0xffff) | static_cast<std::uint32_t>(x[1]) << 16);
      const std::int32_t begin = static_cast<std::int32_t>(bits()) >> 2;
      plain::i even = plain::set_i(begin), odd = even;
      for (std::size_t n = 0; n < 16; ++n) {
        even.v[n] += static_cast<int>(w[n] & 255) * x[0] + static_cast<int>(w[n] >> 16 & 255) * x[1];
        odd.v[n] += static_cast<int>(w[n] >> 8 & 255) * x[0] + static_cast<int>(w[n] >> 24) * x[1];
      }
      const op::i bytes = op::load_i(w);
      same_i("pairs of even bytes", Dot::pairs(op::set_i(begin), Dot::even(bytes), op::set_i(word)), even);
      same_i("pairs of odd bytes", Dot::pairs(op::set_i(begin), Dot::odd(bytes), op::set_i(word)), odd);
    }
  }
}

// Steps of the dot product within its contract: every weight by every activation, and the sums that are largest.
void int8_dot() {
  using dot = cria::kernels::int8_dot<set>;
  using definition = cria::kernels::int8_dot<isa::scalar>;
  const int top = dot::max_weight;
  const int bottom = dot::signed_weights ? -128 : 0;
  const auto word = [](int a, int b, int c, int d) {
    return static_cast<std::int32_t>((static_cast<std::uint32_t>(a) & 255) | (static_cast<std::uint32_t>(b) & 255) << 8 |
                                     (static_cast<std::uint32_t>(c) & 255) << 16 | (static_cast<std::uint32_t>(d) & 255) << 24);
  };
  // A direct step from any sum.
  const auto exact = [](std::int32_t sum, const int(&w)[4], const int(&x)[4]) { return sum + w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3]; };
  for (int weight = bottom; weight <= top; ++weight) {
    for (int x = -127; x <= 127; ++x) {
      const int ws[4] = {weight, top - (weight - bottom), weight, static_cast<int>(bits() % static_cast<unsigned>(top - bottom + 1)) + bottom};
      const int xs[4] = {x, -x, static_cast<int>(bits() % 255) - 127, x};
      const std::int32_t begin = dot::is_direct ? static_cast<std::int32_t>(bits()) >> 2 : 0;
      op::i narrow = dot::step(op::set_i(begin), op::set_i(word(ws[0], ws[1], ws[2], ws[3])), op::set_i(word(xs[0], xs[1], xs[2], xs[3])));
      const op::i sum = dot::is_direct ? narrow : dot::widen(op::set_i(77), narrow);
      same_i("int8_dot step", sum, plain::set_i(exact(dot::is_direct ? begin : 77, ws, xs)));
    }
  }
  // max_steps(w_max) steps of random and of extreme words, lane by lane different weights; then widened.
  for (int w_max = 1; w_max <= top; ++w_max) {
    const int n_steps = dot::max_steps(w_max);
    if (n_steps < 1) fail("int8_dot", "max_steps is 0");
    for (int round = 0; round < 200; ++round) {
      op::i narrow = op::set_i(0);
      plain::i expected = plain::set_i(dot::is_direct ? 0 : 12345);
      for (int s = 0; s < n_steps; ++s) {
        std::int32_t ws[16], xs;
        int w[16][4], x[4];
        for (int b = 0; b < 4; ++b) {
          x[b] = round == 0 ? 127 : round == 1 ? -127 : round % 3 == 0 ? (bits() % 2 == 0 ? 127 : -127) : static_cast<int>(bits() % 255) - 127;
          for (auto& row : w) {
            const int largest = dot::signed_weights && bits() % 2 == 0 && w_max == 127 ? -128 : w_max;
            row[b] = round < 2 ? w_max : round % 3 == 0 ? largest : static_cast<int>(bits() % static_cast<unsigned>(w_max + 1));
          }
        }
        for (std::size_t n = 0; n < 16; ++n) {
          ws[n] = word(w[n][0], w[n][1], w[n][2], w[n][3]);
          expected.v[n] = exact(expected.v[n], w[n], x);
        }
        xs = word(x[0], x[1], x[2], x[3]);
        narrow = dot::step(narrow, op::load_i(ws), op::set_i(xs));
        if (!dot::signed_weights && s == 0) {  // the definition itself
          const plain::i first = definition::step(plain::set_i(0), plain::load_i(ws), plain::set_i(xs));
          for (std::size_t n = 0; n < 16; ++n) equal("int8_dot definition", first.v[n], exact(0, w[n], x));
        }
      }
      same_i("int8_dot steps", dot::is_direct ? narrow : dot::widen(op::set_i(12345), narrow), expected);
    }
  }
}

}  // namespace

int main() {
  float_operations();
  integer_operations();
  to_int();
  halves();
#if defined(__x86_64__)
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040);   // flush to zero, denormals are zero
  halves();
  _mm_setcsr(mode);
#endif
  sixteen();
  int8_dot();
  pairs<cria::kernels::int8_dot<set>>();
  std::printf("%s: %ld checks, %d failures\n", std::string(isa::name(set::set)).c_str(), checks, failures);
  return failures == 0 ? 0 : 1;
}
#endif
