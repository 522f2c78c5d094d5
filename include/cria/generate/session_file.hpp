// SPDX-License-Identifier: MIT
// generate/session_file.hpp - a session as a file: tokens, cache, last logits, the state of a sampler, and sections that the host adds by name.
//
//   cria::save_session(session, "talk.cria", {.sampler = sampler.save(), .sections = {{"conversation", bytes}}});
//   auto file = cria::session_file::open("talk.cria", session);
//   if (file) file->restore(session, sampler);
//
// Ensures   After restore() the session continues with the same bits as after save_session(), even with another number of threads or a longer context.
//           The token that a generation chose last is not in the cache yet: a host that continues the text keeps it as well (examples/recipes does).
//           A file is written whole or not at all. open() changes nothing and has checked everything when it returns; restore() changes all or nothing.
//           Reading takes no more memory than the file of this session would have, and sections up to a limit.
// Errors    save: io, bad_argument (sections; another call is using the session), out_of_memory
//           open: io, bad_magic, unsupported_version, truncated, bad_value (altered), mismatch (another model, precision or type of cache),
//           context_full (more tokens than the session holds), limit_exceeded, non_finite, out_of_memory
// Threads   those of the session
// Source    layout: session_file_header.hpp. The checksum detects accidents, not intent; whatever a file contains, values are checked before they are used.
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/byte_sink.hpp>
#include <cria/core/byte_source.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/checksum.hpp>
#include <cria/core/result.hpp>
#include <cria/generate/session.hpp>
#include <cria/generate/session_file_header.hpp>
#include <cria/sampling/runtime_sampler.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Bytes of the host, which it finds again by name.
struct session_section {
  std::string name;               ///< 1 to 255 bytes, different from the names of other sections
  std::vector<std::byte> bytes;
};

/// What is saved with the session.
struct session_extras {
  sampler_state sampler = {};     ///< from runtime_sampler::save(); empty if the host keeps no sampler
  std::vector<session_section> sections = {};
};

/// What a session file may have beside the session: more is limit_exceeded.
struct session_file_limits {
  std::uint32_t sections = 256;
  std::uint64_t section_bytes = std::uint64_t{64} << 20;   ///< all sections together
  std::uint64_t sampler_words = std::uint64_t{1} << 23;
};

namespace detail {

/// Writes to a sink and keeps a checksum of what was written.
class summed_sink {
 public:
  explicit summed_sink(byte_sink& sink) : sink_(sink) {}

  [[nodiscard]] result<void> write(std::span<const std::byte> bytes) {
    sum_.update(bytes);
    return sink_.write(bytes);
  }
  template <class T>
  [[nodiscard]] result<void> write_all(std::span<const T> numbers) {
    for (const T n : numbers) CRIA_CHECK(write(store_le(n)));
    return {};
  }
  [[nodiscard]] result<void> finish() {
    CRIA_CHECK(sink_.write(store_le(sum_.value())));
    return sink_.commit();
  }

 private:
  byte_sink& sink_;
  checksum64 sum_;
};

[[nodiscard]] inline result<void> check_sections(std::span<const session_section> sections) {
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const std::string& name = sections[i].name;
    if (name.empty() || name.size() > 255) return error{errc::bad_argument, "sections", "a name needs 1 to 255 bytes"};
    for (const session_section& other : sections.first(i)) {
      if (other.name == name) return error{errc::bad_argument, "sections", "two are called " + printable(name)};
    }
  }
  return {};
}

/// Returns the header of the file that this session would write, without the extras.
template <saved_kv_cache Cache>
[[nodiscard]] session_file_header header_of(const basic_session<Cache>& source) noexcept {
  const kv_shape shape = source.cache().shape();
  session_file_header h;
  h.cache_type = static_cast<std::uint32_t>(Cache::type);
  h.precision = static_cast<std::uint32_t>(source.model().precision());
  h.fingerprint = source.fingerprint();
  h.n_layers = shape.n_layers;
  h.n_kv_heads = shape.n_kv_heads;
  h.head_dim = shape.head_dim;
  h.vocab_size = source.model().vocab_size();
  h.position_bytes = source.cache().position_bytes();
  h.n_tokens = source.length();
  h.n_logits = source.logits().size();
  return h;
}

