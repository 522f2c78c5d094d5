// SPDX-License-Identifier: MIT
// cria detokenize: ids to text, bytes as they are. Reads no weights.
#include "subcommand.hpp"

#include <cria/gguf/file.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <vector>

namespace cria_program {

void add_detokenize(CLI::App& app, action& chosen) {
  struct flags_type {
    std::string model;
    std::vector<cria::token_id> ids;
    bool renders_special = false;
  };
  const auto flags = std::make_shared<flags_type>();
  CLI::App& c = *app.add_subcommand("detokenize", "Print the text of token ids");
  add_model_option(c, flags->model);
  c.add_option("ids", flags->ids, "token ids");
  c.add_flag("--special", flags->renders_special, "write control tokens out");
  c.callback([flags, &chosen] {
    chosen = [flags]() -> result<void> {
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
