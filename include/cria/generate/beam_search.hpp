// SPDX-License-Identifier: MIT
// generate/beam_search.hpp - the likeliest continuations of a prompt by beam search: several at once, each extended by every token, the best ones kept.
//
//   score(Y) = log P(Y | prompt) / lp(|Y|),   lp(n) = ((5 + n) / 6)^length_penalty
//
// One step: of all extensions of live beams by one token, the `width` likeliest that do not end stay alive. Extensions that end, and rank before the last of
// those, are finished; the n_best of them by score are kept. Ties go to the better parent, then to the lower token.
// Ensures   The result is the same with any number of threads. With a width of all continuations the search is exhaustive. Beams share the pages of what they
//           have in common. With a grammar, beams have only tokens that it allows, and end where it is complete; beams that are incomplete at the end are
//           returned only if there are no others.
// Errors    create: bad_argument, out_of_memory; search: bad_argument, context_full, cancelled, non_finite, out_of_memory, those of the tokenizer; with a
//           grammar also those of token_filter, if no beam can go on
// Threads   one at a time
// Lifetime  keeps its model alive
// Source    Y. Wu et al., Google's Neural Machine Translation System, arXiv 1609.08144, section 7 and equation 14 (without coverage);
//           keeping `width` live: A. Vaswani et al., Tensor2Tensor, arXiv 1803.07416
#pragma once

#include <cria/generate/beam_options.hpp>
#include <cria/generate/grammar_guard.hpp>
#include <cria/generate/paged_compute.hpp>
#include <cria/generate/prompt.hpp>
#include <cria/kv/paged.hpp>
#include <cria/model/model.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/grammar/token_filter.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

template <kv_type Type = kv_type::f16>
class basic_beam_search {
  using cache_type = paged_kv_cache<Type>;

 public:
  [[nodiscard]] static result<basic_beam_search> create(cria::model model, const beam_limits& limits = {}) {
    return catch_bad_alloc([&]() -> result<basic_beam_search> {
      if (limits.max_width == 0 || limits.max_width > beam_limits::most_beams) {
        return refuse("max_width", "is not in 1 to " + std::to_string(beam_limits::most_beams));
      }
      constexpr std::size_t page_size = 16;   // a beam that parts from another copies one page
      CRIA_TRY(auto compute, detail::paged_compute<Type>::create(model, {.n_rows = limits.max_width,
                                                                          .n_caches = 2 * limits.max_width,
                                                                          .n_kept_prefixes = 0,
                                                                          .context_size = limits.context_size,
                                                                          .cache_positions = 0,
                                                                          .page_size = page_size,
                                                                          .max_batch = limits.max_batch,
                                                                          .n_threads = limits.n_threads,
                                                                          .executor = limits.executor}));
      basic_beam_search made(std::move(model), limits, std::move(compute));
      for (std::size_t i = 0; i < 2 * limits.max_width; ++i) {
        CRIA_TRY(auto cache, cache_type::create(made.compute_.pool(), made.compute_.capacity()));
        (i % 2 == 0 ? made.caches_ : made.spare_).push_back(std::move(cache));
      }
      return made;
    }, "beam search");
  }

  /// Returns up to n_best continuations, the best first.
  template <class Prompt>
    requires(prompt_text<Prompt> || prompt_tokens<Prompt>)
  [[nodiscard]] result<std::vector<beam>> search(const Prompt& prompt, const beam_options& options = {}) {
    return catch_bad_alloc([&]() -> result<std::vector<beam>> {
      CRIA_TRY(const auto tokens, detail::tokens_of(model_.tokenizer(), prompt, options.encode, compute_.capacity()));
      auto found = search_from(tokens, options);
      for (auto& cache : caches_) cache.truncate(0);
      for (auto& cache : spare_) cache.truncate(0);
      adapters_ = {};
      return found;
    }, "beam search");
  }

  [[nodiscard]] const cria::model& model() const noexcept { return model_; }
  [[nodiscard]] page_pool_statistics pages() const noexcept { return compute_.pool()->statistics(); }

