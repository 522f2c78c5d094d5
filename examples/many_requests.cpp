// SPDX-License-Identifier: MIT
// many_requests MODEL.gguf [PROMPT]...: several texts at once, each the one that it would be alone.
#include <cria/cria.hpp>

#include <iostream>
#include <map>
#include <vector>

static int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

int main(int argc, char** argv) {
  auto model = cria::load_model(argc > 1 ? argv[1] : "model.gguf");
  if (!model) return fail(model.error());
  auto engine = cria::batch_engine::create(*model, {.max_sequences = 8});
  if (!engine) return fail(engine.error());

  std::vector<std::string_view> prompts(argv + std::min(argc, 2), argv + argc);
  if (prompts.empty()) prompts = {"Once upon a time", "The little dog", "Once upon a time there was a"};
  std::map<cria::batch_id, std::string_view> asked;
  for (const std::string_view prompt : prompts) {
    auto id = engine->add(prompt, {.max_tokens = 30, .sampling = cria::sampler_config::greedy()});
    if (!id) return fail(id.error());   // the queue is full, say: the others go on
    asked[*id] = prompt;
  }

  // A server would add what arrives between two steps.
  while (engine->has_work()) {
    if (auto stepped = engine->step(); !stepped) return fail(stepped.error());
    while (auto ended = engine->next_finished()) {
      if (!ended->outcome) return fail(ended->outcome.error());
      std::cout << asked[ended->id] << ended->outcome->text << "\n\n";
    }
  }
  const cria::batch_statistics s = engine->statistics();
  std::cout << "at most " << s.pages.most_used << " pages of keys and values, " << static_cast<int>(100 * s.hit_rate())
            << " % of the prompts' tokens were shared\n";
}
