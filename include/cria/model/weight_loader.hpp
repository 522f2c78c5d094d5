// SPDX-License-Identifier: MIT
// model/weight_loader.hpp - from tensors in a file to packed weights: reads, checks and packs them on all threads.
//
// Requires  a file that was opened (its tensors lie inside it)
// Ensures   Takes at most one staging buffer of about 1 MiB for each thread besides the result. Nothing of the file stays mapped. The result is read-only
//           memory if the system grants it, so that a stray write into a weight faults instead of giving another text.
//           A loader reads no bytes before start_reading(): the whole model is checked before its first tensor is read.
// Errors    missing_tensor, bad_shape, unsupported_type, non_finite, bad_value, io, truncated, out_of_memory, cancelled; `where` is the tensor
// Threads   reads and packs on the executor; if the file is not in memory, a thread_pool may leave it to one thread (thread_pool.hpp).
//           Progress is reported, and cancellation checked, on the calling thread, between tensors.
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/gguf/file.hpp>
#include <cria/nn/compute.hpp>
#include <cria/nn/weight.hpp>
#include <cria/quant/finite.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0 {

/// The progress of a load, in bytes of the file's tensors.
struct load_progress {
  std::uint64_t done_bytes;
  std::uint64_t total_bytes;
};

/// Called on the loading thread; false cancels.
using load_callback = std::function<bool(const load_progress&)>;

/// What is required of the values of a tensor.
enum class values_check : std::uint8_t {
  none,
  finite,    ///< no block holds inf or NaN
  positive,  ///< and none a number that is not above zero; vectors only
};

/// Each matrix begins at a multiple of this many bytes.
inline constexpr std::size_t matrix_alignment = 64;

/// Returns how many bytes a tensor takes once it is loaded: a vector is floats in pages of its own, the rows of a matrix are padded to a multiple of 16.
/// Nothing if that exceeds 2^64.
[[nodiscard]] inline std::optional<std::uint64_t> loaded_bytes(const gguf::tensor_info& t) noexcept {
  constexpr std::uint64_t page = 4096;
  if (t.elements == 0) return 0;
  if (t.rank < 2) return (checked_u64(t.elements).rounded_up(kernels::panel_rows) * sizeof(float)).rounded_up(page).get();
  const std::uint64_t rows = t.shape[1], matrices = t.elements / (t.shape[0] * rows), row = t.size_bytes / (rows * matrices);
  return ((checked_u64(rows).rounded_up(kernels::panel_rows) * row).rounded_up(matrix_alignment) * matrices).get();
}

/// Fails if padding would blow up a small file, such as one with thousands of experts of one row each. No real model comes near.
[[nodiscard]] inline result<void> check_loaded_bytes(const gguf::file& file) {
  constexpr std::uint64_t always_granted = std::uint64_t{16} << 20;
  checked_u64 in_file = always_granted, loaded = 0;
  for (const gguf::tensor_info& t : file.tensors()) {
    const auto bytes = loaded_bytes(t);
    in_file = in_file + checked_u64(4) * t.size_bytes;
    loaded = bytes ? loaded + *bytes : checked_u64(1) / 0;
  }
  if (loaded.get() && (!in_file.get() || *loaded.get() <= *in_file.get())) return {};
  return error{errc::limit_exceeded, "tensors", "would take more than four times their size: their rows are too few, or their matrices too many and too small"};
}

/// Is asked for every tensor of a model twice: first it checks that they exist and have the right shapes and types, then, after start_reading(), it loads them.
class weight_loader {
 public:
  weight_loader(const gguf::file& file, const kernels::kernel_table& kernels, executor_ref executor, const load_callback& progress, stop_token stop)
      : file_(file), kernels_(kernels), executor_(executor), progress_(progress), stop_(std::move(stop)), is_used_(file.tensors().size()) {
    for (const gguf::tensor_info& t : file.tensors()) total_ += t.size_bytes;
  }

  [[nodiscard]] const gguf::tensor_info* find(std::string_view name) const noexcept { return file_.find_tensor(name); }
  /// Returns how many tensors the file has, which bounds everything that needs a tensor of its own.
  [[nodiscard]] std::size_t n_tensors() const noexcept { return is_used_.size(); }

