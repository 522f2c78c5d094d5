// SPDX-License-Identifier: MIT
// tokenizer/pre_tokenizer.hpp - how byte-level BPE cuts text into words before it merges within each.
//
// Each family is a regular expression of the model's authors, written out as code: linear time, constant stack. `\s`, `\p{..}` are Unicode's.
//
//   gpt2      's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//   smollm    every \p{N} alone, then gpt2 within the rest
//   falcon    [\p{P}$+<=>^~|`]+ apart, gpt2 within the rest, then [0-9]{3} apart
//   standard  [\p{P}$+<=>^~|]+ apart, gpt2 within the rest, then \p{N}+ apart, then [0-9]{3} apart
//   deepseek_coder   [\r\n] apart, then \s?\p{L}+, then \s?\p{P}+, then [\u0800-\u9fa5\uac00-\ud7ff]+, then \p{N}, each within what is left and what was found
//   llama3    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//   qwen2     llama3 with \p{N} instead of \p{N}{1,3}
//   seed_coder   qwen2 without the line breaks behind symbols
//   deepseek3    \p{N}{1,3} apart, then [\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+ apart, then within the rest
//                A[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+, A = ASCII punctuation and symbols
//   gpt4o     llama3 with words W(?i:'s|'t|'re|'ve|'m|'ll|'d)? that change from upper to lower case at most once, and [\r\n/]* after symbols:
//             W = [^\r\n\p{L}\p{N}]?U*D+|[^\r\n\p{L}\p{N}]?U+D*, U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], D = [\p{Ll}\p{Lm}\p{Lo}\p{M}]
//   tekken    gpt4o with W alone and \p{N}
//
// Ensures   the words joined are the text, whatever its bytes; a byte that is not UTF-8 is a symbol
// Errors    none (noexcept if the sink is)
// Source    the tokenizer.json files of GPT-2, StarCoder, SmolLM, Falcon, Llama 3, Qwen 2, GPT-4o (o200k_base), Mistral NeMo, DeepSeek Coder and V3, and
//           Seed-Coder; the names and which family each means: llama.cpp src/llama-vocab.cpp d32676d (August 2026)
#pragma once

#include <cria/core/config.hpp>
#include <cria/tokenizer/char_reader.hpp>
#include <cria/tokenizer/unicode.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cria::inline v0_1_0::detail {

enum class word_rule : std::uint8_t { gpt2, smollm, falcon, standard, deepseek_coder, deepseek3, llama3, qwen2, seed_coder, gpt4o, tekken };

/// What a value of `tokenizer.ggml.pre` means.
struct pre_tokenizer {
  std::string_view name;
  word_rule rule;
  bool whole_words_first = false;  ///< a word that is in the vocabulary is that token, whatever the merges say
  bool adds_bos = false;           ///< where the metadata does not say
};

inline constexpr pre_tokenizer pre_tokenizers[] = {
    {"default", word_rule::standard},
    {"gpt-2", word_rule::gpt2},
    {"phi-2", word_rule::gpt2},
    {"mpt", word_rule::gpt2},
    {"olmo", word_rule::gpt2},
    {"jais", word_rule::gpt2},
    {"trillion", word_rule::gpt2},
    {"granite-docling", word_rule::gpt2},
    {"exaone4", word_rule::gpt2},
    {"mellum", word_rule::gpt2},
    {"gigachat", word_rule::gpt2},
    {"a.x-4.0", word_rule::gpt2},
    {"jina-es", word_rule::gpt2},
    {"jina-de", word_rule::gpt2},
    {"modern-bert", word_rule::gpt2},
    {"smollm", word_rule::smollm},
    {"starcoder", word_rule::smollm},
    {"refact", word_rule::smollm},
    {"command-r", word_rule::smollm},
    {"codeshell", word_rule::smollm},
    {"exaone", word_rule::smollm},
    {"minerva-7b", word_rule::smollm},
    {"mellum2", word_rule::smollm},
    {"falcon", word_rule::falcon},
    {"deepseek-coder", word_rule::deepseek_coder},
    {"hunyuan-dense", word_rule::deepseek3},
    {"llama-bpe", word_rule::llama3, true, true},
    {"llama3", word_rule::llama3, true, true},
    {"llama-v3", word_rule::llama3, true, true},
    {"falcon3", word_rule::llama3, true, true},
    {"falcon-h1", word_rule::llama3, true, true},
    {"pixtral", word_rule::llama3, true, true},
    {"midm-2.0", word_rule::llama3, true, true},
    {"lfm2", word_rule::llama3, true, true},
    {"jina-v5-nano", word_rule::llama3, true, true},
    {"dbrx", word_rule::llama3},
    {"smaug-bpe", word_rule::llama3},
    {"glm4", word_rule::llama3},
    {"chatglm-bpe", word_rule::llama3},
    {"qwen2", word_rule::qwen2},
    {"deepseek-r1-qwen", word_rule::qwen2},
    {"stablelm2", word_rule::qwen2},
    {"megrez", word_rule::qwen2},
    {"hunyuan", word_rule::qwen2},
    {"grok-2", word_rule::qwen2},
    {"solar-open", word_rule::qwen2},
    {"kormo", word_rule::qwen2},
    {"f2llmv2", word_rule::qwen2},
    {"seed-coder", word_rule::seed_coder},
    {"gpt-4o", word_rule::gpt4o},
    {"llama4", word_rule::gpt4o},
    {"kanana2", word_rule::gpt4o},
    {"talkie", word_rule::gpt4o},
    {"minimax-m2", word_rule::gpt4o},
    {"tekken", word_rule::tekken, true, true},
};

