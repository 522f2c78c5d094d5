// SPDX-License-Identifier: MIT
#include "kernel_test.hpp"

#include <iostream>
#include <limits>

using namespace cria_test;
using cria::kv_type;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
constexpr kv_type all_types[] = {kv_type::f16, kv_type::f32, kv_type::bf16, kv_type::q8_0};

// 32 channels of a position, or as many as are left, in a q8_0 cache: the largest is 127 or -127, the others are the nearest codes. What is stored already
// is stored again as it is. An infinity or NaN makes the scale one.
struct group {
  cria::f16 scale;
  std::int8_t codes[32];

  explicit group(std::span<const float> x) : scale(), codes() {
    float largest = 0;
    for (const float v : x) largest = std::abs(v) > largest || std::isnan(v) ? std::abs(v) : largest;
    scale = cria::to_f16(largest / 127);
    const float d = cria::to_float(scale);
    for (std::size_t n = 0; n < x.size(); ++n) codes[n] = static_cast<std::int8_t>(!std::isfinite(d) ? 1 : d == 0 ? 0 : std::lround(x[n] / d));
  }
};

// A cache of one kv head: positions [0, length) in one run or more. Bytes that belong to no position or to no channel are 0xff: NaN where they are floats.
struct cache {
  kv_type type;
  std::size_t head_dim, length, v_stride;
  std::vector<float> keys, values;  // [length][head_dim], as stored
  std::vector<std::vector<std::byte>> k_bytes, v_bytes;
  std::vector<cria::kv_segment> runs;

  [[nodiscard]] std::size_t element_bytes() const { return type == kv_type::f32 ? 4 : 2; }
  // Channels of a key panel, and which of its elements channel i of lane n is.
  [[nodiscard]] std::size_t k_channels() const { return type == kv_type::bf16 ? (head_dim + 1) / 2 * 2 : head_dim; }
  [[nodiscard]] std::size_t k_place(std::size_t i, std::size_t n) const { return type == kv_type::bf16 ? i / 2 * 32 + 2 * n + i % 2 : 16 * i + n; }
  [[nodiscard]] std::size_t k_panel_bytes() const { return type == kv_type::q8_0 ? (head_dim + 31) / 32 * 544 : 16 * k_channels() * element_bytes(); }
  [[nodiscard]] std::size_t v_row_bytes() const { return type == kv_type::q8_0 ? v_stride / 32 * 34 : v_stride * element_bytes(); }
  void put(std::byte* bytes, std::size_t n, float x) const {
    const cria::f16 half = cria::to_f16(x);
    if (type == kv_type::f16) std::memcpy(bytes + 2 * n, &half, 2);
    const cria::bf16 brain = cria::to_bf16(x);
    if (type == kv_type::bf16) std::memcpy(bytes + 2 * n, &brain, 2);
    if (type == kv_type::f32) std::memcpy(bytes + 4 * n, &x, 4);
  }
  void put_key(std::byte* panel, std::size_t lane, std::span<const float> key) const {
    for (std::size_t i = 0; i < key.size() && type != kv_type::q8_0; ++i) put(panel, k_place(i, lane), key[i]);
    if (k_channels() > head_dim) put(panel, k_place(head_dim, lane), 0);
    for (std::size_t i = 0; i < key.size() && type == kv_type::q8_0; i += 32, panel += 544) {
      const group g(key.subspan(i, std::min<std::size_t>(32, key.size() - i)));
      for (std::size_t n = 0; n < 32; ++n) std::memcpy(panel + 16 * n + lane, &g.codes[n], 1);
      std::memcpy(panel + 512 + 2 * lane, &g.scale, 2);
    }
  }
  void put_value(std::byte* row, std::span<const float> value) const {
    for (std::size_t i = 0; i < value.size() && type != kv_type::q8_0; ++i) put(row, i, value[i]);
    for (std::size_t i = 0; i < value.size() && type == kv_type::q8_0; i += 32, row += 34) {
      const group g(value.subspan(i, std::min<std::size_t>(32, value.size() - i)));
      std::memcpy(row, g.codes, 32);
      std::memcpy(row + 32, &g.scale, 2);
    }
  }
  // Makes keys or values what a cache can hold.
  void round(std::vector<float>& x) const {
    for (float& n : x) n = type == kv_type::f16 ? cria::to_float(cria::to_f16(n)) : type == kv_type::bf16 ? cria::to_float(cria::to_bf16(n)) : n;
    for (std::size_t pos = 0; pos < length && type == kv_type::q8_0; ++pos) {
      for (std::size_t i = 0; i < head_dim; i += 32) {
        const std::span<float> part = std::span(x).subspan(pos * head_dim + i, std::min<std::size_t>(32, head_dim - i));
        const group g(part);
        for (std::size_t n = 0; n < part.size(); ++n) part[n] = cria::to_float(g.scale) * static_cast<float>(g.codes[n]);
      }
    }
  }

