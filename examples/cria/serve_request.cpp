// SPDX-License-Identifier: MIT
#include "serve_request.hpp"

#include "command.hpp"
#include "sampling_flags.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <utility>

namespace cria_program {

namespace {

using json = nlohmann::ordered_json;

using key_list = std::initializer_list<std::string_view>;

constexpr std::string_view harmless_keys[] = {"model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                                              "prompt_cache_retention", "prediction", "cache_prompt"};
constexpr std::string_view completion_keys[] = {"stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "stop", "stop_token_ids",
                                                "logit_bias", "logprobs", "response_format", "grammar", "repetition_penalty"};

/// What is not done here. Clients that name their library's defaults ask for nothing.
const std::vector<foreign_wish>& foreign_wishes() {
  static const std::vector<foreign_wish> wishes = {
      {"best_of", "is not done here", 1},
      {"echo", "is not done here", false},
      {"suffix", "is not done here", ""},
      {"functions", "is called tools now", {}},
      {"function_call", "is called tool_choice now", "auto"},
      {"n_predict", "is called max_tokens here", {}},
      {"ignore_eos", "is not done here", false},
      {"min_tokens", "is not done here", 0},
      {"reasoning_effort", "is not done here; what a template knows can be set in chat_template_kwargs", {}},
      {"verbosity", "is not done here", "medium"},
      {"modalities", "are not done here, but for [\"text\"]", json::array({"text"})},
      {"use_beam_search", "is not done here", false},
      {"length_penalty", "is not done here", 1},
      {"skip_special_tokens", "is always done here", true}};
  return wishes;
}

/// Reads a body. Members that are null are as absent: clients send them for what they leave open.
result<json> read_body(std::string_view body, bool is_completion, key_list own_keys) {
  auto request = parse_request(body);
  if (!request) return bad_field("body", request.error().message);
  json rest = json::object();
  for (auto& [key, value] : request->items()) {
    if (!value.is_null()) rest[key] = std::move(value);
  }
  const auto is_in = [](const auto& list, std::string_view key) { return std::find(std::begin(list), std::end(list), key) != std::end(list); };
  const auto is_wish = [](std::string_view key) {
    return std::any_of(foreign_wishes().begin(), foreign_wishes().end(), [key](const foreign_wish& w) { return w.key == key; });
  };
  CRIA_CHECK(refuse_wishes(rest, foreign_wishes()));
  for (const auto& [key, value] : rest.items()) {
    const bool is_known = is_in(harmless_keys, key) || is_in(own_keys, key) || is_wish(key) ||
                          (is_completion && (is_in(completion_keys, key) || is_in(sampling_keys(), key)));
    if (!is_known) return bad_field(cria::printable(key), "is not known here");
  }
  return rest;
}

/// Reads how tokens are drawn, with the names and the seeds below zero that other servers have.
result<void> read_drawing(const json& request, std::size_t capacity, cria::sampler_config& out) {
  json own = request;
  if (own.contains("seed") && own.at("seed").is_number_integer() && own.at("seed") < 0) {
    own["seed"] = static_cast<std::uint64_t>(own.at("seed").get<std::int64_t>());
  }
  if (own.contains("repetition_penalty")) {   // of the whole text
    if (own.contains("repeat_penalty")) return bad_field("repetition_penalty", "is the same as repeat_penalty, which is there too");
    if (!own.contains("repeat_last_n")) own["repeat_last_n"] = std::min(capacity, std::size_t{1} << 20);   // the longest window there is
    own["repeat_penalty"] = own.at("repetition_penalty");
  }
  auto done = read_sampling(own, out);
  if (!done && done.error().where == "repeat_penalty" && own.contains("repetition_penalty")) return bad_field("repetition_penalty", done.error().message);
  return done;
}

result<bool> read_flag(const json& request, const char* key) {
  if (!request.contains(key)) return false;
  const json& v = request.at(key);
  if (!v.is_boolean()) return bad_field(key, "is neither true nor false");
  return v.get<bool>();
}

/// {"TOKEN": BIAS, ...}; -100 and less ban a token, as they do elsewhere.
result<void> read_bias(const json& request, cria::sampler_config& out) {
  if (!request.contains("logit_bias")) return {};
  const json& biases = request.at("logit_bias");
  if (!biases.is_object()) return bad_field("logit_bias", "is not an object");
  for (const auto& [key, value] : biases.items()) {
    cria::token_id token = 0;
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (code != std::errc{} || end != key.data() + key.size()) return bad_field("logit_bias", cria::printable(key) + " is not the number of a token");
    if (!value.is_number()) return bad_field("logit_bias", "of " + key + " is not a number");
    const float bias = value.get<float>();
    out.logit_bias.emplace_back(token, bias <= -100 ? -std::numeric_limits<float>::infinity() : bias);
  }
  return {};
}

/// Of chats: "logprobs": true, "top_logprobs": N. Of texts: "logprobs": N.
result<void> read_scores(const json& request, completion_request& out) {
  std::size_t n = 0;
  if (out.is_chat) {
    CRIA_TRY(const bool wanted, read_flag(request, "logprobs"));
    CRIA_CHECK(read_number(request, "top_logprobs", 0, static_cast<double>(request_translator::most_best), n));
    if (n > 0 && !wanted) return bad_field("top_logprobs", "needs \"logprobs\": true");
    if (wanted) out.n_best = n;
  } else if (request.contains("logprobs") && request.at("logprobs") != false) {
    CRIA_CHECK(read_number(request, "logprobs", 0, static_cast<double>(request_translator::most_best), n));
    out.n_best = n;
  }
  return {};
}

/// Which tools a reply may call, and whether it must.
struct tool_choice {
  bool has_tools = true, is_required = false;
  std::string name = {};   ///< of the one that must be called
};

/// "auto", "none", "required" or {"type": "function", "function": {"name": NAME}}.
result<tool_choice> read_tool_choice(const json& request) {
  const json choice = request.value("tool_choice", json("auto"));
  if (choice == "auto") return tool_choice{};
  if (choice == "none") return tool_choice{.has_tools = false};
  if (choice == "required") return tool_choice{.is_required = true};
  const json name = choice.is_object() && choice.value("type", json()) == "function" ? choice.value(json::json_pointer("/function/name"), json()) : json();
  if (!name.is_string() || name == "") {
    return bad_field("tool_choice", "is none of \"auto\", \"none\", \"required\" and {\"type\": \"function\", \"function\": {\"name\": NAME}}");
  }
  return tool_choice{.is_required = true, .name = name.get<std::string>()};
}

/// What the template of a chat is given beside the messages: tools, and the variables of chat_template_kwargs.
result<void> read_rendering(const json& request, bool has_tools, cria::render_options& out) {
  out.now = local_now();
  if (request.contains("tools") && !request.at("tools").empty() && has_tools) {
    CRIA_TRY(out.tools, cria::json::parse(request.at("tools").dump()));
  }
  if (!request.contains("chat_template_kwargs")) return {};
  const json& variables = request.at("chat_template_kwargs");
  if (!variables.is_object()) return bad_field("chat_template_kwargs", "is not an object");
  for (const auto& [key, value] : variables.items()) {
    CRIA_TRY(auto parsed, cria::json::parse(value.dump()));
    out.variables.push_back({key, std::move(parsed)});
  }
  return {};
}

/// Contents may be lists of parts: texts are joined, other parts are for models that see and hear.
result<void> join_parts(json& messages) {
  for (json& message : messages) {
    if (!message.is_object() || !message.contains("content") || !message.at("content").is_array()) continue;
    std::string text;
    for (const json& part : message.at("content")) {
      const bool is_text = part.is_object() && part.value("type", json()) == "text" && part.contains("text") && part.at("text").is_string();
      if (!is_text) return bad_field("messages", "have content that is no text");
      text += part.at("text").get_ref<const std::string&>();
    }
    message["content"] = std::move(text);
  }
  return {};
}

/// Gives the model's messages without content an empty one; returns whether there were any. Their calls may be all that they say, as OpenAI's do, but some
/// templates join what is not there.
bool fill_contents(json& messages) {
  bool is_changed = false;
  for (json& message : messages) {
    if (!message.is_object() || message.value("role", json()) != "assistant" || (message.contains("content") && !message.at("content").is_null())) continue;
    message["content"] = "";
    is_changed = true;
  }
  return is_changed;
}

/// Says what is wrong with messages that the model's template cannot write: its own words are about places in it, which the client has never seen.
error unwritable(const json& messages, const error& why) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const json& message = messages.at(i);
    if (message.is_object() && message.value("content", json()).is_null()) return bad_field("messages[" + std::to_string(i) + "].content", "is missing");
  }
  if (!why.where.starts_with("line ")) return why;
  return bad_field("messages", "cannot be written by the model's chat template: " + why.message + " (" + why.where + ")");
}

/// Makes n choices of one request. Each has random numbers of its own.
void repeat(choice_request first, std::size_t n, std::vector<choice_request>& out) {
  for (std::size_t i = 0; i + 1 < n; ++i) {
    out.push_back(first);
    ++first.generation.sampling.seed;
  }
  out.push_back(std::move(first));
}

}  // namespace

