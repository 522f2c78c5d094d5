// SPDX-License-Identifier: MIT
// generate/logits_file.hpp - the predictions of a model at the scored positions of a text, kept in a file with which other files of the model are compared.
//
//   byte 0 magic "criaLOGP" | 8 version u32 | 12 vocabulary u32 | 16 window u32 | 20 windows u32 | 24 checksum of the vocabulary u64
//   32 checksum of each window's tokens u64[windows] | checksum of everything before u64
//   rows, one for each scored position of each window: low f32 | step f32 | best token u32 | code u16[vocabulary] | checksum of the row u64
//   ln p(i) = low + step code[i]
//
// Units     bytes; all numbers are little-endian
// Ensures   A logit takes two bytes and is exact to half a 65,535th of its row's range, which adds less than 5e-8 to a divergence. The range is at most 64:
//           what is less than e^-64 as likely as the best token is stored as that. A file is written whole or not at all (core/byte_sink.hpp).
// Errors    io, out_of_memory; open: bad_magic, unsupported_version, truncated, bad_value; check: mismatch; compare: bad_value (a damaged row), io
// Threads   one at a time
#pragma once

#include <cria/core/byte_sink.hpp>
#include <cria/core/byte_source.hpp>
#include <cria/core/checked.hpp>
#include <cria/core/checksum.hpp>
#include <cria/core/result.hpp>
#include <cria/core/scalar_math.hpp>
#include <cria/generate/perplexity.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// How far a model's probabilities are from those of a reference, over the positions so far.
struct divergence {
  running_mean kl;            ///< KL(reference || model) in nats
  running_mean reference_nll; ///< -ln p of the text's tokens by the reference
  double largest = 0;
  std::size_t n_same_best = 0;

  /// Returns the share of positions at which both have the same likeliest token.
  [[nodiscard]] double agreement() const noexcept { return kl.count() == 0 ? 1 : static_cast<double>(n_same_best) / static_cast<double>(kl.count()); }
};

namespace detail {

struct logits_file_layout {
  static constexpr std::array<char, 8> magic = {'c', 'r', 'i', 'a', 'L', 'O', 'G', 'P'};
  static constexpr std::uint32_t version = 1;
  static constexpr std::size_t fixed_bytes = 32, row_head_bytes = 12, checksum_bytes = 8;
  static constexpr float most_codes = 65'535;
  static constexpr float widest = 64;   ///< range of a row

  std::uint32_t vocab_size = 0, window = 0, n_windows = 0;
  std::uint64_t vocabulary = 0;

  [[nodiscard]] std::size_t n_scored() const noexcept { return window - 1 - window / 2; }
  [[nodiscard]] std::size_t row_bytes() const noexcept { return row_head_bytes + 2 * std::size_t{vocab_size} + checksum_bytes; }
  [[nodiscard]] std::size_t head_bytes() const noexcept { return fixed_bytes + 8 * std::size_t{n_windows} + checksum_bytes; }
  [[nodiscard]] checked_u64 file_bytes() const noexcept {
    return checked_u64(head_bytes()) + checked_u64(n_windows) * checked_u64(n_scored()) * checked_u64(row_bytes());
  }
};

/// Returns a checksum of the vocabulary's tokens.
[[nodiscard]] inline std::uint64_t vocabulary_checksum(const tokenizer& t) noexcept {
  checksum64 sum;
  for (std::size_t i = 0; i < t.vocab_size(); ++i) {
    const std::string_view text = t.token_text(static_cast<token_id>(i));
    sum.update(static_cast<std::uint64_t>(text.size()));
    sum.update(text);
  }
  return sum.value();
}

template <class T>
void put(std::vector<std::byte>& out, T number) {
  const auto stored = store_le(number);
  out.insert(out.end(), stored.begin(), stored.end());
}

}  // namespace detail

/// Writes the rows of windows in their order. Pass it to measure_perplexity() as the observer, then call commit().
class logits_file_writer {
 public:
  [[nodiscard]] static result<logits_file_writer> create(std::unique_ptr<byte_sink> sink, const tokenizer& t, const text_windows& windows);

