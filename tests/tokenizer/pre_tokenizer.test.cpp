// SPDX-License-Identifier: MIT
#include <cria/tokenizer/pre_tokenizer.hpp>

#include <doctest/doctest.h>

#include <tests/support/timing.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using cria::detail::find_pre_tokenizer;
using cria::detail::split_words;
using cria::detail::word_rule;

namespace {

constexpr std::array rules = {word_rule::gpt2, word_rule::smollm, word_rule::falcon, word_rule::standard, word_rule::deepseek_coder,
                              word_rule::deepseek3, word_rule::llama3, word_rule::qwen2, word_rule::seed_coder, word_rule::gpt4o, word_rule::tekken};

std::vector<std::string_view> split(std::string_view text, word_rule rule) {
  std::vector<std::string_view> words;
  split_words(text, rule, [&](std::string_view word) { words.push_back(word); });
  return words;
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string all;
  for (const std::string_view word : words) all += (all.empty() ? "" : "|") + std::string(word);
  return all;
}

/// A text and its words by each rule, in the order of `rules`.
struct splitting {
  std::string_view text;
  std::array<std::string_view, rules.size()> words;
};

// Made by tests/tokenizer/make_splits.py with PyPI's regex 2026.5.9 (Unicode 17) from the models' own expressions, November 2026.
constexpr splitting splittings[] = {
    {"I'm sure he'll say it's what they've DON'T'VE we'd",
     {"I|'m| sure| he|'ll| say| it|'s| what| they|'ve| DON|'|T|'|VE| we|'d",
      "I|'m| sure| he|'ll| say| it|'s| what| they|'ve| DON|'|T|'|VE| we|'d",
      "I|'|m| sure| he|'|ll| say| it|'|s| what| they|'|ve| DON|'|T|'|VE| we|'|d",
      "I|'|m| sure| he|'|ll| say| it|'|s| what| they|'|ve| DON|'|T|'|VE| we|'|d",
      "I|'|m| sure| he|'|ll| say| it|'|s| what| they|'|ve| DON|'|T|'|VE| we|'|d",
      "I|'m| sure| he|'ll| say| it|'s| what| they|'ve| DON|'T|'VE| we|'d",
      "I|'m| sure| he|'ll| say| it|'s| what| they|'ve| DON|'T|'VE| we|'d",
      "I|'m| sure| he|'ll| say| it|'s| what| they|'ve| DON|'T|'VE| we|'d",
      "I|'m| sure| he|'ll| say| it|'s| what| they|'ve| DON|'T|'VE| we|'d",
      "I'm| sure| he'll| say| it's| what| they've| DON'T|'VE| we'd",
      "I|'m| sure| he|'ll| say| it|'s| what| they|'ve| DON|'T|'VE| we|'d"}},
    {"Hello  world,   3 apples\t4\n\n  end  ",
     {"Hello| | world|,|  | 3| apples|\t|4|\n\n | end|  ",
      "Hello| | world|,|   |3| apples|\t|4|\n\n | end|  ",
      "Hello| | world|,|  | 3| apples|\t|4|\n\n | end|  ",
      "Hello| | world|,|  | |3| apples|\t|4|\n\n | end|  ",
      "Hello| | world|,|   |3| apples|\t|4|\n|\n| | end|  ",
      "Hello| | world|,|   |3| apples|\t|4|\n\n| | end|  ",
      "Hello| | world|,|  | |3| apples|\t|4|\n\n| | end|  ",
      "Hello| | world|,|  | |3| apples|\t|4|\n\n| | end|  ",
      "Hello| | world|,|  | |3| apples|\t|4|\n\n| | end|  ",
      "Hello| | world|,|  | |3| apples|\t|4|\n\n| | end|  ",
      "Hello| | world|,|  | |3| apples|\t|4|\n\n| | end|  "}},
    {"x=12345+6.7890e-10; // ok\n\tif (a<b) {\r\n\r\n}",
     {"x|=|12345|+|6|.|7890|e|-|10|;| //| ok|\n|\t|if| (|a|<|b|)| {|\r\n\r|\n|}",
      "x|=|1|2|3|4|5|+|6|.|7|8|9|0|e|-|1|0|;| //| ok|\n|\t|if| (|a|<|b|)| {|\r\n\r|\n|}",
      "x|=|123|45|+|6|.|789|0|e|-|10|;| |//| ok|\n|\t|if| |(|a|<|b|)| |{|\r\n\r\n|}",
      "x|=|123|45|+|6|.|789|0|e|-|10|;| |//| ok|\n|\t|if| |(|a|<|b|)| |{|\r\n\r\n|}",
      "x|=|1|2|3|4|5|+|6|.|7|8|9|0|e|-|1|0|;| //| ok|\n|\tif| (|a|<|b|)| {|\r|\n|\r|\n|}",
      "x|=|123|45|+|6|.|789|0|e|-|10|;| //| ok|\n|\tif| (|a|<b|)| {\r\n\r\n|}",
      "x|=|123|45|+|6|.|789|0|e|-|10|;| //| ok|\n|\tif| (|a|<b|)| {\r\n\r\n|}",
      "x|=|1|2|3|4|5|+|6|.|7|8|9|0|e|-|1|0|;| //| ok|\n|\tif| (|a|<b|)| {\r\n\r\n|}",
      "x|=|1|2|3|4|5|+|6|.|7|8|9|0|e|-|1|0|;| //| ok|\n|\tif| (|a|<b|)| {|\r\n\r\n|}",
      "x|=|123|45|+|6|.|789|0|e|-|10|;| //| ok|\n|\tif| (|a|<b|)| {\r\n\r\n|}",
      "x|=|1|2|3|4|5|+|6|.|7|8|9|0|e|-|1|0|;| //| ok|\n|\tif| (|a|<b|)| {\r\n\r\n|}"}},
    {"Gr\u00f6\u00dfe na\u00efve e\u0301t\u00e9 \u00c0\u00c9\u00ce fooBar FOOBar XMLHttp \u01c5uro",
     {"Gr\u00f6\u00dfe| na\u00efve| e|\u0301|t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e|\u0301|t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e|\u0301|t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e|\u0301|t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e|\u0301|t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e\u0301t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e|\u0301t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e|\u0301t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e|\u0301t\u00e9| \u00c0\u00c9\u00ce| fooBar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e\u0301t\u00e9| \u00c0\u00c9\u00ce| foo|Bar| FOOBar| XMLHttp| \u01c5uro",
      "Gr\u00f6\u00dfe| na\u00efve| e\u0301t\u00e9| \u00c0\u00c9\u00ce| foo|Bar| FOOBar| XMLHttp| \u01c5uro"}},
    {"\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002\u4eba\u53e3\uff11\uff14\uff10\uff10\u4e07\u4eba",
     {"\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002|\u4eba\u53e3|\uff11\uff14\uff10\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002|\u4eba\u53e3|\uff11|\uff14|\uff10|\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002|\u4eba\u53e3|\uff11\uff14\uff10\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002|\u4eba\u53e3|\uff11\uff14\uff10\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002|\u4eba\u53e3|\uff11|\uff14|\uff10|\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002|\u4eba\u53e3|\uff11\uff14\uff10|\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002\u4eba\u53e3|\uff11\uff14\uff10|\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002\u4eba\u53e3|\uff11|\uff14|\uff10|\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002\u4eba\u53e3|\uff11|\uff14|\uff10|\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002\u4eba\u53e3|\uff11\uff14\uff10|\uff10|\u4e07\u4eba",
      "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059|\u3002\u4eba\u53e3|\uff11|\uff14|\uff10|\uff10|\u4e07\u4eba"}},
    {"\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u0939\u093f\u0928\u094d\u0926\u0940 "
      "\u0e44\u0e17\u0e22\u0e30 \u05e2\u05d1\u05e8\u05d9\u05ea",
     {"\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939|\u093f|\u0928|\u094d|\u0926|"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939|\u093f|\u0928|\u094d|\u0926|"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939|\u093f|\u0928|\u094d|\u0926|"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939|\u093f|\u0928|\u094d|\u0926|"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| |\u0939|\u093f|\u0928|\u094d|\u0926"
      "|\u0940| |\u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939\u093f\u0928\u094d\u0926"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939|\u093f\u0928|\u094d\u0926|"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939|\u093f\u0928|\u094d\u0926|"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939|\u093f\u0928|\u094d\u0926|"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939\u093f\u0928\u094d\u0926"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea",
      "\u041f\u0440\u0438\u0432\u0435\u0442|,| \u043c\u0438\u0440|!| \u0393\u03b5\u03b9\u03ac| \u03c3\u03bf\u03c5| \u0939\u093f\u0928\u094d\u0926"
      "\u0940| \u0e44\u0e17\u0e22\u0e30| \u05e2\u05d1\u05e8\u05d9\u05ea"}},
    {"a\U0001f642b \U0001f680\U0001f469\u200d\U0001f467\ufe0f! \u00a92024 \u00bd \u0663\u0664\u0665\u0666 \u2163X",
     {"a|\U0001f642|b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f!| \u00a9|2024| \u00bd| \u0663\u0664\u0665\u0666| \u2163|X",
      "a|\U0001f642|b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f!| \u00a9|2|0|2|4| |\u00bd| |\u0663|\u0664|\u0665|\u0666| |\u2163|X",
      "a|\U0001f642|b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f|!| \u00a9|202|4| \u00bd| \u0663\u0664\u0665\u0666| \u2163|X",
      "a|\U0001f642|b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f|!| \u00a9|202|4| |\u00bd| |\u0663\u0664\u0665\u0666| |\u2163|X",
      "a|\U0001f642|b| \U0001f680\U0001f469|\u200d|\U0001f467\ufe0f|!| \u00a9|2|0|2|4| |\u00bd| |\u0663|\u0664|\u0665|\u0666| |\u2163|X",
      "a|\U0001f642|b| \U0001f680\U0001f469|\u200d|\U0001f467|\ufe0f|!| \u00a9|202|4| |\u00bd| |\u0663\u0664\u0665|\u0666| |\u2163|X",
      "a|\U0001f642b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f!| \u00a9|202|4| |\u00bd| |\u0663\u0664\u0665|\u0666| |\u2163|X",
      "a|\U0001f642b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f!| \u00a9|2|0|2|4| |\u00bd| |\u0663|\u0664|\u0665|\u0666| |\u2163|X",
      "a|\U0001f642b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f!| \u00a9|2|0|2|4| |\u00bd| |\u0663|\u0664|\u0665|\u0666| |\u2163|X",
      "a|\U0001f642b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f!| \u00a9|202|4| |\u00bd| |\u0663\u0664\u0665|\u0666| |\u2163|X",
      "a|\U0001f642b| \U0001f680\U0001f469\u200d\U0001f467\ufe0f!| \u00a9|2|0|2|4| |\u00bd| |\u0663|\u0664|\u0665|\u0666| |\u2163|X"}},
    {"...!!! /path/to//file?a=1&b='c' 'S 's \u2019s",
     {"...!!!| /|path|/|to|//|file|?|a|=|1|&|b|='|c|'| '|S| '|s| \u2019|s",
      "...!!!| /|path|/|to|//|file|?|a|=|1|&|b|='|c|'| '|S| '|s| \u2019|s",
      "...!!!| |/|path|/|to|//|file|?|a|=|1|&|b|='|c|'| |'|S| |'|s| |\u2019|s",
      "...!!!| |/|path|/|to|//|file|?|a|=|1|&|b|='|c|'| |'|S| |'|s| |\u2019|s",
      "...!!!| /|path|/|to|//|file|?|a|=|1|&|b|=|'|c|'| '|S| '|s| |\u2019|s",
      "...!!!| /|path|/to|//|file|?a|=|1|&b|='|c|'| '|S| '|s| \u2019|s",
      "...!!!| /|path|/to|//|file|?a|=|1|&b|='|c|'| '|S| '|s| \u2019|s",
      "...!!!| /|path|/to|//|file|?a|=|1|&b|='|c|'| '|S| '|s| \u2019|s",
      "...!!!| /|path|/to|//|file|?a|=|1|&b|='|c|'| '|S| '|s| \u2019|s",
      "...!!!| /|path|/to|//|file|?a|=|1|&b|='|c|'| '|S| '|s| \u2019|s",
      "...!!!| /|path|/to|//|file|?a|=|1|&b|='|c|'| '|S| '|s| \u2019|s"}},
    {"tab\u00a0nbsp\u3000wide\u2028line\u0085nel\u200bzero",
     {"tab|\u00a0|nbsp|\u3000|wide|\u2028|line|\u0085|nel|\u200b|zero",
      "tab|\u00a0|nbsp|\u3000|wide|\u2028|line|\u0085|nel|\u200b|zero",
      "tab|\u00a0|nbsp|\u3000|wide|\u2028|line|\u0085|nel|\u200b|zero",
      "tab|\u00a0|nbsp|\u3000|wide|\u2028|line|\u0085|nel|\u200b|zero",
      "tab|\u00a0nbsp|\u3000|wide|\u2028|line|\u0085nel|\u200b|zero",
      "tab|\u00a0nbsp|\u3000wide|\u2028line|\u0085nel|\u200bzero",
      "tab|\u00a0nbsp|\u3000wide|\u2028line|\u0085nel|\u200bzero",
      "tab|\u00a0nbsp|\u3000wide|\u2028line|\u0085nel|\u200bzero",
      "tab|\u00a0nbsp|\u3000wide|\u2028line|\u0085nel|\u200bzero",
      "tab|\u00a0nbsp|\u3000wide|\u2028line|\u0085nel|\u200bzero",
      "tab|\u00a0nbsp|\u3000wide|\u2028line|\u0085nel|\u200bzero"}},
    {"user_name123abc 007 1,000,000.00",
     {"user|_|name|123|abc| 007| 1|,|000|,|000|.|00",
      "user|_|name|1|2|3|abc| |0|0|7| |1|,|0|0|0|,|0|0|0|.|0|0",
      "user|_|name|123|abc| |007| 1|,|000|,|000|.|00",
      "user|_|name|123|abc| |007| |1|,|000|,|000|.|00",
      "user|_|name|1|2|3|abc| |0|0|7| |1|,|0|0|0|,|0|0|0|.|0|0",
      "user|_name|123|abc| |007| |1|,|000|,|000|.|00",
      "user|_name|123|abc| |007| |1|,|000|,|000|.|00",
      "user|_name|1|2|3|abc| |0|0|7| |1|,|0|0|0|,|0|0|0|.|0|0",
      "user|_name|1|2|3|abc| |0|0|7| |1|,|0|0|0|,|0|0|0|.|0|0",
      "user|_name|123|abc| |007| |1|,|000|,|000|.|00",
      "user|_name|1|2|3|abc| |0|0|7| |1|,|0|0|0|,|0|0|0|.|0|0"}},
};

// The same script and origin: random texts of these, 20,000 by each rule; what is hashed is the words' lengths in bytes.
constexpr std::string_view alphabet[] = {
    "a", "B", "s", "S", "t", "'", "'", "r", "e", "V", "e", "m", "L", "l", "'", "d", "D", " ", " ", "\t", "\n", "\n", "\r", "\u000b",
    "\u001c", "\u0085", "\u00a0", "\u2028", "\u3000", "\u200b", "0", "1", "9", "\u00b2", "\u0663", "\u2163", "\u00c0", "\u00e9",
    "\u00df", "\u017f", "K", "\u01c5", "\u02b0", "\u00aa", "\u4e2d", "\u65e5", "\u043a", "\u0418", "\u0301", "\u094d", "\u0e31",
    "\u0e30", "\U0001f642", "\u200d", "\ufe0f", ".", ",", ";", "!", "-", "_", "(", ")", "<", ">", "=", "+", "*", "/", "\\", "\"", "$",
    "^", "~", "`", "@", "&", "\u3002", "\u3001", "\U0001d400", "\u1d2c", "\ufffd", "\U000e0001", "\u0378"};
constexpr std::array<std::uint64_t, rules.size()> digests = {
    0xab09483123a4a9ea,  // gpt2
    0x9234ec8587298bea,  // smollm
    0xa8112cbd21b25df2,  // falcon
    0xd2b030472f3495ec,  // standard
    0x9bd1d516023c0c66,  // deepseek_coder
    0x7419b532594f177c,  // deepseek3
    0xe24fb40ec2b339ae,  // llama3
    0xe645958933278378,  // qwen2
    0xa381979d2942ba4a,  // seed_coder
    0x6c4f5c6911ca974e,  // gpt4o
    0xd061d57bc3dc86c6,  // tekken
};

/// The texts of make_splits.py.
std::vector<std::string> random_texts(std::size_t n) {
  std::uint64_t state = 1;
  const auto below = [&](std::size_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state >> 33) % limit;
  };
  constexpr std::size_t letters = std::size(alphabet);
  constexpr std::size_t widths[] = {2, 5, 12, letters};
  std::vector<std::string> texts(n);
  for (std::string& text : texts) {
    const std::size_t width = widths[below(4)];
    const std::size_t start = below(letters);
    for (std::size_t length = 1 + below(20); length > 0; --length) text += alphabet[(start + below(width)) % letters];
  }
  return texts;
}

