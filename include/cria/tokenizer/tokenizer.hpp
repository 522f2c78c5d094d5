// SPDX-License-Identifier: MIT
// tokenizer/tokenizer.hpp - text to tokens and back, for the models of llama.cpp's kinds "llama" (SentencePiece) and "gpt2" (byte-level BPE).
//
// Ensures   decode(encode(x)) == x for any bytes, provided that the vocabulary has all bytes, no control token is parsed and, for "llama", x contains no
//           U+2581 (which SentencePiece reads as a space). Time O(n log n), no recursion. Nothing of the file is needed after from_metadata.
// Errors    from_metadata: missing_key, wrong_type, bad_value, limit_exceeded, unsupported_tokenizer, out_of_memory; encode: bad_value (a character
//           that the vocabulary cannot express at all), limit_exceeded (over 1 GiB), out_of_memory
// Threads   immutable after from_metadata, shared freely
// Lifetime  returned views are valid until the tokenizer is moved or destroyed
// Source    see spm.hpp, byte_bpe.hpp, pre_tokenizer.hpp, vocabulary.hpp
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/tokenizer/text_range.hpp>
#include <cria/tokenizer/vocabulary.hpp>
#if CRIA_HAS_DEFINITIONS
#include <cria/tokenizer/byte_bpe.hpp>
#include <cria/tokenizer/merge.hpp>
#include <cria/tokenizer/pre_tokenizer.hpp>
#include <cria/tokenizer/special_matcher.hpp>
#include <cria/tokenizer/spm.hpp>
#include <variant>
#endif

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// How a text becomes tokens.
struct encode_options {
  bool add_bos = true;        ///< add BOS if the metadata says so; false: never
  bool parse_special = true;  ///< control tokens that are written in the text become tokens; false: they stay text, as for what users type
  bool add_eos = true;        ///< add EOS if the metadata says so; false: never
};

class tokenizer {
 public:
  /// Reads `tokenizer.ggml.*`. The file is not needed afterwards.
  [[nodiscard]] static result<tokenizer> from_metadata(const gguf::metadata& data);

  [[nodiscard]] std::size_t vocab_size() const noexcept { return vocab_.size(); }

  /// Returns the tokens of `text`, which may be any bytes. User-defined tokens in it are recognised whatever the options say.
  [[nodiscard]] result<std::vector<token_id>> encode(std::string_view text, encode_options options = {}) const;

  /// As above, for a text with foreign parts, in which control tokens stay text whatever the options say. Otherwise the foreign parts are merged with the rest
  /// as one text. Requires ranges inside the text that are ascending and do not overlap.
  [[nodiscard]] result<std::vector<token_id>> encode(std::string_view text, std::span<const text_range> foreign, encode_options options) const;

  /// Returns the text of `tokens`. Control and unknown tokens are left out, or, with render_special, written as in the vocabulary. Where encode adds a space
  /// (at the beginning and after special tokens, if adds_space_prefix()), one is removed. Ids out of range are ignored.
  [[nodiscard]] std::string decode(std::span<const token_id> tokens, bool render_special = false) const;

