// SPDX-License-Identifier: MIT
#include <cria/sampling/sampler_config.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <string>

using cria::sampler_config;
using cria::sampling_step;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Returns the error's text after setting one field, or "ok".
template <class T>
std::string verdict(T sampler_config::* field, T value) {
  sampler_config config;
  config.*field = value;
  const auto checked = config.validate();
  return checked ? "ok" : checked.error().to_string();
}

/// Checks that a field takes the first values and refuses the second, naming itself.
template <class T>
void check_range(const char* name, T sampler_config::* field, const std::vector<T>& good, const std::vector<T>& bad) {
  CAPTURE(name);
  for (const T value : good) CHECK(verdict(field, value) == "ok");
  for (const T value : bad) {
    CAPTURE(value);
    CHECK(verdict(field, value).starts_with(std::string("bad_argument: ") + name + ": "));
  }
}

}  // namespace

TEST_CASE("sampler_config: the presets are the documented numbers") {
  const auto balanced = sampler_config::balanced();
  CHECK(balanced.temperature == 0.8f);
  CHECK(balanced.top_k == 40);
  CHECK(balanced.top_p == 0.9f);
  CHECK(balanced.min_p == 0.0f);
  CHECK(balanced.repeat_penalty == 1.0f);
  const auto creative = sampler_config::creative();
  CHECK(creative.temperature == 1.2f);
  CHECK(creative.top_k == 100);
  CHECK(creative.top_p == 0.95f);
  CHECK(sampler_config::greedy().temperature == 0.0f);
  for (const auto& config : {sampler_config{}, balanced, creative, sampler_config::greedy()}) CHECK(config.validate());
}

TEST_CASE("sampler_config: real fields refuse NaN, infinities and what is out of their range") {
  using c = sampler_config;
  const std::vector<float> not_finite_or_negative{not_a_number, infinity, -infinity, -1e-30f};
  check_range("temperature", &c::temperature, {0.0f, 0.8f, 1e30f}, not_finite_or_negative);
  check_range("dynatemp_range", &c::dynatemp_range, {0.0f, 2.0f}, not_finite_or_negative);
  check_range("dynatemp_exponent", &c::dynatemp_exponent, {0.0f, 2.0f}, not_finite_or_negative);
  check_range("top_n_sigma", &c::top_n_sigma, {0.0f, 2.0f}, not_finite_or_negative);
  check_range("dry_multiplier", &c::dry_multiplier, {0.0f, 2.0f}, not_finite_or_negative);
  check_range("mirostat_tau", &c::mirostat_tau, {0.0f, 5.0f}, not_finite_or_negative);
  check_range("mirostat_eta", &c::mirostat_eta, {0.0f, 0.1f}, not_finite_or_negative);
  const std::vector<float> not_a_probability{not_a_number, infinity, -infinity, -1e-30f, 1.0000001f};
  check_range("top_p", &c::top_p, {0.0f, 0.5f, 1.0f}, not_a_probability);
  check_range("min_p", &c::min_p, {0.0f, 0.5f, 1.0f}, not_a_probability);
  check_range("typical_p", &c::typical_p, {0.0f, 0.5f, 1.0f}, not_a_probability);
  check_range("xtc_probability", &c::xtc_probability, {0.0f, 0.5f, 1.0f}, not_a_probability);
  check_range("xtc_threshold", &c::xtc_threshold, {0.0f, 0.5f, 1.0f}, not_a_probability);
  check_range("repeat_penalty", &c::repeat_penalty, {0.5f, 1.0f, 2.0f}, {not_a_number, infinity, 0.0f, -1.0f});
  check_range("presence_penalty", &c::presence_penalty, {-2.0f, 0.0f, 2.0f}, {not_a_number, infinity, -infinity});
  check_range("frequency_penalty", &c::frequency_penalty, {-2.0f, 0.0f, 2.0f}, {not_a_number, infinity, -infinity});
  check_range("dry_base", &c::dry_base, {1.0f, 1.75f}, {not_a_number, infinity, 0.99f, -1.0f});
}

