// SPDX-License-Identifier: MIT
// sampling/runtime_sampler.hpp - the chain that a sampler_config describes, for programs whose users choose at run time.
//
//   biases; no_repeat_ngram; then the steps of config.order that are on; then the pick (argmax, multinomial, mirostat)
// Requires  as sampler_chain: the logits of the whole vocabulary; accept() for each token of the sequence, including the prompt
// Ensures   the same tokens as a sampler_chain of the same filters; nothing is allocated after create(), except by save() and restore()
// Errors    create: bad_argument, out_of_memory; sample: non_finite, mismatch; restore: mismatch, out_of_memory
// Threads   one user at a time; copies are independent
#pragma once

#include <cria/core/function_ref.hpp>
#include <cria/core/result.hpp>
#include <cria/core/types.hpp>
#include <cria/sampling/candidate.hpp>
#include <cria/sampling/sampler.hpp>
#include <cria/sampling/sampler_config.hpp>
#if CRIA_HAS_DEFINITIONS
#include <cria/sampling/dry.hpp>
#include <cria/sampling/mirostat.hpp>
#include <cria/sampling/penalties.hpp>
#include <cria/sampling/temperature.hpp>
#include <cria/sampling/truncation.hpp>
#include <variant>
#endif

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

class runtime_sampler {
 public:
  /// Checks the config, and allocates everything that sampling needs.
  [[nodiscard]] static result<runtime_sampler> create(const sampler_config& config, std::size_t vocab_size);

  runtime_sampler(const runtime_sampler& other);
  runtime_sampler(runtime_sampler&& other) noexcept;
  runtime_sampler& operator=(const runtime_sampler& other);
  runtime_sampler& operator=(runtime_sampler&& other) noexcept;
  ~runtime_sampler();

  [[nodiscard]] result<token_id> sample(std::span<const float> logits) noexcept {
    return sample(logits, [](std::span<candidate> all) noexcept { return all; });
  }

  /// As sample(logits), with one more filter, such as a grammar's mask, before all others: it sees every token, in the order of ids.
  template <class Mask>
    requires logit_filter<std::remove_reference_t<Mask>>
  [[nodiscard]] result<token_id> sample(std::span<const float> logits, Mask&& mask) noexcept {
    return sample_masked(logits, [&mask](std::span<candidate> all) noexcept { return mask(all); });
  }

  /// Tells filters that look back the next token of the sequence.
  void accept(token_id token) noexcept;

  /// Forgets accepted tokens, and starts the random numbers again from the seed.
  void reset() noexcept;

  /// Returns the state from which a sampler of the same config and vocabulary continues as this one would.
  [[nodiscard]] sampler_state save() const;

  /// Continues from a state that save() returned. Anything else is an error and changes nothing.
  [[nodiscard]] result<void> restore(std::span<const std::uint64_t> state);

  [[nodiscard]] const sampler_config& config() const noexcept { return config_; }
  [[nodiscard]] std::size_t vocab_size() const noexcept { return storage_.size(); }

 private:
  struct steps;   // the filters and the picker
  using mask_ref = function_ref<std::span<candidate>(std::span<candidate>)>;

  runtime_sampler(const sampler_config& c, std::size_t vocab_size);

  static constexpr std::uint64_t state_version = 0x6372'6961'736d'0001;  // "criasm", 1

  [[nodiscard]] result<token_id> sample_masked(std::span<const float> logits, mask_ref mask) noexcept;

  sampler_config config_;
  std::vector<candidate> storage_;
  std::unique_ptr<steps> steps_;
};

static_assert(sampler<runtime_sampler>);

#if CRIA_HAS_DEFINITIONS

namespace detail {

[[nodiscard]] inline result<void> check_ids(const sampler_config& c, std::size_t vocab_size) {
  if (vocab_size == 0 || vocab_size > static_cast<std::size_t>(std::numeric_limits<token_id>::max())) {
    return out_of_range("vocab_size", std::to_string(vocab_size), "[1, 2147483647]");
  }
  const auto outside = [vocab_size](std::string_view field, token_id id) {
    return out_of_range(field, std::string("token ") + std::to_string(id), std::string("the vocabulary of ") + std::to_string(vocab_size));
  };
  for (const auto& [id, bias] : c.logit_bias) {
    if (!is_in_vocabulary(id, vocab_size)) return outside("logit_bias", id);
  }
  std::size_t n_breaking = 0;
  for (const auto& breaker : c.dry_breakers) {
    n_breaking += breaker.size();
    if (n_breaking > sampler_config::most_breaker_tokens) return out_of_range("dry_breakers", "a list of more than 1,024 tokens in all", "the limits");
    for (const token_id id : breaker) {
      if (!is_in_vocabulary(id, vocab_size)) return outside("dry_breakers", id);
    }
  }
  return {};
}

}  // namespace detail

