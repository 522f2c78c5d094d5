// SPDX-License-Identifier: MIT
// tests/fuzz/tokenizer.fuzz.cpp - builds a small vocabulary from the input and runs the rest of the input through it, there and back.
//
//   flags        1 byte: bit 0 gpt2, bit 1 all bytes are tokens, bit 2 without scores, bit 3 without types, bits 4-7 what other keys there are
//   pre          1 byte: index into the pre-tokenizers
//   tokens       1 byte count; each: 1 byte = kind (3 bits) + length (5 bits), 1 byte score, the text
//   merges       1 byte count; each: 1 byte length, the text
//   text         the rest
#include <cria/gguf/file.hpp>
#include <cria/tokenizer/pre_tokenizer.hpp>
#include <cria/tokenizer/tokenizer.hpp>
#include <cria/tokenizer/utf8_assembler.hpp>

#include <tests/support/gguf_builder.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cria;

/// What must be true of every tokenizer, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

class input {
 public:
  input(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  unsigned byte() {
    if (rest_.empty()) return 0;
    const auto b = static_cast<unsigned char>(rest_[0]);
    rest_.remove_prefix(1);
    return b;
  }
  std::string text(std::size_t n) {
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(taken.size());
    return std::string(taken);
  }
  [[nodiscard]] std::string rest() const { return std::string(rest_); }

 private:
  std::string_view rest_;
};

struct vocabulary_input {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<std::int32_t> kinds;

  void add(std::string text, float score, token_kind kind) {
    texts.push_back(std::move(text));
    scores.push_back(score);
    kinds.push_back(static_cast<std::int32_t>(kind));
  }
  void add_all_bytes(bool gpt2) {
    for (unsigned b = 0; b < 256; ++b) {
      std::string text;
      if (gpt2) {
        detail::append_utf8(text, detail::byte_alphabet[b]);
      } else {
        text = std::string("<0x") + "0123456789ABCDEF"[b / 16] + "0123456789ABCDEF"[b % 16] + ">";
      }
      add(text, -50, gpt2 ? token_kind::normal : token_kind::byte);
    }
  }
};

cria_test::gguf_builder metadata_from(input& in) {
  const unsigned flags = in.byte();
  const bool gpt2 = (flags & 1) != 0;
  const std::string pre(detail::pre_tokenizers[in.byte() % std::size(detail::pre_tokenizers)].name);
  vocabulary_input vocab;
  vocab.add("<unk>", 0, token_kind::unknown);
  if ((flags & 2) != 0) vocab.add_all_bytes(gpt2);
  for (unsigned n = in.byte(); n > 0; --n) {
    const unsigned shape = in.byte();
    const auto score = static_cast<float>(static_cast<std::int8_t>(in.byte()));
    vocab.add(in.text(shape >> 3), score, static_cast<token_kind>(shape & 7));
  }
  std::vector<std::string> merges;
  for (unsigned n = in.byte(); n > 0; --n) merges.push_back(in.text(in.byte() & 31));

  cria_test::gguf_builder b;
  b.key("tokenizer.ggml.model", std::string(gpt2 ? "gpt2" : "llama")).array("tokenizer.ggml.tokens", vocab.texts);
  if (gpt2) b.key("tokenizer.ggml.pre", pre).array("tokenizer.ggml.merges", merges);
  if ((flags & 4) == 0) b.array("tokenizer.ggml.scores", vocab.scores);
  if ((flags & 8) == 0) b.array("tokenizer.ggml.token_type", vocab.kinds);
  if ((flags & 16) != 0) b.key("tokenizer.ggml.add_space_prefix", false);
  if ((flags & 32) != 0) b.key("tokenizer.ggml.unknown_token_id", 4294967295u);
  if ((flags & 64) != 0) b.key("tokenizer.ggml.bos_token_id", 0u).key("tokenizer.ggml.add_bos_token", true).key("tokenizer.ggml.add_eos_token", true);
  if ((flags & 128) != 0) b.key("general.architecture", std::string("phi3"));
  return b;
}

/// Returns whether the vocabulary can express any byte by itself.
bool has_all_bytes(const tokenizer& t) {
  for (unsigned b = 0; b < 256; ++b) {
    const std::string one(1, static_cast<char>(b));
    const auto tokens = t.encode(one, {.add_bos = false, .parse_special = false, .add_eos = false});
    if (!tokens || t.decode(*tokens) != one) return false;
  }
  return true;
}

void check_stream(const tokenizer& t, std::span<const token_id> tokens) {
  utf8_assembler assembler;
  std::string streamed, whole;
  for (const token_id id : tokens) {
    streamed += assembler.push(t.piece(id));
    whole += t.piece(id);
    expect(assembler.pending_bytes() <= 3);
  }
  streamed += assembler.flush();
  expect(streamed == whole);
}

void check_text(const tokenizer& t, const std::string& text) {
  const auto marked = t.encode(text);
  if (marked) {
    for (const token_id id : *marked) expect(id >= 0 && static_cast<std::size_t>(id) < t.vocab_size());
    check_stream(t, *marked);
    static_cast<void>(t.decode(*marked, true));
  }
  const auto tokens = t.encode(text, {.add_bos = false, .parse_special = false, .add_eos = false});
  if (!tokens) return expect(tokens.error().code == errc::bad_value);
  for (const token_id id : *tokens) expect(t.kind(id) != token_kind::control || id == t.unk());
  const bool space_sign = t.model() == "llama" && text.find("\xe2\x96\x81") != std::string::npos;
  // A user-defined token is itself in a text; where its spelling is also that of other bytes in the byte alphabet, merges can lead to it from those.
  const auto is_ambiguous = [&](token_id id) {
    const std::string_view piece = t.piece(id);
    return t.kind(id) == token_kind::user_defined && std::any_of(piece.begin(), piece.end(), [](char c) { return static_cast<unsigned char>(c) > 0x7f; });
  };
  if (space_sign || (t.model() == "gpt2" && std::any_of(tokens->begin(), tokens->end(), is_ambiguous))) return;
  if (t.decode(*tokens) != text) expect(!has_all_bytes(t));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input in(data, size);
  const std::string bytes = metadata_from(in).build();
  const auto file = gguf::file::open(memory_source(std::as_bytes(std::span(bytes))));
  expect(file.has_value());
  const auto t = tokenizer::from_metadata(file->metadata());
  if (t) {
    check_text(*t, in.rest());
  } else {
    expect(!t.error().to_string().empty());
  }
  return 0;
}
