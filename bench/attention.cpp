// SPDX-License-Identifier: MIT
// attention.<cache>.<instruction set>/m<tokens>_d<positions before them>: one kv head of TinyLlama, which 8 query heads of 64 channels share.
#include "bench.hpp"

#include <cria/kv/contiguous.hpp>

namespace cria_bench {

namespace {

constexpr std::size_t head_dim = 64, group_size = 8;

/// Queries behind `depth` positions, and what they look at.
template <cria::kv_type Type>
class queries {
 public:
  using cache = cria::contiguous_kv_cache<Type>;

  static std::optional<queries> make(std::size_t n_tokens, std::size_t depth) {
    auto made = cache::create({1, 1, head_dim}, depth + n_tokens);
    if (!made || !made->reserve(depth + n_tokens)) return std::nullopt;
    const std::vector<float> keys = random_floats((depth + n_tokens) * head_dim), values = random_floats((depth + n_tokens) * head_dim, 0.5f);
    for (std::size_t pos = 0; pos < depth + n_tokens; ++pos)
      made->write({{0, 0}, pos}, {keys.data() + pos * head_dim, values.data() + pos * head_dim});
    made->commit(depth + n_tokens);
    return queries(*std::move(made), n_tokens, depth);
  }

  /// The arguments point into this object.
  [[nodiscard]] cria::kernels::attention_args args() {
    cache_.segments({0, 0}, std::span(&run_, 1));
    return {.runs = &run_,
            .n_runs = 1,
            .head_dim = head_dim,
            .v_stride = cache_.v_stride(),
            .q = q_rows_.data(),
            .visible_begin = begin_.data(),
            .visible_end = end_.data(),
            .out = out_rows_.data(),
            .n_rows = q_rows_.size(),
            .scratch = scratch_.data(),
            .soft_cap = 0};
  }
  [[nodiscard]] std::span<const float> out() const noexcept { return out_; }
  /// Multiply-adds: keys and values.
  [[nodiscard]] double macs() const {
    double n = 0;
    for (const std::size_t end : end_) n += 2.0 * static_cast<double>(end * head_dim);
    return n;
  }
  [[nodiscard]] double bytes() const {
    const double element = Type == cria::kv_type::f32 ? 4 : Type == cria::kv_type::q8_0 ? 34.0 / 32 : 2;
    return static_cast<double>(end_.back() * head_dim * 2) * element;
  }

 private:
  queries(cache c, std::size_t n_tokens, std::size_t depth)
      : cache_(std::move(c)),
        q_(random_floats(n_tokens * group_size * head_dim, 0.2f)),
        out_(q_.size()),
        scratch_(cria::kernels::attention_scratch(head_dim)) {
    for (std::size_t row = 0; row < n_tokens * group_size; ++row) {
      q_rows_.push_back(q_.data() + row * head_dim);
      out_rows_.push_back(out_.data() + row * head_dim);
      begin_.push_back(0);
      end_.push_back(depth + row / group_size + 1);
    }
  }

  cache cache_;
  cria::kv_segment run_{};
  std::vector<float> q_, out_, scratch_;
  std::vector<const float*> q_rows_;
  std::vector<float*> out_rows_;
  std::vector<std::size_t> begin_, end_;
};

using attention_kernel = void (*)(const cria::kernels::attention_args&) noexcept;

template <cria::kv_type Type>
void run(benchmark::State& state, attention_kernel kernel, std::size_t n_tokens, std::size_t depth) {
  auto mine = queries<Type>::make(n_tokens, depth), reference = queries<Type>::make(n_tokens, depth);
  if (!mine || !reference) return state.SkipWithError("out of memory");
  const auto args = mine->args();
  kernel(args);
  reference_table().attention[static_cast<std::size_t>(Type)](reference->args());
  // A weighted mean of values below 2 whose weights are off by some ulp, each from a sum of 64 products.
  if (const auto bad = difference(mine->out(), reference->out(), 2 * 64 * 0x1p-23)) return state.SkipWithError(bad->c_str());
  meter m(state);
  for (auto _ : state) {
    kernel(args);
    benchmark::DoNotOptimize(mine->out().data());
    benchmark::ClobberMemory();
  }
  m.stop();
  m.bytes(mine->bytes());
  m.macs(mine->macs());
}

template <cria::kv_type Type>
void register_kernel(const std::string& kernel_name, attention_kernel kernel) {
  for (const std::size_t n_tokens : {std::size_t{1}, std::size_t{16}}) {
    for (const std::size_t depth : {std::size_t{0}, std::size_t{128}, std::size_t{512}, std::size_t{1536}}) {
      const std::string name = kernel_name + "/m" + std::to_string(n_tokens) + "_d" + std::to_string(depth);
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run<Type>(state, kernel, n_tokens, depth); });
    }
  }
}

template <cria::kv_type Type>
void register_type() {
  for (const kernel_table* table : runnable_tables()) {
    const std::string name = "attention." + std::string(cria::name(Type)) + "." + set_name(*table);
    register_kernel<Type>(name, table->attention[static_cast<std::size_t>(Type)]);
    if (Type == cria::kv_type::bf16 && cria::kernels::has_bf16_dot(*table)) register_kernel<Type>(name + "/dot", table->attention_bf16_dot);
  }
}

}  // namespace

void register_attention() {
  register_type<cria::kv_type::f16>();
  register_type<cria::kv_type::f32>();
  register_type<cria::kv_type::bf16>();
  register_type<cria::kv_type::q8_0>();
}

}  // namespace cria_bench
