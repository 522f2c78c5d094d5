// SPDX-License-Identifier: MIT
// tokenizer/text_range.hpp - a part of a text.
//
// Units     bytes
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>

namespace cria::inline v0_1_0 {

/// Bytes [start, start + length) of a text.
struct text_range {
  std::size_t start = 0, length = 0;
  bool operator==(const text_range&) const = default;
};

}  // namespace cria::inline v0_1_0
