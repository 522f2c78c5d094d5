// SPDX-License-Identifier: MIT
// generate/metrics.hpp - the counts of a batch engine in the text format of Prometheus.
//
//   reply(200, "text/plain; version=0.0.4", cria::prometheus_text(engine.statistics(), {.labels = {{"model", "tinyllama"}}}));
//
// Units     seconds, bytes, tokens, as the names say; counters end in _total and only grow
// Errors    none; std::bad_alloc passes through
// Threads   pure. The thread that steps the engine calls statistics(); the result may go to any other thread.
// Source    Prometheus text exposition format 0.0.4, and its guide to names of metrics and labels
#pragma once

#include <cria/generate/batch_options.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// How metrics are named.
struct metrics_options {
  std::string prefix = "cria";                                       ///< of every name; characters other than letters, digits and _ become _
  std::vector<std::pair<std::string, std::string>> labels = {};      ///< on every line; values are any text; a name that is taken (as `reason` is) gets a _
};

namespace detail {

class prometheus_writer {
 public:
  explicit prometheus_writer(const metrics_options& options) : prefix_(name_of(options.prefix)) {
    std::vector<std::string> taken{"reason"};   // a label of requests_finished_total
    for (const auto& [label, value] : options.labels) {
      std::string unique = name_of(label);
      while (std::find(taken.begin(), taken.end(), unique) != taken.end()) unique += '_';
      add_label(labels_, unique, value);
      taken.push_back(std::move(unique));
    }
  }

  /// Begins a metric, whose values follow.
  void begin(std::string_view name, std::string_view type, std::string_view help) {
    name_ = prefix_ + "_" + std::string(name);
    text_.append("# HELP ").append(name_).append(" ").append(help).append("\n# TYPE ").append(name_).append(" ").append(type).append("\n");
  }
  void value(double x, std::string_view label = {}, std::string_view label_value = {}, std::string_view suffix = {}) {
    std::string labels = labels_;
    if (!label.empty()) add_label(labels, label, label_value);
    text_.append(name_).append(suffix);
    if (!labels.empty()) text_.append("{").append(labels).append("}");
    text_.append(" ").append(number(x)).append("\n");
  }
  void counter(std::string_view name, std::string_view help, double x) {
    begin(name, "counter", help);
    value(x);
  }
  void gauge(std::string_view name, std::string_view help, double x) {
    begin(name, "gauge", help);
    value(x);
  }

  void summary(std::string_view name, std::string_view help, double sum, std::uint64_t n) {
    begin(name, "summary", help);
    value(sum, {}, {}, "_sum");
    value(static_cast<double>(n), {}, {}, "_count");
  }

  [[nodiscard]] std::string finish() { return std::move(text_); }

 private:
  [[nodiscard]] static std::string name_of(std::string_view text) {
    std::string out;
    for (const char c : text) {
      const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_', is_digit = c >= '0' && c <= '9';
      if (is_digit && out.empty()) out += '_';
      out += is_letter || is_digit ? c : '_';
    }
    return out.empty() ? std::string("_") : out;
  }

  static void add_label(std::string& labels, std::string_view name, std::string_view text) {
    if (!labels.empty()) labels += ',';
    labels.append(name).append("=\"");
    for (const char c : text) {
      if (c == '\\') labels += "\\\\";
      else if (c == '"') labels += "\\\"";
      else if (c == '\n') labels += "\\n";
      else labels += c;
    }
    labels += '"';
  }

  /// The shortest text that reads back as x.
  [[nodiscard]] static std::string number(double x) {
    char text[40];
#if defined(__cpp_lib_to_chars)
    return {text, std::to_chars(text, text + sizeof text, x).ptr};
#else
    int n = 0;
    for (int digits = 15; digits <= 17; ++digits) {
      n = std::snprintf(text, sizeof text, "%.*g", digits, x);
      if (std::strtod(text, nullptr) == x) break;
    }
    std::replace(text, text + n, ',', '.');   // what some locales part the fraction with
    return {text, static_cast<std::size_t>(n)};
#endif
  }

  std::string prefix_, labels_, name_, text_;
};

}  // namespace detail

/// Returns the counts in Prometheus' text format, each with a line of help.
[[nodiscard]] std::string prometheus_text(const batch_statistics& s, const metrics_options& options = {});

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE std::string prometheus_text(const batch_statistics& s, const metrics_options& options) {
  detail::prometheus_writer w(options);
  const auto real = [](auto n) { return static_cast<double>(n); };
  w.gauge("requests_running", "Requests that have a place in the batch.", real(s.n_running));
  w.gauge("requests_waiting", "Requests that wait for a place or for pages.", real(s.n_waiting));
  w.counter("requests_added_total", "Requests taken in.", real(s.n_added));
  w.counter("requests_refused_total", "Requests not taken in.", real(s.n_refused));
  w.begin("requests_finished_total", "counter", "Requests that ended, by reason.");
  for (std::size_t i = 0; i < s.n_finished.size(); ++i) w.value(real(s.n_finished[i]), "reason", name(static_cast<finish_reason>(i)));
  w.value(real(s.n_failed), "reason", "error");
  w.counter("preemptions_total", "Times that a request gave its pages back and started over.", real(s.n_preempted));
  w.counter("prompt_tokens_total", "Tokens of prompts that were started.", real(s.n_prompt_tokens));
  w.counter("prompt_tokens_reused_total", "Prompt tokens found in shared pages.", real(s.n_reused_tokens));
  w.counter("evaluated_tokens_total", "Tokens computed.", real(s.n_evaluated_tokens));
  w.counter("generated_tokens_total", "Tokens generated.", real(s.n_generated_tokens));
  w.counter("passes_total", "Passes through the model.", real(s.n_passes));
  w.counter("busy_seconds_total", "Time spent in passes and sampling.", s.busy_seconds);
  w.summary("first_token_seconds", "Time from a request's arrival to its first token.", s.first_token_seconds, s.n_first_tokens);
  w.gauge("cache_pages", "Pages of the cache.", real(s.pages.n_pages));
  w.gauge("cache_pages_used", "Pages that something refers to.", real(s.pages.n_used));
  w.gauge("cache_pages_shared", "Pages that are referred to more than once.", real(s.pages.n_shared));
  w.gauge("cache_pages_indexed", "Pages kept for prompts to come.", real(s.n_indexed_pages));
  w.gauge("cache_pages_used_max", "Pages used at once, the most so far.", real(s.pages.most_used));
  w.gauge("cache_page_bytes", "Bytes of a page, without its windowed layers.", real(s.pages.page_bytes));
  w.gauge("cache_windowed_pages", "Pages whose windowed layers there is room for.", real(s.pages.n_windowed_pages));
  w.gauge("cache_windowed_pages_used", "Pages whose windowed layers something still sees.", real(s.pages.n_windowed_used));
  w.gauge("cache_windowed_pages_used_max", "The same at once, the most so far.", real(s.pages.most_windowed_used));
  w.gauge("cache_windowed_page_bytes", "Bytes of a page's windowed layers.", real(s.pages.windowed_bytes));
  w.counter("cache_page_copies_total", "Pages copied because of a write to a shared one.", real(s.pages.n_copies));
  return w.finish();
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