/// Returns the row named `name`, or nullptr.
[[nodiscard]] constexpr const pre_tokenizer* find_pre_tokenizer(std::string_view name) noexcept {
  for (const pre_tokenizer& row : pre_tokenizers) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

/// Returns the end of the gpt2 word at `pos`.
[[nodiscard]] constexpr std::size_t gpt2_word(const char_reader& in, std::size_t pos) noexcept {
  if (const std::size_t end = skip_contraction(in, pos, false); end != pos) return end;
  const std::size_t start = pos + (in.at(pos).code == ' ' ? 1 : 0);
  const text_char c = in.at(start);
  if (c.letter()) return in.skip(start, [](text_char x) { return x.letter(); });
  if (c.number()) return in.skip(start, [](text_char x) { return x.number(); });
  if (c.symbol()) return in.skip(start, [](text_char x) { return x.symbol(); });
  return skip_spaces(in, pos);
}

/// Returns the end of [^\r\n\p{L}\p{N}]?\p{L}+ at `pos`, or `pos`.
[[nodiscard]] constexpr std::size_t llama3_letters(const char_reader& in, std::size_t pos) noexcept {
  const text_char c = in.at(pos);
  const std::size_t start = pos + (c.word_prefix() ? c.length : 0);
  const std::size_t end = in.skip(start, [](text_char x) { return x.letter(); });
  return end == start ? pos : end;
}

/// Returns the end of U*D+ at `pos`, or `pos`: where no lower-case letter follows the upper half, the last caseless character of it is D.
[[nodiscard]] constexpr std::size_t skip_lower_word(const char_reader& in, std::size_t pos) noexcept {
  std::size_t caseless_end = pos, end = pos;
  for (text_char c = in.at(pos); c.upper_half(); c = in.at(end)) {
    end += c.length;
    if (c.caseless()) caseless_end = end;
  }
  return in.at(end).lower_half() ? in.skip(end, [](text_char x) { return x.lower_half(); }) : caseless_end;
}

/// Returns the end of U+D* at `pos`, or `pos`.
[[nodiscard]] constexpr std::size_t skip_upper_word(const char_reader& in, std::size_t pos) noexcept {
  const std::size_t end = in.skip(pos, [](text_char x) { return x.upper_half(); });
  return end == pos ? pos : in.skip(end, [](text_char x) { return x.lower_half(); });
}

/// Returns the end of W at `pos`, or `pos`.
[[nodiscard]] constexpr std::size_t gpt4o_letters(const char_reader& in, std::size_t pos) noexcept {
  const text_char c = in.at(pos);
  const std::size_t after = pos + (c.word_prefix() ? c.length : 0);
  if (const std::size_t end = skip_lower_word(in, after); end != after) return end;
  if (const std::size_t end = skip_lower_word(in, pos); end != pos) return end;
  if (const std::size_t end = skip_upper_word(in, after); end != after) return end;
  return skip_upper_word(in, pos);
}

/// Returns the end of the llama3, qwen2, seed_coder, gpt4o or tekken word at `pos`.
[[nodiscard]] constexpr std::size_t llama3_word(const char_reader& in, std::size_t pos, word_rule rule) noexcept {
  const bool cased = rule == word_rule::gpt4o || rule == word_rule::tekken;
  if (!cased) {
    if (const std::size_t end = skip_contraction(in, pos, true); end != pos) return end;
  }
  const std::size_t letters = cased ? gpt4o_letters(in, pos) : llama3_letters(in, pos);
  if (letters != pos) return rule == word_rule::gpt4o ? skip_contraction(in, letters, true) : letters;

  if (in.at(pos).number()) {
    const std::size_t digits = rule == word_rule::llama3 || rule == word_rule::gpt4o ? 3 : 1;
    return in.skip(pos, [](text_char x) { return x.number(); }, digits);
  }
  const std::size_t start = pos + (in.at(pos).code == ' ' ? 1 : 0);
  if (in.at(start).symbol()) {
    const std::size_t end = in.skip(start, [](text_char x) { return x.symbol(); });
    if (rule == word_rule::seed_coder) return end;
    return in.skip(end, [cased](text_char x) { return x.newline() || (cased && x.code == '/'); });
  }
  if (const std::size_t end = skip_lines(in, pos); end != pos) return end;
  return skip_spaces(in, pos);
}

/// Returns the end of the deepseek3 word at `pos`. What is of no word, such as a control character, goes up to the next word.
[[nodiscard]] constexpr std::size_t deepseek3_word(const char_reader& in, std::size_t pos) noexcept {
  const auto is_mark = [](text_char c) { return c.kind == char_class::punctuation || c.kind == char_class::symbol; };
  const auto is_of_word = [](text_char c) { return c.letter() || c.kind == char_class::mark; };
  const auto word_end = [&](std::size_t at) {
    const text_char c = in.at(at);
    if (is_mark(c) && c.code < 128) {
      const std::size_t end = in.skip(at + 1, [](text_char x) { return x.code < 128 && x.letter(); });
      if (end != at + 1) return end;
    }
    const bool is_prefix = !c.newline() && !c.letter() && !is_mark(c);
    if (const std::size_t start = at + (is_prefix ? c.length : 0), end = in.skip(start, is_of_word); end != start) return end;
    if (const std::size_t end = in.skip(at, is_of_word); end != at) return end;
    const std::size_t start = at + (c.code == ' ' ? 1 : 0);
    if (const std::size_t end = in.skip(start, is_mark); end != start) return in.skip(end, [](text_char x) { return x.newline(); });
    if (const std::size_t end = skip_lines(in, at); end != at) return end;
    return skip_spaces(in, at);
  };
  if (const std::size_t end = word_end(pos); end != pos) return end;
  for (text_char c = in.at(pos); c.exists() && word_end(pos) == pos; c = in.at(pos)) pos += c.length;
  return pos;
}

/// Hands the text to `sink` word by word; `next` finds the end of the word at a position.
template <class Next, class Sink>
constexpr void split_with(std::string_view text, Next next, Sink&& sink) {
  const char_reader in(text);
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t end = next(in, pos);
    sink(text.substr(pos, end - pos));
    pos = end;
  }
}

