// SPDX-License-Identifier: MIT
// cria detokenize: ids to text, bytes as they are: what `cria tokenize` has printed becomes the text that it read. Reads no weights.
#include "subcommand.hpp"

#include <cria/gguf/file.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <charconv>
#include <string_view>
#include <vector>

namespace cria_program {

/// Reads ids as `cria tokenize` prints them, or as a JSON list.
static result<std::vector<cria::token_id>> parse_ids(std::string_view text, const std::string& where) {
  constexpr std::string_view between = " \t\r\n,[]";
  std::vector<cria::token_id> ids;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(between), text.size()));
    if (text.empty()) return ids;
    const std::string_view word = text.substr(0, text.find_first_of(between));
    const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), ids.emplace_back());
    if (failure != std::errc{} || end != word.data() + word.size()) {
      return error{errc::bad_value, where, "\"" + cria::printable(word, 40) + "\" is no token id"};
    }
    text.remove_prefix(word.size());
  }
}

void add_detokenize(CLI::App& app, action& chosen) {
  struct flags_type {
    std::string model, file;
    std::vector<cria::token_id> ids;
    bool renders_special = false;
  };
  const auto flags = std::make_shared<flags_type>();
  CLI::App& c = *app.add_subcommand("detokenize", "Print the text of token ids");
  add_model_option(c, flags->model);
  auto* ids = c.add_option("ids", flags->ids, "token ids");
  c.add_option("-f,--file", flags->file, "file that holds them; - is standard input")->excludes(ids);
  c.footer(
      "Without ids and -f they are read from standard input, separated by spaces, lines, commas or brackets. What `cria tokenize` prints becomes its text\n"
      "again; with control tokens in the text, tokenize --no-bos and detokenize --special do that.");
  c.add_flag("--special", flags->renders_special, "write control tokens out");
  c.callback([flags, &chosen] {
    chosen = [flags]() -> result<void> {
      if (flags->ids.empty()) {
        const std::string from = flags->file.empty() ? "-" : flags->file;
        CRIA_TRY(const std::string text, read_all(from));
        CRIA_TRY(flags->ids, parse_ids(text, from == "-" ? "standard input" : from));
      }
      CRIA_TRY(const cria::gguf::file file, cria::gguf::file::open(flags->model));
      CRIA_TRY(const auto tokenizer, cria::tokenizer::from_metadata(file.metadata()));
      for (const cria::token_id id : flags->ids) {
        if (id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size()) continue;
        return error{errc::bad_argument, "token " + std::to_string(id), "is not in the vocabulary of " + std::to_string(tokenizer.vocab_size())};
      }
      CRIA_CHECK(print(tokenizer.decode(flags->ids, flags->renders_special)));
      return end_line_on_terminal();
    };
  });
}

}  // namespace cria_program