  // Runs end where `cuts` says, multiples of 16.
  void lay_out(const std::vector<std::size_t>& cuts) {
    runs.clear();
    k_bytes.clear();
    v_bytes.clear();
    for (std::size_t first = 0, c = 0; first < length; ++c) {
      const std::size_t end = c < cuts.size() && cuts[c] < length ? cuts[c] : length, n_panels = (end - first + 15) / 16;
      std::vector<std::byte> k(n_panels * k_panel_bytes(), std::byte{0xff}), v((end - first) * v_row_bytes(), std::byte{0xff});
      for (std::size_t pos = first; pos < end; ++pos) {
        put_key(k.data() + (pos - first) / 16 * k_panel_bytes(), (pos - first) % 16, std::span(keys).subspan(pos * head_dim, head_dim));
        put_value(v.data() + (pos - first) * v_row_bytes(), std::span(values).subspan(pos * head_dim, head_dim));
      }
      k_bytes.push_back(std::move(k));
      v_bytes.push_back(std::move(v));
      runs.push_back({k_bytes.back().data(), v_bytes.back().data(), first, end - first});
      first = end;
    }
  }
};

cache make_cache(kv_type type, std::size_t head_dim, std::size_t length, numbers& random, float size = 1) {
  const std::size_t v_step = type == kv_type::q8_0 ? 32 : 16;
  const std::size_t v_stride = (head_dim + v_step - 1) / v_step * v_step;
  cache c{type, head_dim, length, v_stride, random.normals(length * head_dim, size), random.normals(length * head_dim), {}, {}, {}};
  c.round(c.keys);
  c.round(c.values);
  c.lay_out({});
  return c;
}

struct queries {
  std::size_t head_dim;
  std::vector<float> q;
  std::vector<std::size_t> begin, end;  // what each row sees
  [[nodiscard]] std::size_t n() const { return begin.size(); }
};

queries make_queries(std::size_t n_rows, std::size_t head_dim, numbers& random) {
  return {head_dim, random.normals(n_rows * head_dim, 1 / std::sqrt(static_cast<float>(head_dim))), std::vector<std::size_t>(n_rows, 0),
          std::vector<std::size_t>(n_rows, 0)};
}

// Rows [first, first + count) in one call of that kernel.
std::vector<float> attend_by(void (*kernel)(const cria::kernels::attention_args&) noexcept, const cache& c, const queries& rows, std::size_t first,
                             std::size_t count, float soft_cap = 0, std::span<const float> sinks = {}) {
  std::vector<float> out(count * c.head_dim + 1, 9.0f), scratch(cria::kernels::attention_scratch(c.head_dim), not_a_number);
  std::vector<const float*> q;
  std::vector<float*> to;
  for (std::size_t r = 0; r < count; ++r) {
    q.push_back(rows.q.data() + (first + r) * c.head_dim);
    to.push_back(out.data() + r * c.head_dim);
  }
  kernel({c.runs.data(), c.runs.size(), c.head_dim, c.v_stride, q.data(), rows.begin.data() + first, rows.end.data() + first, to.data(), count,
          scratch.data(), soft_cap, sinks.empty() ? nullptr : sinks.data(), sinks.size()});
  REQUIRE(out.back() == 9.0f);
  out.pop_back();
  return out;
}

std::vector<float> attend(const kernel_table& table, const cache& c, const queries& rows, std::size_t first, std::size_t count, float soft_cap = 0) {
  return attend_by(table.attention[static_cast<std::size_t>(c.type)], c, rows, first, count, soft_cap);
}

std::vector<float> attend(const kernel_table& table, const cache& c, const queries& rows, float soft_cap = 0) {
  return attend(table, c, rows, 0, rows.n(), soft_cap);
}

