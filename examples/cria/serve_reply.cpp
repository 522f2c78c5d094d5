// SPDX-License-Identifier: MIT
#include "serve_reply.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <utility>

namespace cria_program {

namespace {

using json = nlohmann::ordered_json;

std::int64_t seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Returns a name for an answer that no other answer of the process has.
std::string next_id(const char* kind) {
  static std::atomic<std::uint64_t> n{0};
  return std::string(kind) + "-" + std::to_string(seconds_now()) + "-" + std::to_string(++n);
}

std::string base64_of(const std::vector<float>& numbers) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  for (const float x : numbers) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(bits >> shift & 0xff);
  }
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t three = 0;
    for (std::size_t k = 0; k < 3; ++k) three = three << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= n ? digits[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

/// Returns how many code points begin in a text.
std::size_t letters_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

const char* finish_reason_of(const cria::chat_reply& reply) {
  using enum cria::finish_reason;
  if (reply.done.reason == max_tokens || reply.done.reason == context_full) return "length";
  return reply.calls.empty() ? "stop" : "tool_calls";
}

json calls_of(const cria::chat_reply& reply) {
  json calls = json::array();
  for (const cria::tool_call& call : reply.calls) {
    calls.push_back({{"index", calls.size()},
                     {"id", call.id},
                     {"type", "function"},
                     {"function", {{"name", call.name}, {"arguments", call.arguments.dump()}}}});
  }
  return calls;
}

}  // namespace

std::string text_of(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

int status_of(const error& e) noexcept {
  switch (e.code) {
    case errc::limit_exceeded: return e.where == "max_waiting" ? 503 : 400;
    case errc::cancelled:
    case errc::out_of_memory: return 503;
    case errc::non_finite:
    case errc::host_exception:
    case errc::io: return 500;
    default: return 400;
  }
}

json error_body(const error& e) {
  const int status = status_of(e);
  const std::string message = e.where.empty() || e.message.empty() ? e.where + e.message : e.where + ": " + e.message;
  return {{"error",
           {{"message", message.empty() ? std::string(name(e.code)) : message},
            {"type", status == 400 ? "invalid_request_error" : "server_error"},
            {"param", status == 400 && !e.where.empty() ? json(e.where) : json()},
            {"code", e.code == errc::context_full ? "context_length_exceeded" : name(e.code)}}}};
}

json model_body(const std::string& model, std::int64_t created) {
  return {{"id", model}, {"object", "model"}, {"created", created}, {"owned_by", "cria"}};
}

json models_body(const std::string& model, std::int64_t created) { return {{"object", "list"}, {"data", json::array({model_body(model, created)})}}; }

json embedding_body(const std::string& model, const std::vector<std::vector<float>>& vectors, std::size_t n_tokens, bool is_base64) {
  json data = json::array();
  for (const auto& vector : vectors) {
    data.push_back({{"object", "embedding"}, {"index", data.size()}, {"embedding", is_base64 ? json(base64_of(vector)) : json(vector)}});
  }
  return {{"object", "list"}, {"data", std::move(data)}, {"model", model}, {"usage", {{"prompt_tokens", n_tokens}, {"total_tokens", n_tokens}}}};
}

completion_writer::completion_writer(std::string model, const completion_request& asked)
    : model_(std::move(model)),
      id_(next_id(asked.is_chat ? "chatcmpl" : "cmpl")),
      created_(seconds_now()),
      is_chat_(asked.is_chat),
      tells_usage_(asked.tells_usage),
      tells_scores_(asked.n_best.has_value()),
      choices_(asked.choices.size()),
      n_per_prompt_(asked.n_per_prompt) {}

std::vector<json> completion_writer::take(const answer_event& event) {
  std::vector<json> chunks;
  choice& c = choices_[event.choice];
  if (event.what == answer_event::kind::score) c.scores.push_back(event.score);
  if (event.what == answer_event::kind::begun || event.what == answer_event::kind::score) return chunks;
  if (is_chat_ && !std::exchange(c.has_begun, true)) chunks.push_back(chunk(event.choice, {{"role", "assistant"}, {"content", ""}}, nullptr));
  if (event.what == answer_event::kind::end) {
    end(event.choice, event.outcome->value(), chunks);
  } else if (!is_chat_) {
    chunks.push_back(chunk(event.choice, event.text, nullptr));
  } else if (event.part == cria::reply_part::text || event.part == cria::reply_part::thinking) {
    chunks.push_back(chunk(event.choice, {{event.part == cria::reply_part::text ? "content" : "reasoning_content", event.text}}, nullptr));
  }
  return chunks;
}

void completion_writer::end(std::size_t index, const cria::chat_reply& reply, std::vector<json>& chunks) {
  choice& c = choices_[index];
  ++n_ended_;
  if (index % n_per_prompt_ == 0) {   // the others share what it computed, and that was not there before
    n_prompt_ += reply.done.n_prompt;
    n_reused_ += reply.done.n_reused;
  }
  n_generated_ += reply.done.n_generated();
  c.finish_reason = finish_reason_of(reply);
  if (!is_chat_) {
    c.message = reply.text;
    chunks.push_back(chunk(index, "", c.finish_reason));
    return;
  }
  c.message = {{"role", "assistant"}, {"content", reply.text.empty() && !reply.calls.empty() ? json() : json(reply.text)}};
  if (!reply.thinking.empty()) c.message["reasoning_content"] = reply.thinking;
  if (!reply.calls.empty()) {
    json calls = calls_of(reply);
    chunks.push_back(chunk(index, {{"tool_calls", calls}}, nullptr));
    for (json& call : calls) call.erase("index");
    c.message["tool_calls"] = std::move(calls);
  }
  chunks.push_back(chunk(index, json::object(), c.finish_reason));
}

json completion_writer::with_head(const char* object, json choices) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_}, {"choices", std::move(choices)}};
}

