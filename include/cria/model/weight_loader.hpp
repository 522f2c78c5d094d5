// SPDX-License-Identifier: MIT
// model/weight_loader.hpp - from tensors in a file to packed weights: reads, checks and packs them on all threads.
//
// Requires  a file that was opened (its tensors lie inside it)
// Ensures   Takes at most one staging buffer of about 1 MiB for each thread, and one for the longest vector, besides the result. Nothing of the file stays
//           mapped. The result is read-only memory if the system grants it, so that a stray write into a weight faults instead of giving another text.
//           A loader reads no bytes before start_reading(): the whole model is checked before its first tensor is read. All weights lie in one piece of
//           memory, so that a thousand small vectors take no page each, and matrices lie in huge pages (nn/weight.hpp).
// Errors    missing_tensor, bad_shape, unsupported_type, non_finite, bad_value, io, truncated, out_of_memory: `where` is the tensor, or "tensors" for all;
//           limit_exceeded of "tensors" (padding); cancelled of "load"
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
#include <utility>
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

/// Each matrix and each vector begins at a multiple of this many bytes.
inline constexpr std::size_t weight_alignment = 64;

/// Returns how many bytes a tensor takes once it is loaded: vectors and biases, also those of experts, are floats, padded to a multiple of 16; the rows of a
/// matrix are padded to a multiple of 16. Nothing if that exceeds 2^64.
[[nodiscard]] inline std::optional<std::uint64_t> loaded_bytes(const gguf::tensor_info& t) noexcept {
  if (t.elements == 0) return 0;
  const std::uint64_t rows = t.shape[1], all_rows = t.elements / t.shape[0], row = t.size_bytes / all_rows;
  if (all_rows == 1 || t.name.ends_with(".bias")) return (checked_u64(t.shape[0]).rounded_up(kernels::panel_rows) * sizeof(float) * all_rows).get();
  return ((checked_u64(rows).rounded_up(kernels::panel_rows) * row).rounded_up(weight_alignment) * (all_rows / rows)).get();
}

/// Fails if padding would blow up a small file, such as one with thousands of experts of one row each: if so many bytes are more than 16 MiB and four times
/// those of the file's tensors. No real model comes near.
[[nodiscard]] inline result<void> check_padding(const gguf::file& file, const checked_u64& loaded) {
  checked_u64 granted = std::uint64_t{16} << 20;
  for (const gguf::tensor_info& t : file.tensors()) granted = granted + checked_u64(4) * t.size_bytes;
  if (loaded.get() && (!granted.get() || *loaded.get() <= *granted.get())) return {};
  return error{errc::limit_exceeded, "tensors", "would take more than four times their size: their rows are too few, or their matrices too many and too small"};
}

/// The same from the shapes alone, with what describes each matrix.
[[nodiscard]] inline result<void> check_loaded_bytes(const gguf::file& file) {
  checked_u64 loaded = 0;
  for (const gguf::tensor_info& t : file.tensors()) {
    const auto bytes = loaded_bytes(t);
    loaded = bytes ? loaded + *bytes + checked_u64(t.shape[2]) * sizeof(nn::weight) : checked_u64(1) / 0;
  }
  return check_padding(file, loaded);
}

/// Is asked for every tensor of a model twice: first it checks that they exist and have the right shapes and types, and returns empty ones; then, after
/// start_reading(), it loads them.
class weight_loader {
 public:
  weight_loader(const gguf::file& file, const kernels::kernel_table& kernels, executor_ref executor, const load_callback& progress, stop_token stop)
      : file_(file), kernels_(kernels), executor_(executor), progress_(progress), stop_(std::move(stop)), is_used_(file.tensors().size()) {}

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