  /// Returns the bytes that the token adds to a text: none for control and unknown tokens, and for ids out of range.
  [[nodiscard]] std::string_view piece(token_id id) const noexcept {
    return vocab_.has(id) ? pieces_[static_cast<std::size_t>(id)] : std::string_view{};
  }
  /// Returns the size of the longest piece, in bytes.
  [[nodiscard]] std::size_t longest_piece() const noexcept { return longest_piece_; }
  /// Returns a quick lower bound for the number of tokens of a text. White space may vanish after special tokens; everything else is in a token.
  [[nodiscard]] std::size_t fewest_tokens(std::string_view text) const noexcept {
    const auto n_blank = std::count_if(text.begin(), text.end(), [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); });
    return (text.size() - static_cast<std::size_t>(n_blank)) / std::max<std::size_t>(1, longest_token_);
  }
  /// Returns the token as the vocabulary writes it; empty for ids out of range.
  [[nodiscard]] std::string_view token_text(token_id id) const noexcept { return vocab_.has(id) ? vocab_.text(id) : std::string_view{}; }
  [[nodiscard]] token_kind kind(token_id id) const noexcept { return vocab_.has(id) ? vocab_.kind(id) : token_kind::undefined; }
  /// Returns the first token that has this text in the vocabulary.
  [[nodiscard]] std::optional<token_id> find(std::string_view token_text) const noexcept { return vocab_.find(token_text); }

  [[nodiscard]] token_id bos() const noexcept { return vocab_.bos; }
  [[nodiscard]] token_id eos() const noexcept { return vocab_.eos; }
  [[nodiscard]] token_id eot() const noexcept { return vocab_.eot; }
  [[nodiscard]] token_id unk() const noexcept { return vocab_.unk; }
  [[nodiscard]] token_id pad() const noexcept { return vocab_.pad; }
  /// Returns whether this token ends a model's answer.
  [[nodiscard]] bool is_end_of_generation(token_id id) const noexcept {
    return std::binary_search(vocab_.end_of_generation.begin(), vocab_.end_of_generation.end(), id);
  }
  [[nodiscard]] std::span<const token_id> end_of_generation() const noexcept { return vocab_.end_of_generation; }
  [[nodiscard]] bool adds_bos() const noexcept { return vocab_.adds_bos; }
  [[nodiscard]] bool adds_eos() const noexcept { return vocab_.adds_eos; }
  [[nodiscard]] bool adds_space_prefix() const noexcept { return vocab_.adds_space_prefix; }
  /// Returns the kind of tokenizer: "llama" or "gpt2".
  [[nodiscard]] std::string_view model() const noexcept;

 private:
  tokenizer() = default;

  /// Returns whether tokens of this kind have no text of their own.
  [[nodiscard]] static bool is_silent(token_kind kind) noexcept { return kind == token_kind::control || kind == token_kind::unknown; }
  /// Returns whether tokens of this kind are matched in the text before anything is merged.
  [[nodiscard]] static bool is_special(token_kind kind) noexcept { return is_silent(kind) || kind == token_kind::user_defined; }

  /// Returns whether encode looks for the token in the text. A token that contains U+2581, or is too long, is made by merging, whatever its kind.
  [[nodiscard]] bool is_matched(token_id id) const noexcept;

  [[nodiscard]] static result<tokenizer> load(const gguf::metadata& data);

  /// Returns whether white space after special tokens is dropped, as by Phi 3's vocabulary. No key says so, only the model's name or family.
  [[nodiscard]] static bool is_phi3(const gguf::metadata& data, std::string_view model) {
    std::string name = data.get<std::string>("general.name").value_or("");
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    const std::string_view family = data.get<std::string_view>("general.architecture").value_or(std::string_view{});
    return name.find("phi3") != name.npos || name.find("phi-3") != name.npos || (family == "phi3" && model == "llama");
  }

  void prepare();

  /// Cuts the text at special tokens, and encodes what lies between two of them on its own.
  [[nodiscard]] result<std::vector<token_id>> encode_fragments(std::string_view text, std::span<const text_range> foreign, encode_options options) const;

  struct encoder;

  detail::vocabulary vocab_;
  detail::string_arena pieces_;
  std::size_t longest_piece_ = 0, longest_token_ = 0;
  std::shared_ptr<encoder> encoder_;
};

#if CRIA_HAS_DEFINITIONS

/// What encoding takes beside the vocabulary.
struct tokenizer::encoder {
  std::variant<detail::spm, detail::byte_bpe> model;
  detail::special_matcher special, user_defined;

  [[nodiscard]] result<void> encode(const detail::vocabulary& vocab, std::string_view text, detail::merge_list& parts, std::vector<token_id>& out) const {
    if (const auto* spm = std::get_if<detail::spm>(&model)) return spm->encode(vocab, text, parts, out);
    return std::get_if<detail::byte_bpe>(&model)->encode(vocab, text, parts, out);
  }
};

CRIA_INLINE result<tokenizer> tokenizer::from_metadata(const gguf::metadata& data) {
  return catch_bad_alloc([&] { return load(data); }, "tokenizer");
}

CRIA_INLINE result<std::vector<token_id>> tokenizer::encode(std::string_view text, encode_options options) const {
  const text_range whole{0, text.size()};
  return catch_bad_alloc([&] { return encode_fragments(text, std::span(&whole, options.parse_special ? 0 : 1), options); }, "text");
}

CRIA_INLINE result<std::vector<token_id>> tokenizer::encode(std::string_view text, std::span<const text_range> foreign, encode_options options) const {
  if (!options.parse_special) return encode(text, options);
  return catch_bad_alloc([&] { return encode_fragments(text, foreign, options); }, "text");
}

