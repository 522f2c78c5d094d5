// SPDX-License-Identifier: MIT
// bench_rows.hpp - the rows of `cria bench`: which there are, what is measured for one, and what follows from that.
//
//   pp N @ d D   N prompt tokens in passes of the session, logits of the last one, behind D positions
//   tg N @ d D   N single tokens, one after another, behind D positions
//
// Units     bytes, nanoseconds, tokens per second
// Ensures   the tokens are random but the same in every run; positions before a row's own are computed once and not timed. What the machine can do is
//           measured before and after each repetition, and after every 16 of a row's single tokens (bench_ceilings.hpp), in no sample's time.
#pragma once

#include "command.hpp"

#include "../../bench/machine.hpp"

#include <cmath>
#include <numeric>

namespace cria_program {

/// What the user asked for.
struct bench_plan {
  std::vector<std::size_t> prompts = {512}, generations = {128}, depths = {0}, threads = {0};
  std::size_t repetitions = 5, context = 0, batch = cria::session_options{}.max_batch;
  bool has_warm_up = true;

  [[nodiscard]] std::size_t needed_context() const {
    const auto most = [](const std::vector<std::size_t>& v) { return v.empty() ? 0 : *std::max_element(v.begin(), v.end()); };
    return most(depths) + std::max({most(prompts), most(generations), std::size_t{1}});
  }
};

/// What does not change from row to row of a model.
struct model_facts {
  std::string file, type;  ///< type: architecture, size and format
  std::uint64_t size_bytes = 0, n_params = 0;
  std::uint64_t token_bytes = 0;         ///< of weights that one token alone makes the processor read; of experts those that it uses
  std::uint64_t position_bytes = 0;      ///< of one layer's cache, for each position that a token looks back on
  cria::kv_shape cache{};
  double token_macs = 0, head_macs = 0;  ///< multiply-adds in products with quantised weights: for each token, for each row of logits
  bool is_quantised = false;             ///< whether these are most of the work

  static model_facts of(const cria::gguf::file& file, std::string name, const cria::model& model, cria::kv_type type);
  /// Returns the bytes of the cache that a token looks back on: the mean of n single tokens behind `depth` positions, in each layer within its window.
  [[nodiscard]] double cache_bytes(std::size_t depth, std::size_t n) const noexcept;
};

struct bench_row {
  const model_facts* model = nullptr;
  std::size_t n_threads = 0, n_batch = 0, n_prompt = 0, n_gen = 0, n_depth = 0;
  cria::precision precision = cria::precision::exact;
  cria::kv_type cache = cria::kv_type::f16;
  cria::isa::id set = cria::isa::id::scalar;
  std::string time;  ///< when the row was begun, UTC
  std::vector<double> samples_ns;
  double load_ns = 0, first_token_ns = 0;  ///< first token: the prompt and the choice of the likeliest token; 0 for rows without a prompt
  std::uint64_t peak_memory_bytes = 0;
  double read_bandwidth = 0, dot_peak = 0;  ///< of the machine with as many threads, at the time of the samples; 0 unknown

  [[nodiscard]] std::size_t n_tokens() const noexcept { return n_prompt + n_gen; }
  [[nodiscard]] std::vector<double> samples_ts() const {
    std::vector<double> out;
    for (const double ns : samples_ns) out.push_back(1e9 * static_cast<double>(n_tokens()) / ns);
    return out;
  }
  [[nodiscard]] double tokens_per_second() const;
  /// Returns bytes read from weights and cache, as a share of the machine's bandwidth, in percent; none for prompts.
  [[nodiscard]] std::optional<double> percent_of_bandwidth() const;
  /// Returns multiply-adds of bytes (two for each of the model's with precision exact) as a share of the machine's, in percent; none for single
  /// tokens.
  [[nodiscard]] std::optional<double> percent_of_dot_peak() const;
  /// Returns "pp512", "tg128 @ d1536".
  [[nodiscard]] std::string name() const {
    const std::string tokens = n_prompt > 0 ? "pp" + std::to_string(n_prompt) : "tg" + std::to_string(n_gen);
    return n_depth == 0 ? tokens : tokens + " @ d" + std::to_string(n_depth);
  }
};

[[nodiscard]] inline double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Returns the sample standard deviation; 0 for a single value.
[[nodiscard]] inline double deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double m = mean(values);
  double sum = 0;
  for (const double v : values) sum += (v - m) * (v - m);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

/// Returns the time of day as 2026-08-18T12:34:56Z.
[[nodiscard]] std::string utc_now();

/// Takes rows as they are measured.
using row_callback = std::function<result<void>(const bench_row&)>;

/// Measures every row of the plan on a loaded model. `known` has what rows have in common.
[[nodiscard]] result<void> measure_rows(const bench_plan& plan, const cria::model& model, const bench_row& known, const cria::stop_token& stop,
                                        const row_callback& done);

}  // namespace cria_program
