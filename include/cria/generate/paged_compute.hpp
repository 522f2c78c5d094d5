// SPDX-License-Identifier: MIT
// generate/paged_compute.hpp - what is needed to compute many sequences over one model: threads, buffers, a pool of pages, and room for their logits.
//
// Shapes    logits: [n_rows][V], rows in memory rounded up to 16 floats
// Ensures   create() allocates everything, forward() nothing
// Errors    create: bad_argument (`where` is the option), out_of_memory; forward: those of model::forward
// Threads   one at a time
// Lifetime  a host's executor must outlive it
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/generate/options.hpp>
#include <cria/kv/paged.hpp>
#include <cria/model/model.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace cria::inline v0_1_0::detail {

struct paged_compute_options {
  std::size_t n_rows;            ///< the most rows of logits that a pass asks for: one for each sequence
  std::size_t n_caches;          ///< the most caches that use the pool at once
  std::size_t n_kept_prefixes;   ///< prefixes whose windows are kept beside those of the caches
  std::size_t context_size;      ///< positions of one sequence; 0: as in session_options
  std::size_t cache_positions;   ///< positions of all sequences together; 0: room for n_caches full contexts
  std::size_t page_size;
  std::size_t max_batch;
  std::size_t n_threads;
  std::optional<executor_ref> executor;
};

template <kv_type Type>
class paged_compute {
 public:
  using cache_type = paged_kv_cache<Type>;
  using pool_type = page_pool<Type>;
  using slice = nn::sequence_slice<cache_type>;

  [[nodiscard]] static result<paged_compute> create(const model& m, const paged_compute_options& o) {
    CRIA_CHECK(check(o));
    std::unique_ptr<thread_pool> threads;
    if (!o.executor) threads = std::make_unique<thread_pool>(o.n_threads);
    const executor_ref executor = o.executor ? *o.executor : executor_ref(*threads);
    const model_config& c = m.config();
    const std::size_t context = session_options{.context_size = o.context_size}.context_for(c);
    const std::size_t n_tokens = std::max(o.max_batch, o.n_rows);
    const page_pool_options pages = pool_options(m.cache_shape(), o, context, n_tokens);
    if (pages.n_pages > pool_type::most_pages) {
      return error{errc::bad_argument, o.cache_positions != 0 ? "cache_positions" : "context_size",
                   "makes " + std::to_string(pages.n_pages) + " pages, the most are " + std::to_string(pool_type::most_pages)};
    }
    auto made = pool_type::create(m.cache_shape(), pages);
    if (!made) {
      if (made.error().code != errc::out_of_memory) return std::move(made).error();
      return error{errc::out_of_memory, o.cache_positions != 0 ? "cache_positions" : "context_size",
                   "no memory for " + std::to_string(pages.n_pages) + " pages of " + std::to_string(pages.page_size) + " positions"};
    }
    std::shared_ptr<pool_type> pool = *std::move(made);
    const std::size_t capacity = std::min(context, pool->n_pages() * pool->page_size());
    CRIA_TRY(auto activations, nn::activations::create(m.activation_shape(n_tokens), m.precision(), executor.concurrency(), pool->pages_for(capacity)));
    CRIA_TRY(auto logits, array_buffer<float>::allocate(o.n_rows * round_up(m.vocab_size(), 16)));
    return paged_compute(std::move(threads), executor, std::move(activations), std::move(logits), std::move(pool), capacity, m.vocab_size());
  }

  /// Computes the slices' tokens. row(i) then has the i-th of the n_rows rows of logits that the slices ask for.
  [[nodiscard]] result<void> forward(const model& m, std::span<slice> slices, std::size_t n_rows, const stop_query& stop) {
    return m.template forward<cache_type>(executor_, activations_, slices, {logits_.data(), round_up(vocab_size_, 16), n_rows, vocab_size_}, stop);
  }
  [[nodiscard]] std::span<const float> row(std::size_t i) const noexcept { return logits_.span().subspan(i * round_up(vocab_size_, 16), vocab_size_); }

  /// Returns how many positions one sequence may have.
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] const std::shared_ptr<pool_type>& pool() const noexcept { return pool_; }

 private:
  paged_compute(std::unique_ptr<thread_pool> threads, executor_ref executor, nn::activations activations, array_buffer<float> logits,
                std::shared_ptr<pool_type> pool, std::size_t capacity, std::size_t vocab_size)
      : threads_(std::move(threads)),
        executor_(executor),
        activations_(std::move(activations)),
        logits_(std::move(logits)),
        pool_(std::move(pool)),
        capacity_(capacity),
        vocab_size_(vocab_size) {}

  [[nodiscard]] static result<void> check(const paged_compute_options& o) {
    const auto refuse = [](const char* field, std::size_t highest) {
      return error{errc::bad_argument, field, "is not in 1 to " + std::to_string(highest)};
    };
    if (o.max_batch == 0 || o.max_batch > session_options::most_batch) return refuse("max_batch", session_options::most_batch);
    if (o.context_size > session_options::max_context) return refuse_larger("context_size", o.context_size, session_options::max_context);
    if (o.cache_positions > session_options::max_context) return refuse_larger("cache_positions", o.cache_positions, session_options::max_context);
    if (o.page_size == 0 || o.page_size % 16 != 0 || o.page_size > 65'536) return error{errc::bad_argument, "page_size", "is not a multiple of 16 up to 65536"};
    if (o.n_threads > thread_pool::max_threads) return refuse_larger("n_threads", o.n_threads, thread_pool::max_threads);
    return {};
  }

  [[nodiscard]] static page_pool_options pool_options(const kv_shape& shape, const paged_compute_options& o, std::size_t context, std::size_t n_tokens) {
    const auto pages_for = [&](std::size_t positions) { return (positions - 1) / o.page_size + 1; };
    const std::size_t n_pages = o.cache_positions != 0 ? pages_for(o.cache_positions) : o.n_caches * pages_for(context);
    const std::size_t window = std::min(shape.widest_window(), context);
    const std::size_t n_windowed = windowed_pages(window, o.page_size, o.n_caches, n_tokens) + o.n_kept_prefixes * (window / o.page_size + 2);
    return {.n_pages = n_pages, .page_size = o.page_size, .n_windowed_pages = std::min(n_windowed, n_pages), .slack = 0};
  }

  std::unique_ptr<thread_pool> threads_;   // none with the host's executor
  executor_ref executor_;
  nn::activations activations_;
  array_buffer<float> logits_;
  std::shared_ptr<pool_type> pool_;
  std::size_t capacity_, vocab_size_;
};

}  // namespace cria::inline v0_1_0::detail
