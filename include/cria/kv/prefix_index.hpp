// SPDX-License-Identifier: MIT
// kv/prefix_index.hpp - finds the pages of a prompt that begins like an earlier one.
//
// It is a tree: a node is one full page, and its path from the root is the tokens before it. The index itself refers to its pages, so they outlive the
// sequence that wrote them, until the room is needed. It keeps windowed parts as long as there is room for them; a beginning without the windowed parts that
// its first query sees is not found. Tokens have different pages for each `owner`, a number for whatever changes what is computed, such as adapters.
// Units     positions, one token each
// Ensures   find() compares tokens, not only hashes; nothing is allocated after create()
// Errors    create: out_of_memory
// Threads   as its pool
#pragma once

#include <cria/kv/page_pool.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

template <kv_type Type>
class prefix_index {
 public:
  using pool_type = page_pool<Type>;

  [[nodiscard]] static result<prefix_index> create(std::shared_ptr<pool_type> pool) {
    return catch_bad_alloc([&]() -> result<prefix_index> { return prefix_index(std::move(pool)); }, "prefix index");
  }

  prefix_index(prefix_index&&) noexcept = default;
  prefix_index& operator=(prefix_index&&) = delete;
  ~prefix_index() {
    if (pool_ != nullptr) clear();
  }

  /// Writes the pages of the longest known beginning of `tokens` to `out` and returns its length; the last page may hold more positions. All that a query after
  /// them sees is there. Requires out to have room for pool.pages_for(tokens.size()).
  std::size_t find(std::span<const token_id> tokens, std::span<page_id> out, std::uint64_t owner = 0) noexcept {
    const std::size_t size = pool_->page_size();
    std::size_t length = 0;
    for (page_id parent = root; length < tokens.size();) {
      const auto [child, n_common] = best_child(parent, tokens.subspan(length), owner);
      if (n_common == 0) break;
      nodes_[child].last_use = ++clock_;
      out[length / size] = child;
      length += n_common;
      if (n_common < size) break;
      parent = child;
    }
    return seen_beginning(out, length);
  }

  /// Adds the full pages of a sequence. Requires pages that hold `tokens` from the first one on.
  void insert(std::span<const token_id> tokens, std::span<const page_id> pages, std::uint64_t owner = 0) noexcept {
    const std::size_t size = pool_->page_size();
    page_id parent = root;
    for (std::size_t n = 0; (n + 1) * size <= tokens.size() && n < pages.size(); ++n) {
      const auto part = tokens.subspan(n * size, size);
      const page_id page = pages[n];
      if (const auto [child, n_common] = best_child(parent, part, owner); n_common == size) {
        nodes_[child].last_use = ++clock_;
        parent = child;
        // The same tokens with what a window sees are worth more than without.
        if (nodes_[child].is_seen || nodes_[page].is_used || !pool_->is_seen(page)) continue;
        replace(child, page);
      } else {
        if (nodes_[page].is_used) return;
        nodes_[page] = {parent, none, first_child_of(parent), ++clock_, owner, true, false};
        first_child_of(parent) = page;
        ++n_nodes_;
      }
      keep(page, part);
      parent = page;
    }
  }

  /// Drops pages that nobody else refers to, the longest unused first, until the pool has n free ones. Returns whether it has.
  bool make_room(std::size_t n) noexcept {
    while (pool_->n_free() < n) {
      page_id oldest = none;
      for (page_id page = 0; page < nodes_.size(); ++page) {
        const node& one = nodes_[page];
        if (!one.is_used || one.first_child != none || pool_->references(page) > 1) continue;
        if (oldest == none || one.last_use < nodes_[oldest].last_use) oldest = page;
      }
      if (oldest == none) return false;
      forget(oldest);
    }
    return true;
  }

  /// Drops windowed parts that nobody else refers to, the longest unused first, until the pool has room for n. Returns whether it has.
  bool make_windowed_room(std::size_t n) noexcept {
    while (pool_->n_free_windowed() < n) {
      page_id oldest = none;
      for (page_id page = 0; page < nodes_.size(); ++page) {
        const node& one = nodes_[page];
        if (!one.is_seen || pool_->windowed_references(page) > 1) continue;
        if (oldest == none || one.last_use < nodes_[oldest].last_use) oldest = page;
      }
      if (oldest == none) return false;
      nodes_[oldest].is_seen = false;
      pool_->release_windowed(oldest);
    }
    return true;
  }

