// SPDX-License-Identifier: MIT
// generate/perplexity.hpp - how well a model predicts a text: e to the mean of -ln p(token), over the second half of each window of the text.
//
//   auto windows = cria::text_windows::create(model.tokenizer(), text, {.window = 512});
//   auto measured = cria::measure_perplexity(session, *windows);                            // measured->value(), measured->error()
//
// The definition is that of llama-perplexity, so that figures can be compared: the tokens of the text (special tokens are not parsed) are cut into windows, the
// rest at the end is dropped, the first token of each window is replaced by BOS if the model wants one, and positions window/2 to window - 2 are scored.
// Ensures   only the logits of a few positions are held at once; the same bits for any number of threads and any batch size
// Errors    bad_argument (window, a text of less than two windows), context_full, cancelled, non_finite, out_of_memory, those of an observer
// Threads   those of the session
// Source    llama.cpp's perplexity tool (August 2026)
#pragma once

#include <cria/core/checksum.hpp>
#include <cria/core/result.hpp>
#include <cria/core/scalar_math.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/core/types.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// How a text is cut into windows.
struct text_window_options {
  std::size_t window = 512;                                           ///< tokens in a window, at least 4
  std::size_t max_windows = std::numeric_limits<std::size_t>::max();  ///< only so many from the beginning of the text
};

/// The tokens of a text, cut into windows of equal length.
class text_windows {
 public:
  [[nodiscard]] static result<text_windows> create(const tokenizer& t, std::string_view text, const text_window_options& options = {});

  /// As above, from tokens. The first one of each window is replaced by `first`, unless that is no_token.
  [[nodiscard]] static result<text_windows> create(std::vector<token_id> tokens, token_id first, const text_window_options& options = {});

  [[nodiscard]] std::size_t size() const noexcept { return n_windows_; }
  /// Returns the tokens of one window. Requires i < size().
  [[nodiscard]] std::span<const token_id> operator[](std::size_t i) const noexcept { return std::span(tokens_).subspan(i * length_, length_); }
  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  /// Return the first scored position of a window, and how many follow from there.
  [[nodiscard]] std::size_t first_scored() const noexcept { return length_ / 2; }
  [[nodiscard]] std::size_t n_scored() const noexcept { return length_ - 1 - length_ / 2; }
  /// Returns a checksum of a window's tokens.
  [[nodiscard]] std::uint64_t checksum(std::size_t i) const noexcept {
    checksum64 sum;
    for (const token_id id : (*this)[i]) sum.update(id);
    return sum.value();
  }

 private:
  [[nodiscard]] static result<text_windows> cut(std::vector<token_id> tokens, token_id first, const text_window_options& options);

  text_windows(std::vector<token_id> tokens, std::size_t length, std::size_t n) noexcept : tokens_(std::move(tokens)), length_(length), n_windows_(n) {}

  std::vector<token_id> tokens_;
  std::size_t length_, n_windows_;
};

/// The mean and standard error of numbers that are added one by one.
class running_mean {
 public:
  void add(double x) noexcept {
    ++n_;
    const double step = x - mean_;
    mean_ += step / static_cast<double>(n_);
    squares_ += step * (x - mean_);
  }
  [[nodiscard]] std::size_t count() const noexcept { return n_; }
  [[nodiscard]] double mean() const noexcept { return mean_; }
  /// Returns the standard error of the mean; 0 for fewer than two numbers.
  [[nodiscard]] double error() const noexcept {
    const auto n = static_cast<double>(n_);
    return n_ < 2 ? 0 : std::sqrt(std::max(0.0, squares_) / n / (n - 1));
  }

 private:
  std::size_t n_ = 0;
  double mean_ = 0, squares_ = 0;
};

/// The mean of -ln p over the scored tokens so far, and the perplexity.
struct perplexity {
  running_mean nll;
  std::size_t n_windows = 0;

  [[nodiscard]] double value() const noexcept { return std::exp(nll.mean()); }
  [[nodiscard]] double error() const noexcept { return value() * nll.error(); }
};

/// How a measurement is watched and stopped.
struct perplexity_options {
  std::function<bool(const perplexity&)> progress = {};  ///< called after each window; false cancels
  stop_token stop = {};
};

