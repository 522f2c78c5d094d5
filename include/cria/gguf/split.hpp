// SPDX-License-Identifier: MIT
// gguf/split.hpp - files in parts: <name>-00001-of-00003.gguf and so on, with the keys split.no, split.count, split.tensors.count.
//
// Errors    mismatch (a part that does not belong here, opened by another part than the first, a name that contradicts the keys),
//           wrong_type or bad_value of a split key
// Source    the files that llama-gguf-split writes (July 2026): split.no counts from 0, names from 1; only the first part has the model's keys
#pragma once

#include <cria/core/byte_source.hpp>
#include <cria/core/result.hpp>
#include <cria/gguf/metadata.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::gguf {

/// What a part says about itself. A file that is not split is part 0 of 1.
struct split_position {
  std::uint32_t part = 0;
  std::uint32_t count = 1;
};

namespace detail {

inline constexpr std::uint32_t max_parts = 65'535;   // split.count is stored in 16 bits
inline constexpr std::string_view split_tensors_key = "split.tensors.count";

/// Returns the position that the keys declare; merged files carry a count of 0.
[[nodiscard]] inline result<split_position> read_split_position(const metadata& keys) {
  CRIA_TRY(const auto count, keys.get_or<std::uint32_t>("split.count", 1));
  if (count <= 1) return split_position{};
  if (count > max_parts) return error{errc::bad_value, "split.count", std::to_string(count) + " parts"};
  CRIA_TRY(const auto part, keys.get<std::uint32_t>("split.no"));
  if (part >= count) {
    return error{errc::bad_value, "split.no", "part " + std::to_string(part) + " of " + std::to_string(count) + ", counted from 0"};
  }
  return split_position{part, count};
}

/// Returns "-00002-of-00003.gguf" for part 1 of 3.
[[nodiscard]] inline std::string part_suffix(std::uint32_t part, std::uint32_t count) {
  const auto five = [](std::uint32_t n) {
    const std::string digits = std::to_string(n);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return "-" + five(part + 1) + "-of-" + five(count) + ".gguf";
}

}  // namespace detail

/// Returns the path of part `part` (from 0) beside the first part of `count`; errc::mismatch if `first` is not named like one.
[[nodiscard]] inline result<std::filesystem::path> part_path(const std::filesystem::path& first, std::uint32_t part, std::uint32_t count) {
  const std::filesystem::path suffix(detail::part_suffix(0, count));
  const auto& whole = first.native();
  if (whole.size() < suffix.native().size() || whole.substr(whole.size() - suffix.native().size()) != suffix.native()) {
    return error{errc::mismatch, cria::detail::printable_name(cria::detail::path_text(first)),
                 "the file says that it is the first of " + std::to_string(count) + " parts, so its name must end in " + detail::part_suffix(0, count)};
  }
  return std::filesystem::path(whole.substr(0, whole.size() - suffix.native().size()) + std::filesystem::path(detail::part_suffix(part, count)).native());
}

}  // namespace cria::inline v0_1_0::gguf
