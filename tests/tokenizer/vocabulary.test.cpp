// SPDX-License-Identifier: MIT
#include <cria/tokenizer/vocabulary.hpp>

#include <doctest/doctest.h>

#include <tests/tokenizer/make_tokenizer.hpp>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

using cria::errc;
using cria::no_token;
using cria::token_kind;
using cria_test::alphabet_tokens;
using cria_test::bpe_metadata;
using cria_test::encode;
using cria_test::gguf_builder;
using cria_test::ids;
using cria_test::make;
using cria_test::plain;
using cria_test::spm_metadata;
using cria_test::token;

namespace {

constexpr std::uint32_t absent = 4294967295u;

const std::vector<token> small = {
    {"<unk>", 0, token_kind::unknown}, {"<s>", 0, token_kind::control}, {"</s>", 0, token_kind::control}, {"a", -1}, {"b", -2}};

std::vector<std::string> small_texts() { return texts_of(small); }

/// The keys of a "llama" tokenizer, all but `without`.
gguf_builder spm_without(std::string_view without) {
  gguf_builder b;
  if (without != "model") b.key("tokenizer.ggml.model", std::string("llama"));
  if (without != "tokens") b.array("tokenizer.ggml.tokens", small_texts());
  if (without != "scores") b.array("tokenizer.ggml.scores", scores_of(small));
  if (without != "token_type") b.array("tokenizer.ggml.token_type", kinds_of(small));
  return b;
}

struct refusal {
  std::string what;
  gguf_builder metadata;
  errc code;
  std::string key;
};

void check_refused(const std::vector<refusal>& refusals) {
  for (const refusal& r : refusals) {
    CAPTURE(r.what);
    const auto t = make(r.metadata);
    REQUIRE(!t.has_value());
    CHECK(t.error().code == r.code);
    CHECK(t.error().where.find("tokenizer.ggml." + r.key) == 0);
  }
}

std::vector<token> with_tokens(std::vector<token> more) {
  std::vector<token> tokens = small;
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

}  // namespace

TEST_CASE("vocabulary: what is missing or of another type is an error with its key") {
  check_refused({
      {"no model", spm_without("model"), errc::missing_key, "model"},
      {"no tokens", spm_without("tokens"), errc::missing_key, "tokens"},
      {"no scores", spm_without("scores"), errc::missing_key, "scores"},
      {"no merges", gguf_builder().key("tokenizer.ggml.model", std::string("gpt2")).array("tokenizer.ggml.tokens", small_texts()), errc::missing_key,
       "merges"},
      {"model is a number", spm_without("model").key("tokenizer.ggml.model", 1u), errc::wrong_type, "model"},
      {"tokens are one string", spm_without("tokens").key("tokenizer.ggml.tokens", std::string("a")), errc::wrong_type, "tokens"},
      {"tokens are numbers", spm_without("tokens").array<std::uint32_t>("tokenizer.ggml.tokens", {1, 2, 3, 4, 5}), errc::wrong_type, "tokens"},
      {"scores are doubles", spm_without("scores").array<double>("tokenizer.ggml.scores", {0, 0, 0, 0, 0}), errc::wrong_type, "scores"},
      {"scores are bytes", spm_without("scores").array<std::uint8_t>("tokenizer.ggml.scores", {0, 0, 0, 0, 0}), errc::wrong_type, "scores"},
      {"scores are bools", spm_without("scores").array<std::int32_t>("tokenizer.ggml.scores", {0, 0, 0, 0, 0}), errc::wrong_type, "scores"},
      {"scores are strings", spm_without("scores").array("tokenizer.ggml.scores", small_texts()), errc::wrong_type, "scores"},
      {"types are bytes", spm_without("token_type").array<std::uint8_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, 1}), errc::wrong_type,
       "token_type"},
      {"types are floats", spm_without("token_type").array<float>("tokenizer.ggml.token_type", {1, 1, 1, 1, 1}), errc::wrong_type, "token_type"},
      {"merges are numbers",
       gguf_builder()
           .key("tokenizer.ggml.model", std::string("gpt2"))
           .array("tokenizer.ggml.tokens", small_texts())
           .array<int>("tokenizer.ggml.merges", {1}),
       errc::wrong_type, "merges"},
      {"pre is a number", gguf_builder().key("tokenizer.ggml.model", std::string("gpt2")).key("tokenizer.ggml.pre", 1u), errc::wrong_type, "pre"},
      {"an id is a string", bpe_metadata(small, {}).key("tokenizer.ggml.bos_token_id", std::string("1")), errc::wrong_type, "bos_token_id"},
      {"a flag is a number", spm_metadata(small).key("tokenizer.ggml.add_bos_token", 1u), errc::wrong_type, "add_bos_token"},
      {"a flag is a string", spm_metadata(small).key("tokenizer.ggml.add_space_prefix", std::string("yes")), errc::wrong_type, "add_space_prefix"},
  });
}