/// A scored position, as an observer gets it.
struct scored_position {
  std::size_t window;
  std::size_t index;             ///< from 0 to n_scored() - 1
  std::span<const float> logits;
  double log_sum_exp;            ///< ln p(i) = logits[i] - log_sum_exp
  token_id next;                 ///< the token that follows in the text
};

/// The observer that ignores everything.
struct no_observer {
  result<void> operator()(const scored_position&) const noexcept { return {}; }
};

/// Measures the perplexity of the windows with a session, which is reset. The observer gets every scored position in order and returns a result<void>.
template <class Session, class Observer = no_observer>
  requires std::is_invocable_r_v<result<void>, Observer&, const scored_position&>
[[nodiscard]] result<perplexity> measure_perplexity(Session& runner, const text_windows& windows, const perplexity_options& options = {},
                                                    Observer&& observer = {}) {
  constexpr std::size_t most_floats = std::size_t{1} << 22;   // 16 MiB of logits at once
  return catch_bad_alloc([&]() -> result<perplexity> {
    const std::size_t stride = runner.logits_stride(), n_vocab = runner.model().vocab_size(), first = windows.first_scored();
    const std::size_t piece = std::min({runner.max_batch(), windows.n_scored(), std::max<std::size_t>(16, most_floats / stride)});
    std::vector<float> rows(piece * stride);
    perplexity sum;
    for (std::size_t w = 0; w < windows.size(); ++w) {
      const std::span<const token_id> tokens = windows[w];
      runner.reset();
      CRIA_CHECK(runner.evaluate(tokens.first(first), options.stop));
      for (std::size_t done = 0; done < windows.n_scored();) {
        const std::size_t n = std::min(piece, windows.n_scored() - done);
        CRIA_CHECK(runner.evaluate(tokens.subspan(first + done, n), rows, options.stop));
        for (std::size_t i = 0; i < n; ++i, ++done) {
          const auto logits = std::span<const float>(rows).subspan(i * stride, n_vocab);
          const token_id next = tokens[first + done + 1];   // evaluate() checks all tokens of a window but the last
          if (next < 0 || static_cast<std::size_t>(next) >= n_vocab) {
            return error{errc::bad_argument, "tokens", "token " + std::to_string(next) + " is not in the vocabulary of " + std::to_string(n_vocab)};
          }
          const scored_position position{w, done, logits, math::log_sum_exp(logits), next};
          if (!std::isfinite(position.log_sum_exp)) return error{errc::non_finite, "logits", "the model gave inf or NaN"};
          sum.nll.add(position.log_sum_exp - static_cast<double>(logits[static_cast<std::size_t>(position.next)]));
          CRIA_CHECK(observer(position));
        }
      }
      ++sum.n_windows;
      if (options.progress && !options.progress(sum)) return error{errc::cancelled, "perplexity"};
    }
    return sum;
  }, "perplexity");
}

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<text_windows> text_windows::create(const tokenizer& t, std::string_view text, const text_window_options& options) {
  CRIA_TRY(auto tokens, t.encode(text, {.add_bos = true, .parse_special = false, .add_eos = false}));
  return create(std::move(tokens), t.adds_bos() ? t.bos() : no_token, options);
}

CRIA_INLINE result<text_windows> text_windows::create(std::vector<token_id> tokens, token_id first, const text_window_options& options) {
  return catch_bad_alloc([&] { return cut(std::move(tokens), first, options); }, "text");
}

CRIA_INLINE result<text_windows> text_windows::cut(std::vector<token_id> tokens, token_id first, const text_window_options& options) {
  if (options.window < 4 || options.window > tokens.max_size() / 2) return error{errc::bad_argument, "window", "is not in 4 to 2^60"};
  if (tokens.size() < 2 * options.window) {
    return error{errc::bad_argument, "text",
                 "has " + std::to_string(tokens.size()) + " tokens, two windows of " + std::to_string(options.window) + " are needed"};
  }
  const std::size_t n = std::min(options.max_windows, tokens.size() / options.window);
  if (n == 0) return error{errc::bad_argument, "max_windows", "is 0"};
  for (std::size_t i = 0; i < n && first != no_token; ++i) tokens[i * options.window] = first;
  return text_windows(std::move(tokens), options.window, n);
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
