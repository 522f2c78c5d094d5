// SPDX-License-Identifier: MIT
// generate/embedding.hpp - a text as one vector: how the last hidden states of its tokens are combined.
//
//   mean   sum of all rows / their number        cls   the first row        last   the last row
//
// Shapes    a row is [D]: the last hidden state of a token, after the output norm
// Ensures   rows are added in the order of the tokens, in double precision: the same bits for any split of the text into passes and any number of threads
// Errors    chosen_pooling: unsupported_type (a model for ranking), wrong_type; finish: non_finite
// Threads   values
// Source    GGUF key "<architecture>.pooling_type": 0 none, 1 mean, 2 cls, 3 last, 4 rank
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0 {

/// Which of the tokens' vectors becomes that of the text: their mean, the first or the last.
enum class pooling : std::uint8_t { mean, cls, last };

[[nodiscard]] constexpr std::string_view name(pooling p) noexcept {
  constexpr std::string_view names[] = {"mean", "cls", "last"};
  return names[static_cast<std::size_t>(p)];
}

/// How a text becomes a vector.
struct embedding_options {
  std::optional<cria::pooling> pooling = {};   ///< empty: what the model's file asks for, or mean
  bool is_normalised = true;                   ///< scale the vector to length 1, unless it is zero
  encode_options encode = {};                  ///< how a text becomes tokens
  stop_token stop = {};                        ///< takes effect within one layer: cancelled
};

/// Returns the pooling that a model's metadata asks for, or mean if it asks for none.
[[nodiscard]] inline result<pooling> chosen_pooling(const gguf::metadata& metadata) {
  CRIA_TRY(const auto architecture, metadata.get_or<std::string_view>("general.architecture", {}));
  const std::string key = std::string(architecture) + ".pooling_type";
  CRIA_TRY(const std::uint32_t type, metadata.get_or<std::uint32_t>(key, 0));
  switch (type) {
    case 0:
    case 1: return pooling::mean;
    case 2: return pooling::cls;
    case 3: return pooling::last;
    default: return error{errc::unsupported_type, printable(key), "pooling " + std::to_string(type) + " is not mean, cls or last"};
  }
}

namespace detail {

/// Combines the rows of a text's tokens, which are added in order.
class pooled_rows {
 public:
  pooled_rows(pooling p, std::size_t dim) : pooling_(p), sums_(dim) {}

  void add(std::span<const float> row) noexcept {
    ++n_rows_;
    if (pooling_ == pooling::cls && n_rows_ > 1) return;
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] = pooling_ == pooling::mean ? sums_[i] + static_cast<double>(row[i]) : static_cast<double>(row[i]);
  }

  /// Returns the vector. Requires at least one row.
  [[nodiscard]] result<std::vector<float>> finish(bool is_normalised) const {
    double square = 0;
    const double divisor = pooling_ == pooling::mean ? static_cast<double>(std::max<std::size_t>(n_rows_, 1)) : 1;
    for (const double x : sums_) square += x / divisor * (x / divisor);
    if (!std::isfinite(square)) return error{errc::non_finite, "embedding", "the model gave inf or NaN"};
    const double scale = is_normalised && square > 0 ? 1 / (std::sqrt(square) * divisor) : 1 / divisor;
    std::vector<float> out(sums_.size());
    std::transform(sums_.begin(), sums_.end(), out.begin(), [scale](double x) { return static_cast<float>(x * scale); });
    return out;
  }

 private:
  pooling pooling_;
  std::size_t n_rows_ = 0;
  std::vector<double> sums_;
};

}  // namespace detail

}  // namespace cria::inline v0_1_0
