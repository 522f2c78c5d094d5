// SPDX-License-Identifier: MIT
// Texts as vectors: against a llama in double precision, and against llama.cpp.
#include <cria/generate/embedding.hpp>
#include <cria/generate/session.hpp>

#include <doctest/doctest.h>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/reference_llama.hpp>
#include <tests/support/tiny_model.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <stop_token>
#include <string>
#include <vector>

using namespace cria;
using cria::detail::pooled_rows;
using namespace cria_test;

namespace {

using f32_session = basic_session<contiguous_kv_cache<kv_type::f32>>;

/// A small model whose output matrix is the identity: its logits are its last hidden states.
model_parts open_model() {
  model_parts m = tiny_model({.dim = 32, .vocab_size = 32});
  std::vector<float> identity(32 * 32);
  for (std::size_t i = 0; i < 32; ++i) identity[33 * i] = 1;
  m.at("output.weight").data.assign(reinterpret_cast<const char*>(identity.data()), identity.size() * sizeof(float));
  return m;
}

std::vector<token_id> some_tokens(std::size_t n) {
  std::vector<token_id> tokens;
  for (std::size_t i = 0; i < n; ++i) tokens.push_back(static_cast<token_id>(3 + i * 11 % 29));
  return tokens;
}

/// Pools and normalises in double precision, after the definitions.
std::vector<double> expected_vector(const std::vector<std::vector<double>>& rows, pooling p, bool is_normalised) {
  std::vector<double> out = p == pooling::cls ? rows.front() : rows.back();
  if (p == pooling::mean) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = 0;
      for (const auto& row : rows) out[i] += row[i] / static_cast<double>(rows.size());
    }
  }
  double square = 0;
  for (const double x : out) square += x * x;
  for (double& x : out) x = is_normalised ? x / std::sqrt(square) : x;
  return out;
}

bool same_vectors(const std::vector<float>& a, const std::vector<float>& b) { return same_bits(a, b); }

}  // namespace