json completion_writer::chunk(std::size_t index, json delta, json finish_reason) {
  json one = {{"index", index}, {is_chat_ ? "delta" : "text", std::move(delta)}, {"finish_reason", std::move(finish_reason)}};
  choice& c = choices_[index];
  const auto untold = std::span(c.scores).subspan(c.n_scores_told);
  if (!untold.empty()) one["logprobs"] = scores_of(untold, c.n_letters_told);
  for (const token_score& score : untold) c.n_letters_told += letters_of(score.text);
  c.n_scores_told = c.scores.size();
  return with_head(is_chat_ ? "chat.completion.chunk" : "text_completion", json::array({std::move(one)}));
}

/// Chats have an object for each token, texts a list for each property.
json completion_writer::scores_of(std::span<const token_score> scores, std::size_t offset) const {
  const auto scored = [](const std::string& text, double logprob) -> json {
    json bytes = json::array();
    for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
    return {{"token", text}, {"logprob", logprob}, {"bytes", std::move(bytes)}};
  };
  json content = json::array(), tokens = json::array(), logprobs = json::array(), tops = json::array(), offsets = json::array();
  for (const token_score& score : scores) {
    json one = scored(score.text, score.logprob), best = json::array(), top = json::object();
    for (const auto& [text, logprob] : score.best) {
      best.push_back(scored(text, logprob));
      top[text] = logprob;
    }
    one["top_logprobs"] = std::move(best);
    content.push_back(std::move(one));
    tokens.push_back(score.text);
    logprobs.push_back(score.logprob);
    tops.push_back(std::move(top));
    offsets.push_back(offset);
    offset += letters_of(score.text);
  }
  if (is_chat_) return {{"content", std::move(content)}};
  return {{"tokens", std::move(tokens)}, {"token_logprobs", std::move(logprobs)}, {"top_logprobs", std::move(tops)}, {"text_offset", std::move(offsets)}};
}

json completion_writer::whole() const {
  json choices = json::array();
  for (const choice& c : choices_) {
    choices.push_back({{"index", choices.size()}, {is_chat_ ? "message" : "text", c.message}, {"finish_reason", c.finish_reason}});
    if (tells_scores_) choices.back()["logprobs"] = scores_of(c.scores, 0);
  }
  json out = with_head(is_chat_ ? "chat.completion" : "text_completion", std::move(choices));
  out["usage"] = usage();
  return out;
}

json completion_writer::usage_chunk() const {
  if (!tells_usage_) return {};
  json out = with_head(is_chat_ ? "chat.completion.chunk" : "text_completion", json::array());
  out["usage"] = usage();
  return out;
}

json completion_writer::usage() const {
  return {{"prompt_tokens", n_prompt_},
          {"completion_tokens", n_generated_},
          {"total_tokens", n_prompt_ + n_generated_},
          {"prompt_tokens_details", {{"cached_tokens", n_reused_}}}};
}

}  // namespace cria_program
