// SPDX-License-Identifier: MIT
#include "bench_report.hpp"

#include <nlohmann/json.hpp>

namespace cria_program {

namespace {

using json = nlohmann::ordered_json;

std::string version() {
  return std::to_string(CRIA_VERSION_MAJOR) + "." + std::to_string(CRIA_VERSION_MINOR) + "." + std::to_string(CRIA_VERSION_PATCH);
}

std::string number(const char* format, double x) {
  char text[64];
  std::snprintf(text, sizeof text, format, x);
  return text;
}

json or_null(const std::optional<double>& x) { return x ? json(*x) : json(nullptr); }

/// Whole nanoseconds, as llama-bench has them.
std::uint64_t whole(double ns) { return static_cast<std::uint64_t>(std::llround(ns)); }

/// All fields but the samples: llama-bench's, then ours.
json fields_of(const bench_row& r) {
  const auto ts = r.samples_ts();
  json j;
  j["build_commit"] = version();
  j["build_number"] = CRIA_VERSION_MAJOR * 10000 + CRIA_VERSION_MINOR * 100 + CRIA_VERSION_PATCH;
  j["cpu_info"] = cria::isa::cpu_name();
  j["gpu_info"] = "";
  j["backends"] = "CPU";
  j["model_filename"] = r.model->file;
  j["model_type"] = r.model->type;
  j["model_size"] = r.model->size_bytes;
  j["model_n_params"] = r.model->n_params;
  j["n_batch"] = r.n_batch;
  j["n_ubatch"] = r.n_batch;
  j["n_threads"] = r.n_threads;
  j["type_k"] = name(r.cache);
  j["type_v"] = name(r.cache);
  j["n_gpu_layers"] = 0;
  j["n_prompt"] = r.n_prompt;
  j["n_gen"] = r.n_gen;
  j["n_depth"] = r.n_depth;
  j["test_time"] = r.time;
  j["avg_ns"] = whole(mean(r.samples_ns));
  j["stddev_ns"] = whole(deviation(r.samples_ns));
  j["avg_ts"] = mean(ts);
  j["stddev_ts"] = deviation(ts);
  j["precision"] = name(r.precision);
  j["instruction_set"] = cria::isa::name(r.set);
  j["load_ns"] = whole(r.load_ns);
  j["first_token_ns"] = r.n_prompt > 0 ? json(whole(r.first_token_ns)) : json(nullptr);
  j["peak_memory"] = r.peak_memory_bytes;
  j["read_bandwidth"] = r.read_bandwidth;
  j["percent_of_bandwidth"] = or_null(r.percent_of_bandwidth());
  j["dot_peak"] = r.dot_peak;
  j["percent_of_dot_peak"] = or_null(r.percent_of_dot_peak());
  return j;
}

std::string json_text(const bench_row& r, int indent) {
  json j = fields_of(r);
  j["samples_ns"] = json::array();
  for (const double ns : r.samples_ns) j["samples_ns"].push_back(whole(ns));
  j["samples_ts"] = r.samples_ts();
  return j.dump(indent, ' ', false, json::error_handler_t::replace);
}

std::string csv_text(const bench_row& r, bool with_names) {
  const json fields = fields_of(r);
  std::string names, values;
  for (const auto& [key, value] : fields.items()) {
    std::string text = value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.dump();
    for (std::size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) text.insert(at, 1, '"');
    const char* comma = names.empty() ? "" : ",";
    names.append(comma).append(key);
    values.append(comma).append("\"").append(text).append("\"");
  }
  return (with_names ? names + "\n" : "") + values + "\n";
}

struct column {
  std::string_view title;
  int width;  // negative: left-aligned
};
constexpr column columns[] = {{"model", -30},    {"size", 10}, {"params", 10}, {"backend", -10},   {"instructions", -12}, {"threads", 7},
                              {"precision", -9}, {"test", 15}, {"t/s", 20},    {"of ceiling", 15}, {"first token", 11},   {"memory", 10}};

std::string table_line(std::span<const std::string> cells) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::size_t width = static_cast<std::size_t>(std::abs(columns[i].width));
    std::size_t shown = 0;
    for (const char c : cells[i]) shown += (c & 0xc0) != 0x80;  // characters, not bytes: the plus-minus sign has two
    const std::string padding(width > shown ? width - shown : 0, ' ');
    line += columns[i].width < 0 ? "| " + cells[i] + padding + " " : "| " + padding + cells[i] + " ";
  }
  return line + "|\n";
}