  /// Allocates the memory of all weights that have been asked for. What is asked for from now on, which must be the same, is loaded into it.
  result<void> start_reading() {
    CRIA_CHECK(check_padding(file_, needed_));
    const auto needed = needed_.get();
    if (!needed || *needed > std::numeric_limits<std::size_t>::max()) return error{errc::out_of_memory, "tensors", "are larger than the address space"};
    CRIA_TRY(memory_, named("tensors", aligned_buffer::allocate(static_cast<std::size_t>(*needed))));
    free_ = memory_.span();
    for (std::size_t i = 0; i < is_used_.size(); ++i) total_ += is_used_[i] ? file_.tensors()[i].size_bytes : 0;
    reads_ = true;
    return {};
  }
  /// Returns the memory in which all weights lie, read-only. If the system refuses that, for example because the process has too many maps, it stays
  /// writable, and works as well. Requires that all have been loaded.
  [[nodiscard]] aligned_buffer take_memory() noexcept {
    static_cast<void>(memory_.make_read_only());
    return std::move(memory_);
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

  /// Returns n numbers as floats; zeros follow them up to a multiple of 16.
  result<std::span<const float>> vector(const std::string& name, std::size_t n, values_check check = values_check::none) {
    CRIA_TRY(const gguf::tensor_info* info, checked(name, n, 1));
    const std::span<float> values = take_floats(n);
    if (!reads_) return values;
    CRIA_CHECK(read_vector(*info, values));
    for (std::size_t i = 0; i < n && check != values_check::none; ++i) {
      if (!std::isfinite(values[i])) return error{errc::non_finite, name, "value " + std::to_string(i) + " is inf or NaN", info->offset};
      if (check == values_check::positive && !(values[i] > 0)) {
        return error{errc::bad_value, name, "value " + std::to_string(i) + " is not above zero", info->offset};
      }
    }
    return values;
  }

  /// Returns n zeros, for a vector that the equations want and the file does not have.
  [[nodiscard]] std::span<const float> zeros(std::size_t n) noexcept { return take_floats(n); }

  /// Returns the rows as they are in the file.
  result<std::span<const std::byte>> raw_rows(const std::string& name, std::size_t rows, std::size_t columns, tensor_type& type) {
    CRIA_TRY(const gguf::tensor_info* info, checked(name, columns, rows));
    type = info->type;
    const std::span<std::byte> bytes = take(info->size_bytes);
    if (!reads_) return bytes;
    CRIA_CHECK(file_.read(*info, 0, bytes));
    CRIA_CHECK(advance(*info));
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
    if (parts.size() == 1) {
      CRIA_TRY(parts.front().to->bias, vector(name, parts.front().rows));
      return {};
    }
    CRIA_TRY(const gguf::tensor_info* info, checked(name, rows_of(parts), 1));
    array_buffer<float> joined;
    if (reads_) {
      CRIA_TRY(joined, named(name, array_buffer<float>::allocate(rows_of(parts))));
      CRIA_CHECK(read_vector(*info, joined.span()));
    }
    const float* from = joined.data();
    for (const part& p : parts) {
      const std::span<float> bias = take_floats(p.rows);
      p.to->bias = bias;
      if (!reads_) continue;
      std::copy_n(from, p.rows, bias.data());
      from += p.rows;
    }
    return {};
  }

  /// The same of experts, whose biases are the rows of a tensor.
  result<void> expert_biases(const std::string& name, std::size_t rows, std::span<const part> experts) {
    if (find(name) == nullptr) return {};
    CRIA_TRY(const gguf::tensor_info* info, checked(name, rows, experts.size()));
    if (reads_) CRIA_CHECK(stage(*info));
    for (std::size_t i = 0; i < experts.size(); ++i) {
      const std::span<float> bias = take_floats(rows);
      experts[i].to->bias = bias;
      if (reads_) static_cast<void>(dequantize_row(info->type, staging_.data() + i * row_bytes(info->type, rows), bias));
    }
    return reads_ ? advance(*info) : result<void>{};
  }

  /// Reads a tensor of one row.
  result<void> read_vector(const gguf::tensor_info& info, std::span<float> out) {
    CRIA_CHECK(stage(info));
    static_cast<void>(dequantize_row(info.type, staging_.data(), out));
    return advance(info);
  }

  /// Reads a tensor as it is in the file into `staging_`.
  result<void> stage(const gguf::tensor_info& info) {
    const auto n = static_cast<std::size_t>(info.size_bytes);
    if (staging_.size() < n) {
      CRIA_TRY(staging_, named(std::string(info.name), aligned_buffer::allocate(n)));
    }
    return file_.read(info, 0, staging_.span().first(n));
  }

  /// Takes n bytes of zeros of the memory of all weights; before start_reading() it counts them, and returns none.
  [[nodiscard]] std::span<std::byte> take(std::uint64_t n) noexcept {
    if (!reads_) return needed_ = (needed_ + n).rounded_up(weight_alignment), std::span<std::byte>();
    const std::size_t size = static_cast<std::size_t>(n), with_padding = round_up(size, weight_alignment);
    CRIA_ASSERT(with_padding <= free_.size());
    const std::span<std::byte> taken = free_.first(size);
    free_ = free_.subspan(with_padding);
    return taken;
  }
  /// The same for n floats and the zeros behind them.
  [[nodiscard]] std::span<float> take_floats(std::size_t n) noexcept {
    const std::span<std::byte> bytes = take(std::uint64_t{round_up(n, kernels::panel_rows)} * sizeof(float));
    return {reinterpret_cast<float*>(bytes.data()), bytes.empty() ? 0 : n};
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
      const std::span<std::byte> panels = take(w.packed_bytes());
      w.panels = panels;
      if (!reads_) continue;
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
  checked_u64 needed_ = 0;
  aligned_buffer memory_, staging_;
  std::span<std::byte> free_;   // of memory_
  bool reads_ = false;
};

}  // namespace cria::inline v0_1_0
