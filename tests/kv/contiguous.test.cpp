// SPDX-License-Identifier: MIT
// The plain cache: what kv_cache.hpp promises of any cache, then its layout, capacities and sizes.
#include <cria/kv/contiguous.hpp>

#include <doctest/doctest.h>

#include <tests/kv/marked_cache.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace cria;
using namespace cria_test;

constexpr std::size_t biggest = std::numeric_limits<std::size_t>::max();

template <kv_type Type>
using cache_of = contiguous_kv_cache<Type>;
#define ALL_CACHES cache_of<kv_type::f16>, cache_of<kv_type::f32>, cache_of<kv_type::q8_0>, cache_of<kv_type::bf16>

// What is no cache: one part of the protocol missing or of another type.

struct whole {
  static constexpr kv_type type = kv_type::f16;
  [[nodiscard]] std::size_t length() const noexcept { return 0; }
  [[nodiscard]] std::size_t capacity() const noexcept { return 0; }
  [[nodiscard]] std::size_t bytes() const noexcept { return 0; }
  [[nodiscard]] std::size_t v_stride() const noexcept { return 0; }
  [[nodiscard]] std::size_t max_segments() const noexcept { return 0; }
  result<void> reserve(std::size_t) { return {}; }
  void write(kv_slot, kv_row) noexcept {}
  void commit(std::size_t) noexcept {}
  void truncate(std::size_t) noexcept {}
  std::size_t segments(kv_head, std::span<kv_segment>) const noexcept { return 0; }
};
static_assert(kv_cache<whole>);

struct without_commit : whole {
  void commit(std::size_t) = delete;
};
struct without_truncate : whole {
  void truncate(std::size_t) = delete;
};
struct with_throwing_write : whole {
  void write(kv_slot, kv_row) {}
};
struct with_silent_reserve : whole {
  void reserve(std::size_t) {}
};
struct with_mutable_segments : whole {
  std::size_t segments(kv_head, std::span<kv_segment>) noexcept { return 0; }
};
struct with_another_type : whole {
  static constexpr const char* type = "f16";
};
struct without_length {
  static constexpr kv_type type = kv_type::f16;
};
static_assert(!kv_cache<without_commit> && !kv_cache<without_truncate> && !kv_cache<with_throwing_write> && !kv_cache<with_silent_reserve>);
static_assert(!kv_cache<with_mutable_segments> && !kv_cache<with_another_type> && !kv_cache<without_length> && !kv_cache<int>);
static_assert(!std::is_copy_constructible_v<cache_of<kv_type::f16>>, "copying a cache is never meant");
static_assert(std::is_nothrow_move_constructible_v<cache_of<kv_type::f16>>);

struct without_import : contiguous_kv_cache<kv_type::f16> {
  void import_positions(kv_range, std::span<const std::byte>) = delete;
};
static_assert(!saved_kv_cache<whole> && !saved_kv_cache<without_import>);

}  // namespace

TEST_CASE_TEMPLATE("contiguous: what is written can be read through segments, for every head, layer and position", Cache, ALL_CACHES) {
  for (const kv_shape& shape : {kv_shape{1, 1, 32}, kv_shape{3, 2, 64}, kv_shape{2, 3, 48}, kv_shape{1, 1, 8}, kv_shape{2, 1, 17}}) {
    auto cache = *Cache::create(shape, 50);
    CHECK(cache.length() == 0);
    check_holds(cache, shape, 0);
    CAPTURE(shape.head_dim);
    for (const std::size_t n : {1u, 14u, 1u, 1u, 30u, 3u}) {
      append(cache, shape, n);
      check_holds(cache, shape, cache.length());
    }
    CHECK(cache.length() == 50);
    CHECK(cache.capacity() == 50);
  }
}

