// SPDX-License-Identifier: MIT
#include "bench_targets.hpp"

#include "../../bench/machine.hpp"
#include "../../bench/synthetic_vocabulary.hpp"

#include <cria/kernels/activation_size.hpp>
#include <cria/quant/format.hpp>

#include <algorithm>
#include <cmath>

namespace cria_program {

namespace {

/// Returns the median time of a call in seconds: of at least nine batches of calls that take about 10 ms each.
template <class F>
double median_seconds(F&& call) {
  std::size_t per_batch = 1;
  std::vector<double> times;
  while (times.size() < 9) {
    const double start = cria_bench::seconds_now();
    for (std::size_t n = 0; n < per_batch; ++n) call();
    const double seconds = cria_bench::seconds_now() - start;
    if (seconds < 0.01 && per_batch < (std::size_t{1} << 30)) {
      per_batch *= 2;
    } else {
      times.push_back(seconds / static_cast<double>(per_batch));
    }
  }
  std::nth_element(times.begin(), times.begin() + 4, times.end());
  return times[4];
}

std::vector<float> random_values(std::size_t n) {
  cria::random_generator random(7);
  std::vector<float> out(n);
  for (float& x : out) x = static_cast<float>(random.uniform() * 2 - 1);
  return out;
}

/// Microseconds to tokenise 100 characters of English.
result<double> tokenise_microseconds(const cria::tokenizer& t) {
  CRIA_CHECK(t.encode(cria_bench::sample_text));
  volatile std::size_t n_tokens = 0;
  const double seconds = median_seconds([&] { n_tokens = t.encode(cria_bench::sample_text)->size(); });
  return seconds * 1e6 * 100 / static_cast<double>(cria_bench::sample_text.size());
}

/// Microseconds to dequantise 32 values of Q4_0.
double dequantise_microseconds() {
  constexpr std::size_t n = 4096;
  std::vector<float> values = random_values(n);
  std::vector<std::byte> blocks(cria::row_bytes(cria::tensor_type::q4_0, n));
  cria::quantize_row<cria::q4_0>(values, blocks.data());
  volatile float kept = 0;
  const double seconds = median_seconds([&] {
    cria::dequantize_row<cria::q4_0>(blocks.data(), values);
    kept = values[n / 2];
  });
  return seconds * 1e6 * 32 / n;
}

/// A square matrix in panels, and room for its products.
class square_product {
 public:
  static result<square_product> create(const cria::model& model, cria::tensor_type type, std::size_t n, std::size_t n_tokens) {
    square_product p(model, type, n, n_tokens);
    const std::vector<float> values = random_values(n * n);
    std::vector<std::byte> rows(cria::row_bytes(type, n) * n);
    static_cast<void>(cria::quantize_row(type, values, rows.data()));
    p.weight_.type = type;
    p.weight_.format = *cria::format_index_of(type);
    p.weight_.rows = p.weight_.columns = n;
    CRIA_TRY(p.panels_, cria::aligned_buffer::allocate(rows.size()));
    cria::kernels::pack(p.weight_.format, {.rows = rows.data(), .n_rows = n, .k = n, .n_panels = n / 16, .panels = p.panels_.data()});
    p.weight_.panels = p.panels_.span();
    CRIA_TRY(p.x_, cria::array_buffer<float>::allocate(n_tokens * n));
    std::copy_n(values.begin(), n_tokens * n, p.x_.data());
    CRIA_TRY(p.y_, cria::array_buffer<float>::allocate(n_tokens * n));
    CRIA_TRY(p.quantised_, cria::array_buffer<std::int32_t>::allocate(cria::kernels::activation_capacity(n_tokens, n, model.precision())));
    return p;
  }

  /// Quantises the other matrix and multiplies.
  void run(cria::executor_ref executor) {
    const cria::nn::compute c{model_->kernels(), executor, model_->precision()};
    const cria::nn::rows_view x{x_.data(), n_, n_tokens_, n_};
    const cria::nn::product product{&weight_, y_.data(), n_};
    cria::nn::multiply(c, cria::nn::prepare(c, x, weight_.is_quantised(), quantised_.span()), std::span(&product, 1));
  }

 private:
  square_product(const cria::model& model, cria::tensor_type, std::size_t n, std::size_t n_tokens) : model_(&model), n_(n), n_tokens_(n_tokens) {}