template <saved_kv_cache Cache>
[[nodiscard]] result<void> write_positions(const Cache& cache, summed_sink& out) {
  constexpr std::size_t at_once = std::size_t{1} << 18;
  const kv_shape shape = cache.shape();
  const std::size_t n = std::clamp<std::size_t>(at_once / cache.position_bytes(), 1, std::max<std::size_t>(1, cache.length()));
  std::vector<std::byte> buffer(n * cache.position_bytes());
  for (std::size_t i = 0; i < shape.n_layers * shape.n_kv_heads; ++i) {
    for (std::size_t first = 0; first < cache.length(); first += n) {
      const std::size_t n_now = std::min(n, cache.length() - first);
      const std::span<std::byte> part = std::span(buffer).first(n_now * cache.position_bytes());
      cache.export_positions({{i / shape.n_kv_heads, i % shape.n_kv_heads}, first, n_now}, part);
      CRIA_CHECK(out.write(part));
    }
  }
  return {};
}

template <saved_kv_cache Cache>
[[nodiscard]] result<void> write_session(const basic_session<Cache>& source, byte_sink& sink, const session_extras& extras) {
  CRIA_CHECK(check_sections(extras.sections));
  CRIA_TRY([[maybe_unused]] const auto use, source.state_->look());
  session_file_header h = header_of(source);
  h.n_sections = static_cast<std::uint32_t>(extras.sections.size());
  h.n_sampler_words = extras.sampler.size();
  for (const session_section& s : extras.sections) h.sections_bytes += session_file_header::section_header_bytes + s.name.size() + s.bytes.size();
  h.file_bytes = h.expected_bytes().get().value_or(0);
  summed_sink out(sink);
  CRIA_CHECK(out.write(h.store()));
  CRIA_CHECK(out.write_all(source.tokens()));
  CRIA_CHECK(out.write_all(source.logits()));
  CRIA_CHECK(out.write_all(std::span<const std::uint64_t>(extras.sampler)));
  for (const session_section& s : extras.sections) {
    CRIA_CHECK(out.write(store_le(static_cast<std::uint32_t>(s.name.size()))));
    CRIA_CHECK(out.write(store_le(static_cast<std::uint64_t>(s.bytes.size()))));
    CRIA_CHECK(out.write(std::as_bytes(std::span(s.name))));
    CRIA_CHECK(out.write(s.bytes));
  }
  CRIA_CHECK(write_positions(source.cache(), out));
  return out.finish();
}

}  // namespace detail

/// Writes the session to a sink, and commits it.
template <saved_kv_cache Cache>
[[nodiscard]] result<void> save_session(const basic_session<Cache>& source, byte_sink& sink, const session_extras& extras = {}) {
  return catch_bad_alloc([&] { return detail::write_session(source, sink, extras); }, "save_session");
}

/// Writes the session to a file, which replaces one that exists.
template <saved_kv_cache Cache>
[[nodiscard]] result<void> save_session(const basic_session<Cache>& source, const std::filesystem::path& path, const session_extras& extras = {}) {
  CRIA_TRY(const auto sink, replace_file(path));
  return save_session(source, *sink, extras);
}

/// The contents of a session file, read and checked against a session. The file itself is no longer needed.
class session_file {
 public:
  /// Reads a file and checks that a session like `target` has written it.
  template <saved_kv_cache Cache>
  [[nodiscard]] static result<session_file> open(const byte_source& source, const basic_session<Cache>& target, const session_file_limits& limits = {}) {
    return catch_bad_alloc([&]() -> result<session_file> {
      session_file f;
      const std::uint64_t size = source.size();
      std::byte first[detail::session_file_header::bytes];
      const std::span<std::byte> read = std::span(first).first(static_cast<std::size_t>(std::min<std::uint64_t>(size, sizeof first)));
      CRIA_CHECK(source.read_at(0, read));
      CRIA_TRY(f.header_, detail::session_file_header::parse(read, size));
      CRIA_CHECK(f.check_belongs_to(target));
      CRIA_CHECK(f.check_limits(limits));
      CRIA_CHECK(f.read_body(source));
      return f;
    }, "session_file");
  }
  template <saved_kv_cache Cache>
  [[nodiscard]] static result<session_file> open(const std::filesystem::path& path, const basic_session<Cache>& target,
                                                 const session_file_limits& limits = {}) {
    CRIA_TRY(const auto source, open_file(path));
    return open(*source, target, limits);
  }

