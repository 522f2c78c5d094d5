// SPDX-License-Identifier: MIT
// Faults that broke earlier engines without a word, each with a model made so that the fault cannot hide: rows of the embeddings read along the wrong
// dimension, nibbles of Q4_0 in the wrong order, an output tensor with inf or NaN papered over by the embeddings, channels paired wrongly by RoPE.
//
// Models here compute what can be written down: all projections back into the residual stream are zero, so that logits = output . norm(embedding).
#include <cria/model/decoder_weights.hpp>

#include <doctest/doctest.h>

#include <bench/synthetic_model.hpp>
#include <tests/support/golden.hpp>
#include <tests/support/reference_llama.hpp>
#include <tests/support/load_parts.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria_test;
using cria::errc;
using cria::kv_type;
using cria::tensor_type;
using cria::token_id;

std::string floats(const std::vector<float>& values) { return blocks_of(tensor_type::f32, values); }

/// A model whose layers add nothing and whose norms have weight 1.
model_parts transparent(const tiny_shape& shape) {
  model_parts m = tiny_model(shape);
  for (auto& t : m.tensors) {
    if (t.name.ends_with("attn_output.weight") || t.name.ends_with("ffn_down.weight")) t.data.clear();   // zeros
    if (t.name.ends_with("norm.weight")) t.data = floats(std::vector<float>(shape.dim, 1.0f));
  }
  return m;
}

std::vector<float> logits_of_token(const cria::model& m, token_id token) { return logits_of<kv_type::f32>(m, {&token, 1}); }

std::vector<float> identity(std::size_t n) {
  std::vector<float> m(n * n);
  for (std::size_t i = 0; i < n; ++i) m[i * n + i] = 1;
  return m;
}

constexpr double eps = 1e-5f;

}  // namespace

TEST_CASE("decoder_weights: the embedding of a token is a row of the fast dimension, in every format, tied and not") {
  // As many tokens as channels: a transposed read has a legal shape and stays in range.
  constexpr std::size_t n = 32;
  std::vector<float> embeddings(n * n);
  for (std::size_t token = 0; token < n; ++token) {
    for (std::size_t c = 0; c < n; ++c) embeddings[token * n + c] = static_cast<float>((token * 7 + c * 3) % 15) - 7.0f;   // never symmetric
  }
  for (const tensor_type type : {tensor_type::f32, tensor_type::f16, tensor_type::bf16, tensor_type::q4_0, tensor_type::q4_1, tensor_type::q5_0,
                                 tensor_type::q5_1, tensor_type::q8_0, tensor_type::iq4_nl, tensor_type::mxfp4}) {
    for (const bool tied : {false, true}) {
      model_parts parts = transparent({.dim = n, .ffn_dim = 32, .vocab_size = n, .tied = tied});
      parts.at("token_embd.weight").type = type;
      parts.at("token_embd.weight").data = blocks_of(type, embeddings);
      if (!tied) parts.at("output.weight").data = floats(identity(n));
      std::vector<float> stored(n * n);   // what is left of the numbers in this format
      REQUIRE(cria::dequantize_row(type, reinterpret_cast<const std::byte*>(parts.at("token_embd.weight").data.data()), stored));
      const cria::model m = model_of(parts);
      CHECK(m.vocab_size() == n);
      CAPTURE(cria::name(type));
      CAPTURE(tied);
      for (std::size_t token = 0; token < n; ++token) {
        double squares = 0;
        for (std::size_t c = 0; c < n; ++c) squares += std::pow(stored[token * n + c], 2);
        const double scale = 1 / std::sqrt(squares / n + eps);
        std::vector<double> want(n);
        for (std::size_t row = 0; row < n; ++row) {
          for (std::size_t c = 0; c < n; ++c) want[row] += (tied ? stored[row * n + c] : row == c) * stored[token * n + c] * scale;
        }
        const std::vector<float> got = logits_of_token(m, static_cast<token_id>(token));
        CHECK(relative_error(std::span<const double>(want), std::span<const float>(got)) < 1e-4);   // 15-bit activations: 2^-15
      }
    }
  }
}

