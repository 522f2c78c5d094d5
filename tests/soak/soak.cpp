// SPDX-License-Identifier: MIT
// soak MINUTES [SEED]: everything that a server does, over and over in one process, on a small model: loads of good and broken files, sessions, batches,
// chats, saved and restored sessions, cancelled and forgotten ones, and hosts that do any of it in any order on models of many kinds. Says every now and
// then what the process holds. bash .ci/soak builds and runs it.
//
// Exit       1 where a text is not the one that it was at first, a broken file hurts, or memory, descriptors or threads grow: what is resident at the end may
//            be 1 MiB more than after the first tenth of the time
#define DOCTEST_CONFIG_IMPLEMENT   // the small model's builder asserts with it
#include <doctest/doctest.h>

#include <cria/chat/chat_session.hpp>
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/load.hpp>
#include <cria/generate/session_file.hpp>

#include <tests/generate/random_host.hpp>
#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <unistd.h>

using namespace cria;
using namespace cria_test;
using clock_type = std::chrono::steady_clock;

namespace {

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::exit(1);
}

struct holdings {
  std::size_t resident_kib = 0, n_descriptors = 0, n_threads = 0;

  static std::size_t count(const char* folder) { return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {})); }
  static holdings now() {
#if defined(__GLIBC__)
    ::malloc_trim(0);   // what is free is not what is held
#endif
    std::size_t total = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return {resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) / 1024, count("/proc/self/fd"), count("/proc/self/task")};
  }
};

struct counts {
  std::size_t n_loads = 0, n_refused = 0, n_sessions = 0, n_requests = 0, n_replies = 0, n_restored = 0, n_tokens = 0, n_compared = 0;
};

class soak {
 public:
  explicit soak(std::uint32_t seed) : random_(seed), bytes_(make_bytes()), model_(load_bytes(bytes_).value()), expected_(text_of_fresh_session()) {}

  void round() {
    const std::size_t what = random_() % 9;
    if (what < 2) hostile_load();
    else if (what == 2) good_load();
    else if (what == 3) sessions();
    else if (what == 4) batch();
    else if (what == 5) chat();
    else if (what == 6) host();
    else save_and_restore();
  }
  [[nodiscard]] const counts& done() const { return counts_; }

 private:
  static std::string make_bytes() {
    auto parts = tiny_model({.n_layers = 2, .type = tensor_type::q4_0});
    parts.set("tokenizer.chat_template", std::string("{% for m in messages %}{{ m.role ~ ': ' ~ m.content }}{% endfor %}"));
    return parts.build();
  }
  generation_options greedy(std::size_t n) {
    counts_.n_tokens += n;
    return {.max_tokens = n, .sampling = sampler_config::greedy(), .ignore_eos = true};
  }
  std::vector<token_id> text_of_fresh_session() {
    return session::create(model_, {.context_size = 64, .n_threads = 1}).value().generate(prompt_, greedy(20)).value().tokens;
  }

