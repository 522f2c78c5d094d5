// SPDX-License-Identifier: MIT
// model/adapter.hpp - a LoRA adapter of a model, from a GGUF file. Which sequences use it, and how strongly, is chosen for each pass.
//
// Shapes    "<tensor>.lora_a" [R,K] and "<tensor>.lora_b" [N,R] for a matrix "<tensor>" [N,K] of a layer, or for an output.weight that is not tied.
//           q, k and v may be joined as attn_qkv or on their own, whatever the model's file has. Adapters that have others (token_embd.weight, experts,
//           routers) are refused.
// Ensures   Nothing of the model is copied or changed. An adapter is a handle: copies share its weights, and keep the model alive.
// Errors    load: io and those of gguf::file::open; missing_key, bad_value (not an adapter, or half of a pair); unsupported_architecture (not the model's);
//           missing_tensor (also for a tensor that cannot be adapted), bad_shape (`where` is the tensor: an adapter of another model); unsupported_type,
//           non_finite, out_of_memory
// Threads   shared freely
// Source    LoRA arXiv 2106.09685; the layout of llama.cpp's converter (August 2026): adapter.lora.alpha / R scales, unless it is absent or 0
#pragma once

#include <cria/core/result.hpp>
#include <cria/gguf/file.hpp>
#include <cria/model/fingerprint.hpp>
#include <cria/model/model.hpp>
#include <cria/nn/low_rank.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

class adapter {
 public:
  /// Loads an adapter of `base`.
  [[nodiscard]] static result<adapter> load(const gguf::file& file, const model& base);

