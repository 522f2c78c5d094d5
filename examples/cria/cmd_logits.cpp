// SPDX-License-Identifier: MIT
// cria logits: what the model makes of every position of a prompt, as JSON, and raw float32 [position][vocabulary] into a file.
#include "command.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>

namespace cria_program {

namespace {

struct logits_flags {
  std::string model, out;
  prompt_flags prompt;
  engine_flags engine;
  std::int64_t top = 8, batch = 256;
};

/// A file that is written piece by piece; close() tells whether all of it arrived.
class float_file {
 public:
  explicit float_file(const std::string& path) : path_(path) {}

  result<void> open() {
    file_.reset(std::fopen(path_.c_str(), "wb"));
    return file_ == nullptr ? failure() : result<void>{};
  }
  result<void> write(std::span<const float> row) {
    return std::fwrite(row.data(), sizeof(float), row.size(), file_.get()) == row.size() ? result<void>{} : failure();
  }
  result<void> close() { return std::fclose(file_.release()) == 0 ? result<void>{} : failure(); }

 private:
  struct closer {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  [[nodiscard]] result<void> failure() const { return error{errc::io, path_, std::strerror(errno)}; }

  std::string path_;
  std::unique_ptr<std::FILE, closer> file_;
};

double log_sum_exp(std::span<const float> row) {
  const double highest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - highest);
  return highest + std::log(sum);
}

result<void> run(const logits_flags& flags) {
  const interrupt ctrl_c;
  CRIA_TRY(const std::string text, flags.prompt.read(ctrl_c.token()));
  CRIA_TRY(const cria::model model, flags.engine.load(flags.model, ctrl_c.token()));
  CRIA_TRY(const auto tokens, model.tokenizer().encode(text));
  if (tokens.empty()) return error{errc::bad_argument, "prompt", "has no tokens"};
  float_file file(flags.out);
  if (!flags.out.empty()) {
    CRIA_CHECK(check_output(flags.out, {flags.model, flags.prompt.file}));
    CRIA_CHECK(file.open());
  }
  cria::session_options options = flags.engine.session_options();
  options.context_size = tokens.size();
  options.max_batch = static_cast<std::size_t>(flags.batch);
  const std::size_t n_vocab = model.vocab_size();
  nlohmann::ordered_json one = {{"prompt", text}, {"tokens", tokens}, {"positions", nlohmann::ordered_json::array()}};
  double nll = 0;

  auto evaluated = with_session(flags.engine.chosen_cache(), model, options, [&](auto& session) -> result<void> {
    const std::size_t stride = session.logits_stride();
    std::vector<float> rows(std::min(options.max_batch, tokens.size()) * stride);
    for (std::size_t first = 0; first < tokens.size(); first += options.max_batch) {
      const auto part = std::span(tokens).subspan(first, std::min(options.max_batch, tokens.size() - first));
      CRIA_CHECK(session.evaluate(part, rows, ctrl_c.token()));
      for (std::size_t i = 0; i < part.size(); ++i) {
        const std::span<const float> row = std::span(rows).subspan(i * stride, n_vocab);
        const double total = log_sum_exp(row);
        CRIA_TRY(const auto best, cria::top_candidates(row, static_cast<std::size_t>(flags.top)));
        auto top = nlohmann::ordered_json::array();
        for (const auto& c : best) top.push_back({c.id, c.logit});
        one["positions"].push_back({{"logsumexp", total}, {"top", std::move(top)}});
        if (first + i + 1 < tokens.size()) nll += total - row[static_cast<std::size_t>(tokens[first + i + 1])];
        if (!flags.out.empty()) CRIA_CHECK(file.write(row));
      }
    }
    return {};
  });
  CRIA_CHECK(std::move(evaluated));

  if (!flags.out.empty()) CRIA_CHECK(file.close());
  if (tokens.size() > 1) one["mean_nll"] = nll / static_cast<double>(tokens.size() - 1);
  nlohmann::ordered_json all = {{"n_vocab", n_vocab}, {"cases", nlohmann::ordered_json::array({std::move(one)})}};
  return print(all.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace

void add_logits(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<logits_flags>();
  CLI::App& c = *app.add_subcommand("logits", "Print the likeliest next tokens at every position of a prompt, as JSON");
  add_model_option(c, flags->model);
  flags->prompt.add_to(c, true);
  c.add_option("--top", flags->top, "tokens per position")->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))->capture_default_str();
  c.add_option("--out", flags->out, "write all logits to this file: float32, [position][vocabulary]");
  c.add_option("--batch", flags->batch, "process the prompt in parts of so many tokens")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{cria::session_options::most_batch}))
      ->capture_default_str();
  flags->engine.add_to(c, nullptr);
  c.callback([flags, &chosen] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria_program
