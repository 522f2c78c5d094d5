// SPDX-License-Identifier: MIT
// tokenizer/vocabulary.hpp - the tokens of a model: text, kind, score, and which ids have a role.
//
// Ensures   of equal texts the first id is found, every id has its text; nothing refers to the file any more
// Errors    load_vocabulary: missing_key, wrong_type, bad_value, limit_exceeded, each with its key
// Threads   immutable after load_vocabulary
// Source    GGUF specification, keys `tokenizer.ggml.*`; defaults, roles and the texts that end a turn: llama.cpp src/llama-vocab.cpp d32676d
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/text_index.hpp>
#include <cria/core/types.hpp>
#include <cria/gguf/metadata.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// What a token is for: the values of `tokenizer.ggml.token_type`.
enum class token_kind : std::uint8_t {
  undefined,     ///< as normal
  normal,        ///< a piece of text
  unknown,       ///< stands for what the vocabulary cannot express; no text
  control,       ///< steers the model; no text
  user_defined,  ///< text that is matched before anything is merged
  unused,        ///< as normal
  byte,          ///< <0xNN>: one byte
};

[[nodiscard]] constexpr std::string_view name(token_kind kind) noexcept {
  constexpr std::string_view names[] = {"undefined", "normal", "unknown", "control", "user_defined", "unused", "byte"};
  return names[static_cast<std::size_t>(kind)];
}

namespace detail {

/// Many strings in one block of memory, together below 4 GiB.
class string_arena {
 public:
  void push(std::string_view s) {
    bytes_.insert(bytes_.end(), s.begin(), s.end());
    ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  }
  void reserve(std::size_t n) { ends_.reserve(n); }
  [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::string_view operator[](std::size_t i) const noexcept {
    const std::size_t start = i == 0 ? 0 : ends_[i - 1];
    return {bytes_.data() + start, ends_[i] - start};
  }

 private:
  std::vector<char> bytes_;
  std::vector<std::uint32_t> ends_;
};

struct vocabulary {
  static constexpr std::size_t longest_text = 16'384;   ///< bytes of a token; merging looks at texts as long again and again
  string_arena texts;
  std::vector<token_kind> kinds;
  std::vector<float> scores;   ///< empty where the file has none
  text_index by_text;

  token_id bos = no_token, eos = no_token, eot = no_token, unk = no_token, pad = no_token;
  bool adds_bos = false, adds_eos = false, adds_space_prefix = false;
  bool strips_after_special = false;         ///< white space after special tokens is not part of the text (Phi 3)
  std::vector<token_id> end_of_generation;   ///< ascending
  std::vector<token_id> spoken;              ///< control tokens of the file that are part of what the model says: user_defined, but never what people type

  [[nodiscard]] std::size_t size() const noexcept { return texts.size(); }
  [[nodiscard]] bool has(token_id id) const noexcept { return id >= 0 && static_cast<std::size_t>(id) < size(); }

  /// Returns the token's text. Requires has(id).
  [[nodiscard]] std::string_view text(token_id id) const noexcept { return texts[static_cast<std::size_t>(id)]; }
  [[nodiscard]] token_kind kind(token_id id) const noexcept { return kinds[static_cast<std::size_t>(id)]; }

  [[nodiscard]] bool is_spoken(token_id id) const noexcept { return std::find(spoken.begin(), spoken.end(), id) != spoken.end(); }

  /// Returns whether white space after this special token is dropped.
  [[nodiscard]] bool swallows_space(token_id id) const noexcept {
    return strips_after_special && text(id) != "<unk>" && text(id) != "<s>" && text(id) != "<|endoftext|>";
  }

  [[nodiscard]] std::optional<token_id> find(std::string_view text) const noexcept {
    const auto found = by_text.find(text, [this](std::size_t i) { return texts[i]; });
    if (!found) return std::nullopt;
    return static_cast<token_id>(*found);
  }