  /// Returns the adapter at a strength, for a sequence slice. Valid as long as a copy of this handle lives.
  [[nodiscard]] nn::low_rank_use use(float scale = 1) const noexcept { return {&state_->set, scale}; }
  [[nodiscard]] const model& base() const noexcept { return state_->base; }
  /// Returns a number that distinguishes this adapter from others (model/fingerprint.hpp).
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return state_->fingerprint; }
  /// Returns an identity that only copies of this handle share. It does not keep the adapter alive.
  [[nodiscard]] std::weak_ptr<const void> identity() const noexcept { return state_; }
  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t n = 0;
    for (const nn::low_rank_pair& p : state_->set.pairs) n += p.a.bytes() + p.b.bytes();
    return n;
  }

 private:
  struct state {
    model base;
    nn::low_rank_set set;
    std::uint64_t fingerprint;
  };

  /// A weight of the model: rows [first_row, first_row + rows) of a tensor.
  struct target {
    const nn::weight* to;
    std::size_t first_row;
  };

  explicit adapter(std::shared_ptr<const state> s) : state_(std::move(s)) {}

  static result<adapter> load_checked(const gguf::file& file, const model& base) {
    CRIA_CHECK(check_kind(file.metadata(), base));
    CRIA_TRY(const double alpha, file.metadata().get_or("adapter.lora.alpha", 0.0));
    if (!std::isfinite(alpha)) return error{errc::bad_value, "adapter.lora.alpha", "must be finite"};
    nn::low_rank_set set;
    constexpr std::string_view a_ending = ".lora_a", b_ending = ".lora_b";
    std::size_t n_used = 0;
    for (const gguf::tensor_info& a : file.tensors()) {
      if (!a.name.ends_with(a_ending)) continue;
      const std::string_view name = a.name.substr(0, a.name.size() - a_ending.size());
      const gguf::tensor_info* b = file.find_tensor(std::string(name) + std::string(b_ending));
      if (b == nullptr) return error{errc::missing_tensor, printable(name) + ".lora_b"};
      CRIA_CHECK(add_pair(set, file, base, name, a, *b, alpha));
      n_used += 2;
    }
    if (n_used != file.tensors().size()) return error{errc::bad_value, stray_name(file), "is not half of a pair .lora_a, .lora_b"};
    set.sort();
    set.model = &base.weights();
    CRIA_TRY(const std::uint64_t fingerprint, fingerprint_of(file));
    return adapter(std::make_shared<const state>(state{base, std::move(set), fingerprint}));
  }

  static result<void> check_kind(const gguf::metadata& keys, const model& base) {
    for (const auto& [key, wanted] : {std::pair<std::string_view, std::string_view>{"general.type", "adapter"}, {"adapter.type", "lora"}}) {
      CRIA_TRY(const std::string_view found, keys.get<std::string_view>(key));
      if (found != wanted) return error{errc::bad_value, key, printable(found) + " is not " + std::string(wanted)};
    }
    CRIA_TRY(const std::string_view architecture, keys.get<std::string_view>("general.architecture"));
    if (architecture == base.config().architecture->name) return {};
    return error{errc::unsupported_architecture, "general.architecture",
                 "an adapter of " + printable(architecture) + " for a model of " + std::string(base.config().architecture->name)};
  }

  static std::string stray_name(const gguf::file& file) {
    for (const gguf::tensor_info& t : file.tensors()) {
      const bool is_a = t.name.ends_with(".lora_a");
      if (!is_a && (!t.name.ends_with(".lora_b") || file.find_tensor(std::string(t.name.substr(0, t.name.size() - 1)) + "a") == nullptr)) {
        return printable(t.name);
      }
    }
    return "tensors";
  }

  static result<void> add_pair(nn::low_rank_set& set, const gguf::file& file, const model& base, std::string_view name, const gguf::tensor_info& a,
                               const gguf::tensor_info& b, double alpha) {
    CRIA_TRY(const std::vector<target> targets, targets_of(base, name));
    std::size_t rows = 0;
    for (const target& t : targets) rows += t.to->rows;
    const std::size_t columns = targets.front().to->columns;
    const std::uint64_t rank = a.shape[1];
    CRIA_CHECK(check_shape(a, columns, rank));
    CRIA_CHECK(check_shape(b, rank, rows));
    CRIA_TRY(const std::vector<float> a_values, values_of(file, a));
    CRIA_TRY(std::vector<float> b_values, values_of(file, b));
    // The scale of this pair goes into B: ranks may differ between tensors.
    const double scale = alpha == 0 ? 1.0 : alpha / static_cast<double>(rank);
    for (float& v : b_values) {
      const double scaled = static_cast<double>(v) * scale;
      if (!(std::fabs(scaled) <= static_cast<double>(std::numeric_limits<float>::max()))) {
        return error{errc::non_finite, printable(b.name), "times alpha / rank is too large"};
      }
      v = static_cast<float>(scaled);
    }
    for (const target& t : targets) {
      for (std::size_t first = 0; first < rank; first += nn::low_rank_pair::max_rank) {
        const std::size_t n = std::min<std::size_t>(static_cast<std::size_t>(rank) - first, nn::low_rank_pair::max_rank);
        nn::low_rank_pair pair{t.to, shaped(n, columns), shaped(t.to->rows, n), {}};
        auto allocated = aligned_buffer::allocate(pair.a.packed_bytes() + pair.b.packed_bytes());
        if (!allocated) return error{errc::out_of_memory, printable(a.name), "no memory for it"};
        pair.memory = *std::move(allocated);
        const std::span<std::byte> memory = pair.memory.span();
        pack(std::span(a_values).subspan(first * columns), columns, memory.first(pair.a.packed_bytes()), pair.a);
        pack(std::span(b_values).subspan(t.first_row * static_cast<std::size_t>(rank) + first), static_cast<std::size_t>(rank),
             memory.subspan(pair.a.packed_bytes()), pair.b);
        static_cast<void>(pair.memory.make_read_only());   // as a model's own weights are
        set.pairs.push_back(std::move(pair));
      }
    }
    return {};
  }

  static result<void> check_shape(const gguf::tensor_info& t, std::uint64_t columns, std::uint64_t rows) {
    if (t.shape[0] == columns && t.shape[1] == rows && t.shape[2] == 1 && t.shape[3] == 1) return {};
    return error{errc::bad_shape, printable(t.name),
                 "is " + std::to_string(t.shape[0]) + " x " + std::to_string(t.shape[1]) + ", this model needs " + std::to_string(columns) + " x " +
                     std::to_string(rows)};
  }

  /// Returns the tensor's values, all of which are finite.
  static result<std::vector<float>> values_of(const gguf::file& file, const gguf::tensor_info& t) {
    if (t.elements > std::numeric_limits<std::size_t>::max() / sizeof(float)) {   // 32-bit systems
      return error{errc::out_of_memory, printable(t.name), "is larger than the address space"};
    }
    std::vector<std::byte> bytes(static_cast<std::size_t>(t.size_bytes));
    std::vector<float> values(static_cast<std::size_t>(t.elements));
    CRIA_CHECK(file.read(t, 0, bytes));
    const std::size_t row = static_cast<std::size_t>(t.shape[0]);
    for (std::size_t r = 0; r * row < values.size(); ++r) {
      if (!dequantize_row(t.type, bytes.data() + r * row_bytes(t.type, row), std::span(values).subspan(r * row, row))) {
        return error{errc::unsupported_type, printable(t.name), std::string(cria::name(t.type)) + " is not a format that cria computes with"};
      }
    }
    for (const float v : values) {
      if (!std::isfinite(v)) return error{errc::non_finite, printable(t.name), "holds inf or NaN"};
    }
    return values;
  }

  /// Returns a weight in float32 that has no panels yet.
  static nn::weight shaped(std::size_t rows, std::size_t columns) {
    nn::weight w;
    w.format = *format_index_of(w.type);
    w.rows = rows;
    w.columns = columns;
    return w;
  }

  /// Makes rows that lie `stride` values apart the panels of a weight.
  static void pack(std::span<const float> from, std::size_t stride, std::span<std::byte> panels, nn::weight& w) {
    std::vector<float> dense(w.rows * w.columns);
    for (std::size_t r = 0; r < w.rows; ++r) std::copy_n(from.data() + r * stride, w.columns, dense.data() + r * w.columns);
    kernels::pack(w.format, {.rows = reinterpret_cast<const std::byte*>(dense.data()),
                             .n_rows = w.rows,
                             .k = w.columns,
                             .n_panels = w.n_panels(),
                             .panels = panels.data()});
    w.panels = panels;
  }

  /// Returns the weights of the model that a tensor of it became.
  static result<std::vector<target>> targets_of(const model& base, std::string_view name) {
    const decoder_weights& weights = base.weights();
    if (name == "output.weight" && !weights.is_tied()) return std::vector<target>{{&weights.output, 0}};
    const std::int64_t layer = gguf::layer_of(name);
    if (layer >= 0 && static_cast<std::uint64_t>(layer) < weights.layers.size()) {
      const auto i = static_cast<std::size_t>(layer);
      const std::string blk = "blk." + std::to_string(i) + ".";
      std::vector<const layer_tensor*> known(base.config().architecture->layer.begin(), base.config().architecture->layer.end());
      // Files join or part q, k and v otherwise than those of their architecture usually do, and so do adapters.
      known.insert(known.end(), {&tensor::attn_qkv, &tensor::attn_q, &tensor::attn_k, &tensor::attn_v});
      for (const layer_tensor* t : known) {
        if (t == nullptr) continue;
        if (t->vector != nullptr || t->experts != nullptr || name != blk + std::string(t->name) + ".weight" || t == &tensor::ffn_gate_inp) continue;
        std::vector<target> targets;
        std::size_t first_row = 0;
        for (const layer_tensor::piece& p : t->pieces) {
          if (p.to == nullptr) break;
          targets.push_back({&(weights.layers[i].*(p.to)), first_row});
          first_row += targets.back().to->rows;
        }
        return targets;
      }
    }
    return error{errc::missing_tensor, printable(name), "is not a matrix of this model that can be adapted"};
  }

  std::shared_ptr<const state> state_;
};

