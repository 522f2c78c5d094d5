// SPDX-License-Identifier: MIT
// generate/model_slot.hpp - the place where a host keeps the model that new sessions get, so that it can be exchanged while old ones run.
//
//   slot.replace(*cria::load_model(path));            // sessions that run finish on the model they began with
//   auto session = cria::session::create(slot.get()); // this one has the new one
//
// Ensures   whoever has a model keeps it whole; its memory goes back with the last session, engine or copy that holds it
// Errors    none
// Threads   get() and replace() from any threads at once; the old model is given up outside the lock
#pragma once

#include <cria/model/model.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace cria::inline v0 {

class model_slot {
 public:
  explicit model_slot(cria::model first) noexcept : model_(std::move(first)) {}
  model_slot(const model_slot&) = delete;
  model_slot& operator=(const model_slot&) = delete;

  /// Returns the model of the moment.
  [[nodiscard]] cria::model get() const {
    const std::lock_guard lock(mutex_);
    return model_;
  }

  /// Puts another model in its place and returns the old one: letting go of it may take the time of freeing its memory.
  cria::model replace(cria::model next) {
    const std::lock_guard lock(mutex_);
    ++generation_;
    return std::exchange(model_, std::move(next));
  }

  /// Returns how often the model was replaced: who keeps a session can see that there is a newer model.
  [[nodiscard]] std::uint64_t generation() const {
    const std::lock_guard lock(mutex_);
    return generation_;
  }

 private:
  mutable std::mutex mutex_;
  cria::model model_;
  std::uint64_t generation_ = 0;
};

}  // namespace cria::inline v0
