// SPDX-License-Identifier: MIT
// kv/contiguous.hpp - the plain cache: room for `capacity` positions from the start, one segment a head.
//
// Shapes    [layer][kv head]: keys [capacity / 16][head_dim][16], values [capacity][v_stride]
// Errors    create: out_of_memory, bad_argument; reserve: context_full
// Threads   as kv_cache.hpp
//
// The system gives pages when they are first written, so an unused context costs address space only.
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/float16.hpp>
#include <cria/kv/kv_cache.hpp>

#include <cstring>
#include <string>

namespace cria::inline v0 {

template <kv_type Type>
struct kv_storage;

template <>
struct kv_storage<kv_type::f16> {
  using element = f16;
  static CRIA_ALWAYS_INLINE element store(float x) noexcept { return to_f16(x); }
};

template <>
struct kv_storage<kv_type::f32> {
  using element = float;
  static CRIA_ALWAYS_INLINE element store(float x) noexcept { return x; }
};

template <kv_type Type>
class contiguous_kv_cache {
  using storage = kv_storage<Type>;
  using element = typename storage::element;

 public:
  static constexpr kv_type type = Type;

  /// Returns an empty cache with room for `capacity` positions.
  static result<contiguous_kv_cache> create(const kv_shape& shape, std::size_t capacity) {
    if (capacity == 0) return error{errc::bad_argument, "capacity", "a context needs at least one position", error::no_offset};
    contiguous_kv_cache c;
    c.shape_ = shape;
    c.capacity_ = capacity;
    c.v_stride_ = round_up(shape.head_dim, 16);
    const std::size_t rows = round_up(capacity, 16);
    if (rows < capacity || rows > (std::size_t{1} << 40) / (shape.head_dim + c.v_stride_) / (shape.n_layers * shape.n_kv_heads)) {
      return error{errc::out_of_memory, "capacity", "a context of " + std::to_string(capacity) + " positions", error::no_offset};
    }
    c.k_elements_ = rows * shape.head_dim;
    c.v_elements_ = rows * c.v_stride_;
    CRIA_TRY(c.memory_, aligned_buffer::allocate((c.k_elements_ + c.v_elements_) * shape.n_layers * shape.n_kv_heads * sizeof(element)));
    return c;
  }

  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return memory_.size(); }
  [[nodiscard]] std::size_t v_stride() const noexcept { return v_stride_; }
  [[nodiscard]] std::size_t max_segments() const noexcept { return 1; }

  result<void> reserve(std::size_t n) {
    if (n > capacity_ - length_) {
      return error{errc::context_full, "context", std::to_string(length_) + " of " + std::to_string(capacity_) + " positions are taken, " + std::to_string(n) + " more do not fit",
                   error::no_offset};
    }
    pending_ = n;
    return {};
  }

  void write(kv_slot slot, kv_row row) noexcept {
    CRIA_ASSERT(slot.pos < length_ + pending_);
    element* k = keys(slot.head) + slot.pos / 16 * 16 * shape_.head_dim + slot.pos % 16;
    element* v = values(slot.head) + slot.pos * v_stride_;
    for (std::size_t c = 0; c < shape_.head_dim; ++c) k[16 * c] = storage::store(row.k[c]);
    for (std::size_t c = 0; c < shape_.head_dim; ++c) v[c] = storage::store(row.v[c]);
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
    auto& self = const_cast<contiguous_kv_cache&>(*this);
    out[0] = {reinterpret_cast<const std::byte*>(self.keys(head)), reinterpret_cast<const std::byte*>(self.values(head)), 0, length_ + pending_};
    return 1;
  }

 private:
  contiguous_kv_cache() = default;

  [[nodiscard]] element* keys(kv_head head) noexcept {
    return reinterpret_cast<element*>(memory_.data()) + (head.layer * shape_.n_kv_heads + head.head) * (k_elements_ + v_elements_);
  }
  [[nodiscard]] element* values(kv_head head) noexcept { return keys(head) + k_elements_; }

  kv_shape shape_{};
  std::size_t capacity_ = 0, length_ = 0, pending_ = 0;
  std::size_t v_stride_ = 0, k_elements_ = 0, v_elements_ = 0;
  aligned_buffer memory_;
};

static_assert(kv_cache<contiguous_kv_cache<kv_type::f16>> && kv_cache<contiguous_kv_cache<kv_type::f32>>);

}  // namespace cria::inline v0
