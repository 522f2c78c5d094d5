// SPDX-License-Identifier: MIT
// cria bench: how fast a model is read and loaded, its prompts processed and its tokens generated, next to what the machine could do.
#include "bench_parallel.hpp"
#include "bench_report.hpp"
#include "bench_rows.hpp"
#include "bench_targets.hpp"
#include "value_list.hpp"

#include "../../bench/synthetic_model.hpp"

#include <memory>

namespace cria_program {

namespace {

struct bench_flags {
  std::string model, synthetic, save_path, output = "md";
  std::string prompts = "512", generations = "128", depths = "0", threads = "0", precisions = "exact,fast", isa, cache = "f16", parallel;
  std::size_t repetitions = 5, context = 0, batch = cria::session_options{}.max_batch;
  bool has_no_warm_up = false, wants_targets = false;
};

/// Everything of the flags, understood.
struct bench_order {
  bench_plan plan;
  std::vector<cria::precision> precisions;
  std::optional<cria::isa::id> set;
  cria::kv_type cache = cria::kv_type::f16;
  report_format format = report_format::md;
  const cria_bench::model_shape* shape = nullptr;  // of a synthetic model
  const cria_bench::synthetic_type* type = nullptr;
  std::vector<std::size_t> parallel;               // sequences at once; none: one after another
};

/// Reads "tinyllama" or "tinyllama:Q4_K_M".
void parse_synthetic(const std::string& text, bench_order& order) {
  const std::size_t colon = text.find(':');
  order.shape = cria_bench::find_shape(std::string_view(text).substr(0, colon));
  order.type = cria_bench::find_type(colon == std::string::npos ? "Q4_0" : std::string_view(text).substr(colon + 1));
  std::string known;
  if (order.shape == nullptr) {
    for (const auto& s : cria_bench::model_shapes) known.append(" ").append(s.name);
    usage_error("--synthetic", "no shape is called " + text.substr(0, colon) + "; there are:" + known);
  }
  if (order.type == nullptr) {
    for (const auto& t : cria_bench::synthetic_types) known.append(" ").append(t.name);
    usage_error("--synthetic", "no type is called " + text.substr(colon + 1) + "; there are:" + known);
  }
}

std::vector<std::size_t> list_of(const char* option, const std::string& text, std::size_t highest) {
  const auto values = parse_value_list(text, highest);
  if (!values) usage_error(option, "'" + text + "' is not N, N,N, N-N, N-N+STEP or N-N*FACTOR with numbers up to " + std::to_string(highest));
  return *values;
}

bench_order understand(const bench_flags& flags) {
  constexpr std::size_t most_positions = std::size_t{1} << 24;
  bench_order order;
  order.plan = {list_of("-p", flags.prompts, most_positions),
                list_of("-n", flags.generations, most_positions),
                list_of("-d", flags.depths, most_positions),
                list_of("-t", flags.threads, cria::thread_pool::max_threads),
                flags.repetitions,
                flags.context,
                flags.batch,
                !flags.has_no_warm_up};
  for (std::size_t& n : order.plan.threads) n = n != 0 ? n : cria::default_thread_count();
  for (std::string_view rest = flags.precisions; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find(','));
    if (word != "exact" && word != "fast") usage_error("--precision", "'" + std::string(word) + "' is not exact or fast");
    order.precisions.push_back(word == "exact" ? cria::precision::exact : cria::precision::fast);
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  }
  if (order.precisions.empty()) usage_error("--precision", "is empty");
  if (!flags.isa.empty() && !(order.set = cria::isa::find(flags.isa))) usage_error("--isa", "no instruction set is called " + flags.isa);
  order.cache = cache_named(flags.cache);
  order.format = *find_report_format(flags.output);
  if (!flags.parallel.empty()) {
    order.parallel = list_of("--parallel", flags.parallel, cria::batch_options::most_sequences);
    if (order.format != report_format::md && order.format != report_format::jsonl) usage_error("--parallel", "gives md or jsonl");
  }
  if (flags.wants_targets && order.plan.threads.size() != 1) usage_error("--threads", "is one number for --targets");
  if (flags.model.empty()) parse_synthetic(flags.synthetic.empty() ? "tinyllama" : flags.synthetic, order);
  if (!flags.save_path.empty() && order.shape == nullptr) usage_error("--save", "writes a model made by --synthetic");
  if (order.plan.context != 0 && order.plan.context < order.plan.needed_context()) {
    usage_error("-c", std::to_string(order.plan.context) + " positions are too few: the rows need " + std::to_string(order.plan.needed_context()));
  }
  return order;
}

result<cria::gguf::file> open_model(const bench_flags& flags, const bench_order& order) {
  if (order.shape == nullptr) return cria::gguf::file::open(flags.model);
  CRIA_TRY(auto source, cria_bench::make_synthetic_model(*order.shape, *order.type));
  return cria::gguf::file::open(std::move(source));
}

result<void> save(const bench_flags& flags, const bench_order& order) {
  CRIA_TRY(const auto source, cria_bench::make_synthetic_model(*order.shape, *order.type));
  return cria_bench::save(*source, flags.save_path);
}

cria::load_options load_options_of(const bench_order& order, cria::precision precision, const cria::stop_token& stop) {
  cria::load_options options;
  options.precision = precision;
  options.instruction_set = order.set;
  options.stop = stop;
  return options;
}

result<void> run_targets(const bench_flags& flags, const bench_order& order) {
  const interrupt ctrl_c;
  CRIA_TRY(const auto file, open_model(flags, order));
  CRIA_TRY(const auto model, cria::load_model(file, load_options_of(order, order.precisions.front(), ctrl_c.token())));
  CRIA_TRY(const auto targets, measure_targets(model, order.plan.threads.front(), ctrl_c.token()));
  return print(table_of(targets));
}

/// Loads the model and measures its rows, for one precision.
result<void> run_precision(const bench_flags& flags, const bench_order& order, cria::precision precision, report& out, const cria::stop_token& stop) {
  cria_bench::forget_peak_memory();
  const double start = cria_bench::seconds_now();
  CRIA_TRY(const auto file, open_model(flags, order));
  CRIA_TRY(const auto model, cria::load_model(file, load_options_of(order, precision, stop)));
  bench_row known;
  known.load_ns = (cria_bench::seconds_now() - start) * 1e9;
  const model_facts facts =
      model_facts::of(file, order.shape == nullptr ? flags.model : "synthetic " + std::string(order.shape->name) + ":" + std::string(order.type->name),
                      model, order.cache);
  known.model = &facts;
  known.precision = precision;
  known.cache = order.cache;
  known.set = model.kernels().set;
  return measure_rows(order.plan, model, known, stop, [&](const bench_row& r) { return print(out.row(r)); });
}

result<void> run_parallel(const bench_flags& flags, const bench_order& order) {
  const interrupt ctrl_c;
  CRIA_TRY(const auto file, open_model(flags, order));
  for (const cria::precision precision : order.precisions) {
    CRIA_TRY(const auto model, cria::load_model(file, load_options_of(order, precision, ctrl_c.token())));
    for (const std::size_t n_threads : order.plan.threads) {
      CRIA_CHECK(
          measure_parallel(model, {order.plan.prompts, order.plan.generations, order.parallel, n_threads, order.plan.batch, order.format}, ctrl_c.token()));
    }
  }
  return {};
}

result<void> run(const bench_flags& flags, const bench_order& order) {
  if (!flags.save_path.empty()) return save(flags, order);
  if (flags.wants_targets) return run_targets(flags, order);
  if (!order.parallel.empty()) return run_parallel(flags, order);
  const interrupt ctrl_c;
  report out(order.format);
  CRIA_CHECK(print(out.begin()));
  for (const cria::precision p : order.precisions) CRIA_CHECK(run_precision(flags, order, p, out, ctrl_c.token()));
  return print(out.end());
}

}  // namespace

