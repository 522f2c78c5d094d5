// SPDX-License-Identifier: MIT
// kv/contiguous.hpp - the plain cache: room for `capacity` positions from the start, one segment a head.
//
// Shapes    [layer][kv head]: keys [capacity / 16][head_dim][16], values [capacity][v_stride]; q8_0: groups of 32 channels with a scale
// Errors    create: out_of_memory, bad_argument; reserve: context_full
// Threads   as kv_cache.hpp
//
// The system gives pages when they are first written, so an unused context costs address space only.
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/float16.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/quant/q8_0.hpp>

#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <type_traits>

namespace cria::inline v0 {

/// How a cache writes keys and values of one element type; the layouts are those that kernels/attention.hpp reads.
template <kv_type Type>
struct kv_storage;

template <class Element>
struct plain_kv_storage {
  static constexpr std::size_t v_step = 16;  ///< v_stride is a multiple of it
  static std::size_t k_panel_bytes(std::size_t head_dim) noexcept { return 16 * head_dim * sizeof(Element); }
  static std::size_t v_row_bytes(std::size_t v_stride) noexcept { return v_stride * sizeof(Element); }

  static CRIA_ALWAYS_INLINE Element stored(float x) noexcept {
    if constexpr (std::is_same_v<Element, f16>) {
      return to_f16(x);
    } else {
      return x;
    }
  }
  static void write_key(std::byte* panel, std::size_t lane, const float* k, std::size_t head_dim) noexcept {
    auto* out = reinterpret_cast<Element*>(panel) + lane;
    for (std::size_t c = 0; c < head_dim; ++c) out[16 * c] = stored(k[c]);
  }
  static void write_value(std::byte* row, const float* v, std::size_t head_dim) noexcept {
    auto* out = reinterpret_cast<Element*>(row);
    for (std::size_t c = 0; c < head_dim; ++c) out[c] = stored(v[c]);
  }

  static std::size_t part_bytes(std::size_t head_dim) noexcept { return head_dim * sizeof(Element); }
  static void export_key(const std::byte* panel, std::size_t lane, std::byte* out, std::size_t head_dim) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) std::memcpy(out + c * sizeof(Element), panel + (16 * c + lane) * sizeof(Element), sizeof(Element));
  }
  static void import_key(std::byte* panel, std::size_t lane, const std::byte* in, std::size_t head_dim) noexcept {
    for (std::size_t c = 0; c < head_dim; ++c) std::memcpy(panel + (16 * c + lane) * sizeof(Element), in + c * sizeof(Element), sizeof(Element));
  }
};

template <>
struct kv_storage<kv_type::f16> : plain_kv_storage<f16> {};
template <>
struct kv_storage<kv_type::f32> : plain_kv_storage<float> {};

/// Groups of 32 channels as q8_0 blocks: about half of f16's bytes.
template <>
struct kv_storage<kv_type::q8_0> {
  static constexpr std::size_t v_step = 32;
  static std::size_t k_panel_bytes(std::size_t head_dim) noexcept { return round_up(head_dim, 32) / 32 * 544; }
  static std::size_t v_row_bytes(std::size_t v_stride) noexcept { return v_stride / 32 * 34; }

  static void write_key(std::byte* panel, std::size_t lane, const float* k, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += 32, panel += 544) {
      const q8_0 block = quantised(k + first, head_dim - first);
      for (std::size_t c = 0; c < 32; ++c) std::memcpy(panel + 16 * c + lane, &block.qs[c], 1);
      std::memcpy(panel + 512 + 2 * lane, &block.d, sizeof block.d);
    }
  }
  static void write_value(std::byte* row, const float* v, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += 32, row += 34) {
      const q8_0 block = quantised(v + first, head_dim - first);
      std::memcpy(row, block.qs, 32);
      std::memcpy(row + 32, &block.d, sizeof block.d);
    }
  }

  static std::size_t part_bytes(std::size_t head_dim) noexcept { return round_up(head_dim, 32) / 32 * 34; }
  static void export_key(const std::byte* panel, std::size_t lane, std::byte* out, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += 32, panel += 544, out += 34) {
      for (std::size_t c = 0; c < 32; ++c) out[c] = panel[16 * c + lane];
      std::memcpy(out + 32, panel + 512 + 2 * lane, 2);
    }
  }
  static void import_key(std::byte* panel, std::size_t lane, const std::byte* in, std::size_t head_dim) noexcept {
    for (std::size_t first = 0; first < head_dim; first += 32, panel += 544, in += 34) {
      for (std::size_t c = 0; c < 32; ++c) panel[16 * c + lane] = in[c];
      std::memcpy(panel + 512 + 2 * lane, in + 32, 2);
    }
  }

 private:
  static q8_0 quantised(const float* x, std::size_t left) noexcept {
    float values[32] = {};
    std::memcpy(values, x, (left < 32 ? left : 32) * sizeof(float));
    return q8_0::quantize(values);
  }
};

template <kv_type Type>
class contiguous_kv_cache {
  using storage = kv_storage<Type>;

 public:
  static constexpr kv_type type = Type;