TEST_CASE_TEMPLATE("contiguous: reserved positions can be read before they are committed, and length() moves once", Cache, ALL_CACHES) {
  const kv_shape shape{2, 2, 32};
  auto cache = *Cache::create(shape, 20);
  append(cache, shape, 5);
  REQUIRE(cache.reserve(4).has_value());
  kv_segment s[1];
  CHECK(cache.segments({0, 0}, s) == 1);
  CHECK(s[0].length == 9);
  CHECK(cache.length() == 5);
  for (std::size_t pos = 5; pos < 9; ++pos) {
    const marks m({0, 0}, pos, 32);
    cache.write({{0, 0}, pos}, {m.k.data(), m.v.data()});
    CHECK(key_at(Cache::type, s[0], pos, 31, 32) == mark({0, 0}, pos, 31, false));   // the segment was asked for before the write
    CHECK(cache.length() == 5);
  }
  cache.commit(3);   // of 4: the last one is given up
  CHECK(cache.length() == 8);
  CHECK(cache.segments({0, 0}, s) == 1);
  CHECK(s[0].length == 8);
}

TEST_CASE_TEMPLATE("contiguous: a reserve that fails changes nothing", Cache, ALL_CACHES) {
  const kv_shape shape{1, 2, 32};
  auto cache = *Cache::create(shape, 20);
  append(cache, shape, 7);
  for (const std::size_t n : {std::size_t{14}, std::size_t{20}, biggest, biggest - 6, biggest - 7, biggest / 2 + 1}) {
    CAPTURE(n);
    const auto refused = cache.reserve(n);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == errc::context_full);
    CHECK(refused.error().where == "context");
    CHECK(refused.error().message.find("7 of 20") != std::string::npos);
    check_holds(cache, shape, 7);
  }
  REQUIRE(cache.reserve(2).has_value());
  CHECK_FALSE(cache.reserve(14).has_value());
  kv_segment s[1];
  cache.segments({0, 0}, s);
  CHECK(s[0].length == 9);   // what was reserved before stays reserved
  REQUIRE(cache.reserve(13).has_value());
  cache.commit(0);
  append(cache, shape, 13);
  CHECK(cache.length() == 20);
  CHECK_FALSE(cache.reserve(1).has_value());
  CHECK(cache.reserve(0).has_value());
  check_holds(cache, shape, 20);
}

TEST_CASE_TEMPLATE("contiguous: truncate forgets the end and nothing else", Cache, ALL_CACHES) {
  const kv_shape shape{2, 1, 40};
  auto cache = *Cache::create(shape, 64);
  append(cache, shape, 64);
  for (const std::size_t n : {64u, 63u, 49u, 48u, 47u, 17u, 16u, 15u, 1u, 0u}) {
    cache.truncate(n);
    CHECK(cache.length() == n);
    check_holds(cache, shape, n);
  }
  append(cache, shape, 33);
  REQUIRE(cache.reserve(10).has_value());
  cache.truncate(33);   // a pass that is given up
  check_holds(cache, shape, 33);
  append(cache, shape, 31);
  check_holds(cache, shape, 64);
}

TEST_CASE_TEMPLATE("contiguous: any history of reserves, commits and truncations holds what was committed last", Cache, ALL_CACHES) {
  const kv_shape shape{1, 2, 33};
  auto cache = *Cache::create(shape, 37);
  std::mt19937 random(5);
  std::size_t length = 0;
  for (int step = 0; step < 400; ++step) {
    const std::size_t n = random() % 12;
    switch (random() % 3) {
      case 0:
        if (n <= 37 - length) {
          append(cache, shape, n);
          length += n;
        } else {
          CHECK_FALSE(cache.reserve(n).has_value());
        }
        break;
      case 1: cache.truncate(length -= std::min(length, n)); break;
      default:
        if (cache.reserve(n).has_value()) cache.truncate(length);
    }
    REQUIRE(cache.length() == length);
    if (step % 8 == 0) check_holds(cache, shape, length);
  }
}