result<completion_request> request_translator::chat(std::string_view body) {
  CRIA_TRY(json request,
           read_body(body, true, {"messages", "tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs", "top_logprobs"}));
  if (!format_) return error{errc::bad_argument, "messages", "the model's file has no chat template; the server's --chat-template names one"};
  if (!request.contains("messages")) return bad_field("messages", "is missing");
  if (!request.at("messages").is_array()) return bad_field("messages", "is not a list of messages");
  if (request.at("messages").empty()) return bad_field("messages", "has none");
  completion_request out;
  out.is_chat = true;
  cria::chat_options options;
  options.generation = usual_;
  options.history.policy = cria::history_policy::stop;   // what does not fit is the client's to shorten
  CRIA_CHECK(read_common(request, out, options.generation));
  CRIA_TRY(const tool_choice choice, read_tool_choice(request));
  CRIA_CHECK(read_rendering(request, choice.has_tools, options.rendering));
  if (choice.is_required) CRIA_CHECK(require_call(choice.name, options));
  CRIA_CHECK(join_parts(request.at("messages")));
  const auto prepare = [&]() -> result<cria::chat_request> {
    CRIA_TRY(const auto talk, cria::conversation::parse(request.at("messages").dump()));
    return format_->prepare(talk, options, capacity_);
  };
  auto asked = prepare();
  if (!asked && fill_contents(request.at("messages"))) asked = prepare();
  if (!asked) return unwritable(request.at("messages"), asked.error());
  choice_request choice_of{std::move(asked->prompt), std::move(asked->generation), std::move(asked->reader)};
  if (request.contains("parallel_tool_calls")) {
    CRIA_TRY(const bool several, read_flag(request, "parallel_tool_calls"));
    choice_of.calls_once = !several;
  }
  repeat(std::move(choice_of), out.n_per_prompt, out.choices);
  return out;
}