TEST_CASE("vocabulary: counts that disagree, and values that mean nothing, are errors") {
  check_refused({
      {"empty", spm_without("tokens").array<std::string>("tokenizer.ggml.tokens", {}), errc::bad_value, "tokens"},
      {"a score too few", spm_without("scores").array<float>("tokenizer.ggml.scores", {0, 0, 0, 0}), errc::bad_value, "scores"},
      {"a score too many", spm_without("scores").array<float>("tokenizer.ggml.scores", {0, 0, 0, 0, 0, 0}), errc::bad_value, "scores"},
      {"no scores in it", spm_without("scores").array<float>("tokenizer.ggml.scores", {}), errc::bad_value, "scores"},
      {"a type too few", spm_without("token_type").array<std::int32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1}), errc::bad_value, "token_type"},
      {"type 7", spm_without("token_type").array<std::int32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, 7}), errc::bad_value, "token_type"},
      {"type -1", spm_without("token_type").array<std::int32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, -1}), errc::bad_value, "token_type"},
      {"type 2^31", spm_without("token_type").array<std::uint32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, 1u << 31}), errc::bad_value,
       "token_type"},
      {"bos beyond", spm_metadata(small).key("tokenizer.ggml.bos_token_id", 5u), errc::bad_value, "bos_token_id"},
      {"eos beyond", spm_metadata(small).key("tokenizer.ggml.eos_token_id", 4294967294u), errc::bad_value, "eos_token_id"},
      {"eot beyond", spm_metadata(small).key("tokenizer.ggml.eot_token_id", 1000u), errc::bad_value, "eot_token_id"},
      {"eos negative", spm_metadata(small).key("tokenizer.ggml.eos_token_id", -2), errc::bad_value, "eos_token_id"},
      {"eos beyond 64 bits", spm_metadata(small).key("tokenizer.ggml.eos_token_id", ~std::uint64_t{0}), errc::bad_value, "eos_token_id"},
  });
}

TEST_CASE("vocabulary: kinds of tokenizers that cria does not know are named") {
  for (const std::string model : {"bert", "t5", "rwkv", "", "llama\x1b[0m", "LLAMA"}) {
    const auto t = make(spm_without("model").key("tokenizer.ggml.model", model));
    REQUIRE(!t);
    CHECK(t.error().code == errc::unsupported_tokenizer);
    CHECK(t.error().where == "tokenizer.ggml.model");
    CHECK(t.error().message == "\"" + cria::printable(model) + "\"");
  }
  const auto t = make(bpe_metadata(small, {}, "some-new-one"));
  REQUIRE(!t);
  CHECK(t.error().code == errc::unsupported_tokenizer);
  CHECK(t.error().to_string() == "unsupported_tokenizer: tokenizer.ggml.pre: \"some-new-one\"");
}

