// SPDX-License-Identifier: MIT
#include "bench_ceilings.hpp"

#include <atomic>

namespace cria_program {

namespace {

std::vector<std::span<const std::byte>> matrices_of(const cria::decoder_weights& weights) {
  std::vector<std::span<const std::byte>> out;
  const auto add = [&](const cria::nn::weight& w) {
    if (!w.empty()) out.push_back(w.panels);
  };
  for (const cria::decoder_layer& l : weights.layers) {
    for (const auto* w : {&l.attn_q, &l.attn_k, &l.attn_v, &l.attn_output, &l.ffn_gate, &l.ffn_up, &l.ffn_down}) add(*w);
    for (const auto* experts : {&l.ffn_gate_exps, &l.ffn_up_exps, &l.ffn_down_exps}) {
      for (const cria::nn::weight& w : *experts) add(w);
    }
  }
  add(weights.output);
  return out;
}

}  // namespace

ceiling_meter::ceiling_meter(const cria::model& model, cria::executor_ref executor)
    : executor_(executor), loop_(cria_bench::find_dot_loop(model.kernels().set)), matrices_(matrices_of(model.weights())) {}

void ceiling_meter::read() {
  constexpr std::size_t n_bytes = std::size_t{192} << 20;   // 4 ms at 48 GB/s; more than caches hold
  const std::size_t n_threads = executor_.concurrency(), first = next_;
  std::size_t n = 0, n_matrices = 0;
  for (; n < n_bytes; n += matrices_[next_].size(), next_ = (next_ + 1) % matrices_.size()) ++n_matrices;
  std::atomic<std::uint64_t> sink{0};
  const double start = cria_bench::seconds_now();
  executor_.run(n_threads, [&](std::size_t t) {
    std::uint64_t sum = 0;
    for (std::size_t k = 0; k < n_matrices; ++k) {
      const std::span<const std::byte> m = matrices_[(first + k) % matrices_.size()];
      const std::size_t n_lines = m.size() / 64, begin = n_lines * t / n_threads, end = n_lines * (t + 1) / n_threads;
      sum ^= cria_bench::read_all(m.data() + begin * 64, (end - begin) * 64);
    }
    sink.fetch_xor(sum, std::memory_order_relaxed);
  });
  reads_.seconds += cria_bench::seconds_now() - start;
  reads_.work += static_cast<double>(n);
}

void ceiling_meter::dot() {
  if (loop_ == nullptr) return;
  constexpr std::size_t rounds = 2'000'000;   // 7 ms at a step per cycle
  const std::size_t n_threads = executor_.concurrency();
  double steps = 0;
  const double start = cria_bench::seconds_now();
  executor_.run(n_threads, [&](std::size_t t) {
    const double n = loop_(rounds);
    if (t == 0) steps = n;
  });
  dots_.seconds += cria_bench::seconds_now() - start;
  dots_.work += steps * static_cast<double>(n_threads);
}

}  // namespace cria_program
