// SPDX-License-Identifier: MIT
// Recipes about sessions.
#include "recipes.hpp"

#include <cria/core/executor.hpp>
#include <cria/generate/load.hpp>
#include <cria/generate/model_slot.hpp>
#include <cria/generate/scoring.hpp>
#include <cria/generate/session.hpp>
#include <cria/generate/session_file.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <numeric>
#include <queue>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace recipes {

// recipe
int stream_and_cancel(const char* path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());

  cria::stop_source stop;   // request_stop() may come from any thread: a button, a closed connection, a timer
  cria::generation_options options{.max_tokens = 200};
  options.stop = stop.get_token();
  std::size_t n_bytes = 0;
  auto done = session->generate("Once upon a time", options, [&](std::string_view text) {   // whole UTF-8 characters, but for what a limit cuts
    std::cout << text << std::flush;
    n_bytes += text.size();
    if (n_bytes > 60) stop.request_stop();   // takes effect within one layer, also while a prompt is read; returning false works, too
  });
  if (!done) return fail(done.error());
  std::cout << "\n[" << name(done->reason) << " after " << done->n_generated() << " tokens]\n";

  // The session goes on from what it has: the text so far is in its cache. As tokens, since a text that is encoded again may become others.
  auto so_far = model->tokenizer().encode("Once upon a time");
  if (!so_far) return fail(so_far.error());
  so_far->insert(so_far->end(), done->tokens.begin(), done->tokens.end());
  auto more = session->generate(*so_far, {.max_tokens = 5});
  if (!more) return fail(more.error());
  std::cout << more->n_reused << " of " << more->n_prompt << " tokens were in the cache\n";
  return 0;
}
// end

// What a host has already: threads that take jobs from a queue.
class host_threads {
 public:
  explicit host_threads(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) threads_.emplace_back([this] { work(); });
  }
  ~host_threads() {
    for (std::size_t i = 0; i < threads_.size(); ++i) submit({});
    for (std::thread& t : threads_) t.join();
  }
  void submit(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    jobs_.push(std::move(job));
    changed_.notify_one();
  }
  std::size_t size() const { return threads_.size(); }

 private:
  void work() {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !jobs_.empty(); });
      const auto job = std::move(jobs_.front());
      jobs_.pop();
      lock.unlock();
      if (!job) return;
      job();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::queue<std::function<void()>> jobs_;
  std::vector<std::thread> threads_;
};

// recipe
// Runs cria's work on the threads of the host, here a queue of jobs. The calling thread works, too, and waits for no job that has not begun: it may be one
// of those threads itself, in a job, and the others busy.
class on_host_threads {
 public:
  explicit on_host_threads(host_threads& threads) : threads_(threads) {}
  std::size_t concurrency() const noexcept { return threads_.size() + 1; }
  void run(std::size_t n, cria::task_ref task) {
    const auto shared = std::make_shared<work>(n, task);
    for (std::size_t i = 1; i < std::min(n, concurrency()); ++i) threads_.submit([shared] { shared->help(); });
    shared->help();
    for (std::size_t done = shared->n_done; done != n; done = shared->n_done) shared->n_done.wait(done);
  }

 private:
  struct work {
    work(std::size_t count, cria::task_ref function) : n(count), task(function) {}
    /// Does what nobody has begun; who comes late finds nothing.
    void help() {
      for (std::size_t i = next++; i < n; i = next++) {
        task(i);
        if (++n_done == n) n_done.notify_all();
      }
    }
    const std::size_t n;
    const cria::task_ref task;
    std::atomic<std::size_t> next{0}, n_done{0};
  };
  host_threads& threads_;
};
static_assert(cria::executor<on_host_threads>);

int use_own_threads(const char* path) {
  host_threads threads(1);
  on_host_threads executor(threads);   // outlives the session
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  cria::session_options options;
  options.executor = executor;
  auto session = cria::session::create(*model, options);
  if (!session) return fail(session.error());
  std::promise<cria::result<cria::generation>> made;
  threads.submit([&] { made.set_value(session->generate("Once upon a time", {.max_tokens = 20, .sampling = cria::sampler_config::greedy()})); });
  auto done = made.get_future().get();
  if (!done) return fail(done.error());
  std::cout << session->n_threads() << " threads:" << done->text << '\n';   // the same bits as with any other threads
  return 0;
}
// end

// recipe
// A model is immutable and shared, a session belongs to one thread at a time: one session per user.
int share_a_model(const char* path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  const std::vector<std::string> prompts = {"Once upon a time", "The dog", "One day"};
  std::vector<cria::result<cria::generation>> replies(prompts.size(), cria::generation{});
  std::vector<std::thread> users;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    users.emplace_back([&prompts, &replies, i, model = *model] {   // a copy is a handle; the weights are there once
      auto session = cria::session::create(model, {.context_size = 256, .n_threads = 1});
      replies[i] = session ? session->generate(prompts[i], {.max_tokens = 20}) : session.error();
    });
  }
  for (std::thread& u : users) u.join();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (!replies[i]) return fail(replies[i].error());
    std::cout << prompts[i] << replies[i]->text << '\n';
  }
  return 0;
}
// end

