// SPDX-License-Identifier: MIT
// core/one_user.hpp - notices when something that allows one caller at a time has two.
//
// Threads   any number of threads may call try_enter() at once
// Lifetime  a `use` refers to the one_user that gave it
#pragma once

#include <atomic>
#include <optional>
#include <utility>

namespace cria::inline v0_1_0::detail {

class one_user {
 public:
  /// Held by the caller that is inside; its destructor lets the next one in.
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

  /// Lets the caller in, or returns nothing if another one is inside.
  [[nodiscard]] std::optional<use> try_enter() noexcept {
    if (is_used_.exchange(true, std::memory_order_acquire)) return std::nullopt;
    return std::optional<use>(std::in_place, is_used_);
  }

 private:
  std::atomic<bool> is_used_{false};
};

}  // namespace cria::inline v0_1_0::detail
