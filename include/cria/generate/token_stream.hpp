// SPDX-License-Identifier: MIT
// generate/token_stream.hpp - a generation as a C++20 input range: one token per increment, computed when it is asked for.
//
//   auto stream = session.stream(prompt);
//   for (std::string_view piece : stream) show(piece);
//   if (!stream.has_error()) ... stream.result()->tokens_per_second()
//
// Ensures   breaking out of the loop stops the generation: nothing is computed ahead
// Errors    an error ends the range; error() then holds it
// Threads   as its session
// Lifetime  the session must outlive the stream; an event is valid until the next increment; iterators are invalid once the stream is moved.
//           Any other use of the session ends the stream with bad_argument.
#pragma once

#include <cria/core/result.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/generation_run.hpp>

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

namespace cria::inline v0_1_0 {

template <kv_cache Cache, class Sampler>
class token_stream {
 public:
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = token_event;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    explicit iterator(token_stream& stream) noexcept : stream_(&stream) {}

    /// Returns the token and its text; converts to std::string_view.
    [[nodiscard]] const token_event& operator*() const noexcept { return stream_->run_->event(); }
    [[nodiscard]] const token_event* operator->() const noexcept { return &**this; }
    iterator& operator++() {
      stream_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    [[nodiscard]] bool operator==(std::default_sentinel_t) const noexcept { return !stream_->has_event_; }

   private:
    token_stream* stream_ = nullptr;
  };

  /// Streams the events of a run. If there is an error instead of a run, the stream is empty and has that error.
  explicit token_stream(cria::result<std::unique_ptr<detail::generation_run<Cache, Sampler>>> run) {
    if (run) {
      run_ = *std::move(run);
    } else {
      error_ = std::move(run).error();
    }
  }

  /// Processes the prompt and takes the first step; later calls do nothing more.
  [[nodiscard]] iterator begin() {
    if (!std::exchange(has_begun_, true)) advance();
    return iterator(*this);
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  [[nodiscard]] bool has_error() const noexcept { return error_.has_value(); }
  /// Returns the error. Requires has_error().
  [[nodiscard]] const cria::error& error() const noexcept { return *error_; }

  /// Returns the summary or the error. A stream that was not read to its end stops here (stopped_by_callback). To be called once.
  [[nodiscard]] cria::result<generation> result() {
    if (error_) return *error_;
    if (run_ == nullptr) return cria::error{errc::bad_argument, "token_stream", "its result was taken already"};
    run_->stop_by_callback();
    has_begun_ = true;
    has_event_ = false;
    const auto run = std::exchange(run_, nullptr);
    return run->finish();
  }

 private:
  void advance() {
    has_event_ = false;
    if (run_ == nullptr) return;
    auto stepped = run_->advance();
    if (stepped) {
      has_event_ = *stepped;
    } else {
      error_ = std::move(stepped).error();
    }
  }

  std::unique_ptr<detail::generation_run<Cache, Sampler>> run_;
  std::optional<cria::error> error_;
  bool has_begun_ = false;
  bool has_event_ = false;
};

}  // namespace cria::inline v0_1_0
