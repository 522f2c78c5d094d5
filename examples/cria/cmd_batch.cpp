// SPDX-License-Identifier: MIT
// cria batch: answers a file of requests, many at once; results in the order of the requests, one line each.
//
//   in   {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}; also id, max_tokens, every number of cria::sampler_config by its name
//        (temperature, top_k, seed, ...), stop, json_schema: what the text must satisfy,
//        and lora: [{"id": 0, "scale": 0.5}, ...], which of the --lora files act on this line, counted from 0, as strongly as it says; without it all act.
//        Other keys are the writer's own: they are passed over, but for those by which requests of servers ask for what is not done here (tools, n, ...).
//   out  {"line": 1, "id": ..., "request": "...", "text": "...", "finish_reason": "...", "prompt_tokens": 5, "completion_tokens": 17}
//        {"line": 2, "request": "...", "error": {"code": "...", "message": "..."}} for a line that is no request
//        request: a checksum of what the line asks for
//
// A result is one write of a whole line, so that an interrupted run leaves a beginning of the results; the next run goes on behind it, if numbers, ids and
// checksums are those of the requests, line by line. A request that has changed since is an error: its old answer is neither kept as if it were the new one
// nor thrown away. A request's random numbers come from --seed and the number of its line: what is computed again is the same.
#include "command.hpp"
#include "grammar_flags.hpp"
#include "progress_bar.hpp"
#include "request_fields.hpp"
#include "sampling_flags.hpp"

#include <cria/core/checksum.hpp>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <unordered_map>

namespace cria_program {

namespace {

using json = nlohmann::ordered_json;

struct batch_flags {
  std::string model, in, out, chat_template;
  engine_flags engine;
  lora_flags lora;
  grammar_flags grammar;
  std::size_t parallel = 16, n_tokens = 256, cache_positions = 0;
  bool starts_over = false;
  cria::generation_options options;
  std::optional<cria::chat_template> chosen_template;   ///< none: the model's own
};

/// A line of the input that holds something.
struct request_line {
  std::size_t number;  ///< counted from 1
  std::string_view text;
};

std::vector<request_line> lines_of(std::string_view text) {
  std::vector<request_line> out;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) out.push_back({number, line});
  }
  return out;
}

/// What a line asks for.
struct request {
  std::vector<cria::token_id> prompt;
  cria::generation_options options;
  bool is_turn = false;  ///< the text begins a turn: its first space may be the vocabulary's
};

/// Returns what the writer calls a request, null where it has no name.
json id_of(const json& line) {
  json id;
  for (const char* key : {"id", "custom_id"}) {
    if (line.contains(key)) id = line.at(key);
  }
  return id;
}

/// Which request a line is.
struct request_key {
  json id;
  std::string checksum;   ///< of everything that the answer depends on

  static request_key of(const json& line, std::string_view text) {
    request_key made;
    cria::checksum64 sum;
    if (line.is_object()) {
      made.id = id_of(line);
      json asked = json::object();
      const auto take = [&](std::string_view key) {
        if (line.contains(key)) asked[std::string(key)] = line.at(key);
      };
      for (const char* key : {"prompt", "messages", "max_tokens", "stop", "json_schema", "lora"}) take(key);
      for (const std::string_view key : sampling_keys()) take(key);
      sum.update(asked.dump(-1, ' ', false, json::error_handler_t::replace));
    } else {
      sum.update(text);
    }
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016" PRIx64, sum.value());
    made.checksum = digits;
    return made;
  }
};

/// Reads a line as JSON: null where it is no request.
json parse_line(std::string_view text) { return parse_request(text).value_or(json()); }

/// Chooses among the adapters of the command line, as llama-server's requests do.
result<void> read_lora(const json& line, cria::generation_options& o) {
  if (!line.contains("lora")) return {};
  const json& list = line.at("lora");
  if (!list.is_array()) return bad_field("lora", "is not a list");
  const std::vector<cria::adapter_choice> all = o.adapters.value_or(std::vector<cria::adapter_choice>{});
  o.adapters.emplace();
  for (const json& one : list) {
    std::size_t id = all.size();
    float scale = 1;
    if (!one.is_object() || !one.contains("id")) return bad_field("lora", "has an entry without an \"id\"");
    CRIA_CHECK(read_number(one, "id", 0, 1e9, id));
    CRIA_CHECK(read_number(one, "scale", -1e6, 1e6, scale));
    if (id >= all.size()) return bad_field("lora", "id " + std::to_string(id) + ", but there are " + std::to_string(all.size()) + " adapters");
    o.adapters->push_back({all[id].adapter, scale});
  }
  return {};
}

