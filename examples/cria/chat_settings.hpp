// SPDX-License-Identifier: MIT
// What can be set in `cria chat`, by name and as text: the sampler's fields, and how replies are made.
#pragma once

#include "subcommand.hpp"

#include <cria/chat/chat_session.hpp>
#include <cria/chat/json.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cria_program {

struct chat_settings {
  cria::chat_options options;
  std::size_t n_replies = 0;   ///< since the seed was set: each reply draws other numbers
  bool shows_stats = true, shows_thinking = true;

  [[nodiscard]] static std::vector<std::string_view> names();
  /// Returns a setting as text. Requires one of names().
  [[nodiscard]] std::string text(std::string_view name) const;
  /// Sets a setting from text; on an error nothing changes.
  [[nodiscard]] result<void> set(std::string_view name, const std::string& value);

  /// Returns what is set otherwise than in `before`: "temperature 0.9 instead of 0, top_k 5 instead of 40"; empty where nothing is.
  [[nodiscard]] std::string difference(const chat_settings& before) const;

  [[nodiscard]] cria::json to_json() const;
  [[nodiscard]] static result<chat_settings> from_json(const cria::json& members);

  /// Returns the options of the next reply.
  [[nodiscard]] cria::chat_options for_reply(const cria::stop_token& stop) const;
};

}  // namespace cria_program
