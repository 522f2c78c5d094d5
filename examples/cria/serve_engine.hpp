// SPDX-License-Identifier: MIT
// The batch engine of `cria serve` on a thread of its own. Connections hand it requests and take the pieces of the answers as they come.
//
// Threads   submit(), embed() and statistics(): any. An answer belongs to one connection.
// Lifetime  answers outlive the engine, whose destructor ends them
#pragma once

#include "serve_request.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace cria_program {

/// A token that was chosen, and logarithms of probabilities by the softmax over all logits: its own, and those of the likeliest.
struct token_score {
  std::string text;
  double logprob = 0;
  std::vector<std::pair<std::string, double>> best;
};

/// What happens to a request: it begins, choices choose a token, say something, end.
struct answer_event {
  enum class kind : std::uint8_t { begun, score, piece, end } what = kind::begun;
  std::size_t choice = 0;
  cria::reply_part part = cria::reply_part::text;         ///< of a piece
  std::string text;
  token_score score;                                      ///< if the request asks for them; its text comes in a piece, now or later
  std::optional<result<cria::chat_reply>> outcome;        ///< of an end. An error before `begun` concerns the whole request.
};

/// A request on its way, shared by its connection and the engine.
class answer {
 public:
  explicit answer(completion_request asked);

  /// Returns what happens next; nothing if nothing does for so long.
  [[nodiscard]] std::optional<answer_event> wait(std::chrono::milliseconds at_most);
  /// Ends the request: nobody listens any more.
  void abandon() { stop_.request_stop(); }

 private:
  friend class serve_engine;

  void put(answer_event event);
  /// Takes a choice's token; returns whether to go on.
  template <class Engine>
  bool read(std::size_t choice, const cria::token_event& event, const Engine& engine);
  void show(std::size_t choice, cria::reply_part part, std::string_view text);
  void finish(std::size_t choice, result<cria::generation> outcome);
  void fail(std::size_t choice, const error& why);

  std::vector<choice_request> choices_;   // the engine's thread alone uses them
  std::optional<std::size_t> n_best_;
  cria::stop_source stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<answer_event> events_;
};

/// Vectors on their way, shared by their connection and the engine.
class embedding_answer {
 public:
  using vectors = std::vector<std::vector<float>>;
  explicit embedding_answer(embedding_request asked) : asked_(std::move(asked)) {}

  /// Returns the vectors or why there are none, once; nothing if neither comes for so long.
  [[nodiscard]] std::optional<result<vectors>> wait(std::chrono::milliseconds at_most);
  /// Ends the request: nobody listens any more.
  void abandon() { stop_.request_stop(); }

 private:
  friend class serve_engine;

  embedding_request asked_;   // the engine's thread alone uses these two
  vectors done_;
  cria::stop_source stop_;
  std::promise<result<vectors>> told_;
  std::future<result<vectors>> wanted_ = told_.get_future();
};

class serve_engine {
 public:
  /// Starts the thread. cache: what keys and values are stored as. adapters: of embeddings; other requests bring theirs.
  [[nodiscard]] static result<std::unique_ptr<serve_engine>> create(const cria::model& model, const cria::batch_options& options, cria::kv_type cache,
                                                                    const std::vector<cria::adapter_choice>& adapters);
  ~serve_engine() { shut_down(); }
  serve_engine(const serve_engine&) = delete;
  serve_engine& operator=(const serve_engine&) = delete;

  /// Ends all requests; later ones end at once. Once is enough.
  void shut_down();

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::shared_ptr<answer> submit(completion_request asked);
  /// Begins to compute vectors: one input between two steps, and of several requests in turn.
  [[nodiscard]] std::shared_ptr<embedding_answer> embed(embedding_request asked);
  /// Returns the counts after the last step.
  [[nodiscard]] cria::batch_statistics statistics() const;

 private:
  using open_choice = std::pair<std::shared_ptr<answer>, std::size_t>;
  using any_engine = std::variant<cria::batch_engine, cria::basic_batch_engine<cria::kv_type::f32>, cria::basic_batch_engine<cria::kv_type::bf16>>;
  using embedder = std::function<result<std::vector<float>>(std::span<const cria::token_id>, const cria::stop_token&)>;

  serve_engine(any_engine engine, std::function<result<embedder>()> make_embedder, std::size_t capacity, std::size_t max_waiting)
      : engine_(std::move(engine)),
        make_embedder_(std::move(make_embedder)),
        capacity_(capacity),
        max_waiting_(max_waiting),
        thread_([this] { work(); }) {}

  template <cria::kv_type Type>
  [[nodiscard]] static result<std::unique_ptr<serve_engine>> create_with(const cria::model& model, const cria::batch_options& options,
                                                                         const std::vector<cria::adapter_choice>& adapters);
  /// Calls fn with the engine.
  template <class F>
  decltype(auto) on_engine(F&& fn) {
    return std::visit(std::forward<F>(fn), engine_);
  }

  void work();
  /// Waits for something to do; false at the end.
  [[nodiscard]] bool wait_for_work(std::vector<std::shared_ptr<answer>>& requests);
  void begin(const std::shared_ptr<answer>& asked);
  void step();
  /// Computes the next vector of the request that is first, which then is last, or done.
  void embed_one();
  [[nodiscard]] result<std::vector<float>> vector_of(std::span<const cria::token_id> tokens, const cria::stop_token& stop);

  any_engine engine_;
  std::function<result<embedder>()> make_embedder_;
  embedder embedder_;   // from the first embedding on
  std::size_t capacity_, max_waiting_;
  std::map<cria::batch_id, open_choice> open_;
  cria::stop_source stop_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<answer>> requests_;
  std::deque<std::shared_ptr<embedding_answer>> embeddings_;   // the engine's thread alone takes them out
  cria::batch_statistics statistics_;
  bool ends_ = false;
  std::thread thread_;   // last: it uses the others
};

}  // namespace cria_program
