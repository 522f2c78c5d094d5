// SPDX-License-Identifier: MIT
// core/stop_token.hpp - stop_source and stop_token: how a host asks for work to stop. stop_query: how the work asks whether it should.
//
// These are the standard library's own types where it has them. Elsewhere (Apple, Android, Emscripten) they are the part that cria uses, without callbacks.
// Errors    the constructor of stop_source may throw std::bad_alloc; everything else is noexcept
// Threads   any number of threads may request and query a stop at once
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

namespace cria::inline v0_1_0 {

#ifdef __cpp_lib_jthread

using std::stop_source;
using std::stop_token;

#else

/// Tells whether a stop was requested from its source. Without a source it never is.
class stop_token {
 public:
  stop_token() noexcept = default;

  [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->load(std::memory_order_acquire); }
  /// Returns whether there is a source. (The standard's also says no once the last source is gone.)
  [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr; }
  [[nodiscard]] friend bool operator==(const stop_token& a, const stop_token& b) noexcept { return a.state_ == b.state_; }

 private:
  friend class stop_source;
  explicit stop_token(std::shared_ptr<const std::atomic<bool>> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<const std::atomic<bool>> state_;
};

/// Requests a stop from all of its tokens. Copies are the same source.
class stop_source {
 public:
  stop_source() : state_(std::make_shared<std::atomic<bool>>(false)) {}

  [[nodiscard]] stop_token get_token() const noexcept { return stop_token(state_); }
  [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->load(std::memory_order_acquire); }
  [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr; }
  /// Returns whether this call was the first request.
  bool request_stop() const noexcept { return state_ != nullptr && !state_->exchange(true, std::memory_order_acq_rel); }
  [[nodiscard]] friend bool operator==(const stop_source& a, const stop_source& b) noexcept { return a.state_ == b.state_; }

 private:
  std::shared_ptr<std::atomic<bool>> state_;
};

#endif

/// Refers to what decides whether to stop: a stop_token, or anything that can be called and returns a bool. That must outlive it. Without one, nothing stops.
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

}  // namespace cria::inline v0_1_0
