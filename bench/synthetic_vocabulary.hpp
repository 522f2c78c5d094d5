// SPDX-License-Identifier: MIT
// bench/synthetic_vocabulary.hpp - a made-up SentencePiece vocabulary, and a text that it was made for.
//
//   <unk> <s> </s> | <0x00> ... <0xFF> | pieces of two characters and more, the earlier the likelier | single characters
//
// Ensures   Every piece can be built from left to right: a piece without its last character is a piece too, and one that merges earlier. So
//           tokenising takes as many merges as with a trained vocabulary. The same on every machine.
#pragma once

#include <cria/core/random.hpp>
#include <cria/tokenizer/vocabulary.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace cria_bench {

/// Ordinary English: what tokenising is timed with.
inline constexpr std::string_view sample_text =
    "The river was low that summer, and the people of the valley walked across it where the mill had stood. Nobody could say when the wheel "
    "had last turned; the oldest of them remembered only the stones, warm in the evening, and the smell of wet wood. In the first week of "
    "August a surveyor came up the road with two assistants and a mule. He measured the distance between the bridge and the church, wrote "
    "numbers in a small book, and asked whether the water ever rose above the third step. It did, they told him, twice in a hundred years, and "
    "both times it had taken the bakery. He nodded as if that were good news. \"Then we shall build it higher,\" he said, and ordered lunch. "
    "Before the leaves had fallen there were 40 men at work, and carts full of lime and sand stood in front of the school. The children "
    "learned new words, counted the blocks as they were set, and made a song of it. By spring the wall was finished. It kept the water out for "
    "nineteen winters; on the twentieth the river, which had been patient, found another way around the hill and came into the town from "
    "behind, quietly, at night, carrying apples.";

struct synthetic_vocabulary {
  static constexpr std::size_t n_special = 3, n_bytes = 256;

  std::vector<std::string> tokens;
  std::vector<float> scores;        ///< higher merges first
  std::vector<std::int32_t> kinds;  ///< cria::token_kind

  /// Returns a vocabulary of n tokens. Requires n >= 512.
  static synthetic_vocabulary make(std::size_t n) {
    synthetic_vocabulary v;
    v.add("<unk>", 0, cria::token_kind::unknown);
    v.add("<s>", 0, cria::token_kind::control);
    v.add("</s>", 0, cria::token_kind::control);
    for (std::size_t byte = 0; byte < n_bytes; ++byte) {
      constexpr char hex[] = "0123456789ABCDEF";
      v.add(std::string("<0x") + hex[byte / 16] + hex[byte % 16] + ">", 0, cria::token_kind::byte);
    }
    const std::vector<std::string> singles = single_characters();
    v.add_words(n - singles.size());
    for (const std::string& s : singles) v.add_piece(s);
    return v;
  }

 private:
  static constexpr std::string_view space = "\xe2\x96\x81";  // U+2581 stands for a space

  void add(std::string text, float score, cria::token_kind kind) {
    tokens.push_back(std::move(text));
    scores.push_back(score);
    kinds.push_back(static_cast<std::int32_t>(kind));
  }

  void add_piece(std::string text) { add(std::move(text), -static_cast<float>(tokens.size() - n_special - n_bytes), cria::token_kind::normal); }

  static std::vector<std::string> single_characters() {
    std::vector<std::string> out{std::string(space)};
    for (char c = '!'; c <= '~'; ++c) out.emplace_back(1, c);
    return out;
  }

  /// Adds the pieces of the sample's words, then of words from a random language, until there are n tokens.
  void add_words(std::size_t n) {
    std::unordered_set<std::string> known;
    for (std::string_view rest = sample_text; !rest.empty();) {
      const std::size_t end = rest.find(' ');
      add_prefixes(std::string(space), rest.substr(0, end), known, n);
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    cria::random_generator random(1);
    while (tokens.size() < n) {
      std::string word;
      for (std::size_t left = 1 + random.next() % 4; left > 0; --left) word += syllable(random);
      add_prefixes(random.next() % 4 == 0 ? std::string() : std::string(space), word, known, n);
    }
  }

  /// Adds first + the beginnings of the word that are at least two characters long and new.
  void add_prefixes(std::string piece, std::string_view word, std::unordered_set<std::string>& known, std::size_t n) {
    const bool has_space = !piece.empty();
    for (std::size_t i = 0; i < word.size() && tokens.size() < n; ++i) {
      piece += word[i];
      if ((has_space || i > 0) && known.insert(piece).second) add_piece(piece);
    }
  }

  static std::string syllable(cria::random_generator& random) {
    static constexpr std::string_view onsets[] = {"b", "br", "c",  "ch", "d", "f", "fl", "g", "h",  "l", "m",
                                                  "n", "p",  "pr", "qu", "r", "s", "st", "t", "th", "v", "w"};
    static constexpr std::string_view vowels[] = {"a", "e", "i", "o", "u", "ea", "ou", "ai"};
    static constexpr std::string_view codas[] = {"", "", "", "n", "r", "s", "t", "ng", "ck", "ll"};
    const auto any = [&](const auto& from) { return from[random.next() % std::size(from)]; };
    std::string out(any(onsets));
    out += any(vowels);
    out += any(codas);
    return out;
  }
};

}  // namespace cria_bench
