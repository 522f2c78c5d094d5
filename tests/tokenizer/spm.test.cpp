// SPDX-License-Identifier: MIT
#include <cria/tokenizer/spm.hpp>

#include <doctest/doctest.h>

#include <tests/tokenizer/make_tokenizer.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

using cria::errc;
using cria::token_id;
using cria::token_kind;
using cria_test::encode;
using cria_test::ids;
using cria_test::make;
using cria_test::plain;
using cria_test::spm_metadata;
using cria_test::token;

namespace {

constexpr token_id first_byte = 3;

/// <unk> <s> </s>, the 256 bytes, then `pieces` from 259 on.
std::vector<token> vocabulary_with(const std::vector<token>& pieces) {
  std::vector<token> tokens = {{"<unk>", 0, token_kind::unknown}, {"<s>", 0, token_kind::control}, {"</s>", 0, token_kind::control}};
  for (const token& t : cria_test::byte_tokens()) tokens.push_back(t);
  tokens.insert(tokens.end(), pieces.begin(), pieces.end());
  return tokens;
}

cria::tokenizer with(const std::vector<token>& pieces, bool prefix = false) {
  auto t = make(spm_metadata(vocabulary_with(pieces)).key("tokenizer.ggml.add_space_prefix", prefix));
  REQUIRE(t.has_value());
  return *std::move(t);
}

token_id byte(unsigned char value) { return first_byte + value; }

}  // namespace

TEST_CASE("spm: the best score joins first, the leftmost of equals") {
  const auto t = with({{"a", -9}, {"b", -9}, {"c", -9}, {"ab", -2}, {"bc", -1}, {"aa", -3}});
  CHECK(encode(t, "abc", plain) == ids{259, 263});
  CHECK(encode(t, "aaa", plain) == ids{264, 259});
  CHECK(encode(t, "abab", plain) == ids{262, 262});
}

TEST_CASE("spm: scores order across signs, zeros and infinities, and NaN is the worst") {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const float ascending[] = {std::nanf(""), -inf, -1e30f, -1.0f, -1e-40f, 0.0f, 1e-40f, 1.0f, 1e30f, inf};
  for (std::size_t worse = 0; worse < std::size(ascending); ++worse) {
    for (std::size_t better = worse + 1; better < std::size(ascending); ++better) {
      const auto t = with({{"x", 0}, {"y", 0}, {"z", 0}, {"xy", ascending[worse]}, {"yz", ascending[better]}});
      CAPTURE(worse);
      CAPTURE(better);
      CHECK(encode(t, "xyz", plain) == ids{259, 263});
    }
  }
  const auto t = with({{"x", 0}, {"y", 0}, {"z", 0}, {"xy", -0.0f}, {"yz", 0.0f}});
  CHECK(encode(t, "xyz", plain) == ids{262, 261});  // equal: the left one
}

TEST_CASE("spm: a pair may join though its parts are no tokens") {
  const auto t = with({{"\u4e2d\u6587", -1}});
  CHECK(encode(t, "\u4e2d\u6587", plain) == ids{259});
  CHECK(encode(t, "\u4e2d", plain) == ids{byte(0xe4), byte(0xb8), byte(0xad)});
}

TEST_CASE("spm: what is no piece becomes its bytes, also where it is no UTF-8, and reads back") {
  const auto t = with({{"a", -1}, {"\u00e9", -1}});
  CHECK(encode(t, "a\u00e9\u00e8", plain) == ids{259, 260, byte(0xc3), byte(0xa8)});
  CHECK(encode(t,
               "\xc3"
               "a\xff",
               plain) == ids{byte(0xc3), 259, byte(0xff)});
  CHECK(t.decode(encode(t,
                        "\xc3"
                        "a\xff\x00",
                        plain)) ==
        "\xc3"
        "a\xff");
  CHECK(t.decode(ids{byte(0xf0), byte(0x9f), byte(0x99), byte(0x82)}) == "\U0001f642");
}

TEST_CASE("spm: a cut character does not swallow the space behind it") {  // llama.cpp d32676d takes three bytes after 0xe2, whatever they are
  const auto t = with({{"\u2581", -1}, {"b", -1}});
  CHECK(encode(t, "\xe2 b", plain) == ids{byte(0xe2), 259, 260});
  CHECK(t.decode(encode(t, "\xe2 b", plain)) == "\xe2 b");
}

TEST_CASE("spm: the space prefix is added at the beginning and after special tokens, and taken away again") {
  const auto t = with({{"\u2581", -2},
                       {"a", -2},
                       {"\u2581"
                        "a",
                        -1},
                       {"<x>", 0, token_kind::user_defined}},
                      true);
  CHECK(t.adds_space_prefix());
  CHECK(encode(t, "a", plain) == ids{261});
  CHECK(encode(t, " a", plain) == ids{259, 261});
  CHECK(encode(t, "aa", plain) == ids{261, 260});
  CHECK(encode(t, "", plain).empty());
  CHECK(encode(t, "a</s>a", {.add_bos = true}) == ids{1, 261, 2, 261});
  CHECK(encode(t, "a<x>a<x><x>", plain) == ids{261, 262, 261, 262, 262});
  for (const std::string text : {"a", " a", "aa", "  a a ", "", " ", "a<x>a", "a<x> a<x><x>  "}) CHECK(t.decode(encode(t, text)) == text);
  CHECK(t.piece(261) == " a");
  CHECK(t.decode(ids{260, 261}) == "a a");  // the model's own space stays

  const auto without = with({{"\u2581", -2},
                             {"a", -2},
                             {"\u2581"
                              "a",
                              -1}},
                            false);
  CHECK(encode(without, "a", plain) == ids{260});
  CHECK(without.decode(ids{261}) == " a");
}

