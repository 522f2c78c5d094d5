// SPDX-License-Identifier: MIT
#include "request_fields.hpp"

#include <cria/chat/json_schema.hpp>
#include <cria/sampling/sampler_fields.hpp>

namespace cria_program {

namespace {

using json = nlohmann::ordered_json;

/// Returns whether brackets nest deeper than any request does.
bool is_too_deep(std::string_view text) {
  constexpr int most = 64;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size() && depth <= most; ++i) {
    const char c = text[i];
    if (in_string && c == '\\') ++i;
    else if (c == '"') in_string = !in_string;
    else if (!in_string) depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
  }
  return depth > most;
}

}  // namespace

result<json> parse_request(std::string_view text) {
  if (is_too_deep(text)) return error{errc::bad_value, "", "nests too deep"};
  json request = json::parse(text, nullptr, false);
  if (!request.is_object()) return error{errc::bad_value, "", request.is_discarded() ? "is not JSON" : "is not a JSON object"};
  return request;
}

result<void> read_stop(const json& request, std::vector<std::string>& out) {
  if (!request.contains("stop") || request.at("stop").is_null()) return {};
  const json& stop = request.at("stop");
  const json list = stop.is_array() ? stop : json::array({stop});
  for (const json& one : list) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty()) return bad_field("stop", "is not a text or a list of texts");
    out.push_back(one.get<std::string>());
  }
  return {};
}

const std::vector<std::string_view>& sampling_keys() {
  static const std::vector<std::string_view> keys = [] {
    std::vector<std::string_view> fields = cria::sampler_field_names();
    std::erase(fields, "order");   // a word that writers use for other things
    return fields;
  }();
  return keys;
}

result<void> read_sampling(const json& request, cria::sampler_config& out) {
  for (const std::string_view field : sampling_keys()) {
    if (!request.contains(field)) continue;
    const json& value = request.at(field);
    if (!value.is_number()) return bad_field(std::string(field), "is not a number");
    if (const auto done = cria::set_sampler_field(out, field, value.dump()); !done) return bad_field(done.error().where, done.error().message);
  }
  return {};
}

result<void> refuse_wishes(const json& request, const std::vector<foreign_wish>& wishes) {
  for (const auto& [key, why, nothing] : wishes) {
    if (!request.contains(key)) continue;
    const json& value = request.at(key);
    if (!value.empty() && value != nothing) return bad_field(key, why);
  }
  return {};
}

result<cria::grammar> schema_grammars::get(const json& schema, const std::string& where) {
  const std::string text = schema.dump();
  const std::lock_guard lock(mutex_);
  if (const auto found = known_.find(text); found != known_.end()) return found->second;
  auto made = cria::json_schema_grammar(text);
  if (!made) return bad_field(where + " " + made.error().where, made.error().message);
  if (known_.size() == most_kept) known_.clear();
  return known_.emplace(text, *std::move(made)).first->second;
}

}  // namespace cria_program
