// SPDX-License-Identifier: MIT
// generate/adapter_companies.hpp - a number for each combination of adapters: requests of the same number may share what they compute.
//
// Ensures   0 is no adapters; other numbers are never given out again, also where an adapter dies and another one takes its place in memory.
//           Keeps no adapter alive, and remembers the last 1,024 combinations: scales may come from requests
// Errors    std::bad_alloc
// Threads   one at a time
#pragma once

#include <cria/model/adapter.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace cria::inline v0::detail {

class adapter_companies {
 public:
  [[nodiscard]] std::uint64_t number_of(const adapter_set& adapters) {
    if (adapters.empty()) return 0;
    std::erase_if(known_,
                  [](const company& c) { return std::any_of(c.members.begin(), c.members.end(), [](const member& m) { return m.identity.expired(); }); });
    const auto is_it = [&](const company& c) { return is_same(c, adapters); };
    if (const auto found = std::find_if(known_.begin(), known_.end(), is_it); found != known_.end()) return found->number;
    company made{last_ + 1, {}};
    for (const adapter_choice& c : adapters.choices()) made.members.push_back({c.adapter.identity(), c.scale});
    if (known_.size() == most_known) known_.erase(known_.begin());
    known_.push_back(std::move(made));
    return ++last_;
  }

 private:
  struct member {
    std::weak_ptr<const void> identity;
    float scale;
  };
  struct company {
    std::uint64_t number;
    std::vector<member> members;
  };

  [[nodiscard]] static bool is_same(const company& c, const adapter_set& adapters) noexcept {
    const auto choices = adapters.choices();
    return std::equal(c.members.begin(), c.members.end(), choices.begin(), choices.end(), [](const member& m, const adapter_choice& choice) {
      const auto identity = choice.adapter.identity();
      return m.scale == choice.scale && !m.identity.owner_before(identity) && !identity.owner_before(m.identity);
    });
  }

  static constexpr std::size_t most_known = 1024;

  std::vector<company> known_;
  std::uint64_t last_ = 0;
};

}  // namespace cria::inline v0::detail