struct runtime_sampler::steps {
  using filter = std::variant<logit_bias, no_repeat_ngram, penalties, dry, top_n_sigma, top_k, typical, top_p, min_p, xtc, temperature,
                              dynamic_temperature>;
  using picker = std::variant<argmax, multinomial, mirostat_v1, mirostat_v2>;

  std::vector<filter> filters;
  picker picked;

  steps(const sampler_config& c, std::size_t vocab_size) : picked(picker_of(c)) {
    if (!c.logit_bias.empty()) filters.emplace_back(logit_bias(c.logit_bias));
    if (c.no_repeat_ngram > 0) {
      filters.emplace_back(no_repeat_ngram({.n = size(c.no_repeat_ngram), .last_n = size(c.no_repeat_last_n)}, vocab_size));
    }
  }

  // Adds a step where its numbers make it do something, and the picker leaves it something to do.
  void add(sampling_step step, const sampler_config& c, std::size_t vocab_size) {
    const bool may_drop = std::holds_alternative<multinomial>(picked);
    const std::size_t min_keep = size(c.min_keep);
    switch (step) {
      case sampling_step::penalties:
        if (c.repeat_last_n == 0 || (c.repeat_penalty == 1.0f && c.presence_penalty == 0.0f && c.frequency_penalty == 0.0f)) return;
        filters.emplace_back(penalties({.repeat = c.repeat_penalty, .presence = c.presence_penalty, .frequency = c.frequency_penalty,
                                         .last_n = size(c.repeat_last_n)}, vocab_size));
        return;
      case sampling_step::dry:
        if (c.dry_multiplier == 0.0f || c.dry_last_n == 0) return;
        filters.emplace_back(dry({.multiplier = c.dry_multiplier, .base = c.dry_base, .allowed_length = size(c.dry_allowed_length),
                                   .last_n = size(c.dry_last_n), .breakers = c.dry_breakers}, vocab_size));
        return;
      case sampling_step::top_n_sigma:
        if (may_drop && c.top_n_sigma > 0.0f) filters.emplace_back(top_n_sigma{c.top_n_sigma, min_keep});
        return;
      case sampling_step::top_k:
        if (may_drop && c.top_k > 0) filters.emplace_back(top_k{size(c.top_k)});
        return;
      case sampling_step::typical:
        if (may_drop && c.typical_p < 1.0f) filters.emplace_back(typical{c.typical_p, min_keep});
        return;
      case sampling_step::top_p:
        if (may_drop && c.top_p < 1.0f) filters.emplace_back(top_p{c.top_p, min_keep});
        return;
      case sampling_step::min_p:
        if (may_drop && c.min_p > 0.0f) filters.emplace_back(min_p{c.min_p, min_keep});
        return;
      case sampling_step::xtc:
        if (!may_drop || c.xtc_probability == 0.0f || c.xtc_threshold > 0.5f) return;
        filters.emplace_back(xtc({.probability = c.xtc_probability, .threshold = c.xtc_threshold, .min_keep = min_keep, .seed = c.seed}));
        return;
      case sampling_step::temperature:
        if (c.temperature == 0.0f) return;
        if (c.dynatemp_range > 0.0f) {
          filters.emplace_back(dynamic_temperature{c.temperature, c.dynatemp_range, c.dynatemp_exponent});
        } else if (c.temperature != 1.0f) {
          filters.emplace_back(temperature{c.temperature});
        }
        return;
    }
  }

  template <class Part>
  static void save_part(const Part& part, sampler_state& out) {
    std::visit([&](const auto& one) {
      if constexpr (requires { one.save(out); }) {
        out.push_back(part.index());
        one.save(out);
      }
    }, part);
  }

