// SPDX-License-Identifier: MIT
// Pages: what kv_cache.hpp promises of any cache, against the contiguous one byte by byte; sharing, copies, counts; and the index of prefixes.
#include <cria/kv/paged.hpp>
#include <cria/kv/prefix_index.hpp>

#include <doctest/doctest.h>

#include <tests/kv/marked_cache.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace cria;
using namespace cria_test;

template <kv_type Type>
using cache_of = paged_kv_cache<Type>;
#define ALL_CACHES cache_of<kv_type::f16>, cache_of<kv_type::f32>, cache_of<kv_type::q8_0>, cache_of<kv_type::bf16>
using pool_f16 = page_pool<kv_type::f16>;
using cache_f16 = paged_kv_cache<kv_type::f16>;

static_assert(!std::is_copy_constructible_v<cache_f16> && std::is_nothrow_move_constructible_v<cache_f16> && std::is_nothrow_move_assignable_v<cache_f16>);

std::shared_ptr<pool_f16> make_pool(const kv_shape& shape, std::size_t n_pages, std::size_t page_size = 16) {
  return pool_f16::create(shape, {.n_pages = n_pages, .page_size = page_size}).value();
}

/// A sequence's numbers, as a function of who wrote them.
struct written {
  std::vector<float> k, v;
  written(int writer, std::size_t pos, std::size_t head, std::size_t head_dim) : k(head_dim), v(head_dim) {
    for (std::size_t c = 0; c < head_dim; ++c) {
      k[c] = static_cast<float>((static_cast<std::size_t>(writer) * 37 + pos * 5 + head * 3 + c) % 251);
      v[c] = k[c] + 0.5f;
    }
  }
};

template <class Cache>
void append_as(Cache& cache, const kv_shape& shape, int writer, std::size_t n) {
  const std::size_t from = cache.length();
  REQUIRE(cache.reserve(n));
  for (std::size_t layer = 0; layer < shape.n_layers; ++layer) {
    for (std::size_t head = 0; head < shape.n_kv_heads; ++head) {
      for (std::size_t pos = from; pos < from + n; ++pos) {
        const written w(writer, pos, layer * 7 + head, shape.head_dim);
        cache.write({{layer, head}, pos}, {w.k.data(), w.v.data()});
      }
    }
  }
  cache.commit(n);
}

/// Returns how many positions of a cache are not what `writer_of` says.
template <class Cache>
std::size_t count_wrong(const Cache& cache, const kv_shape& shape, const std::vector<int>& writer_of) {
  std::vector<kv_segment> segments(cache.max_segments());
  std::size_t n_wrong = 0;
  for (std::size_t layer = 0; layer < shape.n_layers; ++layer) {
    for (std::size_t head = 0; head < shape.n_kv_heads; ++head) {
      const std::size_t n = cache.segments({layer, head}, segments);
      std::size_t pos = 0;
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t index = 0; index < segments[i].length; ++index, ++pos) {
          const written w(writer_of[pos], pos, layer * 7 + head, shape.head_dim);
          bool is_right = true;
          for (std::size_t c = 0; c < shape.head_dim; ++c) {
            is_right &= key_at(Cache::type, segments[i], index, c, shape.head_dim) == w.k[c];
            is_right &= value_at(Cache::type, segments[i], index, c, cache.v_stride()) == w.v[c];
          }
          n_wrong += !is_right;
        }
      }
      n_wrong += pos != writer_of.size();
    }
  }
  return n_wrong;
}

}  // namespace

TEST_CASE_TEMPLATE("paged: what is written can be read through segments of whole panels, for every head, layer and position", Cache, ALL_CACHES) {
  for (const kv_shape& shape : {kv_shape{1, 1, 32}, kv_shape{3, 2, 64}, kv_shape{2, 3, 48}, kv_shape{1, 1, 8}, kv_shape{2, 1, 17}}) {
    auto cache = *Cache::create(shape, 150);
    check_holds(cache, shape, 0);
    for (const std::size_t n : {1u, 14u, 1u, 1u, 46u, 1u, 1u, 80u}) {
      append(cache, shape, n);
      check_holds(cache, shape, cache.length());
    }
    for (const std::size_t n : {129u, 128u, 127u, 64u, 63u, 17u, 1u, 0u}) {
      cache.truncate(n);
      check_holds(cache, shape, n);
      CHECK(cache.pages().size() == (n + 63) / 64);
    }
  }
}