  void hostile_load() {
    std::string broken = bytes_;
    for (std::size_t n = 1 + random_() % 8; n > 0; --n) broken[random_() % (random_() % 4 == 0 ? broken.size() : 1500)] = static_cast<char>(random_());
    if (random_() % 3 == 0) broken.resize(random_() % broken.size());
    load_options options;
    options.n_threads = 1 + random_() % 2;
    const auto m = load_bytes(broken, options);
    ++counts_.n_loads;
    counts_.n_refused += !m;
    if (!m) return expect(!m.error().to_string().empty(), "a refusal says why");
    auto s = session::create(*m, {.context_size = 32, .n_threads = 1});
    if (s) static_cast<void>(s->generate(prompt_, greedy(2)));
  }
  void good_load() {
    const auto path = folder_ / "model.gguf";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes_;
    model_ = load_model(path).value();
    ++counts_.n_loads;
    std::filesystem::remove(path);
  }
  void sessions() {
    for (std::size_t n = random_() % 8 + 1; n > 0; --n, ++counts_.n_sessions) {
      auto s = session::create(model_, {.context_size = 64, .n_threads = 1 + random_() % 3}).value();
      std::size_t left = random_() % 30;
      const auto done = s.generate(prompt_, greedy(20), [&](const token_event&) { return left-- > 0; });
      expect(done && std::equal(done->tokens.begin(), done->tokens.end(), expected_.begin()), "a session says what the first one said");
    }
  }
  void batch() {
    auto engine = batch_engine::create(model_, {.max_sequences = 4, .context_size = 64, .cache_positions = 160, .page_size = 16, .n_threads = 2}).value();
    std::vector<batch_id> ids;
    for (int step = 0; step < 60 || engine.has_work(); ++step) {
      if (step < 60 && random_() % 3 == 0) ids.push_back(engine.add(prompt_, greedy(20), [](std::string_view) {}).value()), ++counts_.n_requests;
      if (random_() % 20 == 0 && !ids.empty()) engine.cancel(ids[random_() % ids.size()]);
      expect(engine.step().has_value(), "a step of a batch");
      while (const auto ended = engine.next_finished()) {
        expect(ended->outcome && std::equal(ended->outcome->tokens.begin(), ended->outcome->tokens.end(), expected_.begin()),
               "a request says what the first session said");
      }
    }
  }
  void chat() {
    auto talk = chat_session::create(model_, {.context_size = 96, .n_threads = 1}).value();
    chat_options options;
    options.generation = greedy(8);
    for (std::size_t n = random_() % 10; n > 0; --n, ++counts_.n_replies) {
      options.history.policy = random_() % 2 == 0 ? history_policy::drop_oldest : history_policy::slide;
      options.generation.sampling.seed = random_();
      expect(talk.say("t5t6t7", options).has_value(), "a reply");
    }
  }
  void host() {   // its own assertions say what is wrong
    const auto seed = static_cast<std::uint32_t>(random_());
    random_host<kv_type::f16> h(make_world(seed), seed);
    for (std::size_t n = random_() % 100; n > 0; --n) h.act();
    h.finish();
    counts_.n_compared += h.n_compared;
  }
  void save_and_restore() {
    const auto path = folder_ / "session.cria";
    auto s = session::create(model_, {.context_size = 64, .n_threads = 1}).value();
    expect(s.generate(prompt_, greedy(random_() % 19 + 1)).has_value(), "generating");
    expect(save_session(s, path, {.sections = {{"a", std::vector<std::byte>(random_() % 5000)}}}).has_value(), "saving");
    auto other = session::create(model_, {.context_size = 80, .n_threads = 2}).value();
    const auto file = session_file::open(path, other);
    expect(file && file->restore(other) && other.length() == s.length(), "restoring");
    const auto done = other.generate(prompt_, greedy(20));
    expect(done && done->tokens == expected_, "a restored session says what the first one said");
    ++counts_.n_restored;
  }

  std::mt19937 random_;
  counts counts_;
  std::string bytes_;
  std::vector<token_id> prompt_ = {1, 4, 9, 4, 9, 7};
  model model_;
  std::vector<token_id> expected_;
  std::filesystem::path folder_ = [] {
    const auto made = std::filesystem::temp_directory_path() / ("cria-soak-" + std::to_string(::getpid()));
    std::filesystem::create_directories(made);
    return made;
  }();

 public:
  ~soak() { std::filesystem::remove_all(folder_); }
  soak(const soak&) = delete;
  soak& operator=(const soak&) = delete;
};

}  // namespace

int main(int argc, char** argv) {
  doctest::Context context;
  context.setAsDefaultForAssertsOutOfTestCases();
  const double seconds = (argc > 1 ? std::atof(argv[1]) : 1) * 60;
  soak work(argc > 2 ? static_cast<std::uint32_t>(std::atoi(argv[2])) : 1);
  const clock_type::time_point start = clock_type::now();
  const auto passed = [&] { return std::chrono::duration<double>(clock_type::now() - start).count(); };
  holdings first;
  std::size_t n_lines = 0;
  const auto report = [&](const holdings& h) {
    const counts& c = work.done();
    std::printf("%7.0f s: %7zu KiB, %zu descriptors, %zu threads; %zu loads (%zu refused), %zu sessions, %zu requests, %zu replies, %zu restored, %zu tokens, "
                "%zu compared\n", passed(), h.resident_kib, h.n_descriptors, h.n_threads, c.n_loads, c.n_refused, c.n_sessions, c.n_requests, c.n_replies,
                c.n_restored, c.n_tokens, c.n_compared);
    std::fflush(stdout);
  };
  while (passed() < seconds) {
    work.round();
    if (passed() < seconds / 20 * static_cast<double>(n_lines + 1)) continue;
    const holdings h = holdings::now();
    report(h);
    if (++n_lines == 2) first = h;
  }
  const holdings last = holdings::now();
  report(last);
  expect(n_lines >= 2, "long enough to tell");
  expect(last.resident_kib <= first.resident_kib + 1024, "memory is stable");
  expect(last.n_descriptors == first.n_descriptors && last.n_threads == first.n_threads, "descriptors and threads are stable");
  std::printf("stable\n");
  return 0;
}
