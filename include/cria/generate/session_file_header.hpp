// SPDX-License-Identifier: MIT
// generate/session_file_header.hpp - the beginning of a session file: whose session it is, and how long every part of the file is.
//
//   byte 0 magic "criaSESS" | 8 version u32 | 12 cache type u32 | 16 precision u32 | 20 sections u32 | 24 model's fingerprint u64
//   32 layers, 40 kv heads, 48 head_dim, 56 vocabulary, 64 bytes of a position of a head, 72 tokens, 80 logits, 88 sampler words,
//   96 bytes of the sections, 104 bytes of the file | 112 checksum of what stands before: all u64
//   120 tokens i32 | logits f32 | sampler words u64 | sections | cache [layer][kv head][token] | checksum of all before it
//   a section: bytes of its name u32, bytes of its content u64, name, content
//
// Units     bytes; all numbers little-endian
// Ensures   parse: every length was added up without wrapping, and they make exactly the file
// Errors    bad_magic, unsupported_version, truncated, bad_value (checksum, lengths)
// Threads   pure functions
#pragma once

#include <cria/core/checked.hpp>
#include <cria/core/checksum.hpp>
#include <cria/core/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace cria::inline v0_1_0::detail {

struct session_file_header {
  static constexpr std::array<char, 8> magic = {'c', 'r', 'i', 'a', 'S', 'E', 'S', 'S'};
  static constexpr std::uint32_t version = 1;
  static constexpr std::size_t bytes = 120;
  static constexpr std::size_t checksum_bytes = 8;
  static constexpr std::size_t section_header_bytes = 12;   ///< before the name

  std::uint32_t cache_type = 0;
  std::uint32_t precision = 0;
  std::uint32_t n_sections = 0;
  std::uint64_t fingerprint = 0;
  std::uint64_t n_layers = 0;
  std::uint64_t n_kv_heads = 0;
  std::uint64_t head_dim = 0;
  std::uint64_t vocab_size = 0;
  std::uint64_t position_bytes = 0;
  std::uint64_t n_tokens = 0;
  std::uint64_t n_logits = 0;
  std::uint64_t n_sampler_words = 0;
  std::uint64_t sections_bytes = 0;
  std::uint64_t file_bytes = 0;

  /// Returns what the lengths add up to.
  [[nodiscard]] checked_u64 expected_bytes() const noexcept { return begin_of_cache() + cache_bytes() + checked_u64(checksum_bytes); }
  [[nodiscard]] checked_u64 cache_bytes() const noexcept {
    return checked_u64(n_layers) * checked_u64(n_kv_heads) * checked_u64(n_tokens) * checked_u64(position_bytes);
  }
  [[nodiscard]] checked_u64 begin_of_cache() const noexcept {
    return checked_u64(bytes) + checked_u64(n_tokens) * checked_u64(4) + checked_u64(n_logits) * checked_u64(4) +
           checked_u64(n_sampler_words) * checked_u64(8) + checked_u64(sections_bytes);
  }

  [[nodiscard]] std::array<std::byte, bytes> store() const noexcept {
    std::array<std::byte, bytes> out{};
    std::memcpy(out.data(), magic.data(), magic.size());
    std::size_t at = magic.size();
    const auto put = [&](auto number) {
      const auto stored = store_le(number);
      std::memcpy(out.data() + at, stored.data(), stored.size());
      at += stored.size();
    };
    for (const std::uint32_t n : {version, cache_type, precision, n_sections}) put(n);
    for (const std::uint64_t n : {fingerprint, n_layers, n_kv_heads, head_dim, vocab_size, position_bytes, n_tokens, n_logits, n_sampler_words,
                                  sections_bytes, file_bytes}) {
      put(n);
    }
    put(checksum_of(std::span(out).first(bytes - checksum_bytes)));
    return out;
  }

  /// Reads the first bytes of a file of `size` bytes; `in` holds min(size, bytes) of them.
  [[nodiscard]] static result<session_file_header> parse(std::span<const std::byte> in, std::uint64_t size) {
    const auto refuse = [](errc code, std::string_view message, std::uint64_t offset) { return error{code, "session file", message, offset}; };
    if (std::memcmp(in.data(), magic.data(), std::min(in.size(), magic.size())) != 0) return refuse(errc::bad_magic, "is not a session file", 0);
    if (in.size() < bytes) return refuse(errc::truncated, "ends in its first " + std::to_string(bytes) + " bytes", size);
    const std::uint32_t found = load_le<std::uint32_t>(in.data() + magic.size());
    if (found != version) return refuse(errc::unsupported_version, "version " + std::to_string(found) + " is not " + std::to_string(version), magic.size());
    if (load_le<std::uint64_t>(in.data() + bytes - checksum_bytes) != checksum_of(in.first(bytes - checksum_bytes))) {
      return refuse(errc::bad_value, "its first bytes have changed since they were written", 0);
    }
    session_file_header h;
    byte_cursor cursor(in.subspan(magic.size() + sizeof version));
    for (std::uint32_t* n : {&h.cache_type, &h.precision, &h.n_sections}) *n = cursor.read<std::uint32_t>().value_or(0);
    for (std::uint64_t* n : {&h.fingerprint, &h.n_layers, &h.n_kv_heads, &h.head_dim, &h.vocab_size, &h.position_bytes, &h.n_tokens, &h.n_logits,
                             &h.n_sampler_words, &h.sections_bytes, &h.file_bytes}) {
      *n = cursor.read<std::uint64_t>().value_or(0);
    }
    if (h.expected_bytes().get() != h.file_bytes) return refuse(errc::bad_value, "its lengths contradict each other", magic.size());
    if (size < h.file_bytes) return refuse(errc::truncated, std::to_string(size) + " of " + std::to_string(h.file_bytes) + " bytes are there", size);
    if (size > h.file_bytes) return refuse(errc::bad_value, std::to_string(size - h.file_bytes) + " bytes stand behind its end", h.file_bytes);
    return h;
  }
};

}  // namespace cria::inline v0_1_0::detail
