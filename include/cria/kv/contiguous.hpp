// SPDX-License-Identifier: MIT
// kv/contiguous.hpp - the plain cache: room for `capacity` positions from the start, one segment for each head. A layer with a window keeps only the window and
// what a pass may add, in a ring: position p is in row p mod rows, and a head has up to two segments.
//
// Shapes    [layer][kv head]: keys [rows / 16][head_dim][16], values [rows][v_stride]; q8_0: groups of 32 channels with a scale;
//           bf16: keys by pairs of channels (core/types.hpp)
// Ensures   windows change no bits: everything that a query sees is there, at the same places in panels as without windows
// Errors    create: out_of_memory, bad_argument; reserve: context_full
// Threads   as kv_cache.hpp
//
// The system provides memory when it is first written, so an unused part of the context costs only address space.
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/float16.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/quant/q8_0.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace cria::inline v0_1_0 {

/// How a cache writes keys and values of one element type; the layouts are those that kernels/attention.hpp reads.
template <kv_type Type>
struct kv_storage;

/// The layout of element types that are stored one by one.
template <class Element>
struct plain_kv_storage {
  static constexpr std::size_t v_step = 16;  ///< v_stride is a multiple of it
  static std::size_t k_panel_bytes(std::size_t head_dim) noexcept { return kv_panel * head_dim * sizeof(Element); }
  static std::size_t v_row_bytes(std::size_t v_stride) noexcept { return v_stride * sizeof(Element); }

  static CRIA_ALWAYS_INLINE Element stored(float x) noexcept {
    if constexpr (std::is_same_v<Element, f16>) {
      return to_f16(x);
    } else if constexpr (std::is_same_v<Element, bf16>) {
      return to_normal_bf16(x);
    } else {
      return x;
    }
  }
  static void write_key(std::byte* panel, std::size_t lane, const float* k, std::size_t head_dim) noexcept {
    auto* out = reinterpret_cast<Element*>(panel) + lane;
    for_each_piece(k, head_dim, [&](std::size_t first, std::span<const Element> piece) {
      for (std::size_t c = 0; c < piece.size(); ++c) out[kv_panel * (first + c)] = piece[c];
    });
  }
  static void write_value(std::byte* row, const float* v, std::size_t head_dim) noexcept {
    for_each_piece(v, head_dim, [&](std::size_t first, std::span<const Element> piece) {
      std::memcpy(row + first * sizeof(Element), piece.data(), piece.size_bytes());
    });
  }

  /// Calls fn(channel of the first, elements) for pieces of x as they are stored. Compilers make vectors of a loop of known length into memory of its own.
  template <class F>
  static CRIA_ALWAYS_INLINE void for_each_piece(const float* x, std::size_t n, F&& fn) noexcept {
    constexpr std::size_t size = 16;
    Element piece[size];
    std::size_t first = 0;
    for (; first + size <= n; first += size) {
      for (std::size_t c = 0; c < size; ++c) piece[c] = stored(x[first + c]);
      fn(first, piece);
    }
    for (std::size_t c = first; c < n; ++c) piece[c - first] = stored(x[c]);
    fn(first, std::span<const Element>(piece).first(n - first));
  }

  static std::size_t part_bytes(std::size_t head_dim) noexcept { return head_dim * sizeof(Element); }
  static void export_key(const std::byte* panel, std::size_t lane, std::byte* out, std::size_t head_dim) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) std::memcpy(out + c * sizeof(Element), panel + (kv_panel * c + lane) * sizeof(Element), sizeof(Element));
  }
  static void import_key(std::byte* panel, std::size_t lane, const std::byte* in, std::size_t head_dim) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) std::memcpy(panel + (kv_panel * c + lane) * sizeof(Element), in + c * sizeof(Element), sizeof(Element));
  }
};

template <>
struct kv_storage<kv_type::f16> : plain_kv_storage<f16> {};
template <>
struct kv_storage<kv_type::f32> : plain_kv_storage<float> {};

