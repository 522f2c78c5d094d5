// SPDX-License-Identifier: MIT
// tokenizer/byte_bpe.hpp - byte-level BPE: words by a pre-tokenizer, then the bytes of each joined by a list of merges, the first in the list first.
//
//   "Hi you"  ->  "Hi", " you"  ->  |H|i|, |_|y|o|u|  ->  |Hi|, |_you|        _ is U+0120, which stands for the space in the byte alphabet
//
// Ensures   every byte of the text is in the tokens, or, where the vocabulary lacks it, becomes the unknown token or U+FFFD
// Errors    make: missing_key, wrong_type, bad_value (merges without two sides), unsupported_tokenizer; encode: bad_value, limit_exceeded
// Threads   immutable; a merge_list per thread
// Source    GPT-2 (Radford et al. 2019; github.com/openai/gpt-2, encoder.py); equal to llama.cpp d32676d for valid UTF-8 of bytes that the vocabulary has
//           (which writes nothing for the others)
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/text_index.hpp>
#include <cria/core/types.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/tokenizer/merge.hpp>
#include <cria/tokenizer/pre_tokenizer.hpp>
#include <cria/tokenizer/unicode.hpp>
#include <cria/tokenizer/vocabulary.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// A hash table from two symbols to the step that joins them, keyed so that a file cannot be made whose pairs collide on purpose.
class merge_table {
 public:
  /// Adds the pair unless it is there already.
  void insert(std::int32_t left, std::int32_t right, merge_step step) {
    if (used_ * 2 >= slots_.size()) grow();
    slot& s = slots_[position(left, right)];
    if (s.left != no_token) return;
    s = {left, right, step};
    ++used_;
  }

  [[nodiscard]] std::optional<merge_step> find(std::int32_t left, std::int32_t right) const noexcept {
    if (slots_.empty()) return std::nullopt;
    const slot& s = slots_[position(left, right)];
    if (s.left == no_token) return std::nullopt;
    return s.step;
  }

 private:
  struct slot {
    std::int32_t left = no_token, right = no_token;
    merge_step step{};
  };

  /// Returns the pair's slot, or the empty one where it belongs. Requires an empty slot.
  [[nodiscard]] std::size_t position(std::int32_t left, std::int32_t right) const noexcept {
    const std::uint64_t pair = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
    std::size_t at = static_cast<std::size_t>(mix_bits(pair ^ key_)) & (slots_.size() - 1);
    while (slots_[at].left != no_token && (slots_[at].left != left || slots_[at].right != right)) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  void grow() {
    std::vector<slot> old(slots_.empty() ? 1024 : slots_.size() * 2);
    old.swap(slots_);
    key_ = make_hash_key(slots_.data());
    for (const slot& s : old) {
      if (s.left != no_token) slots_[position(s.left, s.right)] = s;
    }
  }

  std::vector<slot> slots_;  // a power of two of them, at most half in use
  std::size_t used_ = 0;
  std::uint64_t key_ = 0;
};

/// Texts that merges make but the vocabulary lacks; their symbols follow the tokens'.
class extra_symbols {
 public:
  [[nodiscard]] std::optional<std::size_t> find(std::string_view text) const noexcept { return index_.find(text, text_of{texts_}); }
  [[nodiscard]] std::string_view operator[](std::size_t i) const noexcept { return texts_[i]; }

  /// Returns the number of `text`, new or not.
  std::size_t add(std::string_view text) {
    if (const auto known = find(text)) return *known;
    if (texts_.size() == room_) {
      room_ = room_ * 2 + 256;
      index_.reset(room_);
      for (std::size_t i = 0; i < texts_.size(); ++i) index_.insert(texts_[i], i, text_of{texts_});
    }
    texts_.push(text);
    index_.insert(text, texts_.size() - 1, text_of{texts_});
    return texts_.size() - 1;
  }

 private:
  struct text_of {
    const string_arena& texts;
    std::string_view operator()(std::size_t i) const noexcept { return texts[i]; }
  };

  string_arena texts_;
  text_index index_;
  std::size_t room_ = 0;
};

class byte_bpe {
 public:
  static constexpr vocabulary_defaults defaults = {};

  byte_bpe() = default;

  [[nodiscard]] static result<byte_bpe> make(const gguf::metadata& data, const vocabulary& vocab, const pre_tokenizer& pre) {
    byte_bpe bpe;
    bpe.rule_ = pre.rule;
    bpe.whole_words_first_ = pre.whole_words_first;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      std::string letter;
      append_utf8(letter, byte_alphabet[byte]);
      bpe.byte_symbols_[byte] = bpe.make_symbol(vocab, letter);
    }
    CRIA_CHECK(bpe.load_merges(data, vocab));
    bpe.replacement_ = bpe.find_replacement(vocab);
    return bpe;
  }

  /// Appends the bytes that the token stands for.
  static void append_piece(std::string& out, const vocabulary& vocab, token_id id) {
    const auto byte = vocab.kind(id) == token_kind::byte ? parse_byte_token(vocab.text(id)) : std::nullopt;
    if (byte) {
      out += static_cast<char>(*byte);
    } else if (vocab.kind(id) == token_kind::user_defined) {
      out += vocab.text(id);
    } else {
      append_from_byte_alphabet(out, vocab.text(id));
    }
  }

