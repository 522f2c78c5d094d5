// SPDX-License-Identifier: MIT
#include <cria/tokenizer/tokenizer.hpp>

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include <tests/tokenizer/make_tokenizer.hpp>
#include <tests/support/timing.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using cria::token_id;
using cria_test::encode;
using cria_test::has_data;
using cria_test::ids;
using cria_test::open_tokenizer;
using cria_test::plain;

namespace {

constexpr const char* spm_file = "tokenizer/ggml-vocab-llama-spm.gguf";
constexpr const char* bpe_file = "tokenizer/ggml-vocab-gpt-2.gguf";

// llama.cpp d32676d, llama_tokenize with add_special and parse_special, on the three vocabularies, October 2026.
struct peer_tokens {
  std::string_view text;
  ids spm, gpt2, smollm2;
};
const std::vector<peer_tokens> peer = {
    {"",
     {1},
     {},
     {}},
    {"Hello",
     {1, 15043},
     {15496},
     {19556}},
    {" Hello",
     {1, 29871, 15043},
     {18435},
     {38699}},
    {"Hello  world",
     {1, 15043, 29871, 3186},
     {15496, 220, 995},
     {19556, 216, 905}},
    {"\n",
     {1, 29871, 13},
     {198},
     {198}},
    {"\n\n\ttab\r\n",
     {1, 29871, 13, 13, 12, 3891, 30004, 13},
     {628, 197, 8658, 201, 198},
     {1116, 197, 15999, 2738}},
    {"don't I'VE we'll",
     {1, 1016, 29915, 29873, 306, 29915, 12064, 591, 29915, 645},
     {9099, 470, 314, 6, 6089, 356, 1183},
     {12420, 982, 339, 23, 18525, 392, 3060}},
    {"3.14159 and 1234567",
     {1, 29871, 29941, 29889, 29896, 29946, 29896, 29945, 29929, 322, 29871, 29896, 29906, 29941, 29946, 29945, 29953, 29955},
     {18, 13, 1415, 19707, 290, 17031, 2231, 3134},
     {35, 30, 33, 36, 33, 37, 41, 284, 216, 33, 34, 35, 36, 37, 38, 39}},
    {"na\u00efve Gr\u00f6\u00dfe",
     {1, 1055, 30085, 345, 1632, 29997, 5831},
     {2616, 38776, 1902, 9101, 39683, 68},
     {3546, 46494, 9171, 7466, 34878, 85}},
    {"\u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8",
     {1, 29871, 30325, 30346, 30968, 30572, 30454, 30255, 30279},
     {33768, 98, 17312, 105, 45739, 252, 24336, 25084, 43302},
     {23274, 115, 40993, 179, 120, 248, 11100, 224, 10391, 251, 10391, 134, 11100, 226}},
    {"\U0001f642\U0001f680\U0001f469\u200d\U0001f469\u200d\U0001f467",
     {1, 29871, 243, 162, 156, 133, 243, 162, 157, 131, 243, 162, 148, 172, 30722, 243, 162, 148, 172, 30722, 243, 162, 148, 170},
     {8582, 25081, 8582, 248, 222, 41840, 102, 447, 235, 41840, 102, 447, 235, 41840, 100},
     {10813, 38887, 10813, 244, 218, 10813, 235, 119, 321, 231, 10813, 235, 119, 321, 231, 10813, 235, 117}},
    {"e\u0301 \u0939\u093f\u0928\u094d\u0926\u0940",
     {1, 321, 30103, 29871, 30714, 30436, 30424, 30296, 30694, 30580},
     {68, 136, 223, 28225, 117, 11976, 123, 11976, 101, 24231, 235, 11976, 99, 24231, 222},
     {85, 151, 219, 12335, 134, 27011, 30658, 16525, 44757, 37189}},
    {"a\u00a0b\u3000c",
     {1, 263, 30081, 29890, 30358, 29883},
     {64, 1849, 65, 5099, 222, 66},
     {81, 15442, 82, 12109, 218, 83}},
    {"<|im_start|>user\nHi<|im_end|>\n",
     {1, 529, 29989, 326, 29918, 2962, 29989, 29958, 1792, 13, 18567, 29966, 29989, 326, 29918, 355, 29989, 29958, 13},
     {27, 91, 320, 62, 9688, 91, 29, 7220, 198, 17250, 27, 91, 320, 62, 437, 91, 29, 198},
     {1, 4093, 198, 26843, 2, 198}},
    {"<s>Hi</s> there",
     {1, 1, 6324, 2, 29871, 727},
     {27, 82, 29, 17250, 3556, 82, 29, 612},
     {44, 99, 46, 26843, 9617, 99, 46, 665}},
    {"<unk> <0x0A>",
     {1, 0, 29871, 529, 29900, 29916, 29900, 29909, 29958},
     {27, 2954, 29, 1279, 15, 87, 15, 32, 29},
     {44, 5131, 46, 2067, 32, 104, 32, 49, 46}},
    {"   leading",
     {1, 1678, 8236},
     {220, 220, 3756},
     {256, 2899}},
    {"trailing   ",
     {1, 25053, 1678},
     {9535, 4386, 220, 220, 220},
     {4861, 4966, 333}},
    {"def f(x):\n    return x**2  # ok",
     {1, 822, 285, 29898, 29916, 1125, 13, 1678, 736, 921, 1068, 29906, 29871, 396, 3431},
     {4299, 277, 7, 87, 2599, 198, 220, 220, 220, 1441, 2124, 1174, 17, 220, 1303, 12876},
     {1604, 275, 24, 104, 727, 472, 1003, 1792, 828, 34, 216, 907, 10907}},
    {"https://example.com/a?b=c&d=%20",
     {1, 2045, 597, 4773, 29889, 510, 29914, 29874, 29973, 29890, 29922, 29883, 29987, 29881, 16328, 29906, 29900},
     {5450, 1378, 20688, 13, 785, 14, 64, 30, 65, 28, 66, 5, 67, 28, 4, 1238},
     {4687, 1742, 7434, 30, 824, 31, 81, 47, 82, 45, 83, 22, 84, 23446, 34, 32}},
    {"\ufeffBOM",
     {1, 29871, 30143, 29933, 6488},
     {171, 119, 123, 33, 2662},
     {186, 136, 140, 50, 9232}},
    {"x\u200by",
     {1, 921, 30166, 29891},
     {87, 9525, 88},
     {104, 321, 229, 105}},
    {"AAAAAAAAAAAAAAAAAAAA",
     {1, 319, 23184, 23184, 23184, 23184, 6344, 29909},
     {43488, 43488, 17922},
     {44843, 44843, 26024}},
    {"\ufb01 \u00bd \u00b2 \u2163 \u0663",
     {1, 29871, 31017, 29871, 30226, 29871, 30088, 29871, 229, 136, 166, 29871, 220, 166},
     {171, 105, 223, 25208, 1587, 110, 2343, 227, 96, 18923, 96},
     {27141, 216, 16738, 216, 19133, 216, 173, 223, 113, 216, 164, 113}},
};

struct summary {
  std::size_t size;
  std::uint64_t digest;
  bool operator==(const summary&) const = default;
};
// The same, of texts/frankenstein.txt: how many tokens, and FNV-1a over their ids as 32-bit little-endian numbers.
constexpr summary frankenstein_spm = {23795, 0x3112ca437ff3f5fb}, frankenstein_gpt2 = {21827, 0x936862317ab1da4e},
                  frankenstein_smollm2 = {21681, 0xacc1d59b809b669};

summary summary_of(const ids& tokens) {
  std::uint64_t digest = 0xcbf29ce484222325u;
  for (const token_id id : tokens) {
    for (unsigned shift = 0; shift < 32; shift += 8) digest = (digest ^ (static_cast<std::uint32_t>(id) >> shift & 0xff)) * 0x100000001b3u;
  }
  return {tokens.size(), digest};
}

/// The lines' words as numbers, and the texts between the separator lines.
std::vector<std::pair<std::string, ids>> read_vectors(const std::string& file) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = cria_test::read_data(file + ".inp");
  std::istringstream lines(cria_test::read_data(file + ".out"));
  std::vector<std::pair<std::string, ids>> vectors;
  std::string line;
  for (std::size_t pos = 0; pos <= texts.size() && std::getline(lines, line);) {
    const std::size_t end = std::min(texts.find(separator, pos), texts.size());
    std::istringstream words(line);
    ids tokens;
    for (token_id id; words >> id;) tokens.push_back(id);
    vectors.emplace_back(texts.substr(pos, end - pos), tokens);
    pos = end + separator.size();
  }
  return vectors;
}

