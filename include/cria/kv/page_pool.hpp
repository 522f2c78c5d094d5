// SPDX-License-Identifier: MIT
// kv/page_pool.hpp - a bounded number of pages of keys and values, each counted by who refers to it: what paged caches are made of.
//
// Shapes    page: [layer][kv head]: keys [page_size / 16][head_dim][16], values [page_size][v_stride], as kv/contiguous.hpp
// Ensures   nothing is allocated after create(); the system gives memory when a page is first written, so unused pages cost address space only
// Errors    create: bad_argument, out_of_memory
// Threads   one at a time; pages may be read and written by several threads meanwhile
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/checked.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/kv/kv_cache.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0 {

/// A page's number in its pool.
using page_id = std::uint32_t;

struct page_pool_options {
  std::size_t n_pages = 0;
  std::size_t page_size = 64;   ///< positions, a multiple of 16: fewer share more of two prompts, more make attention's runs longer
};

/// What the counts of a pool say.
struct page_pool_statistics {
  std::size_t n_pages = 0;
  std::size_t n_used = 0;      ///< referred to at all
  std::size_t n_shared = 0;    ///< referred to more than once
  std::size_t most_used = 0;   ///< at once, since the pool was made
  std::size_t n_copies = 0;    ///< pages copied because of a write to a shared one
  std::size_t page_bytes = 0;
};

template <kv_type Type>
class page_pool {
  using storage = kv_storage<Type>;

 public:
  static constexpr std::size_t default_page_size = page_pool_options{}.page_size;
  static constexpr std::size_t most_pages = std::size_t{1} << 31;

  [[nodiscard]] static result<std::shared_ptr<page_pool>> create(const kv_shape& shape, const page_pool_options& options) {
    if (options.n_pages == 0 || options.n_pages > most_pages) return refuse("n_pages", "is not in 1 to 2^31");
    if (options.page_size == 0 || options.page_size % 16 != 0 || options.page_size > 65'536) return refuse("page_size", "is not a multiple of 16 up to 65536");
    constexpr std::size_t widest = std::size_t{1} << 20;   // a row's bytes cannot wrap
    if (shape.n_layers == 0 || shape.n_kv_heads == 0 || shape.head_dim == 0 || shape.head_dim > widest) {
      return refuse("shape", "a cache needs layers, heads and 1 to 1048576 channels");
    }
    const std::size_t v_stride = round_up(shape.head_dim, storage::v_step);
    const std::size_t k_bytes = options.page_size / 16 * storage::k_panel_bytes(shape.head_dim), v_bytes = options.page_size * storage::v_row_bytes(v_stride);
    const auto page = (checked_u64(k_bytes + v_bytes) * checked_u64(shape.n_layers) * checked_u64(shape.n_kv_heads));
    const auto all = (page * checked_u64(options.n_pages)).get();
    if (!all || *all > std::numeric_limits<std::size_t>::max()) return error{errc::out_of_memory, "n_pages", {}, error::no_offset};
    return catch_bad_alloc([&]() -> result<std::shared_ptr<page_pool>> {
      CRIA_TRY(auto memory, aligned_buffer::allocate(static_cast<std::size_t>(*all)));
      std::shared_ptr<page_pool> made(new page_pool(shape, options, std::move(memory)));
      made->v_stride_ = v_stride;
      made->k_bytes_ = k_bytes;
      made->head_bytes_ = k_bytes + v_bytes;
      made->page_bytes_ = static_cast<std::size_t>(*page.get());
      return made;
    }, "pages");
  }

  [[nodiscard]] const kv_shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] std::size_t page_bytes() const noexcept { return page_bytes_; }
  [[nodiscard]] std::size_t v_stride() const noexcept { return v_stride_; }
  [[nodiscard]] std::size_t n_pages() const noexcept { return references_.size(); }
  [[nodiscard]] std::size_t n_free() const noexcept { return free_.size(); }
  [[nodiscard]] std::size_t pages_for(std::size_t positions) const noexcept { return positions / page_size_ + (positions % page_size_ != 0); }
  [[nodiscard]] std::uint32_t references(page_id page) const noexcept { return references_[page]; }
  [[nodiscard]] page_pool_statistics statistics() const noexcept {
    return {n_pages(), n_pages() - n_free(), n_shared_, most_used_, n_copies_, page_bytes_};
  }

  /// Returns a page with one reference. Requires n_free() > 0.
  [[nodiscard]] page_id allocate() noexcept {
    CRIA_ASSERT(!free_.empty());
    const page_id page = free_.back();
    free_.pop_back();
    references_[page] = 1;
    most_used_ = n_pages() - n_free() > most_used_ ? n_pages() - n_free() : most_used_;
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
  void copy(page_id from, page_id to) noexcept {
    std::memcpy(memory_.data() + to * page_bytes_, memory_.data() + from * page_bytes_, page_bytes_);
    ++n_copies_;
  }

  [[nodiscard]] std::byte* keys(page_id page, kv_head head) noexcept {
    return memory_.data() + page * page_bytes_ + (head.layer * shape_.n_kv_heads + head.head) * head_bytes_;
  }
  [[nodiscard]] std::byte* values(page_id page, kv_head head) noexcept { return keys(page, head) + k_bytes_; }

 private:
  page_pool(const kv_shape& shape, const page_pool_options& options, aligned_buffer memory)
      : shape_(shape), page_size_(options.page_size), memory_(std::move(memory)), references_(options.n_pages) {
    free_.reserve(options.n_pages);
    for (std::size_t page = options.n_pages; page-- > 0;) free_.push_back(static_cast<page_id>(page));
  }

  [[nodiscard]] static error refuse(const char* field, const char* why) { return {errc::bad_argument, field, why, error::no_offset}; }

  kv_shape shape_;
  std::size_t page_size_;
  std::size_t v_stride_ = 0, k_bytes_ = 0, head_bytes_ = 0, page_bytes_ = 0;   // k_bytes_, head_bytes_: of one head's part of a page
  aligned_buffer memory_;
  std::vector<std::uint32_t> references_;
  std::vector<page_id> free_;
  std::size_t n_shared_ = 0, most_used_ = 0, n_copies_ = 0;
};

}  // namespace cria::inline v0
