// SPDX-License-Identifier: MIT
// What the tests of generate/ share: the small model, greedy options, and a cache that can be made to misbehave.
#pragma once

#include <cria/generate/load.hpp>
#include <cria/generate/session.hpp>

#include <tests/support/golden.hpp>
#include <tests/support/test_data.hpp>

#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cria_test {

inline const std::string stories = "models/stories260K.gguf";

inline cria::model load_stories(cria::precision p = cria::precision::exact) {
  cria::load_options options;
  options.precision = p;
  options.n_threads = 1;
  return cria::load_model(data_root() / stories, options).value();
}

template <class Session = cria::session>
Session make_session(const cria::model& model, cria::session_options options = {}) {
  if (options.n_threads == 0) options.n_threads = 1;
  return Session::create(model, options).value();
}

inline cria::generation_options greedy(std::size_t max_tokens) {
  return {.max_tokens = max_tokens, .sampling = cria::sampler_config::greedy()};
}

/// Returns whether two rows of logits are the same bits.
inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// The contiguous cache, with a hook that is called for every write of head 0 and may spoil the row.
class hooked_cache {
  using storage = cria::contiguous_kv_cache<cria::kv_type::f16>;

 public:
  struct hook_state {
    std::function<bool(cria::kv_slot)> on_write;   ///< true: the row becomes NaN
  };
  static constexpr cria::kv_type type = storage::type;

  hooked_cache(const cria::kv_shape& shape, std::size_t capacity, std::shared_ptr<hook_state> hook)
      : kept_(storage::create(shape, capacity).value()), hook_(std::move(hook)), spoilt_(shape.head_dim, std::numeric_limits<float>::quiet_NaN()) {}

  std::size_t length() const noexcept { return kept_.length(); }
  std::size_t capacity() const noexcept { return kept_.capacity(); }
  std::size_t bytes() const noexcept { return kept_.bytes(); }
  std::size_t v_stride() const noexcept { return kept_.v_stride(); }
  std::size_t max_segments() const noexcept { return kept_.max_segments(); }
  cria::result<void> reserve(std::size_t n) { return kept_.reserve(n); }
  void commit(std::size_t n) noexcept { kept_.commit(n); }
  void truncate(std::size_t n) noexcept { kept_.truncate(n); }
  std::size_t segments(cria::kv_head head, std::span<cria::kv_segment> out) const noexcept { return kept_.segments(head, out); }
  void write(cria::kv_slot slot, cria::kv_row row) noexcept {
    const bool is_spoilt = slot.head.head == 0 && hook_->on_write && hook_->on_write(slot);
    kept_.write(slot, is_spoilt ? cria::kv_row{spoilt_.data(), spoilt_.data()} : row);
  }

 private:
  storage kept_;
  std::shared_ptr<hook_state> hook_;
  std::vector<float> spoilt_;
};
static_assert(cria::kv_cache<hooked_cache>);

using hooked_session = cria::basic_session<hooked_cache>;

/// Threads of a host during whose every run somebody else tries what must be refused.
struct meddling {
  std::function<bool()> is_refused = nullptr;
  int n_refused = 0, n_runs = 0;

  std::size_t concurrency() const noexcept { return 2; }
  void run(std::size_t n, cria::task_ref task) {
    if (is_refused) ++n_runs, n_refused += is_refused();
    for (std::size_t i = 0; i < n; ++i) task(i);
  }
};

}  // namespace cria_test
