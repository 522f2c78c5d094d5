// SPDX-License-Identifier: MIT
// tests/chat/scripted_sampler.hpp - a sampler that makes any model say what a test wants to hear.
#pragma once

#include <cria/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace cria_test {

/// Says a text, whatever the logits, and then ends.
class scripted_sampler {
 public:
  scripted_sampler(const cria::tokenizer& t, std::string_view text) : tokens_(t.encode(text, {.add_bos = false, .add_eos = false}).value()) {
    tokens_.push_back(t.eos());
  }
  cria::token_id sample(std::span<const float>) { return tokens_[std::min(next_++, tokens_.size() - 1)]; }
  void accept(cria::token_id) {}

 private:
  std::vector<cria::token_id> tokens_;
  std::size_t next_ = 0;
};

}  // namespace cria_test
