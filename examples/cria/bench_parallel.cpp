// SPDX-License-Identifier: MIT
#include "bench_parallel.hpp"

#include <cria/core/random.hpp>

#include <cinttypes>

namespace cria_program {

namespace {

struct parallel_row {
  std::size_t pp, tg, pl;
  double t_pp = 0, t_tg = 0;

  [[nodiscard]] std::size_t n_kv() const noexcept { return pl * (pp + tg); }
  [[nodiscard]] double speed_pp() const { return static_cast<double>(pl * pp) / t_pp; }
  [[nodiscard]] double speed_tg() const { return static_cast<double>(pl * tg) / t_tg; }
  [[nodiscard]] double speed() const { return static_cast<double>(n_kv()) / (t_pp + t_tg); }
};

std::string formatted(const char* format, auto... values) {
  char text[512];
  const int n = std::snprintf(text, sizeof text, format, values...);
  return {text, static_cast<std::size_t>(n)};
}

std::string line_of(const parallel_row& r, const cria::model& model, const parallel_plan& plan, std::size_t n_kv_max) {
  if (plan.format == report_format::md) {
    return formatted("|%6zu | %6zu | %4zu | %6zu | %8.3f | %8.2f | %8.3f | %8.2f | %8.3f | %8.2f | %-9s |\n", r.pp, r.tg, r.pl, r.n_kv(), r.t_pp, r.speed_pp(),
                     r.t_tg, r.speed_tg(), r.t_pp + r.t_tg, r.speed(), std::string(name(model.precision())).c_str());
  }
  return formatted(
             "{\"n_kv_max\": %zu, \"n_batch\": %zu, \"n_ubatch\": %zu, \"flash_attn\": 1, \"is_pp_shared\": 0, \"n_gpu_layers\": 0, \"n_threads\": %zu, "
             "\"n_threads_batch\": %zu, \"pp\": %zu, \"tg\": %zu, \"pl\": %zu, \"n_kv\": %zu, ",
             n_kv_max, plan.batch, plan.batch, plan.n_threads, plan.n_threads, r.pp, r.tg, r.pl, r.n_kv()) +
         formatted("\"t_pp\": %f, \"speed_pp\": %f, \"t_tg\": %f, \"speed_tg\": %f, \"t\": %f, \"speed\": %f, \"precision\": \"%s\"}\n", r.t_pp, r.speed_pp(),
                   r.t_tg, r.speed_tg(), r.t_pp + r.t_tg, r.speed(), std::string(name(model.precision())).c_str());
}

result<parallel_row> measure(const cria::model& model, const parallel_plan& plan, parallel_row row, const cria::stop_token& stop) {
  CRIA_TRY(auto engine, cria::batch_engine::create(model, {.max_sequences = row.pl,
                                                           .context_size = row.pp + row.tg + 1,
                                                           .max_batch = plan.batch,
                                                           .prompt_share = plan.batch,
                                                           .shares_prefixes = false,
                                                           .n_threads = plan.n_threads}));
  cria::generation_options options{.max_tokens = row.tg + 1, .sampling = cria::sampler_config::greedy(), .ignore_eos = true};
  cria::random_generator random(row.pl);
  for (std::size_t i = 0; i < row.pl; ++i) {
    std::vector<cria::token_id> prompt(std::max<std::size_t>(1, row.pp));
    for (cria::token_id& id : prompt) id = static_cast<cria::token_id>(random.next() % model.vocab_size());
    CRIA_CHECK(engine.add(prompt, options));
  }
  const double start = cria_bench::seconds_now();
  while (engine.statistics().n_first_tokens < row.pl) CRIA_CHECK(engine.step(stop));
  const double first = cria_bench::seconds_now();
  const std::uint64_t n_before = engine.statistics().n_generated_tokens;
  CRIA_CHECK(engine.run(stop));
  row.t_pp = first - start;
  row.t_tg = cria_bench::seconds_now() - first;
  // Sequences that were through with their prompt earlier have generated meanwhile: what is timed is what was left.
  const double n_left = static_cast<double>(engine.statistics().n_generated_tokens - n_before);
  if (n_left > 0) row.t_tg *= static_cast<double>(row.pl * row.tg) / n_left;
  return row;
}

}  // namespace

result<void> measure_parallel(const cria::model& model, const parallel_plan& plan, const cria::stop_token& stop) {
  if (plan.format == report_format::md) {
    CRIA_CHECK(print("|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s | precision |\n"
                     "|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|-----------|\n"));
  }
  std::size_t n_kv_max = 0;
  for (const std::size_t pp : plan.prompts) {
    for (const std::size_t tg : plan.generations) {
      for (const std::size_t pl : plan.sequences) n_kv_max = std::max(n_kv_max, pl * (pp + tg));
    }
  }
  for (const std::size_t pp : plan.prompts) {
    for (const std::size_t tg : plan.generations) {
      for (const std::size_t pl : plan.sequences) {
        if (pl == 0 || pp == 0 || tg == 0) continue;
        CRIA_TRY(const parallel_row row, measure(model, plan, {pp, tg, pl}, stop));
        CRIA_CHECK(print(line_of(row, model, plan, n_kv_max)));
      }
    }
  }
  return {};
}

}  // namespace cria_program