  /// Writes the next row.
  [[nodiscard]] result<void> operator()(const scored_position& p) {
    return catch_bad_alloc([&] { return write(p); }, "logits file");
  }

  /// Completes the file. Errors: bad_argument while rows are missing.
  [[nodiscard]] result<void> commit();

 private:
  logits_file_writer(std::unique_ptr<byte_sink> sink, std::size_t n_rows) noexcept : sink_(std::move(sink)), n_left_(n_rows) {}

  [[nodiscard]] result<void> write(const scored_position& p);

  std::unique_ptr<byte_sink> sink_;
  std::size_t n_left_;
  std::vector<std::byte> row_;
};

/// Reads such a file and compares a model with it. Pass compare() to measure_perplexity() as the observer.
class logits_file {
 public:
  /// Opens a file and checks its header and length.
  [[nodiscard]] static result<logits_file> open(std::shared_ptr<const byte_source> source);
  [[nodiscard]] static result<logits_file> open(const std::filesystem::path& path);

  [[nodiscard]] std::size_t vocab_size() const noexcept { return layout_.vocab_size; }
  [[nodiscard]] std::size_t window() const noexcept { return layout_.window; }
  [[nodiscard]] std::size_t n_windows() const noexcept { return layout_.n_windows; }

  /// Returns mismatch, and says what differs, if the file is of another vocabulary, window length or text. The file may have more windows.
  [[nodiscard]] result<void> check(const tokenizer& t, const text_windows& windows) const;

  /// Adds a position to the sum. Requires a position of windows that check() has accepted.
  [[nodiscard]] result<void> compare(const scored_position& p, divergence& sum);

 private:
  logits_file(std::shared_ptr<const byte_source> source, const detail::logits_file_layout& layout, std::vector<std::uint64_t> text)
      : source_(std::move(source)), layout_(layout), text_(std::move(text)), row_(layout.row_bytes()), log_p_(layout.vocab_size) {}

  [[nodiscard]] static result<logits_file> read_head(std::shared_ptr<const byte_source> source);
  [[nodiscard]] result<void> check_same(const tokenizer& t, const text_windows& windows) const;
  [[nodiscard]] result<void> add(const scored_position& p, divergence& sum);

  [[nodiscard]] error differs(std::string_view message) const { return {errc::mismatch, detail::printable_name(source_->name()), message}; }

