// SPDX-License-Identifier: MIT
// kv/paged.hpp - a cache made of pages from a bounded pool, so that many sequences share memory, and the positions that they have in common.
//
// A page holds `page_size` positions of all layers and heads, as whole panels. Pages are counted: a fork, or a prompt that begins like another one, refers to
// the same pages, and a cache that writes to a page that others refer to copies it first. Of pages that layers with a window no longer see, a cache keeps
// only the part of the other layers: reserve() gives the windowed part back.
// Shapes    a page: [layer][kv head]: keys [page_size / 16][head_dim][16], values [page_size][v_stride]
// Ensures   The kernels see the same numbers in the same order as in a contiguous cache, and so give the same bits. Forks and copies do not change what
//           others hold. Nothing is allocated after create(), except by fork().
// Errors    create: bad_argument, out_of_memory; reserve: context_full, with `where` "context" (this cache's capacity) or "pages" (the pool is empty)
// Threads   a pool and all its caches are used by one thread at a time, except for write() (kv_cache.hpp)
// Lifetime  caches keep their pool alive
// Source    W. Kwon et al., Efficient Memory Management for Large Language Model Serving with PagedAttention, arXiv 2309.06180
#pragma once

#include <cria/kv/contiguous.hpp>
#include <cria/kv/page_pool.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// A sequence's cache in pages of a pool.
template <kv_type Type>
class paged_kv_cache {
  using storage = kv_storage<Type>;

 public:
  static constexpr kv_type type = Type;
  using pool_type = page_pool<Type>;

  /// Returns an empty cache of at most `capacity` positions over a pool that others may use too.
  static result<paged_kv_cache> create(std::shared_ptr<pool_type> pool, std::size_t capacity) {
    if (capacity == 0) return error{errc::bad_argument, "capacity", "a context needs at least one position"};
    return catch_bad_alloc([&]() -> result<paged_kv_cache> {
      paged_kv_cache made(std::move(pool), capacity);
      made.pages_.reserve(made.pages_for(capacity));
      return made;
    }, "pages");
  }

  /// Returns an empty cache with a pool of its own.
  static result<paged_kv_cache> create(const kv_shape& shape, std::size_t capacity) {
    CRIA_TRY(auto pool, pool_type::create(shape, {.n_pages = capacity / pool_type::default_page_size + 1}));
    return create(std::move(pool), capacity);
  }

  paged_kv_cache(paged_kv_cache&& other) noexcept
      : pool_(std::move(other.pool_)),
        capacity_(other.capacity_),
        length_(std::exchange(other.length_, 0)),
        pending_(std::exchange(other.pending_, 0)),
        first_seen_(std::exchange(other.first_seen_, 0)),
        floor_(std::exchange(other.floor_, 0)),
        pages_(std::exchange(other.pages_, {})) {}
  paged_kv_cache& operator=(paged_kv_cache&& other) noexcept {
    if (this == &other) return *this;
    if (pool_ != nullptr) truncate(0);
    pool_ = std::move(other.pool_);
    capacity_ = other.capacity_;
    length_ = std::exchange(other.length_, 0);
    pending_ = std::exchange(other.pending_, 0);
    first_seen_ = std::exchange(other.first_seen_, 0);
    floor_ = std::exchange(other.floor_, 0);
    pages_ = std::exchange(other.pages_, {});
    return *this;
  }
  ~paged_kv_cache() {
    if (pool_ != nullptr) truncate(0);
  }

  /// Returns a cache that holds the same positions by sharing the pages.
  [[nodiscard]] result<paged_kv_cache> fork() const {
    CRIA_TRY(auto made, create(pool_, capacity_));
    made.share(*this);
    return made;
  }

  /// Holds what `other`, of the same pool, holds instead of what this one held. Allocates nothing. Requires other.length() <= capacity().
  void share(const paged_kv_cache& other) noexcept {
    CRIA_ASSERT(other.pool_ == pool_ && other.length_ <= capacity_);
    if (this == &other) return;
    share(std::span<const page_id>(other.pages_).first(pages_for(other.length_)), other.length_, other.first_seen_);
    floor_ = other.floor_;
  }

  /// Holds the first `length` positions of these pages, which are of its pool and hold at least as many. Requires length <= capacity(), and the windowed part
  /// of those from pool.first_seen_page(length) on.
  void share(std::span<const page_id> pages, std::size_t length) noexcept {
    CRIA_ASSERT(pages.size() == pages_for(length) && length <= capacity_);
    share(pages, length, pool_->first_seen_page(length));
  }

  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// Returns the bytes of the pages that it refers to, shared ones too.
  [[nodiscard]] std::size_t bytes() const noexcept { return pages_.size() * pool_->page_bytes() + n_seen_pages() * pool_->windowed_bytes(); }
  [[nodiscard]] std::size_t v_stride() const noexcept { return pool_->v_stride(); }
  [[nodiscard]] std::size_t max_segments() const noexcept { return pages_for(capacity_); }
  [[nodiscard]] std::span<const page_id> pages() const noexcept { return pages_; }
  /// Returns how many of the pages it has the windowed part of: the last ones.
  [[nodiscard]] std::size_t n_seen_pages() const noexcept { return pages_.size() - first_seen_; }
  [[nodiscard]] const std::shared_ptr<pool_type>& pool() const noexcept { return pool_; }
  [[nodiscard]] std::size_t keepable(std::size_t n) const noexcept { return n == length_ || n >= floor_ ? n : 0; }