TEST_CASE("vocabulary: a byte token is <0x and exactly two hexadecimal digits, nothing else") {
  for (const std::string bad : {"<0x-1>", "<0x+1>", "<0x 1>", "<0x1>", "<0x001>", "<0xG0>", "<0x0G>", "<0x>", "0x00", "<0X00>", "<0x00", "<0x00>x",
                                "<0x00x", "<1x00>", "", "\n"}) {
    CAPTURE(bad);
    const auto t = make(spm_metadata(with_tokens({{bad, 0, token_kind::byte}})));
    REQUIRE(!t);
    CHECK(t.error().code == errc::bad_value);
    CHECK(t.error().where == "tokenizer.ggml.token_type");
    CHECK(t.error().message.find("token 5") != std::string::npos);
  }
  const auto t = make(spm_metadata(with_tokens({{"<0xfF>", 0, token_kind::byte}, {"<0x0a>", 0, token_kind::byte}})));
  REQUIRE(t);
  CHECK(t->piece(5) == "\xff");
  CHECK(t->piece(6) == "\n");
  CHECK(encode(*t, "\n", {.add_bos = false}) == ids{0, 6});  // the space prefix is no piece here
}

// The hfft converter of December 2023 and January 2024 typed them so; llama.cpp d32676d finds the bytes to write by their texts.
TEST_CASE("vocabulary: where a SentencePiece file calls no token a byte, the texts <0xNN> of normal ones are bytes, written and read") {
  const std::string text = "a\n\U0001f642b";
  std::vector<token> tokens = with_tokens(cria_test::byte_tokens());
  const auto with_first_kind = [&](token_kind first, token_kind others) {
    for (std::size_t i = small.size(); i < tokens.size(); ++i) tokens[i].kind = i == small.size() ? first : others;
    auto t = make(spm_metadata(tokens).key("tokenizer.ggml.add_space_prefix", false));
    REQUIRE(t);
    return *std::move(t);
  };
  const auto typed = with_first_kind(token_kind::byte, token_kind::byte), repaired = with_first_kind(token_kind::normal, token_kind::normal);
  const ids bytes = encode(typed, text, plain);
  CHECK(bytes == ids{3, 5 + '\n', 5 + 0xf0, 5 + 0x9f, 5 + 0x99, 5 + 0x82, 4});
  CHECK(encode(repaired, text, plain) == bytes);
  CHECK(repaired.decode(bytes) == text);
  CHECK(repaired.kind(5 + '\n') == token_kind::byte);
  // One that is called a byte says that the file means what it calls the others.
  const auto mixed = with_first_kind(token_kind::byte, token_kind::normal);
  CHECK(mixed.kind(5) == token_kind::byte);
  CHECK(mixed.decode(ids{5 + '\n'}) == "<0x0A>");
  CHECK(with_first_kind(token_kind::user_defined, token_kind::normal).kind(5) == token_kind::user_defined);
  std::vector<token> letters = alphabet_tokens();
  letters.push_back({"<0x0A>"});
  CHECK(make(bpe_metadata(letters, {}))->decode(ids{256}) == "<0x0A>");   // byte-level vocabularies have no such tokens
}