double seconds_to_encode(const cria::tokenizer& t, const std::string& text) {
  ids tokens;
  const double seconds = cria_test::seconds_of([&] { tokens = encode(t, text, plain); });
  CHECK(t.decode(tokens) == text);
  return seconds;
}

bool has_u2581(std::string_view text) { return text.find("\xe2\x96\x81") != text.npos; }

}  // namespace

TEST_CASE("tokenizer: every vector of llama.cpp's vocabulary tests gives the expected ids and reads back") {
  for (const char* const file : {spm_file, bpe_file}) {
    if (!has_data(file)) continue;
    const cria::tokenizer t = open_tokenizer(file);
    const auto vectors = read_vectors(file);
    CHECK(vectors.size() == 46);
    for (const auto& v : vectors) {
      CAPTURE(v.first);
      const ids tokens = encode(t, v.first, plain);
      CHECK(tokens == v.second);
      CHECK(t.decode(tokens) == v.first);
    }
  }
}

TEST_CASE("tokenizer: the prompts of every golden file give its tokens") {
  std::size_t prompts = 0;
  for (const char* const folder : {"", "arch/"}) {
    if (!has_data(std::string("golden/") + folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(cria_test::data_root() / "golden" / folder)) {
      if (entry.path().extension() != ".json") continue;
      const std::string model = entry.path().stem().string();
      std::filesystem::path file = cria_test::data_root() / "models" / folder / (model + ".gguf");
      if (model.starts_with("smollm2")) file = cria_test::smollm2_path();
      if (file.empty()) continue;
      CAPTURE(model);
      const cria::tokenizer t = open_tokenizer(file);
      const auto golden = nlohmann::json::parse(cria_test::read_data("golden/" + std::string(folder) + model + ".json"));
      for (const auto& prompt : golden.at("cases")) {
        CHECK(encode(t, prompt.at("prompt").get<std::string>()) == prompt.at("tokens").get<ids>());
        ++prompts;
      }
      CHECK(t.vocab_size() == golden.at("n_vocab").get<std::size_t>());
    }
  }
  if (has_data("golden")) CHECK(prompts > 100);
}

TEST_CASE("tokenizer: stories260K's greedy continuations read as the golden bytes") {
  if (!has_data("golden/stories260K.json")) return;
  const cria::tokenizer t = open_tokenizer("models/stories260K.gguf");
  const auto golden = nlohmann::json::parse(cria_test::read_data("golden/stories260K.json"));
  for (const auto& prompt : golden.at("cases")) {
    std::string text, hex;
    for (const token_id id : prompt.at("greedy").get<ids>()) text += t.piece(id);
    for (const char c : text) {
      hex += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      hex += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
    }
    CHECK(hex == prompt.at("greedy_bytes_hex").get<std::string>());
  }
}

TEST_CASE("tokenizer: tricky texts and a long one give llama.cpp's ids") {
  struct model {
    std::filesystem::path file;
    ids peer_tokens::*tokens;
    summary frankenstein;
  };
  for (const model& m : {model{spm_file, &peer_tokens::spm, frankenstein_spm}, model{bpe_file, &peer_tokens::gpt2, frankenstein_gpt2},
                         model{cria_test::smollm2_path(), &peer_tokens::smollm2, frankenstein_smollm2}}) {
    if (m.file.empty() || !has_data(m.file.string())) continue;
    CAPTURE(m.file.string());
    const cria::tokenizer t = open_tokenizer(m.file);
    for (const peer_tokens& p : peer) {
      CAPTURE(p.text);
      CHECK(encode(t, p.text) == p.*m.tokens);
    }
    if (has_data("texts/frankenstein.txt")) CHECK(summary_of(encode(t, cria_test::read_data("texts/frankenstein.txt"))) == m.frankenstein);
  }
}

TEST_CASE("tokenizer: special ids, flags and texts are those of the files") {
  if (has_data(spm_file)) {
    const cria::tokenizer t = open_tokenizer(spm_file);
    CHECK(t.model() == "llama");
    CHECK(t.vocab_size() == 32000);
    CHECK(t.bos() == 1);
    CHECK(t.eos() == 2);
    CHECK(t.unk() == 0);
    CHECK(t.adds_bos());
    CHECK(!t.adds_eos());
    CHECK(t.adds_space_prefix());
    CHECK(t.kind(2) == cria::token_kind::control);
    CHECK(t.kind(13) == cria::token_kind::byte);
    CHECK(t.piece(13) == "\n");
    CHECK(t.token_text(13) == "<0x0A>");
    CHECK(t.piece(15043) == " Hello");
    CHECK(t.token_text(15043) == "\u2581Hello");
    CHECK(t.find("\u2581Hello") == 15043);
    CHECK(!t.find("no such token"));
    CHECK(t.is_end_of_generation(2));
    CHECK(!t.is_end_of_generation(1));
    CHECK(!t.is_end_of_generation(cria::no_token));
  }
  if (has_data(bpe_file)) {
    const cria::tokenizer t = open_tokenizer(bpe_file);
    CHECK(t.model() == "gpt2");
    CHECK(t.vocab_size() == 50257);
    CHECK(t.eos() == 50256);
    CHECK(t.is_end_of_generation(50256));
    CHECK(!t.adds_bos());
    CHECK(!t.adds_space_prefix());
    CHECK(t.piece(18435) == " Hello");
    CHECK(t.token_text(18435) == "\u0120Hello");
    CHECK(t.piece(50256).empty());
    CHECK(t.token_text(50256) == "<|endoftext|>");
  }
  if (has_data("models/stories260K.gguf")) {  // its separator and padding ids are 4294967295
    const cria::tokenizer t = open_tokenizer("models/stories260K.gguf");
    CHECK(t.pad() == cria::no_token);
    CHECK(t.eos() == 2);
  }
}

TEST_CASE("tokenizer: ids out of range are no text and no error") {
  if (!has_data(bpe_file)) return;
  const cria::tokenizer t = open_tokenizer(bpe_file);
  for (const token_id id : {-1, 50257, 2147483647, -2147483647 - 1}) {
    CHECK(t.piece(id).empty());
    CHECK(t.token_text(id).empty());
    CHECK(t.kind(id) == cria::token_kind::undefined);
    CHECK(!t.is_end_of_generation(id));
    CHECK(t.decode(ids{15496, id, 995}) == "Hello world");
  }
}

TEST_CASE("tokenizer: every string of one or two bytes reads back") {
  for (const char* const file : {spm_file, bpe_file}) {
    if (!has_data(file)) continue;
    const cria::tokenizer t = open_tokenizer(file);
    for (unsigned first = 0; first < 256; ++first) {
      const std::string one(1, static_cast<char>(first));
      if (t.decode(encode(t, one)) != one) FAIL_CHECK(file << ": " << first);
      for (unsigned second = 0; second < 256; ++second) {
        const std::string two = one + static_cast<char>(second);
        if (t.decode(encode(t, two)) != two) FAIL_CHECK(file << ": " << first << " " << second);
      }
    }
  }
}

TEST_CASE("tokenizer: random bytes and random pieces of UTF-8 and special tokens read back") {
  const std::string_view parts[] = {"\xe2\x96", "\x81", "\xf0\x9f\x99\x82", " ", "  ", "\n", "the", "<s>", "</s>", "<|endoftext|>",
                                    "<unk>", "<0x41>", "\xe4\xb8\xad", "'s", "12", "<", "|"};
  for (const char* const file : {spm_file, bpe_file}) {
    if (!has_data(file)) continue;
    const cria::tokenizer t = open_tokenizer(file);
    std::mt19937 random(1);
    for (int round = 0; round < 50'000; ++round) {
      std::string text;
      if (round % 2 == 0) {
        for (std::size_t n = round < 20'000 ? 3 : random() % 30; n > 0; --n) text += static_cast<char>(random() % 256);
      } else {
        for (std::size_t n = random() % 10; n > 0; --n) text += parts[random() % std::size(parts)];
      }
      if (t.model() == "llama" && has_u2581(text)) continue;  // SentencePiece reads U+2581 as a space
      if (t.decode(encode(t, text, plain)) != text) FAIL_CHECK(file << ", round " << round);
      if (t.decode(encode(t, text, {.add_bos = false}), true) != text) FAIL_CHECK(file << ", special, round " << round);
    }
  }
}

TEST_CASE("tokenizer: the pieces of a text joined are the text") {
  if (!has_data(bpe_file) || !has_data("texts/frankenstein.txt")) return;
  const cria::tokenizer t = open_tokenizer(bpe_file);
  const std::string text = cria_test::read_data("texts/frankenstein.txt");
  std::string joined;
  for (const token_id id : encode(t, text, plain)) joined += t.piece(id);
  CHECK(joined == text);
}

TEST_CASE("tokenizer: no text becomes fewer tokens than fewest_tokens() says") {
  std::mt19937 random(11);
  for (const char* const file : {spm_file, bpe_file, "tokenizer/ggml-vocab-phi-3.gguf"}) {
    if (!has_data(file)) continue;
    const cria::tokenizer t = open_tokenizer(file);
    CHECK(t.fewest_tokens("") == 0);
    CHECK(t.fewest_tokens(std::string(1'000'000, ' ')) == 0);
    CHECK(t.fewest_tokens(std::string(1'000'000, 'a')) > 1000);
    for (int round = 0; round < 300; ++round) {
      std::string text;   // of the longest tokens and what is swallowed behind them
      for (std::size_t n = random() % 40; n > 0; --n) {
        const auto id = static_cast<token_id>(random() % t.vocab_size());
        text += t.token_text(id).size() > 8 || random() % 4 == 0 ? t.token_text(id) : std::string_view("  \n");
      }
      CHECK(t.fewest_tokens(text) <= encode(t, text, {.add_bos = false}).size());
    }
  }
}

TEST_CASE("tokenizer: text that looks like control tokens stays text when special tokens are not parsed") {
  if (!has_data(spm_file)) return;
  const cria::tokenizer t = open_tokenizer(spm_file);
  for (const std::string text : {"</s>", "a<s>b", "<s></s><unk>", "<0x0A>", " </s> "}) {
    for (const token_id id : encode(t, text, plain)) CHECK(t.kind(id) == cria::token_kind::normal);
    CHECK(t.decode(encode(t, text, plain)) == text);
  }
}

TEST_CASE("tokenizer: twice the text takes about twice the time, and a megabyte about a second at most") {
  constexpr std::size_t size = cria_test::slowness > 1 ? 1 << 15 : 1 << 18;
  for (const char* const file : {spm_file, bpe_file}) {
    if (!has_data(file)) continue;
    const cria::tokenizer t = open_tokenizer(file);
    for (const std::string_view unit : {"a", " ", "\n", "<", "<|im_start|", "\xff", "7", "\xe4\xb8\xad", "qxzjkvwpqhgfydmtrb"}) {
      std::string half, whole;
      while (half.size() < size) half += unit;
      whole = half + half;
      double once = 1e9, twice = 1e9;
      for (int i = 0; i < 3; ++i) {  // the best of three: others use the machine too
        once = std::min(once, seconds_to_encode(t, half));
        twice = std::min(twice, seconds_to_encode(t, whole));
      }
      CAPTURE(unit);
      CHECK(twice < 3.2 * once + 0.05);  // quadratic would be 4 times
      CHECK(twice * (0.5 * (1 << 20) / size) < 1.5 * cria_test::slowness);   // for 1 MiB; 0.1 to 0.4 where it was written
    }
  }
}

TEST_CASE("tokenizer: many threads share one, and copies and moved ones work alone") {
  if (!has_data(spm_file)) return;
  const std::string text = "Once upon a time, in a small village by the sea \u4e2d\u6587 \xff </s> there lived a";
  ids expected;
  cria::tokenizer moved = [&] {
    cria::tokenizer original = open_tokenizer(spm_file);
    expected = encode(original, text);
    cria::tokenizer copy = original;
    return copy;
  }();
  const cria::tokenizer t = std::move(moved);
  std::vector<ids> found(4);
  std::vector<std::thread> threads;
  threads.reserve(found.size());
  for (ids& out : found) {
    threads.emplace_back([&t, &out, &text] {
      for (int i = 0; i < 50; ++i) out = encode(t, text);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const ids& out : found) CHECK(out == expected);
  CHECK(t.decode(expected, false).find("village") != std::string::npos);
}