 private:
  /// A continuation of a live beam.
  struct extension {
    double log_probability;
    std::size_t parent;
    token_id token;
    bool is_last_known;   // the last of its parent's list, which was cut there

    [[nodiscard]] bool ranks_before(const extension& other) const noexcept {
      if (log_probability != other.log_probability) return log_probability > other.log_probability;
      return parent != other.parent ? parent < other.parent : token < other.token;
    }
  };

  basic_beam_search(cria::model m, const beam_limits& limits, detail::paged_compute<Type> compute)
      : model_(std::move(m)), limits_(limits), compute_(std::move(compute)) {}

  [[nodiscard]] static error refuse(std::string_view field, std::string_view why) { return {errc::bad_argument, field, why}; }

  [[nodiscard]] result<void> check(std::span<const token_id> prompt, const beam_options& o) const {
    if (o.width == 0 || o.width > limits_.max_width) return refuse("width", "is not in 1 to " + std::to_string(limits_.max_width));
    if (o.n_best == 0 || o.n_best > beam_limits::most_beams) return refuse("n_best", "is not in 1 to " + std::to_string(beam_limits::most_beams));
    if (!std::isfinite(o.length_penalty) || std::abs(o.length_penalty) > 100) return refuse("length_penalty", "is not in -100 to 100");
    if (o.grammar && o.ignore_eos) return refuse("ignore_eos", "and a grammar, which says where the text ends");
    for (const std::string& s : o.stop_strings) {
      if (s.empty()) return refuse("stop_strings", "a stop string is empty");
    }
    for (const token_id id : o.stop_tokens) CRIA_CHECK(detail::generation_output::check_token(model_.tokenizer(), "stop_tokens", id));
    if (prompt.empty()) return refuse("prompt", "has no tokens");
    for (const token_id id : prompt) CRIA_CHECK(detail::generation_output::check_token(model_.tokenizer(), "prompt", id));
    if (prompt.size() > compute_.capacity()) return error{errc::context_full, "prompt", std::to_string(prompt.size()) + " tokens"};
    return {};
  }

  [[nodiscard]] result<std::vector<beam>> search_from(std::span<const token_id> prompt, const beam_options& o) {
    CRIA_CHECK(check(prompt, o));
    CRIA_TRY(adapters_, adapter_set::create(o.adapters, model_));
    CRIA_CHECK(begin_grammar(o));
    CRIA_CHECK(feed_prompt(prompt, o));
    std::vector<beam> live(1), finished;
    while (live.front().tokens.size() < o.max_tokens) {
      CRIA_CHECK(extend(live, finished, o));
      if (live.empty() && finished.empty() && stuck_) return *std::move(stuck_);
      if (live.empty() || live.front().tokens.size() >= o.max_tokens) break;
      if (is_decided(live, finished, o)) {
        live.clear();   // unfinished, they could rank better than they would when finished
        break;
      }
      if (caches_.front().length() == caches_.front().capacity()) {
        for (beam& b : live) b.reason = finish_reason::context_full;
        break;
      }
      CRIA_CHECK(compute(live, o));
    }
    const bool wants_live = filter_ ? finished.empty() : finished.size() < o.n_best || o.stopping == beam_stopping::when_certain;
    if (wants_live) {
      for (beam& b : live) keep(std::move(b), finished, o);
    }
    return finished;
  }

  /// Makes the filter that all beams share. Each beam has its own state of it.
  [[nodiscard]] result<void> begin_grammar(const beam_options& o) {
    filter_.reset();
    places_.clear();
    stuck_.reset();
    if (!o.grammar) return {};
    CRIA_TRY(auto vocabulary, trees_.of(model_.tokenizer(), o.stop_tokens));
    CRIA_TRY(filter_, token_filter::create(*o.grammar, std::move(vocabulary)));
    places_.push_back(filter_->save());
    return {};
  }