// Naive softmax in double precision, and what roundings may do to it.
//   With bf16 the queries are rounded first: the exact scores are those of the rounded ones. With q8_0 keys and values are those of the codes and scales,
//   which are exact products of 18 bits; where a key is multiplied by its scale after the sum over 32 channels, a term has one rounding more.
//   A score is head_dim fused multiply-adds (two roundings without FMA): off by (2 head_dim + 1) 2^-24 sum |q k|, where a first sum, to 0, has no
//   rounding, which leaves room for q8_0's. A weight e^(score - max) is off,
//   relatively, by the errors of score and max, the rounding of their difference and 2 ulp of exp. Sums of a chunk of 256 and of the chunks add
//   one rounding (two) a term. All this counts once for sum p v and once for sum p.
//   A sink is one more weight in the sum, of a score without error.
void check_against_double(const cache& c, const queries& rows, const std::vector<float>& got, worst_case& worst, float soft_cap = 0,
                          std::span<const float> sinks = {}) {
  const auto dim = static_cast<double>(c.head_dim);
  for (std::size_t r = 0; r < rows.n(); ++r) {
    std::vector<double> scores;
    double largest = -HUGE_VAL, score_error = 0;
    for (std::size_t pos = rows.begin[r]; pos < rows.end[r]; ++pos) {
      double score = 0, size = 0;
      for (std::size_t i = 0; i < c.head_dim; ++i) {
        const float q = rows.q[r * c.head_dim + i], used = c.type == kv_type::bf16 ? cria::to_float(cria::to_bf16(q)) : q;
        const double term = static_cast<double>(used) * static_cast<double>(c.keys[pos * c.head_dim + i]);
        score += term;
        size += std::abs(term);
      }
      double error = (2 * dim + 1) * unit * size;
      if (soft_cap > 0) {
        score = static_cast<double>(soft_cap) * std::tanh(score / static_cast<double>(soft_cap));
        error += 16 * unit * static_cast<double>(soft_cap);  // exp, sum, quotient, difference, product, near 1 each
      }
      scores.push_back(score);
      largest = std::max(largest, score);
      score_error = std::max(score_error, error);
    }
    const double highest_score = largest, sink = sinks.empty() ? largest : static_cast<double>(sinks[r % sinks.size()]);
    largest = std::max(largest, sink);
    double least = std::min(highest_score, sink);
    for (const double s : scores) least = std::min(least, s);
    const double chunks = std::ceil(static_cast<double>(rows.end[r]) / 256) + 1;
    const double relative = 2 * (2 * score_error + unit * (largest - least) + 4 * unit + (2 * 256 + 6 * chunks) * unit);
    std::vector<double> out(c.head_dim, 0.0), size(c.head_dim, 0.0);
    double sum = sinks.empty() ? 0 : std::exp(sink - largest);
    for (std::size_t n = 0; n < scores.size(); ++n) {
      const double p = std::exp(scores[n] - largest);
      sum += p;
      for (std::size_t i = 0; i < c.head_dim; ++i) {
        const double value = static_cast<double>(c.values[(rows.begin[r] + n) * c.head_dim + i]);
        out[i] += p * value;
        size[i] += p * std::abs(value);
      }
    }
    for (std::size_t i = 0; i < c.head_dim; ++i) {
      worst.see(static_cast<double>(got[r * c.head_dim + i]), out[i] / sum, relative * size[i] / sum + 1e-35,
                "row " + std::to_string(r) + ", channel " + std::to_string(i));
    }
  }
}

}  // namespace

TEST_CASE("attention: within the derived bound of a double-precision softmax, the same bits on every set with FMA and in any company") {
  table_hashes hashes("attention"), hashes_q8_0("attention of q8_0");
  for (const kv_type type : all_types) {
    for (const std::size_t head_dim : sizes{8, 16, 48, 64, 80, 128}) {
      for (const std::size_t length : sizes{1, 2, 15, 16, 17, 33, 100, 255, 256, 257, 300, 512, 513, 600}) {
        numbers random(static_cast<std::uint32_t>(1000 * head_dim + length));
        const cache c = make_cache(type, head_dim, length, random);
        // Nine rows: a group of query heads on the last positions, some of which see a window only.
        queries rows = make_queries(9, head_dim, random);
        for (std::size_t r = 0; r < rows.n(); ++r) {
          rows.end[r] = length - std::min(length - 1, r / 3);
          if (r % 4 == 3) rows.begin[r] = random.below(rows.end[r]);
        }
        const std::vector<float> reference = attend(reference_table(), c, rows);
        worst_case worst;
        for (std::size_t t = 0; t < tables().size(); ++t) {
          const kernel_table& table = *tables()[t];
          CAPTURE(name(table));
          CAPTURE(head_dim);
          CAPTURE(length);
          CAPTURE(std::string(cria::name(type)));
          const std::vector<float> all = attend(table, c, rows);
          (type == kv_type::q8_0 ? hashes_q8_0 : hashes)[t].add(all);
          if (is_fused(table)) CHECK(same_bits(all, reference));
          check_against_double(c, rows, all, worst);
          bool is_same = true;
          for (std::size_t r = 0; r < rows.n(); ++r) {
            is_same = is_same && same_bits(attend(table, c, rows, r, 1), std::span(all).subspan(r * head_dim, head_dim));
          }
          is_same = is_same && same_bits(attend(table, c, rows, 2, 5), std::span(all).subspan(2 * head_dim, 5 * head_dim));
          CHECK(is_same);
        }
        worst.check("attention");
      }
    }
  }
  hashes.check();
  hashes_q8_0.check();
}

