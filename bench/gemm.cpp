// SPDX-License-Identifier: MIT
// gemm.<format>.<instruction set>/<precision>/m<tokens>_n<rows>_k<columns>: products with the matrices of TinyLlama.
//
// With one token the weights come from memory, as in decode: copies of them are gone through in turn. With more tokens a panel is read once
// for many of them, as in a thread's part of a long prompt.
#include "bench.hpp"

#include <cria/kernels/activation_size.hpp>

#include <memory>

namespace cria_bench {

namespace {

struct matrix_shape {
  std::size_t k, n;
};
constexpr matrix_shape shapes[] = {{2048, 2048}, {2048, 5632}, {5632, 2048}, {2048, 32000}};
constexpr std::size_t token_counts[] = {1, 4, 12, 64, 512};
constexpr std::size_t memory_bytes = std::size_t{256} << 20;  // of the copies: more than caches hold

/// A matrix of random blocks in panels, `n_copies` times.
struct packed_matrix {
  std::size_t format;
  matrix_shape shape;
  std::size_t panel_bytes, n_copies;
  cria::aligned_buffer panels;

  [[nodiscard]] std::size_t bytes() const noexcept { return panel_bytes * (shape.n / 16); }

  static std::unique_ptr<packed_matrix> make(std::size_t format, matrix_shape shape, bool from_memory) {
    const cria::tensor_type type = type_of(format);
    const std::size_t row = cria::row_bytes(type, shape.k);
    auto m = std::make_unique<packed_matrix>();
    m->format = format;
    m->shape = shape;
    m->panel_bytes = 16 * row;
    m->n_copies = from_memory ? std::max<std::size_t>(1, memory_bytes / m->bytes()) : 1;
    auto memory = cria::aligned_buffer::allocate(m->bytes() * m->n_copies);
    if (!memory) return nullptr;
    m->panels = *std::move(memory);
    const std::vector<std::byte> pattern = random_blocks(type);
    std::vector<std::byte> rows(16 * row);
    for (std::size_t p = 0, at = 0; p < shape.n / 16; ++p) {
      for (std::byte& b : rows) b = pattern[at++ % pattern.size()];
      at -= at % cria::find_tensor_type(type)->block_bytes;
      cria::kernels::pack(format, 
          {.rows = rows.data(), .n_rows = 16, .k = shape.k, .n_panels = 1, .panels = m->panels.data() + p * m->panel_bytes});
    }
    for (std::size_t c = 1; c < m->n_copies; ++c) std::memcpy(m->panels.data() + c * m->bytes(), m->panels.data(), m->bytes());
    return m;
  }
};

/// The matrix that is in use; benchmarks of one follow each other.
const packed_matrix* matrix_of(std::size_t format, matrix_shape shape, bool from_memory) {
  static std::unique_ptr<packed_matrix> last;
  static bool last_from_memory = false;
  if (last == nullptr || last->format != format || last->shape.k != shape.k || last->shape.n != shape.n || last_from_memory != from_memory) {
    last.reset();
    last = packed_matrix::make(format, shape, from_memory);
    last_from_memory = from_memory;
  }
  return last.get();
}

/// The other factor and the product, for one table.
struct product {
  std::vector<float> x;
  std::vector<std::int32_t> quantised;
  cria::array_buffer<float> y;
  cria::kernels::gemm_args args{};