  std::shared_ptr<const byte_source> source_;
  detail::logits_file_layout layout_;
  std::vector<std::uint64_t> text_;
  std::vector<std::byte> row_;
  std::vector<float> log_p_;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<logits_file> logits_file::read_head(std::shared_ptr<const byte_source> source) {
  using layout = detail::logits_file_layout;
  const auto refuse = [&](errc code, std::string message) { return error{code, detail::printable_name(source->name()), std::move(message)}; };
  const std::uint64_t size = source->size();
  std::array<std::byte, layout::fixed_bytes> fixed{};
  CRIA_CHECK(source->read_at(0, std::span(fixed).first(static_cast<std::size_t>(std::min<std::uint64_t>(size, fixed.size())))));
  if (std::memcmp(fixed.data(), layout::magic.data(), layout::magic.size()) != 0) return refuse(errc::bad_magic, "is not a file of saved logits");
  if (size < fixed.size()) return refuse(errc::truncated, "ends in its first " + std::to_string(fixed.size()) + " bytes");
  const auto version = load_le<std::uint32_t>(fixed.data() + 8);
  if (version != layout::version) return refuse(errc::unsupported_version, "version " + std::to_string(version) + " is not " + std::to_string(layout::version));
  layout found;
  found.vocab_size = load_le<std::uint32_t>(fixed.data() + 12);
  found.window = load_le<std::uint32_t>(fixed.data() + 16);
  found.n_windows = load_le<std::uint32_t>(fixed.data() + 20);
  found.vocabulary = load_le<std::uint64_t>(fixed.data() + 24);
  if (found.vocab_size == 0 || found.window < 4 || found.n_windows == 0) return refuse(errc::bad_value, "its sizes are no sizes");
  const auto expected = found.file_bytes().get();
  if (!expected || size < *expected) {
    return refuse(errc::truncated, std::to_string(size) + " of " + (expected ? std::to_string(*expected) : "more") + " bytes are there");
  }
  if (size > *expected) return refuse(errc::bad_value, std::to_string(size - *expected) + " bytes stand behind its end");
  std::vector<std::byte> head(found.head_bytes());   // no larger than the file
  CRIA_CHECK(source->read_at(0, head));
  const auto stored = std::span(head).last(layout::checksum_bytes);
  if (load_le<std::uint64_t>(stored.data()) != checksum_of(std::span(head).first(head.size() - stored.size()))) {
    return refuse(errc::bad_value, "its first bytes have changed since they were written");
  }
  std::vector<std::uint64_t> text(found.n_windows);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = load_le<std::uint64_t>(head.data() + layout::fixed_bytes + 8 * i);
  return logits_file(std::move(source), found, std::move(text));
}

CRIA_INLINE result<void> logits_file::add(const scored_position& p, divergence& sum) {
  using layout = detail::logits_file_layout;
  if (p.window >= layout_.n_windows || p.index >= layout_.n_scored() || p.logits.size() != layout_.vocab_size) {
    return error{errc::bad_argument, "logits file", "has no such position"};
  }
  const std::uint64_t offset = layout_.head_bytes() + (std::uint64_t{p.window} * layout_.n_scored() + p.index) * layout_.row_bytes();
  CRIA_CHECK(source_->read_at(offset, row_));
  const float low = load_le<float>(row_.data()), step = load_le<float>(row_.data() + 4);
  const auto best = load_le<std::uint32_t>(row_.data() + 8);
  const auto codes = std::span(row_).subspan(layout::row_head_bytes, 2 * p.logits.size());
  const bool is_whole = load_le<std::uint64_t>(codes.data() + codes.size()) == checksum_of(std::span(row_).first(row_.size() - layout::checksum_bytes));
  if (!is_whole || !std::isfinite(low) || !std::isfinite(step) || best >= layout_.vocab_size) {
    return error{errc::bad_value, detail::printable_name(source_->name()),
                 "row " + std::to_string(p.index + 1) + " of window " + std::to_string(p.window + 1) + " is damaged", offset};
  }
  for (std::size_t i = 0; i < log_p_.size(); ++i) log_p_[i] = low + step * static_cast<float>(load_le<std::uint16_t>(codes.data() + 2 * i));
  const double reference_sum = math::log_sum_exp(log_p_);   // 0 but for the rounding of codes
  double kl = 0;
  for (std::size_t i = 0; i < log_p_.size(); ++i) {
    const double reference = static_cast<double>(log_p_[i]) - reference_sum, model = static_cast<double>(p.logits[i]) - p.log_sum_exp;
    if (reference > -50) kl += math::exp(reference) * (reference - model);   // e^-50 of all tokens together is nothing
  }
  const auto likeliest = static_cast<std::size_t>(std::max_element(p.logits.begin(), p.logits.end()) - p.logits.begin());
  sum.kl.add(kl);
  sum.reference_nll.add(reference_sum - static_cast<double>(log_p_[static_cast<std::size_t>(p.next)]));
  sum.largest = std::max(sum.largest, kl);
  sum.n_same_best += likeliest == best;
  return {};
}

CRIA_INLINE result<logits_file_writer> logits_file_writer::create(std::unique_ptr<byte_sink> sink, const tokenizer& t, const text_windows& windows) {
  constexpr std::size_t most = 0xffffffffu;
  if (sink == nullptr) return error{errc::bad_argument, "logits file", "no sink"};
  if (t.vocab_size() > most || windows.length() > most || windows.size() > most) return error{errc::bad_argument, "logits file", "is too large"};
  return catch_bad_alloc([&]() -> result<logits_file_writer> {
    std::vector<std::byte> head;
    for (const char c : detail::logits_file_layout::magic) head.push_back(static_cast<std::byte>(c));
    for (const std::size_t n : {std::size_t{detail::logits_file_layout::version}, t.vocab_size(), windows.length(), windows.size()}) {
      detail::put(head, static_cast<std::uint32_t>(n));
    }
    detail::put(head, detail::vocabulary_checksum(t));
    for (std::size_t i = 0; i < windows.size(); ++i) detail::put(head, windows.checksum(i));
    detail::put(head, checksum_of(head));
    CRIA_CHECK(sink->write(head));
    return logits_file_writer(std::move(sink), windows.size() * windows.n_scored());
  }, "logits file");
}

CRIA_INLINE result<void> logits_file_writer::write(const scored_position& p) {
  using layout = detail::logits_file_layout;
  if (n_left_ == 0) return error{errc::bad_argument, "logits file", "has all its rows"};
  const auto [least, best] = std::minmax_element(p.logits.begin(), p.logits.end());
  const float low = std::max(*least, *best - layout::widest), step = (*best - low) / layout::most_codes;
  row_.clear();
  detail::put(row_, static_cast<float>(static_cast<double>(low) - p.log_sum_exp));
  detail::put(row_, step);
  detail::put(row_, static_cast<std::uint32_t>(std::max_element(p.logits.begin(), p.logits.end()) - p.logits.begin()));
  const float codes_per_unit = step > 1e-30f ? 1 / step : 0;   // no infinity
  for (const float x : p.logits) {
    const float code = std::clamp((x - low) * codes_per_unit + 0.5f, 0.0f, layout::most_codes);
    detail::put(row_, static_cast<std::uint16_t>(code));
  }
  detail::put(row_, checksum_of(row_));
  --n_left_;
  return sink_->write(row_);
}

CRIA_INLINE result<void> logits_file_writer::commit() {
  return catch_bad_alloc([&]() -> result<void> {
    if (n_left_ != 0) return error{errc::bad_argument, "logits file", std::to_string(n_left_) + " rows are missing"};
    return sink_->commit();
  }, "logits file");
}

CRIA_INLINE result<logits_file> logits_file::open(std::shared_ptr<const byte_source> source) {
  if (source == nullptr) return error{errc::bad_argument, "logits file", "no source"};
  return catch_bad_alloc([&] { return read_head(std::move(source)); }, "logits file");
}

CRIA_INLINE result<logits_file> logits_file::open(const std::filesystem::path& path) {
  CRIA_TRY(auto source, open_file(path));
  return open(std::move(source));
}

CRIA_INLINE result<void> logits_file::check(const tokenizer& t, const text_windows& windows) const {
  return catch_bad_alloc([&] { return check_same(t, windows); }, "logits file");
}

CRIA_INLINE result<void> logits_file::check_same(const tokenizer& t, const text_windows& windows) const {
  if (t.vocab_size() != layout_.vocab_size) {
    return differs("is of a vocabulary of " + std::to_string(layout_.vocab_size) + " tokens, the model has " + std::to_string(t.vocab_size()));
  }
  if (detail::vocabulary_checksum(t) != layout_.vocabulary) return differs("is of a model with another vocabulary");
  if (windows.length() != layout_.window) {
    return differs("has windows of " + std::to_string(layout_.window) + " tokens, not of " + std::to_string(windows.length()));
  }
  if (windows.size() > layout_.n_windows) {
    return differs("has " + std::to_string(layout_.n_windows) + " windows, fewer than the " + std::to_string(windows.size()) + " that are asked for");
  }
  for (std::size_t i = 0; i < windows.size(); ++i) {
    if (windows.checksum(i) != text_[i]) return differs("is of another text: window " + std::to_string(i + 1) + " has other tokens");
  }
  return {};
}

CRIA_INLINE result<void> logits_file::compare(const scored_position& p, divergence& sum) {
  return catch_bad_alloc([&] { return add(p, sum); }, "logits file");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