TEST_CASE("spm: a user-defined run of spaces, made by merging, leaves the space behind it alone") {
  const auto t = with({{"\u2581", -9},
                       {"a", -9},
                       {"\u2581"
                        "a",
                        -2},
                       {"\u2581\u2581", -1, token_kind::user_defined}},
                      true);
  CHECK(encode(t, "a   a", plain) == ids{261, 262, 261});
  CHECK(t.decode(ids{261, 262, 261}) == "a   a");
}

TEST_CASE("spm: pieces with a space inside join across words") {
  const auto t = with({{"a", -3},
                       {"\u2581", -3},
                       {"b", -3},
                       {"\u2581"
                        "b",
                        -2},
                       {"a\u2581"
                        "b",
                        -1}});
  CHECK(encode(t, "a b", plain) == ids{263});
  const auto words = with({{"a", -3},
                           {"\u2581", -3},
                           {"b", -3},
                           {"\u2581"
                            "b",
                            -2},
                           {"\u2581\u2581", -1}});
  CHECK(encode(words, "a   b", plain) == ids{259, 263, 262});
}

TEST_CASE("spm: user-defined tokens are found in any text, control tokens only when asked for") {
  const auto t = with({{"<", -1}, {"/", -1}, {"s", -1}, {">", -1}, {"<tag>", 0, token_kind::user_defined}, {"<ta", 0, token_kind::user_defined}});
  CHECK(encode(t, "s<tag>s", plain) == ids{261, 263, 261});
  CHECK(encode(t, "<ta", plain) == ids{264});
  CHECK(encode(t, "</s>", plain) == ids{259, 260, 261, 262});
  CHECK(encode(t, "</s>", {.add_bos = false}) == ids{2});
  CHECK(encode(t, "<s><unk>", {.add_bos = false}) == ids{1, 0});
  CHECK(t.decode(ids{1, 261, 0, 263, 2}) == "s<tag>");
  CHECK(t.decode(ids{1, 261, 0, 263, 2}, true) == "<s>s<unk><tag></s>");
}

TEST_CASE("spm: ordinary text never becomes a control, unknown or byte token, even where merges would lead there") {
  std::vector<token> pieces;
  for (const char* const text : {"<", "s", ">", "0", "x", "4", "1", "<s", "<0", "<0x", "<0x4", "<0x41"}) pieces.push_back({text, -1});
  const auto t = with(pieces);
  CHECK(encode(t, "<s>", plain) == ids{266, 261});
  CHECK(encode(t, "<0x41>", plain) == ids{270, 261});
  CHECK(t.decode(encode(t, "<0x41><s>", plain)) == "<0x41><s>");
}

TEST_CASE("spm: without byte tokens a character becomes the unknown token, and an error where there is none") {
  const std::vector<token> tokens = {{"<unk>", 0, token_kind::unknown}, {"a", -1}, {"<s>", 0, token_kind::control}};
  const auto t = make(spm_metadata(tokens)
                          .key("tokenizer.ggml.add_space_prefix", false)
                          .key("tokenizer.ggml.bos_token_id", 2u)
                          .key("tokenizer.ggml.eos_token_id", 2u));
  REQUIRE(t);
  CHECK(t->unk() == 0);
  CHECK(encode(*t,
               "a\u4e2d\xff"
               "a",
               plain) == ids{1, 0, 0, 1});

  const auto none = make(spm_metadata(tokens).key("tokenizer.ggml.unknown_token_id", 4294967295u).key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(none);
  CHECK(none->unk() == cria::no_token);
  CHECK(encode(*none, "aa", plain) == ids{1, 1});
  const auto failed = none->encode("ab");
  REQUIRE(!failed);
  CHECK(failed.error().code == errc::bad_value);
  CHECK(failed.error().message.find('b') != std::string::npos);
}

TEST_CASE("spm: a raw byte that is a piece serves where its byte token is absent") {
  const std::vector<token> tokens = {{"<unk>", 0, token_kind::unknown}, {"\xe4", -1}, {"\xb8", -1}, {"\xad", -1}};
  const auto t = make(spm_metadata(tokens).key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(t);
  CHECK(encode(*t, "\u4e2d", plain) == ids{1, 2, 3});
}

TEST_CASE("spm: without token types <0xNN> is a byte all the same") {
  cria_test::gguf_builder b;
  const std::vector<token> tokens = vocabulary_with({{"a", -1}});
  b.key("tokenizer.ggml.model", std::string("llama"))
      .array("tokenizer.ggml.tokens", texts_of(tokens))
      .array("tokenizer.ggml.scores", scores_of(tokens));
  const auto t = make(b.key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(t);
  CHECK(t->kind(byte(10)) == token_kind::byte);
  CHECK(t->piece(byte(10)) == "\n");
  CHECK(encode(*t, "a\n", plain) == ids{259, byte(10)});
}