TEST_CASE_TEMPLATE("paged: any history of reserves, commits and truncations holds the bytes of a contiguous cache", Cache, ALL_CACHES) {
  const kv_shape shape{2, 2, 33};
  auto cache = *Cache::create(Cache::pool_type::create(shape, {.n_pages = 9, .page_size = 16}).value(), 137);
  auto plain = *contiguous_kv_cache<Cache::type>::create(shape, 137);
  std::mt19937 random(7);
  const auto bytes_equal = [&](std::size_t positions) {
    std::vector<kv_segment> pages(cache.max_segments());
    kv_segment whole[1];
    bool equal = true;
    for (std::size_t head = 0; head < 2; ++head) {
      const std::size_t n = cache.segments({1, head}, pages);
      plain.segments({1, head}, whole);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t pos = 0; pos < pages[i].length && pages[i].first_pos + pos < positions; ++pos) {
          for (std::size_t c = 0; c < shape.head_dim; ++c) {
            equal &= key_at(Cache::type, pages[i], pos, c, 33) == key_at(Cache::type, whole[0], pages[i].first_pos + pos, c, 33);
            const auto expected = value_at(Cache::type, whole[0], pages[i].first_pos + pos, c, plain.v_stride());
            equal &= value_at(Cache::type, pages[i], pos, c, cache.v_stride()) == expected;
          }
        }
      }
    }
    return equal;
  };
  for (int step = 0; step < 300; ++step) {
    const std::size_t n = random() % 40;
    switch (random() % 3) {
      case 0: {
        const bool fits = plain.reserve(n).has_value();
        REQUIRE(cache.reserve(n).has_value() == fits);
        if (!fits) break;
        for (std::size_t pos = plain.length(); pos < plain.length() + n; ++pos) {
          std::vector<float> k(33), v(33);
          for (float& x : k) x = static_cast<float>(random() % 1000) / 7.0f;
          for (float& x : v) x = static_cast<float>(random() % 1000) / 7.0f;
          for (std::size_t head = 0; head < 4; ++head) {
            cache.write({{head / 2, head % 2}, pos}, {k.data(), v.data()});
            plain.write({{head / 2, head % 2}, pos}, {k.data(), v.data()});
          }
        }
        cache.commit(n / 2);
        plain.commit(n / 2);
        break;
      }
      case 1: {
        const std::size_t to = plain.length() - std::min(plain.length(), n);
        cache.truncate(to);
        plain.truncate(to);
        break;
      }
      default:
        if (plain.reserve(n).has_value() && cache.reserve(n).has_value()) {
          plain.truncate(plain.length());
          cache.truncate(cache.length());
        }
    }
    REQUIRE(cache.length() == plain.length());
    if (step % 5 == 0) REQUIRE(bytes_equal(plain.length()));
  }
  cache.truncate(0);
  CHECK(cache.pool()->statistics().n_used == 0);
}

TEST_CASE("paged: forks share pages, a write copies the one page it touches, and nobody sees another's numbers") {
  const kv_shape shape{2, 2, 24};
  auto pool = make_pool(shape, 8);
  auto a = *cache_f16::create(pool, 64);
  append_as(a, shape, 1, 40);   // two full pages and half of one
  auto b = *a.fork();
  CHECK(pool->statistics().n_used == 3);
  CHECK(pool->statistics().n_shared == 3);
  append_as(b, shape, 2, 10);
  CHECK(pool->statistics().n_used == 5);   // a copy of the third, and a fourth
  CHECK(pool->statistics().n_shared == 2);
  CHECK(pool->statistics().n_copies == 1);
  append_as(a, shape, 3, 3);
  CHECK(pool->statistics().n_copies == 1);   // it is a's alone by now
  std::vector<int> of_a(40, 1), of_b(40, 1);
  of_a.insert(of_a.end(), 3, 3);
  of_b.insert(of_b.end(), 10, 2);
  CHECK(count_wrong(a, shape, of_a) == 0);
  CHECK(count_wrong(b, shape, of_b) == 0);
  a = std::move(b);
  CHECK(count_wrong(a, shape, of_b) == 0);
  CHECK(pool->statistics().n_used == 4);
  a.truncate(0);
  CHECK(pool->statistics().n_used == 0);
  CHECK(pool->statistics().most_used == 5);
}