TEST_CASE("attention: the processor's dot products of bf16 give the bits of two fused multiply-adds a pair, the second channel first") {
  std::size_t n_run = 0;
  for (const kernel_table* table : tables()) {
    if (!cria::kernels::has_bf16_dot(*table)) continue;
    ++n_run;
    for (const std::size_t head_dim : sizes{1, 2, 7, 16, 33, 48, 64, 80, 127, 128, 256}) {
      for (const std::size_t length : sizes{1, 16, 17, 255, 257, 600}) {
        CAPTURE(head_dim);
        CAPTURE(length);
        numbers random(static_cast<std::uint32_t>(77 * head_dim + length));
        const cache c = make_cache(kv_type::bf16, head_dim, length, random, 3);
        queries rows = make_queries(13, head_dim, random);
        for (std::size_t r = 0; r < rows.n(); ++r) {
          rows.end[r] = length - std::min(length - 1, r / 2);
          if (r % 5 == 4) rows.begin[r] = random.below(rows.end[r]);
        }
        const std::vector<float> expected = attend(reference_table(), c, rows);
        CHECK(same_bits(attend_by(table->attention_bf16_dot, c, rows, 0, rows.n()), expected));
        CHECK(same_bits(attend_by(table->attention_bf16_dot, c, rows, 3, 1), std::span(expected).subspan(3 * head_dim, head_dim)));
      }
    }
  }
  if (n_run == 0) std::cout << "!!!!! NOT RUN: this processor has no dot products of bf16\n";
}

TEST_CASE("attention: a prompt's rows, each seeing one position more, and rows far apart in one call") {
  numbers random(3);
  const std::size_t head_dim = 64, length = 530;
  const cache c = make_cache(kv_type::f16, head_dim, length, random);
  queries rows = make_queries(40, head_dim, random);
  for (std::size_t r = 0; r < rows.n(); ++r)
    rows.end[r] = r < 30 ? 241 + r : r % 2 == 0 ? length : 1 + r;  // across the end of a chunk; the last and the first chunk
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    const std::vector<float> all = attend(*table, c, rows);
    worst_case worst;
    check_against_double(c, rows, all, worst);
    worst.check("prompt");
    bool is_same = true;
    for (std::size_t r = 0; r < rows.n(); ++r)
      is_same = is_same && same_bits(attend(*table, c, rows, r, 1), std::span(all).subspan(r * head_dim, head_dim));
    CHECK(is_same);
  }
}

TEST_CASE("attention: sliding windows see their positions only, whatever lies before") {
  numbers random(4);
  const std::size_t head_dim = 48, length = 600;
  cache c = make_cache(kv_type::f32, head_dim, length, random);
  queries rows = make_queries(12, head_dim, random);
  for (std::size_t r = 0; r < rows.n(); ++r) {
    rows.begin[r] = 300 + 13 * r;
    rows.end[r] = rows.begin[r] + 1 + 11 * r;
  }
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    c.lay_out({});
    const std::vector<float> all = attend(*table, c, rows);
    worst_case worst;
    check_against_double(c, rows, all, worst);
    worst.check("window");
    cache other = c;
    for (std::size_t n = 0; n < 256 * head_dim; ++n) other.keys[n] = other.values[n] = not_a_number;  // a chunk that no row sees
    other.lay_out({});
    CHECK(same_bits(attend(*table, other, rows), all));
  }
}