  [[nodiscard]] std::span<const token_id> tokens() const noexcept { return tokens_; }
  /// Returns the state for runtime_sampler::restore(); empty if no sampler was saved.
  [[nodiscard]] const sampler_state& sampler() const noexcept { return sampler_; }
  [[nodiscard]] std::span<const session_section> sections() const noexcept { return sections_; }
  /// Returns the section of that name, or nullptr.
  [[nodiscard]] const session_section* find_section(std::string_view name) const noexcept {
    const auto found = std::find_if(sections_.begin(), sections_.end(), [&](const session_section& s) { return s.name == name; });
    return found == sections_.end() ? nullptr : &*found;
  }

  /// Makes `target` continue where the saved session was. Errors: mismatch, context_full, out_of_memory, bad_argument (in use); they change nothing.
  template <saved_kv_cache Cache>
  [[nodiscard]] result<void> restore(basic_session<Cache>& target) const {
    return catch_bad_alloc([&]() -> result<void> {
      CRIA_CHECK(check_belongs_to(target));
      return target.restore({tokens_, logits_, positions()});
    }, "session_file");
  }

  /// As above, and restores a sampler, which must have the config of the saved one.
  template <saved_kv_cache Cache>
  [[nodiscard]] result<void> restore(basic_session<Cache>& target, runtime_sampler& sampler) const {
    return catch_bad_alloc([&]() -> result<void> {
      runtime_sampler restored = sampler;
      CRIA_CHECK(restored.restore(sampler_));
      CRIA_CHECK(restore(target));
      sampler = std::move(restored);
      return {};
    }, "session_file");
  }

 private:
  session_file() = default;

  [[nodiscard]] static error refuse(errc code, std::string_view message, std::uint64_t offset = error::no_offset) {
    return {code, "session file", message, offset};
  }

  template <saved_kv_cache Cache>
  [[nodiscard]] result<void> check_belongs_to(const basic_session<Cache>& target) const {
    const detail::session_file_header& h = header_;
    const detail::session_file_header own = detail::header_of(target);
    if (h.cache_type != own.cache_type) return refuse(errc::mismatch, "is not of a session with a cache of type " + std::string(name(Cache::type)));
    if (h.fingerprint != own.fingerprint) return refuse(errc::mismatch, "is of another model or other adapters");
    if (h.precision != own.precision) {
      return refuse(errc::mismatch, "is not of a model opened with precision " + std::string(name(target.model().precision())));
    }
    if (h.n_layers != own.n_layers || h.n_kv_heads != own.n_kv_heads || h.head_dim != own.head_dim || h.vocab_size != own.vocab_size ||
        h.position_bytes != own.position_bytes) {
      return refuse(errc::mismatch, "has a cache of another shape");
    }
    if (h.n_tokens > target.capacity()) {
      return refuse(errc::context_full, std::to_string(h.n_tokens) + " tokens do not fit a context of " + std::to_string(target.capacity()));
    }
    return {};
  }

  [[nodiscard]] result<void> check_limits(const session_file_limits& limits) const {
    const detail::session_file_header& h = header_;
    if (h.n_logits != 0 && (h.n_logits != h.vocab_size || h.n_tokens == 0)) return refuse(errc::bad_value, std::to_string(h.n_logits) + " logits");
    if (h.n_sections > limits.sections) return refuse(errc::limit_exceeded, std::to_string(h.n_sections) + " sections");
    if (h.sections_bytes > limits.section_bytes) return refuse(errc::limit_exceeded, "sections of " + std::to_string(h.sections_bytes) + " bytes");
    if (h.n_sampler_words > limits.sampler_words) return refuse(errc::limit_exceeded, "a sampler of " + std::to_string(h.n_sampler_words) + " words");
    if (h.file_bytes > std::numeric_limits<std::size_t>::max()) return refuse(errc::out_of_memory, std::to_string(h.file_bytes) + " bytes");
    return {};
  }

