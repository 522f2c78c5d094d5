// SPDX-License-Identifier: MIT
#include <cria/tokenizer/byte_bpe.hpp>

#include <doctest/doctest.h>

#include <tests/tokenizer/make_tokenizer.hpp>

#include <string>
#include <vector>

using cria::errc;
using cria::token_kind;
using cria_test::alphabet_tokens;
using cria_test::bpe_metadata;
using cria_test::encode;
using cria_test::ids;
using cria_test::make;
using cria_test::plain;
using cria_test::token;

namespace {

constexpr cria::token_id first_piece = 256;  // behind the alphabet, where token and byte are the same number

cria::tokenizer with(const std::vector<token>& pieces, const std::vector<std::string>& merges, std::string_view pre = "gpt-2") {
  std::vector<token> tokens = alphabet_tokens();
  tokens.insert(tokens.end(), pieces.begin(), pieces.end());
  auto t = make(bpe_metadata(tokens, merges, pre));
  REQUIRE(t.has_value());
  return *std::move(t);
}

}  // namespace

TEST_CASE("byte_bpe: the first merge in the list joins first, the leftmost of equals") {
  const auto t = with({{"ab"}, {"bc"}, {"abc"}, {"aa"}}, {"b c", "a b", "a bc", "a a"});
  CHECK(encode(t, "abc", plain) == ids{258});
  CHECK(encode(t, "ab", plain) == ids{256});
  CHECK(encode(t, "aaa", plain) == ids{259, 'a'});
  CHECK(encode(t, "cab", plain) == ids{'c', 256});
}

TEST_CASE("byte_bpe: merges stay within words, and a space belongs to the word behind it") {
  const auto t = with({{"\u0120a"}, {"aa"}, {"a\u0120"}}, {"a \u0120", "\u0120 a", "a a"});
  CHECK(encode(t, "a a", plain) == ids{'a', 256});
  CHECK(encode(t, "aa a", plain) == ids{257, 256});
  CHECK(t.decode(ids{'a', 256}) == "a a");
}

TEST_CASE("byte_bpe: any byte is a token and reads back, bytes of no character too") {
  const auto t = with({}, {});
  std::string all;
  for (int byte = 255; byte >= 0; --byte) all += static_cast<char>(byte);
  ids expected;
  for (int byte = 255; byte >= 0; --byte) expected.push_back(byte);
  CHECK(encode(t, all, plain) == expected);
  CHECK(t.decode(expected) == all);
}

TEST_CASE("byte_bpe: of a merge that stands twice the first counts") {
  const auto t = with({{"ab"}, {"bc"}}, {"a b", "b c", "a b"});
  CHECK(encode(t, "abc", plain) == ids{256, 'c'});
}

TEST_CASE("byte_bpe: merges whose result is no token still lead on, and come apart when they end there") {
  const auto t = with({{"abcd"}}, {"a b", "c d", "ab cd", "ab x"});
  CHECK(encode(t, "abcd", plain) == ids{256});
  CHECK(encode(t, "abc", plain) == ids{'a', 'b', 'c'});
  CHECK(encode(t, "abx", plain) == ids{'a', 'b', 'x'});
}

TEST_CASE("byte_bpe: merges of what no text can contain change nothing") {
  const auto t = with({{"ab"}}, {"foo bar", "a \u4e2d", "a b"});
  CHECK(encode(t, "ab foobar", plain) == ids{256, ' ', 'f', 'o', 'o', 'b', 'a', 'r'});
}

TEST_CASE("byte_bpe: llama-bpe takes a word that is a token, whatever the merges say, gpt-2 does not") {
  const std::vector<token> pieces = {{"xyz"}, {"xy"}, {"\u0120xyz"}};
  CHECK(encode(with(pieces, {"x y"}, "llama-bpe"), "xyz xyz xyzz", plain) == ids{256, 258, ' ', 257, 'z', 'z'});
  CHECK(encode(with(pieces, {"x y"}, "gpt-2"), "xyz", plain) == ids{257, 'z'});
}