TEST_CASE("attention: cutting the cache into runs changes no bit") {
  for (const kv_type type : all_types) {
    numbers random(5);
    const std::size_t head_dim = 80, length = 555;
    cache c = make_cache(type, head_dim, length, random);
    queries rows = make_queries(5, head_dim, random);
    for (std::size_t r = 0; r < rows.n(); ++r) {
      rows.end[r] = length - r;
      rows.begin[r] = 37 * r;
    }
    for (const kernel_table* table : tables()) {
      CAPTURE(name(*table));
      c.lay_out({});
      const std::vector<float> whole = attend(*table, c, rows);
      for (const std::vector<std::size_t>& cuts : {std::vector<std::size_t>{16}, {256}, {64, 128, 144, 512}, {32, 304, 320, 336, 544}}) {
        c.lay_out(cuts);
        REQUIRE(c.runs.size() == cuts.size() + 1);
        CHECK(same_bits(attend(*table, c, rows), whole));
      }
    }
  }
}

TEST_CASE("attention: scores far apart neither overflow nor vanish") {
  numbers random(6);
  const std::size_t head_dim = 16, length = 520;
  for (const float size : {30.0f, 1000.0f}) {
    const cache c = make_cache(kv_type::f32, head_dim, length, random, size);
    queries rows = make_queries(4, head_dim, random);
    for (std::size_t r = 0; r < rows.n(); ++r) rows.end[r] = length - 100 * r;
    for (const kernel_table* table : tables()) {
      CAPTURE(name(*table));
      worst_case worst;
      check_against_double(c, rows, attend(*table, c, rows), worst);
      worst.check("size " + std::to_string(size));
    }
  }
  // One score dwarfs the others: the output is its value, exactly.
  cache c = make_cache(kv_type::f32, head_dim, length, random, 0.1f);
  for (std::size_t i = 0; i < head_dim; ++i) c.keys[300 * head_dim + i] = 1e4f;
  c.lay_out({});
  queries rows{head_dim, std::vector<float>(head_dim, 1.0f), {0}, {length}};
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    const std::vector<float> out = attend(*table, c, rows);
    bool is_right = true;
    for (std::size_t i = 0; i < head_dim; ++i) is_right = is_right && out[i] == c.values[300 * head_dim + i];
    CHECK(is_right);
  }
}

TEST_CASE("attention: soft capping bends the scores by tanh") {
  numbers random(7);
  const std::size_t head_dim = 32, length = 290;
  const cache c = make_cache(kv_type::f16, head_dim, length, random, 4);
  queries rows = make_queries(9, head_dim, random);
  for (std::size_t r = 0; r < rows.n(); ++r) rows.end[r] = length - r;
  for (const float cap : {5.0f, 50.0f}) {
    const std::vector<float> reference = attend(reference_table(), c, rows, cap);
    for (const kernel_table* table : tables()) {
      CAPTURE(name(*table));
      const std::vector<float> got = attend(*table, c, rows, cap);
      if (is_fused(*table)) CHECK(same_bits(got, reference));
      worst_case worst;
      check_against_double(c, rows, got, worst, cap);
      worst.check("cap " + std::to_string(cap));
    }
  }
}

TEST_CASE("attention: a sink takes its share of the softmax and adds no value, in any company, on every set with FMA by the same bits") {
  for (const kv_type type : all_types) {
    for (const std::size_t length : sizes{1, 17, 256, 600}) {
      numbers random(static_cast<std::uint32_t>(11 + length));
      const std::size_t head_dim = 48;
      const cache c = make_cache(type, head_dim, length, random);
      queries rows = make_queries(12, head_dim, random);
      for (std::size_t r = 0; r < rows.n(); ++r) {
        rows.end[r] = length - std::min(length - 1, r / 4);
        if (r % 5 == 3) rows.begin[r] = random.below(rows.end[r]);
      }
      const std::vector<float> sinks = {0.5f, -60.0f, 12.0f, 3.0f};   // of four heads: rows 0, 4 and 8 are the first's
      const auto attend_with = [&](const kernel_table& table, std::size_t first, std::size_t count, std::span<const float> s) {
        return attend_by(table.attention[static_cast<std::size_t>(type)], c, rows, first, count, 0, s);
      };
      const std::vector<float> reference = attend_with(reference_table(), 0, 12, sinks);
      for (const kernel_table* table : tables()) {
        CAPTURE(name(*table));
        CAPTURE(length);
        CAPTURE(std::string(cria::name(type)));
        const std::vector<float> all = attend_with(*table, 0, 12, sinks);
        if (is_fused(*table)) CHECK(same_bits(all, reference));
        worst_case worst;
        check_against_double(c, rows, all, worst, 0, sinks);
        worst.check("sinks");
        for (std::size_t r = 0; r < rows.n(); ++r) {
          CHECK(same_bits(attend_with(*table, r, 1, std::span(sinks).subspan(r % 4, 1)), std::span(all).subspan(r * head_dim, head_dim)));
        }
        const std::vector<float> none = attend_with(*table, 0, 12, {}), deep = attend_with(*table, 0, 12, std::vector<float>{-1e30f});
        CHECK(same_bits(none, deep));
        const std::vector<float> all_sunk = attend_with(*table, 0, 12, std::vector<float>{1e30f});
        CHECK(std::all_of(all_sunk.begin(), all_sunk.end(), [](float x) { return std::abs(x) < 1e-34f; }));
      }
    }
  }
}

