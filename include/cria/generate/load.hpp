// SPDX-License-Identifier: MIT
// generate/load.hpp - opens a model in one call, and estimates beforehand how much memory it will take.
//
// Errors    load_model: those of gguf::file::open and model::load; estimate_memory: missing_tensor (the file has a vocabulary only), limit_exceeded,
//           bad_argument (options), those of model_config
// Threads   pure functions; loading starts threads of its own and ends them
#pragma once

#include <cria/core/byte_source.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/result.hpp>
#include <cria/generate/options.hpp>
#include <cria/gguf/file.hpp>
#include <cria/kernels/activation_size.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/model/model.hpp>
#include <cria/model/weight_loader.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cria::inline v0_1_0 {

/// Opens a GGUF file (for a model in several parts: the first one) and loads its weights.
[[nodiscard]] result<model> load_model(const std::filesystem::path& path, const load_options& options = {});

/// As above, from bytes that the host provides.
[[nodiscard]] result<model> load_model(std::shared_ptr<const byte_source> source, const load_options& options = {});

/// As above, from a file that has been opened already.
[[nodiscard]] result<model> load_model(const gguf::file& file, const load_options& options = {});

/// How much memory a model and one session of it take, in bytes.
struct memory_estimate {
  std::uint64_t context;       ///< positions of the session (not bytes)
  std::uint64_t trained_context;   ///< positions that the model was trained on (not bytes)
  std::uint64_t weights;
  std::uint64_t cache;         ///< a contiguous cache in which all positions are used
  std::uint64_t activations;   ///< buffers for a pass, including logits

  [[nodiscard]] std::uint64_t total() const noexcept { return weights + cache + activations; }
};

namespace detail {

[[nodiscard]] inline checked_u64 cache_bytes_of(const kv_shape& s, std::uint64_t positions, kv_type type) noexcept {
  checked_u64 rows = 0;
  for (std::size_t layer = 0; layer < s.n_layers; ++layer) rows = rows + kept_positions(s.window_of(layer), positions);
  const auto bytes = [&]<class Storage>(std::type_identity<Storage>) -> checked_u64 {
    return rows / kv_panel * s.n_kv_heads * (Storage::k_panel_bytes(s.head_dim) + kv_panel * Storage::v_row_bytes(round_up(s.head_dim, Storage::v_step)));
  };
  switch (type) {
    case kv_type::f16: break;
    case kv_type::f32: return bytes(std::type_identity<kv_storage<kv_type::f32>>{});
    case kv_type::q8_0: return bytes(std::type_identity<kv_storage<kv_type::q8_0>>{});
    case kv_type::bf16: return bytes(std::type_identity<kv_storage<kv_type::bf16>>{});
  }
  return bytes(std::type_identity<kv_storage<kv_type::f16>>{});
}

[[nodiscard]] inline std::uint64_t activation_bytes_of(const nn::activation_shape& s, precision p) noexcept {
  const std::size_t queries = s.n_heads * s.head_dim, keys = s.n_kv_heads * s.head_dim;
  std::uint64_t per_token = nn::low_rank_pair::max_rank;
  for (const std::size_t width : {s.dim, s.dim, queries, queries, keys, keys, s.n_experts}) per_token += nn::row_stride(width);
  per_token += s.n_angles * nn::row_stride(2 * s.rope_dim);
  const std::uint64_t per_ffn_row = 2 * nn::row_stride(s.ffn_dim) + (s.n_experts == 0 ? 0 : nn::row_stride(s.dim));
  return 4 * (s.max_tokens * per_token + s.ffn_rows() * per_ffn_row + s.quantised_words(p) + s.mixed_words(p) + s.gate_words(p));
}

}  // namespace detail

/// Returns how much memory the file's model and a session with these options will take. Reads no weights.
[[nodiscard]] result<memory_estimate> estimate_memory(const gguf::file& file, const session_options& options = {}, kv_type type = kv_type::f16,
                                                             precision p = precision::exact);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<model> load_model(const std::filesystem::path& path, const load_options& options) {
  CRIA_TRY(const gguf::file file, gguf::file::open(path, options.limits));
  return model::load(file, options);
}

CRIA_INLINE result<model> load_model(std::shared_ptr<const byte_source> source, const load_options& options) {
  CRIA_TRY(const gguf::file file, gguf::file::open(std::move(source), options.limits));
  return model::load(file, options);
}

CRIA_INLINE result<model> load_model(const gguf::file& file, const load_options& options) { return model::load(file, options); }

CRIA_INLINE result<memory_estimate> estimate_memory(const gguf::file& file, const session_options& options, kv_type type,
                                                             precision p) {
  return catch_bad_alloc([&]() -> result<memory_estimate> {
    CRIA_TRY(const auto tokens, file.metadata().get<gguf::array_view>("tokenizer.ggml.tokens"));
    if (file.find_tensor("token_embd.weight") == nullptr) return error{errc::missing_tensor, "token_embd.weight"};
    CRIA_TRY(const model_config c, model_config::from_metadata(file.metadata(), tokens.size()));
    memory_estimate m{};
    CRIA_CHECK(detail::check(options));
    m.context = options.context_for(c);
    m.trained_context = c.context_length;
    const auto too_large = [](std::string_view what) { return error{errc::limit_exceeded, what, "would take more than 2^64 bytes"}; };
    checked_u64 weights = 0;
    for (const gguf::tensor_info& t : file.tensors()) {
      const auto bytes = loaded_bytes(t);
      weights = bytes ? weights + *bytes : checked_u64(1) / 0;
    }
    const auto cache = detail::cache_bytes_of(c.cache_shape(), m.context, type).get();
    if (!weights.get()) return too_large("weights");
    if (!cache) return too_large("cache");
    m.weights = *weights.get();
    m.cache = *cache;
    const kv_shape shape = c.cache_shape();
    std::size_t n_tokens = std::min<std::size_t>(options.max_batch, static_cast<std::size_t>(m.context));
    for (std::size_t layer = 0; layer < shape.n_layers; ++layer) {   // a cache with windows limits a pass (contiguous_kv_cache::max_pass)
      if (kept_positions(shape.window_of(layer), m.context) < kept_positions(0, m.context)) n_tokens = std::min(n_tokens, window_slack);
    }
    m.activations = detail::activation_bytes_of(c.activation_shape(n_tokens), p) +
                    4 * round_up(c.vocab_size, 16);
    return m;
  }, "estimate");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