  /// As find, but only what ordinary text may turn into: never a control, unknown or byte token.
  [[nodiscard]] std::optional<token_id> find_piece(std::string_view text) const noexcept {
    const auto id = find(text);
    if (!id || kind(*id) == token_kind::control || kind(*id) == token_kind::unknown || kind(*id) == token_kind::byte || is_spoken(*id)) return std::nullopt;
    return id;
  }
};

/// What a kind of tokenizer assumes where the metadata is silent.
struct vocabulary_defaults {
  token_id bos = no_token, eos = no_token, unk = no_token;
  bool adds_bos = false;
  bool adds_space_prefix = false;
  bool needs_scores = false;
  bool has_byte_tokens = false;   ///< <0xNN> is a byte even where the file calls no token one
};

[[nodiscard]] inline error vocabulary_error(errc code, std::string_view key, std::string_view message) {
  return {code, key, message};
}

/// Returns the byte that `text` names as <0xNN>, exactly two hexadecimal digits.
[[nodiscard]] constexpr std::optional<unsigned char> parse_byte_token(std::string_view text) noexcept {
  constexpr std::string_view digits = "0123456789ABCDEFabcdef";
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const std::size_t high = digits.find(text[3]), low = digits.find(text[4]);
  if (high == digits.npos || low == digits.npos) return std::nullopt;
  const auto value = [](std::size_t digit) { return digit < 16 ? digit : digit - 6; };
  return static_cast<unsigned char>(value(high) * 16 + value(low));
}

/// Returns the array under `key` if it has one of the two element types and `count` elements (any count: 0).
[[nodiscard]] inline result<gguf::array_view> token_array(const gguf::metadata& data, std::string_view key, std::size_t count, gguf::value_type type,
                                                          gguf::value_type other_type) {
  CRIA_TRY(const auto array, data.get<gguf::array_view>(key));
  if (array.element_type() != type && array.element_type() != other_type) {
    return vocabulary_error(errc::wrong_type, key, "has elements of " + std::string(name(array.element_type())) + ", not " + std::string(name(type)));
  }
  if (count != 0 && array.size() != count) {
    return vocabulary_error(errc::bad_value, key, std::to_string(array.size()) + " entries for " + std::to_string(count) + " tokens");
  }
  return array;
}

[[nodiscard]] inline result<void> load_texts(const gguf::metadata& data, vocabulary& vocab) {
  constexpr std::string_view key = "tokenizer.ggml.tokens";
  CRIA_TRY(const auto tokens, token_array(data, key, 0, gguf::value_type::string, gguf::value_type::string));
  if (tokens.size() == 0) return vocabulary_error(errc::bad_value, key, "no tokens");
  if (tokens.size() > std::size_t{1} << 29) return vocabulary_error(errc::limit_exceeded, key, "more than 2^29 tokens");
  std::size_t filled = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    filled += !tokens.string(i).empty();
    bytes += tokens.string(i).size();
  }
  if (bytes > std::numeric_limits<std::uint32_t>::max()) return vocabulary_error(errc::limit_exceeded, key, "more than 4 GiB of text");
  vocab.texts.reserve(tokens.size());
  vocab.by_text.reset(filled);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens.string(i).size() > vocabulary::longest_text) {
      return vocabulary_error(errc::limit_exceeded, key, "token " + std::to_string(i) + " has " + std::to_string(tokens.string(i).size()) + " bytes");
    }
    vocab.texts.push(tokens.string(i));
    if (!tokens.string(i).empty()) vocab.by_text.insert(tokens.string(i), i, [&](std::size_t n) { return vocab.texts[n]; });
  }
  return {};
}

/// Calls tokens by their texts bytes, where the file calls none so: it has no types, or comes of a converter that took all pieces for text.
inline void find_byte_tokens(vocabulary& vocab) {
  if (std::find(vocab.kinds.begin(), vocab.kinds.end(), token_kind::byte) != vocab.kinds.end()) return;
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    if (vocab.kinds[i] == token_kind::normal && parse_byte_token(vocab.texts[i])) vocab.kinds[i] = token_kind::byte;
  }
}