/// Hands the runs of characters that satisfy `accept`, cut after `limit` of them, and what lies between them to `apart` and `between`.
template <class Accept, class Apart, class Between>
constexpr void split_runs(std::string_view text, Accept accept, std::size_t limit, Apart&& apart, Between&& between) {
  const char_reader in(text);
  for (std::size_t pos = 0; pos < text.size();) {
    if (const std::size_t end = in.skip(pos, accept, limit); end != pos) {
      apart(text.substr(pos, end - pos));
      pos = end;
    } else {
      const std::size_t gap_end = in.skip(pos, [&](text_char c) { return !accept(c); });
      between(text.substr(pos, gap_end - pos));
      pos = gap_end;
    }
  }
}

/// Hands every three ASCII digits in a row, and what lies between them, to `sink`.
template <class Sink>
constexpr void split_triples(std::string_view text, Sink&& sink) {
  std::size_t start = 0, digits = 0;
  for (std::size_t pos = 0; pos < text.size(); ++pos) {
    digits = text[pos] >= '0' && text[pos] <= '9' ? digits + 1 : 0;
    if (digits < 3) continue;
    if (start != pos - 2) sink(text.substr(start, pos - 2 - start));
    sink(text.substr(pos - 2, 3));
    start = pos + 1;
    digits = 0;
  }
  if (start != text.size()) sink(text.substr(start));
}

