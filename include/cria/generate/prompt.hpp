// SPDX-License-Identifier: MIT
// generate/prompt.hpp - the tokens of a prompt, which may be given as text or as tokens.
//
// Errors    context_full (a text that cannot fit; found before it is tokenised, which takes up to a second per megabyte), those of tokenizer::encode,
//           out_of_memory
// Threads   pure
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/generate/generation.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Returns the prompt's tokens, for a context of `capacity` positions.
template <class Prompt>
  requires(prompt_text<Prompt> || prompt_tokens<Prompt>)
[[nodiscard]] result<std::vector<token_id>> tokens_of(const tokenizer& t, const Prompt& prompt, const encode_options& options, std::size_t capacity) {
  if constexpr (prompt_text<Prompt>) {
    const std::string_view text(prompt);
    if (const std::size_t n = t.fewest_tokens(text); n > capacity) {
      return error{errc::context_full, "prompt", std::to_string(n) + " tokens or more do not fit a context of " + std::to_string(capacity)};
    }
    return t.encode(text, options);
  } else {
    const std::span<const token_id> given(prompt);
    return catch_bad_alloc([&]() -> result<std::vector<token_id>> { return std::vector<token_id>(given.begin(), given.end()); }, "prompt");
  }
}

}  // namespace cria::inline v0_1_0::detail
