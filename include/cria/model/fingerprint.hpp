// SPDX-License-Identifier: MIT
// model/fingerprint.hpp - a number that identifies the model in a file, for what is kept between runs, such as a session's cache.
//
// It covers what the numbers in a cache depend on: the keys of the architecture and the tokenizer, every tensor's name, type and shape, and bytes from all over
// each tensor. It leaves out what may change without changing the model: names, authors, the chat template, and the parts, padding and order of tensors.
// Ensures   The same for the same model on every machine. Two fine-tunings differ; a change of a few bytes in the middle of a tensor may go unnoticed.
// Errors    io
// Threads   pure function
#pragma once

#include <cria/core/checksum.hpp>
#include <cria/core/result.hpp>
#include <cria/gguf/file.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0 {

namespace detail {

inline constexpr std::uint64_t fingerprint_pieces = 8;   ///< of a tensor
using fingerprint_piece = std::array<std::byte, 64>;

/// Returns the checksum of one tensor: its description and pieces spread from its first byte to its last.
[[nodiscard]] inline result<std::uint64_t> tensor_fingerprint(const gguf::file& file, const gguf::tensor_info& t) {
  checksum64 sum;
  sum.update(static_cast<std::uint64_t>(t.name.size()));
  sum.update(t.name);
  sum.update(static_cast<std::uint32_t>(t.type));
  for (const std::uint64_t n : std::span(t.shape).first(t.rank)) sum.update(n);
  fingerprint_piece piece{};
  const std::uint64_t length = std::min<std::uint64_t>(piece.size(), t.size_bytes), last = t.size_bytes - length;
  for (std::uint64_t i = 0; i < fingerprint_pieces; ++i) {
    const std::uint64_t begin = last / (fingerprint_pieces - 1) * i + last % (fingerprint_pieces - 1) * i / (fingerprint_pieces - 1);
    CRIA_CHECK(file.read(t, begin, std::span(piece).first(static_cast<std::size_t>(length))));
    sum.update(std::span(piece).first(static_cast<std::size_t>(length)));
    if (last == 0) break;
  }
  return sum.value();
}

/// Returns whether the model's numbers or tokens depend on this key.
[[nodiscard]] inline bool is_fingerprinted(std::string_view key, std::string_view architecture) noexcept {
  if (key == "general.architecture" || key.starts_with("adapter.")) return true;   // an adapter's alpha scales it
  if (key.starts_with("tokenizer.")) return !key.starts_with("tokenizer.chat_template");
  return key.size() > architecture.size() && key.starts_with(architecture) && key[architecture.size()] == '.';
}

}  // namespace detail

/// Returns the fingerprint of the model in a file; reads half a kilobyte of each tensor.
[[nodiscard]] inline result<std::uint64_t> fingerprint_of(const gguf::file& file) {
  std::uint64_t all = 0;   // a sum: the order of keys and tensors does not matter
  const std::string_view architecture = file.metadata().get_or<std::string_view>("general.architecture", {}).value_or(std::string_view{});
  for (const gguf::entry& e : file.metadata()) {
    if (!detail::is_fingerprinted(e.key, architecture)) continue;
    checksum64 sum(1);
    sum.update(static_cast<std::uint64_t>(e.key.size()));
    sum.update(e.key);
    sum.update(static_cast<std::uint32_t>(e.v.type()));
    sum.update(e.v.bytes());
    all += sum.value();
  }
  for (const gguf::tensor_info& t : file.tensors()) {
    CRIA_TRY(const std::uint64_t one, detail::tensor_fingerprint(file, t));
    all += one;
  }
  return all;
}

}  // namespace cria::inline v0_1_0
