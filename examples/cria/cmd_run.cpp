// SPDX-License-Identifier: MIT
// cria run: answers a question (with the model's chat template) or continues a text (--raw, or a model without a template).
#include "command.hpp"
#include "grammar_flags.hpp"
#include "sampling_flags.hpp"

#include <algorithm>
#include <chrono>
#include <cinttypes>

namespace cria_program {

namespace {

struct run_flags {
  std::string model, system, chat_template, draft;
  prompt_flags prompt;
  engine_flags engine;
  lora_flags lora;
  grammar_flags grammar;
  std::int64_t n_tokens = -1;
  bool is_raw = false, prints_ids = false, prints_stats = false, looks_up = false;
  sampling_flags sampling;
  cria::generation_options options;
};

/// A prompt as tokens, and whether the reply begins a turn.
struct wrapped_prompt {
  std::vector<cria::token_id> tokens;
  bool is_turn = false;
};

/// Makes the prompt, and has generation end where the template ends a turn.
result<wrapped_prompt> wrap(run_flags& flags, const cria::model& model, const std::string& text) {
  auto found = flags.is_raw ? error{errc::missing_key, {}} : choose_template(flags.chat_template, model.metadata(), model.tokenizer());
  const bool has_template = found || !flags.chat_template.empty() || found.error().code != errc::missing_key;
  if (has_template) {
    if (!found) {
      error e = std::move(found).error();
      if (flags.chat_template.empty()) e.message += "; use --chat-template, or --raw to complete the prompt as it stands";
      return e;
    }
    cria::conversation talk;
    talk.set_system(flags.system);
    talk.add("user", text);
    CRIA_TRY(auto tokens, found->encode(talk, model.tokenizer(), {.now = local_now()}));
    CRIA_TRY(const cria::reply_ends ends, found->ends(model.tokenizer()));
    flags.options.stop_tokens.insert(flags.options.stop_tokens.end(), ends.tokens.begin(), ends.tokens.end());
    if (!flags.options.grammar) flags.options.stop_strings.insert(flags.options.stop_strings.end(), ends.strings.begin(), ends.strings.end());
    return wrapped_prompt{std::move(tokens), true};
  }
  if (!flags.system.empty()) return error{errc::bad_argument, "--system", "the model has no chat template to put it into"};
  CRIA_TRY(auto tokens, model.tokenizer().encode(text));
  return wrapped_prompt{std::move(tokens)};
}

void print_stats(const cria::generation& g, const cria::session_statistics& s, const cria::model& model, double load_seconds, std::uint64_t seed) {
  std::fprintf(stderr,
               "\nload        %.2f s, %.1f MB of weights, %s, %s\n"
               "prompt      %zu tokens (%zu reused), %.1f tokens/s\n"
               "first token %.3f s\n"
               "generated   %zu tokens, %.1f tokens/s, ended by %s\n"
               "cache       %zu of %zu positions, %.1f MB\n"
               "seed        %" PRIu64 "\n",
               load_seconds, static_cast<double>(model.weight_bytes()) / 1e6, std::string(cria::isa::name(model.kernels().set)).c_str(),
               std::string(name(model.precision())).c_str(), g.n_prompt, g.n_reused, g.prompt_tokens_per_second(), g.timings.first_token_seconds,
               g.n_generated(), g.tokens_per_second(), std::string(name(g.reason)).c_str(), s.length, s.capacity, static_cast<double>(s.cache_bytes) / 1e6,
               seed);
  if (g.grammar.n_tokens == 0) return;
  std::fprintf(stderr, "grammar     %zu masks for %zu tokens, at most %zu nodes and %zu steps for one\n", g.grammar.n_masks_built, g.grammar.n_tokens,
               g.grammar.most_nodes, g.grammar.most_steps);
}

void print_speculation(const cria::speculative_statistics& s) {
  std::fprintf(stderr, "guesses     %zu of %zu right, %zu passes, about %.2f times as fast as without\n", s.n_accepted, s.n_guessed, s.n_passes, s.speed_up());
}

/// Generates, with guesses where they are asked for.
template <class Session, class Callback>
result<cria::generation> generate(Session& session, const wrapped_prompt& prompt, const run_flags& flags, Callback& on_token) {
  const auto speculate = [&](auto& drafter) -> result<cria::generation> {
    CRIA_TRY(auto done, cria::generate_speculatively(session, prompt.tokens, flags.options, drafter, on_token));
    if (flags.prints_stats) print_speculation(done.speculation);
    return cria::generation(std::move(done));
  };
  if (flags.looks_up) {
    cria::lookup_drafter drafter;
    return speculate(drafter);
  }
  if (flags.draft.empty()) return session.generate(prompt.tokens, flags.options, on_token);
  CRIA_TRY(auto draft, flags.engine.load(flags.draft, flags.options.stop));
  cria::session_options options = flags.engine.session_options();
  options.context_size = session.capacity();
  CRIA_TRY(auto drafter, cria::model_drafter::create(std::move(draft), session.model(), options));
  return speculate(drafter);
}

/// Streams one generation to stdout, as text or as ids.
template <class Session>
result<void> reply(Session& session, const wrapped_prompt& prompt, const run_flags& flags, cria::generation& done) {
  result<void> written;
  bool is_start = true;
  const auto on_token = [&](const cria::token_event& event) {
    if (flags.prints_ids) {
      if (event.token != cria::no_token) written = print((event.index == 0 ? "" : " ") + std::to_string(event.token));
      return written.has_value();
    }
    std::string_view text = event.text;
    if (is_start && prompt.is_turn && !flags.options.grammar) text = cria::without_added_space(text, session.model().tokenizer());
    if (!event.text.empty()) is_start = false;
    if (!text.empty()) written = print(text);
    return written.has_value();
  };
  CRIA_TRY(done, generate(session, prompt, flags, on_token));
  CRIA_CHECK(std::move(written));
  return flags.prints_ids ? print("\n") : end_line_on_terminal();
}

/// Returns the positions that the prompt and -n need; without -n whatever the model has, unless the prompt leaves room in the usual context.
std::size_t needed_context(const run_flags& flags, const cria::model& model, std::size_t n_prompt) {
  if (flags.n_tokens >= 0) return n_prompt + static_cast<std::size_t>(flags.n_tokens);
  return n_prompt < cria::session_options{}.context_for(std::size_t{model.config().context_length}) ? n_prompt : cria::session_options::max_context;
}

result<void> run(run_flags& flags) {
  const interrupt ctrl_c;
  CRIA_TRY(flags.options.grammar, flags.grammar.read());
  CRIA_TRY(const std::string text, flags.prompt.read(ctrl_c.token()));
  const auto start = std::chrono::steady_clock::now();
  CRIA_TRY(const cria::model model, flags.engine.load(flags.model, ctrl_c.token()));
  const double load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CRIA_TRY(const wrapped_prompt prompt, wrap(flags, model, text));
  flags.options.stop = ctrl_c.token();
  if (!flags.lora.given.empty()) {
    CRIA_TRY(flags.options.adapters, flags.lora.load(model));
  }
  const cria::session_options options = flags.engine.session_options(model, needed_context(flags, model, prompt.tokens.size()));
  return with_session(flags.engine.chosen_cache(), model, options, [&](auto& session) -> result<void> {
    cria::generation done;
    CRIA_CHECK(reply(session, prompt, flags, done));
    const bool is_cut = flags.options.grammar && done.reason != cria::finish_reason::end_of_text;
    const bool is_cancelled = done.reason == cria::finish_reason::cancelled;
    if (flags.prints_stats) print_stats(done, session.statistics(), model, load_seconds, flags.options.sampling.seed);
    if (is_cancelled) return error{errc::cancelled, "reply", done.n_generated() == 0 ? "before it began" : "before its end"};
    if (is_cut) return error{errc::truncated, "reply", "ended by " + std::string(name(done.reason)) + " before it was what the grammar wants"};
    return {};
  });
}

/// What only the whole command line can tell.
void check(run_flags& flags) {
  if (flags.n_tokens >= 0) flags.options.max_tokens = static_cast<std::size_t>(flags.n_tokens);
  flags.options.sampling = flags.sampling.checked();
  for (const std::string& stop : flags.options.stop_strings) {
    if (stop.empty()) usage_error("--stop", "is empty");
  }
  if (flags.is_raw && !flags.chat_template.empty()) usage_error("--chat-template", "is what --raw leaves out");
  if (flags.is_raw && !flags.system.empty()) usage_error("--system", "needs the chat template that --raw leaves out");
}

}  // namespace

void add_run(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<run_flags>();
  CLI::App& c = *app.add_subcommand("run", "Answer a question or continue a text, streaming");
  add_model_option(c, flags->model);
  flags->prompt.add_to(c, true);
  c.add_option("-n,--tokens", flags->n_tokens, "at most so many tokens; -1: until the model ends")->check(CLI::Range(std::int64_t{-1}, std::int64_t{1} << 31));
  c.add_flag("--raw", flags->is_raw, "continue the prompt as it stands, without the chat template");
  c.add_option("--system", flags->system, "system message");
  add_template_option(c, flags->chat_template);
  flags->sampling.add_to(c);
  let_repeat(*c.add_option("--stop", flags->options.stop_strings, "end before this text; may be given several times"));
  flags->grammar.add_to(c, "the reply");
  auto* lookup = c.add_flag("--lookup", flags->looks_up, "guess ahead what was there before: faster where the answer repeats the prompt, the same text");
  c.add_option("--draft", flags->draft, "smaller GGUF model of the same vocabulary that guesses ahead: the same text")->excludes(lookup);
  flags->lora.add_to(c);
  flags->engine.add_to(c, growing_context);
  c.add_flag("--ids", flags->prints_ids, "print token ids instead of text");
  c.add_flag("--stats", flags->prints_stats, "print times and counts on stderr");
  c.callback([flags, &chosen] {
    check(*flags);
    chosen = [flags] { return run(*flags); };
  });
}

}  // namespace cria_program
