// SPDX-License-Identifier: MIT
// The parts that the subcommands of `cria` share. One file per subcommand: cmd_<name>.cpp.
#pragma once

#include "terminal.hpp"

#include <cria/cria.hpp>

#include <CLI/CLI.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

/// Ends the program with exit status 2 and `message`.
[[noreturn]] void usage_error(const std::string& option, const std::string& message);

/// -m: where the model is.
void add_model_option(CLI::App& command, std::string& path);

/// -t, -c, --precision, --cache, --isa: how it runs.
struct engine_flags {
  std::int64_t threads = 0, context = 0;
  std::string precision = "exact", cache = "f16", isa;

  void add_to(CLI::App& command, bool with_context);
  [[nodiscard]] cria::precision chosen_precision() const;
  [[nodiscard]] cria::kv_type chosen_cache() const;
  /// Loads the model, showing progress where stderr is a terminal.
  [[nodiscard]] result<cria::model> load(const std::string& path, const std::stop_token& stop) const;
  [[nodiscard]] cria::session_options session_options() const;
};

/// -p TEXT or -f FILE.
struct prompt_flags {
  std::optional<std::string> text;
  std::string file;

  void add_to(CLI::App& command, bool is_required);
  /// Returns the text, or the file's bytes; `-` and neither of the two are standard input.
  [[nodiscard]] result<std::string> read() const;
};

/// Calls fn with a session that has the chosen cache.
template <class F>
result<void> with_session(cria::kv_type cache, const cria::model& model, const cria::session_options& options, F&& fn) {
  const auto run = [&](auto session) -> result<void> {
    if (!session) return std::move(session).error();
    return fn(*session);
  };
  if (cache == cria::kv_type::f32) return run(cria::basic_session<cria::contiguous_kv_cache<cria::kv_type::f32>>::create(model, options));
  return run(cria::session::create(model, options));
}

}  // namespace cria_program
