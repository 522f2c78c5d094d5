// SPDX-License-Identifier: MIT
// kv/page_pool.hpp - a bounded number of pages of keys and values, with counts of references: what paged caches are made of.
//
// A page has two parts: that of layers that see all positions, and that of layers with a window. The windowed part goes back to the pool when nobody sees it
// any more, while the page lives on; references to the two are counted separately. A page that has lost its windowed part never gets it again.
// Shapes    part of a page: [layer][kv head]: keys [page_size / 16][head_dim][16], values [page_size][v_stride], as kv/contiguous.hpp
// Ensures   nothing is allocated after create(); the system provides memory when a page is first written, so unused pages cost only address space
// Errors    create: bad_argument, out_of_memory
// Threads   one at a time; pages may be read and written by several threads meanwhile
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/checked.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/kv/kv_cache.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// A page's number in its pool.
using page_id = std::uint32_t;

/// What a pool is made with.
struct page_pool_options {
  std::size_t n_pages = 0;
  std::size_t page_size = 64;        ///< positions, a multiple of 16; small pages share more of two prompts, large ones give attention longer runs
  std::size_t n_windowed_pages = 0;  ///< how many of them have room for their windowed part at once; 0: all
  std::size_t slack = window_slack;  ///< positions before a window that are kept, for truncate() to go back to
};

/// The counts of a pool.
struct page_pool_statistics {
  std::size_t n_pages = 0;
  std::size_t n_used = 0;      ///< referred to at all
  std::size_t n_shared = 0;    ///< referred to more than once
  std::size_t most_used = 0;   ///< at once, since the pool was made
  std::size_t n_copies = 0;    ///< pages copied because of a write to a shared one
  std::size_t page_bytes = 0;         ///< without the windowed part
  std::size_t n_windowed_pages = 0;   ///< windowed parts that there is room for; 0: the model has no windows
  std::size_t n_windowed_used = 0;
  std::size_t most_windowed_used = 0;
  std::size_t windowed_bytes = 0;     ///< of a page's windowed part
};

/// Returns the windowed parts that many caches, which never go back, refer to at most while they grow by `n_tokens` together in a pass: each its window,
/// with a page begun at either end, one begun by the pass and one copied by it, and what this pass and the last one add.
[[nodiscard]] constexpr std::size_t windowed_pages(std::size_t window, std::size_t page_size, std::size_t n_caches, std::size_t n_tokens) noexcept {
  return n_caches * (window / page_size + 5) + 2 * (n_tokens / page_size + 1);
}

template <kv_type Type>
class page_pool {
  using storage = kv_storage<Type>;

 public:
  static constexpr std::size_t default_page_size = page_pool_options{}.page_size;
  static constexpr std::size_t most_pages = std::size_t{1} << 31;

  [[nodiscard]] static result<std::shared_ptr<page_pool>> create(const kv_shape& shape, const page_pool_options& options) {
    if (options.n_pages == 0 || options.n_pages > most_pages) return refuse("n_pages", "is not in 1 to 2^31");
    if (options.page_size == 0 || options.page_size % kv_panel != 0 || options.page_size > 65'536) {
      return refuse("page_size", "is not a multiple of 16 up to 65536");
    }
    constexpr std::size_t widest = std::size_t{1} << 20;   // a row's bytes cannot wrap
    if (shape.n_layers == 0 || shape.n_kv_heads == 0 || shape.head_dim == 0 || shape.head_dim > widest) {
      return refuse("shape", "a cache needs layers, heads and 1 to 1048576 channels");
    }
    if (shape.windows != nullptr && shape.windows->size() != shape.n_layers) return refuse("windows", "are not one for each layer");
    return catch_bad_alloc([&]() -> result<std::shared_ptr<page_pool>> {
      std::shared_ptr<page_pool> made(new page_pool(shape, options));
      CRIA_CHECK(made->allocate(options.n_pages));
      return made;
    }, "pages");
  }

