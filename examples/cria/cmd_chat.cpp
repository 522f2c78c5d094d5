// SPDX-License-Identifier: MIT
// cria chat: a conversation on the terminal; one question and its answer where stdin is none or -p or -f give it.
#include "chat_repl.hpp"
#include "sampling_flags.hpp"

namespace cria_program {

namespace {

struct chat_flags {
  std::string model, system, chat_template, load, history_file = default_history_file();
  prompt_flags prompt;
  engine_flags engine;
  lora_flags lora;
  std::int64_t n_tokens = 0;   // no limit
  bool has_history = true;
  sampling_flags sampling;
  std::vector<std::string> settings, given;   // NAME=VALUE; names of what the command line sets
  chat_settings chosen;
};

template <class Cache>
result<void> talk(chat_flags& flags, cria::basic_session<Cache>& made, interrupt& ctrl_c, bool is_one_shot) {
  CRIA_TRY(auto chosen, choose_template(flags.chat_template, made.model().metadata(), made.model().tokenizer()));
  CRIA_TRY(auto chat, cria::basic_chat_session<Cache>::create(std::move(made), std::move(chosen)));
  const std::string name = flags.chat_template.empty() ? "the model's own" : flags.chat_template;
  chat_repl<Cache> repl(std::move(chat), flags.chosen, name, ctrl_c);
  if (!flags.load.empty()) CRIA_CHECK(repl.load(flags.load, flags.given));
  if (!flags.system.empty()) repl.set_system(flags.system);
  if (is_one_shot) {
    CRIA_TRY(const std::string text, flags.prompt.read(ctrl_c.token()));
    return repl.answer_once(text);
  }
  line_editor editor(flags.has_history ? flags.history_file : std::string{}, chat_command_names());
  note("/help lists the commands, ctrl-D leaves");
  return repl.run(editor);
}

result<void> run(chat_flags& flags) {
  interrupt ctrl_c;
  const bool is_one_shot = flags.prompt.text || !flags.prompt.file.empty() || !is_terminal(stdin);
  CRIA_TRY(const cria::model model, flags.engine.load(flags.model, ctrl_c.token()));
  CRIA_TRY(const auto adapters, flags.lora.load(model));
  return with_session(flags.engine.chosen_cache(), model, flags.engine.session_options(), [&](auto& made) -> result<void> {
    CRIA_CHECK(made.set_adapters(adapters));
    return talk(flags, made, ctrl_c, is_one_shot);
  });
}

/// What only the whole command line can tell.
void check(chat_flags& flags) {
  cria::generation_options& generation = flags.chosen.options.generation;
  generation.sampling = flags.sampling.checked();
  flags.given = flags.sampling.given();
  if (flags.n_tokens > 0) {
    generation.max_tokens = static_cast<std::size_t>(flags.n_tokens);
    flags.given.emplace_back("max_tokens");
  }
  for (const std::string& setting : flags.settings) {
    const std::size_t end = setting.find('=');
    if (end == setting.npos) usage_error("--set", setting + " is not NAME=VALUE");
    const auto done = flags.chosen.set(setting.substr(0, end), setting.substr(end + 1));
    if (!done) usage_error("--set", done.error().where + " " + done.error().message);
    flags.given.push_back(setting.substr(0, end));
  }
}

}  // namespace

void add_chat(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<chat_flags>();
  CLI::App& c = *app.add_subcommand("chat", "Talk with a model; one question and its answer with -p, -f or piped input");
  add_model_option(c, flags->model);
  flags->prompt.add_to(c, false);
  c.add_option("--system", flags->system, "system message");
  add_template_option(c, flags->chat_template);
  c.add_option("--load", flags->load, "go on from a chat that /save has kept, with its settings where the command line gives none");
  c.add_option("-n,--tokens", flags->n_tokens, "at most so many tokens in a reply; until the model ends by default")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31));
  flags->sampling.add_to(c);
  let_repeat(*c.add_option("--set", flags->settings, "NAME=VALUE: any setting that /config shows; may be given several times"));
  c.add_option("--history", flags->history_file, "file that keeps the lines typed")->capture_default_str();
  c.add_flag("!--no-history", flags->has_history, "keep no file of the lines typed");
  flags->lora.add_to(c);
  flags->engine.add_to(c, usual_context);
  c.callback([flags, &chosen] {
    check(*flags);
    chosen = [flags] { return run(*flags); };
  });
}

}  // namespace cria_program