/// Keys lie as processors with a bf16 dot product read them: two channels of a position side by side.
template <>
struct kv_storage<kv_type::bf16> : plain_kv_storage<bf16> {
  static std::size_t k_panel_bytes(std::size_t head_dim) noexcept { return kv_panel * round_up(head_dim, 2) * sizeof(bf16); }
  static void write_key(std::byte* panel, std::size_t lane, const float* k, std::size_t head_dim) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) put(panel, lane, c, stored(k[c]));
    if (head_dim % 2 != 0) put(panel, lane, head_dim, {});
  }
  static void export_key(const std::byte* panel, std::size_t lane, std::byte* out, std::size_t head_dim) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) std::memcpy(out + c * sizeof(bf16), panel + place(lane, c), sizeof(bf16));
  }
  static void import_key(std::byte* panel, std::size_t lane, const std::byte* in, std::size_t head_dim) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) std::memcpy(panel + place(lane, c), in + c * sizeof(bf16), sizeof(bf16));
    if (head_dim % 2 != 0) put(panel, lane, head_dim, {});
  }

 private:
  static CRIA_ALWAYS_INLINE std::size_t place(std::size_t lane, std::size_t c) noexcept { return (c / 2 * (2 * kv_panel) + lane * 2 + c % 2) * sizeof(bf16); }
  static CRIA_ALWAYS_INLINE void put(std::byte* panel, std::size_t lane, std::size_t c, bf16 value) noexcept {
    std::memcpy(panel + place(lane, c), &value, sizeof value);
  }
};

/// Groups of channels as q8_0 blocks: about half of f16's bytes. A panel of keys holds the codes of its positions channel by channel, then their scales.
template <>
struct kv_storage<kv_type::q8_0> {
  static constexpr std::size_t group = q8_0::block_size;
  static constexpr std::size_t v_step = group;
  static std::size_t k_panel_bytes(std::size_t head_dim) noexcept { return kv_panel * part_bytes(head_dim); }
  static std::size_t v_row_bytes(std::size_t v_stride) noexcept { return v_stride / group * sizeof(q8_0); }

  static void write_key(std::byte* panel, std::size_t lane, const float* k, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += group, panel += panel_group_bytes) {
      const q8_0 block = quantised(k + first, head_dim - first);
      for (std::size_t c = 0; c < group; ++c) std::memcpy(panel + kv_panel * c + lane, &block.qs[c], 1);
      std::memcpy(panel + scale_at(lane), &block.d, sizeof(f16));
    }
  }
  static void write_value(std::byte* row, const float* v, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += group, row += sizeof(q8_0)) {
      const q8_0 block = quantised(v + first, head_dim - first);
      std::memcpy(row, block.qs, group);
      std::memcpy(row + group, &block.d, sizeof(f16));
    }
  }

  static std::size_t part_bytes(std::size_t head_dim) noexcept { return (head_dim + group - 1) / group * sizeof(q8_0); }
  static void export_key(const std::byte* panel, std::size_t lane, std::byte* out, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += group, panel += panel_group_bytes, out += sizeof(q8_0)) {
      for (std::size_t c = 0; c < group; ++c) out[c] = panel[kv_panel * c + lane];
      std::memcpy(out + group, panel + scale_at(lane), sizeof(f16));
    }
  }
  static void import_key(std::byte* panel, std::size_t lane, const std::byte* in, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += group, panel += panel_group_bytes, in += sizeof(q8_0)) {
      for (std::size_t c = 0; c < group; ++c) panel[kv_panel * c + lane] = in[c];
      std::memcpy(panel + scale_at(lane), in + group, sizeof(f16));
    }
  }

 private:
  static constexpr std::size_t panel_group_bytes = kv_panel * sizeof(q8_0);
  static constexpr std::size_t scale_at(std::size_t lane) noexcept { return kv_panel * group + lane * sizeof(f16); }

  static q8_0 quantised(const float* x, std::size_t left) noexcept {
    float values[group] = {};
    std::memcpy(values, x, std::min(left, group) * sizeof(float));
    return q8_0::quantize(values);
  }
};

/// A sequence's cache in memory of its own.
template <kv_type Type>
class contiguous_kv_cache {
  using storage = kv_storage<Type>;

 public:
  static constexpr kv_type type = Type;

