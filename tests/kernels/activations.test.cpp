// SPDX-License-Identifier: MIT
#include "kernel_test.hpp"

#include <limits>

using namespace cria_test;
using cria::precision;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr precision both[] = {precision::exact, precision::fast};

int steps_of(precision p) { return p == precision::exact ? 16256 : 127; }

// A group that is at most so large counts as zeros: where 16256 / largest is no float any more, and at 2^-115.
float largest_zero(precision p) { return p == precision::exact ? 127 * 0x1p-121f : 0x1p-115f; }

// |x - d q|: q is x steps / largest with two roundings and then to the nearest integer, d is rounded once.
double allowed_error(const token_group& group, float x, float largest, precision p) {
  if (largest <= largest_zero(p)) return static_cast<double>(largest);
  const double steps = steps_of(p);
  return static_cast<double>(group.d) * (0.5 + 4 * steps * unit) + static_cast<double>(std::fabs(x)) * 2 * unit;
}

std::vector<float> inputs(std::size_t n, std::uint32_t seed) {
  numbers random(seed);
  std::vector<float> x = random.normals(n);
  for (std::size_t g = 0; g < n / 32; ++g) {
    float* group = x.data() + 32 * g;
    const float size = std::ldexp(1.0f, static_cast<int>(random.below(40)) - 20);
    for (std::size_t k = 0; k < 32; ++k) group[k] *= size;
    switch (random.below(8)) {
      case 0: std::fill_n(group, 32, 0.0f); break;
      case 1: std::fill_n(group, 32, -size); break;   // all at the end of the scale
      case 2: group[random.below(32)] *= 100; break;  // one outlier
      case 3:
        for (std::size_t k = 0; k < 32; ++k) group[k] = k % 2 == 0 ? size : -size;
        break;
      default: break;
    }
  }
  return x;
}

}  // namespace

TEST_CASE("activations: d q is within half a step of the value, planes and sums are consistent") {
  for (const kernel_table* table : tables()) {
    for (const precision p : both) {
      CAPTURE(name(*table));
      CAPTURE(std::string(cria::name(p)));
      worst_case worst;
      for (const std::size_t n_tokens : sizes{1, 2, 4, 5, 7, 8, 9, 12, 13, 20, 24, 25}) {
        const std::size_t k = 96;
        const std::vector<float> x = inputs(n_tokens * k, static_cast<std::uint32_t>(n_tokens));
        const activations a = quantize(*table, x, n_tokens, k, p);
        bool is_consistent = true;
        for (std::size_t t = 0; t < n_tokens; ++t) {
          for (std::size_t g = 0; g < k / 32; ++g) {
            const float* values = x.data() + t * k + 32 * g;
            const token_group group = read_group(*table, a, t, g);
            float largest = 0;
            for (std::size_t n = 0; n < 32; ++n) largest = std::max(largest, std::fabs(values[n]));
            int sums[3] = {};
            int top = 0;
            for (std::size_t n = 0; n < 32; ++n) {
              worst.see(static_cast<double>(group.d) * group.q[n], static_cast<double>(values[n]), allowed_error(group, values[n], largest, p),
                        "token " + std::to_string(t) + ", value " + std::to_string(32 * g + n));
              is_consistent = is_consistent && group.h[n] >= -127 && group.h[n] <= 127 && group.l[n] >= -64 && group.l[n] < 64;
              sums[0] += group.q[n];
              sums[n < 16 ? 1 : 2] += group.q[n];
              top = std::max(top, std::abs(group.q[n]));
            }
            is_consistent = is_consistent && top == (largest > 0 ? steps_of(p) : 0);
            for (int s = 0; s < 3; ++s)
              is_consistent = is_consistent && group.bias[s] == -8 * sums[s] && group.ds[s] == group.d * static_cast<float>(sums[s]);
            is_consistent = is_consistent && group.d == largest / static_cast<float>(steps_of(p));
          }
        }
        CHECK(is_consistent);
      }
      worst.check("worst value");
      CHECK(worst.ratio > 0.5);  // the bound is not idle
    }
  }
}

TEST_CASE("activations: a product takes whole tiles at once, as many as fit half a megabyte, and at least one") {
  for (const kernel_table* table : tables()) {
    for (const precision p : {precision::exact, precision::fast}) {
      for (const std::size_t k : {1u, 32u, 576u, 2048u, 5632u, 28672u, 1u << 20}) {
        const std::size_t n = tokens_at_once(k, p, table->tiles);
        CAPTURE(k);
        CHECK(n % table->tiles.widest == 0);
        CHECK(n >= table->tiles.widest);
        CHECK(n <= cria::kernels::most_tokens_at_once);
        CHECK((n == table->tiles.widest || n * (k / 32) * cria::kernels::activation_words(p) * 4 <= 512 * 1024));
      }
    }
  }
}