  /// Reads what the header announces.
  [[nodiscard]] result<void> read_body(const byte_source& source) {
    const detail::session_file_header& h = header_;
    constexpr std::size_t sum_bytes = detail::session_file_header::checksum_bytes;
    CRIA_TRY(bytes_, aligned_buffer::allocate(static_cast<std::size_t>(h.file_bytes)));
    CRIA_CHECK(source.read_at(0, bytes_.span()));
    const std::span<const std::byte> summed = bytes_.span().first(bytes_.size() - sum_bytes);
    if (load_le<std::uint64_t>(summed.data() + summed.size()) != checksum_of(summed) || !is_same_header(summed)) {
      return refuse(errc::bad_value, "has changed since it was written: its checksum is another");
    }
    byte_cursor cursor(summed.subspan(detail::session_file_header::bytes));
    read_numbers(cursor, tokens_, h.n_tokens);
    read_numbers(cursor, logits_, h.n_logits);
    read_numbers(cursor, sampler_, h.n_sampler_words);
    CRIA_CHECK(read_sections(cursor));
    return check_values();
  }

  /// Returns whether the file's header is still the one that was checked.
  [[nodiscard]] bool is_same_header(std::span<const std::byte> bytes) const noexcept {
    const auto stored = header_.store();
    return std::equal(stored.begin(), stored.end(), bytes.begin());
  }

  template <class T>
  static void read_numbers(byte_cursor& cursor, std::vector<T>& out, std::uint64_t n) {
    out.resize(static_cast<std::size_t>(n));   // the header's lengths make exactly the file
    for (T& number : out) number = cursor.read<T>().value_or(T{});
  }

  [[nodiscard]] result<void> read_sections(byte_cursor& cursor) {
    const auto all = cursor.take(header_.sections_bytes);
    byte_cursor in(all.value_or(std::span<const std::byte>{}));
    for (std::uint32_t i = 0; i < header_.n_sections; ++i) {
      const auto name_bytes = in.read<std::uint32_t>();
      const auto content_bytes = in.read<std::uint64_t>();
      const auto name = name_bytes ? in.take(*name_bytes) : std::nullopt;
      const auto content = name && content_bytes ? in.take(*content_bytes) : std::nullopt;
      if (!content) return refuse(errc::bad_value, "section " + std::to_string(i) + " is longer than the sections");
      sections_.push_back({std::string(reinterpret_cast<const char*>(name->data()), name->size()), {content->begin(), content->end()}});
    }
    if (in.left() != 0) return refuse(errc::bad_value, "bytes stand behind the last section");
    if (auto checked = detail::check_sections(sections_); !checked) return refuse(errc::bad_value, checked.error().message);
    return {};
  }

  [[nodiscard]] result<void> check_values() const {
    for (const token_id token : tokens_) {
      if (token < 0 || static_cast<std::uint64_t>(token) >= header_.vocab_size) return refuse(errc::bad_value, "token " + std::to_string(token));
    }
    for (const float x : logits_) {
      if (!(x < std::numeric_limits<float>::infinity())) return refuse(errc::non_finite, "a logit is inf or NaN");
    }
    return {};
  }

  [[nodiscard]] std::span<const std::byte> positions() const noexcept {
    const std::size_t n = static_cast<std::size_t>(header_.cache_bytes().get().value_or(0));
    return bytes_.span().subspan(bytes_.size() - detail::session_file_header::checksum_bytes - n, n);
  }

  detail::session_file_header header_;
  aligned_buffer bytes_;
  std::vector<token_id> tokens_;
  std::vector<float> logits_;
  sampler_state sampler_;
  std::vector<session_section> sections_;
};

}  // namespace cria::inline v0_1_0