TEST_CASE("sampler_config: counts refuse what is out of their range") {
  using c = sampler_config;
  constexpr int most = 1 << 20;
  constexpr int lowest = std::numeric_limits<int>::min();
  constexpr int highest = std::numeric_limits<int>::max();
  check_range("top_k", &c::top_k, {0, 1, highest}, {-1, lowest});
  check_range("min_keep", &c::min_keep, {0, 1, highest}, {-1, lowest});
  check_range("repeat_last_n", &c::repeat_last_n, {0, 64, most}, {-1, most + 1, highest, lowest});
  check_range("dry_allowed_length", &c::dry_allowed_length, {0, most}, {-1, most + 1});
  check_range("dry_last_n", &c::dry_last_n, {0, most}, {-1, most + 1});
  check_range("no_repeat_ngram", &c::no_repeat_ngram, {0, 3, most}, {-1, most + 1});
  check_range("no_repeat_last_n", &c::no_repeat_last_n, {0, most}, {-1, most + 1});
  check_range("mirostat", &c::mirostat, {0, 1, 2}, {-1, 3});
}

TEST_CASE("sampler_config: biases are finite or -inf, of tokens that could be") {
  sampler_config config;
  config.logit_bias = {{0, -infinity}, {5, 100.0f}, {5, -3.0f}};
  CHECK(config.validate());
  for (const auto& bad : {std::pair<cria::token_id, float>{1, not_a_number}, {1, infinity}, {-1, 0.0f}}) {
    config.logit_bias = {{0, 1.0f}, bad};
    const auto checked = config.validate();
    REQUIRE_FALSE(checked);
    CHECK(checked.error().code == cria::errc::bad_argument);
    CHECK(checked.error().where == "logit_bias");
  }
}

TEST_CASE("sampler_config: a message tells the value and the range") {
  CHECK(verdict(&sampler_config::top_p, 1.5f) == "bad_argument: top_p: 1.500000 is not in [0, 1]");
  CHECK(verdict(&sampler_config::top_k, -3) == "bad_argument: top_k: -3 is not in [0, inf)");
}

TEST_CASE("sampler_config: the order is parsed, with temp for temperature") {
  using enum sampling_step;
  CHECK(*cria::parse_sampling_order("penalties;top_k;top_p;temp") == std::vector{penalties, top_k, top_p, temperature});
  CHECK(*cria::parse_sampling_order("temperature") == std::vector{temperature});
  CHECK(cria::parse_sampling_order("")->empty());
  CHECK(*cria::parse_sampling_order(sampler_config{}.order) ==
        std::vector{penalties, dry, top_n_sigma, cria::sampling_step::top_k, typical, top_p, min_p, xtc, temperature});
  for (const sampling_step step : {penalties, dry, top_n_sigma, top_k, typical, top_p, min_p, xtc, temperature}) {
    CHECK(*cria::parse_sampling_order(name(step)) == std::vector{step});
  }
}

TEST_CASE("sampler_config: an order with a name that is none, or one twice, is refused with that name") {
  const auto error_of = [](std::string_view text) { return cria::parse_sampling_order(text).error().to_string(); };
  CHECK(error_of("top_k;top_q") == "bad_argument: order: no such step: top_q");
  CHECK(error_of("top_k;;top_p") == "bad_argument: order: no such step: ");
  CHECK(error_of("top_k;") == "bad_argument: order: no such step: ");
  CHECK(error_of(";") == "bad_argument: order: no such step: ");
  CHECK(error_of("top_k ;top_p") == "bad_argument: order: no such step: top_k ");
  CHECK(error_of("Top_K") == "bad_argument: order: no such step: Top_K");
  CHECK(error_of("a\nb") == "bad_argument: order: no such step: a\\x0ab");
  CHECK(error_of("temp;temperature") == "bad_argument: order: twice: temperature");
  CHECK(error_of(std::string(1000, 'x')).size() < 200);
  CHECK(verdict(&sampler_config::order, std::string("nothing")) == "bad_argument: order: no such step: nothing");
}