  /// Returns an empty cache with room for `capacity` positions.
  static result<contiguous_kv_cache> create(const kv_shape& shape, std::size_t capacity) {
    if (capacity == 0) return error{errc::bad_argument, "capacity", "a context needs at least one position", error::no_offset};
    constexpr std::size_t widest = std::size_t{1} << 20;   // a row's bytes cannot wrap
    if (shape.n_layers == 0 || shape.n_kv_heads == 0 || shape.head_dim == 0 || shape.head_dim > widest) {
      return error{errc::bad_argument, "shape", "a cache needs layers, heads and 1 to " + std::to_string(widest) + " channels", error::no_offset};
    }
    contiguous_kv_cache c;
    c.shape_ = shape;
    c.capacity_ = capacity;
    c.v_stride_ = round_up(shape.head_dim, storage::v_step);
    const checked_u64 rows = checked_u64(capacity).rounded_up(16);
    const checked_u64 k_bytes = rows / checked_u64(16) * checked_u64(storage::k_panel_bytes(shape.head_dim));
    const checked_u64 v_bytes = rows * checked_u64(storage::v_row_bytes(c.v_stride_));
    const auto bytes = ((k_bytes + v_bytes) * checked_u64(shape.n_layers) * checked_u64(shape.n_kv_heads)).get();
    if (!bytes || *bytes > std::numeric_limits<std::size_t>::max()) {
      return error{errc::out_of_memory, "capacity", "a context of " + std::to_string(capacity) + " positions", error::no_offset};
    }
    c.k_bytes_ = static_cast<std::size_t>(*k_bytes.get());
    c.v_bytes_ = static_cast<std::size_t>(*v_bytes.get());
    CRIA_TRY(c.memory_, aligned_buffer::allocate(static_cast<std::size_t>(*bytes)));
    return c;
  }

  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return memory_.size(); }
  [[nodiscard]] std::size_t v_stride() const noexcept { return v_stride_; }
  [[nodiscard]] std::size_t max_segments() const noexcept { return 1; }

  result<void> reserve(std::size_t n) {
    if (n > capacity_ - length_) {
      return error{errc::context_full, "context",
                   std::to_string(length_) + " of " + std::to_string(capacity_) + " positions are taken, " + std::to_string(n) + " more do not fit", error::no_offset};
    }
    pending_ = n;
    return {};
  }

  void write(kv_slot slot, kv_row row) noexcept {
    CRIA_ASSERT(slot.pos < length_ + pending_);
    std::byte* head = memory_.data() + offset(slot.head);
    storage::write_key(head + slot.pos / 16 * storage::k_panel_bytes(shape_.head_dim), slot.pos % 16, row.k, shape_.head_dim);
    storage::write_value(head + k_bytes_ + slot.pos * storage::v_row_bytes(v_stride_), row.v, shape_.head_dim);
  }

  void commit(std::size_t n) noexcept {
    CRIA_ASSERT(n <= pending_);
    length_ += n;
    pending_ = 0;
  }

  void truncate(std::size_t n) noexcept {
    CRIA_ASSERT(n <= length_);
    length_ = n;
    pending_ = 0;
  }

  std::size_t segments(kv_head head, std::span<kv_segment> out) const noexcept {
    const std::byte* begin = memory_.data() + offset(head);
    out[0] = {begin, begin + k_bytes_, 0, length_ + pending_};
    return 1;
  }

  [[nodiscard]] const kv_shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t position_bytes() const noexcept { return 2 * storage::part_bytes(shape_.head_dim); }

  void export_positions(kv_range range, std::span<std::byte> out) const noexcept {
    CRIA_ASSERT(range.first + range.n <= length_ && out.size() == range.n * position_bytes());
    const std::byte* head = memory_.data() + offset(range.head);
    const std::size_t part = storage::part_bytes(shape_.head_dim);
    std::byte* to = out.data();
    for (std::size_t pos = range.first; pos < range.first + range.n; ++pos, to += 2 * part) {
      storage::export_key(head + pos / 16 * storage::k_panel_bytes(shape_.head_dim), pos % 16, to, shape_.head_dim);
      std::memcpy(to + part, head + k_bytes_ + pos * storage::v_row_bytes(v_stride_), part);
    }
  }

  void import_positions(kv_range range, std::span<const std::byte> in) noexcept {
    CRIA_ASSERT(range.first + range.n <= length_ + pending_ && in.size() == range.n * position_bytes());
    std::byte* head = memory_.data() + offset(range.head);
    const std::size_t part = storage::part_bytes(shape_.head_dim);
    const std::byte* from = in.data();
    for (std::size_t pos = range.first; pos < range.first + range.n; ++pos, from += 2 * part) {
      storage::import_key(head + pos / 16 * storage::k_panel_bytes(shape_.head_dim), pos % 16, from, shape_.head_dim);
      std::memcpy(head + k_bytes_ + pos * storage::v_row_bytes(v_stride_), from + part, part);
    }
  }

 private:
  contiguous_kv_cache() = default;

  [[nodiscard]] std::size_t offset(kv_head head) const noexcept { return (head.layer * shape_.n_kv_heads + head.head) * (k_bytes_ + v_bytes_); }

  kv_shape shape_{};
  std::size_t capacity_ = 0, length_ = 0, pending_ = 0;
  std::size_t v_stride_ = 0;
  std::size_t k_bytes_ = 0, v_bytes_ = 0;  // of one head
  aligned_buffer memory_;
};

static_assert(saved_kv_cache<contiguous_kv_cache<kv_type::f16>> && saved_kv_cache<contiguous_kv_cache<kv_type::f32>> &&
              saved_kv_cache<contiguous_kv_cache<kv_type::q8_0>>);

}  // namespace cria::inline v0
