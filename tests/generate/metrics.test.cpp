// SPDX-License-Identifier: MIT
// The text format is checked line by line against its grammar (Prometheus text exposition format 0.0.4); and a model that is replaced under running
// sessions and engines, with threads.
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/metrics.hpp>
#include <cria/generate/model_slot.hpp>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

load_options one_thread() {
  load_options o;
  o.n_threads = 1;
  return o;
}

}  // namespace

TEST_CASE("metrics: every line is one of the format, every metric is declared once before its values, and the values are the counts") {
  batch_statistics s;
  s.n_running = 3;
  s.n_waiting = 17;
  s.n_added = 12345678901;
  s.n_finished[static_cast<std::size_t>(finish_reason::max_tokens)] = 42;
  s.n_failed = 2;
  s.busy_seconds = 0.1;
  s.first_token_seconds = 2.5e-7;
  s.n_first_tokens = 9;
  s.pages.n_used = 5;
  const std::string text = prometheus_text(s, {.prefix = "9my-app", .labels = {{"model", "a \"b\" \\ c\nd"}, {"zone", ""}}});
  const std::regex help("# HELP ([a-zA-Z_][a-zA-Z0-9_]*) [^\\n]+"), type("# TYPE ([a-zA-Z_][a-zA-Z0-9_]*) (counter|gauge|summary)");
  const std::regex sample("([a-zA-Z_][a-zA-Z0-9_]*)\\{([a-zA-Z_][a-zA-Z0-9_]*=\"([^\"\\\\\\n]|\\\\[\\\\\"n])*\",?)+\\} ([0-9.e+-]+)");
  std::map<std::string, std::string> type_of, value_of;
  std::istringstream lines(text);
  std::smatch m;
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    if (std::regex_match(line, m, help)) continue;
    if (std::regex_match(line, m, type)) {
      CHECK(type_of.emplace(m[1], m[2]).second);
      continue;
    }
    REQUIRE(std::regex_match(line, m, sample));
    std::string base = m[1];
    for (const char* suffix : {"_sum", "_count"}) {
      if (base.ends_with(suffix) && type_of.count(base) == 0) base.resize(base.size() - std::string(suffix).size());
    }
    REQUIRE(type_of.count(base) == 1);
    CHECK((type_of[base] == "counter") == base.ends_with("_total"));
    CHECK(value_of.emplace(line.substr(0, line.rfind(' ')), m[4]).second);
  }
  CHECK(text.ends_with("\n"));
  const std::string labels = "model=\"a \\\"b\\\" \\\\ c\\nd\",zone=\"\"";
  CHECK(value_of.at("_9my_app_requests_running{" + labels + "}") == "3");
  CHECK(value_of.at("_9my_app_requests_waiting{" + labels + "}") == "17");
  CHECK(value_of.at("_9my_app_requests_added_total{" + labels + "}") == "12345678901");
  CHECK(value_of.at("_9my_app_requests_finished_total{" + labels + ",reason=\"max_tokens\"}") == "42");
  CHECK(value_of.at("_9my_app_requests_finished_total{" + labels + ",reason=\"error\"}") == "2");
  CHECK(value_of.at("_9my_app_busy_seconds_total{" + labels + "}") == "0.1");
  CHECK(std::stod(value_of.at("_9my_app_first_token_seconds_sum{" + labels + "}")) == 2.5e-7);
  CHECK(value_of.at("_9my_app_first_token_seconds_count{" + labels + "}") == "9");
  CHECK(prometheus_text({}).find("\ncria_cache_pages_used 0\n") != std::string::npos);
}

TEST_CASE("metrics: no line has a label twice, whatever the host calls its own") {
  const std::string text = prometheus_text({}, {.labels = {{"reason", "x"}, {"my zone", "a"}, {"my-zone", "b"}, {"reason", "y"}}});
  const std::string labels = "{reason_=\"x\",my_zone=\"a\",my_zone_=\"b\",reason__=\"y\"";
  CHECK(text.find("\ncria_requests_running" + labels + "} 0\n") != std::string::npos);
  CHECK(text.find("\ncria_requests_finished_total" + labels + ",reason=\"error\"} 0\n") != std::string::npos);
}

TEST_CASE("model_slot: sessions and engines finish on the model that they began with, and its memory goes with the last of them") {
  const auto vocabulary_of = [](std::size_t n, std::uint32_t seed) { return tiny_model({.vocab_size = n, .seed = seed}).build(); };
  const std::string first = vocabulary_of(19, 1), second = vocabulary_of(23, 2);
  // A model holds its file, and a file its source: what is left of the source is left of the model, weights and all.
  auto source = memory_source(std::as_bytes(std::span(first)));
  const std::weak_ptr<const byte_source> old_model = source;
  model_slot slot(load_model(std::move(source), one_thread()).value());
  const std::vector<token_id> prompt{1, 5, 9};
  generation_options o = greedy(12);
  o.ignore_eos = true;
  std::optional<session> old_session(make_session(slot.get(), {.context_size = 64}));
  const auto wanted = old_session->generate(prompt, o).value();
  std::optional<batch_engine> engine(batch_engine::create(slot.get(), {.max_sequences = 2, .context_size = 64, .n_threads = 1}).value());
  REQUIRE(engine->add(prompt, o));
  REQUIRE(engine->step());
  {
    const model old = slot.replace(load_bytes(second).value());
    CHECK(old.vocab_size() == 19);
  }
  CHECK(slot.generation() == 1);
  CHECK(slot.get().vocab_size() == 23);
  REQUIRE(engine->run());
  CHECK(engine->next_finished()->outcome->tokens == wanted.tokens);
  engine.reset();
  old_session->reset();
  CHECK(old_session->generate(prompt, o).value().tokens == wanted.tokens);
  CHECK_FALSE(old_model.expired());
  old_session.reset();
  CHECK(old_model.expired());
  auto new_session = make_session(slot.get(), {.context_size = 64});
  CHECK(new_session.model().vocab_size() == 23);
}

TEST_CASE("model_slot: threads that take, run and replace models at once each get a whole one") {
  const std::string bytes[2] = {tiny_model({.vocab_size = 19, .seed = 1}).build(), tiny_model({.vocab_size = 23, .seed = 2}).build()};
  const std::vector<token_id> prompt{1, 5, 9};
  generation_options o = greedy(6);
  o.ignore_eos = true;
  std::map<std::size_t, std::vector<token_id>> wanted;
  for (const std::string& one : bytes) {
    auto s = make_session(load_bytes(one).value(), {.context_size = 32});
    wanted[s.model().vocab_size()] = s.generate(prompt, o).value().tokens;
  }
  model_slot slot(load_bytes(bytes[0]).value());
  std::atomic<std::size_t> n_wrong{0}, n_done{0};
  const auto use = [&] {
    for (int i = 0; i < 20; ++i) {
      auto s = session::create(slot.get(), {.context_size = 32, .n_threads = 1});
      if (!s || s->generate(prompt, o).value().tokens != wanted.at(s->model().vocab_size())) ++n_wrong;
      ++n_done;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(use);
  std::vector<std::weak_ptr<const byte_source>> sources;
  const auto n_alive = [&] { return std::count_if(sources.begin(), sources.end(), [](const auto& source) { return !source.expired(); }); };
  while (n_done < 60) {
    auto source = memory_source(std::as_bytes(std::span(bytes[slot.generation() % 2])));
    sources.emplace_back(source);
    slot.replace(load_model(std::move(source), one_thread()).value());
  }
  for (std::thread& t : threads) t.join();
  CHECK(n_wrong == 0);
  CHECK(n_alive() == 1);   // the one in the slot
}