  /// Drops everything.
  void clear() noexcept {
    for (page_id page = 0; page < nodes_.size(); ++page) {
      if (nodes_[page].is_used) let_go(page);
    }
    first_ = none;
    n_nodes_ = 0;
  }

  /// Returns the number of pages that it refers to.
  [[nodiscard]] std::size_t size() const noexcept { return n_nodes_; }
  /// Returns how many pages it alone refers to: those that make_room() can give back.
  [[nodiscard]] std::size_t n_spare() const noexcept {
    std::size_t n = 0;
    for (page_id page = 0; page < nodes_.size(); ++page) n += nodes_[page].is_used && pool_->references(page) == 1;
    return n;
  }

 private:
  static constexpr page_id none = ~page_id{0}, root = none;

  struct node {
    page_id parent = none, first_child = none, next_sibling = none;
    std::uint64_t last_use = 0;
    std::uint64_t owner = 0;
    bool is_used = false;
    bool is_seen = false;   // refers to the windowed part too
  };

  explicit prefix_index(std::shared_ptr<pool_type> pool) : pool_(std::move(pool)), nodes_(pool_->n_pages()), tokens_(pool_->n_pages() * pool_->page_size()) {}

  [[nodiscard]] page_id& first_child_of(page_id page) noexcept { return page == root ? first_ : nodes_[page].first_child; }
  [[nodiscard]] std::span<token_id> tokens_of(page_id page) noexcept {
    return std::span(tokens_).subspan(page * pool_->page_size(), pool_->page_size());
  }

  /// Returns the owner's child that begins most like `tokens`, and how many they share.
  [[nodiscard]] std::pair<page_id, std::size_t> best_child(page_id parent, std::span<const token_id> tokens, std::uint64_t owner) noexcept {
    std::pair<page_id, std::size_t> best{none, 0};
    const auto wanted = tokens.first(std::min(tokens.size(), pool_->page_size()));
    for (page_id child = first_child_of(parent); child != none && best.second < wanted.size(); child = nodes_[child].next_sibling) {
      if (nodes_[child].owner != owner) continue;
      const auto mismatch = std::mismatch(wanted.begin(), wanted.end(), tokens_of(child).begin()).first;
      const auto n_common = static_cast<std::size_t>(mismatch - wanted.begin());
      if (n_common > best.second) best = {child, n_common};
    }
    return best;
  }

  /// Takes a node without children out of the tree.
  void forget(page_id page) noexcept {
    page_id* link = &first_child_of(nodes_[page].parent);
    while (*link != page) link = &nodes_[*link].next_sibling;
    *link = nodes_[page].next_sibling;
    --n_nodes_;
    let_go(page);
  }

  /// Fills a new node: its page stays, and its windowed part where there is one.
  void keep(page_id page, std::span<const token_id> tokens) noexcept {
    std::copy(tokens.begin(), tokens.end(), tokens_of(page).begin());
    pool_->retain(page);
    nodes_[page].is_seen = pool_->is_seen(page);
    if (nodes_[page].is_seen) pool_->retain_windowed(page);
  }
  void let_go(page_id page) noexcept {
    if (nodes_[page].is_seen) pool_->release_windowed(page);
    pool_->release(page);
    nodes_[page] = {};
  }
  /// Puts a page in a node's place in the tree.
  void replace(page_id old, page_id page) noexcept {
    page_id* link = &first_child_of(nodes_[old].parent);
    while (*link != old) link = &nodes_[*link].next_sibling;
    *link = page;
    for (page_id child = nodes_[old].first_child; child != none; child = nodes_[child].next_sibling) nodes_[child].parent = page;
    nodes_[page] = nodes_[old];
    let_go(old);
  }

  /// Returns the longest beginning of the pages' first `length` positions of which there is all that a query behind it sees.
  [[nodiscard]] std::size_t seen_beginning(std::span<const page_id> pages, std::size_t length) const noexcept {
    for (std::size_t i = pool_->pages_for(length); i > pool_->first_seen_page(length); --i) {
      if (!pool_->is_seen(pages[i - 1])) length = (i - 1) * pool_->page_size();
    }
    return length;
  }

  std::shared_ptr<pool_type> pool_;
  std::vector<node> nodes_;        // [page]
  std::vector<token_id> tokens_;   // [page][page_size]
  page_id first_ = none;           // the root's first child
  std::uint64_t clock_ = 0;
  std::size_t n_nodes_ = 0;
};

}  // namespace cria::inline v0_1_0