std::string table_head() {
  std::vector<std::string> titles, rules;
  for (const column& c : columns) {
    const std::size_t width = static_cast<std::size_t>(std::abs(c.width));
    titles.emplace_back(c.title);
    rules.push_back(c.width < 0 ? std::string(width, '-') : std::string(width - 1, '-') + ":");
  }
  return table_line(titles) + table_line(rules);
}

std::string table_row(const bench_row& r) {
  const auto ts = r.samples_ts();
  const auto bandwidth = r.percent_of_bandwidth(), dot = r.percent_of_dot_peak();
  const std::string ceiling = bandwidth ? number("%.0f %% of reads", *bandwidth) : dot ? number("%.0f %% of dots", *dot) : "";
  const std::string cells[] = {r.model->type,
                               number("%.2f MiB", static_cast<double>(r.model->size_bytes) / 0x1p20),
                               number("%.2f M", static_cast<double>(r.model->n_params) / 1e6),
                               "CPU",
                               std::string(cria::isa::name(r.set)),
                               std::to_string(r.n_threads),
                               std::string(name(r.precision)),
                               r.name(),
                               number("%.2f", mean(ts)) + " \xc2\xb1 " + number("%.2f", deviation(ts)),
                               ceiling,
                               r.n_prompt > 0 ? number("%.1f ms", r.first_token_ns / 1e6) : "",
                               number("%.0f MiB", static_cast<double>(r.peak_memory_bytes) / 0x1p20)};
  static_assert(std::size(cells) == std::size(columns));
  return table_line(cells);
}

}  // namespace

std::optional<report_format> find_report_format(std::string_view name) noexcept {
  constexpr std::pair<std::string_view, report_format> names[] = {
      {"md", report_format::md}, {"csv", report_format::csv}, {"json", report_format::json}, {"jsonl", report_format::jsonl}};
  for (const auto& [known, format] : names) {
    if (known == name) return format;
  }
  return std::nullopt;
}

std::string report::begin() const {
  if (format_ == report_format::md) return table_head();
  return format_ == report_format::json ? "[\n" : "";
}

std::string report::row(const bench_row& r) {
  const bool is_first = n_rows_++ == 0;
  switch (format_) {
    case report_format::md:
      if (loads_.empty() || loads_.back().load_ns != r.load_ns || loads_.back().n_threads != r.n_threads) loads_.push_back(r);
      return table_row(r);
    case report_format::csv: return csv_text(r, is_first);
    case report_format::json: return (is_first ? "" : ",\n") + json_text(r, 2);
    case report_format::jsonl: return json_text(r, -1) + "\n";
  }
  return {};
}

std::string report::end() const {
  if (format_ == report_format::json) return n_rows_ > 0 ? "\n]\n" : "]\n";
  if (format_ != report_format::md) return {};
  std::string text = "\n" + cria::isa::cpu_name() + ", " + utc_now() + ", cria " + version() + "\n";
  for (const bench_row& r : loads_) {
    text += std::string(name(r.precision)) + ", " + std::to_string(r.n_threads) + (r.n_threads == 1 ? " thread" : " threads") + ": loaded in " +
            number("%.2f s", r.load_ns / 1e9) + "; this machine reads " + number("%.1f GB/s", r.read_bandwidth / 1e9);
    if (r.dot_peak > 0) text += " and does " + number("%.0f G dot steps of a byte/s", r.dot_peak / 1e9);
    text += "\n";
  }
  return text;
}

}  // namespace cria_program