[[nodiscard]] inline result<void> load_kinds(const gguf::metadata& data, const vocabulary_defaults& defaults, vocabulary& vocab) {
  constexpr std::string_view key = "tokenizer.ggml.token_type";
  vocab.kinds.assign(vocab.size(), token_kind::normal);
  if (data.contains(key)) {
    CRIA_TRY(const auto types, token_array(data, key, vocab.size(), gguf::value_type::i32, gguf::value_type::u32));
    for (std::size_t i = 0; i < vocab.size(); ++i) {
      CRIA_TRY(const std::int64_t type, types.at<std::int64_t>(i));
      if (type < 0 || type > static_cast<int>(token_kind::byte)) {
        return vocabulary_error(errc::bad_value, key, "token " + std::to_string(i) + " has type " + std::to_string(type));
      }
      vocab.kinds[i] = static_cast<token_kind>(type);
      if (vocab.kinds[i] == token_kind::byte && !parse_byte_token(vocab.texts[i])) {
        return vocabulary_error(errc::bad_value, key, "token " + std::to_string(i) + ", \"" + printable(vocab.texts[i], 20) + "\", is no byte <0xNN>");
      }
    }
  }
  if (defaults.has_byte_tokens) find_byte_tokens(vocab);
  return {};
}

[[nodiscard]] inline result<void> load_scores(const gguf::metadata& data, const vocabulary_defaults& defaults, vocabulary& vocab) {
  constexpr std::string_view key = "tokenizer.ggml.scores";
  if (!defaults.needs_scores && !data.contains(key)) return {};
  CRIA_TRY(const auto scores, token_array(data, key, vocab.size(), gguf::value_type::f32, gguf::value_type::f32));
  if (!defaults.needs_scores) return {};
  CRIA_TRY(vocab.scores, scores.to_vector<float>());
  return {};
}

/// What 2^32 - 1 and -1, which stand for no id, and ids out of range come to.
enum class bad_id : std::uint8_t {
  refused,   ///< out of range: an error; no id: the default stays, as in llama.cpp
  none,      ///< no id either way: nothing stands in for the unknown token, least of all what happens to be token 0
};

/// Reads the id under `key` into `id`, which holds the default.
[[nodiscard]] inline result<void> load_id(const gguf::metadata& data, std::string_view key, const vocabulary& vocab, token_id& id,
                                          bad_id bad = bad_id::refused) {
  if (!vocab.has(id)) id = no_token;
  if (!data.contains(key)) return {};
  CRIA_TRY(const std::int64_t value, data.get<std::int64_t>(key));
  if (value >= 0 && static_cast<std::uint64_t>(value) < vocab.size()) {
    id = static_cast<token_id>(value);
  } else if (bad == bad_id::none) {
    id = no_token;
  } else if (value != -1 && value != std::numeric_limits<std::uint32_t>::max()) {
    return vocabulary_error(errc::bad_value, key, "token " + std::to_string(value) + " of " + std::to_string(vocab.size()));
  }
  return {};
}

/// Texts of tokens that end an answer; the first of them in a vocabulary is its end of turn where the metadata names none.
inline constexpr std::string_view turn_ends[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>", "[EOT]",
    // NOLINTNEXTLINE(bugprone-suspicious-missing-comma): parted, since an e would be read as one more digit of \x9c
    "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", "<end_of_utterance>"};
inline constexpr std::string_view other_ends[] = {
    "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "</s>", "<|eom_id|>", "[EOS]", "<eos>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>",
    "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>"};
/// Texts of control tokens that files may call normal.
inline constexpr std::string_view control_texts[] = {
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "\xe2\x96\x81<PRE>", "<|code_prefix|>", "<|prefix|>",
    "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "\xe2\x96\x81<SUF>", "<|code_suffix|>", "<|suffix|>",
    "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>", "\xe2\x96\x81<MID>", "<|code_middle|>", "<|middle|>"};