  static std::optional<product> make(const kernel_table& table, const packed_matrix& w, std::size_t n_tokens, cria::precision precision) {
    product p;
    p.x = random_floats(n_tokens * w.shape.k);
    p.quantised.resize(cria::kernels::activation_capacity(n_tokens, w.shape.k, precision));
    for (std::size_t t = 0; t < n_tokens; ++t) {
      table.quantize({p.x.data(), w.shape.k, n_tokens, w.shape.k / 32, precision, p.quantised.data()}, t, 0, w.shape.k / 32);
    }
    auto y = cria::array_buffer<float>::allocate(n_tokens * w.shape.n);
    if (!y) return std::nullopt;
    p.y = *std::move(y);
    p.args = {.weights = w.panels.data(),
              .k = w.shape.k,
              .n_groups = w.shape.k / 32,
              .panel_begin = 0,
              .panel_end = w.shape.n / 16,
              .activations = p.quantised.data(),
              .activations_precision = precision,
              .x = p.x.data(),
              .ldx = w.shape.k,
              .n_tokens = n_tokens,
              .y = p.y.data(),
              .ldy = w.shape.n,
              .bias = nullptr,
              .accumulate = false};
    return p;
  }
};

/// Compares the first and the last panel's products with the reference. Both quantise alike; what differs is whether products are rounded before they
/// are added: each of at most k additions errs by half an ulp of what is there, which is no more than the sum of magnitudes.
std::optional<std::string> check(const kernel_table& table, const packed_matrix& w, product& p) {
  const std::size_t n_tokens = std::min<std::size_t>(p.args.n_tokens, 16);
  auto mine = product::make(table, w, n_tokens, p.args.activations_precision),
       reference = product::make(reference_table(), w, n_tokens, p.args.activations_precision);
  if (!mine || !reference) return "out of memory";
  std::vector<float> row(w.shape.k);
  for (const std::size_t panel : {std::size_t{0}, w.shape.n / 16 - 1}) {
    for (product* one : {&*mine, &*reference}) {
      one->args.panel_begin = panel;
      one->args.panel_end = panel + 1;
    }
    table.gemm[w.format](mine->args);
    reference_table().gemm[w.format](reference->args);
    for (std::size_t r = 16 * panel; r < 16 * panel + 16; ++r) {
      cria::kernels::packed_row(type_of(w.format), w.panels.data(), w.shape.k, r, row);
      for (std::size_t t = 0; t < n_tokens; ++t) {
        double magnitudes = 0;
        for (std::size_t k = 0; k < w.shape.k; ++k)
          magnitudes += std::fabs(static_cast<double>(row[k]) * static_cast<double>(p.x[t * w.shape.k + k]));
        const std::size_t at = t * w.shape.n + r;
        // The typical error of such sums grows with the root of their length; eight times that is never met by chance.
        const double bound = 8 * 0x1p-24 * std::sqrt(static_cast<double>(w.shape.k)) * magnitudes;
        if (auto bad = difference({mine->y.data() + at, 1}, {reference->y.data() + at, 1}, bound))
          return "row " + std::to_string(r) + ", token " + std::to_string(t) + ": " + *bad;
      }
    }
  }
  return std::nullopt;
}

void run(benchmark::State& state, const kernel_table& table, std::size_t format, matrix_shape shape, std::size_t n_tokens,
         cria::precision precision) {
  const bool from_memory = n_tokens == 1;
  const packed_matrix* w = matrix_of(format, shape, from_memory);
  if (w == nullptr) return state.SkipWithError("out of memory");
  auto p = product::make(table, *w, n_tokens, precision);
  if (!p) return state.SkipWithError("out of memory");
  if (const auto bad = check(table, *w, *p)) return state.SkipWithError(bad->c_str());
  std::size_t copy = 0;
  meter m(state);
  for (auto _ : state) {
    p->args.weights = w->panels.data() + copy * w->bytes();
    copy = copy + 1 == w->n_copies ? 0 : copy + 1;
    table.gemm[format](p->args);
    benchmark::DoNotOptimize(p->y.data());
    benchmark::ClobberMemory();
  }
  m.stop();
  const bool is_quantised = cria::find_tensor_type(type_of(format))->block_size > 1;
  const double macs = static_cast<double>(n_tokens * shape.n) * static_cast<double>(shape.k);
  m.bytes(static_cast<double>(w->bytes()), from_memory);
  m.macs(macs, is_quantised ? macs * (precision == cria::precision::exact ? 2 : 1) : 0, table.set);
}

}  // namespace

void register_gemm() {
  for (std::size_t format = 0; format < cria::n_formats; ++format) {
    const bool is_quantised = cria::find_tensor_type(type_of(format))->block_size > 1;
    for (const matrix_shape shape : shapes) {
      for (const std::size_t m : token_counts) {
        for (const kernel_table* table : runnable_tables()) {
          for (const cria::precision precision : {cria::precision::exact, cria::precision::fast}) {
            if (table->gemm[format] == nullptr || (!is_quantised && precision == cria::precision::fast)) continue;
            if (table->set == cria::isa::id::scalar && (m > 12 || shape.n > 2048)) continue;  // minutes for a number that nobody needs
            const std::string name = "gemm." + format_name(format) + "." + set_name(*table) +
                                     (is_quantised ? "/" + std::string(cria::name(precision)) : "") + "/m" + std::to_string(m) + "_n" +
                                     std::to_string(shape.n) + "_k" + std::to_string(shape.k);
            benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, *table, format, shape, m, precision); });
          }
        }
      }
    }
  }
}

}  // namespace cria_bench