TEST_CASE_TEMPLATE("contiguous: what stood in a position before does not shine through", Cache, ALL_CACHES) {
  const kv_shape shape{1, 1, 32};
  auto cache = *Cache::create(shape, 16);
  std::vector<float> large(32, 60000.0f), small(32, 1e-3f), zeros(32);
  for (const auto& x : {large, small, zeros}) {
    cache.truncate(0);
    REQUIRE(cache.reserve(1).has_value());
    cache.write({{0, 0}, 0}, {x.data(), x.data()});
    cache.commit(1);
    kv_segment s[1];
    cache.segments({0, 0}, s);
    for (std::size_t c = 0; c < 32; ++c) {
      const double bound = Cache::type == kv_type::f32 ? 0 : Cache::type == kv_type::f16 ? x[0] * 0x1p-11 : x[0] * (0x1p-11 + 0.5 / 127);
      CHECK(std::abs(static_cast<double>(key_at(Cache::type, s[0], 0, c, 32)) - static_cast<double>(x[c])) <= bound);
      CHECK(std::abs(static_cast<double>(value_at(Cache::type, s[0], 0, c, 32)) - static_cast<double>(x[c])) <= bound);
    }
  }
}

TEST_CASE_TEMPLATE("contiguous: rows are as wide as the head, whatever follows them in memory", Cache, ALL_CACHES) {
  // Writing must read head_dim floats and not more: the rows end at the end of their blocks (a sanitizer sees a read behind).
  for (const std::size_t d : {1u, 15u, 16u, 17u, 31u, 33u, 63u}) {
    const kv_shape shape{1, 1, d};
    auto cache = *Cache::create(shape, 16);
    append(cache, shape, 16);
    check_holds(cache, shape, 16);
    CHECK(cache.v_stride() % 16 == 0);
    CHECK(cache.v_stride() >= d);
  }
}

TEST_CASE_TEMPLATE("contiguous: absurd capacities and shapes are typed errors", Cache, ALL_CACHES) {
  const auto code = [](const kv_shape& shape, std::size_t capacity) {
    const auto cache = Cache::create(shape, capacity);
    if (cache) return -1;
    CHECK_FALSE(cache.error().where.empty());
    return static_cast<int>(cache.error().code);
  };
  const kv_shape shape{4, 4, 64};
  CHECK(code(shape, 0) == static_cast<int>(errc::bad_argument));
  for (const std::size_t n :
       {biggest, biggest - 1, biggest - 15, biggest - 16, biggest / 2 + 1, biggest / 16, biggest / 64, std::size_t{1} << 58, std::size_t{1} << 48}) {
    CAPTURE(n);
    CHECK(code(shape, n) == static_cast<int>(errc::out_of_memory));
  }
  for (const std::size_t n : {std::size_t{0}, biggest, biggest / 2 + 1, biggest / 32 + 1, std::size_t{1} << 60, std::size_t{1} << 40}) {
    CAPTURE(n);
    CHECK(code({1, 1, n}, 16) == static_cast<int>(errc::bad_argument));
  }
  CHECK(code({0, 1, 16}, 16) == static_cast<int>(errc::bad_argument));
  CHECK(code({1, 0, 16}, 16) == static_cast<int>(errc::bad_argument));
  for (const std::size_t n : {biggest, biggest / 2 + 1, std::size_t{1} << 60}) {
    CHECK(code({n, 1, 16}, 16) == static_cast<int>(errc::out_of_memory));
    CHECK(code({1, n, 16}, 16) == static_cast<int>(errc::out_of_memory));
    CHECK(code({n, n, 16}, 16) == static_cast<int>(errc::out_of_memory));
  }
}

TEST_CASE("contiguous: bytes() is what the shape takes, halved from f32 to f16, and again about halved to q8_0") {
  const kv_shape shape{3, 2, 64};
  const std::size_t numbers = 3 * 2 * 128 * (64 + 64);
  CHECK(cache_of<kv_type::f32>::create(shape, 128)->bytes() == 4 * numbers);
  CHECK(cache_of<kv_type::f16>::create(shape, 128)->bytes() == 2 * numbers);
  CHECK(cache_of<kv_type::q8_0>::create(shape, 128)->bytes() == numbers / 32 * 34);
  CHECK(cache_of<kv_type::bf16>::create(shape, 128)->bytes() == 2 * numbers);
  CHECK(cache_of<kv_type::bf16>::create({3, 2, 63}, 128)->bytes() == 2 * numbers);   // keys of 63 channels go by 32 pairs
  CHECK(cache_of<kv_type::f16>::create(shape, 113)->bytes() == 2 * numbers);   // whole panels
}