TEST_CASE("decoder_weights: each weight of a Q4_0 matrix stands at the column where the block has it") {
  // A block is a half-precision scale and 16 bytes; byte j holds value j in its low nibble and value j + 16 in its high one (ggml's block_q4_0).
  // Column c of the output matrix is read out by a token whose embedding is zero but for channel c.
  constexpr std::size_t dim = 64, n_rows = 35;
  const auto nibble = [](std::size_t row, std::size_t column) { return static_cast<unsigned>((row * 5 + column * 11 + column / 16 * 3) % 16); };
  const auto scale = [](std::size_t row) { return row % 2 == 0 ? 0.5 : 2.0; };
  std::string blocks;
  for (std::size_t row = 0; row < n_rows; ++row) {
    for (std::size_t block = 0; block < dim / 32; ++block) {
      blocks += raw<std::uint16_t>(row % 2 == 0 ? 0x3800 : 0x4000);   // 0.5, 2
      for (std::size_t j = 0; j < 16; ++j) blocks += static_cast<char>(nibble(row, block * 32 + j) | nibble(row, block * 32 + j + 16) << 4);
    }
  }
  for (const bool as_output : {true, false}) {
    model_parts parts = transparent({.dim = dim, .n_layers = 1, .head_dim = 32, .ffn_dim = 64, .vocab_size = n_rows});
    if (as_output) {
      parts.at("output.weight").type = tensor_type::q4_0;
      parts.at("output.weight").data = blocks;
    }
    std::vector<float> one_hot(n_rows * dim);
    for (std::size_t token = 0; token < n_rows; ++token) one_hot[token * dim + token] = 3;
    parts.at("token_embd.weight").data = floats(one_hot);
    if (!as_output) {   // the same through the gathered rows of the embeddings, read out by a unit matrix
      parts.at("token_embd.weight").type = tensor_type::q4_0;
      parts.at("token_embd.weight").data = blocks;
      std::vector<float> unit(n_rows * dim);
      for (std::size_t row = 0; row < n_rows; ++row) unit[row * dim + row] = 1;
      parts.at("output.weight").data = floats(unit);
    }
    const cria::model m = model_of(parts);
    CAPTURE(as_output);
    for (std::size_t token = 0; token < n_rows; ++token) {
      const std::vector<float> got = logits_of_token(m, static_cast<token_id>(token));
      std::vector<double> want(n_rows);
      if (as_output) {
        const double norm = 3 / std::sqrt(9.0 / dim + eps);
        for (std::size_t row = 0; row < n_rows; ++row) want[row] = norm * scale(row) * (static_cast<double>(nibble(row, token)) - 8);
      } else {
        double squares = 0;
        for (std::size_t c = 0; c < dim; ++c) squares += std::pow(scale(token) * (static_cast<double>(nibble(token, c)) - 8), 2);
        for (std::size_t row = 0; row < n_rows; ++row) {
          want[row] = scale(token) * (static_cast<double>(nibble(token, row)) - 8) / std::sqrt(squares / dim + eps);
        }
      }
      CHECK(relative_error(std::span<const double>(want), std::span<const float>(got)) < 1e-4);
    }
  }
}

