// SPDX-License-Identifier: MIT
#include "serve_engine.hpp"

#include <cria/generate/embedding.hpp>

#include <algorithm>
#include <cmath>

namespace cria_program {

static error shutting_down() { return {errc::cancelled, "server", "is shutting down"}; }

answer::answer(completion_request asked) : choices_(std::move(asked.choices)), n_best_(asked.n_best) {
  for (choice_request& c : choices_) c.generation.stop = stop_.get_token();
}

std::optional<answer_event> answer::wait(std::chrono::milliseconds at_most) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, at_most, [this] { return !events_.empty(); })) return {};
  answer_event next = std::move(events_.front());
  events_.pop_front();
  return next;
}

void answer::put(answer_event event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  changed_.notify_one();
}

void answer::show(std::size_t choice, cria::reply_part part, std::string_view text) {
  if (!text.empty()) put({answer_event::kind::piece, choice, part, std::string(text), {}, {}});
}

/// Returns how likely a token was; inside the engine's callback.
static result<token_score> score_of(cria::token_id token, std::size_t n_best, const cria::batch_engine& engine) {
  CRIA_TRY(const auto best, engine.top_logits(std::max<std::size_t>(n_best, 1)));
  const auto log_of = [](float probability) { return std::log(static_cast<double>(probability)); };
  const cria::tokenizer& t = engine.model().tokenizer();
  token_score made;
  made.text = t.piece(token).empty() ? t.token_text(token) : t.piece(token);
  made.logprob = static_cast<double>(engine.logits()[static_cast<std::size_t>(token)] - best[0].logit) + log_of(best[0].probability);
  for (std::size_t i = 0; i < n_best && i < best.size(); ++i) made.best.emplace_back(best[i].text, log_of(best[i].probability));
  return made;
}

bool answer::read(std::size_t choice, const cria::token_event& event, const cria::batch_engine& engine) {
  choice_request& c = choices_[choice];
  const auto& ends = c.generation.stop_tokens;
  const bool is_end = event.token == cria::no_token || engine.model().tokenizer().is_end_of_generation(event.token) ||
                      std::find(ends.begin(), ends.end(), event.token) != ends.end();
  if (n_best_ && !is_end) {
    if (auto score = score_of(event.token, *n_best_, engine)) put({answer_event::kind::score, choice, {}, {}, *std::move(score), {}});
  }
  if (c.reader) return c.reader->read(event, [&](const cria::reply_piece& piece) { show(choice, piece.part, piece.text); });
  show(choice, cria::reply_part::text, event.text);
  return true;
}

void answer::finish(std::size_t choice, result<cria::generation> outcome) {
  choice_request& c = choices_[choice];
  answer_event end{answer_event::kind::end, choice, {}, {}, {}, {}};
  if (c.reader) {
    end.outcome = c.reader->finish(std::move(outcome), [&](const cria::reply_piece& piece) { show(choice, piece.part, piece.text); });
  } else if (outcome) {
    cria::chat_reply whole;
    whole.text = outcome->text;
    whole.done = *std::move(outcome);
    end.outcome = std::move(whole);
  } else {
    end.outcome = std::move(outcome).error();
  }
  put(std::move(end));
}

void answer::fail(std::size_t choice, const error& why) { put({answer_event::kind::end, choice, {}, {}, {}, result<cria::chat_reply>(why)}); }

result<std::unique_ptr<serve_engine>> serve_engine::create(const cria::model& model, const cria::batch_options& options) {
  CRIA_TRY(auto engine, cria::batch_engine::create(model, options));
  const cria::session_options for_embeddings{
      .context_size = engine.capacity(), .n_threads = options.n_threads, .max_batch = options.max_batch, .executor = options.executor};
  return std::unique_ptr<serve_engine>(new serve_engine(std::move(engine), for_embeddings));
}

