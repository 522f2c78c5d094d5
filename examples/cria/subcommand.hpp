// SPDX-License-Identifier: MIT
// What every subcommand of `cria` has. One file per subcommand: cmd_<name>.cpp.
#pragma once

#include "terminal.hpp"

#include <cria/core/result.hpp>

#include <CLI/CLI.hpp>

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace cria_program {

using cria::errc;
using cria::error;
using cria::result;

/// What the chosen subcommand does, once the whole command line is understood.
using action = std::function<result<void>()>;

void add_run(CLI::App& app, action& chosen);
void add_tokenize(CLI::App& app, action& chosen);
void add_detokenize(CLI::App& app, action& chosen);
void add_logits(CLI::App& app, action& chosen);
void add_inspect(CLI::App& app, action& chosen);
void add_cpu(CLI::App& app, action& chosen);
void add_bench(CLI::App& app, action& chosen);
void add_batch(CLI::App& app, action& chosen);
void add_quantize(CLI::App& app, action& chosen);
void add_template(CLI::App& app, action& chosen);
void add_perplexity(CLI::App& app, action& chosen);
void add_chat(CLI::App& app, action& chosen);
void add_embed(CLI::App& app, action& chosen);
void add_serve(CLI::App& app, action& chosen);   // where cpp-httplib is there

/// Lets an option be given several times, each time with one value, which is taken as it stands: CLI11 would read [a,b] as two.
void let_repeat(CLI::Option& option);

/// Returns an error where `out` is one of the files that are read.
[[nodiscard]] result<void> check_output(const std::string& out, std::initializer_list<std::string_view> inputs);

/// Ends the program with exit status 2 and `message`.
[[noreturn]] void usage_error(const std::string& option, const std::string& message);

/// -m: where the model is.
void add_model_option(CLI::App& command, std::string& path);

/// -p TEXT or -f FILE.
struct prompt_flags {
  std::optional<std::string> text;
  std::string file;

  void add_to(CLI::App& command, bool is_required);
  /// Returns the text, or the file's bytes; `-` and neither of the two are standard input, which is read until `stop`.
  [[nodiscard]] result<std::string> read(const cria::stop_token& stop = {}) const;
};

}  // namespace cria_program
