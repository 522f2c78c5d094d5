// SPDX-License-Identifier: MIT
// What hosts, disks and threads do to a load, a session, a batch and the rest: special files, a file that changes under its reader, a real full disk,
// code of the host that throws at any call, a stop between any two steps of the work, forks, many threads. Nothing hangs, everything goes on.
#include <cria/core/stop_token.hpp>
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/beam_search.hpp>
#include <cria/generate/load.hpp>
#include <cria/generate/logits_file.hpp>
#include <cria/generate/perplexity.hpp>
#include <cria/generate/session.hpp>
#include <cria/generate/session_file.hpp>
#include <cria/generate/speculative.hpp>
#include <cria/model/quantize.hpp>

#include <tests/support/adapter_parts.hpp>
#include <tests/support/sanitized.hpp>
#include <tests/support/stack_use.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <clocale>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <csignal>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace cria;
using namespace cria_test;

namespace {

const std::vector<token_id> prompt = {1, 4, 9, 4, 9, 7};

const std::string& model_bytes() {
  static const std::string bytes = tiny_model().build();
  return bytes;
}

model small_model() { return load_bytes(model_bytes()).value(); }

generation_options greedy(std::size_t n) { return {.max_tokens = n, .sampling = sampler_config::greedy(), .ignore_eos = true}; }

load_options threads_of(std::size_t n) {
  load_options o;
  o.n_threads = n;
  return o;
}

session make_session(const model& m) { return session::create(m, {.context_size = 48, .n_threads = 1}).value(); }

/// A folder that is there as long as this is.
struct folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("cria-faults-" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
  folder() { std::filesystem::create_directories(path); }
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  [[nodiscard]] std::size_t count() const { return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {})); }
};

/// The model's bytes until `n_good` reads were made, others from then on.
class changing_source final : public byte_source {
 public:
  enum class change { other_model, ones, shorter };
  changing_source(const std::string& bytes, std::string other, int n_good, change what)
      : bytes_(bytes), other_(std::move(other)), n_good_(n_good), what_(what) {}
  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] std::string name() const override { return "changing"; }
  [[nodiscard]] result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    const bool is_changed = n_good_-- <= 0;
    if (is_changed) ++n_changed;
    if (is_changed && what_ == change::shorter && offset + out.size() > bytes_.size() / 2) {
      return error{errc::io, "changing", "the file ends before the bytes to read", offset};
    }
    const std::string& from = is_changed && what_ == change::other_model ? other_ : bytes_;
    if (offset > from.size() || out.size() > from.size() - offset) return error{errc::io, "changing", "the file ends before the bytes to read", offset};
    if (is_changed && what_ == change::ones) std::fill(out.begin(), out.end(), std::byte{0xff});
    else std::copy_n(reinterpret_cast<const std::byte*>(from.data()) + offset, out.size(), out.begin());
    return {};
  }
  mutable int n_changed = 0;

 private:
  const std::string& bytes_;
  std::string other_;
  mutable int n_good_;
  change what_;
};

}  // namespace

TEST_CASE("faults: a file that becomes another one after any read is a typed error or a model, never more") {
  using change = changing_source::change;
  const std::string other = tiny_model({.seed = 7}).build();
  const load_options one_thread = threads_of(1);
  auto parts = tiny_model();
  parts.set("long", std::string(3'000'000, 'x'));   // so that the metadata takes several reads
  const std::string longer = parts.build();
  for (const change what : {change::other_model, change::ones, change::shorter}) {
    for (int n_good = 0;; ++n_good) {
      CAPTURE(n_good);
      const auto source = std::make_shared<changing_source>(longer, other, n_good, what);
      const auto m = load_model(source, one_thread);
      if (source->n_changed == 0) {
        CHECK(m);
        break;
      }
      if (!m) {
        CHECK_FALSE(m.error().where.empty());
        continue;
      }
      session used = session::create(*m, {.context_size = 16, .n_threads = 1}).value();
      static_cast<void>(used.generate(prompt, greedy(2)));   // text or non_finite
    }
  }
}

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("faults: models and session files that are folders, FIFOs, sockets, devices or nothing are io at once") {
  const folder dir;
  const model m = small_model();
  session s = make_session(m);
  REQUIRE(s.evaluate(prompt));
  const auto fifo = dir.path / "fifo", socket_path = dir.path / "socket", loop = dir.path / "loop", link = dir.path / "link";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(socket_path.string().copy(address.sun_path, sizeof address.sun_path - 1) == socket_path.string().size());
  REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  std::filesystem::create_symlink(loop, loop);
  std::filesystem::create_symlink("/dev/zero", link);
  const auto start = std::chrono::steady_clock::now();
  for (const std::filesystem::path& path : {dir.path, fifo, socket_path, loop, link, dir.path / "absent", std::filesystem::path("/dev/zero"),
                                            std::filesystem::path("/dev/null"), std::filesystem::path("/dev/tty"), std::filesystem::path()}) {
    CAPTURE(path);
    const auto loaded = load_model(path);
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().code == errc::io);
    const auto opened = session_file::open(path, s);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code == errc::io);
    if (path == dir.path / "absent") continue;   // which is where a file may go
    const auto saved = save_session(s, path);
    REQUIRE_FALSE(saved);
    CHECK(saved.error().code == errc::io);
  }
  const auto full = save_session(s, "/dev/full");
  REQUIRE_FALSE(full);
  CHECK(full.error().code == errc::io);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(dir.count() == 4);
  ::close(socket);
}