TEST_CASE_TEMPLATE("contiguous: a moved cache keeps what it holds", Cache, ALL_CACHES) {
  const kv_shape shape{1, 2, 32};
  auto cache = *Cache::create(shape, 20);
  append(cache, shape, 9);
  Cache moved = std::move(cache);
  check_holds(moved, shape, 9);
  append(moved, shape, 11);
  check_holds(moved, shape, 20);
}

TEST_CASE_TEMPLATE("contiguous: positions come out in the stated layout, and put back in any pieces they are the same cache", Cache, ALL_CACHES) {
  for (const std::size_t head_dim : {16u, 20u, 33u, 64u, 80u}) {
    CAPTURE(head_dim);
    const kv_shape shape{2, 3, head_dim};
    constexpr std::size_t n = 37;
    auto cache = Cache::create(shape, 48).value();
    auto copy = Cache::create(shape, n).value();
    append(cache, shape, n);
    append(copy, shape, 5);
    copy.truncate(0);
    REQUIRE(copy.reserve(n));
    const std::size_t bytes = cache.position_bytes(), part = bytes / 2;
    const std::size_t element = Cache::type == kv_type::f32 ? 4 : 2;
    CHECK(bytes == (Cache::type == kv_type::q8_0 ? 2 * ((head_dim + 31) / 32 * 34) : 2 * head_dim * element));
    const auto stored = [&](const std::byte* from, std::size_t c) {
      if (Cache::type != kv_type::q8_0) return load(from + c * element, Cache::type);
      const std::byte* group = from + c / 32 * 34;
      return static_cast<float>(static_cast<std::int8_t>(group[c % 32])) * load(group + 32, kv_type::f16);
    };
    std::size_t n_wrong = 0;
    for (std::size_t i = 0; i < shape.n_layers * shape.n_kv_heads; ++i) {
      const kv_head head{i / shape.n_kv_heads, i % shape.n_kv_heads};
      std::vector<std::byte> all(n * bytes);
      cache.export_positions({head, 0, n}, all);
      for (std::size_t pos = 0; pos < n; ++pos) {
        for (std::size_t c = 0; c < head_dim; ++c) {
          n_wrong += stored(all.data() + pos * bytes, c) != mark(head, pos, c, false);
          n_wrong += stored(all.data() + pos * bytes + part, c) != mark(head, pos, c, true);
        }
      }
      const std::size_t step = 1 + 7 * i;
      for (std::size_t first = 0; first < n; first += step) {
        const std::size_t n_now = std::min(step, n - first);
        std::vector<std::byte> piece(n_now * bytes);
        cache.export_positions({head, first, n_now}, piece);
        CHECK(std::memcmp(piece.data(), all.data() + first * bytes, piece.size()) == 0);
        copy.import_positions({head, first, n_now}, piece);
      }
    }
    CHECK(n_wrong == 0);
    copy.commit(n);
    check_holds(copy, shape, n);
    check_holds(cache, shape, n);
  }
}

