// SPDX-License-Identifier: MIT
#include "chat_settings.hpp"

#include "command.hpp"

#include <cria/sampling/sampler_fields.hpp>

#include <charconv>
#include <optional>

namespace cria_program {

namespace {

constexpr std::size_t no_limit = cria::generation_options::no_limit;
constexpr cria::history_policy policies[] = {cria::history_policy::drop_oldest, cria::history_policy::slide, cria::history_policy::stop};

error refuse(std::string_view name, std::string message) { return {errc::bad_argument, name, std::move(message)}; }

std::optional<std::size_t> parse_count(const std::string& text) {
  std::size_t n = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), n);
  return failure == std::errc{} && end == text.data() + text.size() && n <= (std::size_t{1} << 31) ? std::optional(n) : std::nullopt;
}

}  // namespace

std::vector<std::string_view> chat_settings::names() {
  std::vector<std::string_view> all = cria::sampler_field_names();
  all.insert(all.end(), {"max_tokens", "ignore_eos", "history", "reply_room", "thinking", "stats"});
  return all;
}

std::string chat_settings::text(std::string_view name) const {
  if (name == "max_tokens") return options.generation.max_tokens == no_limit ? "none" : std::to_string(options.generation.max_tokens);
  if (name == "ignore_eos") return options.generation.ignore_eos ? "on" : "off";
  if (name == "history") return std::string(cria::name(options.history.policy));
  if (name == "reply_room") return options.history.reply_room ? std::to_string(*options.history.reply_room) : "auto";
  if (name == "thinking") return shows_thinking ? "on" : "off";
  if (name == "stats") return shows_stats ? "on" : "off";
  return cria::sampler_field_text(options.generation.sampling, name).value_or("");
}

result<void> chat_settings::set(std::string_view name, const std::string& value) {
  if (name == "max_tokens") {
    const auto n = value == "none" ? std::optional(no_limit) : parse_count(value);
    if (!n || *n == 0) return refuse(name, cria::printable(value) + " is neither a number from 1 on nor none");
    options.generation.max_tokens = *n;
    return {};
  }
  if (name == "history") {
    for (const cria::history_policy p : policies) {
      if (value != cria::name(p)) continue;
      options.history.policy = p;
      return {};
    }
    return refuse(name, cria::printable(value) + " is none of drop_oldest, slide, stop");
  }
  if (name == "reply_room") {
    const auto n = parse_count(value);
    if (value != "auto" && !n) return refuse(name, cria::printable(value) + " is neither a number nor auto");
    options.history.reply_room = value == "auto" ? std::nullopt : n;
    return {};
  }
  if (name == "stats" || name == "thinking" || name == "ignore_eos") {
    if (value != "on" && value != "off") return refuse(name, cria::printable(value) + " is neither on nor off");
    (name == "stats" ? shows_stats : name == "thinking" ? shows_thinking : options.generation.ignore_eos) = value == "on";
    return {};
  }
  if (!cria::sampler_field_text(options.generation.sampling, name)) return refuse(cria::printable(name), "is no setting; /config lists them");
  CRIA_CHECK(cria::set_sampler_field(options.generation.sampling, name, value));
  if (name == "seed") n_replies = 0;
  return {};
}

std::string chat_settings::difference(const chat_settings& before) const {
  std::string out;
  for (const std::string_view name : names()) {
    const std::string now = text(name), then = before.text(name);
    if (now != then) out += (out.empty() ? "" : ", ") + std::string(name) + " " + now + " instead of " + then;
  }
  return out;
}

cria::json chat_settings::to_json() const {
  cria::json members;
  for (const std::string_view name : names()) members.set(name, text(name));
  members.set("replies", std::to_string(n_replies));
  return members;
}

result<chat_settings> chat_settings::from_json(const cria::json& members) {
  chat_settings made;
  const auto* all = members.get_if<cria::json::object>();
  if (all == nullptr) return refuse("settings", "are no JSON object");
  std::size_t n_replies = 0;
  for (const auto& [name, value] : *all) {
    const std::string* text = value.get_if<std::string>();
    if (text == nullptr) return refuse(cria::printable(name), "is no text");
    if (name != "replies") {
      CRIA_CHECK(made.set(name, *text));
    } else if (const auto n = parse_count(*text)) {
      n_replies = *n;
    } else {
      return refuse(name, "is no number");
    }
  }
  made.n_replies = n_replies;
  return made;
}

cria::chat_options chat_settings::for_reply(const cria::stop_token& stop) const {
  cria::chat_options all = options;
  all.generation.sampling.seed += n_replies;
  all.generation.stop = stop;
  all.rendering.now = local_now();
  return all;
}

}  // namespace cria_program