  [[nodiscard]] const kv_shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] std::size_t page_bytes() const noexcept { return whole_.bytes; }
  [[nodiscard]] std::size_t v_stride() const noexcept { return v_stride_; }
  [[nodiscard]] std::size_t n_pages() const noexcept { return references_.size(); }
  [[nodiscard]] std::size_t n_free() const noexcept { return free_.size(); }
  [[nodiscard]] std::size_t pages_for(std::size_t positions) const noexcept { return positions / page_size_ + (positions % page_size_ != 0); }
  [[nodiscard]] std::uint32_t references(page_id page) const noexcept { return references_[page]; }
  [[nodiscard]] page_pool_statistics statistics() const noexcept {
    return {n_pages(), n_pages() - n_free(),          n_shared_,        most_used_,     n_copies_, whole_.bytes,
            n_slots_,  n_slots_ - free_slots_.size(), most_slots_used_, windowed_.bytes};
  }

  /// Returns the positions that the widest window sees; 0: no layer has one.
  [[nodiscard]] std::size_t window() const noexcept { return window_; }
  [[nodiscard]] std::size_t slack() const noexcept { return slack_; }
  [[nodiscard]] std::size_t windowed_bytes() const noexcept { return windowed_.bytes; }
  /// Returns how many windowed parts are free; no less than n_free() where no layer has a window.
  [[nodiscard]] std::size_t n_free_windowed() const noexcept { return window_ == 0 ? n_free() : free_slots_.size(); }
  /// Returns how many pages allocate() can give.
  [[nodiscard]] std::size_t n_allocatable() const noexcept { return std::min(n_free(), n_free_windowed()); }
  /// Returns the first page that a query at a position behind `length` others, or a later one, sees through a window.
  [[nodiscard]] std::size_t first_seen_page(std::size_t length) const noexcept {
    return window_ == 0 || length + 1 <= window_ ? 0 : (length + 1 - window_) / page_size_;
  }
  [[nodiscard]] std::uint32_t windowed_references(page_id page) const noexcept { return window_ == 0 ? references_[page] : slots_[page].references; }
  /// Returns whether a page has its windowed part; always where no layer has a window.
  [[nodiscard]] bool is_seen(page_id page) const noexcept { return window_ == 0 || slots_[page].references > 0; }

  /// Returns a page with one reference, to its windowed part too. Requires n_allocatable() > 0.
  [[nodiscard]] page_id allocate() noexcept {
    CRIA_ASSERT(n_allocatable() > 0);
    const page_id page = free_.back();
    free_.pop_back();
    references_[page] = 1;
    most_used_ = std::max(most_used_, n_pages() - n_free());
    if (window_ == 0) return page;
    slots_[page] = {free_slots_.back(), 1};
    free_slots_.pop_back();
    most_slots_used_ = std::max(most_slots_used_, n_slots_ - free_slots_.size());
    return page;
  }
  void retain(page_id page) noexcept {
    CRIA_ASSERT(references_[page] > 0);
    n_shared_ += ++references_[page] == 2;
  }
  void release(page_id page) noexcept {
    CRIA_ASSERT(references_[page] > 0);
    const std::uint32_t left = --references_[page];
    n_shared_ -= left == 1;
    if (left == 0) free_.push_back(page);
  }
  /// The same for the windowed part, apart from the page. Requires is_seen(page).
  void retain_windowed(page_id page) noexcept {
    CRIA_ASSERT(is_seen(page));
    if (window_ != 0) ++slots_[page].references;
  }
  void release_windowed(page_id page) noexcept {
    CRIA_ASSERT(is_seen(page));
    if (window_ != 0 && --slots_[page].references == 0) free_slots_.push_back(slots_[page].number);
  }
  /// Copies both parts. Requires a page that has them to write to.
  void copy(page_id from, page_id to) noexcept {
    whole_.copy(from, to);
    if (window_ != 0 && is_seen(from)) windowed_.copy(slots_[from].number, slots_[to].number);
    ++n_copies_;
  }

  /// Requires is_seen(page) for a layer with a window.
  [[nodiscard]] std::byte* keys(page_id page, kv_head head) noexcept {
    const layer_place& l = layers_[head.layer];
    CRIA_ASSERT(!l.is_windowed || is_seen(page));
    return (l.is_windowed ? windowed_.at(slots_[page].number) : whole_.at(page)) + (l.rank * shape_.n_kv_heads + head.head) * head_bytes_;
  }
  [[nodiscard]] std::byte* values(page_id page, kv_head head) noexcept { return keys(page, head) + k_bytes_; }

 private:
  /// Where a layer is: the how-manieth of its kind.
  struct layer_place {
    std::size_t rank;
    bool is_windowed;
  };
  /// Where a page's windowed part is; nowhere without references.
  struct slot {
    page_id number;
    std::uint32_t references;
  };
  /// The memory of one kind of part.
  struct part {
    aligned_buffer memory = {};
    std::size_t bytes = 0;

    [[nodiscard]] std::byte* at(std::size_t n) noexcept { return memory.data() + n * bytes; }
    void copy(std::size_t from, std::size_t to) noexcept {
      if (bytes != 0) std::memcpy(at(to), at(from), bytes);
    }
    [[nodiscard]] result<void> allocate(std::size_t n, std::size_t n_layers, std::size_t layer_bytes) {
      const auto one = checked_u64(layer_bytes) * checked_u64(n_layers);
      const auto all = (one * checked_u64(n)).get();
      if (!all || *all > std::numeric_limits<std::size_t>::max()) return error{errc::out_of_memory, "n_pages"};
      CRIA_TRY(memory, aligned_buffer::allocate(static_cast<std::size_t>(*all)));
      bytes = static_cast<std::size_t>(*one.get());
      return {};
    }
  };

  page_pool(const kv_shape& shape, const page_pool_options& options)
      : shape_(shape),
        page_size_(options.page_size),
        slack_(options.slack),
        window_(shape.widest_window()),
        v_stride_(round_up(shape.head_dim, storage::v_step)) {
    if (window_ != 0) n_slots_ = options.n_windowed_pages == 0 ? options.n_pages : std::min(options.n_windowed_pages, options.n_pages);
  }

  [[nodiscard]] result<void> allocate(std::size_t n_pages) {
    const checked_u64 k_bytes = checked_u64(page_size_ / kv_panel) * storage::k_panel_bytes(shape_.head_dim);
    const checked_u64 head_bytes = k_bytes + checked_u64(page_size_) * storage::v_row_bytes(v_stride_);
    const auto layer_bytes = (head_bytes * checked_u64(shape_.n_kv_heads)).get();
    const std::size_t n_windowed =
        window_ == 0 ? 0 : shape_.n_layers - static_cast<std::size_t>(std::count(shape_.windows->begin(), shape_.windows->end(), std::size_t{0}));
    if (!layer_bytes || *layer_bytes > std::numeric_limits<std::size_t>::max()) return error{errc::out_of_memory, "n_pages"};
    k_bytes_ = static_cast<std::size_t>(*k_bytes.get());
    head_bytes_ = static_cast<std::size_t>(*head_bytes.get());
    CRIA_CHECK(whole_.allocate(n_pages, shape_.n_layers - n_windowed, static_cast<std::size_t>(*layer_bytes)));
    CRIA_CHECK(windowed_.allocate(n_slots_, n_windowed, static_cast<std::size_t>(*layer_bytes)));
    references_.resize(n_pages);
    slots_.resize(window_ == 0 ? 0 : n_pages);
    free_ = all_of(n_pages);
    free_slots_ = all_of(n_slots_);
    layers_.reserve(shape_.n_layers);
    for (std::size_t i = 0, ranks[2] = {}; i < shape_.n_layers; ++i) {
      const bool is_windowed = shape_.window_of(i) != 0;
      layers_.push_back({ranks[is_windowed]++, is_windowed});
    }
    return {};
  }

  /// Returns the numbers below n, the first one last.
  [[nodiscard]] static std::vector<page_id> all_of(std::size_t n) {
    std::vector<page_id> out(n);
    for (page_id& x : out) x = static_cast<page_id>(--n);
    return out;
  }

  [[nodiscard]] static error refuse(const char* field, const char* why) { return {errc::bad_argument, field, why}; }

  kv_shape shape_;
  std::size_t page_size_, slack_, window_;
  std::size_t v_stride_, k_bytes_ = 0, head_bytes_ = 0;   // k_bytes_, head_bytes_: of one head's part of a page
  part whole_, windowed_;
  std::vector<layer_place> layers_;
  std::vector<std::uint32_t> references_;
  std::vector<page_id> free_;
  std::vector<slot> slots_;            // [page]; none without windows
  std::vector<page_id> free_slots_;
  std::size_t n_slots_ = 0, most_slots_used_ = 0;
  std::size_t n_shared_ = 0, most_used_ = 0, n_copies_ = 0;
};

}  // namespace cria::inline v0_1_0