result<completion_request> request_translator::completion(std::string_view body) {
  CRIA_TRY(const json request, read_body(body, true, {"prompt"}));
  completion_request out;
  cria::generation_options options = usual_;
  if (!request.contains("prompt")) return bad_field("prompt", "is missing");
  CRIA_CHECK(read_common(request, out, options));
  const json& prompt = request.at("prompt");
  const bool is_list = prompt.is_array() && !prompt.empty() && !prompt.at(0).is_number();
  const json list = is_list ? prompt : json::array({prompt});
  if (list.size() > n_places_ / out.n_per_prompt) {
    return bad_field("prompt", "has more texts, with n of each, than the server's --parallel and --queue have places for");
  }
  for (const json& one : list) {
    CRIA_TRY(auto tokens, read_prompt(one, "prompt"));
    repeat({std::move(tokens), options, {}}, out.n_per_prompt, out.choices);
  }
  return out;
}

result<embedding_request> request_translator::embedding(std::string_view body) const {
  CRIA_TRY(const json request, read_body(body, false, {"input", "encoding_format", "dimensions"}));
  if (!request.contains("input")) return bad_field("input", "is missing");
  const json& input = request.at("input");
  const bool is_one = !input.is_array() || input.empty() || input.at(0).is_number();
  const json list = is_one ? json::array({input}) : input;
  if (list.size() > most_inputs) return bad_field("input", "has more than " + std::to_string(most_inputs) + " texts");
  embedding_request out;
  for (const json& one : list) {
    CRIA_TRY(auto tokens, read_prompt(one, "input"));
    out.inputs.push_back(std::move(tokens));
  }
  const json format = request.value("encoding_format", json("float"));
  if (format != "float" && format != "base64") return bad_field("encoding_format", "is neither \"float\" nor \"base64\"");
  out.is_base64 = format == "base64";
  if (request.contains("dimensions") && request.at("dimensions") != model_.config().dim) {
    return bad_field("dimensions", "cannot be chosen: this model's vectors have " + std::to_string(model_.config().dim));
  }
  return out;
}

