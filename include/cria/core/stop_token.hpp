// SPDX-License-Identifier: MIT
// core/stop_token.hpp - stop_source, stop_token: asks work to stop; stop_query: what a pass asks. The standard's own where the library has them; else
// (Apple's, Android's, Emscripten's) the part of them that cria uses: there are no callbacks.
//
// Errors    the constructor of stop_source may throw std::bad_alloc; the rest none (noexcept)
// Threads   any threads may ask and be asked at once
#pragma once

#include <version>

#include <concepts>
#include <memory>
#include <type_traits>

#ifdef __cpp_lib_jthread
#include <stop_token>
#else
#include <atomic>
#include <utility>
#endif

namespace cria::inline v0 {

#ifdef __cpp_lib_jthread

using std::stop_source;
using std::stop_token;

#else

/// Tells whether its source was asked to stop. One without a source is never.
class stop_token {
 public:
  stop_token() noexcept = default;

  [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->load(std::memory_order_acquire); }
  /// Returns whether there is a source. (The standard's says no once the last source is gone.)
  [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr; }
  [[nodiscard]] friend bool operator==(const stop_token& a, const stop_token& b) noexcept { return a.state_ == b.state_; }

 private:
  friend class stop_source;
  explicit stop_token(std::shared_ptr<const std::atomic<bool>> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<const std::atomic<bool>> state_;
};

/// Asks all of its tokens to stop; copies are the same source.
class stop_source {
 public:
  stop_source() : state_(std::make_shared<std::atomic<bool>>(false)) {}

  [[nodiscard]] stop_token get_token() const noexcept { return stop_token(state_); }
  [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->load(std::memory_order_acquire); }
  [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr; }
  /// Returns whether this call was the one that asked.
  bool request_stop() const noexcept { return state_ != nullptr && !state_->exchange(true, std::memory_order_acq_rel); }
  [[nodiscard]] friend bool operator==(const stop_source& a, const stop_source& b) noexcept { return a.state_ == b.state_; }

 private:
  std::shared_ptr<std::atomic<bool>> state_;
};

#endif

/// Whether to stop, by reference: a stop_token or anything that answers with a bool, which must outlive it; made from nothing, never.
class stop_query {
 public:
  stop_query() noexcept = default;
  template <class F>
    requires(!std::same_as<F, stop_query> && (std::same_as<F, stop_token> || std::is_nothrow_invocable_r_v<bool, const F&>))
  stop_query(const F& asked) noexcept
      : object_(std::addressof(asked)), ask_([](const void* object) noexcept -> bool {
          if constexpr (std::same_as<F, stop_token>) return static_cast<const F*>(object)->stop_requested();
          else return (*static_cast<const F*>(object))();
        }) {}

  [[nodiscard]] bool stop_requested() const noexcept { return ask_ != nullptr && ask_(object_); }

 private:
  const void* object_ = nullptr;
  bool (*ask_)(const void*) noexcept = nullptr;
};

}  // namespace cria::inline v0
