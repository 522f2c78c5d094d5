// SPDX-License-Identifier: MIT
// cria template: a conversation as the template writes it, byte for byte. Reads no weights.
#include "command.hpp"

namespace cria_program {

namespace {

struct template_flags {
  std::string model, file, chosen, messages, tools;
  std::optional<std::string> bos, eos;
  bool no_generation_prompt = false, is_marked = false;
};

result<cria::chat_template> open_template(const template_flags& flags) {
  if (!flags.model.empty()) {
    CRIA_TRY(const cria::gguf::file file, cria::gguf::file::open(flags.model));
    CRIA_TRY(const auto tokenizer, cria::tokenizer::from_metadata(file.metadata()));
    return choose_template(flags.chosen, file.metadata(), tokenizer);
  }
  const cria::special_texts texts{.bos = flags.bos, .eos = flags.eos, .unk = {}, .pad = {}};
  return flags.file.empty() ? named_or_file(flags.chosen, texts) : compile_file(flags.file, texts);
}

/// Reads JSON; what is wrong with it is said with the file's name.
template <class Parse>
auto read_json(const std::string& path, Parse parse) -> decltype(parse(std::string_view{})) {
  CRIA_TRY(const std::string text, read_all(path));
  auto parsed = parse(std::string_view(text));
  if (parsed) return parsed;
  error e = std::move(parsed).error();
  e.where = path + ", " + e.where;
  return e;
}

/// Returns the text with what is not the template's own in the brackets of quotations.
std::string marked(const cria::jinja::rendered& r) {
  std::string out;
  for (const auto& s : r.spans) {
    const std::string part = r.text.substr(s.start, s.length);
    out += s.is_content ? "\u00ab" + part + "\u00bb" : part;
  }
  return out;
}

result<void> run(const template_flags& flags) {
  CRIA_TRY(const auto chosen, open_template(flags));
  CRIA_TRY(const auto talk, read_json(flags.messages, [](std::string_view text) { return cria::conversation::parse(text); }));
  cria::render_options options{.add_generation_prompt = !flags.no_generation_prompt, .now = local_now()};
  if (!flags.tools.empty()) {
    CRIA_TRY(options.tools, read_json(flags.tools, [](std::string_view text) { return cria::json::parse(text); }));
  }
  CRIA_TRY(const auto rendered, chosen.render(talk, options));
  return print(flags.is_marked ? marked(rendered) : rendered.text);
}

}  // namespace

void add_template(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<template_flags>();
  CLI::App& c = *app.add_subcommand("template", "Print a conversation as the model's chat template writes it");
  auto* source = c.add_option_group("source");
  auto* model = source->add_option("-m,--model", flags->model, "GGUF file (of one in parts: the first)");
  auto* file = source->add_option("--template", flags->file, "Jinja file; - is standard input");
  file->excludes(model);
  auto* own = c.add_option("-f,--messages", flags->messages, "JSON file with a list of messages; - is standard input");
  own->required();
  c.add_option("--tools", flags->tools, "JSON file with a list of function descriptions");
  add_template_option(c, flags->chosen);
  c.add_flag("--no-generation-prompt", flags->no_generation_prompt, "end behind the last message");
  c.add_option("--bos", flags->bos, "text of bos_token, where there is no model")->excludes(model);
  c.add_option("--eos", flags->eos, "text of eos_token, where there is no model")->excludes(model);
  c.add_flag("--mark", flags->is_marked, "put text that can never become a control token in \u00ab \u00bb");
  c.callback([flags, &chosen] {
    if (flags->model.empty() && flags->file.empty() && flags->chosen.empty()) usage_error("--model", "one of --model, --template, --chat-template is needed");
    if (!flags->file.empty() && !flags->chosen.empty()) usage_error("--template", "and --chat-template exclude each other");
    chosen = [flags] { return run(*flags); };
  });
}

}  // namespace cria_program