  [[nodiscard]] result<void> feed_prompt(std::span<const token_id> prompt, const beam_options& o) {
    for (auto& cache : caches_) cache.truncate(0);
    for (std::size_t done = 0; done < prompt.size();) {
      const auto part = prompt.subspan(done, std::min(limits_.max_batch, prompt.size() - done));
      done += part.size();
      nn::sequence_slice<cache_type> slice{&caches_.front(), part, std::size_t{done == prompt.size()}};
      CRIA_CHECK(forward({&slice, 1}, slice.n_logits, o));
    }
    return {};
  }

  [[nodiscard]] result<void> compute(std::span<const beam> live, const beam_options& o) {
    std::vector<nn::sequence_slice<cache_type>> slices;
    for (std::size_t i = 0; i < live.size(); ++i) slices.push_back({&caches_[i], std::span(live[i].tokens).last(1), 1});
    return forward(slices, live.size(), o);
  }

  [[nodiscard]] result<void> forward(std::span<nn::sequence_slice<cache_type>> slices, std::size_t n_rows, const beam_options& o) {
    for (nn::sequence_slice<cache_type>& s : slices) s.adapters = adapters_.uses();
    CRIA_CHECK(compute_.forward(model_, slices, n_rows, o.stop));
    for (std::size_t i = 0; i < n_rows; ++i) {
      for (const float x : compute_.row(i)) {
        if (!(x < std::numeric_limits<float>::infinity())) return error{errc::non_finite, "logits", "the model gave inf or NaN"};
      }
    }
    return {};
  }

  /// Replaces the live beams by their best extensions, and moves those that end to `finished`.
  [[nodiscard]] result<void> extend(std::vector<beam>& live, std::vector<beam>& finished, const beam_options& o) {
    for (std::size_t n = 2 * o.width + 16;; n *= 4) {
      std::vector<beam> next, ended;
      std::vector<std::size_t> parents;
      std::vector<sampler_state> places;
      CRIA_TRY(const std::vector<extension> best, best_extensions(live, n));
      for (const extension& e : best) {
        beam b = live[e.parent];
        b.log_probability = e.log_probability;
        const bool has_ended = append(b, e.token, o);
        CRIA_TRY(const bool is_whole, has_ended ? result<bool>(true) : follow(e, places));
        if (has_ended || is_whole) {
          if (!has_ended) b.reason = finish_reason::end_of_text;
          ended.push_back(std::move(b));
        } else {
          next.push_back(std::move(b));
          parents.push_back(e.parent);
        }
        if (next.size() == o.width || e.is_last_known) break;
      }
      const bool is_cut = std::any_of(best.begin(), best.end(), [](const extension& e) { return e.is_last_known; });
      if (next.size() < o.width && is_cut) continue;
      for (beam& b : ended) keep(std::move(b), finished, o);
      for (std::size_t i = 0; i < next.size(); ++i) spare_[i].share(caches_[parents[i]]);
      std::swap(caches_, spare_);
      for (auto& cache : spare_) cache.truncate(0);
      live = std::move(next);
      places_ = std::move(places);
      return {};
    }
  }

  /// Advances the grammar by the extension's token and adds the new state to `places`. Returns whether the text is complete but the vocabulary has no token to
  /// end it with; then there is no new state.
  [[nodiscard]] result<bool> follow(const extension& e, std::vector<sampler_state>& places) {
    if (!filter_) return false;
    CRIA_CHECK(filter_->restore(places_[e.parent]));
    CRIA_CHECK(filter_->accept(e.token));
    if (filter_->is_complete() && filter_->vocabulary().end_tokens().empty()) return true;
    places.push_back(filter_->save());
    return false;
  }

