// SPDX-License-Identifier: MIT
#include "command.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <initializer_list>
#include <system_error>

namespace cria_program {

void let_repeat(CLI::Option& option) { option.expected(1)->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll); }

result<void> check_output(const std::string& out, std::initializer_list<std::string_view> inputs) {
  for (const std::string_view in : inputs) {
    std::error_code ignored;
    if (!in.empty() && std::filesystem::equivalent(std::filesystem::path(in), std::filesystem::path(out), ignored)) {
      return error{errc::bad_argument, out, "is a file that is read"};
    }
  }
  return {};
}

void usage_error(const std::string& option, const std::string& message) { throw CLI::ValidationError(option, message); }

void add_model_option(CLI::App& command, std::string& path) { command.add_option("-m,--model", path, "GGUF file (of one in parts: the first)")->required(); }

void engine_flags::add_to(CLI::App& command, const char* no_context) {
  command.add_option("-t,--threads", threads, "threads; 0: the physical cores")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{cria::thread_pool::max_threads}));
  if (no_context != nullptr) {
    command.add_option("-c,--context", context, std::string("positions of the cache; 0: ") + no_context)
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{cria::session_options::max_context}));
  }
  command.add_option("--precision", precision, "exact or fast")->check(CLI::IsMember({"exact", "fast"}))->capture_default_str();
  command.add_option("--cache", cache, cache_help)->check(CLI::IsMember(cache_names))->capture_default_str();
  command.add_option("--isa", isa, "instruction set instead of the best one; `cria cpu` lists them")->check([](const std::string& given) {
    return cria::isa::find(given) ? std::string{} : "no instruction set is called " + given;
  });
}

cria::precision engine_flags::chosen_precision() const { return precision == "fast" ? cria::precision::fast : cria::precision::exact; }

result<cria::model> engine_flags::load(const std::string& path, const cria::stop_token& stop) const {
  cria::load_options options;
  options.precision = chosen_precision();
  options.n_threads = static_cast<std::size_t>(threads);
  options.instruction_set = isa.empty() ? std::nullopt : cria::isa::find(isa);
  options.stop = stop;
  const bool shows = is_terminal(stderr);
  if (shows) {
    options.progress = [shown = -1](const cria::load_progress& p) mutable {
      const int percent = p.total_bytes == 0 ? 100 : static_cast<int>(p.done_bytes * 100 / p.total_bytes);
      if (percent != shown) std::fprintf(stderr, "\rloading %3d %%", percent);
      shown = percent;
      return true;
    };
  }
  auto model = cria::load_model(path, options);
  if (shows) std::fputs("\r              \r", stderr);
  return model;
}

cria::session_options engine_flags::session_options() const {
  cria::session_options options;
  options.n_threads = static_cast<std::size_t>(threads);
  options.context_size = static_cast<std::size_t>(context);
  return options;
}

cria::session_options engine_flags::session_options(const cria::model& model, std::size_t n_needed) const {
  cria::session_options options = session_options();
  if (context != 0) return options;
  const std::size_t trained = model.config().context_length, usual = options.context_for(trained);
  options.context_size = std::clamp(n_needed, usual, std::max(trained, cria::session_options::default_context));
  return options;
}

void lora_flags::add_to(CLI::App& command) {
  let_repeat(*command.add_option("--lora", given, "FILE[:SCALE]: LoRA adapter of the model, GGUF; may be given several times"));
}

result<std::vector<cria::adapter_choice>> lora_flags::load(const cria::model& model) const {
  std::vector<cria::adapter_choice> out;
  for (const std::string& one : given) {
    std::string path = one;
    float scale = 1;
    // What stands behind the last colon is a strength where it is a number, else part of the name.
    if (const std::size_t colon = one.rfind(':'); colon != one.npos && colon + 1 < one.size()) {
      char* end = nullptr;
      const float number = std::strtof(one.c_str() + colon + 1, &end);
      if (*end == '\0' && std::isfinite(number)) {
        path = one.substr(0, colon);
        scale = number;
      }
    }
    auto loaded = cria::load_adapter(path, model);
    if (!loaded) {
      error e = std::move(loaded).error();
      if (path.empty()) e.where = "--lora";
      else if (e.where != path) e.where = path + ", " + e.where;
      return e;
    }
    out.push_back({*std::move(loaded), scale});
  }
  return out;
}

void add_template_option(CLI::App& command, std::string& chosen) {
  std::string names;
  for (const cria::named_template& t : cria::named_templates) names += (names.empty() ? "" : ", ") + std::string(t.name);
  command.add_option("--chat-template", chosen, "instead of the model's own: " + names + ", or a Jinja file");
}

result<cria::chat_template> compile_file(const std::string& path, const cria::special_texts& texts) {
  CRIA_TRY(const std::string source, read_all(path));
  auto made = cria::chat_template::compile(source, texts);
  if (made) return made;
  error e = std::move(made).error();
  e.where = path + ", " + e.where;
  return e;
}

result<cria::chat_template> named_or_file(const std::string& chosen, const cria::special_texts& texts) {
  if (cria::find_named_template(chosen) != nullptr) return cria::chat_template::named(chosen, texts);
  auto made = compile_file(chosen, texts);
  if (made || made.error().code != errc::io) return made;
  error e = std::move(made).error();
  e.message += ": neither a template's name (--help lists them) nor a file";
  return e;
}

result<cria::chat_template> choose_template(const std::string& chosen, const cria::gguf::metadata& metadata, const cria::tokenizer& tokenizer) {
  if (chosen.empty()) return cria::chat_template::from_metadata(metadata, tokenizer);
  return named_or_file(chosen, cria::special_texts::of(tokenizer));
}

cria::jinja::civil_time local_now() {
  const std::time_t now = std::time(nullptr);
  std::tm t{};
#if defined(_WIN32)
  if (localtime_s(&t, &now) != 0) return cria::utc_now();
#else
  if (localtime_r(&now, &t) == nullptr) return cria::utc_now();
#endif
  return {t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec};
}

void prompt_flags::add_to(CLI::App& command, bool is_required) {
  auto* group = command.add_option_group("prompt");
  group->add_option("-p,--prompt", text, "the prompt");
  group->add_option("-f,--file", file, "file that holds it; - is standard input");
  if (is_required) {
    group->require_option(1);
  } else {
    group->require_option(0, 1);
  }
}

result<std::string> prompt_flags::read(const cria::stop_token& stop) const {
  if (text) return *text;
  return read_all(file.empty() ? "-" : file, stop);
}

}  // namespace cria_program
