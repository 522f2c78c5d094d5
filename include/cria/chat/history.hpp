// SPDX-License-Identifier: MIT
// chat/history.hpp - which tokens of a prompt belong to what.
//
// Units     tokens
// Errors    what a template refuses to write counts as nothing
// Threads   pure functions
#pragma once

#include <cria/chat/chat_template.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/core/types.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace cria::inline v0::detail {

/// Returns how many tokens both begin with.
[[nodiscard]] inline std::size_t n_shared(std::span<const token_id> a, std::span<const token_id> b) noexcept {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// Returns how many tokens of the prompt the messages before the first turn make. A template that writes them into the first turn, as Llama 2's does, or
/// refuses to write them alone: what it writes before that turn's own text.
[[nodiscard]] inline std::size_t n_before_turns(const chat_template& t, const tokenizer& vocabulary, std::span<const token_id> prompt, const conversation& talk,
                                                render_options rendering) {
  const auto turns = talk.turns();
  const auto all = talk.messages();
  if (turns.empty() || turns[0].first == 0) return 0;
  rendering.add_generation_prompt = false;
  std::vector<chat_message> first(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(turns[0].first));
  const auto alone = t.encode(conversation(first), vocabulary, rendering);
  first.emplace_back("user", "");
  const auto joined = t.encode(conversation(std::move(first)), vocabulary, rendering);
  const std::size_t n_alone = alone ? n_shared(prompt, *alone) : 0, n_joined = joined ? n_shared(prompt, *joined) : 0;
  const bool is_alone = alone && n_alone + 1 >= alone->size() && 2 * n_alone > n_joined;   // the last token may merge with what follows
  return is_alone ? n_alone : n_joined;
}

}  // namespace cria::inline v0::detail
