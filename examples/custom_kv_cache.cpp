// SPDX-License-Identifier: MIT
// custom_kv_cache MODEL.gguf [PROMPT]: generates with a cache policy of our own, which counts what attention reads and writes.
#include <cria/cria.hpp>

#include <atomic>
#include <iostream>
#include <memory>

/// Keeps keys and values as the contiguous cache does. The protocol that a cache follows is in kv/kv_cache.hpp.
class counting_cache {
  using storage = cria::contiguous_kv_cache<cria::kv_type::f16>;

 public:
  struct counts {
    std::atomic<std::size_t> rows_written{0}, positions_read{0};   // heads are written and read by many threads
  };

  static constexpr cria::kv_type type = storage::type;

  static cria::result<counting_cache> create(const cria::kv_shape& shape, std::size_t capacity) {
    CRIA_TRY(storage kept, storage::create(shape, capacity));
    return counting_cache(std::move(kept));
  }

  std::size_t length() const noexcept { return kept_.length(); }
  std::size_t capacity() const noexcept { return kept_.capacity(); }
  std::size_t bytes() const noexcept { return kept_.bytes(); }
  std::size_t v_stride() const noexcept { return kept_.v_stride(); }
  std::size_t max_segments() const noexcept { return kept_.max_segments(); }
  cria::result<void> reserve(std::size_t n) { return kept_.reserve(n); }
  void commit(std::size_t n) noexcept { kept_.commit(n); }
  void truncate(std::size_t n) noexcept { kept_.truncate(n); }

  void write(cria::kv_slot slot, cria::kv_row row) noexcept {
    counts_->rows_written.fetch_add(1, std::memory_order_relaxed);
    kept_.write(slot, row);
  }
  std::size_t segments(cria::kv_head head, std::span<cria::kv_segment> out) const noexcept {
    const std::size_t n = kept_.segments(head, out);
    for (const cria::kv_segment& s : out.first(n)) counts_->positions_read.fetch_add(s.length, std::memory_order_relaxed);
    return n;
  }

  const counts& counted() const noexcept { return *counts_; }

 private:
  explicit counting_cache(storage kept) : kept_(std::move(kept)) {}

  storage kept_;
  std::unique_ptr<counts> counts_ = std::make_unique<counts>();
};
static_assert(cria::kv_cache<counting_cache>);

static int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return fail(model.error());
  auto session = cria::basic_session<counting_cache>::create(*model);
  if (!session) return fail(session.error());

  auto done = session->generate(argc > 2 ? argv[2] : "Once upon a time", {.max_tokens = 40, .sampling = cria::sampler_config::greedy()},
                                [](std::string_view text) { std::cout << text << std::flush; });
  if (!done) return fail(done.error());
  const auto& counted = session->cache().counted();
  std::cout << "\n---\n" << session->length() << " positions, " << counted.rows_written << " rows written, " << counted.positions_read << " positions read\n";
}