  const cria::model* model_;
  std::size_t n_, n_tokens_;
  cria::aligned_buffer panels_;
  cria::nn::weight weight_;
  cria::array_buffer<float> x_, y_;
  cria::array_buffer<std::int32_t> quantised_;
};

/// Microseconds for 16 dot products of 384 floats, side by side as all are computed: no less than one takes.
result<double> dot_microseconds(const cria::model& model) {
  constexpr std::size_t n = 384;
  const std::vector<float> values = random_values(17 * n);
  std::vector<std::byte> rows(cria::row_bytes(cria::tensor_type::f32, n) * 16);
  cria::quantize_row<cria::f32>(std::span(values).first(16 * n), rows.data());
  CRIA_TRY(auto panels, cria::aligned_buffer::allocate(rows.size()));
  const std::size_t format = cria::format_index<cria::f32>;
  cria::kernels::pack(format, {.rows = rows.data(), .n_rows = 16, .k = n, .n_panels = 1, .panels = panels.data()});
  float y[16];
  const cria::kernels::gemm_args args{.weights = panels.data(),
                                      .k = n,
                                      .n_groups = n / 32,
                                      .panel_begin = 0,
                                      .panel_end = 1,
                                      .activations = nullptr,
                                      .activations_precision = model.precision(),
                                      .x = values.data() + 16 * n,
                                      .ldx = n,
                                      .n_tokens = 1,
                                      .y = y,
                                      .ldy = 16,
                                      .bias = nullptr,
                                      .accumulate = false};
  volatile float kept = 0;
  return 1e6 * median_seconds([&] {
           model.kernels().gemm[format](args);
           kept = y[7];
         });
}

/// Milliseconds for a token behind 128 others.
result<double> token_milliseconds(const cria::model& model, std::size_t n_threads, const cria::stop_token& stop) {
  CRIA_TRY(auto session, cria::session::create(model, {.context_size = 128 + 64, .n_threads = n_threads}));
  std::vector<cria::token_id> tokens(128);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<cria::token_id>((37 * i + 5) % model.vocab_size());
  CRIA_CHECK(session.evaluate(tokens, stop));
  CRIA_CHECK(session.evaluate(std::span(tokens).first(1), stop));
  constexpr std::size_t n = 32;
  const double start = cria_bench::seconds_now();
  for (std::size_t i = 0; i < n; ++i) CRIA_CHECK(session.evaluate(std::span(tokens).subspan(i, 1), stop));
  return (cria_bench::seconds_now() - start) * 1e3 / n;
}

/// Percent of the prompts' tokens that are found in the cache in a conversation of 20 turns: each prompt is all that was said, and 16 new tokens.
result<double> hit_rate_percent(const cria::model& model, std::size_t n_threads, const cria::stop_token& stop) {
  constexpr std::size_t n_turns = 20, n_new = 16;
  CRIA_TRY(auto session, cria::session::create(model, {.context_size = 2 * n_turns * n_new, .n_threads = n_threads}));
  cria::generation_options options;
  options.max_tokens = n_new;
  options.ignore_eos = true;
  options.sampling.temperature = 0;
  options.stop = stop;
  std::vector<cria::token_id> said;
  std::size_t n_prompt = 0, n_reused = 0;
  for (std::size_t turn = 0; turn < n_turns; ++turn) {
    for (std::size_t i = 0; i < n_new; ++i) said.push_back(static_cast<cria::token_id>((101 * (turn * n_new + i) + 17) % model.vocab_size()));
    CRIA_TRY(const cria::generation reply, session.generate(said, options));
    if (reply.reason == cria::finish_reason::cancelled) return error{errc::cancelled, "targets"};
    n_prompt += reply.n_prompt;
    n_reused += reply.n_reused;
    said.insert(said.end(), reply.tokens.begin(), reply.tokens.end());
  }
  return 100 * static_cast<double>(n_reused) / static_cast<double>(n_prompt);
}

}  // namespace

result<std::vector<bench_target>> measure_targets(const cria::model& model, std::size_t n_threads, const cria::stop_token& stop) {
  CRIA_TRY(const double tokenise, tokenise_microseconds(model.tokenizer()));
  CRIA_TRY(const double dot, dot_microseconds(model));
  CRIA_TRY(auto product, square_product::create(model, cria::tensor_type::q8_0, 384, 384));
  cria::thread_pool pool(n_threads);
  const double product_microseconds = 1e6 * median_seconds([&] { product.run(pool); });
  CRIA_TRY(const double token, token_milliseconds(model, n_threads, stop));
  CRIA_TRY(const double hits, hit_rate_percent(model, n_threads, stop));
  const double layer = token / static_cast<double>(model.config().n_layers);
  return std::vector<bench_target>{
      {"tokenise 100 characters", "us", 10, tokenise},
      {"dequantise 32 values of Q4_0", "us", 2, dequantise_microseconds()},
      {"16 dot products of 384 floats", "us", 1, dot},
      {"384x384 by 384x384, Q8_0", "us", 500, product_microseconds},
      {"one layer of one token, its part of the head included", "ms", 5, layer},
      {"one token", "ms", 200, token},
      {"prompt tokens found in the cache, 20 turns", "%", 90, hits, true},
  };
}

std::string table_of(std::span<const bench_target> targets) {
  std::string text;
  for (const bench_target& t : targets) {
    char line[160];
    std::snprintf(line, sizeof line, "| %-54.*s | %s %5.0f %-2.*s | %9.3f %-2.*s | %-4s |\n", static_cast<int>(t.name.size()), t.name.data(),
                  t.is_minimum ? ">" : "<", t.limit, static_cast<int>(t.unit.size()), t.unit.data(), t.measured, static_cast<int>(t.unit.size()),
                  t.unit.data(), t.passes() ? "pass" : "FAIL");
    if (text.empty()) {
      char head[160];
      std::snprintf(head, sizeof head, "| %-54s | %-10s | %-12s | %-4s |\n", "target", "limit", "measured", "");
      text = head + ("|" + std::string(56, '-') + "|" + std::string(11, '-') + ":|" + std::string(13, '-') + ":|" + std::string(6, '-') + "|\n");
    }
    text += line;
  }
  return text;
}

}  // namespace cria_program