CRIA_INLINE std::string tokenizer::decode(std::span<const token_id> tokens, bool render_special) const {
  std::string out;
  bool after_special = true;
  for (const token_id id : tokens) {
    if (!vocab_.has(id)) continue;
    const bool special = is_matched(id);
    std::string_view text = render_special && is_silent(vocab_.kind(id)) ? token_text(id) : piece(id);
    if (after_special && !special && vocab_.adds_space_prefix && text.starts_with(' ')) text.remove_prefix(1);
    out += text;
    after_special = special;
  }
  return out;
}

CRIA_INLINE std::string_view tokenizer::model() const noexcept { return std::holds_alternative<detail::spm>(encoder_->model) ? "llama" : "gpt2"; }

CRIA_INLINE bool tokenizer::is_matched(token_id id) const noexcept {
  const std::string_view text = vocab_.text(id);
  const bool plain = text.size() <= detail::special_matcher::max_length && text.find(detail::spm_space) == text.npos;
  return is_silent(vocab_.kind(id)) || (vocab_.kind(id) == token_kind::user_defined && plain);
}

CRIA_INLINE result<tokenizer> tokenizer::load(const gguf::metadata& data) {
  CRIA_TRY(const std::string_view model, data.get<std::string_view>("tokenizer.ggml.model"));
  tokenizer t;
  t.encoder_ = std::make_shared<encoder>();
  if (model == "llama") {
    CRIA_TRY(t.vocab_, detail::load_vocabulary(data, detail::spm::defaults));
    t.encoder_->model.emplace<detail::spm>(t.vocab_);
  } else if (model == "gpt2") {
    CRIA_TRY(const std::string_view name, data.get_or<std::string_view>("tokenizer.ggml.pre", "default"));
    const detail::pre_tokenizer* pre = detail::find_pre_tokenizer(name);
    if (pre == nullptr) return detail::vocabulary_error(errc::unsupported_tokenizer, "tokenizer.ggml.pre", "\"" + printable(name) + "\"");
    detail::vocabulary_defaults defaults = detail::byte_bpe::defaults;
    defaults.adds_bos = pre->adds_bos;
    CRIA_TRY(t.vocab_, detail::load_vocabulary(data, defaults));
    CRIA_TRY(t.encoder_->model, detail::byte_bpe::make(data, t.vocab_, *pre));
  } else {
    return detail::vocabulary_error(errc::unsupported_tokenizer, "tokenizer.ggml.model", "\"" + printable(model) + "\"");
  }
  t.vocab_.strips_after_special = is_phi3(data, t.model());
  t.prepare();
  return t;
}

CRIA_INLINE void tokenizer::prepare() {
  std::string piece;
  pieces_.reserve(vocab_.size());
  for (token_id id = 0; vocab_.has(id); ++id) {
    piece.clear();
    if (!is_silent(vocab_.kind(id))) {
      model() == "llama" ? detail::spm::append_piece(piece, vocab_, id) : detail::byte_bpe::append_piece(piece, vocab_, id);
    }
    pieces_.push(piece);
    longest_piece_ = std::max(longest_piece_, piece.size());
    longest_token_ = std::max({longest_token_, piece.size(), vocab_.text(id).size()});
  }
  encoder_->special = detail::special_matcher(vocab_, [this](token_id id) { return is_special(vocab_.kind(id)); });
  encoder_->user_defined =
      detail::special_matcher(vocab_, [this](token_id id) { return vocab_.kind(id) == token_kind::user_defined && !vocab_.is_spoken(id); });
}

CRIA_INLINE result<std::vector<token_id>> tokenizer::encode_fragments(std::string_view text, std::span<const text_range> foreign,
                                                                      encode_options options) const {
  std::vector<token_id> out;
  out.reserve(text.size() / 3 + 2);
  if (options.add_bos && vocab_.adds_bos) out.push_back(vocab_.bos);
  detail::special_walk walk(vocab_, {encoder_->special, encoder_->user_defined}, text, foreign);
  detail::merge_list parts;
  for (std::size_t pos = 0; pos < text.size();) {
    const auto special = walk.next(pos);
    const std::size_t end = special ? special->start : text.size();
    if (end != pos) CRIA_CHECK(encoder_->encode(vocab_, text.substr(pos, end - pos), parts, out));
    pos = end;
    if (!special) continue;
    out.push_back(special->token);
    pos += special->length;
    if (vocab_.swallows_space(special->token)) pos = std::min(text.find_first_not_of(" \t\n\v\f\r", pos), text.size());
  }
  if (options.add_eos && vocab_.adds_eos) out.push_back(vocab_.eos);
  return out;
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