double seconds_to_split(const std::string& text, word_rule rule) {
  std::size_t bytes = 0;
  const double seconds = cria_test::seconds_of([&] { split_words(text, rule, [&](std::string_view word) { bytes += word.size(); }); });
  CHECK(bytes == text.size());
  return seconds;
}

}  // namespace

TEST_CASE("pre_tokenizer: every rule cuts texts of many scripts as the model's regular expression does") {
  for (const splitting& s : splittings) {
    for (std::size_t r = 0; r < rules.size(); ++r) {
      CAPTURE(r);
      CHECK(joined(split(s.text, rules[r])) == s.words[r]);
    }
  }
}

TEST_CASE("pre_tokenizer: every rule cuts 20,000 random texts as the model's regular expression does") {
  const std::vector<std::string> texts = random_texts(20'000);
  for (std::size_t r = 0; r < rules.size(); ++r) {
    std::uint64_t digest = 0xcbf29ce484222325u;
    const auto add = [&](std::size_t number) { digest = (digest ^ number) * 0x100000001b3u; };
    for (const std::string& text : texts) {
      for (const std::string_view word : split(text, rules[r])) add(word.size());
      add(0);
    }
    CAPTURE(r);
    CHECK(digest == digests[r]);
  }
}

// llama.cpp d32676d, src/llama-vocab.cpp: one branch each.
TEST_CASE("pre_tokenizer: names that share a branch in llama.cpp share a rule and its defaults") {
  struct kinship {
    std::string_view name, kin;
  };
  for (const kinship& k : {kinship{"jina-v5-nano", "llama-bpe"}, {"f2llmv2", "qwen2"}, {"talkie", "gpt-4o"}, {"jina-es", "gpt-2"}, {"jina-de", "gpt-2"},
                           {"modern-bert", "gpt-2"}}) {
    CAPTURE(k.name);
    const auto *row = find_pre_tokenizer(k.name), *other = find_pre_tokenizer(k.kin);
    REQUIRE(row != nullptr);
    REQUIRE(other != nullptr);
    CHECK(row->rule == other->rule);
    CHECK(row->whole_words_first == other->whole_words_first);
    CHECK(row->adds_bos == other->adds_bos);
  }
}

TEST_CASE("pre_tokenizer: the words of any bytes, joined, are those bytes, and none is empty") {
  std::mt19937 random(7);
  const std::string_view ends[] = {"", "\xe2", "\xe2\x96", "\xf0\x9f\x99", "\xff", "\xc0\x80", "\xed\xa0\x80", " ", "\n", "'", " '", "'l", "1"};
  for (std::size_t round = 0; round < 20'000; ++round) {
    std::string text;
    for (std::size_t n = random() % 12; n > 0; --n) {
      const char usual = " \n'sa1."[random() % 7];
      text += random() % 3 == 0 ? static_cast<char>(random() % 256) : usual;
    }
    text += ends[round % std::size(ends)];
    for (const word_rule rule : rules) {
      std::string all;
      for (const std::string_view word : split(text, rule)) {
        if (word.empty()) FAIL_CHECK("an empty word");
        all += word;
      }
      if (all != text) CHECK(all == text);
    }
  }
}

TEST_CASE("pre_tokenizer: a byte that is not UTF-8 is a symbol of its own and takes no neighbour with it") {
  CHECK(joined(split("a\xff" "b \xe4\xb8 c", word_rule::gpt2)) == "a|\xff|b| \xe4\xb8| c");
  CHECK(joined(split("1\xc3" "1", word_rule::llama3)) == "1|\xc3|1");
}

TEST_CASE("pre_tokenizer: twice the text takes about twice the time, whatever it consists of") {
  const std::string_view units[] = {"a", " ", "\n", "\t ", "<", "'", "\xff", "7", "A", "A\xe4\xb8\xad",
                                    "\xcc\x81", " \n", "'l", "a1", "\u4e2dA"};
  for (const word_rule rule : rules) {
    for (const std::string_view unit : units) {
      std::string half, whole;
      while (half.size() < (cria_test::slowness > 1 ? 30'000 : 300'000)) half += unit;
      whole = half + half;
      double once = 1e9, twice = 1e9;
      for (int i = 0; i < 3; ++i) {  // the best of three: others use the machine too
        once = std::min(once, seconds_to_split(half, rule));
        twice = std::min(twice, seconds_to_split(whole, rule));
      }
      CAPTURE(unit);
      CHECK(twice < 3.2 * once + 0.02);  // quadratic would be 4 times, and minutes
      CHECK(twice < 0.5 * cria_test::slowness);
    }
  }
}

TEST_CASE("pre_tokenizer: names are found, unknown ones are not") {
  using cria::detail::find_pre_tokenizer;
  for (const std::string_view name : {"gpt-2", "llama-bpe", "llama3", "llama-v3", "smollm", "qwen2", "default", "olmo", "dbrx", "refact", "command-r",
                                      "starcoder", "tekken", "phi-2", "gpt-4o", "falcon", "seed-coder", "hunyuan-dense", "glm4", "exaone4"}) {
    REQUIRE(find_pre_tokenizer(name) != nullptr);
    CHECK(find_pre_tokenizer(name)->name == name);
  }
  for (const std::string_view name : {"", "llama", "gpt", "GPT-2", "deepseek-llm", "qwen2 "}) CHECK(find_pre_tokenizer(name) == nullptr);
  CHECK(find_pre_tokenizer("llama-bpe")->whole_words_first);
  CHECK(find_pre_tokenizer("llama-bpe")->adds_bos);
  CHECK(!find_pre_tokenizer("smollm")->whole_words_first);
  CHECK(!find_pre_tokenizer("qwen2")->adds_bos);
}
