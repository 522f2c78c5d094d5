// SPDX-License-Identifier: MIT
// type_totals.hpp - how many tensors, bytes and bits per weight each type has in a file.
#pragma once

#include <cria/quant/tensor_type.hpp>

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>

namespace cria_program {

struct type_total {
  std::uint64_t tensors = 0, elements = 0, bytes = 0;

  void add(std::uint64_t more_elements, std::uint64_t more_bytes) {
    ++tensors;
    elements += more_elements;
    bytes += more_bytes;
  }
  [[nodiscard]] double bits_per_weight() const { return elements == 0 ? 0 : 8 * static_cast<double>(bytes) / static_cast<double>(elements); }
};

struct type_totals {
  std::map<cria::tensor_type, type_total> by_type;
  type_total all;

  void add(cria::tensor_type type, std::uint64_t elements, std::uint64_t bytes) {
    by_type[type].add(elements, bytes);
    all.add(elements, bytes);
  }

  /// Returns a line for each type and one for all.
  [[nodiscard]] std::string to_text() const {
    std::string text;
    const auto line = [&](std::string_view name, const type_total& t) {
      char numbers[96];
      std::snprintf(numbers, sizeof numbers, "%5llu %-7s  %10.1f MB  %6.3f bits per weight\n", static_cast<unsigned long long>(t.tensors),
                    t.tensors == 1 ? "tensor" : "tensors", static_cast<double>(t.bytes) / 1e6, t.bits_per_weight());
      text += std::string(name) + std::string(name.size() < 8 ? 8 - name.size() : 1, ' ') + numbers;
    };
    for (const auto& [type, total] : by_type) line(cria::name(type), total);
    line("all", all);
    return text;
  }
};

}  // namespace cria_program
