// SPDX-License-Identifier: MIT
// generate/model_slot.hpp - holds the model that new sessions use, so that a host can replace it while older sessions run.
//
//   slot.replace(*cria::load_model(path));            // running sessions finish with the model that they began with
//   auto session = cria::session::create(slot.get()); // this one uses the new model
//
// Ensures   whoever holds a model keeps all of it; its memory is freed with the last session, engine or copy that holds it
// Errors    none
// Threads   get() and replace() may be called from any threads at once. replace() returns the old model, which is therefore freed outside the lock.
#pragma once

#include <cria/model/model.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace cria::inline v0_1_0 {

class model_slot {
 public:
  explicit model_slot(cria::model first) noexcept : model_(std::move(first)) {}
  model_slot(const model_slot&) = delete;
  model_slot& operator=(const model_slot&) = delete;

  /// Returns the current model.
  [[nodiscard]] cria::model get() const {
    const std::lock_guard lock(mutex_);
    return model_;
  }

  /// Replaces the model and returns the old one. Destroying that may take a while, if it frees the memory.
  cria::model replace(cria::model next) {
    const std::lock_guard lock(mutex_);
    ++generation_;
    return std::exchange(model_, std::move(next));
  }

  /// Returns how often the model was replaced, so that the owner of a session can see that there is a newer one.
  [[nodiscard]] std::uint64_t generation() const {
    const std::lock_guard lock(mutex_);
    return generation_;
  }

 private:
  mutable std::mutex mutex_;
  cria::model model_;
  std::uint64_t generation_ = 0;
};

}  // namespace cria::inline v0_1_0
