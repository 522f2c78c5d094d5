// SPDX-License-Identifier: MIT
// model/quantize.hpp - writes a GGUF file's model with other types: quantize_file("model-f16.gguf", "model-q4_k_m.gguf", {.type = file_type::q4_k_m}).
//
// Reads any file that gguf::file opens, in parts (the result is one file) or already quantised, as long as cria computes with its types. Rounding values that
// were rounded before loses more than rounding the original; the report says so (is_requantized).
// Ensures   Memory is bounded: some megabytes for each thread, whatever the size of the file or of a tensor. Every block depends only on its own values, so
//           the file is the same for any number of threads. The target appears whole or not at all (core/byte_sink.hpp). Keys are copied, and
//           general.file_type and general.quantization_version are set. Tensors keep their order.
// Errors    those of gguf::file::open, plan_quantization and gguf::writer; non_finite (a tensor holds inf or NaN, or a value too large for its new type);
//           bad_argument (the target is the source); io; cancelled. The target is then as it was.
// Threads   computes on the executor; reads there, writes and calls back on the calling thread
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/byte_sink.hpp>
#include <cria/core/executor.hpp>
#include <cria/core/result.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/gguf/file.hpp>
#include <cria/gguf/split.hpp>
#include <cria/gguf/writer.hpp>
#include <cria/model/quantize_plan.hpp>
#include <cria/quant/finite.hpp>
#include <cria/quant/format.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// What was done, tensor by tensor, in the order of the file.
struct quantize_report {
  std::vector<planned_tensor> tensors;

  [[nodiscard]] std::uint64_t source_bytes() const noexcept { return sum(&planned_tensor::from_bytes); }
  [[nodiscard]] std::uint64_t target_bytes() const noexcept { return sum(&planned_tensor::to_bytes); }
  [[nodiscard]] std::uint64_t elements() const noexcept { return sum(&planned_tensor::elements); }

 private:
  [[nodiscard]] std::uint64_t sum(std::uint64_t planned_tensor::*field) const noexcept {
    return std::accumulate(tensors.begin(), tensors.end(), std::uint64_t{0}, [&](std::uint64_t total, const planned_tensor& t) { return total + t.*field; });
  }
};

namespace detail {

/// Converts tensors piece by piece. A piece is a run of blocks: rows do not matter, since all types that a tensor can have divide its rows.
class tensor_converter {
 public:
  tensor_converter(const gguf::file& file, gguf::writer& out, executor_ref executor) : file_(file), out_(out), executor_(executor) {}

  [[nodiscard]] result<void> prepare() {
    const std::size_t n = executor_.concurrency();
    workers_.resize(n);
    for (scratch& s : workers_) {
      CRIA_TRY(s.values, array_buffer<float>::allocate(piece_elements));
      CRIA_TRY(s.blocks, aligned_buffer::allocate(piece_elements * sizeof(double)));
    }
    CRIA_TRY(converted_, aligned_buffer::allocate(n * pieces_per_worker * piece_elements * sizeof(double)));
    return {};
  }

  /// Writes the tensor; `advance` hears how many of the source's bytes are behind, and may fail.
  template <class F>
  [[nodiscard]] result<void> convert(const gguf::tensor_info& info, tensor_type to, F&& advance) {
    const block_pair blocks{*find_tensor_type(info.type), *find_tensor_type(to)};
    const std::uint64_t at_once = executor_.concurrency() * pieces_per_worker * piece_elements;
    for (std::uint64_t first = 0; first < info.elements; first += at_once) {
      const auto n = static_cast<std::size_t>(std::min(at_once, info.elements - first));
      CRIA_CHECK(convert_some(info, blocks, first, n));
      CRIA_CHECK(out_.write(converted_.span().first(blocks.to.bytes(n))));
      CRIA_CHECK(advance(blocks.from.bytes(n)));
    }
    return {};
  }

 private:
  static constexpr std::size_t piece_elements = 32'768;    // a multiple of every block size
  static constexpr std::size_t pieces_per_worker = 16;

  struct scratch {
    array_buffer<float> values;
    aligned_buffer blocks;
    result<void> outcome;
  };

  /// A type's block, and the bytes of so many elements.
  struct block {
    block(const tensor_type_info& info) noexcept : type(info.type), size(info.block_size), size_bytes(info.block_bytes) {}
    [[nodiscard]] std::size_t bytes(std::size_t elements) const noexcept { return elements / size * size_bytes; }
    tensor_type type;
    std::size_t size, size_bytes;
  };
  struct block_pair {
    block from, to;
  };

  /// Fills converted_ with elements `first` and following.
  [[nodiscard]] result<void> convert_some(const gguf::tensor_info& info, const block_pair& blocks, std::uint64_t first, std::size_t n) {
    for (scratch& s : workers_) s.outcome = {};
    parallel_for(executor_, n, piece_elements, [&](std::size_t worker, std::size_t begin, std::size_t end) {
      scratch& s = workers_[worker];
      for (std::size_t at = begin; at < end && s.outcome; at += piece_elements) {
        const std::size_t count = std::min(end - at, piece_elements);
        s.outcome = convert_piece(info, blocks, s, first + at, converted_.span().subspan(blocks.to.bytes(at), blocks.to.bytes(count)), count);
      }
    });
    for (scratch& s : workers_) CRIA_CHECK(std::move(s.outcome));
    return {};
  }

