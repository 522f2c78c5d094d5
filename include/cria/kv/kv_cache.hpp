// SPDX-License-Identifier: MIT
// kv/kv_cache.hpp - what attention needs of a cache of keys and values: the concept kv_cache, and its protocol.
//
// Shapes    for each layer and kv head: keys in panels of 16 positions (position = lane), values row-major with a stride that is a multiple of 16
// Protocol  1. reserve(n) makes room for n positions after length(), or fails and changes nothing.
//           2. Every layer writes these n positions (write), and may read them at once: segments() cover length() + n positions.
//           3. commit(n), after the last layer, advances length(). A forward pass that fails truncates to length() instead.
//           truncate(n) rolls back to n <= length(). Positions are absolute: a cache that forgets old positions does not renumber the others.
//           A cache that forgets also has max_pass(), the most tokens of a pass, and keepable(n), the largest length up to n that it can still be
//           truncated to; truncate(n) then requires keepable(n) == n.
// Threads   write() may be called by several threads for different (layer, head, position); everything else by one thread at a time
// Lifetime  segments point into the cache and are valid until the next reserve, truncate or move
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace cria::inline v0_1_0 {

/// For each layer, how many positions a query sees, its own included; 0: all.
using layer_windows = std::shared_ptr<const std::vector<std::size_t>>;

/// The dimensions of a cache.
struct kv_shape {
  std::size_t n_layers;
  std::size_t n_kv_heads;
  std::size_t head_dim;        ///< of keys and of values
  layer_windows windows = {};  ///< [n_layers]; nullptr: all layers see all positions

  [[nodiscard]] std::size_t window_of(std::size_t layer) const noexcept { return windows == nullptr ? 0 : (*windows)[layer]; }
  /// Returns the widest window of a layer; 0 if no layer has one.
  [[nodiscard]] std::size_t widest_window() const noexcept {
    std::size_t widest = 0;
    for (std::size_t i = 0; windows != nullptr && i < windows->size(); ++i) widest = (*windows)[i] > widest ? (*windows)[i] : widest;
    return widest;
  }
};

/// How many positions a pass may add to a layer with a window, and truncate() may take back, whatever the size of the window.
inline constexpr std::size_t window_slack = 1024;

/// Returns how many positions, in whole panels, a layer with this window (0: none) keeps in a cache of `capacity` positions.
[[nodiscard]] constexpr std::uint64_t kept_positions(std::uint64_t window, std::uint64_t capacity) noexcept {
  const auto whole_panels = [](std::uint64_t n) { return (n + kv_panel - 1) / kv_panel * kv_panel; };
  const std::uint64_t all = whole_panels(capacity), ring = whole_panels(window + window_slack) + kv_panel;
  return window != 0 && ring < all ? ring : all;
}

/// One head of one layer.
struct kv_head {
  std::size_t layer;
  std::size_t head;
};

/// Where a position's key and value go.
struct kv_slot {
  kv_head head;
  std::size_t pos;
};

/// One head's key and value at one position, head_dim floats each.
struct kv_row {
  const float* k;
  const float* v;
};

/// A range of positions of one head.
struct kv_range {
  kv_head head;
  std::size_t first;
  std::size_t n;
};

/// A store of keys and values that follows the protocol above.
template <class C>
concept kv_cache = requires(C& c, const C& cc, std::size_t n, kv_slot slot, kv_head head, kv_row row, std::span<kv_segment> out) {
  { C::type } -> std::convertible_to<kv_type>;                        // how elements are stored; the segments have this layout (core/types.hpp)
  { cc.length() } noexcept -> std::same_as<std::size_t>;              // committed positions, counted from 0
  { cc.capacity() } noexcept -> std::same_as<std::size_t>;
  { cc.bytes() } noexcept -> std::same_as<std::size_t>;
  { cc.v_stride() } noexcept -> std::same_as<std::size_t>;            // elements
  { c.reserve(n) } -> std::same_as<result<void>>;                     // errc::context_full
  { c.write(slot, row) } noexcept;
  { c.commit(n) } noexcept;
  { c.truncate(n) } noexcept;                                         // to n <= length()
  { cc.max_segments() } noexcept -> std::same_as<std::size_t>;
  { cc.segments(head, out) } noexcept -> std::same_as<std::size_t>;   // fills `out` in order of position, returns how many
};

/// A cache whose positions can be exported as bytes and imported into any cache of the same shape and type, whatever its layout. The bytes of a position
/// of a head are its key, then its value: head_dim elements each; with q8_0, blocks of 32 channels, the last one padded with zeros.
template <class C>
concept saved_kv_cache = kv_cache<C> && requires(C& c, const C& cc, kv_range range, std::span<std::byte> out, std::span<const std::byte> in) {
  { cc.shape() } noexcept -> std::convertible_to<kv_shape>;
  { cc.position_bytes() } noexcept -> std::same_as<std::size_t>;      // of one head
  { cc.export_positions(range, out) } noexcept;                       // committed ones; out.size() == range.n * position_bytes()
  { c.import_positions(range, in) } noexcept;                         // in place of write(), between reserve and commit
};

}  // namespace cria::inline v0_1_0