TEST_CASE("activations: every table makes the same numbers, however the tokens are split over calls") {
  for (const precision p : both) {
    for (const std::size_t n_tokens : sizes{1, 3, 4, 6, 11, 12, 17, 30}) {
      const std::size_t k = 64;
      const std::vector<float> x = inputs(n_tokens * k, 100 + static_cast<std::uint32_t>(n_tokens));
      const activations expected = quantize(reference_table(), x, n_tokens, k, p);
      for (const kernel_table* table : tables()) {
        CAPTURE(name(*table));
        CAPTURE(n_tokens);
        const activations whole = quantize(*table, x, n_tokens, k, p);
        bool is_equal = true;
        for (std::size_t t = 0; t < n_tokens; ++t) {
          for (std::size_t g = 0; g < k / 32; ++g) {
            const token_group a = read_group(*table, whole, t, g), b = read_group(reference_table(), expected, t, g);
            is_equal = is_equal && std::memcmp(&a, &b, sizeof a) == 0;
          }
        }
        CHECK(is_equal);
        activations parts{std::vector<std::int32_t>(whole.words.size(), 0x55555555), p, n_tokens, k / 32};
        for (std::size_t g = 0; g < k / 32; ++g) {
          for (std::size_t t = n_tokens; t-- > 0;) {  // backwards: no call depends on another
            table->quantize({x.data(), k, n_tokens, k / 32, p, parts.words.data()}, t, g, g + 1);
          }
        }
        CHECK(parts.words == whole.words);
      }
    }
  }
}

TEST_CASE("activations: the words of tokens that do not exist are zeros, and nothing is written behind the tiles") {
  for (const kernel_table* table : tables()) {
    for (const precision p : both) {
      for (std::size_t n_tokens = 1; n_tokens <= 26; ++n_tokens) {
        CAPTURE(name(*table));
        CAPTURE(n_tokens);
        const std::size_t k = 64, words = cria::kernels::activation_words(p);
        const std::vector<float> x = inputs(n_tokens * k, 7);
        const activations a = quantize(*table, x, n_tokens, k, p);
        const auto [first, width] = tile_at(*table, n_tokens - 1, n_tokens);
        bool is_zero = true, is_untouched = true;
        for (std::size_t g = 0; g < k / 32; ++g) {
          for (std::size_t n = 0; n < words; ++n) {
            for (std::size_t t = n_tokens - first; t < width; ++t)
              is_zero = is_zero && a.words[first * k / 32 * words + (g * words + n) * width + t] == 0;
          }
        }
        for (std::size_t n = (first + width) * k / 32 * words; n < a.words.size(); ++n) is_untouched = is_untouched && a.words[n] == 0x55555555;
        CHECK(is_zero);
        CHECK(is_untouched);
        CHECK((first + width) * k / 32 * words <= a.words.size());
      }
    }
  }
}

TEST_CASE("activations: denormals and the smallest floats count as zeros or keep the bound, the largest float does not overflow") {
  // 127 / 64 and its neighbours are where 16256 / largest passes a power of two: the mantissas of either side of the threshold.
  constexpr float mantissas[] = {1.0f, 0x1.000002p0f, 1.25f, 1.5f, 1.9f, 0x1.fbfffep0f, 0x1.fcp0f, 0x1.fc0002p0f, 0x1.fffffep0f};
  REQUIRE(!std::isfinite(16256 / largest_zero(precision::exact)));
  REQUIRE(std::isfinite(16256 / std::nextafter(largest_zero(precision::exact), 1.0f)));
  for (const kernel_table* table : tables()) {
    for (const precision p : both) {
      CAPTURE(name(*table));
      CAPTURE(std::string(cria::name(p)));
      worst_case worst;
      bool is_whole = true;
      for (int exponent = -149; exponent <= 127; ++exponent) {
        for (const float mantissa : mantissas) {
          const float largest = std::ldexp(mantissa, exponent);
          std::vector<float> x(32, 0.75f * largest);
          x[5] = -largest;
          x[6] = 0;
          const activations a = quantize(*table, x, 1, 32, p);
          const token_group group = read_group(*table, a, 0, 0);
          const bool is_zero = largest <= largest_zero(p);
          is_whole = is_whole && group.d == largest / static_cast<float>(steps_of(p)) && group.q[5] == (is_zero ? 0 : -steps_of(p)) && group.q[6] == 0;
          for (std::size_t n = 0; n < 32; ++n) {
            is_whole = is_whole && (!is_zero || group.q[n] == 0);
            worst.see(static_cast<double>(group.d) * group.q[n], static_cast<double>(x[n]), allowed_error(group, x[n], largest, p),
                      std::to_string(mantissa) + " x 2^" + std::to_string(exponent));
          }
        }
      }
      CHECK(is_whole);
      worst.check("");
    }
  }
}

TEST_CASE("activations: inf or NaN anywhere in a group make its scale non-finite and leave the others alone") {
  for (const kernel_table* table : tables()) {
    for (const precision p : both) {
      CAPTURE(name(*table));
      const std::size_t k = 96;
      const std::vector<float> clean = inputs(3 * k, 9);
      const activations expected = quantize(*table, clean, 3, k, p);
      for (const float bad : {infinity, -infinity, not_a_number, -not_a_number}) {
        for (std::size_t n = 0; n < 32; ++n) {
          std::vector<float> x = clean;
          x[k + 32 + n] = bad;
          const activations a = quantize(*table, x, 3, k, p);
          bool is_same = true;
          for (std::size_t t = 0; t < 3; ++t) {
            for (std::size_t g = 0; g < 3; ++g) {
              const token_group got = read_group(*table, a, t, g), other = read_group(*table, expected, t, g);
              if (t == 1 && g == 1) {
                CHECK(!std::isfinite(got.d));
              } else {
                is_same = is_same && std::memcmp(&got, &other, sizeof got) == 0;
              }
            }
          }
          CHECK(is_same);
        }
      }
    }
  }
}
