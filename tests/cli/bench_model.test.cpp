// SPDX-License-Identifier: MIT
#include "bench/synthetic_model.hpp"

#include <cria/generate/load.hpp>
#include <cria/generate/session.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

using namespace cria_bench;

namespace {

std::shared_ptr<const cria::byte_source> make(std::string_view shape, std::string_view type) {
  auto source = make_synthetic_model(*find_shape(shape), *find_type(type));
  REQUIRE(source.has_value());
  return *std::move(source);
}

std::vector<std::byte> all_bytes(const cria::byte_source& source) {
  std::vector<std::byte> out(static_cast<std::size_t>(source.size()));
  REQUIRE(source.read_at(0, out).has_value());
  return out;
}

cria::gguf::file open(std::shared_ptr<const cria::byte_source> source) {
  auto file = cria::gguf::file::open(std::move(source));
  REQUIRE(file.has_value());
  return *std::move(file);
}

std::size_t count(const cria::gguf::file& file, cria::tensor_type type) {
  std::size_t n = 0;
  for (const auto& t : file.tensors()) n += t.type == type;
  return n;
}

}  // namespace

TEST_CASE("synthetic_model: is byte for byte what a writer makes of its keys and tensors") {
  const auto source = make("tiny", "Q4_K_M");
  const auto file = open(source);
  cria::gguf::writer w;
  REQUIRE(w.copy(file.metadata()).has_value());
  for (const auto& t : file.tensors()) REQUIRE(w.add_tensor(t.name, t.type, std::span(t.shape).first(t.rank)).has_value());
  std::vector<std::byte> written;
  REQUIRE(w.open(std::make_unique<cria::detail::memory_sink>(written)).has_value());
  for (const auto& t : file.tensors()) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(t.size_bytes));
    REQUIRE(file.read(t, 0, bytes).has_value());
    REQUIRE(w.write(bytes).has_value());
  }
  REQUIRE(w.commit().has_value());
  CHECK(written == all_bytes(*source));
}

