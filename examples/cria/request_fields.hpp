// SPDX-License-Identifier: MIT
// What requests in JSON have in common, whether they are lines of a file (cria batch) or come by HTTP (cria serve).
#pragma once

#include "subcommand.hpp"

#include <cria/generate/options.hpp>
#include <cria/sampling/grammar/grammar.hpp>

#include <nlohmann/json.hpp>

#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cria_program {

/// Says which field of a request is wrong.
[[nodiscard]] inline error bad_field(std::string where, std::string message) { return {errc::bad_value, std::move(where), std::move(message)}; }

/// Reads a request as JSON. An error where it is none, no object, or nests deeper than any request does: what follows walks it by recursion.
[[nodiscard]] result<nlohmann::ordered_json> parse_request(std::string_view text);

/// Reads a member where it is there. Returns bad_value where it is no number, no whole one for integers, or out of range.
template <class T>
[[nodiscard]] result<void> read_number(const nlohmann::ordered_json& request, const char* key, double lowest, double highest, T& out) {
  if (!request.contains(key)) return {};
  const nlohmann::ordered_json& v = request.at(key);
  if (!v.is_number()) return bad_field(key, "is not a number");
  const double x = v.get<double>();
  if (!(x >= lowest && x <= highest)) return bad_field(key, "is out of range");
  if constexpr (std::is_integral_v<T>) {
    if (!v.is_number_integer()) return bad_field(key, "is not a whole number");
    out = v.get<T>();
  } else {
    out = static_cast<T>(x);
  }
  return {};
}

/// Reads "stop": a text or a list of texts.
[[nodiscard]] result<void> read_stop(const nlohmann::ordered_json& request, std::vector<std::string>& out);

/// The keys that set how tokens are drawn: the numbers of cria::sampler_config by their names.
[[nodiscard]] const std::vector<std::string_view>& sampling_keys();
[[nodiscard]] result<void> read_sampling(const nlohmann::ordered_json& request, cria::sampler_config& out);

/// What a request asks for that is not done here, and which value of it asks for nothing, beside null, [] and {}.
struct foreign_wish {
  const char *key, *why;
  nlohmann::ordered_json nothing;
};
[[nodiscard]] result<void> refuse_wishes(const nlohmann::ordered_json& request, const std::vector<foreign_wish>& wishes);

/// Schemas as grammars. Requests with the same one share it, and what was found out about it. Any thread.
class schema_grammars {
 public:
  /// where: the name of the schema's field, for errors.
  [[nodiscard]] result<cria::grammar> get(const nlohmann::ordered_json& schema, const std::string& where);

 private:
  static constexpr std::size_t most_kept = 64;

  std::mutex mutex_;
  std::unordered_map<std::string, cria::grammar> known_;   // by their text
};

}  // namespace cria_program