TEST_CASE("decoder_weights: an output tensor with inf or NaN is an error that names tensor and block, and the embeddings do not stand in for it") {
  constexpr std::size_t dim = 512, n_rows = 21;
  struct damage {
    tensor_type type;
    std::vector<std::size_t> scales;   // where half-precision scales stand in a block
    std::size_t block_bytes, row_blocks;
  };
  const std::vector<damage> kinds = {
      {tensor_type::q6_k, {208}, 210, 2}, {tensor_type::q4_k, {0, 2}, 144, 2}, {tensor_type::q8_0, {0}, 34, 16}, {tensor_type::q4_1, {0, 2}, 20, 16}};
  for (const damage& kind : kinds) {
    for (const bool tied : {false, true}) {
      const std::string name = tied ? "token_embd.weight" : "output.weight";
      const model_parts good = tiny_model({.dim = dim,
                                           .n_layers = 1,
                                           .n_heads = 1,
                                           .head_dim = 16,
                                           .ffn_dim = 32,
                                           .vocab_size = n_rows,
                                           .output_type = kind.type,
                                           .embedding_type = tied ? kind.type : tensor_type::f32,
                                           .tied = tied});
      model_of(good);
      for (const std::size_t block : {std::size_t{0}, std::size_t{1}, 16 * kind.row_blocks, n_rows * kind.row_blocks - 1}) {
        for (const std::size_t scale : kind.scales) {
          for (const unsigned half : {0x7c00u, 0xfc00u, 0x7e00u, 0x7c01u, 0xffffu}) {   // inf, -inf, NaN
            const auto bits = static_cast<std::uint16_t>(half);
            model_parts bad = good;
            std::memcpy(bad.at(name).data.data() + block * kind.block_bytes + scale, &bits, 2);
            const std::string bytes = bad.build();
            const auto m = load_bytes(bytes);
            CAPTURE(cria::name(kind.type));
            CAPTURE(block);
            CAPTURE(bits);
            REQUIRE_FALSE(m.has_value());
            CHECK(m.error().code == errc::non_finite);
            CHECK(m.error().where == name);
            CHECK(m.error().message.find("block " + std::to_string(block) + " (row " + std::to_string(block / kind.row_blocks) + ")") != std::string::npos);
            REQUIRE(m.error().offset + kind.block_bytes <= bytes.size());
            // The offset is that of the block in the file.
            CHECK(std::memcmp(bytes.data() + m.error().offset, bad.at(name).data.data() + block * kind.block_bytes, kind.block_bytes) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("decoder_weights: an output tensor that is missing is tied, one that is there is used") {
  const model_parts untied = tiny_model({.vocab_size = 32}), tied = [&] {
    model_parts m = untied;
    m.erase_tensor("output.weight");
    return m;
  }();
  const std::vector<token_id> tokens = {1, 5, 9};
  for (const model_parts& parts : {untied, tied}) {
    const auto truth = reference_llama(*open_bytes(parts.build())).logits(tokens);
    const std::vector<float> got = logits_of<kv_type::f32>(model_of(parts), tokens);
    CHECK(relative_error(std::span<const double>(truth[2]), std::span<const float>(got).last(32)) < 1e-5);
  }
  CHECK(logits_of(model_of(untied), tokens) != logits_of(model_of(tied), tokens));
}

TEST_CASE("decoder_weights: the output has its bias also where it is tied, and embeddings have none") {
  model_parts parts = tiny_model({.vocab_size = 32, .tied = true});
  const std::vector<token_id> tokens = {1, 5, 9};
  const std::vector<float> without = logits_of(model_of(parts), tokens);
  std::vector<float> bias(32);
  for (std::size_t n = 0; n < bias.size(); ++n) bias[n] = static_cast<float>(n) / 4 - 3;
  parts.tensors.push_back({"output.bias", tensor_type::f32, {bias.size()}, floats(bias)});
  const std::vector<float> with = logits_of(model_of(parts), tokens);
  std::vector<double> want(with.size());
  for (std::size_t n = 0; n < want.size(); ++n) want[n] = static_cast<double>(without[n]) + static_cast<double>(bias[n % bias.size()]);
  CHECK(relative_error(std::span<const double>(want), std::span<const float>(with)) < 1e-6);
  model_parts untied = parts;
  untied.tensors.push_back(untied.at("token_embd.weight"));
  untied.tensors.back().name = "output.weight";
  CHECK(logits_of(model_of(untied), tokens) == with);
  parts.at("output.bias").shape[0] = 31;
  parts.at("output.bias").data.clear();
  const auto shorter = load_bytes(parts.build());
  REQUIRE_FALSE(shorter.has_value());
  CHECK(shorter.error().to_string().starts_with("bad_shape: output.bias"));
  parts.at("output.bias") = {"token_embd.bias", tensor_type::f32, {bias.size()}, floats(bias)};
  const auto stray = load_bytes(parts.build());
  REQUIRE_FALSE(stray.has_value());
  CHECK(stray.error().to_string().starts_with("bad_value: token_embd.bias"));
}

TEST_CASE("decoder_weights: a tied packed embedding equals the untied one of the same values") {
  for (const tensor_type type : {tensor_type::f32, tensor_type::f16, tensor_type::bf16, tensor_type::q4_0, tensor_type::q4_1, tensor_type::q5_0,
                                 tensor_type::q5_1, tensor_type::q8_0, tensor_type::q2_k, tensor_type::q3_k, tensor_type::q4_k, tensor_type::q5_k,
                                 tensor_type::q6_k, tensor_type::iq4_nl, tensor_type::iq4_xs, tensor_type::mxfp4}) {
    const model_parts tied = tiny_model({.dim = 256, .n_layers = 1, .head_dim = 128, .ffn_dim = 256, .vocab_size = 37, .embedding_type = type, .tied = true});
    model_parts untied = tied;
    untied.tensors.push_back(untied.at("token_embd.weight"));
    untied.tensors.back().name = "output.weight";
    const cria::model a = model_of(tied), b = model_of(untied);
    std::vector<token_id> all(37);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<token_id>(i);
    CAPTURE(cria::name(type));
    CHECK(logits_of(a, all) == logits_of(b, all));
  }
}

TEST_CASE("decoder_weights: rope turns neighbouring channels, not halves of a head") {
  for (const char* file : {"models/stories260K.gguf", "models/arch/llama-odd.F32.gguf"}) {
    if (!has_data(file)) continue;
    const auto opened = cria::gguf::file::open(data_root() / file);
    const std::vector<token_id> tokens = {1, 403, 407, 261, 378, 100, 200, 300};
    const auto right = reference_llama(*opened, reference_pairing::adjacent).logits(tokens);
    const auto wrong = reference_llama(*opened, reference_pairing::halves).logits(tokens);
    const cria::model m = load_data(file);
    const std::vector<float> got = logits_of<kv_type::f32>(m, tokens);
    const auto last = std::span<const float>(got).last(m.vocab_size());
    CAPTURE(file);
    CHECK(relative_error(std::span<const double>(right.back()), last) < 1e-4);
    CHECK(relative_error(std::span<const double>(wrong.back()), last) > 1e-2);
  }
}

TEST_CASE("decoder_weights: the score between two positions is the one of a rotation by hand") {
  // dim 32, one head of 32. q and k hold nothing but in channel 2, which turns by 10000^(-2/32) a position as the first of the second pair; with halves
  // paired it would be the third, and turn by 10000^(-4/32). Values are the embedding itself, written back to the residual stream: logits show the
  // weights.
  constexpr std::size_t d = 32;
  model_parts parts = tiny_model({.dim = d, .n_layers = 1, .n_heads = 1, .n_kv_heads = 1, .head_dim = d, .ffn_dim = 32, .vocab_size = 32});
  for (auto& t : parts.tensors) {
    if (t.name.ends_with("norm.weight")) t.data = floats(std::vector<float>(d, 1.0f));
    if (t.name.ends_with("ffn_down.weight")) t.data.clear();
  }
  // Token t is the unit vector of channel t, so norm gives sqrt(32) in channel t. q and k have the value 2 in channel 2 for the tokens 2 and 3.
  parts.at("token_embd.weight").data = floats(identity(d));
  std::vector<float> to_channel_2(d * d);
  const double norm = 1 / std::sqrt(1.0 / d + eps);
  for (const std::size_t token : {2u, 3u}) to_channel_2[2 * d + token] = static_cast<float>(2 / norm);
  parts.at("blk.0.attn_q.weight").data = floats(to_channel_2);
  parts.at("blk.0.attn_k.weight").data = floats(to_channel_2);
  parts.at("blk.0.attn_v.weight").data = floats(identity(d));
  parts.at("blk.0.attn_output.weight").data = floats(identity(d));
  parts.at("output.weight").data = floats(identity(d));
  const cria::model m = model_of(parts);
  for (const std::size_t distance : {1u, 2u, 3u, 7u, 20u}) {
    // Token 3 at position 0, tokens 4 (which have k = 0) between, token 2 at the end.
    std::vector<token_id> tokens(distance + 1, 4);
    tokens.front() = 3;
    tokens.back() = 2;
    const std::vector<float> all = logits_of<kv_type::f32>(m, tokens);
    const auto got = std::span<const float>(all).last(32);
    const double angle = static_cast<double>(distance) * std::pow(10000.0, -2.0 / 32), far = 4 * std::cos(angle) / std::sqrt(32.0), near = 4 / std::sqrt(32.0);
    const double sum = std::exp(far) + std::exp(near) + static_cast<double>(distance - 1);
    std::vector<double> h(d);
    h[2] = 1 + norm * std::exp(near) / sum;
    h[3] = norm * std::exp(far) / sum;
    h[4] = norm * static_cast<double>(distance - 1) / sum;
    double squares = 0;
    for (const double x : h) squares += x * x;
    for (double& x : h) x /= std::sqrt(squares / d + eps);
    CAPTURE(distance);
    CHECK(relative_error(std::span<const double>(h), got) < 1e-5);
  }
}

TEST_CASE("decoder_weights: matrices of formats that are only read count as the values of their blocks") {
  std::size_t n_formats = 0;
  for (const cria::tensor_type_info& info : cria::tensor_types) {
    if (!cria::format_index_of(info.type) || cria::is_writable(info.type)) continue;
    ++n_formats;
    CAPTURE(info.name);
    const std::vector<std::byte> pattern = cria_bench::random_blocks(info.type);
    model_parts packed = tiny_model({.dim = 256, .n_layers = 2, .head_dim = 128, .ffn_dim = 512, .vocab_size = 96});
    model_parts values = packed;
    for (std::size_t i = 0; i < packed.tensors.size(); ++i) {
      model_parts::tensor &blocks = packed.tensors[i], &plain = values.tensors[i];
      if (blocks.shape.size() != 2) continue;
      std::vector<float> floats_of(blocks.shape[0] * blocks.shape[1]);
      blocks.type = info.type;
      blocks.data.resize(cria::row_bytes(info.type, floats_of.size()));
      for (std::size_t at = 0; at < blocks.data.size(); ++at) blocks.data[at] = static_cast<char>(pattern[(at + i * 7 * info.block_bytes) % pattern.size()]);
      REQUIRE(cria::dequantize_row(info.type, reinterpret_cast<const std::byte*>(blocks.data.data()), floats_of));
      plain.type = tensor_type::f32;
      plain.data = floats(floats_of);
    }
    const std::vector<token_id> some = {1, 95, 4, 33, 2, 2, 71, 8, 60, 17};
    const std::vector<float> got = logits_of<kv_type::f32>(model_of(packed), some), want = logits_of<kv_type::f32>(model_of(values), some);
    CHECK(relative_error(std::span<const float>(want), std::span<const float>(got)) < 1e-3);   // 15-bit activations in 15 matrices
  }
  CHECK(n_formats == 9);
}