TEST_CASE("paged: an empty pool is context_full that names the pages, changes nothing, and is over when somebody lets go") {
  const kv_shape shape{1, 1, 16};
  auto pool = make_pool(shape, 3);
  auto a = *cache_f16::create(pool, 64), b = *cache_f16::create(pool, 64);
  append_as(a, shape, 1, 33);
  const auto refused = b.reserve(1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::context_full);
  CHECK(refused.error().where == "pages");
  CHECK(b.pages_needed(1) == 1);
  CHECK(a.pages_needed(15) == 0);
  CHECK_FALSE(a.reserve(16));
  CHECK(count_wrong(a, shape, std::vector<int>(33, 1)) == 0);
  const auto beyond = a.reserve(32);
  REQUIRE_FALSE(beyond);
  CHECK(beyond.error().where == "context");
  CHECK_FALSE(a.reserve(std::numeric_limits<std::size_t>::max()));
  a.truncate(32);
  append_as(b, shape, 2, 16);
  // A copy needs a page as well: the write into a shared page of a full pool is refused, and both keep what they have.
  a.truncate(20);
  auto c = *a.fork();
  CHECK(c.pages_needed(1) == 1);
  CHECK_FALSE(c.reserve(1));
  CHECK_FALSE(a.reserve(1));
  b.truncate(0);
  append_as(c, shape, 3, 1);
  append_as(a, shape, 4, 1);   // the page is a's alone now
  std::vector<int> of_a(20, 1), of_c(20, 1);
  of_a.push_back(4);
  of_c.push_back(3);
  CHECK(count_wrong(a, shape, of_a) == 0);
  CHECK(count_wrong(c, shape, of_c) == 0);
}