TEST_CASE("embedding: pooled and normalised last hidden states are those of the double-precision reference") {
  const std::string bytes = open_model().build();
  const auto file = open_bytes(bytes).value();
  const reference_llama reference(file);
  const model m = load_bytes(bytes).value();
  auto s = make_session<f32_session>(m);
  for (const std::size_t n : {1u, 2u, 17u, 40u}) {
    const auto tokens = some_tokens(n);
    const auto rows = reference.logits(tokens);
    for (const pooling p : {pooling::mean, pooling::cls, pooling::last}) {
      for (const bool is_normalised : {true, false}) {
        CAPTURE(n);
        CAPTURE(name(p));
        const auto expected = expected_vector(rows, p, is_normalised);
        const auto got = s.embed(tokens, {.pooling = p, .is_normalised = is_normalised}).value();
        REQUIRE(got.size() == 32);
        double length = 0, worst = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
          worst = std::max(worst, std::abs(static_cast<double>(got[i]) - expected[i]));
          length += static_cast<double>(got[i]) * static_cast<double>(got[i]);
        }
        // Rows have a length of about sqrt(32); logits are within 1e-4 of that.
        CHECK(worst < 1e-4 * (is_normalised ? 1 : std::sqrt(32.0)));
        if (is_normalised) CHECK(length == doctest::Approx(1).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("embedding: the same bits for any split into passes, any threads and whatever the session held") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const std::string text = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";
  for (const pooling p : {pooling::mean, pooling::cls, pooling::last}) {
    session plain = make_session(m);
    const auto expected = plain.embed(text, {.pooling = p}).value();
    CHECK(expected.size() == m.config().dim);
    CHECK(plain.length() == 0);
    CHECK(plain.logits().empty());
    for (const session_options& options : {session_options{.n_threads = 1, .max_batch = 1}, session_options{.n_threads = 3, .max_batch = 7}}) {
      session other = make_session(m, options);
      REQUIRE(other.generate("Tom and", greedy(9)));
      CHECK(same_vectors(other.embed(text, {.pooling = p}).value(), expected));
      const auto tokens = m.tokenizer().encode(text).value();
      CHECK(same_vectors(other.embed(tokens, {.pooling = p}).value(), expected));
      // and the session goes on as a fresh one
      session fresh = make_session(m);
      CHECK(other.generate("Tom and", greedy(5)).value().tokens == fresh.generate("Tom and", greedy(5)).value().tokens);
    }
  }
}

TEST_CASE("embedding: equals llama.cpp's within the digits that it prints") {
  const std::string file = "models/fixture-256.F32.gguf";
  if (!has_data(file)) return;
  // llama-embedding -m fixture-256.F32.gguf -p "Once upon a time, there was a little girl." --pooling P --embd-output-format array -ctk f32 -ctv f32
  // of llama.cpp d32676d77: the first eight numbers of each.
  struct golden_vector {
    pooling how;
    double first[8];
  };
  const golden_vector goldens[] = {
      {pooling::mean, {-0.0121612, -0.0457111, -0.0507204, 0.0530982, -0.0370936, -0.0103384, 0.1384428, 0.0368799}},
      {pooling::cls, {-0.0072971, 0.0318246, 0.0724404, 0.0770086, -0.0274037, -0.0365057, 0.0898226, -0.0801620}},
      {pooling::last, {-0.0554939, -0.0944362, -0.0594481, 0.0373872, -0.0300867, -0.0909471, 0.2054491, -0.0049738}},
  };
  load_options options;
  options.n_threads = 1;
  const model m = load_model(data_root() / file, options).value();
  auto s = make_session<f32_session>(m);
  for (const golden_vector& g : goldens) {
    CAPTURE(name(g.how));
    const auto got = s.embed("Once upon a time, there was a little girl.", {.pooling = g.how}).value();
    REQUIRE(got.size() == 256);
    // Seven digits behind the point are printed; its float32 sums and ours are within 1e-4 of an element of about 1/16.
    for (std::size_t i = 0; i < 8; ++i) CHECK(std::abs(static_cast<double>(got[i]) - g.first[i]) < 1e-5);
  }
}

TEST_CASE("embedding: the pooling is what the option says, else the file, else mean") {
  const auto tokens = some_tokens(9);
  const auto embedded = [&](const model_parts& parts, const embedding_options& options = {}) {
    session s = make_session(load_bytes(parts.build()).value());
    return s.embed(tokens, options);
  };
  const model_parts plain = open_model();
  const auto mean = embedded(plain, {.pooling = pooling::mean}).value(), cls = embedded(plain, {.pooling = pooling::cls}).value(),
             last = embedded(plain, {.pooling = pooling::last}).value();
  CHECK(!same_vectors(mean, cls));
  CHECK(!same_vectors(mean, last));
  CHECK(!same_vectors(cls, last));
  CHECK(same_vectors(embedded(plain).value(), mean));
  const auto with_type = [&](std::uint32_t type) {
    model_parts parts = plain;
    parts.set("llama.pooling_type", type);
    return parts;
  };
  CHECK(same_vectors(embedded(with_type(0)).value(), mean));
  CHECK(same_vectors(embedded(with_type(1)).value(), mean));
  CHECK(same_vectors(embedded(with_type(2)).value(), cls));
  CHECK(same_vectors(embedded(with_type(3)).value(), last));
  CHECK(same_vectors(embedded(with_type(3), {.pooling = pooling::cls}).value(), cls));
  CHECK(embedded(with_type(4)).error().code == errc::unsupported_type);
  model_parts text = plain;
  text.set("llama.pooling_type", "mean");
  CHECK(embedded(text).error().code == errc::wrong_type);
}

TEST_CASE("embedding: nothing, too much, foreign tokens, NaN and a stop are typed errors, and the session goes on") {
  const model m = load_bytes(open_model().build()).value();
  session s = make_session(m, {.context_size = 20});
  const auto expect_error = [&](const auto& prompt, errc code, const embedding_options& options = {}) {
    const auto done = s.embed(prompt, options);
    REQUIRE(!done);
    CHECK(done.error().code == code);
  };
  expect_error(std::vector<token_id>{}, errc::bad_argument);
  expect_error(some_tokens(21), errc::context_full);
  expect_error(std::vector<token_id>{3, 32}, errc::bad_argument);
  std::stop_source stop;
  stop.request_stop();
  expect_error(some_tokens(5), errc::cancelled, {.stop = stop.get_token()});
  CHECK(s.embed(some_tokens(20)).has_value());
  pooled_rows rows(pooling::mean, 2);
  const float bad[] = {1, std::numeric_limits<float>::quiet_NaN()};
  rows.add(bad);
  CHECK(rows.finish(true).error().code == errc::non_finite);
  pooled_rows zeros(pooling::last, 2);
  const float zero[] = {0, 0};
  zeros.add(zero);
  CHECK(zeros.finish(true).value() == std::vector<float>{0, 0});
}
