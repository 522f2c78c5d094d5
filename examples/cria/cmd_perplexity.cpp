// SPDX-License-Identifier: MIT
// cria perplexity: how well a model foretells a text, as llama-perplexity measures it; and how far its probabilities are from a reference's.
#include "command.hpp"
#include "progress_bar.hpp"

#include <cria/generate/logits_file.hpp>
#include <cria/generate/perplexity.hpp>

#include <cmath>

namespace cria_program {

namespace {

struct perplexity_flags {
  std::string model, save, reference;
  prompt_flags text;
  engine_flags engine;
  std::int64_t window = 512, chunks = 0;
};

template <class... Numbers>
std::string format(const char* pattern, Numbers... numbers) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, numbers...);
  return text;
}

std::string describe(const cria::perplexity& p, const cria::text_windows& windows) {
  return format("perplexity %.4f +/- %.5f (%zu windows of %zu tokens, %zu scored)\n", p.value(), p.error(), p.n_windows, windows.length(), p.nll.count());
}

std::string describe(const cria::divergence& d) {
  const double n = static_cast<double>(d.kl.count()), share = d.agreement();
  return format("reference perplexity %.4f +/- %.5f\n", std::exp(d.reference_nll.mean()), std::exp(d.reference_nll.mean()) * d.reference_nll.error()) +
         format("KL(reference || model) mean %.4g +/- %.2g, max %.4g nats\n", d.kl.mean(), d.kl.error(), d.largest) +
         format("same likeliest token %.3f %% +/- %.3f %%\n", 100 * share, n < 2 ? 0.0 : 100 * std::sqrt(share * (1 - share) / (n - 1)));
}

result<void> run(const perplexity_flags& flags) {
  const interrupt ctrl_c;
  CRIA_TRY(const std::string text, flags.text.read(ctrl_c.token()));
  std::optional<cria::logits_file> reference;
  if (!flags.reference.empty()) {
    CRIA_TRY(reference, cria::logits_file::open(flags.reference));
  }
  CRIA_TRY(const cria::model model, flags.engine.load(flags.model, ctrl_c.token()));
  cria::text_window_options cut;
  cut.window = static_cast<std::size_t>(flags.window);
  if (flags.chunks > 0) cut.max_windows = static_cast<std::size_t>(flags.chunks);
  CRIA_TRY(const cria::text_windows windows, cria::text_windows::create(model.tokenizer(), text, cut));
  if (reference) CRIA_CHECK(reference->check(model.tokenizer(), windows));
  std::optional<cria::logits_file_writer> saved;
  if (!flags.save.empty()) {
    CRIA_CHECK(check_output(flags.save, {flags.model, flags.text.file, flags.reference}));
    CRIA_TRY(auto sink, cria::replace_file(flags.save));
    CRIA_TRY(saved, cria::logits_file_writer::create(std::move(sink), model.tokenizer(), windows));
  }

  cria::perplexity measured;
  cria::divergence distance;
  cria::session_options options = flags.engine.session_options();
  options.context_size = windows.length();
  const auto observe = [&](const cria::scored_position& p) -> result<void> {
    if (saved) CRIA_CHECK((*saved)(p));
    return reference ? reference->compare(p, distance) : result<void>{};
  };
  auto done = with_session(flags.engine.chosen_cache(), model, options, [&](auto& session) -> result<void> {
    progress_bar bar("perplexity", when_piped::lines);
    cria::perplexity_options how;
    how.stop = ctrl_c.token();
    how.progress = [&](const cria::perplexity& p) {
      bar.show(static_cast<double>(p.n_windows) / static_cast<double>(windows.size()),
               format("%zu of %zu windows: %.4f +/- %.4f", p.n_windows, windows.size(), p.value(), p.error()));
      return true;
    };
    CRIA_TRY(measured, cria::measure_perplexity(session, windows, how, observe));
    return {};
  });
  CRIA_CHECK(std::move(done));
  if (saved) CRIA_CHECK(saved->commit());
  return print(describe(measured, windows) + (reference ? describe(distance) : ""));
}

}  // namespace

void add_perplexity(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<perplexity_flags>();
  CLI::App& c = *app.add_subcommand("perplexity", "Measure how well a model foretells a text, and how far it is from a reference");
  add_model_option(c, flags->model);
  flags->text.add_to(c, true);
  c.add_option("-c,--context", flags->window, "tokens of a window; the second half of each is scored")
      ->check(CLI::Range(std::int64_t{4}, std::int64_t{1} << 24))
      ->capture_default_str();
  c.add_option("--chunks", flags->chunks, "only so many windows, from the beginning; 0: all")->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31));
  c.add_option("--save-logits", flags->save, "keep what the model foretold in this file: two bytes for each token of the vocabulary and scored position");
  c.add_option("--kl", flags->reference, "compare with such a file, made from the same text with another file of the model");
  flags->engine.add_to(c, nullptr);
  c.callback([flags, &chosen] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria_program
