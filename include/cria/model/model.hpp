// SPDX-License-Identifier: MIT
// model/model.hpp - an opened model: weights, tokenizer, metadata, and the kernels that it computes with.
//
// Ensures   Immutable. A `model` is a handle: copies share one set of weights, which lives as long as the last of them. Sessions hold one.
// Errors    load: those of gguf::file::open, decoder, weight_loader and tokenizer; limit_exceeded (padding); unsupported_cpu; cancelled; out_of_memory
// Threads   shared freely; loading starts threads of its own and ends them
#pragma once

#include <cria/core/stop_token.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/gguf/file.hpp>
#include <cria/kernels/registry.hpp>
#include <cria/model/decoder.hpp>
#include <cria/model/fingerprint.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace cria::inline v0_1_0 {

/// How a model is loaded.
struct load_options {
  cria::precision precision = cria::precision::exact;
  std::size_t n_threads = 0;              ///< for packing; 0: the cores that this process may use
  std::optional<isa::id> instruction_set; ///< empty: the best one that is compiled in and that the processor runs
  load_callback progress;                 ///< called between tensors; false cancels
  stop_token stop;
  gguf::limits limits;
};

class model {
 public:
  static result<model> load(const gguf::file& file, const load_options& options = {});

  [[nodiscard]] const model_config& config() const noexcept { return state_->decoder.config(); }
  [[nodiscard]] const decoder_weights& weights() const noexcept { return state_->decoder.weights(); }
  [[nodiscard]] const cria::tokenizer& tokenizer() const noexcept { return state_->tokenizer; }
  [[nodiscard]] const gguf::metadata& metadata() const noexcept { return state_->file.metadata(); }
  [[nodiscard]] const kernels::kernel_table& kernels() const noexcept { return *state_->kernels; }
  [[nodiscard]] cria::precision precision() const noexcept { return state_->precision; }
  /// Returns a number that distinguishes this model from others (model/fingerprint.hpp). It does not depend on the precision.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return state_->fingerprint; }
  [[nodiscard]] std::size_t vocab_size() const noexcept { return config().vocab_size; }
  [[nodiscard]] std::size_t weight_bytes() const noexcept { return state_->decoder.weights().bytes(); }
  [[nodiscard]] kv_shape cache_shape() const noexcept { return config().cache_shape(); }
  [[nodiscard]] nn::activation_shape activation_shape(std::size_t max_tokens) const noexcept { return config().activation_shape(max_tokens); }

  /// Computes the slices' tokens and writes the logits that they ask for, in the order of the slices, one row each. The logits' bits are the same for any
  /// split of a prompt into passes, any number of threads, and any other slices in the pass. Caches advance only on success; after bad_argument (a token out
  /// of range, no tokens or too many, an adapter of another model), context_full and cancelled they are as before. Requires activations for that many tokens,
  /// and caches of cache_shape().
  template <kv_cache Cache>
  result<void> forward(executor_ref executor, nn::activations& a, std::span<nn::sequence_slice<Cache>> slices, nn::rows_view logits,
                       const stop_query& stop = {}) const {
    // A pass allocates nothing, except perhaps the text of an error.
    return catch_bad_alloc(
        [&] {
          return forward_checked({*state_->kernels, executor, state_->precision, state_->has_bf16_dot}, a, slices, logits, stop);
        },
        "forward");
  }

 private:
  struct state {
    gguf::file file;
    const kernels::kernel_table* kernels;
    cria::precision precision;
    cria::tokenizer tokenizer;
    cria::decoder decoder;
    std::uint64_t fingerprint;
    bool has_bf16_dot;
  };

  explicit model(std::shared_ptr<const state> s) : state_(std::move(s)) {}

  template <kv_cache Cache>
  result<void> forward_checked(const nn::compute& c, nn::activations& a, std::span<nn::sequence_slice<Cache>> slices, nn::rows_view logits,
                               const stop_query& stop) const {
    CRIA_CHECK(check_slices<Cache>(slices));
    CRIA_TRY(const std::size_t n_tokens, nn::begin_pass(a, config().vocab_size, slices));
    const auto attend = [&](const nn::attention_phase& phase) {
      nn::rotate_and_append(c, a, phase.turn, phase.layer, slices);
      nn::attend(c, a, phase.seen, phase.layer, slices);
    };
    if (!state_->decoder.run(nn::pass(c, a, n_tokens, attend), logits, stop)) return nn::cancel_pass(slices);
    nn::commit_pass(slices);
    return {};
  }

  /// Checks that positions do not exceed the learned ones, and that adapters are of this model and have finite scales.
  template <kv_cache Cache>
  [[nodiscard]] result<void> check_slices(std::span<const nn::sequence_slice<Cache>> slices) const {
    const std::size_t most = config().has_learned_positions ? config().context_length : std::numeric_limits<std::size_t>::max();
    for (const nn::sequence_slice<Cache>& s : slices) {
      if (s.tokens.size() > most || s.cache->length() > most - s.tokens.size()) {
        return error{errc::context_full, "context", "the model has learned " + std::to_string(most) + " positions"};
      }
      for (const nn::low_rank_use& use : s.adapters) {
        if (use.set->model != &weights()) return error{errc::bad_argument, "adapters", "one is of another model"};
        if (!std::isfinite(use.scale)) return error{errc::bad_argument, "adapters", "a scale is not finite"};
      }
    }
    return {};
  }

  static result<model> load_checked(const gguf::file& file, const load_options& options) {
    CRIA_TRY(const kernels::kernel_table* kernels, kernels::select(options.instruction_set));
    CRIA_CHECK(check_loaded_bytes(file));
    CRIA_TRY(auto tokenizer, cria::tokenizer::from_metadata(file.metadata()));
    CRIA_TRY(auto decoder, cria::decoder::from_metadata(file.metadata(), tokenizer.vocab_size()));
    thread_pool pool(options.n_threads);
    weight_loader loader(file, *kernels, pool, options.progress, options.stop);
    CRIA_TRY(auto weights, decoder_weights::load(decoder.config(), loader));
    decoder.set_weights(std::move(weights));
    CRIA_TRY(const std::uint64_t fingerprint, fingerprint_of(file));
    return model(std::make_shared<const state>(
        state{file, kernels, options.precision, std::move(tokenizer), std::move(decoder), fingerprint, kernels::has_bf16_dot(*kernels)}));
  }

  std::shared_ptr<const state> state_;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<model> model::load(const gguf::file& file, const load_options& options) {
  return catch_bad_alloc([&] { return load_checked(file, options); }, "load");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