/// What servers would do, and the answer here would lack.
const std::vector<foreign_wish>& foreign_wishes() {
  static const std::vector<foreign_wish> wishes = {{"body", "is not read: the request itself is the line", {}},
                                                   {"max_completion_tokens", "is called max_tokens here", {}},
                                                   {"response_format", "is not read: json_schema takes the schema itself", json::object({{"type", "text"}})},
                                                   {"grammar", "is not read: --grammar is for every line", {}},
                                                   {"tools", "are not done here", {}},
                                                   {"functions", "are not done here", {}},
                                                   {"logit_bias", "is not done here", {}},
                                                   {"logprobs", "are not done here", false},
                                                   {"n", "is not done here: a line has one answer", 1},
                                                   {"best_of", "is not done here: a line has one answer", 1}};
  return wishes;
}

result<void> read_options(const json& line, cria::generation_options& o) {
  CRIA_CHECK(refuse_wishes(line, foreign_wishes()));
  CRIA_CHECK(read_number(line, "max_tokens", 0, 1e9, o.max_tokens));
  CRIA_CHECK(read_sampling(line, o.sampling));
  CRIA_CHECK(read_lora(line, o));
  return read_stop(line, o.stop_strings);
}

/// Turns lines into requests; the model's own chat template is read when the first line needs it.
class request_reader {
 public:
  request_reader(const cria::model& model, const batch_flags& flags) : model_(model), usual_(flags.options), template_(flags.chosen_template) {}

  /// `key` is set whatever comes: an error names it too.
  result<request> read(const request_line& from, request_key& key) {
    const auto parsed = parse_request(from.text);
    key = request_key::of(parsed.value_or(json()), from.text);
    if (!parsed) return bad_field("line", parsed.error().message);
    const json& line = *parsed;
    request out;
    out.options = usual_;
    out.options.sampling.seed += from.number;
    CRIA_CHECK(read_options(line, out.options));
    if (line.contains("json_schema") && !line.at("json_schema").is_null()) {
      CRIA_TRY(out.options.grammar, schemas_.get(line.at("json_schema"), "json_schema"));
    }
    if (line.contains("messages")) {
      CRIA_TRY(out.prompt, chat_prompt(line.at("messages"), out.options));
      out.is_turn = !out.options.grammar;
    } else if (line.contains("prompt") && line.at("prompt").is_string()) {
      CRIA_TRY(out.prompt, model_.tokenizer().encode(line.at("prompt").get_ref<const std::string&>()));
    } else {
      return bad_field("line", "has neither a text \"prompt\" nor \"messages\"");
    }
    return out;
  }

 private:
  result<std::vector<cria::token_id>> chat_prompt(const json& messages, cria::generation_options& o) {
    if (messages.empty()) return bad_field("messages", "has none");
    if (!template_) {
      CRIA_TRY(template_, cria::chat_template::from_model(model_));
    }
    CRIA_TRY(const auto talk, cria::conversation::parse(messages.dump()));
    CRIA_TRY(auto tokens, template_->encode(talk, model_.tokenizer(), {.now = local_now()}));
    CRIA_TRY(const auto ends, template_->ends(model_.tokenizer()));
    o.stop_tokens.insert(o.stop_tokens.end(), ends.tokens.begin(), ends.tokens.end());
    if (!o.grammar) o.stop_strings.insert(o.stop_strings.end(), ends.strings.begin(), ends.strings.end());
    return tokens;
  }

  const cria::model& model_;
  cria::generation_options usual_;
  std::optional<cria::chat_template> template_;
  schema_grammars schemas_;
};

enum class answers : std::uint8_t { this_request, this_request_before_it_changed, something_else };

/// Returns what a line of results answers, as far as it tells: by number, id and checksum.
answers what_it_answers(const json& entry, const request_line& asked) {
  if (!entry.is_object() || !entry.contains("line") || entry.at("line") != asked.number) return answers::something_else;
  const request_key key = request_key::of(parse_line(asked.text), asked.text);
  if (id_of(entry) != key.id) return answers::something_else;
  return !entry.contains("request") || entry.at("request") == key.checksum ? answers::this_request : answers::this_request_before_it_changed;
}