result<void> request_translator::read_common(const json& request, completion_request& out, cria::generation_options& options) {
  CRIA_CHECK(read_number(request, "max_tokens", 1, 1e9, options.max_tokens));
  CRIA_CHECK(read_number(request, "max_completion_tokens", 1, 1e9, options.max_tokens));
  CRIA_CHECK(read_drawing(request, capacity_, options.sampling));
  if (!has_seed_ && !request.contains("seed")) options.sampling.seed = random_seed();
  CRIA_CHECK(read_bias(request, options.sampling));
  CRIA_CHECK(read_stop(request, options.stop_strings));
  CRIA_CHECK(read_stop_tokens(request, options));
  CRIA_CHECK(read_format(request, options));
  CRIA_CHECK(read_scores(request, out));
  CRIA_TRY(out.streams, read_flag(request, "stream"));
  if (const auto with = request.find("stream_options"); with != request.end() && with->is_object()) {
    CRIA_TRY(out.tells_usage, read_flag(*with, "include_usage"));
  }
  CRIA_CHECK(read_number(request, "n", 1, static_cast<double>(most_choices), out.n_per_prompt));
  if (out.n_per_prompt > n_places_) return bad_field("n", "is more than the server's --parallel and --queue have places for");
  return {};
}

result<void> request_translator::read_stop_tokens(const json& request, cria::generation_options& options) const {
  if (!request.contains("stop_token_ids") || request.at("stop_token_ids").empty()) return {};
  CRIA_TRY(const auto tokens, read_prompt(request.at("stop_token_ids"), "stop_token_ids"));
  options.stop_tokens.insert(options.stop_tokens.end(), tokens.begin(), tokens.end());
  return {};
}

result<void> request_translator::require_call(const std::string& name, cria::chat_options& options) {
  if (options.generation.grammar) return bad_field("tool_choice", "cannot require a call beside a grammar or a response_format");
  if (!options.rendering.tools) return bad_field("tool_choice", "requires a call, but there are no tools");
  const auto schema = cria::call_schema(*options.rendering.tools, name);
  if (!schema) return bad_field(schema.error().code == errc::bad_argument ? "tool_choice" : "tools", schema.error().message);
  CRIA_TRY(options.generation.grammar, schemas_.get(json::parse(schema->dump()), "tools"));
  options.syntax = cria::reply_syntax::calls_alone();
  return {};
}

result<void> request_translator::read_format(const json& request, cria::generation_options& options) {
  if (request.contains("grammar")) {
    if (!request.at("grammar").is_string()) return bad_field("grammar", "is not a text in GBNF notation");
    auto made = cria::grammar::parse(request.at("grammar").get_ref<const std::string&>());
    if (!made) return bad_field("grammar " + made.error().where, made.error().message);
    options.grammar = *std::move(made);
  }
  const json format = request.value("response_format", json{{"type", "text"}});
  const json type = format.is_object() ? format.value("type", json()) : json();
  if (type == "text") return {};
  if (options.grammar) return bad_field("response_format", "cannot be combined with a grammar");
  if (type == "json_object") {
    CRIA_TRY(options.grammar, schemas_.get({{"type", "object"}}, "response_format"));
  } else if (type == "json_schema" && format.contains("json_schema") && format.at("json_schema").is_object() && format.at("json_schema").contains("schema")) {
    CRIA_TRY(options.grammar, schemas_.get(format.at("json_schema").at("schema"), "response_format"));
  } else {
    return bad_field("response_format", "is none of {\"type\": \"text\"}, \"json_object\" and \"json_schema\" with a json_schema.schema");
  }
  return {};
}

result<std::vector<cria::token_id>> request_translator::read_prompt(const json& prompt, const char* where) const {
  if (prompt.is_string()) return model_.tokenizer().encode(prompt.get_ref<const std::string&>(), usual_.encode);
  if (!prompt.is_array() || prompt.empty()) return bad_field(where, "is neither a text nor a list of tokens");
  std::vector<cria::token_id> tokens;
  for (const json& token : prompt) {
    if (!token.is_number_integer() || token < 0 || token >= model_.vocab_size()) return bad_field(where, "has numbers that are no tokens");
    tokens.push_back(token.get<cria::token_id>());
  }
  return tokens;
}

}  // namespace cria_program