void add_bench(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<bench_flags>();
  CLI::App& c = *app.add_subcommand("bench", "Measure the speed of a model and of this machine");
  auto* model = c.add_option("-m,--model", flags->model, "GGUF file (of one in parts: the first)");
  auto* synthetic =
      c.add_option("--synthetic", flags->synthetic, "SHAPE[:TYPE]: a random model instead, for example tinyllama:Q4_K_M; default tinyllama:Q4_0");
  model->excludes(synthetic);
  auto* save = c.add_option("--save", flags->save_path, "write the synthetic model to this file and measure nothing");
  auto* prompts = c.add_option("-p,--n-prompt", flags->prompts, "prompt tokens; 0: no such row. Lists: 1,2,4  1-8  128-512+128  1-8*2")
      ->join(',')
      ->capture_default_str();
  auto* generations = c.add_option("-n,--n-gen", flags->generations, "generated tokens; 0: no such row. List")->join(',')->capture_default_str();
  auto* depths = c.add_option("-d,--n-depth", flags->depths, "positions taken before a row begins. List")->join(',')->capture_default_str();
  auto* threads = c.add_option("-t,--threads", flags->threads, "threads; 0: the physical cores. List")->join(',')->capture_default_str();
  auto* repetitions = c.add_option("-r,--repetitions", flags->repetitions, "measurements of each row")->check(CLI::Range(1, 1000))->capture_default_str();
  auto* context = c.add_option("-c,--context,--ctx", flags->context, "positions of the cache; 0: what the rows need")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{cria::session_options::max_context}));
  auto* batch = c.add_option("-b,--batch", flags->batch, "prompt tokens of one pass")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{cria::session_options::most_batch}))
      ->capture_default_str();
  auto* precision = c.add_option("--precision", flags->precisions, "exact, fast or exact,fast")->join(',')->capture_default_str();
  auto* cache = c.add_option("--cache", flags->cache, cache_help)->check(CLI::IsMember(cache_names))->capture_default_str();
  auto* isa = c.add_option("--isa", flags->isa, "instruction set instead of the best one; `cria cpu` lists them");
  auto* output = c.add_option("-o,--output", flags->output, "md, csv, json or jsonl")
                     ->check(CLI::IsMember({"md", "csv", "json", "jsonl"}))
                     ->capture_default_str();
  auto* parallel = c.add_option("--parallel", flags->parallel, "sequences at once, as llama-batched-bench measures them. List")->join(',');
  auto* no_warm_up = c.add_flag("--no-warmup", flags->has_no_warm_up, "time the first run of a row too");
  auto* targets = c.add_flag("--targets", flags->wants_targets, "measure seven targets instead and say which are met");
  // What would have no effect is refused.
  for (auto* rows_only : {depths, repetitions, context, cache, no_warm_up}) rows_only->excludes(targets)->excludes(parallel);
  for (auto* measured_only : {prompts, generations, batch, output, parallel}) measured_only->excludes(targets);
  for (auto* other : {prompts, generations, depths, threads, repetitions, context, batch, precision, cache, isa, output, parallel, no_warm_up, targets,
                      model}) {
    save->excludes(other);
  }
  c.callback([flags, &chosen, precision, targets] {
    bench_order order = understand(*flags);
    if (targets->count() != 0 && precision->count() != 0 && order.precisions.size() != 1) usage_error("--precision", "is one of the two for --targets");
    chosen = [flags, order = std::move(order)] { return run(*flags, order); };
  });
}

}  // namespace cria_program