TEST_CASE("synthetic_model: any piece holds the bytes that the whole has there") {
  const auto source = make("tiny", "Q6_K");
  const auto whole = all_bytes(*source);
  cria::random_generator random(5);
  for (int n = 0; n < 2000; ++n) {
    const std::size_t at = random.next() % (whole.size() + 1);
    const std::size_t size = std::min<std::size_t>(whole.size() - at, random.next() % (n % 10 == 0 ? 400'000 : 300));
    std::vector<std::byte> piece(size, std::byte{0xaa});
    REQUIRE(source->read_at(at, piece).has_value());
    REQUIRE(std::equal(piece.begin(), piece.end(), whole.begin() + static_cast<std::ptrdiff_t>(at)));
  }
  std::vector<std::byte> one(1);
  CHECK_FALSE(source->read_at(whole.size(), one).has_value());
  CHECK_FALSE(source->read_at(~std::uint64_t{0}, one).has_value());
}

TEST_CASE("synthetic_model: two makers make the same bytes") { CHECK(all_bytes(*make("tiny", "Q5_K_M")) == all_bytes(*make("tiny", "q5_k"))); }

TEST_CASE("synthetic_model: mixes have the tensor types that llama.cpp gives TinyLlama") {
  using enum cria::tensor_type;
  // What llama.cpp prints on loading tinyllama-1.1b-chat-v1.0 in these types: 45 f32 tensors each.
  const auto q4_k_m = open(make("tinyllama", "Q4_K_M"));
  CHECK(count(q4_k_m, f32) == 45);
  CHECK(count(q4_k_m, q4_k) == 135);
  CHECK(count(q4_k_m, q6_k) == 21);
  const auto q4_0_file = open(make("tinyllama", "Q4_0"));
  CHECK(count(q4_0_file, q4_0) == 155);
  CHECK(count(q4_0_file, q6_k) == 1);
  std::uint64_t parameters = 0;
  for (const auto& t : q4_0_file.tensors()) parameters += t.elements;
  CHECK(parameters == 1'100'048'384);  // TinyLlama's
}

TEST_CASE("synthetic_model: weights are normal numbers of deviation 0.08 in every type, and no row is its neighbour's copy") {
  for (const synthetic_type& type : synthetic_types) {
    CAPTURE(std::string(type.name));
    const auto file = open(make("tiny", type.name));
    for (const auto& t : file.tensors()) {
      if (t.rank < 2) continue;
      CAPTURE(std::string(t.name));
      std::vector<std::byte> bytes(static_cast<std::size_t>(t.size_bytes));
      REQUIRE(file.read(t, 0, bytes).has_value());
      std::vector<float> values(static_cast<std::size_t>(t.elements));
      REQUIRE(cria::dequantize_row(t.type, bytes.data(), values));
      double sum = 0, squares = 0;
      float largest = 0;
      for (const float x : values) {
        sum += static_cast<double>(x);
        squares += static_cast<double>(x) * static_cast<double>(x);
        largest = std::max(largest, std::fabs(x));
      }
      const double n = static_cast<double>(values.size());
      CHECK(largest < 0.6f);  // 6 deviations are the most that 12 uniform numbers give; codes round up
      CHECK(std::fabs(sum / n) < 0.01);
      CHECK(std::sqrt(squares / n) > 0.07);
      CHECK(std::sqrt(squares / n) < 0.09);
      const std::size_t row = static_cast<std::size_t>(t.size_bytes / t.shape[1]);
      CHECK_FALSE(std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(row), bytes.begin() + static_cast<std::ptrdiff_t>(row)));
    }
  }
}

TEST_CASE("synthetic_model: logits are finite and neither all alike nor far from 1, in every type") {
  for (const synthetic_type& type : synthetic_types) {
    CAPTURE(std::string(type.name));
    cria::load_options options;
    options.n_threads = 1;
    const auto model = cria::load_model(make("tiny", type.name), options);
    REQUIRE(model.has_value());
    auto session = cria::session::create(*model, {.context_size = 64, .n_threads = 1});
    REQUIRE(session.has_value());
    std::vector<cria::token_id> tokens;
    for (int i = 0; i < 40; ++i) tokens.push_back(static_cast<cria::token_id>(i * 23 % 1024));
    REQUIRE(session->evaluate(tokens).has_value());  // refuses inf and NaN
    double squares = 0;
    for (const float x : session->logits()) squares += static_cast<double>(x) * static_cast<double>(x);
    const double deviation = std::sqrt(squares / static_cast<double>(session->logits().size()));
    CHECK(deviation > 0.1);
    CHECK(deviation < 10);
  }
}

TEST_CASE("synthetic_vocabulary: pieces are unique and built from the left, and the sample is tokenised and written back") {
  for (const std::string_view shape : {"tiny", "tinyllama"}) {
    const auto file = open(make(shape, "Q4_0"));
    const auto t = cria::tokenizer::from_metadata(file.metadata());
    REQUIRE(t.has_value());
    CHECK(t->vocab_size() == find_shape(shape)->vocab_size);
    const auto v = synthetic_vocabulary::make(t->vocab_size());
    CHECK(std::set<std::string>(v.tokens.begin(), v.tokens.end()).size() == v.tokens.size());
    std::map<std::string, float> score;
    for (std::size_t i = 0; i < v.tokens.size(); ++i) score[v.tokens[i]] = v.scores[i];
    std::size_t n_merged = 0;
    for (std::size_t i = synthetic_vocabulary::n_special + synthetic_vocabulary::n_bytes; i < v.tokens.size(); ++i) {
      std::string rest = v.tokens[i];
      if (rest.size() <= 1 || rest == "\xe2\x96\x81") continue;  // a single character
      rest.pop_back();
      REQUIRE(score.count(rest) == 1);
      if (rest.size() > 1 && rest != "\xe2\x96\x81") REQUIRE(score[rest] > v.scores[i]);
      ++n_merged;
    }
    CHECK(n_merged == v.tokens.size() - synthetic_vocabulary::n_special - synthetic_vocabulary::n_bytes - 95);
    const auto tokens = t->encode(sample_text);
    REQUIRE(tokens.has_value());
    CHECK(t->decode(*tokens) == sample_text);
    CHECK(tokens->size() < sample_text.size() / 3);  // words, not letters: as a trained vocabulary of that size
  }
}

TEST_CASE("synthetic_model: names of shapes and types are found in any case, others are not") {
  CHECK(find_type("q4_0") == find_type("Q4_0"));
  CHECK(find_type("Q4_K") == find_type("Q4_K_M"));
  CHECK(find_type("mxfp4") == find_type("MXFP4_MOE"));
  CHECK(find_type("iq3_xxs") == find_type("IQ3_XXS"));
  CHECK(find_type("IQ3_XXS") != nullptr);
  CHECK(find_type("Q9_0") == nullptr);
  CHECK(find_type("") == nullptr);
  CHECK(find_shape("TinyLlama") == nullptr);
  CHECK(find_shape("tinyllama") != nullptr);
}
