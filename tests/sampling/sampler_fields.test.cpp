// SPDX-License-Identifier: MIT
#include <cria/sampling/sampler_fields.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <set>
#include <string>

using namespace cria;

TEST_CASE("sampler_fields: every field's text sets it to what it is, and names are different") {
  sampler_config config;
  config.temperature = 0.1f;
  config.top_p = 0.95f;
  config.repeat_penalty = std::numeric_limits<float>::min();
  config.presence_penalty = -1.0f / 3.0f;
  config.mirostat_tau = 16777217.0f;
  config.top_k = std::numeric_limits<int>::max();
  config.seed = std::numeric_limits<std::uint64_t>::max();
  config.order = "top_k;temperature";
  std::set<std::string_view> seen;
  sampler_config copy;
  for (const std::string_view field : sampler_field_names()) {
    CAPTURE(field);
    CHECK(seen.insert(field).second);
    const auto text = sampler_field_text(config, field);
    REQUIRE(text);
    const auto done = set_sampler_field(copy, field, *text);
    CHECK_MESSAGE(done.has_value(), (done ? "" : done.error().to_string()));
    CHECK(sampler_field_text(copy, field) == text);
  }
  CHECK(seen.size() == 26);   // the struct's members but for its two lists
  CHECK(copy.temperature == config.temperature);
  CHECK(copy.repeat_penalty == config.repeat_penalty);
  CHECK(copy.presence_penalty == config.presence_penalty);
  CHECK(copy.seed == config.seed);
  CHECK(copy.order == config.order);
  CHECK(*sampler_field_text(config, "temperature") == "0.1");
  CHECK(*sampler_field_text(config, "top_p") == "0.95");
}

TEST_CASE("sampler_fields: what is no field, no number or out of range changes nothing") {
  sampler_config config;
  const auto expect_refusal = [&](std::string_view field, std::string_view text) {
    CAPTURE(field);
    CAPTURE(text);
    const auto before = sampler_field_text(config, field);
    const auto done = set_sampler_field(config, field, text);
    REQUIRE(!done);
    CHECK(done.error().code == errc::bad_argument);
    CHECK(sampler_field_text(config, field) == before);
  };
  for (const std::string_view text : {"", " ", "x", "1x", "1 ", " 1", "1,5", "0x10", "nan", "inf", "-0.5", "1e99", "--1"}) expect_refusal("temperature", text);
  for (const std::string_view text : {"", "1.5", "-1", "99999999999", "+1", "1 "}) expect_refusal("top_k", text);
  for (const std::string_view text : {"-1", "18446744073709551616", "a"}) expect_refusal("seed", text);
  expect_refusal("top_p", "1.5");
  expect_refusal("mirostat", "3");
  expect_refusal("order", "top_k;top_k");
  expect_refusal("temp", "1");
  expect_refusal("", "1");
  expect_refusal("logit_bias", "1");
}
