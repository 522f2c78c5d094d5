// SPDX-License-Identifier: MIT
// tokenizer/spm.hpp - SentencePiece-style BPE: neighbours join where the joined text is a token, the best score first; what is left becomes bytes.
//
//   "Hi you"  ->  |_|H|i|_|y|o|u|  ->  |_Hi|_you|        _ is U+2581, a space; the first one is the space prefix
//
// Ensures   every byte of the text is in the tokens: as a piece, as a byte token <0xNN>, or, where the vocabulary has none, as the unknown token
// Errors    encode: bad_value (a character that the vocabulary cannot express), limit_exceeded (a text of over 1 GiB)
// Threads   immutable; a merge_list per thread
// Source    SentencePiece (arXiv 1808.06226, github.com/google/sentencepiece); equal to llama.cpp d32676d for valid UTF-8
#pragma once

#include <cria/core/bit_cast.hpp>
#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/tokenizer/merge.hpp>
#include <cria/tokenizer/unicode.hpp>
#include <cria/tokenizer/vocabulary.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::detail {

inline constexpr std::string_view spm_space = "\xe2\x96\x81";

/// Appends `text` with U+2581 for every space.
inline void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == ' ') {
      out += spm_space;
    } else {
      out += c;
    }
  }
}

/// Appends `text` with a space for every U+2581.
inline void append_unescaped(std::string& out, std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    const bool space = text.substr(pos).starts_with(spm_space);
    out += space ? ' ' : text[pos];
    pos += space ? spm_space.size() : 1;
  }
}

class spm {
 public:
  static constexpr vocabulary_defaults defaults = {
      .bos = 1, .eos = 2, .unk = 0, .adds_bos = true, .adds_space_prefix = true, .needs_scores = true, .has_byte_tokens = true};

  spm() = default;
  explicit spm(const vocabulary& vocab) : orders_(vocab.size()) {
    byte_tokens_.fill(no_token);
    for (std::size_t i = vocab.size(); i-- > 0;) {  // downwards: the first of equals stays
      const std::string_view text = vocab.texts[i];
      orders_[i] = order_of(vocab.scores[i]);
      if (const auto byte = parse_byte_token(text); byte && vocab.kinds[i] == token_kind::byte) byte_tokens_[*byte] = static_cast<token_id>(i);
      if (vocab.find_piece(text)) {
        longest_ = std::max(longest_, text.size());
        spaces_inside_ = spaces_inside_ || has_space_inside(text);
      }
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char raw = static_cast<char>(byte);
      if (byte_tokens_[byte] == no_token) byte_tokens_[byte] = vocab.find_piece({&raw, 1}).value_or(no_token);
    }
  }

  /// Appends the bytes that the token stands for.
  static void append_piece(std::string& out, const vocabulary& vocab, token_id id) {
    const auto byte = vocab.kind(id) == token_kind::byte ? parse_byte_token(vocab.text(id)) : std::nullopt;
    if (byte) {
      out += static_cast<char>(*byte);
    } else {
      append_unescaped(out, vocab.text(id));
    }
  }

  /// Appends the tokens of `text`, which holds no special tokens. Requires the vocabulary of the constructor.
  [[nodiscard]] result<void> encode(const vocabulary& vocab, std::string_view text, merge_list& parts, std::vector<token_id>& out) const {
    std::string escaped(vocab.adds_space_prefix ? spm_space : std::string_view{});
    append_escaped(escaped, text);
    if (escaped.size() > merge_list::max_length) return vocabulary_error(errc::limit_exceeded, "text", "more than 1 GiB between two special tokens");
    for (std::size_t start = 0; start < escaped.size();) {
      const std::size_t end = spaces_inside_ ? escaped.size() : end_of_word(escaped, start);
      CRIA_CHECK(encode_word(vocab, std::string_view(escaped).substr(start, end - start), parts, out));
      start = end;
    }
    return {};
  }

 private:
  /// Returns an integer that is smaller for better scores; NaN is the worst.
  [[nodiscard]] static std::uint32_t order_of(float score) noexcept {
    if (std::isnan(score)) return ~std::uint32_t{0};
    const auto bits = bit_cast<std::uint32_t>(score + 0.0f);  // + 0: no negative zero
    return bits >> 31 != 0 ? bits : 0x7fffffffu - bits;
  }

  /// Returns whether a space follows something else in `text`. Without such tokens no merge crosses the beginning of a word.
  [[nodiscard]] static bool has_space_inside(std::string_view text) noexcept {
    while (text.starts_with(spm_space)) text.remove_prefix(spm_space.size());
    return text.find(spm_space) != text.npos;
  }

  /// Returns where the next space after a non-space begins, from `start` on.
  [[nodiscard]] static std::size_t end_of_word(std::string_view text, std::size_t start) noexcept {
    while (text.substr(start).starts_with(spm_space)) start += spm_space.size();
    return std::min(text.find(spm_space, start), text.size());
  }

  [[nodiscard]] result<void> encode_word(const vocabulary& vocab, std::string_view word, merge_list& parts, std::vector<token_id>& out) const {
    parts.clear();
    for (std::size_t pos = 0; pos < word.size();) {
      const std::size_t length = decode_utf8(word, pos).length;
      parts.push(pos, length, no_token);
      pos += length;
    }
    parts.run([&](const merge_part& left, const merge_part& right) -> std::optional<merge_step> {
      const std::size_t length = std::size_t{left.length} + right.length;
      if (length > longest_) return std::nullopt;
      const auto id = vocab.find_piece(word.substr(left.start, length));
      if (!id) return std::nullopt;
      return merge_step{orders_[static_cast<std::size_t>(*id)], *id};
    });
    result<void> done;
    parts.for_each([&](const merge_part& part) {
      if (done) done = emit(vocab, word.substr(part.start, part.length), part.symbol, out);
    });
    return done;
  }

  /// Appends the token of a part: itself, the token of its one character, bytes, or the unknown token.
  [[nodiscard]] result<void> emit(const vocabulary& vocab, std::string_view text, token_id merged, std::vector<token_id>& out) const {
    const token_id id = merged != no_token ? merged : vocab.find_piece(text).value_or(no_token);
    if (id != no_token) {
      out.push_back(id);
      return {};
    }
    const auto byte_token = [this](char c) { return byte_tokens_[static_cast<unsigned char>(c)]; };
    if (std::none_of(text.begin(), text.end(), [&](char c) { return byte_token(c) == no_token; })) {
      for (const char c : text) out.push_back(byte_token(c));
      return {};
    }
    if (vocab.unk == no_token) {
      return vocabulary_error(errc::bad_value, "text", "the vocabulary has neither \"" + printable(text) + "\" nor bytes nor an unknown token");
    }
    out.push_back(vocab.unk);
    return {};
  }

  std::vector<std::uint32_t> orders_;  // by token
  std::array<token_id, 256> byte_tokens_{};
  std::size_t longest_ = 0;             // bytes of the longest piece
  bool spaces_inside_ = false;
};

}  // namespace cria::inline v0_1_0::detail