TEST_CASE("faults: a sparse file of a terabyte is refused or read as fast as a small one, with as little memory") {
  const folder dir;
  const auto path = dir.path / "large";
  const auto resize = [&](std::uint64_t size) {
    std::error_code failure;
    std::filesystem::resize_file(path, size, failure);
    return !failure;
  };
  const auto write = [&](const std::string& bytes) { std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes; };
  const auto start = std::chrono::steady_clock::now();
  write("");
  if (!resize(std::uint64_t{1} << 40)) {
    MESSAGE("SKIPPED: no sparse files of a terabyte here");
    return;
  }
  CHECK(load_model(path).error().code == errc::bad_magic);
  // Counts that the file's size would allow, of keys that are zeros.
  write("GGUF" + raw<std::uint32_t>(3) + raw<std::uint64_t>(std::uint64_t{1} << 38) + raw<std::uint64_t>(std::uint64_t{1} << 36));
  REQUIRE(resize(std::uint64_t{1} << 40));
  CHECK(load_model(path).error().code == errc::limit_exceeded);
  // A model with a terabyte behind it, and one whose tensor table says that it is large.
  write(model_bytes());
  REQUIRE(resize(std::uint64_t{1} << 40));
  const load_options one_thread = threads_of(1);
  CHECK(load_model(path, one_thread));
  write(gguf_builder()
            .key("general.architecture", std::string("llama"))
            .raw_tensor(raw_string("token_embd.weight"), 2, {std::uint64_t{1} << 20, std::uint64_t{1} << 17}, 0, 0)
            .build());
  REQUIRE(resize(std::uint64_t{1} << 40));
  CHECK_FALSE(load_model(path, one_thread));
  const session s = make_session(small_model());
  CHECK(session_file::open(path, s).error().code == errc::bad_magic);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("faults: where the system lets files grow no further, saving is io, the old file stays, and nothing else is left") {
  const folder dir;
  const auto path = dir.path / "saved";
  session s = make_session(small_model());
  REQUIRE(s.evaluate(prompt));
  REQUIRE(save_session(s, path));
  const auto size = std::filesystem::file_size(path);
  auto* const before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  for (const std::uint64_t most : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{size - 1}}) {
    const rlimit small{static_cast<rlim_t>(most), limit.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    const auto saved = save_session(s, path);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    REQUIRE_FALSE(saved);
    CHECK(saved.error().code == errc::io);
    CHECK(saved.error().where.find("saved") != std::string::npos);
    CHECK(std::filesystem::file_size(path) == size);
    CHECK(dir.count() == 1);
  }
  std::signal(SIGXFSZ, before);
  CHECK(session_file::open(path, s));
  CHECK(save_session(s, path));
}

namespace {

/// Returns how a forked child that runs `work` ends: 0 if that says true.
template <class Work>
int child_of(Work&& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    ::_exit(work() ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

/// Returns whether a child that writes there what is there already is killed for it.
bool is_read_only(const void* at) {
  const int status = child_of([at] {
    for (const int fault : {SIGSEGV, SIGBUS}) std::signal(fault, SIG_DFL);
    auto* const byte = static_cast<volatile unsigned char*>(const_cast<void*>(at));
    *byte = *byte;
    return true;
  });
  return WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

}  // namespace

TEST_CASE("faults: a write into a weight of a model or an adapter is the end of its process; both can be let go of and loaded again") {
  std::vector<unsigned char> plain(1);
  CHECK_FALSE(is_read_only(plain.data()));   // the child lives where a write is fine
  auto parts = tiny_model({.biases = true});
  const adapter_parts adapted(parts, {"blk.0.attn_q.weight"}, 4, 8, 3);
  const auto check = [](const model& m) {
    const decoder_weights& w = m.weights();
    const auto check_weight = [](const nn::weight& each) {
      CHECK(is_read_only(each.panels.data()));
      CHECK(is_read_only(each.panels.data() + each.panels.size() - 1));
      if (each.bias.size() > 0) CHECK(is_read_only(each.bias.data()));
    };
    const decoder_layer& l = w.layers.back();
    for (const nn::weight* each : {&l.attn_q, &l.attn_k, &l.attn_output, &l.ffn_gate, &l.ffn_down, &w.output}) check_weight(*each);
    CHECK(is_read_only(l.attn_norm.data()));
    CHECK(is_read_only(w.output_norm.data()));
    if (!w.is_tied()) CHECK(is_read_only(w.token_embd.bytes.data()));
  };
  const std::string bytes = parts.build(), tied = tiny_model({.type = tensor_type::q4_0, .tied = true}).build();
  for (int times = 0; times < 2; ++times) {
    const model m = load_bytes(bytes).value();
    check(m);
    const adapter a = adapter_of(adapted.file, m);
    CHECK(is_read_only(a.use().set->pairs.front().a.panels.data()));
    CHECK(is_read_only(a.use().set->pairs.front().b.panels.data()));
    check(load_bytes(tied).value());
  }
}

#if !CRIA_TEST_SANITIZED   // a forked child of a program with several threads is more than the thread sanitizer follows
TEST_CASE("faults: a child forked after the load or between two tokens goes on by itself, and so does its parent") {
  const model m = small_model();
  const auto expected = make_session(m).generate(prompt, greedy(12)).value().tokens;
  session s = session::create(m, {.context_size = 48, .n_threads = 3}).value();
  const auto generates = [&] {
    const auto done = s.generate(prompt, greedy(12));
    return done && done->tokens == expected;
  };
  for (int i = 0; i < 10; ++i) {
    CHECK(child_of([&] {
      auto fresh = session::create(m, {.context_size = 48, .n_threads = 2});
      return fresh && fresh->generate(prompt, greedy(12)).value().tokens == expected;
    }) == 0);
    CHECK(child_of(generates) == 0);
    auto stream = s.stream(prompt, greedy(12));
    std::size_t n = 0;
    for (auto at = stream.begin(); at != stream.end(); ++at, ++n) {
      if (n != static_cast<std::size_t>(i)) continue;
      CHECK(child_of([&] {
        for (auto rest = stream.begin(); rest != stream.end(); ++rest) {
        }
        const auto done = stream.result();
        return done && done->tokens == expected;
      }) == 0);
    }
    const auto done = stream.result();
    REQUIRE(done);
    CHECK(done->tokens == expected);
    CHECK(generates());
  }
}
#endif
#endif

#if defined(__unix__) || defined(__APPLE__)
namespace {

/// Runs `work` on a thread with that much stack.
template <class Work>
void on_stack_of(std::size_t bytes, Work&& work) {
  pthread_attr_t attributes;
  REQUIRE(::pthread_attr_init(&attributes) == 0);
  REQUIRE(::pthread_attr_setstacksize(&attributes, bytes) == 0);
  cria_test::run_on_thread(attributes, work);
}

constexpr std::size_t small_stack = 1 << 20;   // builds without optimisation and with sanitizers have frames several times larger than others

}  // namespace

TEST_CASE("faults: threads with little stack load and generate, one session or a batch") {
  const auto expected = make_session(small_model()).generate(prompt, greedy(8)).value().tokens;
  bool is_right = false;
  on_stack_of(small_stack, [&] {
    const auto m = load_bytes(model_bytes(), threads_of(2));
    if (!m) return;
    auto s = session::create(*m, {.context_size = 48, .n_threads = 2});
    auto engine = batch_engine::create(*m, {.max_sequences = 2, .context_size = 48, .page_size = 16, .n_threads = 2});
    generation_options sampled = greedy(8);
    sampled.sampling = sampler_config::balanced();
    if (!s || !engine || !s->generate(prompt, sampled) || !engine->add(prompt, greedy(8)) || !engine->run()) return;
    const auto done = s->generate(prompt, greedy(8));
    const auto ended = engine->next_finished();
    is_right = done && done->tokens == expected && ended && ended->outcome && ended->outcome->tokens == expected;
  });
  CHECK(is_right);
}
#endif

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("faults: loading, generating, batches, beams and guesses take less than 128 KiB of the caller's stack") {
  if constexpr (stack_frames_are_usual) {
    const std::string bytes = tiny_model({.type = tensor_type::q4_0, .tied = true}).build();
    const std::size_t to_load = stack_use_of([&] { static_cast<void>(load_bytes(bytes, threads_of(2)).has_value()); });
    const model m = load_bytes(bytes).value();
    generation_options sampled = greedy(8);
    sampled.sampling = sampler_config::balanced();
    const std::size_t to_generate = stack_use_of([&] {
      auto s = session::create(m, {.context_size = 48, .n_threads = 2});
      static_cast<void>(s && s->generate(prompt, sampled) && s->generate(std::string_view("t4 t5"), greedy(8)) && s->embed(prompt));
    });
    const std::size_t to_search = stack_use_of([&] {
      auto search = beam_search::create(m, {.max_width = 3, .context_size = 48, .n_threads = 1});
      static_cast<void>(search && search->search(prompt, {.width = 3, .max_tokens = 5}));
    });
    const std::size_t to_batch = stack_use_of([&] {
      auto engine = batch_engine::create(m, {.max_sequences = 2, .context_size = 48, .page_size = 16, .n_threads = 2});
      static_cast<void>(engine && engine->add(prompt, sampled) && engine->run());
    });
    const std::size_t to_guess = stack_use_of([&] {
      auto s = session::create(m, {.context_size = 48, .n_threads = 1});
      lookup_drafter drafter;
      static_cast<void>(s && generate_speculatively(*s, prompt, greedy(8), drafter));
    });
    for (const std::size_t used : {to_load, to_generate, to_search, to_batch, to_guess}) CHECK(used < 128 << 10);   // 16 to 57 KiB with GCC 12
  }
}
#endif

TEST_CASE("faults: a model of 700 layers loads and says something") {
  const std::string bytes = tiny_model({.n_layers = 700, .ffn_dim = 32}).build();
  const auto m = load_bytes(bytes);
  REQUIRE(m);
  const auto done = make_session(*m).generate(prompt, greedy(2));
  REQUIRE(done);
  CHECK(done->n_generated() == 2);
}

TEST_CASE("faults: rounding, the floating-point mode and the locale are what they were") {
  std::fenv_t before{}, after{};
  REQUIRE(std::feclearexcept(FE_ALL_EXCEPT) == 0);
  REQUIRE(std::fegetenv(&before) == 0);
  const std::string locale = std::setlocale(LC_ALL, nullptr);
  const auto expected = make_session(small_model()).generate(prompt, greedy(4)).value().tokens;
  REQUIRE(std::feclearexcept(FE_ALL_EXCEPT) == 0);
  REQUIRE(std::fegetenv(&after) == 0);
#if defined(__x86_64__)
  CHECK(after.__mxcsr == before.__mxcsr);
  CHECK(after.__control_word == before.__control_word);
#endif
  CHECK(std::fegetround() == FE_TONEAREST);
  CHECK(std::setlocale(LC_ALL, nullptr) == locale);
  CHECK(expected.size() == 4);
}

TEST_CASE("faults: many sessions of one model on many threads, stopped and destroyed at will, say what each says alone") {
  const model m = small_model();
  std::vector<std::vector<token_id>> prompts, expected;
  for (token_id i = 0; i < 6; ++i) {
    prompts.push_back({1, static_cast<token_id>(3 + i), 9, static_cast<token_id>(4 + i)});
    expected.push_back(make_session(m).generate(prompts.back(), greedy(16)).value().tokens);
  }
  std::atomic<int> n_wrong{0};
  {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 8; ++t) {
      threads.emplace_back([&, t, mine = m] {
        for (std::size_t round = 0; round < 6; ++round) {
          const std::size_t i = (t + round) % prompts.size();
          auto s = session::create(mine, {.context_size = 48, .n_threads = 1 + (t + round) % 3});
          if (!s) return void(++n_wrong);
          stop_source stop;
          generation_options options = greedy(16);
          options.stop = stop.get_token();
          std::size_t n = 0;
          const auto stopped = s->generate(prompts[i], options, [&](const token_event&) {
            if (++n == t % 5 + 1) stop.request_stop();
          });
          n_wrong += !stopped || stopped->reason != finish_reason::cancelled ||
                     !std::equal(stopped->tokens.begin(), stopped->tokens.end(), expected[i].begin());
          if (round % 3 == 2) continue;   // destroyed as it is
          const auto whole = s->generate(prompts[i], greedy(16));
          n_wrong += !whole || whole->tokens != expected[i];
        }
      });
    }
    threads.emplace_back([&, mine = m] {
      for (int round = 0; round < 3; ++round) {
        auto engine = batch_engine::create(mine, {.max_sequences = 3, .context_size = 48, .page_size = 16, .n_threads = 2});
        if (!engine) return void(++n_wrong);
        std::vector<batch_id> ids;
        for (const auto& p : prompts) ids.push_back(engine->add(p, greedy(16)).value());
        n_wrong += !engine->run();
        while (const auto ended = engine->next_finished()) {
          const auto i = static_cast<std::size_t>(std::find(ids.begin(), ids.end(), ended->id) - ids.begin());
          n_wrong += !ended->outcome || ended->outcome->tokens != expected[i];
        }
      }
    });
    threads.emplace_back([&] {
      for (int round = 0; round < 4; ++round) n_wrong += !load_bytes(model_bytes(), threads_of(2));
    });
    for (std::thread& t : threads) t.join();
  }
  CHECK(n_wrong == 0);
}

namespace {

/// A host's executor: calls `at_run` before each of its runs, which are the steps of a pass that are large enough to be shared.
struct hooked_executor {
  std::function<void()> at_run;
  std::size_t concurrency() const noexcept { return 2; }
  void run(std::size_t n, task_ref task) {
    if (at_run) at_run();
    for (std::size_t i = 0; i < n; ++i) task(i);
  }
};

/// Large enough that its products and its attention are shared out.
const std::string& wide_bytes() {
  static const std::string bytes = tiny_model({.dim = 128, .n_layers = 4, .n_heads = 4, .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 512}).build();
  return bytes;
}

/// Everything that computes with a model, on an executor of the host.
class workshop {
 public:
  explicit workshop(hooked_executor& threads) : threads_(threads) {}

  static constexpr int n_kinds = 8;

  /// Does one kind of work; returns what came of it, as text.
  result<std::string> work(int kind, const stop_token& stop) {
    generation_options options = greedy(6);
    options.stop = stop;
    const auto text_of = [](const auto& done) -> result<std::string> {
      if (!done) return done.error();
      if (done->reason == finish_reason::cancelled) return error{errc::cancelled, "text"};
      return numbers(done->tokens);
    };
    switch (kind) {
      case 0: return text_of(session_.generate(prompt, options));
      case 1: {
        auto stream = session_.stream(prompt, options);
        for (auto at = stream.begin(); at != stream.end(); ++at) {
        }
        return text_of(stream.result());
      }
      case 2: {
        lookup_drafter drafter;
        return text_of(generate_speculatively(session_, prompt, options, drafter));
      }
      case 3: {
        const auto measured = measure_perplexity(session_, windows_, {.stop = stop});
        return measured ? result<std::string>(std::to_string(measured->value())) : measured.error();
      }
      case 4: {
        const auto vector = session_.embed(prompt, {.stop = stop});
        return vector ? result<std::string>(std::to_string(vector->front())) : vector.error();
      }
      case 5: {
        beam_options beams{.width = 2, .max_tokens = 5};
        beams.stop = stop;
        const auto found = search_.search(prompt, beams);
        return found ? result<std::string>(numbers(found->front().tokens)) : found.error();
      }
      case 6: return batch(stop);
      default: {
        std::vector<std::byte> out;
        quantize_options small{.type = file_type::q8_0};
        small.executor = executor_ref(threads_);
        small.stop = stop;
        const auto done = quantize(file_, memory_sink(out), small);
        return done ? result<std::string>(std::string(reinterpret_cast<const char*>(out.data()), out.size())) : done.error();
      }
    }
  }

 private:
  static std::string numbers(std::span<const token_id> tokens) {
    std::string out;
    for (const token_id id : tokens) out += std::to_string(id) + " ";
    return out;
  }

  /// Two requests side by side. After an error the engine goes on with what it has, which must be right in the end.
  result<std::string> batch(const stop_token& stop) {
    while (engine_.next_finished()) {
    }
    if (!engine_.has_work()) {
      for (const token_id last : {7, 5}) REQUIRE(engine_.add(std::vector<token_id>{1, 4, 9, last}, greedy(5)));
    }
    CRIA_CHECK(engine_.run(stop));
    std::vector<std::string> texts;
    while (const auto ended = engine_.next_finished()) texts.push_back(ended->outcome ? numbers(ended->outcome->tokens) : ended->outcome.error().to_string());
    std::sort(texts.begin(), texts.end());
    std::string all;
    for (const std::string& t : texts) all += t + "\n";
    return all;
  }

  hooked_executor& threads_;
  model model_ = load_bytes(wide_bytes()).value();
  session session_ = session::create(model_, {.context_size = 48, .max_batch = 4, .executor = executor_ref(threads_)}).value();
  beam_search search_ = beam_search::create(model_, {.max_width = 2, .context_size = 48, .executor = executor_ref(threads_)}).value();
  batch_engine engine_ = batch_engine::create(model_, {.max_sequences = 2, .context_size = 48, .page_size = 16, .executor = executor_ref(threads_)}).value();
  text_windows windows_ = text_windows::create({1, 4, 5, 6, 7, 8, 9, 4, 3, 5, 7, 3, 3, 4, 3, 3}, 1, {.window = 8}).value();
  gguf::file file_ = open_bytes(wide_bytes()).value();
};

}  // namespace

TEST_CASE("faults: a stop at any step of a pass ends generating, measuring, batches, beams and quantising within a layer, and all go on as if none had been") {
  hooked_executor threads;
  workshop shop(threads);
  // Norms, products and attention, some for each of two sequences: 5 to 12. A pass of four layers that went on would take 19 or more.
  constexpr int most_of_layer = 16;
  for (int kind = 0; kind < workshop::n_kinds; ++kind) {
    CAPTURE(kind);
    threads.at_run = {};
    const std::string expected = shop.work(kind, {}).value();
    int n_cancelled = 0, most_after = 0;
    for (int length = 0;; ++length) {
      CAPTURE(length);
      stop_source stop;
      int left = length, n_after = 0;
      threads.at_run = [&] {
        if (left-- == 0) stop.request_stop();
        n_after += left < -1;
      };
      const auto done = shop.work(kind, stop.get_token());
      threads.at_run = {};
      most_after = std::max(most_after, n_after);
      if (done) CHECK(*done == expected);
      else CHECK(done.error().code == errc::cancelled);
      n_cancelled += !done;
      const auto next = shop.work(kind, {});
      REQUIRE(next);
      CHECK(*next == expected);
      if (left >= 0) break;
    }
    CHECK(n_cancelled > (kind == 7 ? 4 : 8));
    CHECK(most_after <= most_of_layer);
  }
}

#if CRIA_HAS_EXCEPTIONS
namespace {

struct oops {};

/// Counts down, then throws once.
struct fuse {
  int left;
  void burn() {
    if (left-- == 0) throw oops{};
  }
};

/// A greedy sampler whose calls burn a fuse.
struct fused_sampler {
  fuse* sample_fuse;
  fuse* accept_fuse;
  result<token_id> sample(std::span<const float> logits) {
    sample_fuse->burn();
    return static_cast<token_id>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  void accept(token_id) { accept_fuse->burn(); }
};
static_assert(sampler<fused_sampler>);

struct fused_drafter {
  fuse* own;
  std::size_t max_guesses() const noexcept { return 3; }
  std::size_t draft(std::span<const token_id>, std::span<token_id> out) {
    own->burn();
    std::fill(out.begin(), out.end(), 5);
    return std::min<std::size_t>(out.size(), 2);
  }
};

/// The contiguous cache, whose reserve() burns a fuse and then throws or fails.
class fused_cache {
  using storage = contiguous_kv_cache<kv_type::f16>;

 public:
  static constexpr kv_type type = storage::type;
  fused_cache(const kv_shape& shape, fuse* own, bool throws) : kept_(storage::create(shape, 48).value()), own_(own), throws_(throws) {}
  std::size_t length() const noexcept { return kept_.length(); }
  std::size_t capacity() const noexcept { return kept_.capacity(); }
  std::size_t bytes() const noexcept { return kept_.bytes(); }
  std::size_t v_stride() const noexcept { return kept_.v_stride(); }
  std::size_t max_segments() const noexcept { return kept_.max_segments(); }
  result<void> reserve(std::size_t n) {
    if (own_->left-- == 0) {
      if (throws_) throw oops{};
      return error{errc::limit_exceeded, "cache", "the host wants no more"};
    }
    return kept_.reserve(n);
  }
  void write(kv_slot slot, kv_row row) noexcept { kept_.write(slot, row); }
  void commit(std::size_t n) noexcept { kept_.commit(n); }
  void truncate(std::size_t n) noexcept { kept_.truncate(n); }
  std::size_t segments(kv_head head, std::span<kv_segment> out) const noexcept { return kept_.segments(head, out); }

 private:
  storage kept_;
  fuse* own_;
  bool throws_;
};
static_assert(kv_cache<fused_cache>);

/// Calls `work` with a fuse of every length until it does not burn; each time it must throw oops, and `after` is called.
void burn_each(const std::function<void(fuse&)>& work, const std::function<void()>& after) {
  int n_thrown = 0;
  for (int length = 0;; ++length) {
    CAPTURE(length);
    fuse f{length};
    bool has_thrown = false;
    try {
      work(f);
    } catch (const oops&) {
      has_thrown = true;
    }
    CHECK(has_thrown == (f.left < 0));
    after();
    if (f.left >= 0) break;
    ++n_thrown;
  }
  CHECK(n_thrown > 0);
}

}  // namespace

TEST_CASE("faults: what progress, callbacks, samplers, drafters and caches of the host throw at any call reaches the caller, and the session goes on") {
  const model m = small_model();
  const auto expected = make_session(m).generate(prompt, greedy(8)).value().tokens;
  session s = make_session(m);
  const auto goes_on = [&] {
    CHECK(s.tokens().size() == s.cache().length());
    const auto next = s.generate(prompt, greedy(8));
    REQUIRE(next);
    CHECK(next->tokens == expected);
  };
  fuse never{1 << 30};
  burn_each([&](fuse& f) {
    load_options options = threads_of(1);
    options.progress = [&](const load_progress&) { return f.burn(), true; };
    static_cast<void>(load_bytes(model_bytes(), options));
  }, [] {});
  burn_each([&](fuse& f) { static_cast<void>(s.generate(prompt, greedy(8), [&](const token_event&) { f.burn(); })); }, goes_on);
  burn_each([&](fuse& f) { static_cast<void>(s.generate(prompt, greedy(8), fused_sampler{&f, &never})); }, goes_on);
  burn_each([&](fuse& f) { static_cast<void>(s.generate(prompt, greedy(8), fused_sampler{&never, &f})); }, goes_on);
  burn_each([&](fuse& f) {
    auto stream = s.stream(prompt, greedy(8), fused_sampler{&f, &never});
    for (const token_event& e : stream) static_cast<void>(e);
  }, goes_on);
  burn_each([&](fuse& f) {
    fused_drafter drafter{&f};
    static_cast<void>(generate_speculatively(s, prompt, greedy(8), drafter));
  }, goes_on);
  burn_each([&](fuse& f) {
    lookup_drafter drafter;
    static_cast<void>(generate_speculatively(s, prompt, greedy(8), drafter, [&](const token_event&) { f.burn(); }));
  }, goes_on);
  for (const bool throws : {true, false}) {
    for (int length = 0; length < 10; ++length) {
      fuse f{length};
      auto own = basic_session<fused_cache>::create(m, fused_cache(m.cache_shape(), &f, throws), {.n_threads = 1, .max_batch = 3}).value();
      bool has_thrown = false, has_failed = false;
      try {
        const auto done = own.generate(prompt, greedy(8));
        has_failed = !done && done.error().code == errc::limit_exceeded && done.error().where == "cache";
      } catch (const oops&) {
        has_thrown = true;
      }
      CHECK((f.left < 0 ? has_thrown == throws && has_failed != throws : !has_thrown && !has_failed));
      CHECK(own.tokens().size() == own.cache().length());
      f.left = 1 << 30;
      CHECK(own.generate(prompt, greedy(8)).value().tokens == expected);
    }
  }
}

TEST_CASE("faults: what one request's sampler or callback throws at any call ends that request, and the others say what they say alone") {
  const model m = small_model();
  const std::vector<token_id> other = {1, 5, 6};
  const auto expected = make_session(m).generate(other, greedy(8)).value().tokens;
  using engine_type = basic_batch_engine<kv_type::f16, fused_sampler>;
  for (int kind = 0; kind < 3; ++kind) {
    for (int length = 0;; ++length) {
      CAPTURE(kind);
      CAPTURE(length);
      fuse f{length}, never{1 << 30};
      auto engine = engine_type::create(m, {.max_sequences = 2, .context_size = 48, .page_size = 16, .n_threads = 1}).value();
      const auto bad = engine.add(prompt, greedy(8), fused_sampler{kind == 0 ? &f : &never, kind == 1 ? &f : &never}, [&](const token_event&) {
        if (kind == 2) f.burn();
      }).value();
      const auto good = engine.add(other, greedy(8), fused_sampler{&never, &never}).value();
      REQUIRE(engine.run());
      std::size_t n_ended = 0;
      while (const auto ended = engine.next_finished()) {
        ++n_ended;
        if (ended->id == good) {
          REQUIRE(ended->outcome);
          CHECK(ended->outcome->tokens == expected);
        } else {
          CHECK(ended->id == bad);
          CHECK(ended->outcome.has_value() == (f.left >= 0));
          if (!ended->outcome) CHECK(ended->outcome.error().code == errc::host_exception);
        }
      }
      CHECK(n_ended == 2);
      CHECK(engine.statistics().n_running == 0);
      if (f.left >= 0) break;
    }
  }
}

TEST_CASE("faults: what the host's executor throws at any step reaches the caller of all that computes, which then goes on") {
  hooked_executor threads;
  workshop shop(threads);
  for (int kind = 0; kind < workshop::n_kinds; ++kind) {
    CAPTURE(kind);
    threads.at_run = {};
    const std::string expected = shop.work(kind, {}).value();
    burn_each([&](fuse& f) {
      threads.at_run = [&f] { f.burn(); };
      static_cast<void>(shop.work(kind, {}));
    }, [&] {
      threads.at_run = {};
      const auto next = shop.work(kind, {});
      REQUIRE(next);
      CHECK(*next == expected);
    });
  }
}

namespace {

/// Bytes whose every reading burns a fuse.
class fused_source final : public byte_source {
 public:
  fused_source(std::span<const std::byte> bytes, fuse& own) : bytes_(bytes), own_(own) {}
  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] std::string name() const override { return "fused"; }
  [[nodiscard]] result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    own_.burn();
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }

 private:
  std::span<const std::byte> bytes_;
  fuse& own_;
};

/// Keeps what it gets; every call burns a fuse.
class fused_sink final : public byte_sink {
 public:
  fused_sink(std::vector<std::byte>& out, fuse& own) : out_(out), own_(own) { out_.clear(); }
  [[nodiscard]] result<void> write(std::span<const std::byte> bytes) override {
    own_.burn();
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return {};
  }
  [[nodiscard]] result<void> commit() override { return own_.burn(), result<void>{}; }
  [[nodiscard]] std::string name() const override { return "fused"; }

 private:
  std::vector<std::byte>& out_;
  fuse& own_;
};

}  // namespace

TEST_CASE("faults: what sources, sinks, observers and progress of the host throw at any call reaches the caller of loading, saving, measuring and quantising") {
  const auto bytes = std::as_bytes(std::span(model_bytes()));
  const auto nothing = [] {};
  const auto must = [](auto&& done) { CHECK(done.has_value()); };   // doctest's macros would catch what is thrown
  const auto open = [&](fuse& f) { return gguf::file::open(std::make_shared<fused_source>(bytes, f)); };
  burn_each([&](fuse& f) { must(open(f)); }, nothing);
  for (const std::size_t n : {1u, 3u}) {
    burn_each([&](fuse& f) { must(load_model(open(f).value(), threads_of(n))); }, nothing);
  }

  const model m = small_model();
  session s = make_session(m);
  REQUIRE(s.evaluate(prompt));
  const auto goes_on = [&] { CHECK(s.tokens().size() == prompt.size()); };
  std::vector<std::byte> saved, other;
  burn_each([&](fuse& f) {
    fused_sink sink(saved, f);
    must(save_session(s, sink));
  }, goes_on);
  burn_each([&](fuse& f) {
    const fused_source source(saved, f);
    const auto file = session_file::open(source, s);
    REQUIRE(file);
    must(file->restore(s));
  }, goes_on);

  const gguf::file file = open_bytes(model_bytes()).value();
  for (const std::size_t n : {1u, 3u}) {
    quantize_options options{.type = file_type::q8_0, .n_threads = n};
    burn_each([&](fuse& f) { must(quantize(file, std::make_unique<fused_sink>(other, f), options)); }, nothing);
    burn_each([&](fuse& f) { must(quantize(open(f).value(), memory_sink(other), options)); other.clear(); }, [&] { other.clear(); });
    burn_each([&](fuse& f) {
      options.progress = [&](const quantize_progress&) { return f.burn(), true; };
      must(quantize(file, memory_sink(other), options));
    }, [&] { other.clear(); });
  }

  const text_windows windows = text_windows::create({1, 4, 5, 6, 7, 8, 9, 4, 3, 5, 7, 3, 3, 4, 3, 3}, 1, {.window = 8}).value();
  const double expected = measure_perplexity(s, windows).value().value();
  const auto measures = [&] { CHECK(measure_perplexity(s, windows).value().value() == expected); };
  burn_each([&](fuse& f) { must(measure_perplexity(s, windows, {.progress = [&](const perplexity&) { return f.burn(), true; }})); }, measures);
  burn_each([&](fuse& f) { must(measure_perplexity(s, windows, {}, [&](const scored_position&) -> result<void> { return f.burn(), result<void>{}; })); },
            measures);
  burn_each([&](fuse& f) {
    auto writer = logits_file_writer::create(std::make_unique<fused_sink>(other, f), m.tokenizer(), windows);
    REQUIRE(writer);
    must(measure_perplexity(s, windows, {}, *writer));
    must(writer->commit());
  }, measures);
  burn_each([&](fuse& f) {
    auto reference = logits_file::open(std::make_shared<fused_source>(other, f));
    REQUIRE(reference);
    divergence sum;
    must(measure_perplexity(s, windows, {}, [&](const scored_position& p) { return reference->compare(p, sum); }));
  }, measures);
}
#endif