  /// Returns how many free pages reserve(n) would take from the pool, a copy included. Requires n <= capacity() - length().
  [[nodiscard]] std::size_t pages_needed(std::size_t n) const noexcept {
    const std::size_t wanted = pages_for(length_ + n);
    return (wanted > pages_.size() ? wanted - pages_.size() : 0) + (n > 0 && writes_into_shared() ? 1 : 0);
  }

  /// Returns whether n positions could be reserved once what it holds is forgotten, which shared pages outlive. Errors: as reserve.
  [[nodiscard]] result<void> check_replace(std::size_t n) const {
    if (n > capacity_) {
      return error{errc::context_full, "context", std::to_string(n) + " positions do not fit " + std::to_string(capacity_)};
    }
    const auto is_own = [this](page_id page) { return pool_->references(page) == 1; };
    std::size_t n_free = pool_->n_free() + static_cast<std::size_t>(std::count_if(pages_.begin(), pages_.end(), is_own));
    if (pool_->window() != 0) {
      const auto is_seen_by_others = [this](page_id page) { return pool_->windowed_references(page) > 1; };
      const auto n_kept = static_cast<std::size_t>(std::count_if(pages_.begin() + static_cast<std::ptrdiff_t>(first_seen_), pages_.end(), is_seen_by_others));
      n_free = std::min(n_free, pool_->n_free_windowed() + n_seen_pages() - n_kept);
    }
    if (pages_for(n) <= n_free) return {};
    return error{errc::context_full, "pages",
                 std::to_string(n_free) + " of " + std::to_string(pool_->n_pages()) + " would be free, " + std::to_string(pages_for(n)) + " are needed"};
  }

  result<void> reserve(std::size_t n) {
    if (n > capacity_ - length_) {
      return error{errc::context_full, "context",
                   std::to_string(length_) + " of " + std::to_string(capacity_) + " positions are taken, " + std::to_string(n) + " more do not fit"};
    }
    forget_unseen();
    if (pages_needed(n) > pool_->n_allocatable()) {
      return error{
          errc::context_full, "pages",
          std::to_string(pool_->n_allocatable()) + " of " + std::to_string(pool_->n_pages()) + " are free, " + std::to_string(pages_needed(n)) + " are needed"};
    }
    if (n > 0 && writes_into_shared()) {
      page_id& page = pages_[length_ / pool_->page_size()];
      const page_id copy = pool_->allocate();
      pool_->copy(page, copy);
      pool_->release_windowed(page);
      pool_->release(std::exchange(page, copy));
    }
    while (pages_.size() < pages_for(length_ + n)) pages_.push_back(pool_->allocate());
    pending_ = n;
    return {};
  }

  void write(kv_slot slot, kv_row row) noexcept {
    CRIA_ASSERT(slot.pos >= length_ && slot.pos < length_ + pending_);
    storage::write_key(key_panel(slot), slot.pos % kv_panel, row.k, shape().head_dim);
    storage::write_value(value_row(slot), row.v, shape().head_dim);
  }

  void commit(std::size_t n) noexcept {
    CRIA_ASSERT(n <= pending_);
    length_ += n;
    pending_ = 0;
  }

  /// Gives pages that hold nothing any more back to the pool.
  void truncate(std::size_t n) noexcept {
    CRIA_ASSERT(n <= length_ && keepable(n) == n);
    length_ = n;
    pending_ = 0;
    for (; pages_.size() > pages_for(n); pages_.pop_back()) {
      if (pages_.size() > first_seen_) pool_->release_windowed(pages_.back());
      pool_->release(pages_.back());
    }
    first_seen_ = std::min(first_seen_, pages_.size());
    if (n == 0) floor_ = 0;
  }

  std::size_t segments(kv_head head, std::span<kv_segment> out) const noexcept {
    const std::size_t size = pool_->page_size(), end = length_ + pending_, window = shape().window_of(head.layer);
    std::size_t n = 0;
    // A window: from the page of the first position that the first new query sees.
    for (std::size_t i = window == 0 ? 0 : (length_ + 1 - std::min(window, length_ + 1)) / size; i * size < end; ++i, ++n) {
      out[n] = {pool_->keys(pages_[i], head), pool_->values(pages_[i], head), i * size, std::min(size, end - i * size)};
    }
    return n;
  }