  /// Fails if the file has a tensor that nothing has asked for, since the model would need other equations.
  result<void> check_all_used() const {
    for (std::size_t i = 0; i < is_used_.size(); ++i) {
      const std::string_view name = file_.tensors()[i].name;
      // Old files contain the angles of the rotation in addition to the base from which they follow.
      if (!is_used_[i] && !name.ends_with(".attn_rot_embd.weight")) {
        return error{errc::bad_value, printable(name), "is not a tensor of this model"};
      }
    }
    return {};
  }

  /// Allocates the memory of all matrices that have been asked for. What is asked for from now on, which must be the same, is loaded.
  result<void> start_reading() {
    const auto needed = matrix_bytes_.get();
    if (!needed || *needed > std::numeric_limits<std::size_t>::max()) return error{errc::out_of_memory, "tensors", "are larger than the address space"};
    CRIA_TRY(matrices_, named("tensors", aligned_buffer::allocate(static_cast<std::size_t>(*needed))));
    free_ = matrices_.span();
    reads_ = true;
    return {};
  }
  /// Returns the memory of all matrices, read-only; nothing before start_reading(). Requires that all have been loaded.
  [[nodiscard]] aligned_buffer take_matrices() noexcept {
    seal(matrices_);
    return std::move(matrices_);
  }

  /// A matrix, and how many rows of a tensor belong to it.
  struct part {
    nn::weight* to;
    std::size_t rows;
  };

  /// Returns W[rows, columns], with a bias if the file has that tensor.
  result<nn::weight> matrix(const std::string& name, const std::string& bias, std::size_t rows, std::size_t columns, values_check check) {
    nn::weight w;
    const part whole{&w, rows};
    CRIA_CHECK(panels(name, columns, {&whole, 1}, check));
    CRIA_CHECK(biases(bias, {&whole, 1}));
    return w;
  }

  /// Fills matrices that are stacked in one tensor, each with its part of the bias, if the file has "<name>.bias".
  result<void> parts(const std::string& name, std::size_t columns, std::span<const part> parts) {
    CRIA_CHECK(panels(name, columns, parts, values_check::none));
    return biases(name + ".bias", parts);
  }

  /// Returns W[rows, columns] of each of n experts, which are in one tensor one after another, with a row of "<name>.bias" if the file has it.
  result<std::vector<nn::weight>> experts(const std::string& name, std::size_t n, std::size_t rows, std::size_t columns) {
    CRIA_TRY(const gguf::tensor_info* info, checked(name + ".weight", columns, rows, n));
    std::vector<nn::weight> all(n);
    std::vector<part> each(n);
    for (std::size_t i = 0; i < n; ++i) each[i] = {&all[i], rows};
    CRIA_CHECK(pack_parts(*info, columns, each, values_check::none));
    CRIA_CHECK(expert_biases(name + ".bias", rows, each));
    return all;
  }

  /// Returns n numbers as floats, padded with zeros to a multiple of 16.
  result<array_buffer<float>> vector(const std::string& name, std::size_t n, values_check check = values_check::none) {
    CRIA_TRY(const gguf::tensor_info* info, checked(name, n, 1));
    if (!reads_) return array_buffer<float>{};
    CRIA_TRY(auto values, named(name, array_buffer<float>::allocate(round_up(n, kernels::panel_rows))));
    CRIA_TRY(auto bytes, named(name, aligned_buffer::allocate(row_bytes(info->type, n))));
    CRIA_CHECK(file_.read(*info, 0, bytes.span()));
    static_cast<void>(dequantize_row(info->type, bytes.data(), values.span().first(n)));
    for (std::size_t i = 0; i < n && check != values_check::none; ++i) {
      if (!std::isfinite(values[i])) return error{errc::non_finite, name, "value " + std::to_string(i) + " is inf or NaN", info->offset};
      if (check == values_check::positive && !(values[i] > 0)) {
        return error{errc::bad_value, name, "value " + std::to_string(i) + " is not above zero", info->offset};
      }
    }
    CRIA_CHECK(advance(*info));
    seal(values);
    return values;
  }

