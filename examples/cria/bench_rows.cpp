// SPDX-License-Identifier: MIT
#include "bench_rows.hpp"

#include "bench_ceilings.hpp"

#include <cria/core/random.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/model/file_type.hpp>

#include <algorithm>
#include <ctime>
#include <map>

namespace cria_program {

namespace {

/// Returns "1.1B", "135M".
std::string parameter_text(std::uint64_t n) {
  char text[32];
  const double count = static_cast<double>(n);
  if (count >= 1e9) {
    std::snprintf(text, sizeof text, "%.1fB", count / 1e9);
  } else {
    std::snprintf(text, sizeof text, "%.0fM", count / 1e6);
  }
  return text;
}

/// Returns the name of the file's mix of formats; where its key does not tell, the format of most bytes.
std::string format_text(const cria::gguf::file& file) {
  const auto key = file.metadata().get<std::uint64_t>("general.file_type");
  for (const cria::file_type t : cria::file_types) {
    if (key && *key == static_cast<std::uint64_t>(t)) return std::string(cria::name(t));
  }
  std::map<cria::tensor_type, std::uint64_t> bytes;
  for (const cria::gguf::tensor_info& t : file.tensors()) bytes[t.type] += t.size_bytes;
  const auto most = std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? "?" : std::string(cria::name(most->first));
}

/// Random tokens, the same for every row.
std::vector<cria::token_id> random_tokens(std::size_t n, std::size_t vocab_size) {
  cria::random_generator random(42);
  std::vector<cria::token_id> out(n);
  for (cria::token_id& t : out) t = static_cast<cria::token_id>(random.next() % vocab_size);
  return out;
}

/// Measures the rows of one session.
template <class Session>
class row_runner {
 public:
  row_runner(Session& session, ceiling_meter& machine, const cria::stop_token& stop) : session_(session), machine_(machine), stop_(stop) {}

  result<void> measure(bench_row& row, const bench_plan& plan) {
    row.time = utc_now();
    CRIA_CHECK(fill_to(row.n_depth));
    if (plan.has_warm_up) {
      bench_row unused = row;
      if (unused.n_gen > 0) unused.n_gen = 1;
      CRIA_CHECK(sample(unused));
    }
    double first_token_ns = 0;
    machine_.forget();
    machine_.both();
    for (std::size_t n = 0; n < plan.repetitions; ++n) {
      CRIA_CHECK(sample(row));
      first_token_ns += row.first_token_ns;
      machine_.both();
    }
    row.first_token_ns = first_token_ns / static_cast<double>(plan.repetitions);
    row.read_bandwidth = machine_.read_bandwidth();
    row.dot_peak = machine_.dot_peak();
    row.peak_memory_bytes = cria_bench::peak_memory();
    return {};
  }

 private:
  /// Makes the cache hold exactly n positions.
  result<void> fill_to(std::size_t n) {
    if (session_.length() > n) return session_.truncate(n);
    if (session_.length() == n) return {};
    const auto tokens = random_tokens(n, session_.model().vocab_size());
    return session_.evaluate(std::span(tokens).subspan(session_.length()), stop_);
  }

  /// Runs the row's tokens once, adds the time to its samples, and goes back to its depth.
  result<void> sample(bench_row& row) {
    const auto tokens = random_tokens(row.n_tokens(), session_.model().vocab_size());
    const auto all = std::span<const cria::token_id>(tokens);
    CRIA_CHECK(session_.truncate(row.n_depth));
    row.samples_ns.push_back(0);
    if (row.n_prompt > 0) {
      const double start = cria_bench::seconds_now();
      CRIA_CHECK(session_.evaluate(all, stop_));
      row.samples_ns.back() = nanoseconds_since(start);
      const auto best = std::max_element(session_.logits().begin(), session_.logits().end());
      likeliest_ = static_cast<std::size_t>(best - session_.logits().begin());
      row.first_token_ns = nanoseconds_since(start);
    }
    for (std::size_t i = 0; i < row.n_gen;) {
      if (i > 0) machine_.read();
      const std::size_t end = std::min(i + tokens_between_readings, row.n_gen);
      const double start = cria_bench::seconds_now();
      for (; i < end; ++i) CRIA_CHECK(session_.evaluate(all.subspan(i, 1), stop_));
      row.samples_ns.back() += nanoseconds_since(start);
    }
    return session_.truncate(row.n_depth);
  }

  static constexpr std::size_t tokens_between_readings = 16;

  [[nodiscard]] static double nanoseconds_since(double start) noexcept { return (cria_bench::seconds_now() - start) * 1e9; }

