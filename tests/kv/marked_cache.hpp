// SPDX-License-Identifier: MIT
// tests/kv/marked_cache.hpp - fills any cache with numbers that say where they belong, and reads them back by the layout of core/types.hpp.
#pragma once

#include <cria/core/float16.hpp>
#include <cria/kv/kv_cache.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace cria_test {

/// What is written at a place: a number that says where it belongs, exactly kept by float16, by bfloat16 and, since a group's largest value is 127, by q8_0.
inline float mark(cria::kv_head head, std::size_t pos, std::size_t channel, bool is_value) {
  if (channel % 32 == 0) return is_value ? -127.0f : 127.0f;
  const std::size_t n = head.layer * 5 + head.head * 11 + pos * 3 + channel * 7 + (is_value ? 1 : 0);
  return static_cast<float>(n % 255) - 127.0f;
}

struct marks {
  std::vector<float> k, v;
  marks(cria::kv_head head, std::size_t pos, std::size_t head_dim) : k(head_dim), v(head_dim) {
    for (std::size_t c = 0; c < head_dim; ++c) k[c] = mark(head, pos, c, false), v[c] = mark(head, pos, c, true);
  }
};

inline float load(const std::byte* p, cria::kv_type type) {
  if (type == cria::kv_type::f32) {
    float x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  if (type == cria::kv_type::bf16) {
    cria::bf16 x;
    std::memcpy(&x, p, sizeof x);
    return cria::to_float(x);
  }
  cria::f16 x;
  std::memcpy(&x, p, sizeof x);
  return cria::to_float(x);
}

/// Reads a key or value of a segment by the layout that core/types.hpp states, written here a second time.
inline float key_at(cria::kv_type type, const cria::kv_segment& s, std::size_t index, std::size_t channel, std::size_t head_dim) {
  const std::size_t panel = index / 16, lane = index % 16;
  if (type == cria::kv_type::q8_0) {
    const std::byte* group = s.k + panel * ((head_dim + 31) / 32 * 544) + channel / 32 * 544;
    return static_cast<float>(static_cast<std::int8_t>(group[channel % 32 * 16 + lane])) * load(group + 512 + 2 * lane, cria::kv_type::f16);
  }
  if (type == cria::kv_type::bf16) return load(s.k + (panel * ((head_dim + 1) / 2) + channel / 2) * 64 + lane * 4 + channel % 2 * 2, type);
  const std::size_t element = type == cria::kv_type::f32 ? 4 : 2;
  return load(s.k + ((panel * head_dim + channel) * 16 + lane) * element, type);
}
inline float value_at(cria::kv_type type, const cria::kv_segment& s, std::size_t index, std::size_t channel, std::size_t v_stride) {
  if (type == cria::kv_type::q8_0) {
    const std::byte* group = s.v + index * (v_stride / 32 * 34) + channel / 32 * 34;
    return static_cast<float>(static_cast<std::int8_t>(group[channel % 32])) * load(group + 32, cria::kv_type::f16);
  }
  const std::size_t element = type == cria::kv_type::f32 ? 4 : 2;
  return load(s.v + (index * v_stride + channel) * element, type);
}

/// Writes positions [from, from + n) of every head with their marks, and commits them.
template <class Cache>
void append(Cache& cache, const cria::kv_shape& shape, std::size_t n) {
  REQUIRE(cache.reserve(n).has_value());
  const std::size_t from = cache.length();
  for (std::size_t layer = 0; layer < shape.n_layers; ++layer) {
    for (std::size_t head = 0; head < shape.n_kv_heads; ++head) {
      for (std::size_t pos = from + n; pos-- > from;) {   // any order
        const marks m({layer, head}, pos, shape.head_dim);
        cache.write({{layer, head}, pos}, {m.k.data(), m.v.data()});
      }
    }
  }
  cache.commit(n);
}

/// Checks that segments cover [0, n) of every head, with the marks of their positions.
template <class Cache>
void check_holds(const Cache& cache, const cria::kv_shape& shape, std::size_t n) {
  std::vector<cria::kv_segment> segments(cache.max_segments());
  std::size_t n_wrong = 0;
  for (std::size_t layer = 0; layer < shape.n_layers; ++layer) {
    for (std::size_t head = 0; head < shape.n_kv_heads; ++head) {
      const std::size_t n_segments = cache.segments({layer, head}, segments);
      REQUIRE(n_segments <= segments.size());
      std::size_t pos = 0;
      for (std::size_t i = 0; i < n_segments; ++i) {
        CHECK(segments[i].first_pos == pos);
        CHECK(segments[i].first_pos % 16 == 0);
        for (std::size_t index = 0; index < segments[i].length; ++index, ++pos) {
          for (std::size_t c = 0; c < shape.head_dim; ++c) {
            n_wrong += key_at(Cache::type, segments[i], index, c, shape.head_dim) != mark({layer, head}, pos, c, false);
            n_wrong += value_at(Cache::type, segments[i], index, c, cache.v_stride()) != mark({layer, head}, pos, c, true);
          }
        }
      }
      CHECK(pos == n);
    }
  }
  CHECK(n_wrong == 0);
}

/// Counts what is wrong of what the next queries see of each layer's last window.
template <class Cache>
std::size_t wrong_in_windows(const Cache& cache, const cria::kv_shape& shape) {
  std::size_t n_wrong = 0;
  for (std::size_t layer = 0; layer < shape.n_layers; ++layer) {
    const std::size_t window = shape.window_of(layer), end = cache.length(), begin = window != 0 && end + 1 > window ? end + 1 - window : 0;
    for (std::size_t head = 0; head < shape.n_kv_heads; ++head) {
      std::vector<cria::kv_segment> segments(cache.max_segments());
      const std::size_t n = cache.segments({layer, head}, segments);
      std::size_t next = n == 0 ? end : segments[0].first_pos;
      n_wrong += n > segments.size() || next > begin;
      for (std::size_t i = 0; i < n; ++i) {
        n_wrong += segments[i].first_pos != next || next % 16 != 0;
        next += segments[i].length;
        for (std::size_t pos = std::max(begin, segments[i].first_pos); pos < next; ++pos) {
          const std::size_t index = pos - segments[i].first_pos;
          for (const std::size_t c : {std::size_t{1}, shape.head_dim - 1}) {
            n_wrong += key_at(Cache::type, segments[i], index, c, shape.head_dim) != mark({layer, head}, pos, c, false);
            n_wrong += value_at(Cache::type, segments[i], index, c, cache.v_stride()) != mark({layer, head}, pos, c, true);
          }
        }
      }
      n_wrong += next != end;
    }
  }
  return n_wrong;
}

}  // namespace cria_test