  /// Returns the rows as they are in the file.
  result<aligned_buffer> raw_rows(const std::string& name, std::size_t rows, std::size_t columns, tensor_type& type) {
    CRIA_TRY(const gguf::tensor_info* info, checked(name, columns, rows));
    type = info->type;
    if (!reads_) return aligned_buffer{};
    CRIA_TRY(auto bytes, named(name, aligned_buffer::allocate(static_cast<std::size_t>(info->size_bytes))));
    CRIA_CHECK(file_.read(*info, 0, bytes.span()));
    CRIA_CHECK(advance(*info));
    seal(bytes);
    return bytes;
  }

 private:
  /// Finds a tensor of shape [columns, rows, depth] (rows = 1: also a plain vector) in a format that cria computes with.
  result<const gguf::tensor_info*> checked(const std::string& name, std::size_t columns, std::size_t rows, std::size_t depth = 1) {
    const gguf::tensor_info* info = find(name);
    if (info == nullptr) return error{errc::missing_tensor, name};
    if (info->shape[0] != columns || info->shape[1] != rows || info->shape[2] != depth || info->shape[3] != 1) {
      return error{errc::bad_shape, name,
                   "is " + std::to_string(info->shape[0]) + " x " + std::to_string(info->shape[1]) +
                       (info->shape[2] == 1 ? "" : " x " + std::to_string(info->shape[2])) + ", the model needs " + std::to_string(columns) + " x " +
                       std::to_string(rows) + (depth == 1 ? "" : " x " + std::to_string(depth))};
    }
    const auto format = format_index_of(info->type);
    if (!format || kernels_.gemm[*format] == nullptr) {
      return error{errc::unsupported_type, name, std::string(cria::name(info->type)) + " is not a format that cria computes with"};
    }
    if (info->size_bytes / std::max<std::size_t>(1, rows) >
        std::numeric_limits<std::size_t>::max() / round_up(rows, kernels::panel_rows)) {  // 32-bit systems: the last panel is padded
      return error{errc::out_of_memory, name, "is larger than the address space"};
    }
    is_used_[static_cast<std::size_t>(info - file_.tensors().data())] = true;
    return info;
  }

  [[nodiscard]] static std::size_t rows_of(std::span<const part> parts) noexcept {
    std::size_t rows = 0;
    for (const part& p : parts) rows += p.rows;
    return rows;
  }

  result<void> panels(const std::string& name, std::size_t columns, std::span<const part> parts, values_check check) {
    CRIA_TRY(const gguf::tensor_info* info, checked(name + ".weight", columns, rows_of(parts)));
    return pack_parts(*info, columns, parts, check);
  }

  /// Divides a vector among the matrices; if the file has none, they have no bias.
  result<void> biases(const std::string& name, std::span<const part> parts) {
    if (find(name) == nullptr) return {};
    CRIA_TRY(array_buffer<float> bias, vector(name, rows_of(parts)));
    if (!reads_) return {};
    if (parts.size() == 1) {
      parts.front().to->bias = std::move(bias);   // sealed already
      return {};
    }
    const float* from = bias.data();
    for (const part& p : parts) {
      CRIA_TRY(p.to->bias, named(name, array_buffer<float>::allocate(round_up(p.rows, kernels::panel_rows))));
      std::copy_n(from, p.rows, p.to->bias.data());
      seal(p.to->bias);
      from += p.rows;
    }
    return {};
  }

  /// The same of experts, whose biases are the rows of a tensor.
  result<void> expert_biases(const std::string& name, std::size_t rows, std::span<const part> experts) {
    if (find(name) == nullptr) return {};
    tensor_type type = tensor_type::f32;
    CRIA_TRY(const aligned_buffer bytes, raw_rows(name, experts.size(), rows, type));
    if (!reads_) return {};
    for (std::size_t i = 0; i < experts.size(); ++i) {
      array_buffer<float>& bias = experts[i].to->bias;
      CRIA_TRY(bias, named(name, array_buffer<float>::allocate(round_up(rows, kernels::panel_rows))));
      static_cast<void>(dequantize_row(type, bytes.data() + i * row_bytes(type, rows), bias.span().first(rows)));
      seal(bias);
    }
    return {};
  }

  /// Makes memory read-only. If the system refuses, for example because the process has too many maps, it stays writable, and works as well.
  template <class Buffer>
  static void seal(Buffer& loaded) noexcept {
    static_cast<void>(loaded.make_read_only());
  }