TEST_CASE_TEMPLATE("contiguous: layers with a window keep what the next queries see, through passes, steps back and restores, in no more memory",
                   Cache, ALL_CACHES) {
  const auto windows = std::make_shared<const std::vector<std::size_t>>(std::vector<std::size_t>{40, 0, 100});
  const kv_shape shape{3, 2, 8, windows};
  auto cache = *Cache::create(shape, 4000), whole = *Cache::create({3, 2, 8}, 4000);
  CHECK(cache.bytes() == whole.bytes() / (3 * 4000) * (1088 + 4000 + 1152));   // window + 1024 + a panel, whole panels
  CHECK(cache.max_segments() == 2);
  CHECK(cache.max_pass() == window_slack);
  std::mt19937 random(5);
  std::size_t furthest = 0, n_wrong = 0;
  while (cache.length() < 3900) {
    if (random() % 3 == 0) {
      const std::size_t back = std::min(cache.length(), random() % 300), n = cache.length() - back;
      if (furthest - n <= window_slack) {
        CHECK(cache.keepable(n) == n);
        cache.truncate(n);
      }
    }
    append(cache, shape, std::min<std::size_t>(1 + random() % (random() % 8 == 0 ? window_slack : 200), 4000 - cache.length()));
    furthest = std::max(furthest, cache.length());
    n_wrong += wrong_in_windows(cache, shape);
  }
  CHECK(n_wrong == 0);
  const std::size_t length = cache.length();
  CHECK(cache.keepable(length) == length);
  CHECK(cache.keepable(length - 1100) == 0);
  CHECK(cache.keepable(0) == 0);

  auto copy = *Cache::create(shape, 5000);
  REQUIRE(copy.reserve(length).has_value());
  std::vector<std::byte> bytes(length * cache.position_bytes());
  for (std::size_t i = 0; i < 6; ++i) {
    cache.export_positions({{i / 2, i % 2}, 0, length}, bytes);
    copy.import_positions({{i / 2, i % 2}, 0, length}, bytes);
  }
  copy.commit(length);
  CHECK(wrong_in_windows(copy, shape) == 0);
  CHECK(copy.keepable(length) == length);
  CHECK(copy.keepable(length - 1) == 0);   // nobody knows what it had before
  append(copy, shape, 20);
  CHECK(wrong_in_windows(copy, shape) == 0);
  CHECK(copy.keepable(length + 3) == length + 3);
  copy.truncate(0);
  append(copy, shape, 30);
  CHECK(copy.keepable(7) == 7);
  check_holds(copy, shape, 30);
}

TEST_CASE("contiguous: windows that are not one for each layer are refused; those wider than the context are none") {
  const auto two = std::make_shared<const std::vector<std::size_t>>(std::vector<std::size_t>{1, 2147483648});
  const auto refused = cache_of<kv_type::f16>::create({3, 2, 8, two}, 64);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == errc::bad_argument);
  CHECK(refused.error().where == "windows");
  const kv_shape shape{2, 2, 8, two};
  auto small = *cache_of<kv_type::f16>::create(shape, 1056);
  CHECK(small.bytes() == cache_of<kv_type::f16>::create({2, 2, 8}, 1056)->bytes());
  CHECK(small.max_segments() == 1);
  append(small, shape, 1056);
  check_holds(small, shape, 1056);
  CHECK(small.keepable(3) == 3);
}

TEST_CASE("contiguous: a bf16 cache keeps no subnormals, which the dot products of processors read as zeros, and pads odd keys with zeros") {
  const kv_shape shape{1, 1, 3};
  auto cache = cache_of<kv_type::bf16>::create(shape, 16).value();
  REQUIRE(cache.reserve(1));
  const float k[] = {0x1p-127f, -0x1p-126f, 0x1.01p0f}, v[] = {-0x1p-130f, 0x1.ffp-127f, 0x1.03p0f};
  cache.write({{0, 0}, 0}, {k, v});
  cache.commit(1);
  kv_segment s;
  REQUIRE(cache.segments({0, 0}, std::span(&s, 1)) == 1);
  const float stored_k[] = {0, -0x1p-126f, 1, 0}, stored_v[] = {0, 0x1p-126f, 0x1.04p0f};   // ties to even; the least normal number stays
  for (std::size_t c = 0; c < 4; ++c) CHECK(key_at(kv_type::bf16, s, 0, c, 3) == stored_k[c]);
  for (std::size_t c = 0; c < 3; ++c) CHECK(value_at(kv_type::bf16, s, 0, c, cache.v_stride()) == stored_v[c]);
}