void serve_engine::shut_down() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(ends_, true)) return;
  }
  stop_.request_stop();   // ends a step within one layer
  changed_.notify_one();
  thread_.join();
  for (const auto& [id, choice] : open_) choice.first->fail(choice.second, shutting_down());
  for (const auto& asked : requests_) asked->fail(0, shutting_down());
  for (embedding_job& job : embeddings_) job.vectors.set_value(shutting_down());
  open_.clear();
}

std::shared_ptr<answer> serve_engine::submit(completion_request asked) {
  auto made = std::make_shared<answer>(std::move(asked));
  {
    const std::lock_guard lock(mutex_);
    if (ends_) {
      made->fail(0, shutting_down());
      return made;
    }
    requests_.push_back(made);
  }
  changed_.notify_one();
  return made;
}

result<std::vector<std::vector<float>>> serve_engine::embed(embedding_request asked) {
  std::future<result<std::vector<std::vector<float>>>> vectors;
  {
    const std::lock_guard lock(mutex_);
    if (ends_) return shutting_down();
    embeddings_.push_back({std::move(asked), {}});
    vectors = embeddings_.back().vectors.get_future();
  }
  changed_.notify_one();
  return vectors.get();
}

cria::batch_statistics serve_engine::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

bool serve_engine::wait_for_work(std::vector<std::shared_ptr<answer>>& requests, std::vector<embedding_job>& embeddings) {
  std::unique_lock lock(mutex_);
  statistics_ = engine_.statistics();
  changed_.wait(lock, [this] { return ends_ || engine_.has_work() || !requests_.empty() || !embeddings_.empty(); });
  if (ends_) return false;
  requests.swap(requests_);
  embeddings.swap(embeddings_);
  return true;
}

void serve_engine::work() {
  while (true) {
    std::vector<std::shared_ptr<answer>> requests;
    std::vector<embedding_job> embeddings;
    if (!wait_for_work(requests, embeddings)) return;
    for (const auto& asked : requests) begin(asked);
    for (embedding_job& job : embeddings) job.vectors.set_value(vectors_of(job.asked));
    step();
  }
}

void serve_engine::begin(const std::shared_ptr<answer>& asked) {
  std::vector<cria::batch_id> begun;
  for (std::size_t i = 0; i < asked->choices_.size(); ++i) {
    const choice_request& c = asked->choices_[i];
    auto id = engine_.add(c.prompt, c.generation, [this, asked, i](const cria::token_event& event) { return asked->read(i, event, engine_); });
    if (!id) {   // all choices or none
      for (const cria::batch_id other : begun) {
        engine_.cancel(other);
        open_.erase(other);
      }
      return asked->fail(0, id.error());
    }
    begun.push_back(*id);
    open_.emplace(*id, open_choice(asked, i));
  }
  asked->put({});
}

void serve_engine::step() {
  const auto stepped = engine_.step(stop_.get_token());
  if (!stepped && stepped.error().code != errc::cancelled) {
    // What the engine has is kept, but the next step would most likely end the same way.
    for (const auto& [id, choice] : open_) {
      engine_.cancel(id);
      choice.first->fail(choice.second, stepped.error());
    }
    open_.clear();
  }
  while (auto ended = engine_.next_finished()) {
    const auto found = open_.find(ended->id);
    if (found == open_.end()) continue;
    const open_choice choice = std::move(found->second);
    open_.erase(found);
    choice.first->finish(choice.second, std::move(ended->outcome));
  }
}

result<std::vector<std::vector<float>>> serve_engine::vectors_of(const embedding_request& asked) {
  if (!embedder_) {
    CRIA_TRY(embedder_, cria::session::create(engine_.model(), for_embeddings_));
  }
  std::vector<std::vector<float>> out;
  for (const auto& tokens : asked.inputs) {
    CRIA_TRY(auto vector, embedder_->embed(tokens, {.stop = stop_.get_token()}));
    out.push_back(std::move(vector));
  }
  return out;
}

}  // namespace cria_program