/// An adapter, and the factor of what it adds.
struct adapter_choice {
  cria::adapter adapter;
  float scale = 1;
};

/// Adapters that are used together, in the form for a sequence slice. An empty set is the model alone.
class adapter_set {
 public:
  adapter_set() = default;

  /// Errors: bad_argument (another model's adapter, a scale that is not finite), out_of_memory.
  [[nodiscard]] static result<adapter_set> create(std::span<const adapter_choice> choices, const model& base) {
    return catch_bad_alloc([&]() -> result<adapter_set> {
      adapter_set made;
      made.choices_.assign(choices.begin(), choices.end());
      for (const adapter_choice& c : made.choices_) {
        if (&c.adapter.base().weights() != &base.weights()) return error{errc::bad_argument, "adapters", "one is of another model"};
        if (!std::isfinite(c.scale)) return error{errc::bad_argument, "adapters", "a scale is not finite"};
        made.uses_.push_back(c.adapter.use(c.scale));
      }
      return made;
    }, "adapters");
  }

  [[nodiscard]] std::span<const adapter_choice> choices() const noexcept { return choices_; }
  [[nodiscard]] std::span<const nn::low_rank_use> uses() const noexcept { return uses_; }
  [[nodiscard]] bool empty() const noexcept { return uses_.empty(); }

  /// Returns whether these are the same adapters with the same scales in the same order, and so give the same bits.
  [[nodiscard]] bool is_same(const adapter_set& other) const noexcept {
    return std::equal(uses_.begin(), uses_.end(), other.uses_.begin(), other.uses_.end(),
                      [](const nn::low_rank_use& a, const nn::low_rank_use& b) { return a.set == b.set && a.scale == b.scale; });
  }

 private:
  std::vector<adapter_choice> choices_;
  std::vector<nn::low_rank_use> uses_;
};

/// Loads an adapter of `base` from a file.
[[nodiscard]] result<adapter> load_adapter(const std::filesystem::path& path, const model& base);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<adapter> adapter::load(const gguf::file& file, const model& base) {
  return catch_bad_alloc([&] { return load_checked(file, base); }, "adapter");
}

CRIA_INLINE result<adapter> load_adapter(const std::filesystem::path& path, const model& base) {
  CRIA_TRY(const gguf::file file, gguf::file::open(path));
  return adapter::load(file, base);
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
