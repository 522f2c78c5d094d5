// SPDX-License-Identifier: MIT
// sampling/grammar/token_trie.hpp - the texts of a vocabulary as one tree of bytes, so that common beginnings are looked at once.
//
//   nodes in depth-first order: {behind: the first node that is not under it, its tokens, depth, byte}
// Shapes    tokens[V]; at most as many nodes as the texts have bytes
// Ensures   tokens without text are in no node; an end token is in none either, whatever its text
// Errors    bad_argument (no tokens, too many, an end token out of range), limit_exceeded, out_of_memory
// Threads   immutable, shared freely
#pragma once

#include <cria/core/random.hpp>
#include <cria/core/result.hpp>
#include <cria/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

class token_trie {
 public:
  struct node {
    std::uint32_t behind;         // where to go on when no token under this node fits
    std::uint32_t tokens_begin;   // in tokens(); they end where the next node's begin
    std::uint32_t depth;          // bytes from the root, 1 or more
    unsigned char byte;           // the last of them
  };

  /// Makes the tree of the tokens' texts, in id order; `end_tokens` end a text instead of adding to it.
  [[nodiscard]] static result<std::shared_ptr<const token_trie>> create(std::span<const std::string_view> pieces, std::span<const token_id> end_tokens);

  [[nodiscard]] std::size_t vocab_size() const noexcept { return ends_.size(); }
  [[nodiscard]] std::span<const node> nodes() const noexcept { return std::span(nodes_).first(nodes_.size() - 1); }
  /// Returns the tokens whose text ends at a node.
  [[nodiscard]] std::span<const token_id> tokens_at(std::size_t n) const noexcept {
    return std::span(tokens_).subspan(nodes_[n].tokens_begin, nodes_[n + 1].tokens_begin - nodes_[n].tokens_begin);
  }
  /// Returns the length of the longest text.
  [[nodiscard]] std::size_t depth() const noexcept { return depth_; }
  [[nodiscard]] std::span<const token_id> end_tokens() const noexcept { return end_tokens_; }
  [[nodiscard]] bool is_end(token_id token) const noexcept { return std::binary_search(end_tokens_.begin(), end_tokens_.end(), token); }
  /// Returns a number that tells vocabularies with other texts or ends apart.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return fingerprint_; }
  [[nodiscard]] bool has(token_id token) const noexcept { return token >= 0 && static_cast<std::size_t>(token) < vocab_size(); }

  /// Returns a token's text. Requires has(token).
  [[nodiscard]] std::string_view piece(token_id token) const noexcept {
    const auto i = static_cast<std::size_t>(token);
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(text_).substr(begin, ends_[i] - begin);
  }

 private:
  token_trie(std::span<const std::string_view> pieces, std::span<const token_id> end_tokens) : end_tokens_(end_tokens.begin(), end_tokens.end()) {
    std::sort(end_tokens_.begin(), end_tokens_.end());
    end_tokens_.erase(std::unique(end_tokens_.begin(), end_tokens_.end()), end_tokens_.end());
    ends_.reserve(pieces.size());
    for (const std::string_view piece : pieces) {
      text_ += piece;
      ends_.push_back(static_cast<std::uint32_t>(text_.size()));
    }
    for (token_id id = 0; has(id); ++id) {
      if (!piece(id).empty() && !is_end(id)) tokens_.push_back(id);
    }
    std::sort(tokens_.begin(), tokens_.end(), [this](token_id a, token_id b) { return std::pair(piece(a), a) < std::pair(piece(b), b); });
    add_nodes();
    fingerprint_ = hash();
  }

  [[nodiscard]] std::uint64_t hash() const noexcept {
    std::uint64_t hash = ends_.size();
    const auto add = [&hash](std::uint64_t word) {
      hash ^= word;
      hash = splitmix64(hash);
    };
    for (const std::uint32_t end : ends_) add(end);
    for (const token_id end : end_tokens_) add(static_cast<std::uint64_t>(end));
    for (std::size_t i = 0; i < text_.size(); i += 8) {
      std::uint64_t word = 0;
      for (std::size_t k = i; k < std::min(i + 8, text_.size()); ++k) word = word << 8 | static_cast<unsigned char>(text_[k]);
      add(word);
    }
    return hash;
  }

  void add_nodes() {
    std::vector<std::uint32_t> path;   // the nodes above the next
    const auto close = [&](std::size_t depth) {
      for (; path.size() > depth; path.pop_back()) nodes_[path.back()].behind = static_cast<std::uint32_t>(nodes_.size());
    };
    std::string_view before;
    for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
      const std::string_view text = piece(tokens_[i]);
      const auto shared = static_cast<std::size_t>(std::mismatch(before.begin(), before.end(), text.begin(), text.end()).first - before.begin());
      if (text != before) close(shared);
      for (std::size_t d = path.size(); d < text.size(); ++d) {
        path.push_back(static_cast<std::uint32_t>(nodes_.size()));
        // Only the last node of a text has tokens: those above begin, and end, where it begins.
        nodes_.push_back({0, i, static_cast<std::uint32_t>(d + 1), static_cast<unsigned char>(text[d])});
      }
      depth_ = std::max(depth_, text.size());
      before = text;
    }
    close(0);
    nodes_.push_back({0, static_cast<std::uint32_t>(tokens_.size()), 0, 0});
  }

  std::string text_;                  // of all tokens
  std::vector<std::uint32_t> ends_;   // in text_, by id
  std::vector<token_id> tokens_;      // in the order of their texts
  std::vector<token_id> end_tokens_;  // ascending
  std::vector<node> nodes_;           // and one behind the last
  std::size_t depth_ = 0;
  std::uint64_t fingerprint_ = 0;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::shared_ptr<const token_trie>> token_trie::create(std::span<const std::string_view> pieces, std::span<const token_id> end_tokens) {
  if (pieces.empty() || pieces.size() > static_cast<std::size_t>(std::numeric_limits<token_id>::max())) {
    return error{errc::bad_argument, "vocabulary", std::to_string(pieces.size()) + " tokens"};
  }
  std::size_t n_bytes = 0;
  for (const std::string_view piece : pieces) n_bytes += piece.size();
  constexpr std::size_t most_bytes = std::size_t{1} << 24;   // a node each at worst; a vocabulary of 256,000 tokens has 2 million
  if (n_bytes > most_bytes) return error{errc::limit_exceeded, "vocabulary", "more than 16 MiB of text"};
  for (const token_id end : end_tokens) {
    if (end < 0 || static_cast<std::size_t>(end) >= pieces.size()) {
      return error{errc::bad_argument, "end token", std::to_string(end) + " is not in the vocabulary of " + std::to_string(pieces.size())};
    }
  }
  return catch_bad_alloc([&]() -> result<std::shared_ptr<const token_trie>> {
    return std::shared_ptr<const token_trie>(new token_trie(pieces, end_tokens));
  }, "vocabulary");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