TEST_CASE("vocabulary: of equal texts the first id is used and every id is read; empty texts are no texts") {
  const auto t = make(
      spm_metadata(
          with_tokens(
              {{"c", -5}, {"c", -1}, {"", 0}, {"", 0, token_kind::user_defined}, {"<x>", 0, token_kind::control}, {"<x>", 0, token_kind::control}}))
          .key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(t);
  CHECK(encode(*t, "cc", plain) == ids{5, 5});
  CHECK(encode(*t, "<x>", {.add_bos = false}) == ids{9});
  CHECK(t->decode(ids{5, 6, 7, 8}) == "cc");
  CHECK(t->find("c") == 5);
  CHECK(!t->find(""));
}

TEST_CASE("vocabulary: special ids of 2^32 - 1 or -1 are those of a file that says nothing; padding and unknown are none then, and out of range") {
  const auto with_absent = [](gguf_builder b) {
    auto t = make(b.key("tokenizer.ggml.bos_token_id", absent)
                      .key("tokenizer.ggml.eos_token_id", -1)
                      .key("tokenizer.ggml.eot_token_id", absent)
                      .key("tokenizer.ggml.padding_token_id", 99'999u)
                      .key("tokenizer.ggml.seperator_token_id", absent)
                      .key("tokenizer.ggml.unknown_token_id", 12345u));
    REQUIRE(t);
    return *std::move(t);
  };
  const auto spm = with_absent(spm_metadata(small));   // as llama.cpp d32676d: bos 1, eos 2
  CHECK(spm.bos() == 1);
  CHECK(spm.eos() == 2);
  CHECK(spm.unk() == no_token);
  CHECK(spm.pad() == no_token);
  CHECK(spm.eot() == no_token);
  CHECK(spm.is_end_of_generation(2));
  CHECK(encode(spm, "", {}) == ids{1});

  const auto bpe = with_absent(bpe_metadata(alphabet_tokens(), {}, "llama-bpe"));
  CHECK(bpe.bos() == no_token);
  CHECK(bpe.eos() == no_token);
  CHECK(!bpe.adds_bos());  // there is none to add
  CHECK(encode(bpe, "", {}).empty());

  const auto t = make(spm_metadata(small).key("tokenizer.ggml.padding_token_id", std::uint16_t{4}).key("tokenizer.ggml.eos_token_id", std::int64_t{3}));
  REQUIRE(t);
  CHECK(t->pad() == 4);
  CHECK(t->eos() == 3);
}

TEST_CASE("vocabulary: without keys llama has 1, 2 and 0 as begin, end and unknown, as far as they exist, and gpt2 has none") {
  const auto spm = make(spm_metadata(small));
  REQUIRE(spm);
  CHECK(spm->bos() == 1);
  CHECK(spm->eos() == 2);
  CHECK(spm->unk() == 0);
  CHECK(spm->adds_bos());
  CHECK(!spm->adds_eos());
  CHECK(spm->adds_space_prefix());
  CHECK(spm->eot() == no_token);

  const auto tiny = make(spm_metadata({{"a", 0}, {"b", 0}}));
  REQUIRE(tiny);
  CHECK(tiny->eos() == no_token);
  CHECK(tiny->bos() == 1);

  const auto bpe = make(bpe_metadata(alphabet_tokens(), {}));
  REQUIRE(bpe);
  CHECK(bpe->bos() == no_token);
  CHECK(bpe->eos() == no_token);
  CHECK(!bpe->adds_bos());
  CHECK(!bpe->adds_space_prefix());
  CHECK(bpe->end_of_generation().empty());
}

TEST_CASE("vocabulary: the flags decide on begin and end, where the kind's default is otherwise") {
  const auto t = make(spm_metadata(small)
                          .key("tokenizer.ggml.add_bos_token", false)
                          .key("tokenizer.ggml.add_eos_token", true)
                          .key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(t);
  CHECK(encode(*t, "ab") == ids{3, 4, 2});
  CHECK(encode(*t, "ab", {.add_eos = false}) == ids{3, 4});

  const auto llama3 = make(bpe_metadata(with_tokens(alphabet_tokens()), {}, "llama-bpe").key("tokenizer.ggml.bos_token_id", 1u));
  REQUIRE(llama3);
  CHECK(llama3->adds_bos());
  CHECK(encode(*llama3, "") == ids{1});
  CHECK(encode(*llama3, "", {.add_bos = false}).empty());
  const auto off = make(bpe_metadata(with_tokens(alphabet_tokens()), {}, "llama-bpe")
                            .key("tokenizer.ggml.bos_token_id", 1u)
                            .key("tokenizer.ggml.add_bos_token", false));
  CHECK(encode(*off, "").empty());
  const auto on = make(
      bpe_metadata(with_tokens(alphabet_tokens()), {}, "gpt-2").key("tokenizer.ggml.bos_token_id", 1u).key("tokenizer.ggml.add_bos_token", true));
  CHECK(encode(*on, "") == ids{1});
}

TEST_CASE("vocabulary: a missing pre-tokenizer is the default one") {
  std::vector<token> tokens = alphabet_tokens();
  tokens.push_back({"34"});
  gguf_builder b;
  b.key("tokenizer.ggml.model", std::string("gpt2"))
      .array("tokenizer.ggml.tokens", texts_of(tokens))
      .array<std::string>("tokenizer.ggml.merges", {"3 4"});
  const auto missing = make(b);
  REQUIRE(missing);
  CHECK(encode(*missing, "1234", plain) == ids{'1', '2', '3', '4'});  // cut into 123 and 4
  CHECK(encode(*make(bpe_metadata(tokens, {"3 4"}, "default")), "1234", plain) == ids{'1', '2', '3', '4'});
  CHECK(encode(*make(bpe_metadata(tokens, {"3 4"}, "gpt-2")), "1234", plain) == ids{'1', '2', 256});
}

TEST_CASE("vocabulary: tokens that end an answer are known by id and by text, whatever kind the file gives them") {
  const auto t = make(spm_metadata(with_tokens(
      {{"<|im_end|>", 0}, {"<|endoftext|>", 0, token_kind::user_defined}, {"<|eot_id|>", 0, token_kind::control}, {"<end_of_turn>", 0}})));
  REQUIRE(t);
  CHECK(t->eot() == 7);
  CHECK(std::vector<cria::token_id>(t->end_of_generation().begin(), t->end_of_generation().end()) == ids{2, 5, 6, 7, 8});
  for (const cria::token_id id : {2, 5, 6, 7, 8}) {
    CHECK(t->is_end_of_generation(id));
    CHECK(t->kind(id) == token_kind::control);
    CHECK(t->piece(id).empty());
  }
  CHECK(!t->is_end_of_generation(3));
  CHECK(encode(*t, "<|im_end|>", {.add_bos = false}) == ids{5});

  const auto named = make(
      spm_metadata(with_tokens({{"<stop>", 0}, {"<|im_end|>", 0}})).key("tokenizer.ggml.eot_token_id", 5u).key("tokenizer.ggml.eos_token_id", 3u));
  REQUIRE(named);
  CHECK(named->eot() == 5);
  for (const cria::token_id id : {2, 3, 5, 6}) CHECK(named->is_end_of_generation(id));
  CHECK(named->kind(3) == token_kind::normal);  // an id alone does not silence its token
}

TEST_CASE("vocabulary: <|end|> does not end an answer in the harmony format, </s> not beside <eos>") {
  const auto harmony = make(spm_metadata(with_tokens({{"<|end|>", 0, token_kind::control},
                                                      {"<|return|>", 0, token_kind::control},
                                                      {"<|call|>", 0, token_kind::control},
                                                      {"<|channel|>", 0, token_kind::control}})));
  REQUIRE(harmony);
  CHECK(!harmony->is_end_of_generation(5));
  CHECK(harmony->is_end_of_generation(6));
  CHECK(harmony->piece(8) == "<|channel|>");
  // Said by the model, but control tokens of the file all the same: what people type never becomes one of them.
  for (const std::string_view mark : {"<|channel|>", "<|end|>", "<|return|>"}) {
    CAPTURE(mark);
    const ids as_template = encode(*harmony, mark, {.add_bos = false}), as_typed = encode(*harmony, mark, {.add_bos = false, .parse_special = false});
    CHECK(as_template == ids{*harmony->find(mark)});
    CHECK(std::find(as_typed.begin(), as_typed.end(), *harmony->find(mark)) == as_typed.end());
  }
  const auto user_defined = make(spm_metadata(with_tokens({{"<|channel|>", 0, token_kind::user_defined}})));
  CHECK(encode(*user_defined, "<|channel|>", {.add_bos = false, .parse_special = false}) == ids{5});
  const auto plain_end = make(spm_metadata(with_tokens({{"<|end|>", 0, token_kind::control}})));
  CHECK(plain_end->is_end_of_generation(5));

  const std::vector<token> gemma = {
      {"<pad>", 0, token_kind::control}, {"<eos>", 0, token_kind::control}, {"<bos>", 0, token_kind::control}, {"</s>", 0, token_kind::user_defined}};
  const auto t = make(
      spm_metadata(gemma).key("tokenizer.ggml.eos_token_id", 1u).key("tokenizer.ggml.bos_token_id", 2u).key("tokenizer.ggml.unknown_token_id", 0u));
  REQUIRE(t);
  CHECK(t->is_end_of_generation(1));
  CHECK(!t->is_end_of_generation(3));
  CHECK(t->piece(3) == "</s>");
}

TEST_CASE("vocabulary: white space after special tokens is dropped for Phi 3, and for nothing else") {
  const std::vector<token> tokens = with_tokens({{"<|user|>", 0, token_kind::control}, {" ", -1}, {"\u2581", -1}});
  const auto phi = make(spm_metadata(tokens).key("general.name", std::string("Phi-3 mini")).key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(phi);
  CHECK(encode(*phi, "<|user|> \n\ta<s> a", {.add_bos = false}) == ids{5, 3, 1, 7, 3});
  CHECK(encode(*phi, "<|user|>  ", {.add_bos = false}) == ids{5});
  const auto other = make(spm_metadata(tokens).key("general.name", std::string("Phil")).key("tokenizer.ggml.add_space_prefix", false));
  CHECK(encode(*other, "<|user|> a", {.add_bos = false}) == ids{5, 7, 3});
  const auto odd = make(spm_metadata(tokens).key("general.name", 3u));  // keys of other uses may be anything
  CHECK(odd.has_value());
}

TEST_CASE("vocabulary: texts of any bytes, long ones and NUL, are kept as they are") {
  const std::string nul("a\0b", 3);
  const std::string giant(16'383, 'x');
  const auto t = make(spm_metadata(with_tokens({{nul, -1}, {giant, -1}, {"\xff\xfe", -1}, {giant + "<", 0, token_kind::control}}))
                          .key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(t);
  CHECK(t->token_text(5) == nul);
  CHECK(t->piece(6) == giant);
  CHECK(t->find(giant) == 6);
  CHECK(t->piece(7) == "\xff\xfe");
  CHECK(encode(*t, "\xff\xfe", plain) == ids{7});
  CHECK(encode(*t, std::string(100'000, 'x') + "a", plain).size() == 100'001);
}

TEST_CASE("vocabulary: a token of more than 16 KiB is refused by its number") {
  for (const std::size_t n : {16'384u, 16'385u, 1'000'000u}) {
    const auto t = make(spm_metadata(with_tokens({{std::string(n, 'x'), -1}})));
    CHECK(t.has_value() == (n == 16'384));
    if (!t) CHECK(t.error().to_string() == "limit_exceeded: tokenizer.ggml.tokens: token 5 has " + std::to_string(n) + " bytes");
  }
}

TEST_CASE("vocabulary: tokens that are each other's beginnings load and encode in linear time") {
  std::vector<token> tokens = small;
  for (std::size_t n = 1; n <= 1000; ++n) {
    tokens.push_back({std::string(n, 'a'), static_cast<float>(n)});
    tokens.push_back({std::string(n, '<'), 0, token_kind::control});
  }
  const auto t = make(spm_metadata(tokens).key("tokenizer.ggml.add_space_prefix", false));
  REQUIRE(t);
  const ids found = encode(*t, std::string(300'000, 'a'), plain);
  CHECK(t->decode(found).size() == 300'000);
  CHECK(encode(*t, std::string(300'000, '<'), {.add_bos = false}).size() == 300);
}

TEST_CASE("vocabulary: the kinds have names") {
  CHECK(name(token_kind::undefined) == "undefined");
  CHECK(name(token_kind::user_defined) == "user_defined");
  CHECK(name(token_kind::byte) == "byte");
}