  template <class Part>
  [[nodiscard]] static bool restore_part(Part& part, std::span<const std::uint64_t>& in) noexcept {
    return std::visit([&](auto& one) noexcept {
      if constexpr (requires { one.restore(in); }) {
        if (in.empty() || in[0] != part.index()) return false;
        in = in.subspan(1);
        return one.restore(in);
      } else {
        return true;
      }
    }, part);
  }

  [[nodiscard]] static std::size_t size(int n) noexcept { return static_cast<std::size_t>(n); }

  [[nodiscard]] static picker picker_of(const sampler_config& c) noexcept {
    const mirostat_options steered{.tau = c.mirostat_tau, .eta = c.mirostat_eta, .seed = c.seed};
    if (c.temperature == 0.0f) return argmax{};
    if (c.mirostat == 1) return mirostat_v1(steered);
    if (c.mirostat == 2) return mirostat_v2(steered);
    return multinomial(c.seed);
  }
};

CRIA_INLINE runtime_sampler::runtime_sampler(const sampler_config& c, std::size_t vocab_size)
    : config_(c), storage_(vocab_size), steps_(std::make_unique<steps>(c, vocab_size)) {}
CRIA_INLINE runtime_sampler::runtime_sampler(const runtime_sampler& other)
    : config_(other.config_), storage_(other.storage_), steps_(std::make_unique<steps>(*other.steps_)) {}
CRIA_INLINE runtime_sampler::runtime_sampler(runtime_sampler&& other) noexcept = default;
CRIA_INLINE runtime_sampler& runtime_sampler::operator=(const runtime_sampler& other) { return *this = runtime_sampler(other); }
CRIA_INLINE runtime_sampler& runtime_sampler::operator=(runtime_sampler&& other) noexcept = default;
CRIA_INLINE runtime_sampler::~runtime_sampler() = default;

CRIA_INLINE result<runtime_sampler> runtime_sampler::create(const sampler_config& config, std::size_t vocab_size) {
  return catch_bad_alloc([&]() -> result<runtime_sampler> {
    CRIA_CHECK(config.validate());
    CRIA_CHECK(detail::check_ids(config, vocab_size));
    CRIA_TRY(const auto order, parse_sampling_order(config.order));
    runtime_sampler made(config, vocab_size);
    for (const sampling_step step : order) made.steps_->add(step, config, vocab_size);
    return made;
  }, "sampler");
}

CRIA_INLINE result<token_id> runtime_sampler::sample_masked(std::span<const float> logits, mask_ref mask) noexcept {
  CRIA_TRY(std::span<candidate> left, detail::load_candidates(logits, storage_));
  CRIA_TRY(left, detail::pickable(mask(left)));
  for (steps::filter& f : steps_->filters) left = std::visit([left](auto& one) noexcept { return one(left); }, f);
  CRIA_TRY(left, detail::pickable(left));
  return std::visit([left](auto& one) noexcept { return one(left); }, steps_->picked);
}

CRIA_INLINE void runtime_sampler::accept(token_id token) noexcept {
  for (steps::filter& f : steps_->filters) std::visit([token](auto& one) noexcept { detail::accept_if_can(one, token); }, f);
}

CRIA_INLINE void runtime_sampler::reset() noexcept {
  for (steps::filter& f : steps_->filters) std::visit([](auto& one) noexcept { detail::reset_if_can(one); }, f);
  std::visit([](auto& one) noexcept { detail::reset_if_can(one); }, steps_->picked);
}

CRIA_INLINE sampler_state runtime_sampler::save() const {
  sampler_state out{state_version, storage_.size()};
  for (const steps::filter& f : steps_->filters) steps::save_part(f, out);
  steps::save_part(steps_->picked, out);
  return out;
}

CRIA_INLINE result<void> runtime_sampler::restore(std::span<const std::uint64_t> state) {
  return catch_bad_alloc([&]() -> result<void> {
    const error wrong{errc::mismatch, "sampler state", "not of this sampler's config and vocabulary"};
    if (state.size() < 2 || state[0] != state_version || state[1] != storage_.size()) return wrong;
    state = state.subspan(2);
    runtime_sampler next = *this;
    for (steps::filter& f : next.steps_->filters) {
      if (!steps::restore_part(f, state)) return wrong;
    }
    if (!steps::restore_part(next.steps_->picked, state) || !state.empty()) return wrong;
    *this = std::move(next);
    return {};
  }, "sampler");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