TEST_CASE("paged: any history of forks, appends, truncations and deaths keeps every sequence's numbers, and every page's count") {
  const kv_shape shape{1, 2, 8};
  auto pool = make_pool(shape, 24);
  struct owner {
    cache_f16 cache;
    std::vector<int> writer_of;
  };
  std::vector<owner> owners;
  std::mt19937 random(11);
  for (int step = 0; step < 3000; ++step) {
    const std::size_t i = owners.empty() ? 0 : random() % owners.size();
    switch (random() % 5) {
      case 0:
        if (owners.size() < 12) owners.push_back({*cache_f16::create(pool, 100), {}});
        break;
      case 1:
        if (owners.empty() || owners.size() >= 12) break;
        owners.push_back({*owners[i].cache.fork(), owners[i].writer_of});
        break;
      case 2: {
        const std::size_t n = 1 + random() % 20;
        if (owners.empty() || owners[i].writer_of.size() + n > 100) break;
        if (owners[i].cache.pages_needed(n) > pool->n_free()) {
          CHECK_FALSE(owners[i].cache.reserve(n));
          break;
        }
        append_as(owners[i].cache, shape, step, n);
        owners[i].writer_of.insert(owners[i].writer_of.end(), n, step);
        break;
      }
      case 3:
        if (owners.empty()) break;
        owners[i].writer_of.resize(random() % (owners[i].writer_of.size() + 1));
        owners[i].cache.truncate(owners[i].writer_of.size());
        break;
      default:
        if (!owners.empty() && random() % 3 == 0) owners.erase(owners.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (step % 25 != 0) continue;
    std::map<page_id, std::uint32_t> counted;
    for (const owner& o : owners) {
      REQUIRE(count_wrong(o.cache, shape, o.writer_of) == 0);
      for (const page_id page : o.cache.pages()) ++counted[page];
    }
    for (const auto& [page, n] : counted) REQUIRE(pool->references(page) == n);
    CHECK(pool->statistics().n_used == counted.size());
    CHECK(pool->statistics().n_shared == static_cast<std::size_t>(std::count_if(counted.begin(), counted.end(), [](const auto& c) { return c.second > 1; })));
  }
  owners.clear();
  CHECK(pool->n_free() == 24);
  CHECK(pool->statistics().n_shared == 0);
}

TEST_CASE_TEMPLATE("paged: positions come out as those of a contiguous cache, and go in over shared pages without touching the other's", Cache, ALL_CACHES) {
  const kv_shape shape{2, 2, 40};
  auto cache = *Cache::create(Cache::pool_type::create(shape, {.n_pages = 12, .page_size = 16}).value(), 64);
  auto plain = *contiguous_kv_cache<Cache::type>::create(shape, 64);
  append(cache, shape, 37);
  append(plain, shape, 37);
  REQUIRE(cache.position_bytes() == plain.position_bytes());
  auto fork = *cache.fork();
  fork.truncate(10);
  REQUIRE(fork.reserve(27));
  for (std::size_t i = 0; i < 4; ++i) {
    const kv_head head{i / 2, i % 2};
    std::vector<std::byte> of_pages(27 * cache.position_bytes()), of_plain(of_pages.size());
    cache.export_positions({head, 10, 27}, of_pages);
    plain.export_positions({head, 10, 27}, of_plain);
    CHECK(of_pages == of_plain);
    fork.import_positions({head, 10, 27}, of_plain);
  }
  fork.commit(27);
  check_holds(fork, shape, 37);
  check_holds(cache, shape, 37);
  CHECK(fork.pages()[0] != cache.pages()[0]);
}

TEST_CASE_TEMPLATE("paged: layers with a window keep what the next queries see, through forks, copies, steps back and deaths, in counted windowed parts",
                   Cache, cache_of<kv_type::f16>, cache_of<kv_type::q8_0>) {
  const auto windows = std::make_shared<const std::vector<std::size_t>>(std::vector<std::size_t>{40, 0, 70, 1});
  const kv_shape shape{4, 2, 8, windows};
  for (const std::size_t slack : {std::size_t{0}, std::size_t{50}}) {
    auto pool = Cache::pool_type::create(shape, {.n_pages = 200, .page_size = 16, .n_windowed_pages = 72, .slack = slack}).value();
    CHECK(pool->statistics().page_bytes * 3 == pool->statistics().windowed_bytes);   // one layer and three
    CHECK(pool->statistics().n_windowed_pages == 72);
    std::vector<Cache> caches;
    std::mt19937 random(11);
    std::size_t n_wrong = 0, n_stepped_back = 0, n_refused = 0, longest = 0;
    for (int step = 0; step < 1500; ++step) {
      const std::size_t i = caches.empty() ? 0 : random() % caches.size();
      switch (random() % 8) {
        case 0:
          if (caches.size() < 5) caches.push_back(*Cache::create(pool, 700));
          break;
        case 1:
          if (!caches.empty() && caches.size() < 5) caches.push_back(*caches[i].fork());
          break;
        case 2: {
          if (caches.empty()) break;
          const std::size_t back = std::min(caches[i].length(), random() % 60), n = caches[i].length() - back;
          if (slack > 0 && back <= slack && step % 2 == 0) n_wrong += caches[i].keepable(n) != n && caches[i].keepable(n) != 0;
          if (caches[i].keepable(n) != n) break;
          caches[i].truncate(n);
          n_stepped_back += back > 0;
          break;
        }
        case 3:
          if (!caches.empty() && random() % 12 == 0) caches.erase(caches.begin() + static_cast<std::ptrdiff_t>(i));
          break;
        default: {
          if (caches.empty()) break;
          const std::size_t n = std::min<std::size_t>(1 + random() % (random() % 8 == 0 ? 100 : 20), caches[i].capacity() - caches[i].length());
          const auto before = pool->statistics().n_used;
          if (auto room = caches[i].reserve(n); !room) {
            CHECK(room.error().where == "pages");
            CHECK(pool->statistics().n_used == before);
            ++n_refused;
            break;
          }
          append(caches[i], shape, n);
          longest = std::max(longest, caches[i].length());
        }
      }
      std::map<page_id, std::uint32_t> counted, seen;
      for (const Cache& c : caches) {
        n_wrong += wrong_in_windows(c, shape);
        for (const page_id page : c.pages()) ++counted[page];
        for (const page_id page : c.pages().last(c.n_seen_pages())) ++seen[page];
      }
      std::size_t n_miscounted = pool->statistics().n_used != counted.size() || pool->statistics().n_windowed_used != seen.size();
      for (const auto& [page, n] : counted) n_miscounted += pool->references(page) != n;
      for (const auto& [page, n] : seen) n_miscounted += pool->windowed_references(page) != n;
      REQUIRE(n_miscounted == 0);
    }
    CHECK(n_wrong == 0);
    CHECK(n_stepped_back > 20);
    CHECK(longest > 500);
    caches.clear();
    CHECK(pool->n_free() == 200);
    CHECK(pool->n_free_windowed() == 72);
    CHECK(pool->statistics().most_windowed_used <= 72);
  }
}

TEST_CASE("paged: a cache of windowed layers refers to no more of their parts than windowed_pages() says, and can go back by the slack") {
  const auto windows = std::make_shared<const std::vector<std::size_t>>(std::vector<std::size_t>{30, 0});
  const kv_shape shape{2, 1, 8, windows};
  for (const std::size_t n : {1u, 7u, 33u}) {
    const std::size_t bound = windowed_pages(30, 16, 1, n);
    auto pool = pool_f16::create(shape, {.n_pages = 80, .page_size = 16, .n_windowed_pages = bound, .slack = 0}).value();
    auto cache = *cache_f16::create(pool, 1280);
    while (cache.length() + n <= 1280) append(cache, shape, n);
    CHECK(wrong_in_windows(cache, shape) == 0);
    CHECK(pool->statistics().most_windowed_used <= bound);
    CHECK(cache.pages().size() > 75);
    CHECK(cache.bytes() == cache.pages().size() * pool->page_bytes() + cache.n_seen_pages() * pool->windowed_bytes());
  }
  auto cache = *cache_f16::create(shape, 3000);   // a pool of its own, with the usual slack
  for (int i = 0; i < 28; ++i) append(cache, shape, 100);
  CHECK(cache.n_seen_pages() < cache.pages().size() / 2);
  CHECK(cache.keepable(2800 - window_slack) == 2800 - window_slack);
  CHECK(cache.keepable(1000) == 0);
  CHECK(cache.keepable(0) == 0);
  cache.truncate(2800 - window_slack);
  CHECK(wrong_in_windows(cache, shape) == 0);
  append(cache, shape, 5);
  CHECK(wrong_in_windows(cache, shape) == 0);
  cache.truncate(0);
  append(cache, shape, 20);
  CHECK(cache.keepable(3) == 3);
}

TEST_CASE_TEMPLATE("paged: positions of windowed layers go from cache to cache of either kind, and nobody goes back to what was forgotten", Cache, ALL_CACHES) {
  const auto windows = std::make_shared<const std::vector<std::size_t>>(std::vector<std::size_t>{40, 0});
  const kv_shape shape{2, 2, 9, windows};
  const std::size_t length = 1500;
  auto pool = Cache::pool_type::create(shape, {.n_pages = 100, .page_size = 16, .slack = 0}).value();
  auto paged = *Cache::create(pool, length + 50);
  auto plain = *contiguous_kv_cache<Cache::type>::create(shape, length + 50);
  for (std::size_t n = 0; n < length; n += 100) append(paged, shape, 100), append(plain, shape, 100);
  const auto move = [&](const auto& from, auto& to) {
    REQUIRE(to.reserve(length));
    std::vector<std::byte> bytes(length * from.position_bytes());
    for (std::size_t i = 0; i < 4; ++i) {
      from.export_positions({{i / 2, i % 2}, 0, length}, bytes);
      to.import_positions({{i / 2, i % 2}, 0, length}, bytes);
    }
    to.commit(length);
    CHECK(wrong_in_windows(to, shape) == 0);
    CHECK(to.keepable(length) == length);
    CHECK(to.keepable(length - 1) == 0);   // nobody knows what it had before
    append(to, shape, 20);
    CHECK(wrong_in_windows(to, shape) == 0);
    CHECK(to.keepable(length) == length);
  };
  auto new_plain = *contiguous_kv_cache<Cache::type>::create(shape, length + 50);
  auto new_paged = *Cache::create(shape, length + 50), other_paged = *Cache::create(shape, length + 50);
  move(paged, new_plain);
  move(plain, new_paged);
  move(paged, other_paged);
  CHECK(paged.check_replace(length));
  auto fork = *paged.fork();
  CHECK_FALSE(paged.check_replace(length));   // what it holds would stay the fork's
}

TEST_CASE("paged: absurd pools and capacities are typed errors") {
  const auto code = [](const kv_shape& shape, const page_pool_options& options) {
    const auto pool = pool_f16::create(shape, options);
    return pool ? -1 : static_cast<int>(pool.error().code);
  };
  constexpr std::size_t biggest = std::numeric_limits<std::size_t>::max();
  const int refused = static_cast<int>(errc::bad_argument), too_large = static_cast<int>(errc::out_of_memory);
  CHECK(code({1, 1, 16}, {.n_pages = 0}) == refused);
  CHECK(code({1, 1, 16}, {.n_pages = biggest}) == refused);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{24}, std::size_t{65'552}, biggest}) {
    CHECK(code({1, 1, 16}, {.n_pages = 1, .page_size = size}) == refused);
  }
  CHECK(code({0, 1, 16}, {.n_pages = 1}) == refused);
  CHECK(code({1, 0, 16}, {.n_pages = 1}) == refused);
  CHECK(code({1, 1, 0}, {.n_pages = 1}) == refused);
  CHECK(code({1, 1, biggest}, {.n_pages = 1}) == refused);
  CHECK(code({biggest, 1, 16}, {.n_pages = 1}) == too_large);
  CHECK(code({1 << 20, 1 << 20, 1 << 20}, {.n_pages = 1 << 20}) == too_large);
  const auto two = std::make_shared<const std::vector<std::size_t>>(std::vector<std::size_t>{1, std::size_t{1} << 31});
  CHECK(code({3, 1, 16, two}, {.n_pages = 1}) == refused);
  const auto wide = pool_f16::create({2, 1, 16, two}, {.n_pages = 3, .page_size = 16, .n_windowed_pages = biggest}).value();
  CHECK(wide->statistics().n_windowed_pages == 3);
  CHECK(wide->page_bytes() == 0);   // every layer has a window
  auto in_windows = *cache_f16::create(wide, 48);
  append(in_windows, wide->shape(), 48);
  CHECK(in_windows.n_seen_pages() == 3);
  CHECK(wrong_in_windows(in_windows, wide->shape()) == 0);
  CHECK(cache_f16::create(make_pool({1, 1, 16}, 1), 0).error().code == errc::bad_argument);
}

TEST_CASE("prefix_index: finds the longest known beginning, to the token, and keeps pages of sequences that are gone") {
  const kv_shape shape{1, 1, 8};
  auto pool = make_pool(shape, 16);
  auto index = *prefix_index<kv_type::f16>::create(pool);
  std::vector<token_id> story(50);
  for (std::size_t i = 0; i < story.size(); ++i) story[i] = static_cast<token_id>(i * i % 97);
  std::vector<page_id> found(8);
  CHECK(index.find(story, found) == 0);
  {
    auto a = *cache_f16::create(pool, 64);
    append_as(a, shape, 1, 50);
    index.insert(story, a.pages());
    CHECK(index.size() == 3);
    CHECK(index.n_spare() == 0);
  }
  CHECK(index.n_spare() == 3);
  CHECK(pool->statistics().n_used == 3);
  CHECK(index.find(story, found) == 48);
  CHECK(index.find(std::span(story).first(20), found) == 20);
  auto b = *cache_f16::create(pool, 64);
  b.share(std::span(found).first(2), 20);
  append_as(b, shape, 2, 20);   // the second page is copied: the index keeps its own
  std::vector<int> of_b(20, 1);
  of_b.insert(of_b.end(), 20, 2);
  CHECK(count_wrong(b, shape, of_b) == 0);
  auto other = story;
  other[30] = -5;
  CHECK(index.find(other, found) == 30);
  other.resize(40);
  for (std::size_t i = 20; i < 40; ++i) other[i] = static_cast<token_id>(1000 + i);
  index.insert(other, b.pages());
  CHECK(index.size() == 4);
  CHECK(index.find(other, found) == 32);
  CHECK(found[1] == b.pages()[1]);
  CHECK(index.find(story, found) == 48);
}

TEST_CASE("prefix_index: gives back the longest unused pages first, children before parents, never one in use") {
  const kv_shape shape{1, 1, 8};
  auto pool = make_pool(shape, 6);
  auto index = *prefix_index<kv_type::f16>::create(pool);
  const auto remember = [&](token_id first, std::size_t n) {
    std::vector<token_id> tokens(n, first);
    auto cache = *cache_f16::create(pool, 96);
    append_as(cache, shape, first, n);
    index.insert(tokens, cache.pages());
    return tokens;
  };
  std::vector<page_id> found(6);
  const auto old = remember(1, 32), recent = remember(2, 32);
  CHECK(index.make_room(2));
  CHECK(index.size() == 4);
  CHECK(index.find(old, found) == 32);   // a use: now the other one is older
  CHECK(index.make_room(3));
  CHECK(index.find(recent, found) == 16);
  CHECK(index.find(old, found) == 32);
  auto user = *cache_f16::create(pool, 96);
  user.share(std::span(found).first(2), 32);
  CHECK_FALSE(index.make_room(5));
  CHECK(index.size() == 2);
  CHECK(pool->n_free() == 4);
  CHECK(count_wrong(user, shape, std::vector<int>(32, 1)) == 0);
  user.truncate(0);
  index.clear();
  CHECK(pool->n_free() == 6);
  CHECK(index.find(old, found) == 0);
}

TEST_CASE("prefix_index: a beginning is found as far as what its next query sees through a window is there, and is completed by who computes it again") {
  const auto windows = std::make_shared<const std::vector<std::size_t>>(std::vector<std::size_t>{20, 0});
  const kv_shape shape{2, 1, 8, windows};
  auto pool = pool_f16::create(shape, {.n_pages = 40, .page_size = 16, .n_windowed_pages = 20, .slack = 0}).value();
  auto index = *prefix_index<kv_type::f16>::create(pool);
  std::vector<token_id> story(160);
  for (std::size_t i = 0; i < story.size(); ++i) story[i] = static_cast<token_id>(i * i % 97);
  std::vector<page_id> found(16);
  {
    auto cache = *cache_f16::create(pool, 200);
    for (std::size_t n = 0; n < 160; n += 16) append(cache, shape, 16);
    CHECK(cache.n_seen_pages() < 10);
    index.insert(story, cache.pages());   // the last pages only have their windowed part
  }
  CHECK(index.size() == 10);
  CHECK(pool->statistics().n_windowed_used == 3);   // positions 125 on, seen from 144
  CHECK(index.find(story, found) == 160);
  CHECK(index.find(std::span(story).first(150), found) == 150);
  CHECK(index.find(std::span(story).first(120), found) == 0);   // 101 on: without their windowed part
  {
    auto cache = *cache_f16::create(pool, 200);
    cache.share(std::span(found).first(0), 0);
    for (std::size_t n = 0; n < 160; n += 16) {
      append(cache, shape, 16);
      index.insert(std::span(story).first(n + 16), cache.pages());   // while each page is seen
    }
    CHECK(wrong_in_windows(cache, shape) == 0);
  }
  CHECK(index.size() == 10);   // the same nodes, in other pages where that gave them their windowed part
  CHECK(pool->statistics().n_used == 10);
  CHECK(pool->statistics().n_windowed_used == 10);
  for (const std::size_t n : {160u, 150u, 120u, 31u, 16u, 3u}) {
    CAPTURE(n);
    REQUIRE(index.find(std::span(story).first(n), found) == n);
    auto user = *cache_f16::create(pool, 200);
    user.share(std::span(found).first((n + 15) / 16), n);
    append(user, shape, 20);
    CHECK(wrong_in_windows(user, shape) == 0);
  }
  // Parts go before pages: those of the longest unused ones, never one in use.
  REQUIRE(index.find(std::span(story).first(32), found) == 32);
  auto user = *cache_f16::create(pool, 200);
  user.share(std::span(found).first(2), 32);
  CHECK(index.make_windowed_room(18));
  CHECK(pool->n_free_windowed() == 18);
  CHECK_FALSE(index.make_windowed_room(19));
  CHECK(index.size() == 10);
  CHECK(index.find(story, found) == 32);
  CHECK(wrong_in_windows(user, shape) == 0);
  user.truncate(0);
  CHECK(index.make_room(40));
  CHECK(index.size() == 0);
  CHECK(pool->n_free_windowed() == 20);
}