// recipe
// Replaces the model of a running service: sessions that exist finish on the model they began with.
int swap_the_model(const char* path) {
  auto first = cria::load_model(path);
  if (!first) return fail(first.error());
  cria::model_slot slot(*std::move(first));
  auto old_session = cria::session::create(slot.get());
  if (!old_session) return fail(old_session.error());

  cria::load_options options;
  options.precision = cria::precision::fast;
  std::thread loader([&] {
    if (auto next = cria::load_model(path, options)) slot.replace(*std::move(next));   // a file that is broken changes nothing
  });
  loader.join();

  auto new_session = cria::session::create(slot.get());
  if (!new_session) return fail(new_session.error());
  std::cout << "replaced " << slot.generation() << " time; the old session's model is another: "
            << (old_session->model().precision() != new_session->model().precision() ? "yes" : "no") << '\n';
  auto done = old_session->generate("Once upon a time", {.max_tokens = 5});
  return done ? 0 : fail(done.error());
}
// end

// recipe
// Ends a process in the middle of a text and goes on in another as if nothing had been. The token that was chosen last is in no cache yet, and a text that is
// encoded again may become other tokens: so the tokens of the text go into the file, too, as a section of the host's.
const cria::generation_options twenty_tokens{.max_tokens = 20, .sampling = cria::sampler_config::greedy()};

int begin_and_save(const cria::model& model, const std::filesystem::path& file) {
  auto session = cria::session::create(model);
  if (!session) return fail(session.error());
  auto tokens = model.tokenizer().encode("Once upon a time");
  if (!tokens) return fail(tokens.error());
  auto begun = session->generate(*tokens, twenty_tokens);
  if (!begun) return fail(begun.error());
  tokens->insert(tokens->end(), begun->tokens.begin(), begun->tokens.end());
  const auto bytes = std::as_bytes(std::span(*tokens));
  const cria::session_extras extras{.sections = {{"tokens", {bytes.begin(), bytes.end()}}}};   // a sampler with random numbers: .sampler = sampler.save()
  auto saved = cria::save_session(*session, file, extras);
  return saved ? 0 : fail(saved.error());
}

int open_and_go_on(const cria::model& model, const std::filesystem::path& file) {
  auto session = cria::session::create(model);
  if (!session) return fail(session.error());
  auto saved = cria::session_file::open(file, *session);   // another model, a cut or altered file: an error, and nothing has changed
  if (!saved) return fail(saved.error());
  const cria::session_section* text = saved->find_section("tokens");
  if (text == nullptr) return std::cerr << "not a file of begin_and_save\n", 1;
  std::vector<cria::token_id> tokens(text->bytes.size() / sizeof(cria::token_id));
  std::copy_n(text->bytes.begin(), tokens.size() * sizeof(cria::token_id), std::as_writable_bytes(std::span(tokens)).begin());
  if (auto restored = saved->restore(*session); !restored) return fail(restored.error());
  auto more = session->generate(tokens, twenty_tokens);   // untrusted, as the file is: what is no token is an error
  if (!more) return fail(more.error());
  std::cout << more->n_reused << " of " << more->n_prompt << " tokens were in the file\n" << model.tokenizer().decode(tokens) << more->text << '\n';
  return 0;
}

int save_a_session(const char* path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  const auto file = std::filesystem::temp_directory_path() / "recipes.cria";
  if (begin_and_save(*model, file) != 0) return 1;
  const int status = open_and_go_on(*model, file);   // here: in a process that has seen nothing of the first
  std::filesystem::remove(file);
  return status;
}
// end

// recipe
// Which of some answers the model finds likeliest, and how sure of it it is: a classifier without training.
int choose_an_answer(const char* path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());
  constexpr std::array<std::string_view, 3> answers = {" seven", " time", " little boy"};
  auto scores = cria::score_continuations(*session, "Once upon a", answers);   // the prompt is processed once
  if (!scores) return fail(scores.error());
  double sum = 0;
  for (const cria::continuation_score& s : *scores) sum += std::exp(s.total());   // mean() if longer answers shall not be at a disadvantage
  for (std::size_t i = 0; i < answers.size(); ++i) std::cout << answers[i] << ": " << std::exp((*scores)[i].total()) / sum << '\n';
  return 0;
}
// end

// recipe
// How alike two texts are: the cosine of their embeddings, which have length 1.
int compare_texts(const char* path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());
  std::vector<std::vector<float>> vectors;
  for (const char* text : {"The dog ran to the park.", "A dog ran in a park.", "She was very sad."}) {
    auto vector = session->embed(text);   // pooling as the file says, mean otherwise
    if (!vector) return fail(vector.error());
    vectors.push_back(*std::move(vector));
  }
  const auto cosine = [&](std::size_t a, std::size_t b) { return std::inner_product(vectors[a].begin(), vectors[a].end(), vectors[b].begin(), 0.0F); };
  std::cout << "the two dogs " << cosine(0, 1) << ", the first dog and she " << cosine(0, 2) << '\n';
  return 0;
}
// end

// recipe
// LoRA adapters belong to a session, with a strength each; nothing of the model is copied or changed.
int apply_adapters(const char* path, const char* adapter_path) {
  auto model = cria::load_model(path);
  if (!model) return fail(model.error());
  auto style = cria::load_adapter(adapter_path, *model);
  if (!style) return fail(style.error());
  auto session = cria::session::create(*model);
  if (!session) return fail(session.error());
  const cria::generation_options options{.max_tokens = 20, .sampling = cria::sampler_config::greedy()};
  for (const float scale : {0.0F, 0.5F, 1.0F}) {
    const cria::adapter_choice choice{*style, scale};
    if (auto set = session->set_adapters({&choice, 1}); !set) return fail(set.error());
    auto done = session->generate("Once upon a time", options);
    if (!done) return fail(done.error());
    std::cout << scale << ':' << done->text << '\n';
  }
  return session->set_adapters({}) ? 0 : 1;   // the model alone again
}
// end

}  // namespace recipes
