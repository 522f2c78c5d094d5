// SPDX-License-Identifier: MIT
// custom_sampler MODEL.gguf [PROMPT]: a text without the letter "e", by a filter of our own in a compile-time chain, then by a sampler of our own.
#include <cria/cria.hpp>

#include <algorithm>
#include <iostream>

/// A logit_filter: bans tokens that hold a letter, as long as anything else is left.
struct without_letter {
  const cria::tokenizer& tokenizer;
  char letter;

  std::span<cria::candidate> operator()(std::span<cria::candidate> candidates) const noexcept {
    const auto kept = std::partition(candidates.begin(), candidates.end(),
                                     [&](const cria::candidate& c) { return tokenizer.piece(c.id).find(letter) == std::string_view::npos; });
    const auto n = static_cast<std::size_t>(kept - candidates.begin());
    return n == 0 ? candidates : candidates.first(n);
  }
};
static_assert(cria::logit_filter<without_letter>);

/// A sampler: the likeliest token that was not chosen before.
class never_twice {
 public:
  explicit never_twice(std::size_t vocab_size) : is_used_(vocab_size) {}

  cria::token_id sample(std::span<const float> logits) const {
    std::size_t best = logits.size();
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (!is_used_[i] && (best == logits.size() || logits[i] > logits[best])) best = i;
    }
    return static_cast<cria::token_id>(best == logits.size() ? 0 : best);
  }
  void accept(cria::token_id token) { is_used_[static_cast<std::size_t>(token)] = true; }   // told the prompt, too

 private:
  std::vector<bool> is_used_;
};
static_assert(cria::sampler<never_twice>);

static int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return fail(model.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());

  const std::string_view prompt = argc > 2 ? argv[2] : "Tom was a boy who";
  const auto print = [](std::string_view text) { std::cout << text << std::flush; };
  // Left to right: our filter, top-k, temperature; then the pick. The same seed gives the same text everywhere.
  cria::sampler_chain chain(model->vocab_size(), cria::multinomial(/*seed*/ 7), without_letter{model->tokenizer(), 'e'}, cria::top_k{20},
                            cria::temperature{0.5f});
  auto done = session->generate(prompt, {.max_tokens = 40}, chain, print);
  if (!done) return fail(done.error());
  std::cout << "\n---\n";

  done = session->generate(prompt, {.max_tokens = 40}, never_twice(model->vocab_size()), print);
  if (!done) return fail(done.error());
  std::cout << "\n(" << done->n_reused << " prompt tokens were still in the cache)\n";
}
