// SPDX-License-Identifier: MIT
// What the subcommands share that run a model.
#pragma once

#include "subcommand.hpp"

#include <cria/cria.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cria_program {

/// The types of cache that the program offers, and the one of that name.
inline const std::vector<std::string> cache_names = {"f16", "f32", "bf16"};
inline constexpr const char* cache_help =
    "what keys and values are stored as: f16; f32; bf16, the fastest after long texts where the processor multiplies bf16";
[[nodiscard]] inline cria::kv_type cache_named(std::string_view name) {
  return name == "f32" ? cria::kv_type::f32 : name == "bf16" ? cria::kv_type::bf16 : cria::kv_type::f16;
}

/// What -c 0 is where the text is not known yet, and where it is.
inline constexpr const char* usual_context = "as the model was trained, 4096 at most";
inline constexpr const char* growing_context = "as the model was trained, 4096 at most unless the text needs more";

/// -t, -c, --precision, --cache, --isa: how it runs.
struct engine_flags {
  std::int64_t threads = 0, context = 0;
  std::string precision = "exact", cache = "f16", isa;

  /// no_context: what -c 0 is; nullptr: there is no -c.
  void add_to(CLI::App& command, const char* no_context);
  [[nodiscard]] cria::precision chosen_precision() const;
  [[nodiscard]] cria::kv_type chosen_cache() const { return cache_named(cache); }
  /// Loads the model, showing progress where stderr is a terminal.
  [[nodiscard]] result<cria::model> load(const std::string& path, const cria::stop_token& stop) const;
  [[nodiscard]] cria::session_options session_options() const;
  /// As above, for a text that needs so many positions: -c 0 is what it needs, at least the usual and at most what the model was trained for (4,096 for
  /// models of less).
  [[nodiscard]] cria::session_options session_options(const cria::model& model, std::size_t n_needed) const;
};

/// --lora FILE[:SCALE], as often as there are adapters.
struct lora_flags {
  std::vector<std::string> given;

  void add_to(CLI::App& command);
  /// Loads them; the error names the file.
  [[nodiscard]] result<std::vector<cria::adapter_choice>> load(const cria::model& model) const;
};

/// --chat-template: a name or a file instead of the model's own.
void add_template_option(CLI::App& command, std::string& chosen);
/// Compiles a Jinja file; the error names it.
[[nodiscard]] result<cria::chat_template> compile_file(const std::string& path, const cria::special_texts& texts);
/// Takes the named template, or the file.
[[nodiscard]] result<cria::chat_template> named_or_file(const std::string& chosen, const cria::special_texts& texts);
/// As above, or, where nothing is chosen, what the model's file holds.
[[nodiscard]] result<cria::chat_template> choose_template(const std::string& chosen, const cria::gguf::metadata& metadata, const cria::tokenizer& tokenizer);
/// The clock on the wall, for templates that say what day it is.
[[nodiscard]] cria::jinja::civil_time local_now();

/// Calls fn with a session that has the chosen cache.
template <class F>
result<void> with_session(cria::kv_type cache, const cria::model& model, const cria::session_options& options, F&& fn) {
  const auto run = [&](auto session) -> result<void> {
    if (!session) return std::move(session).error();
    return fn(*session);
  };
  if (cache == cria::kv_type::f32) return run(cria::basic_session<cria::contiguous_kv_cache<cria::kv_type::f32>>::create(model, options));
  if (cache == cria::kv_type::bf16) return run(cria::basic_session<cria::contiguous_kv_cache<cria::kv_type::bf16>>::create(model, options));
  return run(cria::session::create(model, options));
}

}  // namespace cria_program
