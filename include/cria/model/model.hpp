// SPDX-License-Identifier: MIT
// model/model.hpp - an opened model: weights, tokenizer, metadata, and the kernels they were packed for.
//
// Ensures   immutable; a `model` is a handle, copies share one set of weights, which lives as long as the last of them (sessions hold one)
// Errors    load: those of gguf::file::open, llama_config, weight_loader, tokenizer; unsupported_cpu; cancelled; out_of_memory
// Threads   shared freely; loading uses its own threads and ends them
#pragma once

#include <cria/core/thread_pool.hpp>
#include <cria/gguf/file.hpp>
#include <cria/kernels/registry.hpp>
#include <cria/model/fingerprint.hpp>
#include <cria/model/llama.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>

namespace cria::inline v0 {

struct load_options {
  cria::precision precision = cria::precision::exact;
  std::size_t n_threads = 0;              ///< for packing; 0: the cores this process may use
  std::optional<isa::id> instruction_set; ///< empty: the best of those compiled in
  load_callback progress;                 ///< called between tensors; false cancels
  std::stop_token stop;
  gguf::limits limits;
};

class model {
 public:
  static result<model> load(const gguf::file& file, const load_options& options = {}) {
    return catch_bad_alloc([&] { return load_checked(file, options); }, "load");
  }

  [[nodiscard]] const llama_config& config() const noexcept { return state_->decoder.config(); }
  [[nodiscard]] const cria::tokenizer& tokenizer() const noexcept { return state_->tokenizer; }
  [[nodiscard]] const gguf::metadata& metadata() const noexcept { return state_->file.metadata(); }
  [[nodiscard]] const kernels::kernel_table& kernels() const noexcept { return *state_->kernels; }
  [[nodiscard]] cria::precision precision() const noexcept { return state_->precision; }
  /// Returns what tells this model from others: see model/fingerprint.hpp. Models of other precision share it.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return state_->fingerprint; }
  [[nodiscard]] std::size_t vocab_size() const noexcept { return config().vocab_size; }
  [[nodiscard]] std::size_t weight_bytes() const noexcept { return state_->decoder.weights().bytes(); }
  [[nodiscard]] kv_shape cache_shape() const noexcept { return state_->decoder.cache_shape(); }
  [[nodiscard]] nn::activation_shape activation_shape(std::size_t max_tokens) const noexcept { return state_->decoder.activation_shape(max_tokens); }

  /// Runs a pass; see llama::forward.
  template <kv_cache Cache>
  result<void> forward(executor_ref executor, nn::activations& a, std::span<nn::sequence_slice<Cache>> slices, nn::rows_view logits,
                       const std::stop_token& stop = {}) const {
    // A pass allocates nothing, but the text of an error may.
    return catch_bad_alloc([&] { return state_->decoder.forward({*state_->kernels, executor, state_->precision}, a, slices, logits, stop); }, "forward");
  }

 private:
  struct state {
    gguf::file file;
    const kernels::kernel_table* kernels;
    cria::precision precision;
    cria::tokenizer tokenizer;
    llama decoder;
    std::uint64_t fingerprint;
  };

  explicit model(std::shared_ptr<const state> s) : state_(std::move(s)) {}

  static result<model> load_checked(const gguf::file& file, const load_options& options) {
    CRIA_TRY(const kernels::kernel_table* kernels, kernels::select(options.instruction_set));
    CRIA_TRY(auto tokenizer, cria::tokenizer::from_metadata(file.metadata()));
    CRIA_TRY(const llama_config config, llama_config::from_metadata(file.metadata(), tokenizer.vocab_size()));
    thread_pool pool(options.n_threads);
    weight_loader checker(load_pass::check, file, *kernels, pool, options.progress, options.stop);
    CRIA_CHECK(llama_weights::load(config, checker));
    CRIA_CHECK(checker.check_all_used());
    weight_loader loader(load_pass::read, file, *kernels, pool, options.progress, options.stop);
    CRIA_TRY(auto weights, llama_weights::load(config, loader));
    CRIA_TRY(const std::uint64_t fingerprint, fingerprint_of(file));
    return model(std::make_shared<const state>(state{file, kernels, options.precision, std::move(tokenizer), llama(config, std::move(weights)), fingerprint}));
  }

  std::shared_ptr<const state> state_;
};

}  // namespace cria::inline v0
