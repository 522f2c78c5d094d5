// SPDX-License-Identifier: MIT
// core/one_user.hpp - notices that something which is for one caller at a time has two.
//
// Threads   try_enter() may be called by any, at once
// Lifetime  a use refers to what it was given out by
#pragma once

#include <atomic>
#include <optional>
#include <utility>

namespace cria::inline v0::detail {

class one_user {
 public:
  /// Held by who is inside.
  class use {
   public:
    explicit use(std::atomic<bool>& flag) noexcept : flag_(&flag) {}
    use(use&& other) noexcept : flag_(std::exchange(other.flag_, nullptr)) {}
    use& operator=(use&&) = delete;
    ~use() {
      if (flag_ != nullptr) flag_->store(false, std::memory_order_release);
    }

   private:
    std::atomic<bool>* flag_;
  };

  /// Lets one caller in; none where another one is inside.
  [[nodiscard]] std::optional<use> try_enter() noexcept {
    if (is_used_.exchange(true, std::memory_order_acquire)) return std::nullopt;
    return std::optional<use>(std::in_place, is_used_);
  }

 private:
  std::atomic<bool> is_used_{false};
};

}  // namespace cria::inline v0::detail