  /// Appends the tokens of `text`, which holds no special tokens. Requires the vocabulary of make().
  [[nodiscard]] result<void> encode(const vocabulary& vocab, std::string_view text, merge_list& parts, std::vector<token_id>& out) const {
    if (text.size() > merge_list::max_length) return vocabulary_error(errc::limit_exceeded, "text", "more than 1 GiB between two special tokens");
    result<void> done;
    std::string letters;
    split_words(text, rule_, [&](std::string_view word) {
      if (!done) return;
      if (whole_words_first_) {
        letters.clear();
        for (const char c : word) append_utf8(letters, byte_alphabet[static_cast<unsigned char>(c)]);
        if (const auto id = vocab.find_piece(letters)) return out.push_back(*id);
      }
      done = encode_word(vocab, word, parts, out);
    });
    return done;
  }

 private:
  [[nodiscard]] std::optional<std::int32_t> find_symbol(const vocabulary& vocab, std::string_view text) const noexcept {
    if (const auto id = vocab.find_piece(text)) return *id;
    if (const auto extra = extras_.find(text)) return static_cast<std::int32_t>(vocab.size() + *extra);
    return std::nullopt;
  }

  [[nodiscard]] std::int32_t make_symbol(const vocabulary& vocab, std::string_view text) {
    if (const auto id = vocab.find_piece(text)) return *id;
    return static_cast<std::int32_t>(vocab.size() + extras_.add(text));
  }

  [[nodiscard]] result<void> load_merges(const gguf::metadata& data, const vocabulary& vocab) {
    constexpr std::string_view key = "tokenizer.ggml.merges";
    CRIA_TRY(const auto merges, token_array(data, key, 0, gguf::value_type::string, gguf::value_type::string));
    if (merges.size() > std::size_t{1} << 30) return vocabulary_error(errc::limit_exceeded, key, "over 2^30 entries");
    std::string joined;
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
      const std::string_view merge = merges.string(rank);
      const std::size_t space = merge.find(' ', 1);
      if (space == merge.npos || space + 1 == merge.size()) {
        return vocabulary_error(errc::bad_value, key, "entry " + std::to_string(rank) + ", \"" + printable(merge, 40) + "\", has no two sides");
      }
      const auto left = find_symbol(vocab, merge.substr(0, space));
      const auto right = find_symbol(vocab, merge.substr(space + 1));
      if (!left || !right) continue;  // a side that no text and no earlier merge can make
      joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
      merges_.insert(*left, *right, {static_cast<std::uint32_t>(rank), make_symbol(vocab, joined)});
    }
    return {};
  }

  /// Returns what a byte that is no token becomes: the unknown token; if that steers the model, U+FFFD where it can be written. Nothing: an error.
  [[nodiscard]] std::vector<token_id> find_replacement(const vocabulary& vocab) const {
    std::vector<token_id> tokens;
    merge_list parts;
    const bool has_unknown = vocab.has(vocab.unk);
    if ((!has_unknown || vocab.kind(vocab.unk) == token_kind::control) && encode_word(vocab, "\xef\xbf\xbd", parts, tokens)) return tokens;
    return has_unknown ? std::vector<token_id>{vocab.unk} : std::vector<token_id>{};
  }

  [[nodiscard]] result<void> encode_word(const vocabulary& vocab, std::string_view word, merge_list& parts, std::vector<token_id>& out) const {
    parts.clear();
    for (std::size_t i = 0; i < word.size(); ++i) parts.push(i, 1, byte_symbols_[static_cast<unsigned char>(word[i])]);
    parts.run([this](const merge_part& left, const merge_part& right) { return merges_.find(left.symbol, right.symbol); });
    result<void> done;
    parts.for_each([&](const merge_part& part) {
      if (vocab.has(part.symbol)) return out.push_back(part.symbol);
      for (const char c : word.substr(part.start, part.length)) {  // made by merges, but no token
        if (done) done = emit_byte(vocab, static_cast<unsigned char>(c), out);
      }
    });
    return done;
  }

  [[nodiscard]] result<void> emit_byte(const vocabulary& vocab, unsigned char byte, std::vector<token_id>& out) const {
    if (vocab.has(byte_symbols_[byte])) {
      out.push_back(byte_symbols_[byte]);
    } else if (!replacement_.empty()) {
      out.insert(out.end(), replacement_.begin(), replacement_.end());
    } else {
      return vocabulary_error(errc::bad_value, "text", "the vocabulary has neither the byte " + std::to_string(byte) + " nor an unknown token");
    }
    return {};
  }

  word_rule rule_ = word_rule::gpt2;
  bool whole_words_first_ = false;
  std::array<std::int32_t, 256> byte_symbols_{};
  merge_table merges_;
  extra_symbols extras_;
  std::vector<token_id> replacement_;
};

}  // namespace cria::inline v0_1_0::detail