  /// Returns an empty cache with room for `capacity` positions.
  static result<contiguous_kv_cache> create(const kv_shape& shape, std::size_t capacity) {
    if (capacity == 0) return error{errc::bad_argument, "capacity", "a context needs at least one position"};
    constexpr std::size_t widest = std::size_t{1} << 20;   // a row's bytes cannot wrap
    if (shape.n_layers == 0 || shape.n_kv_heads == 0 || shape.head_dim == 0 || shape.head_dim > widest) {
      return error{errc::bad_argument, "shape", "a cache needs layers, heads and 1 to " + std::to_string(widest) + " channels"};
    }
    if (shape.windows != nullptr && shape.windows->size() != shape.n_layers) return error{errc::bad_argument, "windows", "are not one for each layer"};
    return catch_bad_alloc([&]() -> result<contiguous_kv_cache> {
      contiguous_kv_cache c;
      c.shape_ = shape;
      c.capacity_ = capacity;
      c.v_stride_ = round_up(shape.head_dim, storage::v_step);
      c.panel_bytes_ = storage::k_panel_bytes(shape.head_dim) + kv_panel * storage::v_row_bytes(c.v_stride_);
      const auto whole = checked_u64(capacity).rounded_up(kv_panel).get();
      const auto panels_of_all = checked_u64(shape.n_layers) * checked_u64(shape.n_kv_heads) * checked_u64(c.panel_bytes_);
      const auto most = whole ? (checked_u64(*whole / kv_panel) * panels_of_all).get() : whole;
      if (!most || *most > std::numeric_limits<std::size_t>::max()) {
        return error{errc::out_of_memory, "capacity", "a context of " + std::to_string(capacity) + " positions"};
      }
      std::size_t bytes = 0;
      c.layers_.reserve(shape.n_layers);
      for (std::size_t i = 0; i < shape.n_layers; ++i) {
        const std::size_t window = shape.window_of(i), rows = static_cast<std::size_t>(kept_positions(window, capacity));
        c.layers_.push_back({bytes, rows, rows < *whole ? window : 0});
        c.has_rings_ |= rows < *whole;
        bytes += rows / kv_panel * c.panel_bytes_ * shape.n_kv_heads;
      }
      CRIA_TRY(c.memory_, aligned_buffer::allocate(bytes));
      return c;
    }, "capacity");
  }

  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return memory_.size(); }
  [[nodiscard]] std::size_t v_stride() const noexcept { return v_stride_; }
  [[nodiscard]] std::size_t max_segments() const noexcept { return has_rings_ ? 2 : 1; }
  [[nodiscard]] std::size_t max_pass() const noexcept { return has_rings_ ? window_slack : std::numeric_limits<std::size_t>::max(); }
  [[nodiscard]] std::size_t keepable(std::size_t n) const noexcept {
    if (n == 0 || n == length_) return n;
    if (n < floor_) return 0;
    for (const layer_place& l : layers_) {
      if (l.window != 0 && written_ > l.n_rows && n + 1 + (l.n_rows - l.window) < written_) return 0;
    }
    return n;
  }

  result<void> reserve(std::size_t n) {
    if (n > capacity_ - length_) {
      return error{errc::context_full, "context",
                   std::to_string(length_) + " of " + std::to_string(capacity_) + " positions are taken, " + std::to_string(n) + " more do not fit"};
    }
    pending_ = n;
    written_ = std::max(written_, length_ + n);
    return {};
  }

  void write(kv_slot slot, kv_row row) noexcept {
    CRIA_ASSERT(slot.pos < length_ + pending_);
    storage::write_key(memory_.data() + key_offset(slot), slot.pos % kv_panel, row.k, shape_.head_dim);
    storage::write_value(memory_.data() + value_offset(slot), row.v, shape_.head_dim);
  }

  void commit(std::size_t n) noexcept {
    CRIA_ASSERT(n <= pending_);
    length_ += n;
    pending_ = 0;
  }

  void truncate(std::size_t n) noexcept {
    CRIA_ASSERT(n <= length_ && keepable(n) == n);
    length_ = n;
    pending_ = 0;
    if (n == 0) written_ = floor_ = 0;
  }

  std::size_t segments(kv_head head, std::span<kv_segment> out) const noexcept {
    const layer_place& l = layers_[head.layer];
    const std::size_t end = length_ + pending_;
    if (end <= l.n_rows) {
      out[0] = {memory_.data() + key_offset({head, 0}), memory_.data() + value_offset({head, 0}), 0, end};
      return 1;
    }
    // From the panel of the first position that the first new query sees.
    std::size_t n = 0;
    for (std::size_t first = (length_ + 1 - std::min(l.window, length_ + 1)) / kv_panel * kv_panel; first < end; ++n) {
      const std::size_t last = std::min(end, (first / l.n_rows + 1) * l.n_rows);
      out[n] = {memory_.data() + key_offset({head, first}), memory_.data() + value_offset({head, first}), first, last - first};
      first = last;
    }
    return n;
  }

  [[nodiscard]] const kv_shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t position_bytes() const noexcept { return 2 * storage::part_bytes(shape_.head_dim); }

  void export_positions(kv_range range, std::span<std::byte> out) const noexcept {
    CRIA_ASSERT(range.first + range.n <= length_ && out.size() == range.n * position_bytes());
    const std::size_t part = storage::part_bytes(shape_.head_dim), oldest = oldest_of(range.head.layer);
    std::byte* to = out.data();
    for (std::size_t pos = range.first; pos < range.first + range.n; ++pos, to += 2 * part) {
      if (pos < oldest) {
        std::memset(to, 0, 2 * part);   // forgotten: nobody sees it
        continue;
      }
      storage::export_key(memory_.data() + key_offset({range.head, pos}), pos % kv_panel, to, shape_.head_dim);
      std::memcpy(to + part, memory_.data() + value_offset({range.head, pos}), part);
    }
  }

  void import_positions(kv_range range, std::span<const std::byte> in) noexcept {
    CRIA_ASSERT(range.first + range.n <= length_ + pending_ && in.size() == range.n * position_bytes());
    const std::size_t part = storage::part_bytes(shape_.head_dim), oldest = oldest_of(range.head.layer), window = shape_.window_of(range.head.layer);
    const std::byte* from = in.data();
    for (std::size_t pos = range.first; pos < range.first + range.n; ++pos, from += 2 * part) {
      if (pos < oldest) continue;
      storage::import_key(memory_.data() + key_offset({range.head, pos}), pos % kv_panel, from, shape_.head_dim);
      std::memcpy(memory_.data() + value_offset({range.head, pos}), from + part, part);
    }
    // Where they came from may have kept the last window only.
    if (window != 0 && range.first + range.n > window) floor_ = std::max(floor_, range.first + range.n);
  }

 private:
  contiguous_kv_cache() = default;

  /// Where a layer's heads are.
  struct layer_place {
    std::size_t offset;
    std::size_t n_rows;   // positions that are kept, a multiple of kv_panel
    std::size_t window;   // 0: all positions are kept
  };

  /// Return where a position's panel of keys begins, and its row of values.
  [[nodiscard]] std::size_t key_offset(kv_slot slot) const noexcept {
    const layer_place& l = layers_[slot.head.layer];
    return l.offset + slot.head.head * (l.n_rows / kv_panel * panel_bytes_) + slot.pos % l.n_rows / kv_panel * storage::k_panel_bytes(shape_.head_dim);
  }
  [[nodiscard]] std::size_t value_offset(kv_slot slot) const noexcept {
    const layer_place& l = layers_[slot.head.layer];
    const std::size_t keys = l.n_rows / kv_panel * storage::k_panel_bytes(shape_.head_dim);
    return l.offset + slot.head.head * (l.n_rows / kv_panel * panel_bytes_) + keys + slot.pos % l.n_rows * storage::v_row_bytes(v_stride_);
  }
  /// Returns the first position that has not been overwritten by a later one.
  [[nodiscard]] std::size_t oldest_of(std::size_t layer) const noexcept {
    const std::size_t n_rows = layers_[layer].n_rows;
    return written_ > n_rows ? written_ - n_rows : 0;
  }

  kv_shape shape_{};
  std::size_t capacity_ = 0, length_ = 0, pending_ = 0;
  std::size_t written_ = 0;        // positions that were ever reserved since it was empty
  std::size_t floor_ = 0;          // lengths below it cannot be gone back to
  std::size_t v_stride_ = 0;
  std::size_t panel_bytes_ = 0;    // of kv_panel positions of one head
  std::vector<layer_place> layers_;
  bool has_rings_ = false;
  aligned_buffer memory_;
};

static_assert(saved_kv_cache<contiguous_kv_cache<kv_type::f16>> && saved_kv_cache<contiguous_kv_cache<kv_type::f32>> &&
              saved_kv_cache<contiguous_kv_cache<kv_type::q8_0>> && saved_kv_cache<contiguous_kv_cache<kv_type::bf16>>);

}  // namespace cria::inline v0_1_0