  /// Returns the memory, or an error that names the tensor.
  template <class Buffer>
  static result<Buffer> named(const std::string& name, result<Buffer> memory) {
    if (!memory) return error{memory.error().code, name, "no memory for it"};
    return memory;
  }

  result<void> pack_parts(const gguf::tensor_info& info, std::size_t columns, std::span<const part> parts, values_check check) {
    std::size_t first_row = 0;
    for (const part& p : parts) {
      nn::weight& w = *p.to;
      w.type = info.type;
      w.format = *format_index_of(info.type);
      w.rows = p.rows;
      w.columns = columns;
      if (!reads_) {
        matrix_bytes_ = (matrix_bytes_ + w.packed_bytes()).rounded_up(matrix_alignment);
        continue;
      }
      CRIA_ASSERT(w.packed_bytes() <= free_.size());
      const std::span<std::byte> panels = free_.first(w.packed_bytes());
      w.panels = panels;
      free_ = free_.subspan(round_up(panels.size(), matrix_alignment));
      CRIA_CHECK(pack(info, first_row, w, panels, check));
      first_row += p.rows;
    }
    return reads_ ? advance(info) : result<void>{};
  }

  /// Packs the tensor's rows from first_row on.
  result<void> pack(const gguf::tensor_info& info, std::size_t first_row, const nn::weight& w, std::span<std::byte> panels, values_check check) {
    const std::size_t panel_bytes = kernels::panel_rows * row_bytes(info.type, w.columns);
    const std::size_t chunk = std::max<std::size_t>(1, (1 << 20) / panel_bytes);
    std::vector<result<void>> failures(executor_.concurrency());
    parallel_for(executor_, w.n_panels(), chunk, [&](std::size_t worker, std::size_t begin, std::size_t end) {
      aligned_buffer staging;
      for (std::size_t p = begin; p < end && failures[worker]; p += chunk) {
        failures[worker] = pack_panels(info, first_row, w, panels, p, std::min(end, p + chunk), staging, check);
      }
    });
    for (result<void>& f : failures) {
      if (!f) return std::move(f).error();
    }
    return {};
  }

  result<void> pack_panels(const gguf::tensor_info& info, std::size_t first_row, const nn::weight& w, std::span<std::byte> panels, std::size_t begin,
                           std::size_t end, aligned_buffer& staging, values_check check) const {
    const std::size_t row_size = row_bytes(info.type, w.columns), begin_row = kernels::panel_rows * begin, row = first_row + begin_row;
    const std::size_t n_rows = std::min(w.rows, kernels::panel_rows * end) - begin_row;
    if (staging.size() < n_rows * row_size) {
      CRIA_TRY(staging, aligned_buffer::allocate((end - begin) * kernels::panel_rows * row_size));
    }
    CRIA_CHECK(file_.read(info, std::uint64_t{row} * row_size, staging.span().first(n_rows * row_size)));
    if (check == values_check::finite) {
      const std::size_t row_blocks = w.columns / find_tensor_type(w.type)->block_size;
      if (const auto bad = first_non_finite(w.type, staging.data(), n_rows * row_blocks)) {
        const std::size_t block = row * row_blocks + *bad;
        return error{errc::non_finite, info.name, "block " + std::to_string(block) + " (row " + std::to_string(block / row_blocks) + ") holds inf or NaN",
                     info.offset + block * (row_size / row_blocks)};
      }
    }
    kernels::pack(w.format, {.rows = staging.data(),
                             .n_rows = n_rows,
                             .k = w.columns,
                             .n_panels = end - begin,
                             .panels = panels.data() + begin_row * row_size});
    return {};
  }

  result<void> advance(const gguf::tensor_info& info) {
    done_ += info.size_bytes;
    if (stop_.stop_requested() || (progress_ && !progress_({done_, total_}))) return error{errc::cancelled, "load"};
    return {};
  }

  const gguf::file& file_;
  const kernels::kernel_table& kernels_;
  executor_ref executor_;
  const load_callback& progress_;
  stop_token stop_;
  std::vector<bool> is_used_;
  std::uint64_t done_ = 0, total_ = 0;
  checked_u64 matrix_bytes_ = 0;
  aligned_buffer matrices_;
  std::span<std::byte> free_;   // of matrices_
  bool reads_ = false;
};

}  // namespace cria::inline v0_1_0
