// SPDX-License-Identifier: MIT
// bench_report.hpp - the rows of `cria bench` as text: md, csv, json, jsonl, with the field names of llama-bench where it has one.
#pragma once

#include "bench_rows.hpp"

namespace cria_program {

enum class report_format : std::uint8_t { md, csv, json, jsonl };

[[nodiscard]] std::optional<report_format> find_report_format(std::string_view name) noexcept;

/// Gives the text of a report piece by piece, so that rows can be shown as they are measured.
class report {
 public:
  explicit report(report_format format) noexcept : format_(format) {}

  [[nodiscard]] std::string begin() const;
  [[nodiscard]] std::string row(const bench_row& r);
  [[nodiscard]] std::string end() const;

 private:
  report_format format_;
  std::size_t n_rows_ = 0;
  std::vector<bench_row> loads_;  // the first row of each load and thread count: what the text below a table tells
};

}  // namespace cria_program