/// The harmony format's marks, which are part of what the model says.
inline constexpr std::string_view spoken_texts[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

/// Finds the tokens that end an answer by their texts, and sets the kinds of the tokens with known roles.
inline void load_roles(vocabulary& vocab, std::vector<token_id> ends) {
  const auto mark = [&](std::string_view text, bool ends_answer) {
    const auto id = vocab.find(text);
    if (!id || (text == "</s>" && vocab.find("<eos>"))) return;  // Gemma's: <eos> ends, </s> is a tag like others
    vocab.kinds[static_cast<std::size_t>(*id)] = token_kind::control;
    if (ends_answer) ends.push_back(*id);
  };
  for (std::string_view text : turn_ends) {
    mark(text, true);
    if (vocab.eot == no_token) vocab.eot = vocab.find(text).value_or(no_token);
  }
  for (std::string_view text : other_ends) mark(text, true);
  for (std::string_view text : control_texts) mark(text, false);
  const auto mark_spoken = [&](token_id id) {
    if (std::exchange(vocab.kinds[static_cast<std::size_t>(id)], token_kind::user_defined) == token_kind::control) vocab.spoken.push_back(id);
  };
  for (std::string_view text : spoken_texts) {
    if (const auto id = vocab.find(text)) mark_spoken(*id);
  }
  const bool harmony = vocab.find("<|call|>") && vocab.find("<|return|>");
  const bool solar = vocab.find("<|calls|>") && vocab.find("<|flush|>");
  if (const auto end = vocab.find("<|end|>"); end && (harmony || solar)) {  // ends a message there, not the answer
    std::erase(ends, *end);
    mark_spoken(*end);
    if (vocab.eot == *end) vocab.eot = no_token;
  }
  ends.insert(ends.end(), {vocab.eos, vocab.eot});
  std::erase(ends, no_token);
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  vocab.end_of_generation = std::move(ends);
}

/// Reads and checks all that both kinds of tokenizer need.
[[nodiscard]] inline result<vocabulary> load_vocabulary(const gguf::metadata& data, const vocabulary_defaults& defaults) {
  vocabulary vocab;
  CRIA_CHECK(load_texts(data, vocab));
  CRIA_CHECK(load_kinds(data, defaults, vocab));
  CRIA_CHECK(load_scores(data, defaults, vocab));

  vocab.bos = defaults.bos, vocab.eos = defaults.eos, vocab.unk = defaults.unk;
  token_id eom = no_token, fim_pad = no_token, fim_repo = no_token, fim_file = no_token;
  CRIA_CHECK(load_id(data, "tokenizer.ggml.bos_token_id", vocab, vocab.bos));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.eos_token_id", vocab, vocab.eos));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.eot_token_id", vocab, vocab.eot));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.eom_token_id", vocab, eom));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.unknown_token_id", vocab, vocab.unk, bad_id::none));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.padding_token_id", vocab, vocab.pad, bad_id::none));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.fim_pad_token_id", vocab, fim_pad, bad_id::none));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.fim_rep_token_id", vocab, fim_repo, bad_id::none));
  CRIA_CHECK(load_id(data, "tokenizer.ggml.fim_sep_token_id", vocab, fim_file, bad_id::none));
  load_roles(vocab, {eom, fim_pad, fim_repo, fim_file});

  CRIA_TRY(const bool adds_bos, data.get_or("tokenizer.ggml.add_bos_token", defaults.adds_bos));
  CRIA_TRY(const bool adds_eos, data.get_or("tokenizer.ggml.add_eos_token", false));
  CRIA_TRY(const bool space_prefix, data.get_or("tokenizer.ggml.add_space_prefix", defaults.adds_space_prefix));
  vocab.adds_bos = adds_bos && vocab.bos != no_token;
  vocab.adds_eos = adds_eos && vocab.eos != no_token;
  vocab.adds_space_prefix = space_prefix && defaults.adds_space_prefix;
  return vocab;
}

}  // namespace detail

}  // namespace cria::inline v0_1_0
