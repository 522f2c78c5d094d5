// SPDX-License-Identifier: MIT
// tokenizer/special_matcher.hpp - finds the tokens that are matched in the text itself, before any merging.
//
// Units    bytes
// Ensures  leftmost first, the longest where several begin at the same place; time linear in the text and logarithmic in the number of tokens,
//          also where each begins with the one before
//          A token longer than max_length is not looked for.
// Errors   find: none (noexcept)
// Threads  immutable
// Source   jumps: E. Myers, An applicative random-access stack, Information Processing Letters 17 (1983)
#pragma once

#include <cria/core/types.hpp>
#include <cria/tokenizer/text_range.hpp>
#include <cria/tokenizer/vocabulary.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::detail {

class special_matcher {
 public:
  static constexpr std::size_t max_length = 1024;

  struct match {
    std::size_t start, length;
    token_id token;
  };

  special_matcher() = default;

  /// Looks for the tokens that satisfy `wanted`; of equal texts the first id wins.
  template <class Wanted>
  special_matcher(const vocabulary& vocab, Wanted wanted) {
    for (std::size_t i = 0; i < vocab.size(); ++i) {
      const std::string_view text = vocab.texts[i];
      if (!wanted(static_cast<token_id>(i)) || text.empty() || text.size() > max_length) continue;
      sorted_.push_back({static_cast<token_id>(i)});
      starts_[static_cast<unsigned char>(text[0])] = true;
    }
    const auto text = [&](const entry& e) { return vocab.text(e.token); };
    std::sort(sorted_.begin(), sorted_.end(), [&](const entry& a, const entry& b) {
      const int order = text(a).compare(text(b));
      return order != 0 ? order < 0 : a.token < b.token;
    });
    sorted_.erase(std::unique(sorted_.begin(), sorted_.end(), [&](const entry& a, const entry& b) { return text(a) == text(b); }), sorted_.end());
    for (std::uint32_t i = 1; i < sorted_.size(); ++i) {  // the longest text that this one continues is on the chain of its neighbour
      std::uint32_t shorter = i - 1;
      while (shorter != none && !text(sorted_[i]).starts_with(text(sorted_[shorter]))) shorter = sorted_[shorter].shorter;
      if (shorter != none) link(sorted_[i], shorter);
    }
  }

  /// Returns the first match at or after `from`. Requires the vocabulary of the constructor.
  [[nodiscard]] std::optional<match> find(const vocabulary& vocab, std::string_view text, std::size_t from) const noexcept {
    if (sorted_.empty()) return std::nullopt;
    for (std::size_t at = from; at < text.size(); ++at) {
      if (!starts_[static_cast<unsigned char>(text[at])]) continue;
      if (const entry* found = longest(vocab, text.substr(at, max_length))) return match{at, vocab.text(found->token).size(), found->token};
    }
    return std::nullopt;
  }

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  struct entry {
    token_id token;
    std::uint32_t shorter = none;  // the longest other entry that this one begins with
    std::uint32_t jump = none;     // one further down that chain: a way down takes steps and jumps by the logarithm of its length
    std::uint32_t depth = 0;       // entries below on the chain
  };

  void link(entry& e, std::uint32_t shorter) noexcept {
    const entry& below = sorted_[shorter];
    const bool may_jump = below.jump != none && sorted_[below.jump].jump != none;
    const bool are_equal = may_jump && below.depth - sorted_[below.jump].depth == sorted_[below.jump].depth - sorted_[sorted_[below.jump].jump].depth;
    e = {e.token, shorter, are_equal ? sorted_[below.jump].jump : shorter, below.depth + 1};
  }

  [[nodiscard]] static std::size_t common_prefix(std::string_view a, std::string_view b) noexcept {
    constexpr std::size_t block = 16;
    const std::size_t limit = std::min(a.size(), b.size());
    std::size_t n = 0;
    while (n + block <= limit && std::memcmp(a.data() + n, b.data() + n, block) == 0) n += block;
    while (n < limit && a[n] == b[n]) ++n;
    return n;
  }

  /// Returns the longest entry that `text` begins with. It stands at, or is a beginning of, the last entry that is not greater than the text.
  [[nodiscard]] const entry* longest(const vocabulary& vocab, std::string_view text) const noexcept {
    const auto is_less = [&](std::string_view t, const entry& e) { return t < vocab.text(e.token); };
    const auto above = std::upper_bound(sorted_.begin(), sorted_.end(), text, is_less);
    if (above == sorted_.begin()) return nullptr;
    auto i = static_cast<std::uint32_t>(above - sorted_.begin() - 1);
    const std::string_view nearest = vocab.text(sorted_[i].token);
    const std::size_t common = common_prefix(nearest, text);
    const auto is_longer = [&](std::uint32_t n) { return n != none && vocab.text(sorted_[n].token).size() > common; };
    while (is_longer(i)) i = is_longer(sorted_[i].jump) ? sorted_[i].jump : sorted_[i].shorter;
    return i == none ? nullptr : &sorted_[i];
  }

  std::vector<entry> sorted_;
  std::array<bool, 256> starts_{};
};

/// Walks through the tokens that are matched in a text: all kinds of them where they lie outside the foreign ranges, user-defined ones anywhere.
class special_walk {
 public:
  struct matchers {
    const special_matcher& all;
    const special_matcher& user_defined;
  };

  /// Requires ranges inside the text, ascending and apart.
  special_walk(const vocabulary& vocab, matchers m, std::string_view text, std::span<const text_range> foreign)
      : vocab_(vocab), matchers_(m), text_(text), foreign_(foreign) {}

  /// Returns the first match at or after `from`, which never goes back; of two at the same place the longer one.
  [[nodiscard]] std::optional<special_matcher::match> next(std::size_t from) noexcept {
    if (!user_defined_.is_valid(from)) user_defined_ = {matchers_.user_defined.find(vocab_, text_, from), true};
    if (!own_.is_valid(from)) own_ = {find_own(from), true};
    const auto &a = own_.found, &b = user_defined_.found;
    if (!a || !b) return a ? a : b;
    return a->start < b->start || (a->start == b->start && a->length > b->length) ? a : b;
  }

 private:
  struct looked_for {
    std::optional<special_matcher::match> found;
    bool is_known = false;
    [[nodiscard]] bool is_valid(std::size_t from) const noexcept { return is_known && (!found || found->start >= from); }
  };

  /// Looks outside the foreign ranges, piece by piece.
  [[nodiscard]] std::optional<special_matcher::match> find_own(std::size_t from) noexcept {
    for (;; ++next_foreign_) {
      const bool is_last = next_foreign_ == foreign_.size();
      const std::size_t end = is_last ? text_.size() : foreign_[next_foreign_].start;
      if (const auto found = matchers_.all.find(vocab_, text_.substr(0, end), from)) return found;
      if (is_last) return std::nullopt;
      from = std::max(from, end + foreign_[next_foreign_].length);
    }
  }

  const vocabulary& vocab_;
  matchers matchers_;
  std::string_view text_;
  std::span<const text_range> foreign_;
  std::size_t next_foreign_ = 0;   // the first one that may lie behind where the walk is
  looked_for user_defined_, own_;
};

}  // namespace cria::inline v0_1_0::detail