  [[nodiscard]] const kv_shape& shape() const noexcept { return pool_->shape(); }
  [[nodiscard]] std::size_t position_bytes() const noexcept { return 2 * storage::part_bytes(shape().head_dim); }

  void export_positions(kv_range range, std::span<std::byte> out) const noexcept {
    CRIA_ASSERT(range.first + range.n <= length_ && out.size() == range.n * position_bytes());
    const std::size_t part = storage::part_bytes(shape().head_dim);
    std::byte* to = out.data();
    for (std::size_t pos = range.first; pos < range.first + range.n; ++pos, to += 2 * part) {
      if (!has(range.head.layer, pos)) {
        std::memset(to, 0, 2 * part);   // forgotten: nobody sees it
        continue;
      }
      storage::export_key(key_panel({range.head, pos}), pos % kv_panel, to, shape().head_dim);
      std::memcpy(to + part, value_row({range.head, pos}), part);
    }
  }

  void import_positions(kv_range range, std::span<const std::byte> in) noexcept {
    CRIA_ASSERT(range.first >= length_ && range.first + range.n <= length_ + pending_ && in.size() == range.n * position_bytes());
    const std::size_t part = storage::part_bytes(shape().head_dim);
    const std::byte* from = in.data();
    for (std::size_t pos = range.first; pos < range.first + range.n; ++pos, from += 2 * part) {
      if (!has(range.head.layer, pos)) continue;
      storage::import_key(key_panel({range.head, pos}), pos % kv_panel, from, shape().head_dim);
      std::memcpy(value_row({range.head, pos}), from + part, part);
    }
    // Where they came from may have kept the last window only.
    const std::size_t window = shape().window_of(range.head.layer);
    if (window != 0 && range.first + range.n > window) floor_ = std::max(floor_, range.first + range.n);
  }

 private:
  paged_kv_cache(std::shared_ptr<pool_type> pool, std::size_t capacity) noexcept : pool_(std::move(pool)), capacity_(capacity) {}

  void share(std::span<const page_id> pages, std::size_t length, std::size_t first_seen) noexcept {
    for (std::size_t i = 0; i < pages.size(); ++i) {
      pool_->retain(pages[i]);
      if (i >= first_seen) pool_->retain_windowed(pages[i]);
    }
    truncate(0);
    pages_.assign(pages.begin(), pages.end());
    length_ = length;
    first_seen_ = std::min(first_seen, pages.size());
    floor_ = floor_of(first_seen_);
  }

  /// Gives back the windowed parts that no query from length() on sees, but for the pool's slack.
  void forget_unseen() noexcept {
    const std::size_t first = std::min(pool_->first_seen_page(length_ - std::min(length_, pool_->slack())), pages_.size());
    if (first <= first_seen_) return;
    for (std::size_t i = first_seen_; i < first; ++i) pool_->release_windowed(pages_[i]);
    first_seen_ = first;
    floor_ = std::max(floor_, floor_of(first));
  }

  /// Returns the shortest length whose queries see nothing before a page.
  [[nodiscard]] std::size_t floor_of(std::size_t page) const noexcept { return page == 0 ? 0 : page * pool_->page_size() + pool_->window() - 1; }

  [[nodiscard]] bool has(std::size_t layer, std::size_t pos) const noexcept { return shape().window_of(layer) == 0 || pos / pool_->page_size() >= first_seen_; }

  [[nodiscard]] std::byte* key_panel(kv_slot slot) const noexcept {
    const std::size_t size = pool_->page_size();
    return pool_->keys(pages_[slot.pos / size], slot.head) + slot.pos % size / kv_panel * storage::k_panel_bytes(shape().head_dim);
  }
  [[nodiscard]] std::byte* value_row(kv_slot slot) const noexcept {
    const std::size_t size = pool_->page_size();
    return pool_->values(pages_[slot.pos / size], slot.head) + slot.pos % size * storage::v_row_bytes(v_stride());
  }
  [[nodiscard]] std::size_t pages_for(std::size_t positions) const noexcept { return pool_->pages_for(positions); }
  /// Returns whether the next position lies in a page that others see.
  [[nodiscard]] bool writes_into_shared() const noexcept {
    return length_ / pool_->page_size() < pages_.size() && pool_->references(pages_[length_ / pool_->page_size()]) > 1;
  }

  std::shared_ptr<pool_type> pool_;
  std::size_t capacity_ = 0, length_ = 0, pending_ = 0;
  std::size_t first_seen_ = 0;   // the pages before it are without their windowed part
  std::size_t floor_ = 0;        // lengths below it cannot be gone back to
  std::vector<page_id> pages_;   // the positions [0, length + pending), page by page
};

static_assert(saved_kv_cache<paged_kv_cache<kv_type::f16>> && saved_kv_cache<paged_kv_cache<kv_type::f32>> && saved_kv_cache<paged_kv_cache<kv_type::q8_0>> &&
              saved_kv_cache<paged_kv_cache<kv_type::bf16>>);

}  // namespace cria::inline v0_1_0
