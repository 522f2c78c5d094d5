// SPDX-License-Identifier: MIT
// cria: runs GGUF language models from the command line, and looks inside them.
// stdout holds results only. Exit status: 0 done, 1 error, 2 wrong usage, 130 ended by ctrl-C; SIGPIPE where the reader of stdout has gone.
#include "subcommand.hpp"

#include <algorithm>
#include <exception>
#include <iterator>
#include <new>
#include <string>
#include <string_view>

namespace cria_program {

/// Refuses what CLI11 would take for something else: an empty value, as of a variable that is not set, and whole numbers with a leading 0, which it
/// reads as octal.
static void check_values(const CLI::App& command) {
  constexpr std::string_view may_be_empty[] = {"prompt", "system", "bos", "eos", "history"};
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    const bool is_whole_number = option->get_type_name().starts_with("INT") || option->get_type_name().starts_with("UINT");
    for (const std::string& value : option->results()) {
      const bool is_allowed =
          std::any_of(std::begin(may_be_empty), std::end(may_be_empty), [&](std::string_view n) { return option->check_lname(std::string(n)); });
      if (value.empty() && !is_allowed && option->get_expected_min() > 0) usage_error(name, "is empty");
      const std::size_t first = value.starts_with('-') ? 1 : 0;
      if (is_whole_number && value.size() > first + 1 && value[first] == '0') usage_error(name, value + " begins with 0");
    }
  }
  for (const CLI::App* group : command.get_subcommands([](const CLI::App* a) { return a->get_name().empty(); })) check_values(*group);
}

static int run(int argc, char** argv) {
  const std::string version = std::to_string(CRIA_VERSION_MAJOR) + "." + std::to_string(CRIA_VERSION_MINOR) + "." + std::to_string(CRIA_VERSION_PATCH);
  CLI::App app("cria " + version + ": language models on the CPU", "cria");
  app.set_version_flag("--version", version);
  app.require_subcommand(1);
  action chosen;
  add_run(app, chosen);
  add_tokenize(app, chosen);
  add_detokenize(app, chosen);
  add_logits(app, chosen);
  add_inspect(app, chosen);
  add_cpu(app, chosen);
  add_bench(app, chosen);
  add_batch(app, chosen);
  add_quantize(app, chosen);
  add_template(app, chosen);
  add_perplexity(app, chosen);
  add_chat(app, chosen);
  add_embed(app, chosen);
#if CRIA_EXAMPLE_HTTP
  add_serve(app, chosen);
#endif
  try {
    app.parse(argc, argv);
    for (const CLI::App* command : app.get_subcommands()) check_values(*command);
  } catch (const CLI::CallForVersion&) {
    const auto done = print(version + "\n");
    return done ? 0 : fail(done.error());
  } catch (const CLI::Success&) {
    const auto chosen_commands = app.get_subcommands();
    const auto done = print(chosen_commands.empty() ? app.help() : chosen_commands.front()->help());
    return done ? 0 : fail(done.error());
  } catch (const CLI::ParseError& e) {
    const auto chosen_commands = app.get_subcommands();
    if (chosen_commands.empty() && argc > 1 && argv[1][0] != '-') {
      print_error("usage", "cria", cria::printable(argv[1]) + " is no command; cria --help lists them");
    } else {
      print_error("usage", chosen_commands.empty() ? "cria" : "cria " + chosen_commands.front()->get_name(), e.what());
    }
    return 2;
  }
  const auto done = chosen();
  return done ? 0 : fail(done.error());
}

}  // namespace cria_program

int main(int argc, char** argv) {
  cria_program::prepare_streams();
  try {
    return cria_program::run(argc, argv);
  } catch (const std::bad_alloc&) {
    cria_program::print_error("out_of_memory", "cria", "the system gave no memory");
  } catch (const std::exception& e) {
    cria_program::print_error("internal", "cria", e.what());
  }
  return 1;
}
