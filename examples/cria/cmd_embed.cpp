// SPDX-License-Identifier: MIT
// cria embed: a text as one vector, numbers on one line.
#include "command.hpp"

#include <cria/generate/embedding.hpp>

#include <cstdio>

namespace cria_program {

namespace {

struct embed_flags {
  std::string model, pooling;
  prompt_flags prompt;
  engine_flags engine;
  cria::embedding_options options;
};

constexpr cria::pooling poolings[] = {cria::pooling::mean, cria::pooling::cls, cria::pooling::last};

result<void> run(embed_flags& flags) {
  const interrupt ctrl_c;
  CRIA_TRY(const std::string text, flags.prompt.read(ctrl_c.token()));
  CRIA_TRY(const cria::model model, flags.engine.load(flags.model, ctrl_c.token()));
  CRIA_TRY(const auto tokens, model.tokenizer().encode(text));
  flags.options.stop = ctrl_c.token();
  return with_session(flags.engine.chosen_cache(), model, flags.engine.session_options(model, tokens.size()), [&](auto& session) -> result<void> {
    CRIA_TRY(const std::vector<float> vector, session.embed(tokens, flags.options));
    std::string line;
    for (const float x : vector) {
      char number[32];
      std::snprintf(number, sizeof number, "%s%.9g", line.empty() ? "" : " ", static_cast<double>(x));
      line += number;
    }
    return print(line + "\n");
  });
}

}  // namespace

void add_embed(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<embed_flags>();
  CLI::App& c = *app.add_subcommand("embed", "Print a text as one vector of numbers");
  add_model_option(c, flags->model);
  flags->prompt.add_to(c, true);
  c.add_option("--pooling", flags->pooling, "mean, cls or last; by default what the model's file says, else mean")
      ->check(CLI::IsMember({"mean", "cls", "last"}));
  c.add_flag("!--no-normalize", flags->options.is_normalised, "leave the vector's length as it is");
  flags->engine.add_to(c, growing_context);
  c.callback([flags, &chosen] {
    for (const cria::pooling p : poolings) {
      if (name(p) == flags->pooling) flags->options.pooling = p;
    }
    chosen = [flags] { return run(*flags); };
  });
}

}  // namespace cria_program