template <class Sink>
constexpr void split_gpt2(std::string_view text, Sink&& sink) {
  split_with(text, [](const char_reader& in, std::size_t pos) { return gpt2_word(in, pos); }, sink);
}

/// falcon and standard: punctuation and some symbols apart, `words` for what lies between.
template <class Sink, class Words>
constexpr void split_punctuation(std::string_view text, std::string_view symbols, Sink&& sink, Words&& words) {
  const auto accept = [symbols](text_char c) {
    return c.kind == char_class::punctuation || (c.code < 128 && symbols.find(static_cast<char>(c.code)) != symbols.npos);
  };
  split_runs(text, accept, no_run_limit, sink, [&](std::string_view part) { split_gpt2(part, words); });
}

/// Hands the runs of characters that satisfy `accept`, each with a white space before it if there is one, and what lies between them to `sink`.
template <class Accept, class Sink>
constexpr void split_spaced_runs(std::string_view text, Accept accept, Sink&& sink) {
  const char_reader in(text);
  std::size_t gap = 0;
  for (std::size_t pos = 0; pos < text.size();) {
    const text_char c = in.at(pos);
    const std::size_t start = pos + (c.space() ? c.length : 0), end = in.skip(start, accept);
    if (end == start) {
      pos += c.length;
      continue;
    }
    if (gap != pos) sink(text.substr(gap, pos - gap));
    sink(text.substr(pos, end - pos));
    gap = pos = end;
  }
  if (gap != text.size()) sink(text.substr(gap));
}

template <class Sink>
constexpr void split_deepseek_coder(std::string_view text, Sink&& sink) {
  const auto is_eastern = [](text_char c) { return (c.code >= 0x800 && c.code <= 0x9fa5) || (c.code >= 0xac00 && c.code <= 0xd7ff); };
  const auto numbers = [&](std::string_view part) { split_runs(part, [](text_char c) { return c.number(); }, 1, sink, sink); };
  const auto eastern = [&](std::string_view part) { split_runs(part, is_eastern, no_run_limit, numbers, numbers); };
  const auto punctuation = [&](std::string_view part) { split_spaced_runs(part, [](text_char c) { return c.kind == char_class::punctuation; }, eastern); };
  const auto letters = [&](std::string_view part) { split_spaced_runs(part, [](text_char c) { return c.letter(); }, punctuation); };
  split_runs(text, [](text_char c) { return c.newline(); }, 1, letters, letters);
}

template <class Sink>
constexpr void split_deepseek3(std::string_view text, Sink&& sink) {
  const auto is_eastern = [](text_char c) { return (c.code >= 0x4e00 && c.code <= 0x9fa5) || (c.code >= 0x3040 && c.code <= 0x30ff); };
  const auto words = [&](std::string_view part) {
    split_with(part, [](const char_reader& in, std::size_t pos) { return deepseek3_word(in, pos); }, sink);
  };
  const auto eastern = [&](std::string_view part) { split_runs(part, is_eastern, no_run_limit, sink, words); };
  split_runs(text, [](text_char c) { return c.number(); }, 3, sink, eastern);
}

/// Hands `text` to `sink`, word by word.
template <class Sink>
constexpr void split_words(std::string_view text, word_rule rule, Sink&& sink) {
  const auto is_number = [](text_char c) { return c.number(); };
  const auto triples = [&](std::string_view word) { split_triples(word, sink); };
  switch (rule) {
    case word_rule::gpt2: return split_gpt2(text, sink);
    case word_rule::smollm: return split_runs(text, is_number, 1, sink, [&](std::string_view part) { split_gpt2(part, sink); });
    case word_rule::falcon: return split_punctuation(text, "$+<=>^~|`", sink, triples);
    case word_rule::standard:
      return split_punctuation(text, "$+<=>^~|", sink, [&](std::string_view word) { split_runs(word, is_number, no_run_limit, triples, triples); });
    case word_rule::deepseek_coder: return split_deepseek_coder(text, sink);
    case word_rule::deepseek3: return split_deepseek3(text, sink);
    case word_rule::llama3:
    case word_rule::qwen2:
    case word_rule::seed_coder:
    case word_rule::gpt4o:
    case word_rule::tekken: break;
  }
  split_with(text, [rule](const char_reader& in, std::size_t pos) { return llama3_word(in, pos, rule); }, sink);
}

}  // namespace cria::inline v0_1_0::detail