TEST_CASE("byte_bpe: user-defined tokens are raw text, found before words are cut; control tokens only when asked for") {
  const auto t = with({{"  ", 0, token_kind::user_defined}, {"<|x|>", 0, token_kind::control}, {"\u4e2d", 0, token_kind::user_defined}}, {});
  CHECK(encode(t, "a   b", plain) == ids{'a', 256, ' ', 'b'});
  CHECK(encode(t, "\u4e2d<|x|>", {.add_bos = false}) == ids{258, 257});
  CHECK(encode(t, "<|x|>", plain) == ids{'<', '|', 'x', '|', '>'});
  CHECK(t.decode(ids{258, 257, 256}) == "\u4e2d  ");
  CHECK(t.decode(ids{258, 257, 256}, true) == "\u4e2d<|x|>  ");
}

TEST_CASE("byte_bpe: ordinary text never becomes a control token, even where merges lead there") {
  const auto t = with({{"<s", 0}, {"<s>", 0, token_kind::control}}, {"< s", "<s >"});
  CHECK(encode(t, "<s>", {.add_bos = false, .parse_special = true}) == ids{257});
  CHECK(encode(t, "<s>", plain) == ids{'<', 's', '>'});
  const auto whole = with({{"word", 0, token_kind::control}}, {}, "llama-bpe");
  CHECK(encode(whole, "word", plain) == ids{'w', 'o', 'r', 'd'});
}

TEST_CASE("byte_bpe: a byte that is no token becomes the unknown token, else U+FFFD, else an error") {
  std::vector<token> tokens = alphabet_tokens();
  tokens[0xff].text = "\u4e2d\u4e2d";  // byte 0xff has no letter
  tokens.push_back({"<unk>", 0, token_kind::unknown});
  tokens.push_back({"<|endoftext|>", 0, token_kind::control});
  const auto unknown = make(bpe_metadata(tokens, {}).key("tokenizer.ggml.unknown_token_id", 256u));
  CHECK(encode(*unknown, "a\xff", plain) == ids{'a', 256});
  const auto control = make(bpe_metadata(tokens, {}).key("tokenizer.ggml.unknown_token_id", 257u));  // as in SmolLM2's files
  CHECK(encode(*control, "a\xff", plain) == ids{'a', 0xef, 0xbf, 0xbd});
  const auto none = make(bpe_metadata(tokens, {}));
  CHECK(encode(*none, "a\xff", plain) == ids{'a', 0xef, 0xbf, 0xbd});

  tokens[0xbf].text = "\u4e2d\u4e2d\u4e2d";  // U+FFFD cannot be written either
  CHECK(encode(*make(bpe_metadata(tokens, {}).key("tokenizer.ggml.unknown_token_id", 257u)), "a\xff", plain) == ids{'a', 257});
  const auto poor = make(bpe_metadata(tokens, {}));
  const auto failed = poor->encode("a\xff");
  REQUIRE(!failed);
  CHECK(failed.error().code == errc::bad_value);
  CHECK(failed.error().message.find("255") != std::string::npos);
}

TEST_CASE("byte_bpe: a merge without two sides is an error that names it") {
  for (const std::string bad : {"ab", "", " ", "a ", " b", "\x1b[31m"}) {
    const auto t = make(bpe_metadata(alphabet_tokens(), {"a b", bad}));
    REQUIRE(!t);
    CHECK(t.error().code == errc::bad_value);
    CHECK(t.error().where == "tokenizer.ggml.merges");
    CHECK(t.error().message.find("entry 1") != std::string::npos);
    CHECK(t.error().message.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("byte_bpe: many merges that share sides are told apart") {
  std::vector<token> pieces;
  std::vector<std::string> merges;
  for (char left = 'a'; left <= 'z'; ++left) {
    for (char right = 'a'; right <= 'z'; ++right) {
      pieces.push_back({std::string{left, right}});
      merges.push_back(std::string{left, ' ', right});
    }
  }
  const auto t = with(pieces, merges);
  for (char left = 'a'; left <= 'z'; ++left) {
    for (char right = 'a'; right <= 'z'; ++right) {
      const ids expected = {first_piece + (left - 'a') * 26 + (right - 'a')};
      if (encode(t, std::string{left, right}, plain) != expected) FAIL_CHECK(left << right);
    }
  }
}