  [[nodiscard]] result<void> convert_piece(const gguf::tensor_info& info, const block_pair& blocks, scratch& s, std::uint64_t first, std::span<std::byte> out,
                                           std::size_t n) const {
    const bool is_copy = blocks.from.type == blocks.to.type;
    const auto source = is_copy ? out : s.blocks.span().first(blocks.from.bytes(n));
    const std::uint64_t offset = first / blocks.from.size * blocks.from.size_bytes;
    CRIA_CHECK(file_.read(info, offset, source));
    if (const auto bad = first_non_finite(blocks.from.type, source.data(), n / blocks.from.size)) {
      return error{errc::non_finite, printable(info.name), "block " + std::to_string(first / blocks.from.size + *bad) + " holds inf or NaN",
                   info.offset + offset + *bad * blocks.from.size_bytes};
    }
    if (is_copy) return {};
    const auto values = s.values.span().first(n);
    static_cast<void>(dequantize_row(blocks.from.type, source.data(), values));
    static_cast<void>(quantize_row(blocks.to.type, values, out.data()));
    if (const auto bad = first_non_finite(blocks.to.type, out.data(), n / blocks.to.size)) {
      return error{errc::non_finite, printable(info.name),
                   "block " + std::to_string(first / blocks.to.size + *bad) + " has values too large for " + std::string(name(blocks.to.type)), info.offset};
    }
    return {};
  }

  const gguf::file& file_;
  gguf::writer& out_;
  executor_ref executor_;
  std::vector<scratch> workers_;
  aligned_buffer converted_;
};

[[nodiscard]] inline result<void> declare(gguf::writer& out, const gguf::file& file, file_type type, std::span<const planned_tensor> plan) {
  CRIA_CHECK(out.copy(file.metadata()));
  CRIA_CHECK(out.set("general.quantization_version", std::uint32_t{2}));
  CRIA_CHECK(out.set("general.file_type", static_cast<std::uint32_t>(type)));
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const gguf::tensor_info& t = file.tensors()[i];
    CRIA_CHECK(out.add_tensor(t.name, plan[i].to, std::span(t.shape).first(t.rank)));
  }
  return {};
}

[[nodiscard]] inline result<quantize_report> quantize_to(const gguf::file& file, std::unique_ptr<byte_sink> sink, const quantize_options& options,
                                                         std::vector<planned_tensor> plan) {
  if (options.n_threads > thread_pool::max_threads) return error{errc::bad_argument, "n_threads", "is too large"};
  std::optional<thread_pool> pool;
  if (!options.executor) pool.emplace(options.n_threads);
  gguf::writer out;
  CRIA_CHECK(declare(out, file, options.type, plan));
  tensor_converter converter(file, out, options.executor ? *options.executor : executor_ref(*pool));
  CRIA_CHECK(converter.prepare());
  CRIA_CHECK(out.open(std::move(sink)));
  quantize_report report{std::move(plan)};
  quantize_progress progress{{}, 0, report.tensors.size(), 0, report.source_bytes()};
  const auto advance = [&](std::uint64_t bytes) -> result<void> {
    progress.done_bytes += bytes;
    const bool goes_on = !options.stop.stop_requested() && (!options.progress || options.progress(progress));
    return goes_on ? result<void>{} : error{errc::cancelled, "quantize"};
  };
  for (std::size_t i = 0; i < report.tensors.size(); ++i) {
    progress.tensor = report.tensors[i].name;
    progress.n_tensors_done = i;
    CRIA_CHECK(advance(0));
    CRIA_CHECK(converter.convert(file.tensors()[i], report.tensors[i].to, advance));
  }
  CRIA_CHECK(out.commit());
  return report;
}

/// Fails where the target is one of the files that the model is read from.
[[nodiscard]] inline result<void> check_not_source(const std::filesystem::path& source, std::size_t n_parts, const std::filesystem::path& target) {
  for (std::size_t i = 0; i < n_parts; ++i) {
    const auto part =
        n_parts == 1 ? result<std::filesystem::path>(source) : gguf::part_path(source, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(n_parts));
    std::error_code ignored;
    if (part && std::filesystem::equivalent(*part, target, ignored)) {
      return error{errc::bad_argument, detail::printable_name(path_text(target)), "is the file that the model is read from"};
    }
  }
  return {};
}

}  // namespace detail

/// Writes the quantised model to a sink, and commits it.
[[nodiscard]] result<quantize_report> quantize(const gguf::file& file, std::unique_ptr<byte_sink> sink, const quantize_options& options = {});

/// Writes the quantised model at `source` (for a model in several parts: the first one) to `target`, which is replaced at the end.
[[nodiscard]] result<quantize_report> quantize_file(const std::filesystem::path& source, const std::filesystem::path& target,
                                                           const quantize_options& options = {});

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<quantize_report> quantize(const gguf::file& file, std::unique_ptr<byte_sink> sink, const quantize_options& options) {
  return catch_bad_alloc([&]() -> result<quantize_report> {
    CRIA_TRY(auto plan, plan_quantization(file, options));
    return detail::quantize_to(file, std::move(sink), options, std::move(plan));
  }, "quantize");
}

CRIA_INLINE result<quantize_report> quantize_file(const std::filesystem::path& source, const std::filesystem::path& target,
                                                           const quantize_options& options) {
  return catch_bad_alloc([&]() -> result<quantize_report> {
    CRIA_TRY(const gguf::file file, gguf::file::open(source, options.limits));
    CRIA_CHECK(detail::check_not_source(source, file.part_count(), target));
    CRIA_TRY(auto plan, plan_quantization(file, options));
    CRIA_TRY(auto sink, replace_file(target));
    return detail::quantize_to(file, std::move(sink), options, std::move(plan));
  }, "quantize");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