TEST_CASE("attention: a NaN in a query spoils its row and no other") {
  numbers random(8);
  const std::size_t head_dim = 64, length = 40;
  const cache c = make_cache(kv_type::f32, head_dim, length, random);
  queries rows = make_queries(8, head_dim, random);
  for (std::size_t r = 0; r < rows.n(); ++r) rows.end[r] = r < 4 ? 32 : 40;
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    const std::vector<float> clean = attend(*table, c, rows);
    queries bad = rows;
    bad.q[2 * head_dim + 5] = not_a_number;
    const std::vector<float> got = attend(*table, c, bad);
    bool is_right = true;
    for (std::size_t n = 0; n < got.size(); ++n) is_right = is_right && (n / head_dim == 2 ? !std::isfinite(got[n]) : got[n] == clean[n]);
    CHECK(is_right);
  }
}

// 0 inf is NaN: a weight of 0 hides no value.
TEST_CASE("attention: an infinity or NaN in a value spoils the rows that see it and no other, in any company and any runs") {
  for (const kv_type type : all_types) {
    numbers random(10);
    const std::size_t head_dim = 48, length = 600, channel = 37;
    const cache clean = make_cache(type, head_dim, length, random);
    queries rows = make_queries(23, head_dim, random);
    for (std::size_t r = 0; r < rows.n(); ++r) {
      rows.end[r] = r < 12 ? 250 + r : length - (22 - r);  // a prompt across the end of a chunk, and one that ends with the cache
      rows.begin[r] = r % 12 < 4 ? 0 : 19 * r;             // half of them see a window
    }
    for (const std::size_t pos : sizes{0, 75, 76, 77, 240, 252, 255, 256, 259, 310, 360, 577, 589, 597, 599}) {
      for (const float bad : {infinity, not_a_number}) {
        cache spoiled = clean;
        spoiled.values[pos * head_dim + channel] = bad;
        for (const std::vector<std::size_t>& cuts : {std::vector<std::size_t>{}, {240, 256, 576}}) {
          spoiled.lay_out(cuts);
          for (const kernel_table* table : tables()) {
            CAPTURE(name(*table));
            CAPTURE(std::string(cria::name(type)));
            CAPTURE(pos);
            const std::vector<float> expected = attend(*table, clean, rows), got = attend(*table, spoiled, rows);
            bool is_right = true;
            for (std::size_t r = 0; r < rows.n(); ++r) {
              const std::span<const float> row = std::span(got).subspan(r * head_dim, head_dim);
              const bool is_seen = rows.begin[r] <= pos && pos < rows.end[r];
              is_right = is_right && (is_seen ? !std::isfinite(row[channel]) : same_bits(row, std::span(expected).subspan(r * head_dim, head_dim)));
              is_right = is_right && same_bits(row, attend(*table, spoiled, rows, r, 1));
            }
            CHECK(is_right);
          }
        }
      }
    }
  }
}

TEST_CASE("attention: a NaN in a key spoils the rows that see it and no other") {
  numbers random(9);
  const std::size_t head_dim = 64, length = 40;
  const cache c = make_cache(kv_type::f32, head_dim, length, random);
  queries rows = make_queries(8, head_dim, random);
  for (std::size_t r = 0; r < rows.n(); ++r) rows.end[r] = r < 4 ? 32 : 40;
  for (const kernel_table* table : tables()) {
    CAPTURE(name(*table));
    const std::vector<float> clean = attend(*table, c, rows);
    cache spoiled = c;
    spoiled.keys[35 * head_dim + 1] = not_a_number;
    spoiled.lay_out({});
    const std::vector<float> other = attend(*table, spoiled, rows);
    bool is_right_key = true;
    for (std::size_t n = 0; n < other.size(); ++n)
      is_right_key = is_right_key && (n / head_dim < 4 ? other[n] == clean[n] : !std::isfinite(other[n]));
    CHECK(is_right_key);
  }
}
