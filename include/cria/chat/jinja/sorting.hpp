// SPDX-License-Identifier: MIT
// chat/jinja/sorting.hpp - a stable sort of values, for which the comparison of two may fail.
//
// Values of a template may be of kinds that have no order, which shows in the middle of sorting only, and std::sort may do anything when its comparison is
// inconsistent. A merge sort just stops.
//
// Ensures  equal keys keep their order, also in descending order; n log n comparisons, each charged to the rendering
// Errors   kept in the runtime, as is_ordered leaves them (operators.hpp); the result is then empty
#pragma once

#include <cria/chat/jinja/operators.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// What is sorted: a key, and where it stood.
struct sort_entry {
  value key;
  std::size_t place = 0;
};

/// Returns the places of `keys` in ascending order, or descending where `reverse`; equal keys keep their order.
[[nodiscard]] inline std::vector<std::size_t> sorted_places(runtime& rt, std::span<const value> keys, bool reverse) {
  std::vector<sort_entry> from(keys.size()), to(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) from[i] = {keys[i], i};
  const operation op = reverse ? operation::greater : operation::less;
  for (std::size_t width = 1; width < keys.size(); width *= 2) {
    for (std::size_t start = 0; start < keys.size(); start += 2 * width) {
      std::size_t left = start, right = std::min(start + width, keys.size());
      const std::size_t middle = right, end = std::min(start + 2 * width, keys.size());
      for (std::size_t out = start; out < end; ++out) {
        if (rt.has_failed()) return {};
        const bool takes_right = right < end && (left == middle || is_ordered(rt, op, from[right].key, from[left].key));
        to[out] = takes_right ? from[right++] : from[left++];
      }
    }
    std::swap(from, to);
  }
  std::vector<std::size_t> places(keys.size());
  for (std::size_t i = 0; i < places.size(); ++i) places[i] = from[i].place;
  return places;
}

}  // namespace cria::inline v0_1_0::jinja