  /// Returns the n best extensions of each live beam, merged in rank order.
  [[nodiscard]] result<std::vector<extension>> best_extensions(std::span<const beam> live, std::size_t n) {
    std::vector<extension> out;
    std::vector<candidate> all(model_.vocab_size());
    for (std::size_t i = 0; i < live.size(); ++i) {
      const auto logits = compute_.row(i);
      for (std::size_t t = 0; t < all.size(); ++t) all[t] = {static_cast<token_id>(t), logits[t]};
      const softmax_scale scale = softmax_over(all);
      const double log_total = math::log(scale.total) + static_cast<double>(scale.highest);
      CRIA_TRY(const std::span<candidate> allowed, allowed_of(all, i));
      const std::size_t n_listed = std::min(n, allowed.size());
      select_best(allowed, n_listed);
      for (std::size_t c = 0; c < n_listed; ++c) {
        if (!(allowed[c].logit > -std::numeric_limits<float>::infinity())) break;
        const bool is_last_known = c + 1 == n_listed && n_listed < allowed.size();
        out.push_back({live[i].log_probability + static_cast<double>(allowed[c].logit) - log_total, i, allowed[c].id, is_last_known});
      }
    }
    std::sort(out.begin(), out.end(), [](const extension& a, const extension& b) { return a.ranks_before(b); });
    return out;
  }

  /// Returns the candidates that the grammar allows beam i; none if the beam is stuck, which is noted.
  [[nodiscard]] result<std::span<candidate>> allowed_of(std::span<candidate> all, std::size_t i) {
    if (!filter_) return all;
    CRIA_CHECK(filter_->restore(places_[i]));
    if (auto found = filter_->prepare(); !found) {
      if (found.error().code != errc::mismatch) return std::move(found).error();
      stuck_ = std::move(found).error();
      return all.first(0);
    }
    return (*filter_)(all);
  }

  /// Appends a token to a beam; returns whether that ends it.
  [[nodiscard]] bool append(beam& b, token_id token, const beam_options& o) const {
    b.tokens.push_back(token);
    const auto& t = model_.tokenizer();
    if ((!o.ignore_eos && t.is_end_of_generation(token)) || std::find(o.stop_tokens.begin(), o.stop_tokens.end(), token) != o.stop_tokens.end()) {
      b.reason = finish_reason::end_of_text;
      return true;
    }
    const std::size_t before = b.text.size();
    b.text += t.piece(token);
    std::size_t cut = std::string::npos, end = std::string::npos;   // as stop_matcher: the one that ends first, of several the longest
    for (const std::string& s : o.stop_strings) {
      const std::size_t found = b.text.find(s, before - std::min(before, s.size() - 1));
      if (found == std::string::npos || std::pair(found + s.size(), found) >= std::pair(end, cut)) continue;
      cut = found;
      end = found + s.size();
    }
    if (cut == std::string::npos) return false;
    b.text.resize(cut);
    b.reason = finish_reason::stop_string;
    return true;
  }

  /// Adds a beam to the finished ones, of which the n best are kept.
  static void keep(beam b, std::vector<beam>& finished, const beam_options& o) {
    b.score = b.log_probability / o.penalty_of(b.tokens.size());
    const auto place = std::upper_bound(finished.begin(), finished.end(), b, [](const beam& x, const beam& y) { return x.score > y.score; });
    finished.insert(place, std::move(b));
    if (finished.size() > o.n_best) finished.pop_back();
  }

  /// Returns whether no live beam can change the result any more, or the host does not want to wait for that.
  [[nodiscard]] static bool is_decided(std::span<const beam> live, std::span<const beam> finished, const beam_options& o) {
    if (finished.size() < o.n_best) return false;
    if (o.stopping == beam_stopping::when_enough) return true;
    // A beam's probability can only shrink. Its logarithm is negative, so the score is best with the largest lp, which is that of the shortest or longest text.
    const std::size_t n = live.front().tokens.size();
    const double best = live.front().log_probability / std::max(o.penalty_of(n + 1), o.penalty_of(o.max_tokens));
    return best <= finished.back().score;
  }

  cria::model model_;
  beam_limits limits_;
  detail::paged_compute<Type> compute_;
  adapter_set adapters_;                   // of the current search
  std::vector<cache_type> caches_, spare_; // of the live beams; of the next ones
  std::optional<token_filter> filter_;     // none without a grammar
  std::vector<sampler_state> places_;      // of the live beams: states of filter_
  detail::vocabulary_trees trees_;         // empty before the first grammar
  std::optional<error> stuck_;             // why a beam could not go on
};

using beam_search = basic_beam_search<>;

}  // namespace cria::inline v0_1_0
