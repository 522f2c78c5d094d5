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
template <class Engine>
static result<token_score> score_of(cria::token_id token, std::size_t n_best, const Engine& engine) {
  CRIA_TRY(const auto best, engine.top_logits(std::max<std::size_t>(n_best, 1)));
  const auto log_of = [](float probability) { return std::log(static_cast<double>(probability)); };
  const cria::tokenizer& t = engine.model().tokenizer();
  token_score made;
  made.text = t.piece(token).empty() ? t.token_text(token) : t.piece(token);
  made.logprob = static_cast<double>(engine.logits()[static_cast<std::size_t>(token)] - best[0].logit) + log_of(best[0].probability);
  for (std::size_t i = 0; i < n_best && i < best.size(); ++i) made.best.emplace_back(best[i].text, log_of(best[i].probability));
  return made;
}

template <class Engine>
bool answer::read(std::size_t choice, const cria::token_event& event, const Engine& engine) {
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
    if (c.calls_once && *end.outcome) {
      auto& calls = end.outcome->value().calls;
      calls.erase(calls.begin() + std::min<std::ptrdiff_t>(std::ssize(calls), 1), calls.end());
    }
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

template <cria::kv_type Type>
result<std::unique_ptr<serve_engine>> serve_engine::create_with(const cria::model& model, const cria::batch_options& options,
                                                                const std::vector<cria::adapter_choice>& adapters) {
  using session = cria::basic_session<cria::contiguous_kv_cache<Type>>;
  CRIA_TRY(auto engine, cria::basic_batch_engine<Type>::create(model, options));
  const std::size_t capacity = engine.capacity();
  const cria::session_options for_embeddings{
      .context_size = capacity, .n_threads = options.n_threads, .max_batch = options.max_batch, .executor = options.executor};
  const auto make_embedder = [model, for_embeddings, adapters]() -> result<embedder> {
    CRIA_TRY(auto made, session::create(model, for_embeddings));
    CRIA_CHECK(made.set_adapters(adapters));
    return embedder([one = std::make_shared<session>(std::move(made))](std::span<const cria::token_id> tokens, const cria::stop_token& stop) {
      return one->embed(tokens, {.stop = stop});
    });
  };
  return std::unique_ptr<serve_engine>(new serve_engine(std::move(engine), make_embedder, capacity, options.max_waiting));
}

result<std::unique_ptr<serve_engine>> serve_engine::create(const cria::model& model, const cria::batch_options& options, cria::kv_type cache,
                                                           const std::vector<cria::adapter_choice>& adapters) {
  if (cache == cria::kv_type::f32) return create_with<cria::kv_type::f32>(model, options, adapters);
  if (cache == cria::kv_type::bf16) return create_with<cria::kv_type::bf16>(model, options, adapters);
  return create_with<cria::kv_type::f16>(model, options, adapters);
}

void serve_engine::shut_down() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(ends_, true)) return;
    for (const auto& asked : embeddings_) asked->abandon();   // also the one that is being computed
  }
  stop_.request_stop();   // ends a step within one layer
  changed_.notify_one();
  thread_.join();
  for (const auto& [id, choice] : open_) choice.first->fail(choice.second, shutting_down());
  for (const auto& asked : requests_) asked->fail(0, shutting_down());
  for (const auto& asked : embeddings_) asked->told_.set_value(shutting_down());
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

std::optional<result<embedding_answer::vectors>> embedding_answer::wait(std::chrono::milliseconds at_most) {
  if (wanted_.wait_for(at_most) != std::future_status::ready) return {};
  return wanted_.get();
}

std::shared_ptr<embedding_answer> serve_engine::embed(embedding_request asked) {
  auto made = std::make_shared<embedding_answer>(std::move(asked));
  {
    const std::lock_guard lock(mutex_);
    if (ends_) {
      made->told_.set_value(shutting_down());
    } else if (embeddings_.size() > max_waiting_) {   // one of them does not wait
      made->told_.set_value(error{errc::limit_exceeded, "max_waiting", std::to_string(max_waiting_) + " requests are waiting"});
    } else {
      embeddings_.push_back(made);
    }
  }
  changed_.notify_one();
  return made;
}

cria::batch_statistics serve_engine::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

bool serve_engine::wait_for_work(std::vector<std::shared_ptr<answer>>& requests) {
  std::unique_lock lock(mutex_);
  statistics_ = on_engine([](auto& engine) { return engine.statistics(); });
  const bool has_work = on_engine([](auto& engine) { return engine.has_work(); });
  changed_.wait(lock, [&] { return ends_ || has_work || !requests_.empty() || !embeddings_.empty(); });
  if (ends_) return false;
  requests.swap(requests_);
  return true;
}

void serve_engine::work() {
  while (true) {
    std::vector<std::shared_ptr<answer>> requests;
    if (!wait_for_work(requests)) return;
    for (const auto& asked : requests) begin(asked);
    embed_one();
    step();
  }
}

void serve_engine::begin(const std::shared_ptr<answer>& asked) {
  std::vector<cria::batch_id> begun;
  for (std::size_t i = 0; i < asked->choices_.size(); ++i) {
    const choice_request& c = asked->choices_[i];
    const auto id = on_engine([&](auto& engine) {
      return engine.add(c.prompt, c.generation, [&engine, asked, i](const cria::token_event& event) { return asked->read(i, event, engine); });
    });
    if (!id) {   // all choices or none
      for (const cria::batch_id other : begun) {
        on_engine([other](auto& engine) { return engine.cancel(other); });
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
  const auto stepped = on_engine([this](auto& engine) { return engine.step(stop_.get_token()); });
  if (!stepped && stepped.error().code != errc::cancelled) {
    // What the engine has is kept, but the next step would most likely end the same way.
    for (const auto& [id, choice] : open_) {
      on_engine([number = id](auto& engine) { return engine.cancel(number); });
      choice.first->fail(choice.second, stepped.error());
    }
    open_.clear();
  }
  while (auto ended = on_engine([](auto& engine) { return engine.next_finished(); })) {
    const auto found = open_.find(ended->id);
    if (found == open_.end()) continue;
    const open_choice choice = std::move(found->second);
    open_.erase(found);
    choice.first->finish(choice.second, std::move(ended->outcome));
  }
}

void serve_engine::embed_one() {
  std::shared_ptr<embedding_answer> asked;
  {
    const std::lock_guard lock(mutex_);
    if (embeddings_.empty() || ends_) return;
    asked = embeddings_.front();
  }
  auto next = vector_of(asked->asked_.inputs[asked->done_.size()], asked->stop_.get_token());
  const std::lock_guard lock(mutex_);
  if (ends_) return;   // shut_down() tells
  embeddings_.pop_front();
  if (!next) return asked->told_.set_value(std::move(next).error());
  asked->done_.push_back(*std::move(next));
  if (asked->done_.size() == asked->asked_.inputs.size()) return asked->told_.set_value(std::move(asked->done_));
  embeddings_.push_back(std::move(asked));
}

result<std::vector<float>> serve_engine::vector_of(std::span<const cria::token_id> tokens, const cria::stop_token& stop) {
  if (!embedder_) {
    CRIA_TRY(embedder_, make_embedder_());
  }
  return embedder_(tokens, stop);
}

}  // namespace cria_program