  Session& session_;
  ceiling_meter& machine_;
  const cria::stop_token& stop_;
  volatile std::size_t likeliest_ = 0;  // keeps the search from being left out
};

/// Measures the rows of the plan with one session.
template <class Session>
result<void> measure_session(const bench_plan& plan, Session& session, ceiling_meter& machine, bench_row& known, const cria::stop_token& stop,
                             const row_callback& done) {
  row_runner runner(session, machine, stop);
  known.n_batch = session.max_batch();
  const auto measure = [&](std::size_t n_prompt, std::size_t n_gen, std::size_t n_depth) -> result<void> {
    if (n_prompt + n_gen == 0) return {};
    bench_row row = known;
    row.n_prompt = n_prompt;
    row.n_gen = n_gen;
    row.n_depth = n_depth;
    CRIA_CHECK(runner.measure(row, plan));
    return done(row);
  };
  for (const std::size_t depth : plan.depths) {
    for (const std::size_t n : plan.prompts) CRIA_CHECK(measure(n, 0, depth));
    for (const std::size_t n : plan.generations) CRIA_CHECK(measure(0, n, depth));
  }
  return {};
}

}  // namespace

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
#if defined(_WIN32)
  ::gmtime_s(&parts, &now);
#else
  ::gmtime_r(&now, &parts);
#endif
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

model_facts model_facts::of(const cria::gguf::file& file, std::string name, const cria::model& model, cria::kv_type cache_type) {
  model_facts f;
  f.file = std::move(name);
  const std::uint64_t n_experts = model.config().n_experts, n_used = model.config().n_experts_used;
  const bool is_tied = file.find_tensor("output.weight") == nullptr;
  double quantised = 0, all = 0;
  for (const cria::gguf::tensor_info& t : file.tensors()) {
    f.size_bytes += t.size_bytes;
    f.n_params += t.elements;
    const bool is_embedding = t.name == "token_embd.weight", is_head = t.name == "output.weight" || (is_tied && is_embedding);
    if ((is_embedding && !is_tied) || t.name == "position_embd.weight") {
      f.token_bytes += t.size_bytes / t.shape[1];  // one row
      continue;
    }
    const bool is_of_experts = n_experts != 0 && t.name.find("_exps.") != std::string_view::npos;
    const auto used = [&](std::uint64_t n) { return is_of_experts ? n / n_experts * n_used : n; };
    f.token_bytes += used(t.size_bytes);
    if (t.rank < 2 || t.name.ends_with(".bias")) continue;
    const double macs = static_cast<double>(used(t.elements));
    const bool is_quantised = cria::find_tensor_type(t.type)->block_size > 1;
    if (is_quantised) (is_head ? f.head_macs : f.token_macs) += macs;
    all += macs;
    quantised += is_quantised ? macs : 0;
  }
  f.is_quantised = quantised > 0.9 * all;
  f.cache = model.cache_shape();
  f.position_bytes = 2 * f.cache.n_kv_heads * f.cache.head_dim * (cache_type == cria::kv_type::f32 ? 4 : 2);
  const auto architecture = file.metadata().get<std::string_view>("general.architecture");
  f.type = std::string(architecture ? *architecture : "?") + " " + parameter_text(f.n_params) + " " + format_text(file);
  return f;
}

double model_facts::cache_bytes(std::size_t depth, std::size_t n) const noexcept {
  double positions = 0;  // that all tokens see in all layers, themselves included
  for (std::size_t layer = 0; layer < cache.n_layers; ++layer) {
    const std::size_t window = cache.window_of(layer);
    const std::size_t n_before_full = window == 0 ? n : window > depth ? std::min(n, window - depth) : 0;
    const double growing = static_cast<double>(n_before_full);
    positions += growing * (static_cast<double>(depth) + (growing + 1) / 2) + static_cast<double>(n - n_before_full) * static_cast<double>(window);
  }
  return positions / static_cast<double>(n) * static_cast<double>(position_bytes);
}

double bench_row::tokens_per_second() const { return mean(samples_ts()); }

std::optional<double> bench_row::percent_of_bandwidth() const {
  if (n_gen == 0 || read_bandwidth == 0) return std::nullopt;
  const double bytes = static_cast<double>(model->token_bytes) + model->cache_bytes(n_depth, n_gen);
  return 100 * tokens_per_second() * bytes / read_bandwidth;
}

std::optional<double> bench_row::percent_of_dot_peak() const {
  if (n_prompt == 0 || dot_peak == 0 || !model->is_quantised) return std::nullopt;
  const double steps = precision == cria::precision::exact ? 2 : 1;
  return 100 * tokens_per_second() * steps * (model->token_macs + model->head_macs / static_cast<double>(n_prompt)) / dot_peak;
}

result<void> measure_rows(const bench_plan& plan, const cria::model& model, const bench_row& known, const cria::stop_token& stop,
                          const row_callback& done) {
  for (const std::size_t n_threads : plan.threads) {
    cria::thread_pool pool(n_threads);
    ceiling_meter machine(model, pool);
    cria::session_options options;
    options.executor = pool;
    options.max_batch = plan.batch;
    options.context_size = std::max(plan.context, plan.needed_context());
    bench_row row = known;
    row.n_threads = n_threads;
    CRIA_CHECK(with_session(known.cache, model, options, [&](auto& session) { return measure_session(plan, session, machine, row, stop, done); }));
  }
  return {};
}

}  // namespace cria_program
