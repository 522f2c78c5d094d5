// SPDX-License-Identifier: MIT
// cria quantize: writes a model with other types, and says what became of it.
#include "command.hpp"
#include "progress_bar.hpp"
#include "type_totals.hpp"

#include <cria/model/quantize.hpp>

#include <algorithm>
#include <chrono>

namespace cria_program {

namespace {

struct quantize_flags {
  std::string source, target, type, output_type, embedding_type;
  bool is_pure = false;
  std::int64_t threads = 0;
};

std::string file_type_names() {
  std::string names;
  for (const cria::file_type t : cria::file_types) names += (names.empty() ? "" : ", ") + std::string(cria::name(t));
  return names;
}

/// Returns the type that cria writes under this name, in any case.
std::optional<cria::tensor_type> find_writable_type(std::string name) {
  for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  const cria::tensor_type_info* info = cria::find_tensor_type(name);
  return info != nullptr && cria::is_writable(info->type) ? std::optional(info->type) : std::nullopt;
}

std::string check_type(const std::string& name) { return find_writable_type(name) ? std::string{} : "cria writes no tensors of type " + name; }

/// "model.gguf: 29 tensors, 10.1 MB -> 1.5 MB (14.6 %), 32.000 -> 4.663 bits per weight, 0.4 s" and what there is to say of single tensors.
std::string describe(const quantize_flags& flags, const cria::quantize_report& report, double seconds) {
  type_totals before, after;
  std::map<std::string, std::size_t> rounded_before;
  std::string fallbacks;
  for (const cria::planned_tensor& t : report.tensors) {
    before.add(t.from, t.elements, t.from_bytes);
    after.add(t.to, t.elements, t.to_bytes);
    if (t.is_requantized()) ++rounded_before[std::string(cria::name(t.from))];
    if (t.is_fallback()) {
      fallbacks += cria::printable(t.name) + ": rows of " + std::to_string(t.columns) + " do not fit " + std::string(cria::name(t.wanted)) + ", so it is " +
                   std::string(cria::name(t.to)) + "\n";
    }
  }
  char line[160];
  std::snprintf(line, sizeof line, "%zu tensors, %.1f MB -> %.1f MB (%.1f %%), %.3f -> %.3f bits per weight, %.1f s\n", report.tensors.size(),
                static_cast<double>(before.all.bytes) / 1e6, static_cast<double>(after.all.bytes) / 1e6,
                before.all.bytes == 0 ? 100.0 : 100 * static_cast<double>(after.all.bytes) / static_cast<double>(before.all.bytes),
                before.all.bits_per_weight(), after.all.bits_per_weight(), seconds);
  std::string text = fallbacks;
  for (const auto& [type, n] : rounded_before) {
    text += std::to_string(n) + (n == 1 ? " tensor was " : " tensors were ") + type +
            " already and lost precision twice: quantise from F32, F16 or BF16 where you can\n";
  }
  return text + after.to_text() + flags.target + ": " + line;
}

result<void> run(const quantize_flags& flags) {
  const interrupt ctrl_c;
  cria::quantize_options options;
  options.type = *cria::find_file_type(flags.type);
  if (!flags.output_type.empty()) options.output_type = find_writable_type(flags.output_type);
  if (!flags.embedding_type.empty()) options.embedding_type = find_writable_type(flags.embedding_type);
  options.is_pure = flags.is_pure;
  options.n_threads = static_cast<std::size_t>(flags.threads);
  options.stop = ctrl_c.token();
  const auto start = std::chrono::steady_clock::now();
  const auto done = [&] {
    progress_bar bar("quantising");
    options.progress = [&bar](const cria::quantize_progress& p) {
      bar.show(p.total_bytes == 0 ? 1 : static_cast<double>(p.done_bytes) / static_cast<double>(p.total_bytes), cria::printable(p.tensor, 40));
      return true;
    };
    return cria::quantize_file(flags.source, flags.target, options);
  }();
  if (!done) return done.error();
  return print(describe(flags, *done, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()));
}

}  // namespace

void add_quantize(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<quantize_flags>();
  CLI::App& c = *app.add_subcommand("quantize", "Write a model with other types: cria quantize in.gguf out.gguf Q4_K_M");
  c.add_option("IN", flags->source, "GGUF file (of one in parts: the first); F32, F16 or BF16 is best")->required();
  c.add_option("OUT", flags->target, "what to write, in one file")->required();
  c.add_option("TYPE", flags->type, "one of " + file_type_names())->required()->check([](const std::string& given) {
    return cria::find_file_type(given) ? std::string{} : given + " is none of " + file_type_names();
  });
  c.add_option("--output-type", flags->output_type, "type of the output head (of the embeddings where they are that too)")->check(check_type);
  c.add_option("--embedding-type", flags->embedding_type, "type of the token embeddings")->check(check_type);
  c.add_flag("--pure", flags->is_pure, "no better type for any matrix");
  c.add_option("-t,--threads", flags->threads, "threads; 0: the physical cores")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{cria::thread_pool::max_threads}));
  c.callback([flags, &chosen] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria_program