std::string line_of(json entry) { return entry.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"; }

/// begun: the vocabulary whose space before a first word is no part of the text, nullptr where there is none.
std::string result_line(std::size_t number, const request_key& key, const cria::tokenizer* begun, const result<cria::generation>& outcome) {
  json entry = {{"line", number}};
  if (!key.id.is_null()) entry["id"] = key.id;
  entry["request"] = key.checksum;
  if (outcome) {
    entry["text"] = begun != nullptr ? cria::without_added_space(outcome->text, *begun) : std::string_view(outcome->text);
    entry["finish_reason"] = name(outcome->reason);
    entry["prompt_tokens"] = outcome->n_prompt;
    entry["completion_tokens"] = outcome->n_generated();
  } else {
    const error& e = outcome.error();
    entry["error"] = {{"code", name(e.code)}, {"message", e.where.empty() || e.message.empty() ? e.where + e.message : e.where + ": " + e.message}};
  }
  return line_of(std::move(entry));
}

/// The results file: knows what earlier runs have left in it, and takes lines in order.
class result_file {
 public:
  /// Opens the file to go on behind its last whole line. Nothing of it is changed before begin().
  /// Errors: io; mismatch where its lines are not results of the first of these, line by line.
  static result<result_file> open(const std::string& path, std::span<const request_line> lines, bool starts_over) {
    result_file made;
    if (path == "-") return made;
    std::size_t kept = 0;
    if (!starts_over && std::filesystem::is_regular_file(path)) {
      CRIA_TRY(const std::string old, read_all(path));
      for (std::size_t end; (end = old.find('\n', kept)) != std::string::npos; kept = end + 1, ++made.n_done_) {
        const json entry = json::parse(std::string_view(old).substr(kept, end - kept), nullptr, false);
        const answers what = made.n_done_ == lines.size() ? answers::something_else : what_it_answers(entry, lines[made.n_done_]);
        if (what == answers::something_else) return no_result(path, made.n_done_);
        if (what == answers::this_request_before_it_changed) {
          return error{errc::mismatch, path,
                       "line " + std::to_string(made.n_done_ + 1) + " answers line " + std::to_string(lines[made.n_done_].number) +
                           " of the requests as it was before it changed; what comes before can be kept by cutting the file there, --overwrite starts over"};
        }
        made.n_errors_ += entry.contains("error");
      }
      // What an interrupted run leaves at the end is the beginning of a result.
      const std::string begun = "{\"line\":" + (made.n_done_ < lines.size() ? std::to_string(lines[made.n_done_].number) : std::string()) + ",";
      const std::size_t n = std::min(begun.size(), old.size() - kept);
      if (old.compare(kept, n, begun, 0, n) != 0) return no_result(path, made.n_done_);
    }
    made.path_ = path;
    made.kept_ = kept;
    made.file_.reset(std::fopen(path.c_str(), "ab"));
    if (made.file_ == nullptr) return error{errc::io, path, "cannot be written: " + std::generic_category().message(errno)};
    return made;
  }

  [[nodiscard]] std::size_t n_done() const noexcept { return n_done_; }
  /// Returns how many of those say why there is no answer.
  [[nodiscard]] std::size_t n_errors() const noexcept { return n_errors_; }

  /// Cuts off what is not kept.
  result<void> begin() const {
    std::error_code failure;
    if (file_ && std::filesystem::is_regular_file(path_)) std::filesystem::resize_file(path_, kept_, failure);
    return failure ? error{errc::io, path_, failure.message()} : result<void>{};
  }

  result<void> write(const std::string& line) {
    if (!file_) return print(line);
    if (std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size() && std::fflush(file_.get()) == 0) return {};
    return error{errc::io, "results", "cannot be written: " + std::generic_category().message(errno) + "; the same command goes on from here"};
  }

 private:
  struct closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  static error no_result(const std::string& path, std::size_t n_before) {
    return {errc::mismatch, path, "line " + std::to_string(n_before + 1) + " is not a result of this input; --overwrite starts over"};
  }

  std::string path_;
  std::size_t kept_ = 0;
  std::unique_ptr<std::FILE, closer> file_;   // none: standard output
  std::size_t n_done_ = 0, n_errors_ = 0;
};

result<void> all_answered(std::size_t n_errors) {
  if (n_errors == 0) return {};
  return error{errc::bad_value, "requests", std::to_string(n_errors) + " have no answer: their results say why"};
}

/// The lines on their way: those that were handed to the engine, and results that wait for an earlier one.
template <class Engine>
class line_queue {
 public:
  line_queue(Engine& engine, request_reader& reader, result_file& out) : engine_(engine), reader_(reader), out_(out) {}

  [[nodiscard]] std::size_t n_open() const noexcept { return slots_.size(); }
  [[nodiscard]] std::size_t n_errors() const noexcept { return n_errors_; }

  /// Hands a line to the engine; one that is no request has its result at once.
  void add(const request_line& line) {
    slots_.push_back({line.number, {}, {}, false});
    slot& place = slots_.back();
    auto asked = reader_.read(line, place.key);
    place.is_turn = asked && asked->is_turn;
    auto id = asked ? engine_.add(asked->prompt, asked->options) : result<cria::batch_id>(std::move(asked).error());
    if (id) {
      places_[*id] = line.number;
    } else {
      settle(place, std::move(id).error());
    }
  }

  /// Takes what the engine has finished, and writes what is next in order. Returns how many lines were written.
  result<std::size_t> drain() {
    while (auto ended = engine_.next_finished()) {
      const auto place = places_.find(ended->id);
      const auto is_place = [&](const slot& s) { return s.number == place->second; };
      settle(*std::find_if(slots_.begin(), slots_.end(), is_place), ended->outcome);
      places_.erase(place);
    }
    std::size_t n = 0;
    for (; !slots_.empty() && !slots_.front().line.empty(); slots_.pop_front(), ++n) CRIA_CHECK(out_.write(slots_.front().line));
    return n;
  }

 private:
  struct slot {
    std::size_t number;
    request_key key;
    std::string line;  ///< empty: not yet known
    bool is_turn;
  };

  void settle(slot& place, const result<cria::generation>& outcome) {
    n_errors_ += !outcome;
    place.line = result_line(place.number, place.key, place.is_turn ? &engine_.model().tokenizer() : nullptr, outcome);
  }

  Engine& engine_;
  request_reader& reader_;
  result_file& out_;
  std::deque<slot> slots_;
  std::unordered_map<cria::batch_id, std::size_t> places_;
  std::size_t n_errors_ = 0;
};

/// Answers the lines that have no result yet.
template <class Engine>
result<void> answer(const batch_flags& flags, const cria::model& model, std::span<const request_line> lines, result_file& out, const cria::stop_token& stop) {
  CRIA_TRY(auto engine, Engine::create(model, {.max_sequences = flags.parallel,
                                               .context_size = static_cast<std::size_t>(flags.engine.context),
                                               .cache_positions = flags.cache_positions,
                                               .n_threads = static_cast<std::size_t>(flags.engine.threads)}));
  request_reader reader(model, flags);
  line_queue queue(engine, reader, out);
  std::size_t n_written = out.n_done(), next = n_written;
  const auto start = std::chrono::steady_clock::now();
  const auto rate = [&] {
    return static_cast<double>(engine.statistics().n_generated_tokens) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  {
    progress_bar bar("batch");
    while (n_written < lines.size()) {
      // So many ahead that a long request in front leaves no place empty, so few that memory stays bounded.
      while (next < lines.size() && queue.n_open() < 8 * flags.parallel) queue.add(lines[next++]);
      CRIA_CHECK(engine.step(stop));
      CRIA_TRY(const std::size_t n, queue.drain());
      n_written += n;
      bar.show(static_cast<double>(n_written) / static_cast<double>(lines.size()),
               std::to_string(n_written) + " of " + std::to_string(lines.size()) + ", " + std::to_string(static_cast<long>(rate())) + " tokens/s");
    }
  }
  const cria::batch_statistics s = engine.statistics();
  const std::size_t n_errors = out.n_errors() + queue.n_errors();
  std::fprintf(stderr, "%zu requests, %zu done before, %zu errors; %llu tokens, %.1f tokens/s; %.0f %% of the prompt tokens were shared\n", lines.size(),
               out.n_done(), n_errors, static_cast<unsigned long long>(s.n_generated_tokens), rate(), 100 * s.hit_rate());
  return all_answered(n_errors);
}

result<void> run(batch_flags& flags) {
  const interrupt ctrl_c;
  CRIA_TRY(flags.options.grammar, flags.grammar.read());
  CRIA_TRY(const std::string text, read_all(flags.in, ctrl_c.token()));
  const std::vector<request_line> lines = lines_of(text);
  CRIA_CHECK(check_output(flags.out, {flags.in, flags.model}));
  CRIA_TRY(auto out, result_file::open(flags.out, lines, flags.starts_over));
  if (out.n_done() == lines.size()) {
    CRIA_CHECK(out.begin());
    std::fprintf(stderr, "%zu requests, all done before, %zu errors\n", lines.size(), out.n_errors());
    return all_answered(out.n_errors());
  }
  CRIA_TRY(const cria::model model, flags.engine.load(flags.model, ctrl_c.token()));
  CRIA_TRY(flags.options.adapters, flags.lora.load(model));
  if (!flags.chat_template.empty()) {
    CRIA_TRY(flags.chosen_template, choose_template(flags.chat_template, model.metadata(), model.tokenizer()));
  }
  CRIA_CHECK(out.begin());
  if (flags.engine.chosen_cache() == cria::kv_type::f32) {
    return answer<cria::basic_batch_engine<cria::kv_type::f32>>(flags, model, lines, out, ctrl_c.token());
  }
  if (flags.engine.chosen_cache() == cria::kv_type::bf16) {
    return answer<cria::basic_batch_engine<cria::kv_type::bf16>>(flags, model, lines, out, ctrl_c.token());
  }
  return answer<cria::batch_engine>(flags, model, lines, out, ctrl_c.token());
}

}  // namespace

void add_batch(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<batch_flags>();
  cria::sampler_config& sampling = flags->options.sampling;
  CLI::App& c = *app.add_subcommand("batch", "Answer a file of requests, many at once; an interrupted run goes on where it stopped");
  add_model_option(c, flags->model);
  c.add_option("-f,--in", flags->in, "requests, one JSON object a line: \"prompt\" or \"messages\"; - is standard input")->required();
  c.add_option("-o,--out", flags->out, "results, one JSON object a line, in the same order; - is standard output")->required();
  c.add_option("--parallel", flags->parallel, "requests at once")
      ->check(CLI::Range(std::size_t{1}, cria::batch_options::most_sequences))
      ->capture_default_str();
  c.add_option("-n,--tokens", flags->n_tokens, "at most so many tokens for each, unless a line says otherwise")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31))
      ->capture_default_str();
  c.add_option("--cache-positions", flags->cache_positions, "positions of all requests together; 0: full contexts for all")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{cria::session_options::max_context}));
  c.add_flag("--overwrite", flags->starts_over, "forget the results that are there");
  add_template_option(c, flags->chat_template);
  c.add_option("--temp", sampling.temperature, "temperature; 0 is greedy")->capture_default_str();
  c.add_option("--seed", sampling.seed, "of the random numbers; each line has its own")->check(seed_check)->capture_default_str();
  flags->lora.add_to(c);
  flags->grammar.add_to(c, "every reply");
  flags->engine.add_to(c, usual_context);
  c.footer(
      "A request: {\"prompt\": TEXT} or {\"messages\": [{\"role\": ..., \"content\": ...}, ...]}; beside it may stand id (any value, which the result "
      "repeats),\n"
      "max_tokens, temperature, top_k, top_p, min_p, seed and the other numbers of cria::sampler_config, stop (a text or a list), json_schema,\n"
      "lora ([{\"id\": N of the --lora options, \"scale\": S}]). Other keys are passed over, but tools, response_format, n and their like are an error.\n"
      "A result: {\"line\": N, \"id\": ..., \"request\": a checksum of the request, \"text\": ..., \"finish_reason\": ..., \"prompt_tokens\": N,\n"
      "\"completion_tokens\": N}, or \"error\" with code and message. A request that has changed since its result was written is an error.\n"
      "Exit status: 1 where a request has no answer.");
  c.callback([flags, &chosen] {
    flags->options.max_tokens = flags->n_tokens;
    if (const auto valid = flags->options.sampling.validate(); !valid) usage_error(valid.error().where, valid.error().message);
    chosen = [flags] { return run(*flags); };
  });
}

}  // namespace cria_program
