// SPDX-License-Identifier: MIT
// cria tokenize: text to ids, on one line. Reads no weights.
#include "subcommand.hpp"

#include <cria/gguf/file.hpp>
#include <cria/tokenizer/tokenizer.hpp>

namespace cria_program {

void add_tokenize(CLI::App& app, action& chosen) {
  struct flags_type {
    std::string model;
    prompt_flags prompt;
    bool no_bos = false, no_special = false;
  };
  const auto flags = std::make_shared<flags_type>();
  CLI::App& c = *app.add_subcommand("tokenize", "Print the token ids of a text");
  add_model_option(c, flags->model);
  flags->prompt.add_to(c, false);
  c.footer("Without -p and -f the text is standard input, its bytes as they are.");
  c.add_flag("--no-bos", flags->no_bos, "leave out the token that begins texts");
  c.add_flag("--no-special", flags->no_special, "control tokens written in the text are text");
  c.callback([flags, &chosen] {
    chosen = [flags]() -> result<void> {
      CRIA_TRY(const std::string text, flags->prompt.read());
      CRIA_TRY(const cria::gguf::file file, cria::gguf::file::open(flags->model));
      CRIA_TRY(const auto tokenizer, cria::tokenizer::from_metadata(file.metadata()));
      CRIA_TRY(const auto ids, tokenizer.encode(text, {.add_bos = !flags->no_bos, .parse_special = !flags->no_special}));
      std::string line;
      for (const cria::token_id id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
      return print(line + "\n");
    };
  });
}

}  // namespace cria_program
