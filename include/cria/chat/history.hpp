// SPDX-License-Identifier: MIT
// chat/history.hpp - makes a prompt of a conversation that leaves room for the reply, and decides what has to go when the context is full.
//
// Units     tokens
// Ensures   fit: text that is too long for the context in any case is refused before it is tokenised (which takes up to a second per megabyte), as far as the
//           number of its bytes tells
// Errors    fit: context_full, cancelled (the stop token, checked before each rendering and tokenising), bad_argument (the template has no place for tools),
//           those of chat_template::encode. n_before_turns: out_of_memory; what a template refuses to write counts as nothing
// Threads   pure functions
#pragma once

#include <cria/chat/chat_options.hpp>
#include <cria/chat/chat_template.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/core/types.hpp>
#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Returns how many tokens both begin with.
[[nodiscard]] inline std::size_t n_shared(std::span<const token_id> a, std::span<const token_id> b) noexcept {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// Returns how many tokens of the prompt the messages before the first turn make. A template that writes them into the first turn, as Llama 2's does, or
/// refuses to write them alone: what it writes before that turn's own text.
[[nodiscard]] result<std::size_t> n_before_turns(const chat_template& t, const tokenizer& vocabulary, std::span<const token_id> prompt,
                                                 const conversation& talk, render_options rendering);

/// A prompt that leaves room for the reply, and what it took to get there.
struct fitted_prompt {
  std::vector<token_id> tokens;
  std::vector<chat_message> dropped;
  std::size_t n_left_out = 0;
};

/// Makes prompts for a context of so many positions.
class prompt_fitter {
 public:
  prompt_fitter(const chat_template& t, const tokenizer& vocabulary, const chat_options& options, std::size_t capacity)
      : template_(&t), vocabulary_(&vocabulary), rendering_(options.rendering), history_(options.history), stop_(options.generation.stop), capacity_(capacity),
        room_(options.history.room_in(capacity, options.generation.max_tokens)) {
    rendering_.add_generation_prompt = true;
  }

  /// Makes the prompt for `next`, which loses the turns that have to go.
  [[nodiscard]] result<fitted_prompt> fit(conversation& next) const;

 private:
  /// A rendered conversation as tokens, or how many there are at least where they are certainly too many.
  struct counted {
    std::optional<std::vector<token_id>> tokens;
    std::size_t n_tokens;
  };

  [[nodiscard]] result<jinja::rendered> render(const conversation& talk, const render_options& rendering) const;
  [[nodiscard]] result<counted> encode(const jinja::rendered& text, std::size_t limit) const;
  /// Drops the fewest turns, at most `n_most`, after which no more tokens than wanted are left; where there is no such number, `n_most`.
  /// A conversation can have thousands: they are looked for in steps that double, then in halves.
  [[nodiscard]] result<fitted_prompt> drop_turns(conversation& talk, std::size_t n_most) const;
  /// Leaves tokens out behind the sinks, in steps, so that the next turns begin in the same way. The last turn stays whole.
  [[nodiscard]] result<fitted_prompt> slide(const jinja::rendered& text, const conversation& next) const;
  [[nodiscard]] error does_not_fit(std::size_t n, std::string_view or_more = {}) const;
  [[nodiscard]] error does_not_fit(const counted& prompt) const { return does_not_fit(prompt.n_tokens, prompt.tokens ? "" : " or more"); }

  /// Returns the most tokens of a prompt, and those wanted once something has to go. Requires room_ <= capacity_.
  [[nodiscard]] std::size_t most() const noexcept { return capacity_ - room_; }
  [[nodiscard]] std::size_t wanted() const noexcept { return most() - std::min(history_.slack_in(capacity_), most()); }

  const chat_template* template_;
  const tokenizer* vocabulary_;
  render_options rendering_;
  history_options history_;
  stop_token stop_;
  std::size_t capacity_, room_;
};

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE result<std::size_t> n_before_turns(const chat_template& t, const tokenizer& vocabulary, std::span<const token_id> prompt, const conversation& talk,
                                               render_options rendering) {
  const auto turns = talk.turns();
  const auto all = talk.messages();
  if (turns.empty() || turns[0].first == 0) return std::size_t{0};
  rendering.add_generation_prompt = false;
  std::vector<chat_message> first(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(turns[0].first));
  const auto alone = t.encode(conversation(first), vocabulary, rendering);
  first.emplace_back("user", "");
  const auto joined = t.encode(conversation(std::move(first)), vocabulary, rendering);
  for (const auto* written : {&alone, &joined}) {
    if (!*written && written->error().code == errc::out_of_memory) return written->error();
  }
  const std::size_t n_alone = alone ? n_shared(prompt, *alone) : 0, n_joined = joined ? n_shared(prompt, *joined) : 0;
  const bool is_alone = alone && n_alone + 1 >= alone->size() && 2 * n_alone > n_joined;   // the last token may merge with what follows
  return is_alone ? n_alone : n_joined;
}

CRIA_INLINE result<jinja::rendered> prompt_fitter::render(const conversation& talk, const render_options& rendering) const {
  if (stop_.stop_requested()) return error{errc::cancelled, "prompt"};
  return template_->render(talk, rendering);
}

CRIA_INLINE result<prompt_fitter::counted> prompt_fitter::encode(const jinja::rendered& text, std::size_t limit) const {
  if (stop_.stop_requested()) return error{errc::cancelled, "prompt"};
  if (const std::size_t n = vocabulary_->fewest_tokens(text.text); n > limit) return counted{std::nullopt, n};
  CRIA_TRY(auto tokens, encode_rendered(text, *vocabulary_));
  const std::size_t n = tokens.size();
  return counted{std::move(tokens), n};
}

CRIA_INLINE error prompt_fitter::does_not_fit(std::size_t n, std::string_view or_more) const {
  return {errc::context_full, "prompt", std::to_string(n) + " tokens" + std::string(or_more) + " and room for " + std::to_string(room_) +
          " of the reply do not fit a context of " + std::to_string(capacity_)};
}

CRIA_INLINE result<fitted_prompt> prompt_fitter::fit(conversation& next) const {
  if (rendering_.tools && !template_->mentions("tools")) return error{errc::bad_argument, "tools", "the chat template has no place for them"};
  CRIA_TRY(const jinja::rendered text, render(next, rendering_));
  if (room_ > capacity_) return does_not_fit(vocabulary_->fewest_tokens(text.text), " or more");
  if (history_.policy == history_policy::slide) return slide(text, next);
  CRIA_TRY(auto whole, encode(text, most()));
  if (whole.tokens && whole.n_tokens <= most()) return fitted_prompt{*std::move(whole.tokens), {}, 0};
  const std::size_t n_turns = next.turns().size();
  if (history_.policy == history_policy::stop || n_turns < 2) return does_not_fit(whole);
  return drop_turns(next, n_turns - 1);
}

CRIA_INLINE result<fitted_prompt> prompt_fitter::drop_turns(conversation& talk, std::size_t n_most) const {
  std::size_t too_few = 0, enough = n_most, step = 1;
  std::optional<std::vector<token_id>> left;   // with `enough` dropped; none while no number was enough
  while (!left || too_few + 1 < enough) {
    const std::size_t n = left ? too_few + (enough - too_few) / 2 : std::min(step, n_most);
    conversation shorter = talk;
    shorter.drop_oldest(n);
    CRIA_TRY(const jinja::rendered text, render(shorter, rendering_));
    CRIA_TRY(auto rest, encode(text, n == n_most ? most() : wanted()));
    const bool is_enough = rest.tokens && rest.n_tokens <= wanted();
    if (n == n_most && !is_enough && (!rest.tokens || rest.n_tokens > most())) return does_not_fit(rest);
    if (is_enough || n == n_most) {
      enough = n;
      left = std::move(rest.tokens);
    } else {
      too_few = n;
      step = 2 * n;
    }
  }
  return fitted_prompt{*std::move(left), talk.drop_oldest(enough), 0};
}

CRIA_INLINE result<fitted_prompt> prompt_fitter::slide(const jinja::rendered& text, const conversation& next) const {
  const std::size_t n_turns = next.turns().size();
  if (n_turns > 1 && vocabulary_->fewest_tokens(text.text) > most()) {
    conversation last = next;
    last.drop_oldest(n_turns - 1);
    const auto alone = render(last, rendering_);
    if (!alone && alone.error().code == errc::cancelled) return alone.error();
    if (const std::size_t n = alone ? vocabulary_->fewest_tokens(alone->text) : 0; n > most()) return does_not_fit(n, " or more");
  }
  CRIA_TRY(auto whole, encode(text, n_turns > 1 ? generation_options::no_limit : most()));
  if (!whole.tokens) return does_not_fit(whole);
  std::vector<token_id>& tokens = *whole.tokens;
  if (tokens.size() <= most()) return fitted_prompt{std::move(tokens), {}, 0};

  conversation before = next;
  before.undo();
  std::size_t n_before = 0;   // tokens that belong to what was said before the last turn
  if (!before.turns().empty()) {
    render_options plain = rendering_;
    plain.add_generation_prompt = false;
    CRIA_TRY(const jinja::rendered earlier, render(before, plain));
    CRIA_TRY(const auto earlier_tokens, encode_rendered(earlier, *vocabulary_));
    n_before = n_shared(tokens, earlier_tokens);
  }
  CRIA_TRY(const std::size_t n_first, n_before_turns(*template_, *vocabulary_, tokens, next, rendering_));
  const std::size_t n_sinks = std::min(std::max(history_.n_sinks, n_first), n_before), step = std::max<std::size_t>(1, most() - wanted());
  const std::size_t excess = tokens.size() - most(), n_out = std::min((excess + step - 1) / step * step, n_before - n_sinks);
  if (n_out < excess) return does_not_fit(tokens.size() - n_out);
  const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(n_sinks);
  tokens.erase(first, first + static_cast<std::ptrdiff_t>(n_out));
  return fitted_prompt{std::move(tokens), {}, n_out};
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0::detail
