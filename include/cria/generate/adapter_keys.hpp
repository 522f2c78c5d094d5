// SPDX-License-Identifier: MIT
// generate/adapter_keys.hpp - a number for each combination of adapters: requests with the same number may share what they compute.
//
// Ensures   0 means no adapters. Other numbers are never given out again, even if an adapter is destroyed and another one takes its place in memory.
//           Keeps no adapter alive, and remembers only the last 1,024 combinations, as scales may come from requests.
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

namespace cria::inline v0_1_0::detail {

class adapter_keys {
 public:
  [[nodiscard]] std::uint64_t key_of(const adapter_set& adapters) {
    if (adapters.empty()) return 0;
    std::erase_if(known_, [](const combination& c) { return c.has_expired(); });
    const auto found = std::find_if(known_.begin(), known_.end(), [&](const combination& c) { return c.is_of(adapters); });
    if (found != known_.end()) return found->key;
    combination made{last_ + 1, {}};
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
  struct combination {
    std::uint64_t key;
    std::vector<member> members;

    [[nodiscard]] bool has_expired() const noexcept {
      return std::any_of(members.begin(), members.end(), [](const member& m) { return m.identity.expired(); });
    }
    [[nodiscard]] bool is_of(const adapter_set& adapters) const noexcept {
      const auto choices = adapters.choices();
      return std::equal(members.begin(), members.end(), choices.begin(), choices.end(), [](const member& m, const adapter_choice& choice) {
        const auto identity = choice.adapter.identity();
        return m.scale == choice.scale && !m.identity.owner_before(identity) && !identity.owner_before(m.identity);
      });
    }
  };

  static constexpr std::size_t most_known = 1024;

  std::vector<combination> known_;
  std::uint64_t last_ = 0;
};

}  // namespace cria::inline v0_1_0::detail
